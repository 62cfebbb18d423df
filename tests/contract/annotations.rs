//! What the annotations of workloads ask for, and the other autoscalers that they have.

use dqn_scaler::sim::custom::CustomKind;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};

use super::*;

/// Wants more CPU and less memory; its memory may be cut at once.
fn one_pod() -> Arc<Simulation> {
    cluster(|world| add(world, Resource::Deployments, "web", 1, 0.45, 100.0))
}

pub async fn annotate<K>(simulation: &Arc<Simulation>, name: &str, annotations: &[(&str, &str)])
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let named = annotations
        .iter()
        .map(|(annotation, value)| (format!("dqn-scaler.io/{annotation}"), Value::from(*value)));
    let patch = json!({"metadata": {"annotations": named.collect::<Map<_, _>>()}});
    let api = kube::Api::<K>::namespaced(simulation.client(), "default");
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

async fn put_vpa(simulation: &Arc<Simulation>, mode: &str, kind: &str, name: &str) {
    let target = json!({"apiVersion": "apps/v1", "kind": kind, "name": name});
    put_vpa_on(simulation, mode, target).await;
}

async fn put_vpa_on(simulation: &Arc<Simulation>, mode: &str, target: Value) {
    let spec = json!({"targetRef": target, "updatePolicy": {"updateMode": mode}});
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(
        "autoscaling.k8s.io",
        "v1",
        "VerticalPodAutoscaler",
    ));
    let api = kube::Api::<DynamicObject>::namespaced_with(simulation.client(), "default", &kind);
    let mut object: DynamicObject =
        serde_json::from_value(json!({"metadata": {"name": "web-vpa"}, "spec": spec})).unwrap();
    object.types = Some(kube::core::TypeMeta {
        api_version: kind.api_version.clone(),
        kind: kind.kind.clone(),
    });
    api.create(&PostParams::default(), &object).await.unwrap();
}

async fn put_hpa(simulation: &Arc<Simulation>, measured: &[&str]) {
    let target = json!({"type": "Utilization", "averageUtilization": 70});
    let metric =
        |name: &&str| json!({"type": "Resource", "resource": {"name": name, "target": target}});
    let hpa = json!({"metadata": {"name": "web"}, "spec": {
        "maxReplicas": 3, "metrics": measured.iter().map(metric).collect::<Vec<_>>(),
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
    }});
    let api = kube::Api::<HorizontalPodAutoscaler>::namespaced(simulation.client(), "default");
    api.create(&PostParams::default(), &serde_json::from_value(hpa).unwrap()).await.unwrap();
}

/// What a decision on the pod comes to, once the watches have brought what it must go by.
async fn until_scaled(
    service: &Service,
    pod: &str,
    what: &str,
    holds: impl Fn(&Value) -> bool,
) -> Value {
    let mut last = Value::Null;
    until(what, async || {
        last =
            service.post(&format!("/scale/pod/default/{pod}"), json!({})).await.1["result"].clone();
        holds(&last)
    })
    .await;
    last
}

#[tokio::test]
async fn a_workload_is_switched_off_and_a_pod_wins_over_it() {
    let simulation = one_pod();
    annotate::<Deployment>(&simulation, "web", &[("mode", "off")]).await;
    let service = Service::on(&simulation, live()).await;
    let name = &pods_of(&simulation, "web")[0];
    let (_, body) = service.post("/scale/all", json!({})).await;
    assert_eq!(
        (&body["results"][0]["status"], &body["results"][0]["reason"]),
        (&json!("skipped"), &json!("switched_off"))
    );
    let (_, body) = service.post(&format!("/scale/pod/default/{name}"), json!({})).await;
    assert_eq!(
        (&body["result"]["can_scale"], &body["result"]["reason"]),
        (&json!(false), &json!("switched_off"))
    );
    let (_, pods) = service.get("/pods").await;
    assert_eq!(pods["pods"][0]["overrides"], json!({"mode": "off"}));

    annotate::<Pod>(&simulation, name, &[("mode", "live"), ("max-cpu", "550m")]).await;
    let (_, body) = service.post(&format!("/scale/pod/default/{name}"), json!({})).await;
    assert_eq!(body["result"]["status"], "success", "{body}");
    assert_eq!(limits(&simulation, name).0["cpu"], "550m", "no more than it asks for");
}

#[tokio::test]
async fn a_recommendation_changes_nothing_and_dry_run_wins_over_live() {
    let simulation = one_pod();
    let name = &pods_of(&simulation, "web")[0];
    let before = pod(&simulation, name)["spec"].clone();
    for (mode, config) in [("recommend", live()), ("live", quiet())] {
        annotate::<Pod>(&simulation, name, &[("mode", mode)]).await;
        let service = Service::on(&simulation, config).await;
        let (_, body) = service.post(&format!("/scale/pod/default/{name}"), json!({})).await;
        let result = &body["result"];
        assert_eq!(
            (&result["status"], &result["resource_changes"]["cpu"]["action"]),
            (&json!("dry_run"), &json!("INCREASE"))
        );
        assert_eq!(pod(&simulation, name)["spec"], before, "{mode}");
        let (_, body) = service.get(&format!("/pods/default/{name}/history")).await;
        let (pod, why) = (&body["pod"], body["pod"]["last_decision"]["why"].as_str().unwrap());
        assert_eq!(pod["overrides"], json!({"mode": mode}));
        if mode == "live" {
            assert!(
                result.get("message").is_none() && pod.get("message").is_none(),
                "no more than the dry run: {body}"
            );
            assert!(why.ends_with("Dry run: nothing was changed."), "{why}");
            continue;
        }
        let told = format!(
            "Recommended only, as the annotation dqn-scaler.io/mode on Pod {name} says: nothing \
                was changed"
        );
        assert_eq!((&result["message"], &pod["message"]), (&json!(told), &json!(told)));
        assert!(why.ends_with(&format!("{told}.")) && !why.contains("Dry run"), "{why}");
        let (_, body) = service.get("/decisions?details=true").await;
        assert_eq!(body["decisions"][0]["message"], told);
    }
}

#[tokio::test]
async fn what_is_not_understood_is_skipped_and_named() {
    let simulation = one_pod();
    let name = &pods_of(&simulation, "web")[0];
    let service = Service::on(&simulation, live()).await;
    for (annotation, value) in
        [("max-cpu", "lots"), ("min-cpu", "12"), ("containers", "other"), ("modus", "off")]
    {
        annotate::<Pod>(&simulation, name, &[(annotation, value)]).await;
        let (_, body) = service.post(&format!("/scale/pod/default/{name}"), json!({})).await;
        let result = &body["result"];
        assert_eq!(
            (&result["status"], &result["reason"]),
            (&json!("skipped"), &json!("invalid_annotation")),
            "{annotation}"
        );
        assert!(
            result["message"]
                .as_str()
                .is_some_and(|told| told.contains(&format!("dqn-scaler.io/{annotation}"))),
            "{body}"
        );
        // What the answer says the pods' lists and the last decision say too.
        let (_, listed) = service.get("/pods").await;
        let fault = listed["pods"][0]["overrides"]["fault"].as_str().unwrap().to_owned();
        assert!(fault.starts_with(&format!("on Pod {name}, annotation")), "{fault}");
        let (_, overview) = service.get("/pods/overview").await;
        let pod = &overview["pods"][0];
        assert_eq!(
            (&pod["overrides"]["fault"], &pod["message"]),
            (&json!(fault), &result["message"])
        );
        assert!(pod["last_decision"]["why"].as_str().unwrap().contains(&fault), "{pod}");
        let kube = kube::Api::<Pod>::namespaced(simulation.client(), "default");
        let none =
            json!({"metadata": {"annotations": {format!("dqn-scaler.io/{annotation}"): null}}});
        kube.patch(name, &PatchParams::default(), &Patch::Merge(none)).await.unwrap();
    }
    assert_eq!(
        service.post(&format!("/scale/pod/default/{name}"), json!({})).await.1["result"]["status"],
        "success"
    );
}

#[tokio::test]
async fn the_object_that_a_bad_annotation_sits_on_is_named() {
    let simulation = one_pod();
    let name = &pods_of(&simulation, "web")[0];
    annotate::<Deployment>(&simulation, "web", &[("min-cpu", "2")]).await;
    let service = Service::on(&simulation, live()).await;
    let fault = async |what: &str| {
        let holds =
            |result: &Value| result["message"].as_str().is_some_and(|told| told.contains(what));
        until_scaled(&service, name, what, holds).await;
    };
    annotate::<Pod>(&simulation, name, &[("max-cpu", "1")]).await;
    fault(&format!("on Pod {name} and Deployment web, annotations dqn-scaler.io/min-cpu and"))
        .await;
    annotate::<Deployment>(&simulation, "web", &[("containers", "nope")]).await;
    annotate::<Pod>(&simulation, name, &[("max-cpu", "3")]).await;
    fault(
        "on Deployment web, annotation dqn-scaler.io/containers: the pod has no container \"nope\"",
    )
    .await;
    annotate::<Deployment>(&simulation, "web", &[("max-memory", "512")]).await;
    fault(
        "on Deployment web, annotation dqn-scaler.io/max-memory: \"512\" is less than 1Mi: it \
        needs a unit",
    )
    .await;
    annotate::<Deployment>(
        &simulation,
        "web",
        &[("max-memory", "512Mi"), ("containers", "app"), ("mode", "off")],
    )
    .await;
    fault("switched off by an annotation on Deployment web").await;
}

#[tokio::test]
async fn only_the_named_containers_are_scaled_by_what_they_use() {
    let simulation = cluster(|world| {
        let resources = |cpu: &str| {
            json!({"requests": {"cpu": "100m", "memory": "64Mi"},
            "limits": {"cpu": cpu, "memory": "256Mi"}})
        };
        let container = |name: &str, cpu: &str| {
            json!({"name": name, "image": "example.test/app:1",
            "resources": resources(cpu)})
        };
        let spec = json!({"containers": [container("app", "500m"), container("proxy", "500m")]});
        declare(
            world,
            Resource::Deployments,
            "default",
            "web",
            1,
            spec,
            Workload::constant(0.2, 100.0),
        );
    });
    let name = &pods_of(&simulation, "web")[0];
    annotate::<Deployment>(&simulation, "web", &[("containers", "proxy")]).await;
    let service = Service::on(&simulation, live()).await;
    let result =
        until_scaled(&service, name, "a change", |result| result["status"] == "success").await;
    assert_eq!(result["current_metrics"]["cpu_limit"], 0.5, "half of the pod: {result}");
    let containers = pod(&simulation, name)["spec"]["containers"].clone();
    assert_eq!(containers[0]["resources"]["limits"]["cpu"], "500m");
    assert_eq!(containers[1]["resources"]["limits"]["cpu"], "600m");
}

#[tokio::test]
async fn what_an_hpa_measures_is_left_to_it() {
    let simulation = one_pod();
    put_hpa(&simulation, &["cpu"]).await;
    let name = &pods_of(&simulation, "web")[0];
    let service = Service::on(&simulation, live()).await;
    let (_, body) = service.post("/scale/all", json!({})).await;
    assert_eq!(
        (&body["results"][0]["status"], &body["results"][0]["reason"]),
        (&json!("skipped"), &json!("managed_by_hpa"))
    );
    let pod = &service.get("/pods/overview").await.1["pods"][0];
    assert!(
        pod["last_decision"]["why"].as_str().unwrap().ends_with("HorizontalPodAutoscaler: web."),
        "{pod}"
    );
    assert_eq!(pod["managed_by"][0]["resources"], json!(["cpu"]));
    let (_, body) = service.post(&format!("/scale/pod/default/{name}"), json!({})).await;
    let factors = body["result"]["explanation"]["factors"].as_array().unwrap();
    assert!(factors.contains(&json!("cpu_guard_managed_by_hpa")), "{body}");
    assert_eq!(limits(&simulation, name).0["cpu"], "500m");
    let (_, body) = service.get("/decisions?details=true").await;
    let last = body["decisions"].as_array().unwrap().last().unwrap();
    assert!(
        last["explanation"]["reasoning"].as_str().unwrap().contains("HorizontalPodAutoscaler"),
        "{last}"
    );
}

#[tokio::test]
async fn what_a_vpa_changes_is_left_to_it_and_one_that_recommends_is_no_rival() {
    for (mode, kind, reason) in [
        ("Off", "Deployment", Value::Null),
        ("Auto", "Deployment", "managed_by_vpa".into()),
        ("Initial", "ReplicaSet", "managed_by_vpa".into()),
        ("Auto", "StatefulSet", Value::Null),
    ] {
        let simulation = one_pod();
        let pod = pod(&simulation, &pods_of(&simulation, "web")[0]);
        let set = pod["metadata"]["ownerReferences"][0]["name"].as_str().unwrap().to_owned();
        put_vpa(&simulation, mode, kind, if kind == "ReplicaSet" { &set } else { "web" }).await;
        let service = Service::on(&simulation, live()).await;
        let (_, body) = service.post("/scale/all", json!({})).await;
        let result = &body["results"][0];
        assert_eq!(result["reason"], reason, "{mode} {kind}: {body}");
        assert_eq!(result["status"] == "success", reason.is_null(), "{mode} {kind}");
        if !reason.is_null() {
            assert!(
                result["message"].as_str().unwrap().ends_with("VerticalPodAutoscaler: web-vpa"),
                "{body}"
            );
            let (_, pods) = service.get("/pods").await;
            let autoscaler = json!({"kind": "VerticalPodAutoscaler", "name": "web-vpa",
                "resources": ["cpu", "memory"]});
            assert_eq!(pods["pods"][0]["managed_by"], json!([autoscaler]));
            let pod = &service.get("/pods/overview").await.1["pods"][0];
            assert_eq!(
                (&pod["cannot_scale"], &pod["message"]),
                (&json!("managed_by_vpa"), &result["message"])
            );
            assert_eq!(pod["managed_by"], json!([autoscaler]));
        }
    }
}

/// The Deployments belong to Shops, objects of a custom kind, and these to the Mall.
async fn with_custom_owners(names: &[&str]) -> Arc<Simulation> {
    let simulation = cluster(|world| {
        names.iter().for_each(|name| add(world, Resource::Deployments, name, 1, 0.45, 100.0));
        for (plural, kind) in [("shops", "Shop"), ("malls", "Mall")] {
            world.custom.define(CustomKind::new("example.test", "v1", plural, kind));
        }
    });
    let mall = own(&simulation, "Mall", "mall", None).await;
    for name in names {
        let shop = own(&simulation, "Shop", name, Some(&mall)).await;
        let patch = json!({"metadata": {"ownerReferences": [shop]}});
        let api = kube::Api::<Deployment>::namespaced(simulation.client(), "default");
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }
    simulation
}

async fn own(simulation: &Arc<Simulation>, kind: &str, name: &str, owner: Option<&Value>) -> Value {
    own_of_group(simulation, "example.test", kind, name, owner).await
}

/// Creates an object of a custom kind and gives a reference to it.
pub async fn own_of_group(
    simulation: &Arc<Simulation>,
    group: &str,
    kind: &str,
    name: &str,
    owner: Option<&Value>,
) -> Value {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    let api =
        kube::Api::<DynamicObject>::namespaced_with(simulation.client(), "default", &resource);
    let mut object = DynamicObject::new(name, &resource);
    object.metadata.owner_references =
        owner.map(|owner| vec![serde_json::from_value(owner.clone()).unwrap()]);
    let created = api.create(&PostParams::default(), &object).await.unwrap();
    json!({"apiVersion": resource.api_version, "kind": kind, "name": name, "controller": true,
        "uid": created.metadata.uid})
}

fn mall() -> Value {
    json!({"apiVersion": "example.test/v1", "kind": "Mall", "name": "mall"})
}

pub fn reads_of(simulation: &Simulation, plural: &str) -> usize {
    let log = simulation.faults().log.requests();
    log.iter().filter(|request| request.path.contains(&format!("/{plural}/"))).count()
}

#[tokio::test]
async fn a_vpa_may_target_a_custom_owner_at_the_top() {
    let simulation = with_custom_owners(&["web"]).await;
    put_vpa_on(&simulation, "Auto", mall()).await;
    let name = &pods_of(&simulation, "web")[0];
    for namespace in ["default", "elsewhere"] {
        let config = Config { namespaces: vec![namespace.into()], ..live() };
        let service = Service::on(&simulation, config).await;
        let (_, body) = service.post(&format!("/scale/pod/default/{name}"), json!({})).await;
        assert_eq!(body["result"]["reason"], "managed_by_vpa", "{namespace}: {body}");
    }
    let service = Service::on(&simulation, live()).await;
    for cycle in 1..=2 {
        let (_, body) = service.post("/scale/all", json!({})).await;
        assert_eq!(body["results"][0]["reason"], "managed_by_vpa", "{cycle}: {body}");
    }
    assert_eq!(limits(&simulation, name).0["cpu"], "500m");
    assert_eq!(reads_of(&simulation, "malls"), 3, "once for each of the services");
}

#[tokio::test]
async fn an_owner_that_cannot_be_read_costs_its_own_chain_alone() {
    let simulation = with_custom_owners(&["web", "slow", "secret"]).await;
    let forbidden = Effect::Status { code: 403, message: None, retry_after: None };
    for (name, effect) in [("slow", Effect::Hang), ("secret", forbidden)] {
        simulation
            .faults()
            .add(Rule { name: Some(name.into()), ..Rule::new(effect).on("get", "shops") });
    }
    put_vpa_on(&simulation, "Auto", mall()).await;
    let service = Service::on(&simulation, live()).await;
    let (_, body) = service.post("/scale/all", json!({})).await;
    for result in body["results"].as_array().unwrap() {
        let is_web = result["pod_name"].as_str().unwrap().starts_with("web");
        let reason = if is_web { "managed_by_vpa".into() } else { Value::Null };
        assert_eq!(result["reason"], reason, "{result}");
        assert_eq!(result["status"] == "success", !is_web, "{result}");
    }
    assert_eq!(service.get("/readyz").await.1["watch"]["never_read"], json!([]));
}

#[tokio::test]
async fn custom_owners_are_not_read_where_no_autoscaler_targets_such_a_kind() {
    let simulation = with_custom_owners(&["web"]).await;
    put_vpa(&simulation, "Auto", "StatefulSet", "db").await;
    let service = Service::on(&simulation, live()).await;
    let (_, body) = service.post("/scale/all", json!({})).await;
    assert_eq!(body["results"][0]["status"], "success", "{body}");
    assert_eq!(reads_of(&simulation, "shops"), 0);
}

/// In a namespace that is not watched all is asked for when somebody wants the pod scaled.
#[tokio::test]
async fn one_pod_is_bound_wherever_it_is() {
    let simulation = one_pod();
    let name = &pods_of(&simulation, "web")[0];
    let service =
        Service::on(&simulation, Config { namespaces: vec!["elsewhere".into()], ..live() }).await;
    let scaled = async || {
        service.post(&format!("/scale/pod/default/{name}"), json!({})).await.1["result"].clone()
    };
    annotate::<Deployment>(&simulation, "web", &[("mode", "off")]).await;
    assert_eq!(scaled().await["reason"], "switched_off");
    annotate::<Deployment>(&simulation, "web", &[("mode", "live")]).await;
    put_vpa(&simulation, "Auto", "Deployment", "web").await;
    assert_eq!(scaled().await["reason"], "managed_by_vpa");
    let forbidden = Effect::Status { code: 403, message: None, retry_after: None };
    simulation.faults().add(Rule::new(forbidden).on("list", "verticalpodautoscalers"));
    assert_eq!(scaled().await["reason"], "autoscalers_unknown");
    assert_eq!(limits(&simulation, name).0["cpu"], "500m");
}

/// Memory that was in use a moment ago is not cut, whatever the annotation.
#[tokio::test]
async fn a_limit_above_its_bound_is_held_and_reported() {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 1, 0.45, 480.0));
    annotate::<Deployment>(&simulation, "web", &[("max-memory", "256Mi")]).await;
    let name = &pods_of(&simulation, "web")[0];
    let service = Service::on(&simulation, live()).await;
    let (_, body) = service.post(&format!("/scale/pod/default/{name}"), json!({})).await;
    let explanation = &body["result"]["explanation"];
    assert!(
        explanation["factors"].as_array().unwrap().contains(&json!("memory_above_max")),
        "{body}"
    );
    assert!(
        explanation["reasoning"].as_str().unwrap().contains("the limit is above its max-memory"),
        "{body}"
    );
    let (_, body) = service.get(&format!("/pods/default/{name}/history")).await;
    assert!(
        body["pod"]["last_decision"]["why"].as_str().unwrap().contains("above its max-memory"),
        "{body}"
    );
    assert_eq!(limits(&simulation, name).0["memory"], "512Mi");
}

/// A person's order heeds no annotation.
#[tokio::test]
async fn a_resize_that_somebody_asks_for_is_carried_out() {
    let simulation = one_pod();
    annotate::<Deployment>(&simulation, "web", &[("mode", "off"), ("max-cpu", "500m")]).await;
    let name = &pods_of(&simulation, "web")[0];
    let service = Service::on(&simulation, live()).await;
    let wanted = json!({"containers": {"app": {"limits": {"cpu": "700m"}}}});
    let (status, body) =
        service.post(&format!("/api/namespaces/default/pods/{name}/resize"), wanted).await;
    assert_eq!(
        (status.as_u16(), &limits(&simulation, name).0["cpu"]),
        (200, &json!("700m")),
        "{body}"
    );
}

#[tokio::test]
async fn a_cluster_without_vpas_is_none_the_worse() {
    let simulation = one_pod();
    let absent = Effect::Status { code: 404, message: None, retry_after: None };
    simulation
        .faults()
        .add(Rule { group: Some("autoscaling.k8s.io".into()), ..Rule::new(absent.clone()) });
    simulation.faults().add(Rule::new(absent).on("get", "/apis/autoscaling.k8s.io/v1"));
    let service = Service::on(&simulation, live()).await;
    let (_, body) = service.post("/scale/all", json!({})).await;
    assert_eq!(body["results"][0]["status"], "success", "{body}");
    assert_eq!(service.get("/readyz").await.1["watch"]["never_read"], json!([]));
}

#[tokio::test]
async fn what_cannot_be_read_holds_changes_back_and_is_reported() {
    for (resource, reason) in [
        ("deployments", "annotations_unknown"),
        ("horizontalpodautoscalers", "autoscalers_unknown"),
    ] {
        let simulation = one_pod();
        let forbidden = Effect::Status { code: 403, message: None, retry_after: None };
        for verb in ["list", "watch"] {
            simulation.faults().add(Rule::new(forbidden.clone()).on(verb, resource));
        }
        let service = Service::on(&simulation, live()).await;
        let (_, body) = service.post("/scale/all", json!({})).await;
        assert_eq!(
            (&body["results"][0]["status"], &body["results"][0]["reason"]),
            (&json!("skipped"), &json!(reason))
        );
        let name = &pods_of(&simulation, "web")[0];
        let (_, body) = service.post(&format!("/scale/pod/default/{name}"), json!({})).await;
        assert_eq!(
            body["result"]["resource_changes"]["cpu"]["action"], "INCREASE",
            "decided all the same"
        );
        assert_eq!(limits(&simulation, name).0["cpu"], "500m");
        let (status, ready) = service.get("/readyz").await;
        for told in [&body["result"]["message"], &ready["watch"]["never_read"][0]] {
            let told = told.as_str().unwrap();
            assert!(told.contains("lacks the verb") && told.contains(resource), "{told}");
        }
        assert_eq!(status, 200, "it answers all the same");
        simulation.faults().replace(vec![]);
        until_scaled(&service, name, "the right is given", |result| result["status"] == "success")
            .await;
    }
}

#[tokio::test]
async fn what_was_known_holds_while_a_watch_is_broken() {
    let simulation = one_pod();
    annotate::<Deployment>(&simulation, "web", &[("mode", "off")]).await;
    // The watches that are there now will be cut off, and no other is let in.
    simulation.faults().add(
        Rule::new(Effect::Cut { milliseconds: Some(300) }).on("watch", "deployments").times(1),
    );
    let service = Service::on(&simulation, live()).await;
    let reason =
        async || service.post("/scale/all", json!({})).await.1["results"][0]["reason"].clone();
    assert_eq!(reason().await, "switched_off");
    let refused = || {
        let log = simulation.faults().log.requests();
        log.iter()
            .filter(|request| request.path.contains("/deployments?") && request.status == Some(500))
            .count()
    };
    for verb in ["list", "watch", "get"] {
        let refusal = Effect::Status { code: 500, message: None, retry_after: None };
        simulation.faults().add(Rule::new(refusal).on(verb, "deployments"));
    }
    until("the watch is cut off and tried again in vain", async || refused() >= 2).await;
    annotate::<Deployment>(&simulation, "web", &[("mode", "live")]).await;
    assert_eq!(reason().await, "switched_off", "it cannot know better");
    simulation.faults().replace(vec![]);
    let name = &pods_of(&simulation, "web")[0];
    until_scaled(&service, name, "the watch is back", |result| result["status"] == "success").await;
}
