//! The pods of the watched namespaces, and which workload each belongs to.

use std::collections::HashMap;
use std::sync::Arc;

use internment::ArcIntern as Shared;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod as KubePod;
use kube::api::ListParams;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio_util::task::AbortOnDropHandle;

use super::error::{Call, ClusterError};
use super::mirror::{Items, Mirror};
use super::pod::{Owner, Pod};
use super::retry::{Deadline, with_retries};
use super::slim::SlimPod;
use crate::blocking::at_length;

/// A pod and the workload behind it: its Deployment rather than the ReplicaSet between them.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnedPod {
    pub pod: Arc<Pod>,
    pub workload: Option<Shared<Owner>>,
}

struct NamespaceWatch {
    pods: Arc<Mirror<Pod>>,
    /// The Deployment of each ReplicaSet that has one.
    replica_sets: Arc<Mirror<Option<Shared<Owner>>>>,
    _tasks: [AbortOnDropHandle<()>; 2],
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
        let mut watches = self.watches.lock();
        watches.retain(|namespace, _| namespaces.contains(namespace));
        for namespace in namespaces {
            watches.entry(namespace.clone()).or_insert_with(|| Arc::new(self.start(namespace)));
        }
    }

    fn start(&self, namespace: &str) -> NamespaceWatch {
        let pods = Arc::new(Mirror::new("pods", namespace));
        let replica_sets = Arc::new(Mirror::new("replicasets", namespace));
        let of_pods = pods
            .clone()
            .follow(Api::<SlimPod>::namespaced(self.client.clone(), namespace), |pod| Pod::from_kube(&pod.0));
        let of_sets = replica_sets
            .clone()
            .follow(Api::<ReplicaSet>::namespaced(self.client.clone(), namespace), |set| Some(deployment(set)));
        let tasks = [tokio::spawn(of_pods), tokio::spawn(of_sets)].map(AbortOnDropHandle::new);
        NamespaceWatch { pods, replica_sets, _tasks: tasks }
    }

    /// Every pod of the namespaces, sorted by namespace and name. A namespace that cannot be listed fails the whole.
    pub async fn pods(&self, namespaces: &[String], deadline: Deadline) -> Result<Vec<OwnedPod>, ClusterError> {
        self.watch(namespaces);
        let mut all = Vec::new();
        for namespace in namespaces {
            let Some(watch) = self.watches.lock().get(namespace).cloned() else { continue };
            let pods = watch.pods.items(deadline, || self.probe::<KubePod>("pods", namespace, deadline)).await?;
            let probe = || self.probe::<ReplicaSet>("replicasets", namespace, deadline);
            let replica_sets = watch.replica_sets.items(deadline, probe).await?;
            at_length(|| all.extend(joined(pods, &replica_sets)));
        }
        at_length(|| {
            all.sort_unstable_by(|a, b| a.pod.key.cmp(&b.pod.key));
            all.dedup_by(|a, b| a.pod.key == b.pod.key);
        });
        Ok(all)
    }

    async fn probe<K>(&self, resource: &'static str, namespace: &str, deadline: Deadline) -> Result<(), ClusterError>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        let page = ListParams::default().limit(1);
        with_retries(Call::over("list", resource, namespace), deadline, || api.list_metadata(&page)).await.map(drop)
    }

    /// One pod, asked for directly: it may be in a namespace that is not watched.
    pub async fn pod(&self, namespace: &str, name: &str, deadline: Deadline) -> Result<OwnedPod, ClusterError> {
        let api = Api::<KubePod>::namespaced(self.client.clone(), namespace);
        let call = Call::on("get", "pods", namespace, name);
        let object = with_retries(call.clone(), deadline, || api.get(name)).await?;
        let pod = Pod::from_kube(&object)
            .ok_or_else(|| ClusterError::Unavailable { call, message: "the answer has no name or uid".into() })?;
        let workload = match &pod.owner {
            Some(owner) if owner.kind == "ReplicaSet" => {
                let api = Api::<ReplicaSet>::namespaced(self.client.clone(), namespace);
                let call = Call::on("get", "replicasets", namespace, &owner.name);
                let set = with_retries(call, deadline, || api.get(&owner.name)).await;
                match set {
                    Ok(set) => deployment(&set).or_else(|| pod.owner.clone()),
                    Err(error) if error.is_not_found() => pod.owner.clone(),
                    Err(error) => return Err(error),
                }
            }
            owner => owner.clone(),
        };
        Ok(OwnedPod { pod: Arc::new(pod), workload })
    }

    /// Whether every watch is complete and in order.
    pub fn is_fresh(&self) -> bool {
        self.watches.lock().values().all(|watch| watch.pods.is_fresh() && watch.replica_sets.is_fresh())
    }

    /// The pods that the watches have brought so far.
    pub fn known(&self) -> Vec<OwnedPod> {
        let watches: Vec<_> = self.watches.lock().values().cloned().collect();
        let mut all = Vec::new();
        for watch in watches {
            all.extend(joined(watch.pods.known(), &watch.replica_sets.known()));
        }
        all
    }
}

/// Pods with the workloads behind them.
fn joined(pods: Items<Pod>, replica_sets: &Items<Option<Shared<Owner>>>) -> impl Iterator<Item = OwnedPod> {
    let workload = |owner: &Shared<Owner>| match replica_sets.get(owner.name.as_str()).map(|deployment| &**deployment) {
        Some(Some(deployment)) if owner.kind == "ReplicaSet" => deployment.clone(),
        _ => owner.clone(),
    };
    pods.into_values().map(move |pod| OwnedPod { workload: pod.owner.as_ref().map(workload), pod })
}

fn deployment(set: &ReplicaSet) -> Option<Shared<Owner>> {
    let controller = set.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    controller.map(Owner::of)
}
