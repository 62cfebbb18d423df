//! The controllers behind pods, read by their metadata: their annotations, and who owns them.

use std::sync::Arc;

use internment::ArcIntern as Shared;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use kube::api::PartialObjectMeta;
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client};

use super::convert::controller;
use super::resource_cache::Items;
use crate::client::error::{Call, ClusterError};
use crate::client::retry::{Deadline, with_retries};
use crate::core::overrides::PodOverrides;
use crate::core::pod::Owner;

/// The kinds of controllers whose annotations hold, and whose own controllers are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    ReplicaSet,
    Deployment,
    StatefulSet,
    DaemonSet,
}

impl Kind {
    pub const ALL: [Self; 4] =
        [Self::ReplicaSet, Self::Deployment, Self::StatefulSet, Self::DaemonSet];

    pub fn of(owner: &Owner) -> Option<Self> {
        match (owner.group.as_str(), owner.kind.as_str()) {
            ("apps", "ReplicaSet") => Some(Self::ReplicaSet),
            ("apps", "Deployment") => Some(Self::Deployment),
            ("apps", "StatefulSet") => Some(Self::StatefulSet),
            ("apps", "DaemonSet") => Some(Self::DaemonSet),
            _ => None,
        }
    }

    pub fn plural(self) -> &'static str {
        match self {
            Self::ReplicaSet => "replicasets",
            Self::Deployment => "deployments",
            Self::StatefulSet => "statefulsets",
            Self::DaemonSet => "daemonsets",
        }
    }

    /// For its metadata alone; of the whole cluster without a namespace.
    pub fn api(self, client: &Client, namespace: Option<&str>) -> Api<Object> {
        let resource = match self {
            Self::ReplicaSet => ApiResource::erase::<ReplicaSet>(&()),
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
            Self::DaemonSet => ApiResource::erase::<DaemonSet>(&()),
        };
        match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        }
    }
}

pub type Object = PartialObjectMeta<DynamicObject>;

/// Of a controller what matters here.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Controller {
    pub owner: Option<Shared<Owner>>,
    pub overrides: Option<Arc<PodOverrides>>,
}

impl Controller {
    pub fn read(object: &Object) -> Self {
        let meta = &object.metadata;
        Self {
            owner: controller(meta),
            overrides: PodOverrides::parse(meta.annotations.as_ref()).map(Arc::new),
        }
    }

    /// None for one that says nothing, as nearly all.
    pub fn if_any(object: &Object) -> Option<Self> {
        Some(Self::read(object)).filter(|controller| *controller != Self::default())
    }
}

pub type Controllers = Items<Controller>;

/// One that is gone says nothing.
pub async fn get(
    client: &Client,
    kind: Kind,
    namespace: &str,
    name: &str,
    deadline: Deadline,
) -> Result<Arc<Controller>, ClusterError> {
    let api = kind.api(client, Some(namespace));
    match with_retries(Call::on("get", kind.plural(), namespace, name), deadline, || api.get(name))
        .await
    {
        Ok(object) => Ok(Arc::new(Controller::read(&object))),
        Err(error) if error.is_not_found() => Ok(Arc::default()),
        Err(error) => Err(error),
    }
}
