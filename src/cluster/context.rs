//! What stands behind a pod: the annotations of its controllers, other autoscalers, and what its
//! namespace admits.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use internment::ArcIntern as Shared;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{LimitRange, ResourceQuota};
use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::{Api, Client};

use super::autoscalers::{from_hpa, from_vpa, serves_vpas, vpa_resource};
use super::controllers::{Controller, Controllers, Kind, get};
use super::namespace_limits::{from_limit_range, from_quota};
use super::owners::{OwnerCache, Owners};
use super::resource_cache::{Items, ResourceCache};
use crate::client::error::{Call, ClusterError};
use crate::client::retry::{Deadline, with_retries};
use crate::core::autoscalers::{CompetingAutoscaler, CompetingAutoscalers};
use crate::core::context::{ScalingContext, UnknownContext};
use crate::core::namespace_limits::NamespaceLimits;
use crate::core::pod::{Owner, Pod};

pub(super) const HPAS: &str = "horizontalpodautoscalers";
pub(super) const VPAS: &str = "verticalpodautoscalers";
pub(super) const LIMIT_RANGES: &str = "limitranges";
pub(super) const QUOTAS: &str = "resourcequotas";

/// How long the first answers are waited for.
const TIMEOUT: Duration = Duration::from_secs(2);
/// No pod has more controllers, one above the other.
const MOST_CONTROLLERS: usize = 10;

fn unknown_annotations(why: impl ToString) -> Arc<UnknownContext> {
    Arc::new(UnknownContext::Annotations(why.to_string()))
}

fn unknown_autoscalers(why: impl ToString) -> Arc<UnknownContext> {
    Arc::new(UnknownContext::Autoscalers(why.to_string()))
}

/// The controllers, the autoscalers, the LimitRanges and the ResourceQuotas of a namespace.
pub struct ContextCache {
    pub(super) replica_sets: Arc<ResourceCache<Controller>>,
    /// Of the other kinds, in their order, those that say something.
    pub(super) others: [Arc<ResourceCache<Controller>>; 3],
    pub(super) hpas: Arc<ResourceCache<CompetingAutoscaler>>,
    pub(super) vpas: Arc<ResourceCache<CompetingAutoscaler>>,
    pub(super) limit_ranges: Arc<ResourceCache<NamespaceLimits>>,
    pub(super) quotas: Arc<ResourceCache<NamespaceLimits>>,
    owners: OwnerCache,
}

impl ContextCache {
    pub fn new(namespace: &str) -> Self {
        let of_kind = |kind: Kind| Arc::new(ResourceCache::new(kind.plural(), namespace));
        Self {
            replica_sets: of_kind(Kind::ReplicaSet),
            others: [Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet].map(of_kind),
            hpas: Arc::new(ResourceCache::new(HPAS, namespace)),
            vpas: Arc::new(ResourceCache::new(VPAS, namespace)),
            limit_ranges: Arc::new(ResourceCache::new(LIMIT_RANGES, namespace)),
            quotas: Arc::new(ResourceCache::new(QUOTAS, namespace)),
            owners: OwnerCache::default(),
        }
    }

    /// Whether it is known of every pod which workload it belongs to.
    pub fn is_fresh(&self) -> bool {
        self.replica_sets.is_fresh()
    }

    /// All that is known of the pods, once the ReplicaSets are, which tell the workloads; the rest
    /// is waited for a moment.
    pub async fn settled<F, Fut>(
        &self,
        client: &Client,
        namespace: &str,
        pods: &Items<Pod>,
        probe: F,
        deadline: Deadline,
    ) -> Result<KnownContext, ClusterError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<(), ClusterError>>,
    {
        let replica_sets = self.replica_sets.items(deadline, probe).await?;
        self.settle(deadline).await;
        let mut known = self.known_with(replica_sets, Owners::new());
        let pods = pods.values().map(Arc::as_ref);
        known.follow_owners(client, namespace, pods, &self.owners, deadline).await;
        Ok(known)
    }

    /// Waits a moment for what is not complete yet, unless it is known to be out of order.
    pub async fn settle(&self, deadline: Deadline) {
        let timeout = Deadline::after(deadline.left().min(TIMEOUT));
        let others = join_all(self.others.iter().map(|cache| cache.settle(timeout)));
        futures::join!(
            others,
            self.hpas.settle(timeout),
            self.vpas.settle(timeout),
            self.limit_ranges.settle(timeout),
            self.quotas.settle(timeout)
        );
    }

    /// All that is known now, or was known last.
    pub fn known(&self) -> KnownContext {
        self.known_with(self.replica_sets.known(), self.owners.known())
    }

    /// The same, of these pods alone: most of a namespace is not copied.
    pub fn known_of<'a>(&self, pods: impl Iterator<Item = &'a Pod>) -> KnownContext {
        let owners = pods.filter_map(|pod| pod.owner.as_deref());
        let sets = owners.filter(|owner| owner.is_replica_set()).map(|owner| owner.name.as_str());
        self.known_with(Arc::new(self.replica_sets.known_of(sets)), self.owners.known())
    }

    fn known_with(&self, replica_sets: Arc<Controllers>, owners: Owners) -> KnownContext {
        let [deployments, stateful_sets, daemon_sets] =
            self.others.each_ref().map(|cache| cache.last_known().map_err(unknown_annotations));
        let controllers = [Ok(replica_sets), deployments, stateful_sets, daemon_sets];
        let autoscalers = self.autoscalers().map_err(unknown_autoscalers);
        KnownContext { controllers, owners, autoscalers, limits: self.limits() }
    }

    fn autoscalers(&self) -> Result<CompetingAutoscalers, ClusterError> {
        let (hpas, vpas) = (self.hpas.last_known()?, self.vpas.last_known()?);
        Ok(CompetingAutoscalers::new(hpas.values().chain(vpas.values()).cloned()))
    }

    /// What the namespace admits. Where it may not be read, the API server alone says so.
    fn limits(&self) -> Option<Arc<NamespaceLimits>> {
        let known = [&self.limit_ranges, &self.quotas].map(|cache| cache.last_known());
        together(known.iter().flatten().flat_map(|items| items.values()).map(|limits| **limits))
    }

    /// What never could be read, and keeps pods from being changed.
    pub fn never_read(&self) -> impl Iterator<Item = ClusterError> {
        let others = self.others.iter().map(|cache| cache.never_complete());
        others.chain([self.hpas.never_complete(), self.vpas.never_complete()]).flatten()
    }
}

/// What is known of the controllers and autoscalers of pods, by kind and name.
pub struct KnownContext {
    controllers: [Result<Arc<Controllers>, Arc<UnknownContext>>; 4],
    /// Of all other kinds.
    owners: Owners,
    autoscalers: Result<CompetingAutoscalers, Arc<UnknownContext>>,
    /// Of the namespace.
    limits: Option<Arc<NamespaceLimits>>,
}

fn together(limits: impl Iterator<Item = NamespaceLimits>) -> Option<Arc<NamespaceLimits>> {
    limits.reduce(|all, one| all.and(&one)).map(Arc::new)
}

impl KnownContext {
    /// The workload behind a pod, the Deployment rather than the ReplicaSet between them and the
    /// CronJob rather than its Job, and what binds the pod.
    pub fn of(&self, pod: &Pod) -> (Option<Shared<Owner>>, ScalingContext) {
        let mut context =
            ScalingContext { limits: self.limits.clone(), ..ScalingContext::default() };
        let Some(owner) = &pod.owner else {
            context.overrides = pod.overrides.clone();
            return (None, context);
        };
        let (mut workload, mut overrides) = (owner, None);
        let mut next = Some(owner);
        for _ in 0..MOST_CONTROLLERS {
            let Some(owner) = next.take() else { break };
            if let Ok(autoscalers) = &self.autoscalers {
                context.autoscalers.extend(autoscalers.of(owner).cloned());
            }
            let Some(kind) = Kind::of(owner) else {
                if let Some(controller) = self.owners.get(owner).and_then(Option::as_ref) {
                    next = controller.owner.as_ref();
                    workload = next.filter(|_| owner.is_job()).unwrap_or(workload);
                } else if let Ok(autoscalers) = &self.autoscalers {
                    context.autoscalers.extend(autoscalers.of_maker(owner).cloned());
                }
                continue;
            };
            match self.find(kind, &owner.name) {
                Ok(None) => {}
                Ok(Some(controller)) => {
                    next = controller.owner.as_ref();
                    // A Deployment's annotations are copied to its ReplicaSets, where they may be
                    // out of date.
                    let is_copy = kind == Kind::ReplicaSet
                        && next.and_then(|owner| Kind::of(owner)).is_some();
                    overrides = controller.overrides.as_ref().filter(|_| !is_copy).or(overrides);
                    workload = next.filter(|_| kind == Kind::ReplicaSet).unwrap_or(workload);
                }
                Err(unknown) => context.unknown = Some(unknown.clone()),
            }
        }
        context.overrides = match (&pod.overrides, overrides) {
            (Some(own), Some(workload)) => Some(Arc::new(own.or(workload))),
            (own, workload) => own.as_ref().or(workload).cloned(),
        };
        context.unknown = context.unknown.or_else(|| self.autoscalers.as_ref().err().cloned());
        (Some(workload.clone()), context)
    }

    /// Whether the Job of a pod has been read, if it has one: it may be a CronJob's.
    pub fn knows_job_of(&self, pod: &Pod) -> bool {
        let unread = |owner: &&Shared<Owner>| owner.is_job() && !self.owners.contains_key(*owner);
        pod.owner.as_ref().filter(unread).is_none()
    }

    /// Reads the owners of pods that no watch knows: Jobs, which may be a CronJob's, and where an
    /// autoscaler may target one of them all others, to the top of their chains.
    async fn follow_owners(
        &mut self,
        client: &Client,
        namespace: &str,
        pods: impl Iterator<Item = &Pod>,
        cache: &OwnerCache,
        deadline: Deadline,
    ) {
        let custom = self.autoscalers.as_ref().is_ok_and(CompetingAutoscalers::have_custom_targets);
        let timeout = Deadline::after(deadline.left().min(TIMEOUT));
        let owners = pods.filter_map(|pod| pod.owner.as_ref());
        let is_wanted = |owner: &Shared<Owner>| custom || owner.is_job();
        let mut owners: HashSet<_> = owners.filter(|owner| is_wanted(owner)).cloned().collect();
        for _ in 0..MOST_CONTROLLERS {
            let unread = owners.iter().filter_map(|owner| self.first_unread(owner));
            owners = unread.filter(is_wanted).collect();
            if owners.is_empty() {
                break;
            }
            self.owners.extend(cache.read(client, namespace, &owners, timeout).await);
        }
    }

    /// The first owner in a chain that was not asked for yet.
    fn first_unread(&self, owner: &Shared<Owner>) -> Option<Shared<Owner>> {
        let mut owner = owner;
        for _ in 0..MOST_CONTROLLERS {
            let controller = match Kind::of(owner) {
                Some(kind) => self.find(kind, &owner.name).ok()??,
                None => match self.owners.get(owner) {
                    Some(controller) => controller.as_deref()?,
                    None => return Some(owner.clone()),
                },
            };
            owner = controller.owner.as_ref()?;
        }
        None
    }

    fn find(&self, kind: Kind, name: &str) -> Result<Option<&Controller>, Arc<UnknownContext>> {
        let found = self.controllers[kind as usize].as_ref().map_err(Arc::clone)?.get(name);
        if found.is_none() && kind == Kind::ReplicaSet {
            return Err(unknown_annotations(format!("ReplicaSet {name} is not known yet")));
        }
        Ok(found.map(Arc::as_ref))
    }
}

/// Where to learn what binds one pod.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    Watches(&'a ContextCache),
    /// Everything is asked for: nothing is watched there.
    Server,
    /// No more than the workload is wanted.
    Workload,
}

/// What is known of the controllers and autoscalers of one pod. Its workload is asked for in any
/// case, and has to be known.
pub async fn of_one(
    client: &Client,
    pod: &Pod,
    source: Source<'_>,
    deadline: Deadline,
) -> Result<KnownContext, ClusterError> {
    let namespace = &pod.key.namespace;
    let not_asked = |resource| {
        let call = Call::over("watch", resource, namespace);
        ClusterError::Unavailable { call, message: "the namespace is not watched".into() }
    };
    let mut controllers = Kind::ALL.map(|_| Ok(Arc::new(Controllers::new())));
    let mut next = pod.owner.clone();
    for _ in 0..MOST_CONTROLLERS {
        let Some((kind, name)) =
            next.take().and_then(|owner| Some((Kind::of(&owner)?, owner.name.clone())))
        else {
            break;
        };
        let found = match source {
            Source::Watches(watches) if kind != Kind::ReplicaSet => {
                watches.others[kind as usize - 1].last_known_of(&name)
            }
            Source::Watches(watches) => match watches.replica_sets.fresh(&name).flatten() {
                Some(known) => Ok(Some(known)),
                None => get(client, kind, namespace, &name, deadline).await.map(Some),
            },
            Source::Workload if kind != Kind::ReplicaSet => Err(not_asked(kind.plural())),
            _ => get(client, kind, namespace, &name, deadline).await.map(Some),
        };
        match found {
            Err(error) if kind == Kind::ReplicaSet => return Err(error),
            Err(error) => controllers[kind as usize] = Err(unknown_annotations(error)),
            Ok(None) => {}
            Ok(Some(controller)) => {
                next = controller.owner.clone();
                if let Ok(known) = &mut controllers[kind as usize] {
                    Arc::make_mut(known).insert(name.into(), controller);
                }
            }
        }
    }
    let autoscalers = match source {
        Source::Watches(watches) => watches.autoscalers(),
        Source::Server => list_autoscalers(client, namespace, deadline).await,
        Source::Workload => Err(not_asked(HPAS)),
    };
    let limits = match source {
        Source::Watches(watches) => watches.limits(),
        Source::Server => list_limits(client, namespace, deadline).await,
        Source::Workload => None,
    };
    let autoscalers = autoscalers.map_err(unknown_autoscalers);
    let mut known = KnownContext { controllers, owners: Owners::new(), autoscalers, limits };
    let asked_anew = OwnerCache::default();
    let cache = match source {
        Source::Watches(watches) => &watches.owners,
        Source::Server | Source::Workload => &asked_anew,
    };
    known.follow_owners(client, namespace, std::iter::once(pod), cache, deadline).await;
    Ok(known)
}

/// What cannot be read in a moment bounds nothing.
async fn list_limits(
    client: &Client,
    namespace: &str,
    deadline: Deadline,
) -> Option<Arc<NamespaceLimits>> {
    let all = ListParams::default();
    let deadline = Deadline::after(deadline.left().min(TIMEOUT));
    let ranges = Api::<LimitRange>::namespaced(client.clone(), namespace);
    let quotas = Api::<ResourceQuota>::namespaced(client.clone(), namespace);
    let call = |resource| Call::over("list", resource, namespace);
    let (ranges, quotas) = futures::join!(
        with_retries(call(LIMIT_RANGES), deadline, || ranges.list(&all)),
        with_retries(call(QUOTAS), deadline, || quotas.list(&all)),
    );
    let ranges = ranges.iter().flat_map(|list| &list.items).filter_map(from_limit_range);
    let quotas = quotas.iter().flat_map(|list| &list.items).filter_map(from_quota);
    together(ranges.chain(quotas))
}

async fn list_autoscalers(
    client: &Client,
    namespace: &str,
    deadline: Deadline,
) -> Result<CompetingAutoscalers, ClusterError> {
    let all = ListParams::default();
    let api = Api::<HorizontalPodAutoscaler>::namespaced(client.clone(), namespace);
    let hpas =
        with_retries(Call::over("list", HPAS, namespace), deadline, || api.list(&all)).await?;
    let mut vpas = Vec::new();
    if serves_vpas(client, deadline).await? {
        let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &vpa_resource());
        vpas = with_retries(Call::over("list", VPAS, namespace), deadline, || api.list(&all))
            .await?
            .items;
    }
    let autoscalers = hpas.iter().filter_map(from_hpa).chain(vpas.iter().filter_map(from_vpa));
    Ok(CompetingAutoscalers::new(autoscalers.map(Arc::new)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::core::overrides::Mode;

    fn owner(group: &str, kind: &str, name: &str) -> Shared<Owner> {
        Shared::new(Owner {
            group: group.into(),
            kind: kind.into(),
            name: name.into(),
            uid: "w".into(),
        })
    }

    fn annotated(mode: &str) -> Value {
        json!({"annotations": {"dqn-scaler.io/mode": mode}})
    }

    fn controller(owner: Option<Shared<Owner>>, mode: Option<&str>) -> Arc<Controller> {
        let object = json!({"metadata": mode.map_or(json!({}), annotated)});
        Arc::new(Controller { owner, ..Controller::read(&serde_json::from_value(object).unwrap()) })
    }

    fn pod(of: Option<Shared<Owner>>, mode: Option<&str>) -> Pod {
        let mut metadata = mode.map_or(json!({}), annotated);
        for (field, value) in [("namespace", "default"), ("name", "web-1"), ("uid", "u")] {
            metadata[field] = value.into();
        }
        let pod = crate::cluster::convert::pod(
            &serde_json::from_value(json!({"metadata": metadata})).unwrap(),
        )
        .unwrap();
        Pod { owner: of, ..pod }
    }

    /// Pod, ReplicaSet, Deployment, and an operator's own kind above it.
    fn known(autoscalers: &[(&str, &str, &str)]) -> KnownContext {
        let sets = [
            ("web", controller(Some(owner("apps", "Deployment", "web")), Some("off"))),
            ("alone", controller(None, Some("recommend"))),
            ("canary", controller(Some(owner("example.test", "Rollout", "canary")), None)),
        ];
        let deployments =
            [("web", controller(Some(owner("example.test", "App", "shop")), Some("live")))];
        let named = |(name, controller): (&str, _)| (name.into(), controller);
        let of_kinds = [Vec::from(sets), Vec::from(deployments), vec![], vec![]];
        let autoscalers = autoscalers.iter().map(|(version, kind, name)| {
            let spec = json!({"targetRef": {"apiVersion": version, "kind": kind, "name": name}});
            let vpa =
                serde_json::from_value(json!({"metadata": {"name": "v"}, "spec": spec})).unwrap();
            Arc::new(from_vpa(&vpa).unwrap())
        });
        KnownContext {
            controllers: of_kinds
                .map(|controllers| Ok(Arc::new(controllers.into_iter().map(named).collect()))),
            owners: [
                (owner("example.test", "App", "shop"), Some(owner("example.test", "Suite", "all"))),
                (owner("batch", "Job", "nightly-1"), Some(owner("jobs.test", "JobSet", "batch"))),
            ]
            .map(|(of, owner)| (of, Some(controller(owner, None))))
            .into(),
            autoscalers: Ok(CompetingAutoscalers::new(autoscalers)),
            limits: None,
        }
    }

    #[test]
    fn the_wishes_are_the_pods_then_the_workloads() {
        let mode = |of: Option<Shared<Owner>>, own| {
            known(&[]).of(&pod(of, own)).1.overrides.and_then(|overrides| overrides.mode)
        };
        let web = || Some(owner("apps", "ReplicaSet", "web"));
        assert_eq!(
            mode(web(), None),
            Some(Mode::Live),
            "the Deployment's, not its ReplicaSet's copy"
        );
        assert_eq!(mode(web(), Some("off")), Some(Mode::Off));
        assert_eq!(mode(Some(owner("apps", "ReplicaSet", "alone")), None), Some(Mode::Recommend));
        assert_eq!(mode(None, Some("off")), Some(Mode::Off));
        assert_eq!(mode(Some(owner("batch", "Job", "web")), None), None);
    }

    #[test]
    fn an_autoscaler_may_target_any_controller_on_the_way() {
        let autoscalers =
            |target, of| known(&[target]).of(&pod(Some(of), None)).1.autoscalers.len();
        let web = || owner("apps", "ReplicaSet", "web");
        for target in [
            ("apps/v1", "ReplicaSet", "web"),
            ("apps/v1", "Deployment", "web"),
            ("example.test/v2", "App", "shop"),
            ("example.test/v1", "Suite", "all"),
        ] {
            assert_eq!(autoscalers(target, web()), 1, "{target:?}");
        }
        assert_eq!(autoscalers(("other.test/v1", "App", "shop"), web()), 0, "of another group");
        assert_eq!(
            autoscalers(
                ("example.test/v1", "Rollout", "canary"),
                owner("apps", "ReplicaSet", "canary")
            ),
            1
        );
        assert_eq!(
            autoscalers(
                ("kafka.test/v1", "PodSet", "kafka"),
                owner("kafka.test", "PodSet", "kafka")
            ),
            1
        );
    }

    #[test]
    fn a_name_is_guessed_from_only_where_the_owner_cannot_be_read() {
        let autoscalers = |target, job| {
            let job = owner("batch", "Job", job);
            known(&[target]).of(&pod(Some(job), None)).1.autoscalers.len()
        };
        assert_eq!(autoscalers(("batch/v1", "CronJob", "unread"), "unread-1"), 1);
        assert_eq!(autoscalers(("batch/v1", "CronJob", "nightly"), "nightly-1"), 0);
        assert_eq!(autoscalers(("jobs.test/v1", "JobSet", "batch"), "nightly-1"), 1);
    }

    #[test]
    fn the_first_owner_that_was_not_asked_for_is_found() {
        let mut known = known(&[]);
        let web = owner("apps", "ReplicaSet", "web");
        let top = owner("example.test", "Suite", "all");
        assert_eq!(known.first_unread(&web), Some(top.clone()));
        known.owners.insert(top.clone(), None);
        assert_eq!(known.first_unread(&web), None, "it cannot be read");
        known.owners.insert(top.clone(), Some(controller(Some(top), None)));
        assert_eq!(known.first_unread(&web), None, "it owns itself");
        assert_eq!(known.first_unread(&owner("apps", "ReplicaSet", "alone")), None);
        assert_eq!(known.first_unread(&owner("apps", "ReplicaSet", "new")), None);
    }

    #[test]
    fn the_workload_is_the_deployment_and_no_further() {
        let workload = |of| known(&[]).of(&pod(Some(of), None)).0.unwrap();
        assert_eq!(
            workload(owner("apps", "ReplicaSet", "web")),
            owner("apps", "Deployment", "web")
        );
        assert_eq!(
            workload(owner("apps", "ReplicaSet", "alone")),
            owner("apps", "ReplicaSet", "alone")
        );
        assert_eq!(
            workload(owner("apps", "StatefulSet", "db")),
            owner("apps", "StatefulSet", "db")
        );
    }

    #[test]
    fn what_is_not_known_is_told_where_it_matters() {
        let unknown = |known: &KnownContext, kind| {
            known.of(&pod(Some(owner("apps", kind, "web")), None)).1.unknown
        };
        let mut some = known(&[]);
        assert_eq!(unknown(&some, "ReplicaSet"), None);
        some.controllers[Kind::StatefulSet as usize] = Err(unknown_annotations("no right"));
        assert_eq!(unknown(&some, "ReplicaSet"), None);
        assert_eq!(unknown(&some, "StatefulSet"), Some(unknown_annotations("no right")));
        some.autoscalers = Err(unknown_autoscalers("no answer"));
        assert_eq!(unknown(&some, "ReplicaSet"), Some(unknown_autoscalers("no answer")));
        assert_eq!(some.of(&pod(None, None)).1.unknown, None, "nobody else scales a bare pod");
        let new = some.of(&pod(Some(owner("apps", "ReplicaSet", "new")), None)).1.unknown.unwrap();
        assert!(matches!(&*new, UnknownContext::Annotations(why) if why.contains("new")));
    }
}
