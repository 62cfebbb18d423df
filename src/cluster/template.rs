//! The fallback: changes the pod template of the workload behind a pod, which rolls out new pods.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    DaemonSet, DaemonSetSpec, DaemonSetStatus, Deployment, DeploymentSpec, DeploymentStatus,
    StatefulSet, StatefulSetSpec, StatefulSetStatus,
};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};

use super::connected::Cluster;
use super::convert::resources;
use super::write_limiter::WriteTurn;
use crate::client::FIELD_MANAGER;
use crate::client::error::{Call, ClusterError};
use crate::client::retry::{Deadline, with_retries};
use crate::core::plan::{Change, Plan};
use crate::core::pod::{Owner, PodKey, TemplateKind};
use crate::core::quantity;
use crate::core::revert::Template;

/// The kinds of workload whose template can be patched.
trait Templated: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> {
    const RESOURCE: &'static str;
    fn template(&self) -> Option<&PodTemplateSpec>;
    /// Whether every pod is made from the present template.
    fn is_rolled_out(&self) -> bool;
    /// Why a change of the template would not reach the pod of that name, if it would not.
    fn not_rolled_out_to(&self, pod: &str) -> Option<&'static str>;
}

macro_rules! templated {
    ($($kind:ty = $resource:literal, $pods:expr, $blocked:expr;)*) => {
        $(impl Templated for $kind {
            const RESOURCE: &'static str = $resource;
            fn template(&self) -> Option<&PodTemplateSpec> {
                self.spec.as_ref().map(|spec| &spec.template)
            }
            fn is_rolled_out(&self) -> bool {
                let seen = |status: &_| {
                    let (present, updated): (i32, Option<i32>) = $pods(status);
                    updated.unwrap_or_default() >= present
                };
                let generation = self.status.as_ref().and_then(|status| status.observed_generation);
                generation >= self.metadata.generation && self.status.as_ref().is_none_or(seen)
            }
            fn not_rolled_out_to(&self, pod: &str) -> Option<&'static str> {
                let blocked: fn(&_, &str) -> Option<&'static str> = $blocked;
                blocked(self.spec.as_ref()?, pod)
            }
        })*
    };
}

templated! {
    Deployment = "deployments",
        |s: &DeploymentStatus| (s.replicas.unwrap_or_default(), s.updated_replicas),
        |s: &DeploymentSpec, _| s.paused.unwrap_or_default().then_some("it is paused");
    StatefulSet = "statefulsets",
        |s: &StatefulSetStatus| (s.replicas, s.updated_replicas),
        |s: &StatefulSetSpec, pod| {
            let strategy = s.update_strategy.as_ref()?;
            let partition = strategy.rolling_update.as_ref().and_then(|of| of.partition);
            let ordinal = pod.rsplit_once('-').and_then(|(_, number)| number.parse::<i32>().ok());
            match strategy.type_.as_deref() {
                Some("OnDelete") => Some(ON_DELETE),
                _ if ordinal < partition => Some("its partition is above the pod"),
                _ => None,
            }
        };
    DaemonSet = "daemonsets",
        |s: &DaemonSetStatus| (s.desired_number_scheduled, s.updated_number_scheduled),
        |s: &DaemonSetSpec, _| {
            let strategy = s.update_strategy.as_ref().and_then(|of| of.type_.as_deref());
            (strategy == Some("OnDelete")).then_some(ON_DELETE)
        };
}

const ON_DELETE: &str = "by its update strategy OnDelete nothing rolls the template out";

/// Which values of the plan may go into the template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateChange {
    /// All of them, as a person asked for.
    AsGiven,
    /// Only what is above the template: the other replicas may need what they have.
    OnlyUp,
}

/// What became of a template that was to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateOutcome {
    Patched,
    NothingToChange,
    /// The pods of an earlier change are not all made yet.
    RollingOut,
    /// Nothing would bring the change to the pod.
    NotRolledOut(&'static str),
}

impl Cluster {
    /// What the template of a pod's controller gives to its containers.
    pub async fn template_of(
        &self,
        namespace: &str,
        owner: &Owner,
    ) -> Result<Template, ClusterError> {
        let plural = match (owner.group.as_str(), owner.kind.as_str()) {
            ("apps", "ReplicaSet") => "replicasets",
            ("apps", "StatefulSet") => "statefulsets",
            ("apps", "DaemonSet") => "daemonsets",
            ("batch", "Job") => "jobs",
            ("", "ReplicationController") => "replicationcontrollers",
            _ => {
                let call = Call::on("get", "templates", namespace, &owner.name);
                let message = format!("where the template of {owner} stands is not known");
                return Err(ClusterError::Unavailable { call, message });
            }
        };
        let resource =
            ApiResource::from_gvk(&GroupVersionKind::gvk(&owner.group, "v1", &owner.kind));
        let api =
            Api::<DynamicObject>::namespaced_with(self.client().clone(), namespace, &resource);
        let call = Call::on("get", plural, namespace, &owner.name);
        let found =
            with_retries(call.clone(), Deadline::default(), || api.get(&owner.name)).await?;
        let spec =
            serde_json::from_value::<PodSpec>(found.data["spec"]["template"]["spec"].clone());
        let spec = spec.map_err(|error| {
            let message = format!("its template cannot be read: {error}");
            ClusterError::Unavailable { call, message }
        })?;
        let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let named = containers.map(|container| {
            let of = container.resources.as_ref().map(resources).unwrap_or_default();
            (container.name.clone(), of)
        });
        Ok(named.collect())
    }

    pub async fn patch_template(
        &self,
        pod: &PodKey,
        (workload, kind): (&Owner, TemplateKind),
        plan: &Plan,
        change: TemplateChange,
    ) -> Result<TemplateOutcome, ClusterError> {
        let name = &workload.name;
        match kind {
            TemplateKind::Deployment => {
                self.patch_template_of::<Deployment>(pod, name, plan, change).await
            }
            TemplateKind::StatefulSet => {
                self.patch_template_of::<StatefulSet>(pod, name, plan, change).await
            }
            TemplateKind::DaemonSet => {
                self.patch_template_of::<DaemonSet>(pod, name, plan, change).await
            }
        }
    }

    async fn patch_template_of<K>(
        &self,
        pod: &PodKey,
        name: &str,
        plan: &Plan,
        change: TemplateChange,
    ) -> Result<TemplateOutcome, ClusterError>
    where
        K: Templated + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
    {
        let namespace = &pod.namespace;
        let api = Api::<K>::namespaced(self.client().clone(), namespace);
        let deadline = Deadline::default();
        let params =
            PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        loop {
            let call = Call::on("get", K::RESOURCE, namespace, name);
            let object = with_retries(call.clone(), deadline, || api.get(name)).await?;
            let spec = object.template().and_then(|template| template.spec.as_ref());
            let message = "its template has no pod spec".into();
            let spec = spec.ok_or(ClusterError::Unavailable { call, message })?;
            let Some(fields) = changed_fields(spec, plan, change) else {
                return Ok(TemplateOutcome::NothingToChange);
            };
            if let Some(why) = object.not_rolled_out_to(&pod.name) {
                return Ok(TemplateOutcome::NotRolledOut(why));
            }
            // A person may have reasons to hurry; the loop sees one rollout through before it
            // begins another.
            if change == TemplateChange::OnlyUp && !object.is_rolled_out() {
                return Ok(TemplateOutcome::RollingOut);
            }
            let metadata = json!({"resourceVersion": object.meta().resource_version});
            let spec = json!({"template": {"spec": fields}});
            let body = Patch::Strategic(json!({"metadata": metadata, "spec": spec}));
            let call = Call::on("patch", K::RESOURCE, namespace, name);
            match self
                .write(call, &WriteTurn::default(), deadline, || api.patch(name, &params, &body))
                .await
            {
                // Changed since it was read: it is read again.
                Err(ClusterError::Conflict { .. }) if !deadline.left().is_zero() => {}
                written => return written.map(|_| TemplateOutcome::Patched),
            }
        }
    }
}

/// What the plan changes in the template; None where that is nothing.
fn changed_fields(spec: &PodSpec, plan: &Plan, change: TemplateChange) -> Option<Value> {
    let mut fields = json!({});
    for (field, containers) in
        [("containers", Some(&spec.containers)), ("initContainers", spec.init_containers.as_ref())]
    {
        let wanted = |container: &Container| {
            let wanted = effective(plan.get(&container.name)?, container, change);
            (wanted != Change::default())
                .then(|| json!({"name": container.name, "resources": wanted}))
        };
        let patches: Vec<_> = containers.into_iter().flatten().filter_map(wanted).collect();
        if !patches.is_empty() {
            fields[field] = patches.into();
        }
    }
    fields.as_object().is_some_and(|fields| !fields.is_empty()).then_some(fields)
}

/// What of the change is left for this container of the template.
fn effective(change: &Change, container: &Container, which: TemplateChange) -> Change {
    let current = container.resources.as_ref();
    Change {
        requests: worth_setting(&change.requests, current.and_then(|r| r.requests.as_ref()), which),
        limits: worth_setting(&change.limits, current.and_then(|r| r.limits.as_ref()), which),
    }
}

fn worth_setting(
    wanted: &BTreeMap<String, String>,
    current: Option<&BTreeMap<String, Quantity>>,
    which: TemplateChange,
) -> BTreeMap<String, String> {
    let differs = |(resource, text): &(&String, &String)| {
        let current = current.and_then(|current| quantity::cores(&current.get(*resource)?.0));
        let wanted = quantity::cores(text);
        match which {
            TemplateChange::AsGiven => wanted != current,
            TemplateChange::OnlyUp => wanted > current,
        }
    };
    wanted.iter().filter(differs).map(|(resource, text)| (resource.clone(), text.clone())).collect()
}
