//! The pods of the watched namespaces, which workload each belongs to, and what binds it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod as KubePod;
use kube::api::ListParams;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio_util::task::AbortOnDropHandle;

use super::context::{ContextCache, KnownContext, Source, of_one};
use super::convert;
use super::partial_pod::PartialPod;
use super::resource_cache::{Items, ResourceCache};
use crate::blocking::run_blocking;
use crate::client::error::{Call, ClusterError};
use crate::client::retry::{Deadline, with_retries};
use crate::core::context::OwnedPod;
use crate::core::pod::Pod;

fn owned(pod: Arc<Pod>, known: &KnownContext) -> OwnedPod {
    let (workload, context) = known.of(&pod);
    OwnedPod { pod, workload, context }
}

/// The pods that could be read, sorted by namespace and name.
pub struct Listing {
    pub pods: Vec<OwnedPod>,
    pub unreadable: Vec<Unreadable>,
}

/// A namespace that could not be read, and why.
#[derive(Debug, Clone)]
pub struct Unreadable {
    pub namespace: String,
    pub error: ClusterError,
}

struct NamespaceWatch {
    pods: Arc<ResourceCache<Pod>>,
    contexts: ContextCache,
    _task: AbortOnDropHandle<()>,
}

pub struct Inventory {
    client: Client,
    watches: Mutex<HashMap<String, Arc<NamespaceWatch>>>,
}

impl Inventory {
    pub fn new(client: Client) -> Self {
        Self { client, watches: Mutex::default() }
    }

    /// Watches these namespaces and no others from now on.
    pub fn watch(&self, namespaces: &[String]) {
        let wanted: HashSet<_> = namespaces.iter().collect();
        let mut watches = self.watches.lock();
        watches.retain(|namespace, _| wanted.contains(namespace));
        for namespace in namespaces {
            watches.entry(namespace.clone()).or_insert_with(|| Arc::new(self.start(namespace)));
        }
    }

    fn start(&self, namespace: &str) -> NamespaceWatch {
        let pods = Arc::new(ResourceCache::telling("pods", namespace, is_in_need));
        let of_pods = pods
            .clone()
            .follow(Api::<PartialPod>::namespaced(self.client.clone(), namespace), |pod| {
                convert::pod(&pod.0)
            });
        let _task = AbortOnDropHandle::new(tokio::spawn(of_pods));
        NamespaceWatch { pods, contexts: ContextCache::start(&self.client, namespace), _task }
    }

    /// Every pod of the namespaces. One that cannot be read costs only itself, unless none can.
    pub async fn pods(
        &self,
        namespaces: &[String],
        deadline: Deadline,
    ) -> Result<Listing, ClusterError> {
        self.watch(namespaces);
        let found = join_all(namespaces.iter().map(|name| self.namespace(name, deadline))).await;
        let (mut read, mut unreadable) = (Vec::new(), Vec::new());
        for (namespace, found) in namespaces.iter().zip(found) {
            match found {
                Ok(found) => read.push(found),
                Err(error) => {
                    unreadable.push(Unreadable { namespace: namespace.clone(), error });
                }
            }
        }
        if let (true, Some(first)) = (read.is_empty(), unreadable.first()) {
            return Err(first.error.clone());
        }
        let pods = run_blocking(|| {
            let pods =
                read.into_iter().flat_map(|(pods, known)| joined(pods, &known).collect::<Vec<_>>());
            let mut all: Vec<_> = pods.collect();
            all.sort_unstable_by(|a, b| a.pod.key.cmp(&b.pod.key));
            all.dedup_by(|a, b| a.pod.key == b.pod.key);
            all
        });
        Ok(Listing { pods, unreadable })
    }

    async fn namespace(
        &self,
        namespace: &str,
        deadline: Deadline,
    ) -> Result<(Items<Pod>, KnownContext), ClusterError> {
        let watch = self.watches.lock().get(namespace).cloned();
        let watch = watch.unwrap_or_else(|| Arc::new(self.start(namespace)));
        let pods = watch.pods.items(deadline, || self.probe(namespace, deadline)).await?;
        let known = watch.contexts.settled(&self.client, namespace, &pods, deadline).await?;
        Ok((pods, known))
    }

    async fn probe(&self, namespace: &str, deadline: Deadline) -> Result<(), ClusterError> {
        let api = Api::<KubePod>::namespaced(self.client.clone(), namespace);
        let one = ListParams::default().limit(1);
        with_retries(Call::over("list", "pods", namespace), deadline, || api.list_metadata(&one))
            .await
            .map(drop)
    }

    /// One pod and its workload, asked for directly: it may be in a namespace that is not watched,
    /// of which no more is known.
    pub async fn pod(
        &self,
        namespace: &str,
        name: &str,
        deadline: Deadline,
    ) -> Result<OwnedPod, ClusterError> {
        let watch = self.watches.lock().get(namespace).cloned();
        let source =
            watch.as_ref().map_or(Source::Workload, |watch| Source::Watches(&watch.contexts));
        self.with_context(self.fetch(namespace, name, deadline).await?, source, deadline).await
    }

    /// The same, with all that binds it.
    pub async fn pod_with_context(
        &self,
        namespace: &str,
        name: &str,
        deadline: Deadline,
    ) -> Result<OwnedPod, ClusterError> {
        let watch = self.watches.lock().get(namespace).cloned();
        let pod = self.fetch(namespace, name, deadline).await?;
        let Some(watch) = watch else {
            return self.with_context(pod, Source::Server, deadline).await;
        };
        watch.contexts.settle(deadline).await;
        self.with_context(pod, Source::Watches(&watch.contexts), deadline).await
    }

    /// One pod by itself.
    pub async fn fetch(
        &self,
        namespace: &str,
        name: &str,
        deadline: Deadline,
    ) -> Result<Pod, ClusterError> {
        let api = Api::<KubePod>::namespaced(self.client.clone(), namespace);
        let call = Call::on("get", "pods", namespace, name);
        let object = with_retries(call.clone(), deadline, || api.get(name)).await?;
        convert::pod(&object).ok_or_else(|| ClusterError::Unavailable {
            call,
            message: "the answer has no name or uid".into(),
        })
    }

    async fn with_context(
        &self,
        pod: Pod,
        source: Source<'_>,
        deadline: Deadline,
    ) -> Result<OwnedPod, ClusterError> {
        let known = of_one(&self.client, &pod, source, deadline).await?;
        Ok(owned(Arc::new(pod), &known))
    }

    /// Pods that have begun to run, or were killed for memory, since this was last asked.
    pub fn take_news(&self) -> Vec<OwnedPod> {
        let watches: Vec<_> = self.watches.lock().values().cloned().collect();
        watches.iter().flat_map(|watch| watch.owned(watch.pods.take_news())).collect()
    }

    /// What the watches know of a pod now, if they are in order.
    pub fn watched(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let watch = self.watches.lock().get(namespace).cloned()?;
        watch.pods.is_fresh().then(|| watch.pods.last_known_of(name).ok().flatten())?
    }

    /// These pods as the watches know them now, with what binds them; not those of which they know
    /// nothing.
    pub fn watched_with_context(&self, pods: Vec<Arc<Pod>>) -> Vec<OwnedPod> {
        let mut by_namespace: HashMap<String, Vec<Arc<Pod>>> = HashMap::new();
        for pod in pods {
            by_namespace.entry(pod.key.namespace.clone()).or_default().push(pod);
        }
        let watches = self.watches.lock();
        let found = by_namespace
            .into_iter()
            .filter_map(|(namespace, pods)| Some((watches.get(&namespace).cloned()?, pods)));
        let found: Vec<_> = found.collect();
        drop(watches);
        found.into_iter().flat_map(|(watch, pods)| watch.owned(pods)).collect()
    }

    /// Whether every watch that the pods are known by is complete and in order, but for namespaces
    /// that this service may not read, unless it may read none.
    pub fn is_fresh(&self) -> bool {
        let watches = self.watches.lock();
        let is_forbidden = |watch: &&Arc<NamespaceWatch>| {
            matches!(watch.pods.fault(), Some(ClusterError::Forbidden { .. }))
        };
        let mut readable = watches.values().filter(|watch| !is_forbidden(watch)).peekable();
        (readable.peek().is_some() || watches.is_empty())
            && readable.all(|watch| watch.pods.is_fresh() && watch.contexts.is_fresh())
    }

    /// The namespaces whose pods cannot be read now.
    pub fn unreadable(&self) -> Vec<Unreadable> {
        let watches = self.watches.lock();
        let faults = watches.iter().filter_map(|(namespace, watch)| {
            let error = watch.pods.fault()?;
            Some(Unreadable { namespace: namespace.clone(), error })
        });
        let mut unreadable: Vec<_> = faults.collect();
        unreadable.sort_unstable_by(|a, b| a.namespace.cmp(&b.namespace));
        unreadable
    }

    /// Why it is not known what binds some pods, so that they are not changed.
    pub fn never_read(&self) -> Vec<ClusterError> {
        let watches: Vec<_> = self.watches.lock().values().cloned().collect();
        watches.iter().flat_map(|watch| watch.contexts.never_read()).collect()
    }

    /// The pods that the watches have brought so far.
    pub fn known(&self) -> Vec<OwnedPod> {
        let watches: Vec<_> = self.watches.lock().values().cloned().collect();
        let mut all = Vec::new();
        for watch in watches {
            all.extend(joined(watch.pods.known(), &watch.contexts.known()));
        }
        all
    }
}

impl NamespaceWatch {
    fn owned(&self, pods: Vec<Arc<Pod>>) -> Vec<OwnedPod> {
        if pods.is_empty() || !self.pods.is_fresh() || !self.contexts.is_fresh() {
            return Vec::new();
        }
        let known = self.contexts.known_of(pods.iter().map(Arc::as_ref));
        pods.into_iter().map(|pod| owned(pod, &known)).collect()
    }
}

/// A pod that has begun to run, or of which a container was killed for memory.
fn is_in_need(before: Option<&Pod>, now: &Pod) -> bool {
    let runs = |pod: &Pod| &*pod.phase == "Running" && !pod.deleting;
    let before = before.filter(|before| before.key.uid == now.key.uid && runs(before));
    let Some(before) = before else { return runs(now) };
    let kills = |pod: &Pod| pod.states.iter().map(|state| state.oom_kill).collect::<Vec<_>>();
    runs(now) && kills(now) != kills(before)
}

/// Pods with what is known of the controllers behind them.
fn joined(pods: Items<Pod>, known: &KnownContext) -> impl Iterator<Item = OwnedPod> {
    pods.into_values().map(|pod| owned(pod, known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::pod::{ContainerResources, ContainerState, OomKill, PodContainer, PodKey};

    #[test]
    fn a_pod_is_in_need_when_it_begins_to_run_and_with_each_kill() {
        let key = PodKey { namespace: "shop".into(), name: "web-1".into(), uid: "u1".into() };
        let app = PodContainer::new("app", ContainerResources::default());
        let running = Pod::new(key, vec![app]);
        let pending = Pod { phase: "Pending".into(), ..running.clone() };
        let killed = |restart| {
            let kill = OomKill { restart, finished_at: 100 };
            let state = ContainerState { oom_kill: Some(kill), ..ContainerState::default() };
            Pod { states: Box::new([state]), ..running.clone() }
        };
        let mut another = running.clone();
        another.key.uid = "u2".into();
        let leaving = Pod { deleting: true, ..running.clone() };
        assert!(is_in_need(None, &running) && is_in_need(Some(&pending), &running));
        assert!(is_in_need(Some(&another), &running), "a StatefulSet gives a name again");
        assert!(is_in_need(Some(&running), &killed(1)) && is_in_need(Some(&killed(1)), &killed(2)));
        assert!(!is_in_need(Some(&running), &running) && !is_in_need(None, &pending));
        assert!(!is_in_need(Some(&killed(1)), &killed(1)) && !is_in_need(None, &leaving));
    }
}
