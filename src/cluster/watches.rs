//! Which watches there are: one a kind and namespace, or one a kind over the whole cluster where
//! there are many namespaces and the rights allow it.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{join_all, select};
use kube::core::DynamicObject;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::autoscalers::{from_hpa, from_vpa, serves_vpas, vpa_resource};
use super::context::{ContextCache, HPAS, LIMIT_RANGES, QUOTAS, VPAS};
use super::controllers::{Controller, Kind, Object};
use super::convert;
use super::feed::{Feed, WatchEnds};
use super::namespace_limits::{from_limit_range, from_quota};
use super::partial_pod::PartialPod;
use super::resource_cache::ResourceCache;
use crate::client::retry::Deadline;
use crate::core::autoscalers::CompetingAutoscaler;
use crate::core::pod::Pod;

/// Up to so many namespaces are watched one by one: each of them takes a connection a kind, but
/// nothing of other namespaces is sent.
pub const ONE_BY_ONE: usize = 10;
/// How often the cluster is asked whether it knows VerticalPodAutoscalers by now.
const POLL_INTERVAL: Duration = Duration::from_secs(60);

/// The copies of one namespace.
pub struct NamespaceCaches {
    pub pods: Arc<ResourceCache<Pod>>,
    pub contexts: ContextCache,
}

impl NamespaceCaches {
    pub fn new(namespace: &str, told: Arc<Notify>) -> Self {
        let pods = Arc::new(ResourceCache::telling("pods", namespace, is_in_need, told));
        Self { pods, contexts: ContextCache::new(namespace) }
    }
}

/// A pod that has begun to run, or of which a container was killed for memory, or runs and did not
/// before.
fn is_in_need(before: Option<&Pod>, now: &Pod) -> bool {
    let runs = |pod: &Pod| &*pod.phase == "Running" && !pod.deleting;
    let before = before.filter(|before| before.key.uid == now.key.uid && runs(before));
    let Some(before) = before else { return runs(now) };
    let kills = |pod: &Pod| pod.states.iter().map(|state| state.oom_kill).collect::<Vec<_>>();
    let mut states = before.states.iter().zip(&now.states);
    runs(now) && (kills(now) != kills(before) || states.any(|(old, new)| old.down && !new.down))
}

/// The watches of one namespace, or of many together. They end when this is dropped.
pub struct Watches {
    pub namespaces: Vec<String>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

type ApiOf<K> = dyn Fn(Option<&str>) -> Api<K> + Send + Sync;

/// One kind in some namespaces: the copies, and what they are fed with.
struct Watched<K, V> {
    resource: &'static str,
    caches: HashMap<String, Arc<ResourceCache<V>>>,
    metadata: bool,
    /// Of one namespace, or without one.
    api: Box<ApiOf<K>>,
    convert: fn(&K) -> Option<V>,
    ends: Arc<WatchEnds>,
}

impl<K, V> Watched<K, V>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    V: PartialEq + Send + Sync + 'static,
{
    /// For ever: together, or one by one where that is not allowed.
    async fn follow(&self) {
        let feed = |caches| {
            let feed = Feed::new(self.resource, caches, self.ends.clone());
            if self.metadata { feed.of_metadata() } else { feed }
        };
        if self.caches.len() > 1 {
            feed(self.caches.clone()).follow((self.api)(None), self.convert).await;
        }
        join_all(self.caches.iter().map(|(namespace, cache)| {
            feed(HashMap::from([(namespace.clone(), cache.clone())]))
                .follow((self.api)(Some(namespace)), self.convert)
        }))
        .await;
    }
}

impl Watches {
    pub fn start(
        client: &Client,
        caches: &[(String, Arc<NamespaceCaches>)],
        ends: &Arc<WatchEnds>,
    ) -> Self {
        let mut started = Starting { client, caches, ends, tasks: Vec::new() };
        started.typed::<PartialPod, _>("pods", |pod| convert::pod(&pod.0), |of| of.pods.clone());
        started.controllers(
            Kind::ReplicaSet,
            |set| Some(Controller::read(set)),
            |of| of.replica_sets.clone(),
        );
        for (index, kind) in
            [Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet].into_iter().enumerate()
        {
            started.controllers(kind, Controller::if_any, move |of| of.others[index].clone());
        }
        started.typed(HPAS, from_hpa, |of| of.contexts.hpas.clone());
        started.typed(LIMIT_RANGES, from_limit_range, |of| of.contexts.limit_ranges.clone());
        started.typed(QUOTAS, from_quota, |of| of.contexts.quotas.clone());
        started.vpas();
        let tasks = started.tasks;
        let namespaces = caches.iter().map(|(namespace, _)| namespace.clone()).collect();
        Self { namespaces, _tasks: tasks.into_iter().map(AbortOnDropHandle::new).collect() }
    }
}

struct Starting<'a> {
    client: &'a Client,
    caches: &'a [(String, Arc<NamespaceCaches>)],
    ends: &'a Arc<WatchEnds>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Starting<'_> {
    fn watched<K, V>(
        &self,
        resource: &'static str,
        convert: fn(&K) -> Option<V>,
        cache: impl Fn(&NamespaceCaches) -> Arc<ResourceCache<V>>,
        api: impl Fn(&Client, Option<&str>) -> Api<K> + Send + Sync + 'static,
    ) -> Watched<K, V> {
        let caches = self.caches.iter().map(|(name, caches)| (name.clone(), cache(caches)));
        let client = self.client.clone();
        Watched {
            resource,
            caches: caches.collect(),
            metadata: false,
            api: Box::new(move |namespace| api(&client, namespace)),
            convert,
            ends: self.ends.clone(),
        }
    }

    fn typed<K, V>(
        &mut self,
        resource: &'static str,
        convert: fn(&K) -> Option<V>,
        cache: impl Fn(&NamespaceCaches) -> Arc<ResourceCache<V>>,
    ) where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
        K: Clone + DeserializeOwned + Debug + Send + 'static,
        V: PartialEq + Send + Sync + 'static,
    {
        let api = |client: &Client, namespace: Option<&str>| match namespace {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        };
        let watched = self.watched(resource, convert, cache, api);
        self.tasks.push(tokio::spawn(async move { watched.follow().await }));
    }

    fn controllers(
        &mut self,
        kind: Kind,
        convert: fn(&Object) -> Option<Controller>,
        cache: impl Fn(&ContextCache) -> Arc<ResourceCache<Controller>>,
    ) {
        let api = move |client: &Client, namespace: Option<&str>| kind.api(client, namespace);
        let watched = self.watched(kind.plural(), convert, |of| cache(&of.contexts), api);
        let watched = Watched { metadata: true, ..watched };
        self.tasks.push(tokio::spawn(async move { watched.follow().await }));
    }

    fn vpas(&mut self) {
        let api = |client: &Client, namespace: Option<&str>| match namespace {
            Some(namespace) => {
                Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &vpa_resource())
            }
            None => Api::all_with(client.clone(), &vpa_resource()),
        };
        let cache = |of: &NamespaceCaches| of.contexts.vpas.clone();
        let watched = self.watched(VPAS, from_vpa, cache, api);
        self.tasks.push(tokio::spawn(follow_vpas(watched, self.client.clone())));
    }
}

/// The kind comes and goes with its add-on.
async fn follow_vpas(watched: Watched<DynamicObject, CompetingAutoscaler>, client: Client) {
    let serves = || serves_vpas(&client, Deadline::default());
    loop {
        match serves().await {
            Ok(true) => {
                let removed = async {
                    tokio::time::sleep(POLL_INTERVAL).await;
                    while !matches!(serves().await, Ok(false)) {
                        tokio::time::sleep(POLL_INTERVAL).await;
                    }
                };
                select(watched.follow().boxed(), removed.boxed()).await;
                // It may be back at once: what was known holds until it is seen to be gone once
                // more.
                tokio::time::sleep(POLL_INTERVAL / 6).await;
            }
            Ok(false) => {
                watched.caches.values().for_each(|cache| cache.holds_nothing());
                tokio::time::sleep(POLL_INTERVAL.mul_f64(rand::random_range(0.8..1.2))).await;
            }
            Err(fault) => {
                tracing::warn!(error = %fault, "it is not known whether there are autoscalers");
                watched.caches.values().for_each(|cache| cache.unknown(&fault));
                tokio::time::sleep(POLL_INTERVAL / 6).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::pod::{ContainerResources, ContainerState, OomKill, PodContainer, pod_key};

    #[test]
    fn a_pod_is_in_need_when_some_of_it_begins_to_run_and_with_each_kill() {
        let key = pod_key("shop", "web-1", "u1");
        let app = PodContainer::new("app", ContainerResources::default());
        let running = Pod::new(key, vec![app]);
        let pending = Pod { phase: "Pending".into(), ..running.clone() };
        let killed = |restart| {
            let kill = OomKill { restart, finished_at: 100 };
            let state = ContainerState { oom_kill: Some(kill), ..ContainerState::default() };
            Pod { states: Box::new([state]), ..running.clone() }
        };
        let down = ContainerState { down: true, ..ContainerState::default() };
        let down = Pod { states: Box::new([down]), ..running.clone() };
        let up = Pod { states: Box::new([ContainerState::default()]), ..running.clone() };
        let another = Pod { key: pod_key("shop", "web-1", "u2"), ..running.clone() };
        let leaving = Pod { deleting: true, ..running.clone() };
        assert!(is_in_need(None, &running) && is_in_need(Some(&pending), &running));
        assert!(is_in_need(Some(&another), &running), "a StatefulSet gives a name again");
        assert!(is_in_need(Some(&running), &killed(1)) && is_in_need(Some(&killed(1)), &killed(2)));
        assert!(is_in_need(Some(&down), &up) && !is_in_need(Some(&up), &down));
        assert!(!is_in_need(Some(&running), &running) && !is_in_need(None, &pending));
        assert!(!is_in_need(Some(&killed(1)), &killed(1)) && !is_in_need(None, &leaving));
    }
}
