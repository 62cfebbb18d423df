//! A pod with what stands behind it: its workload, the annotations that hold for it, and the other
//! autoscalers of its workload.

use std::sync::Arc;

use internment::ArcIntern as Shared;

use crate::autoscalers::{AutoscalerKind, CompetingAutoscaler};
use crate::namespace_limits::NamespaceLimits;
use crate::overrides::{Mode, PodOverrides};
use crate::pod::{Owner, Pod, TemplateKind};
use crate::resource::PerResource;

/// A pod and the workload behind it: its Deployment rather than the ReplicaSet between them.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnedPod {
    pub pod: Arc<Pod>,
    pub workload: Option<Shared<Owner>>,
    pub context: ScalingContext,
}

/// What is known of the controllers above one pod. Nearly all pods have nothing of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScalingContext {
    /// Of the pod, and where it says nothing, of its workload.
    pub overrides: Option<Arc<PodOverrides>>,
    pub autoscalers: Vec<Arc<CompetingAutoscaler>>,
    /// Of the LimitRanges and ResourceQuotas of its namespace, where they are known and bound it.
    pub limits: Option<Arc<NamespaceLimits>>,
    /// What never could be read; as long as it is not known, nothing is changed.
    pub unknown: Option<Arc<UnknownContext>>,
}

/// With why it is not known: the call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnknownContext {
    Annotations(String),
    Autoscalers(String),
}

impl OwnedPod {
    /// A pod of its own, with the annotations that it carries itself.
    pub fn bare(pod: Pod) -> Self {
        let context = ScalingContext { overrides: pod.overrides.clone(), ..Default::default() };
        Self { pod: Arc::new(pod), workload: None, context }
    }

    /// The workload behind it, if that makes its pods from a template that can be patched.
    pub fn with_template(&self) -> Option<(&Owner, TemplateKind)> {
        let workload = self.workload.as_deref()?;
        Some((workload, TemplateKind::of(workload)?))
    }

    /// The pod with no more containers than its annotations name, if they name some and it has
    /// them all.
    pub fn select_containers(mut self) -> Self {
        let overrides = self.context.overrides.as_ref();
        let named = overrides.and_then(|overrides| overrides.containers.as_ref());
        if let Some(named) = named.filter(|_| self.missing_container().is_none()) {
            self.pod = Arc::new(self.pod.only(named));
        }
        self
    }

    /// The first container that an annotation names and that the pod does not have.
    pub fn missing_container(&self) -> Option<&str> {
        let named = self.context.overrides.as_ref()?.containers.as_ref()?;
        let is_there =
            |name: &&String| self.pod.containers.iter().any(|container| *container.name == **name);
        named.iter().find(|name| !is_there(name)).map(String::as_str)
    }

    /// The mode that its annotations ask for.
    pub fn mode(&self) -> Option<Mode> {
        self.context.overrides.as_ref().and_then(|overrides| overrides.mode)
    }

    /// Whether what cannot be had in place may go into the template.
    pub fn may_fall_back(&self) -> bool {
        self.context.overrides.as_ref().and_then(|overrides| overrides.fallback) != Some(false)
    }

    /// The object that an annotation stands on: the pod itself where it is its `own`, or where
    /// there is no workload.
    pub fn annotation_source(&self, own: bool) -> String {
        match &self.workload {
            Some(workload) if !own => workload.to_string(),
            _ => format!("Pod {}", self.pod.key.name),
        }
    }

    /// The object that the annotation of the mode stands on.
    pub fn mode_source(&self) -> String {
        self.annotation_source(self.pod.overrides.as_ref().is_some_and(|own| own.mode.is_some()))
    }

    /// The resources that a HorizontalPodAutoscaler measures the workload by.
    pub fn managed_by_hpa(&self) -> PerResource<bool> {
        let hpas = self.autoscalers_of(AutoscalerKind::Horizontal);
        PerResource::build(|resource| hpas.clone().any(|hpa| hpa.resources[resource]))
    }

    /// The other autoscalers of that kind.
    pub fn autoscalers_of(
        &self,
        kind: AutoscalerKind,
    ) -> impl Iterator<Item = &Arc<CompetingAutoscaler>> + Clone {
        self.context.autoscalers.iter().filter(move |autoscaler| autoscaler.kind == kind)
    }
}
