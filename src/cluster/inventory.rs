//! The pods of the watched namespaces, which workload each belongs to, and what binds it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod as KubePod;
use kube::api::ListParams;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::context::{KnownContext, Source, of_one};
use super::controllers::Kind;
use super::convert;
use super::feed::WatchEnds;
use super::reads::{KEPT, Once, ReadLimiter};
use super::resource_cache::Items;
use super::watches::{NamespaceCaches, ONE_BY_ONE, Watches};
use crate::blocking::run_blocking;
use crate::client::error::{Call, ClusterError};
use crate::client::retry::{Deadline, with_retries};
use crate::core::context::OwnedPod;
use crate::core::pod::Pod;

fn owned(pod: Arc<Pod>, known: &KnownContext) -> OwnedPod {
    let (workload, context) = known.of(&pod);
    OwnedPod { pod, workload, context }
}

/// The pods that could be read, namespace by namespace.
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

pub struct Inventory {
    client: Client,
    /// Many namespaces may be watched by looking at the whole cluster.
    whole: bool,
    ends: Arc<WatchEnds>,
    watched: Mutex<Watched>,
    /// When a pod is news.
    told: Arc<Notify>,
    reads: Reads,
}

#[derive(Default)]
struct Watched {
    caches: HashMap<String, Arc<NamespaceCaches>>,
    watches: Vec<Watches>,
}

/// By namespace and name.
type Name = (String, String);

/// What is asked for beside the watches.
struct Reads {
    limiter: Arc<ReadLimiter>,
    /// For those who only look.
    looks: Once<Name, Result<OwnedPod, ClusterError>>,
    /// For those who want to change something: nothing that was answered before counts.
    pods: Once<Name, Result<Arc<Pod>, ClusterError>>,
    probes: Once<(&'static str, String), Result<(), ClusterError>>,
}

impl Inventory {
    pub fn new(client: Client, whole: bool) -> Self {
        let reads = Reads {
            limiter: Arc::default(),
            looks: Once::new(KEPT),
            pods: Once::new(Duration::ZERO),
            probes: Once::new(KEPT),
        };
        let (ends, watched, told) = (Arc::default(), Mutex::default(), Arc::default());
        Self { client, whole, ends, watched, told, reads }
    }

    /// Watches these namespaces and no others from now on. What is known of those that stay, stays.
    pub fn watch(&self, namespaces: &[String]) {
        let mut wanted: Vec<_> = namespaces.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        let mut watched = self.watched.lock();
        let Watched { caches, watches } = &mut *watched;
        caches.retain(|namespace, _| wanted.binary_search(namespace).is_ok());
        for namespace in &wanted {
            let new = || Arc::new(NamespaceCaches::new(namespace, self.told.clone()));
            caches.entry(namespace.clone()).or_insert_with(new);
        }
        let together = self.whole && wanted.len() > ONE_BY_ONE;
        let groups: Vec<_> =
            if together { vec![wanted.as_slice()] } else { wanted.chunks(1).collect() };
        watches.retain(|watches| groups.contains(&watches.namespaces.as_slice()));
        for group in groups {
            if watches.iter().all(|watches| watches.namespaces != group) {
                let of = |name: &String| Some((name.clone(), caches.get(name)?.clone()));
                let caches: Vec<_> = group.iter().filter_map(of).collect();
                watches.push(Watches::start(&self.client, &caches, &self.ends));
            }
        }
    }

    /// How often watches had to be taken up again, by resource and reason.
    pub fn watch_ends(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        self.ends.counts()
    }

    fn caches(&self, namespace: &str) -> Option<Arc<NamespaceCaches>> {
        self.watched.lock().caches.get(namespace).cloned()
    }

    fn all_caches(&self) -> Vec<(String, Arc<NamespaceCaches>)> {
        let watched = self.watched.lock();
        watched.caches.iter().map(|(name, caches)| (name.clone(), caches.clone())).collect()
    }

    /// Every pod of the namespaces. One that cannot be read costs only itself, unless none can.
    pub async fn pods(
        &self,
        namespaces: &[String],
        deadline: Deadline,
    ) -> Result<Listing, ClusterError> {
        self.watch(namespaces);
        let namespaces: BTreeSet<_> = namespaces.iter().collect();
        let found = join_all(namespaces.iter().map(|name| self.namespace(name, deadline))).await;
        let (mut read, mut unreadable) = (Vec::new(), Vec::new());
        for (namespace, found) in namespaces.into_iter().zip(found) {
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
            let count = read.iter().map(|(pods, _)| pods.len()).sum();
            let mut all = Vec::with_capacity(count);
            for (pods, known) in &read {
                all.extend(in_order(pods).into_iter().map(|pod| owned(pod, known)));
            }
            all
        });
        Ok(Listing { pods, unreadable })
    }

    async fn namespace(
        &self,
        namespace: &str,
        deadline: Deadline,
    ) -> Result<(Arc<Items<Pod>>, KnownContext), ClusterError> {
        let Some(caches) = self.caches(namespace) else {
            let call = Call::over("list", "pods", namespace);
            let message = "it is not watched any longer".into();
            return Err(ClusterError::Unavailable { call, message });
        };
        let pods = caches.pods.items(deadline, || self.probe("pods", namespace)).await?;
        let sets = Kind::ReplicaSet.plural();
        let probe = || self.probe(sets, namespace);
        let known =
            caches.contexts.settled(&self.client, namespace, &pods, probe, deadline).await?;
        Ok((pods, known))
    }

    /// Whether the API server answers.
    async fn probe(&self, resource: &'static str, namespace: &str) -> Result<(), ClusterError> {
        let (client, of) = (self.client.clone(), namespace.to_owned());
        let question = || async move {
            let (one, deadline) = (ListParams::default().limit(1), Deadline::default());
            let call = Call::over("list", resource, &of);
            let (pods, sets) = (
                Api::<KubePod>::namespaced(client.clone(), &of),
                Api::<ReplicaSet>::namespaced(client, &of),
            );
            if resource == "pods" {
                with_retries(call, deadline, || pods.list_metadata(&one)).await.map(drop)
            } else {
                with_retries(call, deadline, || sets.list_metadata(&one)).await.map(drop)
            }
        };
        self.reads.probes.ask((resource, namespace.to_owned()), question).await
    }

    /// One pod and its workload, for those who only look: as the watches have it, and asked for
    /// where it is not watched, of which no more is known.
    pub async fn look(
        &self,
        namespace: &str,
        name: &str,
        deadline: Deadline,
    ) -> Result<OwnedPod, ClusterError> {
        if let Some(caches) = self.caches(namespace)
            && let Some(found) = caches.pods.fresh(name)
        {
            let Some(pod) = found else {
                let call = Call::on("get", "pods", namespace, name);
                let message = format!("pods {name:?} not found");
                return Err(ClusterError::NotFound { call, message });
            };
            let source = Source::Watches(&caches.contexts);
            return with_context(&self.client, pod, source, deadline).await;
        }
        let (client, limiter) = (self.client.clone(), self.reads.limiter.clone());
        let key = (namespace.to_owned(), name.to_owned());
        let (namespace, name) = key.clone();
        let question = || async move {
            let deadline = Deadline::default();
            limiter.turn(Call::on("get", "pods", &namespace, &name), deadline).await?;
            let pod = Arc::new(fetch(&client, &namespace, &name, deadline).await?);
            with_context(&client, pod, Source::Workload, deadline).await
        };
        self.reads.looks.ask(key, question).await
    }

    /// One pod and its workload, asked for directly, since something is to be done with it.
    pub async fn pod(
        &self,
        namespace: &str,
        name: &str,
        deadline: Deadline,
    ) -> Result<OwnedPod, ClusterError> {
        let caches = self.caches(namespace);
        let source =
            caches.as_ref().map_or(Source::Workload, |caches| Source::Watches(&caches.contexts));
        let pod = self.ask_for(namespace, name).await?;
        with_context(&self.client, pod, source, deadline).await
    }

    /// The same, with all that binds it.
    pub async fn pod_with_context(
        &self,
        namespace: &str,
        name: &str,
        deadline: Deadline,
    ) -> Result<OwnedPod, ClusterError> {
        let caches = self.caches(namespace);
        let pod = self.ask_for(namespace, name).await?;
        let Some(caches) = caches else {
            return with_context(&self.client, pod, Source::Server, deadline).await;
        };
        caches.contexts.settle(deadline).await;
        with_context(&self.client, pod, Source::Watches(&caches.contexts), deadline).await
    }

    /// In its turn, and once for all who wait.
    async fn ask_for(&self, namespace: &str, name: &str) -> Result<Arc<Pod>, ClusterError> {
        let (client, limiter) = (self.client.clone(), self.reads.limiter.clone());
        let key = (namespace.to_owned(), name.to_owned());
        let (namespace, name) = key.clone();
        let question = || async move {
            let deadline = Deadline::default();
            limiter.turn(Call::on("get", "pods", &namespace, &name), deadline).await?;
            fetch(&client, &namespace, &name, deadline).await.map(Arc::new)
        };
        self.reads.pods.ask(key, question).await
    }

    /// One pod by itself.
    pub async fn fetch(
        &self,
        namespace: &str,
        name: &str,
        deadline: Deadline,
    ) -> Result<Pod, ClusterError> {
        fetch(&self.client, namespace, name, deadline).await
    }

    /// For what else is asked for because somebody asks.
    pub fn limiter(&self) -> Arc<ReadLimiter> {
        self.reads.limiter.clone()
    }

    /// Pods that have begun to run, or were killed for memory, since this was last asked, as soon
    /// as there are any.
    pub async fn news(&self) -> Vec<OwnedPod> {
        self.told.notified().await;
        let all = self.all_caches();
        all.iter().flat_map(|(_, caches)| joined_now(caches, caches.pods.take_news())).collect()
    }

    /// What the watches know of a pod now, if they are in order.
    pub fn watched(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.caches(namespace)?.pods.fresh(name).flatten()
    }

    /// These pods as the watches know them now, with what binds them; not those of which they know
    /// nothing.
    pub fn watched_with_context(&self, pods: Vec<Arc<Pod>>) -> Vec<OwnedPod> {
        let mut by_namespace: HashMap<String, Vec<Arc<Pod>>> = HashMap::new();
        for pod in pods {
            by_namespace.entry(pod.key.namespace.clone()).or_default().push(pod);
        }
        let found = by_namespace.into_iter().filter_map(|(namespace, pods)| {
            let caches = self.caches(&namespace)?;
            Some(joined_now(&caches, pods))
        });
        found.flatten().collect()
    }

    /// Whether every watch that the pods are known by is complete and in order, and has said
    /// something lately; but for namespaces that this service may not read, unless it may read
    /// none.
    pub fn is_fresh(&self) -> bool {
        let caches = self.all_caches();
        let is_forbidden = |caches: &NamespaceCaches| {
            matches!(caches.pods.fault(), Some(ClusterError::Forbidden { .. }))
        };
        let mut readable = caches.iter().filter(|(_, caches)| !is_forbidden(caches)).peekable();
        (readable.peek().is_some() || caches.is_empty())
            && readable.all(|(_, caches)| caches.pods.is_fresh() && caches.contexts.is_fresh())
    }

    /// The namespaces whose pods cannot be read now.
    pub fn unreadable(&self) -> Vec<Unreadable> {
        let faults = self.all_caches().into_iter().filter_map(|(namespace, caches)| {
            Some(Unreadable { namespace, error: caches.pods.fault()? })
        });
        let mut unreadable: Vec<_> = faults.collect();
        unreadable.sort_unstable_by(|a, b| a.namespace.cmp(&b.namespace));
        unreadable
    }

    /// Why it is not known what binds some pods, so that they are not changed.
    pub fn never_read(&self) -> Vec<ClusterError> {
        let all = self.all_caches();
        all.iter().flat_map(|(_, caches)| caches.contexts.never_read()).collect()
    }

    /// The pods of these namespaces that the watches have brought so far; of all without any.
    pub fn known(&self, namespaces: Option<&HashSet<&str>>) -> Vec<OwnedPod> {
        let mut all = Vec::new();
        for (namespace, caches) in self.all_caches() {
            if namespaces.is_none_or(|wanted| wanted.contains(&*namespace)) {
                let known = caches.contexts.known();
                all.extend(caches.pods.known().values().map(|pod| owned(pod.clone(), &known)));
            }
        }
        all
    }
}

async fn fetch(
    client: &Client,
    namespace: &str,
    name: &str,
    deadline: Deadline,
) -> Result<Pod, ClusterError> {
    let api = Api::<KubePod>::namespaced(client.clone(), namespace);
    let call = Call::on("get", "pods", namespace, name);
    let object = with_retries(call.clone(), deadline, || api.get(name)).await?;
    convert::pod(&object).ok_or_else(|| ClusterError::Unavailable {
        call,
        message: "the answer has no name or uid".into(),
    })
}

async fn with_context(
    client: &Client,
    pod: Arc<Pod>,
    source: Source<'_>,
    deadline: Deadline,
) -> Result<OwnedPod, ClusterError> {
    let known = of_one(client, &pod, source, deadline).await?;
    Ok(owned(pod, &known))
}

/// Pods with what is known of the controllers behind them, if that is in order.
fn joined_now(caches: &NamespaceCaches, pods: Vec<Arc<Pod>>) -> Vec<OwnedPod> {
    if pods.is_empty() || !caches.pods.is_fresh() || !caches.contexts.is_fresh() {
        return Vec::new();
    }
    let known = caches.contexts.known_of(pods.iter().map(Arc::as_ref));
    let pods = pods.into_iter().filter(|pod| known.knows_job_of(pod));
    pods.map(|pod| owned(pod, &known)).collect()
}

/// Those of one controller one after the other: what they have alike is then still in the
/// processor's cache.
fn in_order(pods: &Items<Pod>) -> Vec<Arc<Pod>> {
    let mut pods: Vec<_> = pods.values().cloned().collect();
    pods.sort_unstable_by_key(|pod| pod.owner.as_ref().map(|owner| std::ptr::from_ref(&**owner)));
    pods
}
