//! The fallback: changes the pod template of the workload behind a pod, which rolls out new pods.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    DaemonSet, DaemonSetStatus, Deployment, DeploymentStatus, StatefulSet, StatefulSetStatus,
};
use k8s_openapi::api::core::v1::{Container, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::connected::Cluster;
use crate::client::FIELD_MANAGER;
use crate::client::error::{Call, ClusterError};
use crate::client::retry::{Deadline, with_retries};
use crate::core::plan::{Change, Plan};
use crate::core::pod::{Owner, TemplateKind};
use crate::core::quantity;

/// The kinds of workload whose template can be patched.
trait Templated: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> {
    const RESOURCE: &'static str;
    fn template(&self) -> Option<&PodTemplateSpec>;
    /// Whether every pod is made from the present template.
    fn is_rolled_out(&self) -> bool;
}

macro_rules! templated {
    ($($kind:ty = $resource:literal, $pods:expr;)*) => {
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
        })*
    };
}

templated! {
    Deployment = "deployments", |s: &DeploymentStatus| (s.replicas.unwrap_or_default(),
        s.updated_replicas);
    StatefulSet = "statefulsets", |s: &StatefulSetStatus| (s.replicas, s.updated_replicas);
    DaemonSet = "daemonsets", |s: &DaemonSetStatus| (s.desired_number_scheduled,
        s.updated_number_scheduled);
}

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
}

impl Cluster {
    pub async fn patch_template(
        &self,
        namespace: &str,
        (workload, kind): (&Owner, TemplateKind),
        plan: &Plan,
        change: TemplateChange,
    ) -> Result<TemplateOutcome, ClusterError> {
        let name = &workload.name;
        match kind {
            TemplateKind::Deployment => {
                self.patch_template_of::<Deployment>(namespace, name, plan, change).await
            }
            TemplateKind::StatefulSet => {
                self.patch_template_of::<StatefulSet>(namespace, name, plan, change).await
            }
            TemplateKind::DaemonSet => {
                self.patch_template_of::<DaemonSet>(namespace, name, plan, change).await
            }
        }
    }

    async fn patch_template_of<K>(
        &self,
        namespace: &str,
        name: &str,
        plan: &Plan,
        change: TemplateChange,
    ) -> Result<TemplateOutcome, ClusterError>
    where
        K: Templated + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
    {
        let api = Api::<K>::namespaced(self.client().clone(), namespace);
        let deadline = Deadline::default();
        let call = Call::on("get", K::RESOURCE, namespace, name);
        let object = with_retries(call.clone(), deadline, || api.get(name)).await?;
        let spec = object.template().and_then(|template| template.spec.as_ref());
        let missing =
            || ClusterError::Unavailable { call, message: "its template has no pod spec".into() };
        let spec = spec.ok_or_else(missing)?;
        let mut fields = json!({});
        for (field, containers) in [
            ("containers", Some(&spec.containers)),
            ("initContainers", spec.init_containers.as_ref()),
        ] {
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
        if fields.as_object().is_none_or(|fields| fields.is_empty()) {
            return Ok(TemplateOutcome::NothingToChange);
        }
        // A person may have reasons to hurry; the loop sees one rollout through before it begins
        // another.
        if change == TemplateChange::OnlyUp && !object.is_rolled_out() {
            return Ok(TemplateOutcome::RollingOut);
        }
        let params =
            PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        let body = Patch::Strategic(json!({"spec": {"template": {"spec": fields}}}));
        let call = Call::on("patch", K::RESOURCE, namespace, name);
        self.write(call, deadline, || api.patch(name, &params, &body)).await?;
        Ok(TemplateOutcome::Patched)
    }
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
