//! What HorizontalPodAutoscalers and VerticalPodAutoscalers say of their targets.

use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, MetricSpec};
use kube::Client;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};

use crate::client::error::{Call, ClusterError};
use crate::client::retry::{Deadline, with_retries};
use crate::core::autoscalers::{AutoscalerKind, CompetingAutoscaler, Target};
use crate::core::resource::PerResource;

/// None for one that goes by other metrics alone: limits do not matter to it.
pub fn from_hpa(hpa: &HorizontalPodAutoscaler) -> Option<CompetingAutoscaler> {
    let spec = hpa.spec.as_ref()?;
    let metrics = spec.metrics.as_deref().unwrap_or_default();
    let measured =
        |name: &str| metrics.iter().filter_map(resource).any(|resource| resource == name);
    // Without metrics it goes by CPU.
    let resources = PerResource::new(metrics.is_empty() || measured("cpu"), measured("memory"));
    let target = &spec.scale_target_ref;
    (resources.cpu || resources.memory).then(|| CompetingAutoscaler {
        kind: AutoscalerKind::Horizontal,
        name: hpa.metadata.name.clone().unwrap_or_default(),
        target: Target::new(target.api_version.as_deref(), &target.kind, &target.name),
        resources,
    })
}

/// None for one that only recommends.
pub fn from_vpa(vpa: &DynamicObject) -> Option<CompetingAutoscaler> {
    let spec = &vpa.data["spec"];
    let target = |field| spec["targetRef"][field].as_str();
    (spec["updatePolicy"]["updateMode"] != "Off").then_some(CompetingAutoscaler {
        kind: AutoscalerKind::Vertical,
        name: vpa.metadata.name.clone().unwrap_or_default(),
        target: Target::new(target("apiVersion"), target("kind")?, target("name")?),
        resources: PerResource::new(true, true),
    })
}

fn resource(metric: &MetricSpec) -> Option<&str> {
    let of_pod = metric.resource.as_ref().map(|resource| resource.name.as_str());
    of_pod.or_else(|| metric.container_resource.as_ref().map(|resource| resource.name.as_str()))
}

pub fn vpa_resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(
        "autoscaling.k8s.io",
        "v1",
        AutoscalerKind::Vertical.name(),
    ))
}

/// Whether the cluster knows VerticalPodAutoscalers at all, which come with an add-on.
pub async fn serves_vpas(client: &Client, deadline: Deadline) -> Result<bool, ClusterError> {
    let call = Call {
        verb: "get",
        resource: "autoscaling.k8s.io/v1",
        namespace: String::new(),
        name: None,
    };
    match with_retries(call, deadline, || client.list_api_group_resources("autoscaling.k8s.io/v1"))
        .await
    {
        Ok(served) => Ok(served
            .resources
            .iter()
            .any(|resource| resource.kind == AutoscalerKind::Vertical.name())),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn hpa(target: Value, metrics: Value) -> Option<CompetingAutoscaler> {
        let spec = json!({"maxReplicas": 3, "scaleTargetRef": target, "metrics": metrics});
        from_hpa(&serde_json::from_value(json!({"metadata": {"name": "h"}, "spec": spec})).unwrap())
    }

    fn vpa(target: Value, policy: Value) -> Option<CompetingAutoscaler> {
        let spec = json!({"targetRef": target, "updatePolicy": policy});
        from_vpa(&serde_json::from_value(json!({"metadata": {"name": "v"}, "spec": spec})).unwrap())
    }

    fn web() -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"})
    }

    #[test]
    fn an_hpa_counts_for_the_resources_that_it_measures() {
        let measures =
            |metrics| hpa(web(), metrics).map(|hpa| (hpa.resources.cpu, hpa.resources.memory));
        let target = json!({"type": "Utilization", "averageUtilization": 70});
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
        let memory = json!({"type": "ContainerResource", "containerResource": {"name": "memory",
            "container": "app", "target": target}});
        let queue = json!({"type": "External", "external": {"metric": {"name": "depth"},
            "target": target}});
        assert_eq!(measures(json!([cpu])), Some((true, false)));
        assert_eq!(measures(json!([queue, memory])), Some((false, true)));
        assert_eq!(measures(json!([queue])), None);
        assert_eq!(measures(json!([])), Some((true, false)), "the default metric");
    }

    #[test]
    fn a_vpa_counts_unless_it_only_recommends() {
        assert_eq!(vpa(web(), json!({"updateMode": "Off"})), None);
        for policy in [
            json!(null),
            json!({}),
            json!({"updateMode": "Initial"}),
            json!({"updateMode": "InPlaceOrRecreate"}),
        ] {
            assert_eq!(vpa(web(), policy).unwrap().resources, PerResource::new(true, true));
        }
    }
}
