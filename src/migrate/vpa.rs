//! What a VerticalPodAutoscaler asks for, in the words of this service.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::core::overrides::PREFIX;
use crate::core::quantity;
use crate::core::resource::{PerResource, Resource};

/// A VerticalPodAutoscaler, as far as it is read; what else it says is told to have no counterpart.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    pub target_ref: Option<TargetRef>,
    update_policy: UpdatePolicy,
    resource_policy: ResourcePolicy,
    recommenders: Vec<serde_json::Value>,
    startup_boost: Option<StartupBoost>,
    #[serde(flatten)]
    other: BTreeMap<String, serde_json::Value>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetRef {
    pub api_version: String,
    pub kind: String,
    pub name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct UpdatePolicy {
    update_mode: Option<String>,
    min_replicas: Option<i64>,
    eviction_requirements: Vec<EvictionRequirement>,
    #[serde(flatten)]
    other: BTreeMap<String, serde_json::Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct EvictionRequirement {
    resources: BTreeSet<String>,
    change_requirement: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ResourcePolicy {
    container_policies: Vec<ContainerPolicy>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerPolicy {
    container_name: String,
    mode: Option<String>,
    min_allowed: BTreeMap<String, Amount>,
    max_allowed: BTreeMap<String, Amount>,
    controlled_resources: Option<BTreeSet<String>>,
    controlled_values: Option<String>,
    startup_boost: Option<StartupBoost>,
    #[serde(flatten)]
    other: BTreeMap<String, serde_json::Value>,
}

/// A quantity, which YAML takes for a number where it looks like one.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Amount {
    Text(String),
    Number(serde_json::Number),
}

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StartupBoost {
    cpu: Option<Boost>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Boost {
    duration: Option<String>,
}

/// A container of the template of the target.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TargetContainer {
    pub name: String,
    /// Cores, MiB.
    pub requests: PerResource<Option<f64>>,
    pub limits: PerResource<Option<f64>>,
}

/// What comes of one.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Translation {
    /// Names without the prefix, and values.
    pub annotations: BTreeMap<&'static str, String>,
    /// What is only nearly the same.
    pub remarks: Vec<String>,
    pub no_counterpart: Vec<String>,
    /// Bounds of limits that the service must allow: cores, MiB.
    pub least: PerResource<Option<f64>>,
    pub most: PerResource<Option<f64>>,
}

impl Translation {
    /// As `kubectl annotate` takes them.
    pub fn arguments(&self) -> Vec<String> {
        self.annotations.iter().map(|(name, value)| format!("{PREFIX}{name}={value}")).collect()
    }

    fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(text.into());
    }

    fn none(&mut self, text: impl Into<String>) {
        self.no_counterpart.push(text.into());
    }
}

/// What a VerticalPodAutoscaler comes to; `target` are the containers of its target, if they are
/// known.
pub fn translate(spec: &Spec, target: Option<&[TargetContainer]>) -> Translation {
    let mut translation = Translation::default();
    modes(spec, &mut translation);
    let policies = &spec.resource_policy.container_policies;
    containers(policies, target, &mut translation);
    let active: Vec<_> = policies.iter().filter(|of| !is_off(of)).collect();
    let requests_alone = values(&active, &mut translation);
    bounds(&active, target, requests_alone, &mut translation);
    resources(&active, &mut translation);
    startup(spec, &active, &mut translation);
    if !spec.recommenders.is_empty() {
        translation.none("recommenders: this service recommends by itself");
    }
    for name in spec.other.keys() {
        translation.none(format!("{name}: not known to this version"));
    }
    for (policy, name) in active.iter().flat_map(|of| of.other.keys().map(move |name| (of, name))) {
        translation.none(format!("{name} of {}: not known to this version", shown(policy)));
    }
    translation
}

fn is_off(policy: &ContainerPolicy) -> bool {
    policy.mode.as_deref() == Some("Off")
}

fn is_for_all(policy: &ContainerPolicy) -> bool {
    matches!(policy.container_name.as_str(), "" | "*")
}

fn shown(policy: &ContainerPolicy) -> String {
    match is_for_all(policy) {
        true => "all containers".into(),
        false => format!("container {}", policy.container_name),
    }
}

fn modes(spec: &Spec, translation: &mut Translation) {
    let policy = &spec.update_policy;
    let mode = match policy.update_mode.as_deref().unwrap_or("Recreate") {
        "Off" => "recommend",
        "Initial" => {
            translation.none(
                "updateMode Initial: pods are resized while they run, too; mode=recommend changes \
                 nothing, and mode=live would go further",
            );
            "recommend"
        }
        "InPlace" => "live",
        "Auto" | "Recreate" | "InPlaceOrRecreate" => {
            translation.remark(
                "pods are resized in place, not evicted; where a node has no room, the template \
                 is changed",
            );
            "live"
        }
        other => {
            translation.none(format!("updateMode {other}: not known to this version"));
            "recommend"
        }
    };
    translation.annotations.insert("mode", mode.into());
    if policy.min_replicas.is_some() {
        translation.none("minReplicas: no pod is evicted");
    }
    let upwards = |of: &EvictionRequirement| of.change_requirement == "TargetHigherThanRequests";
    let requirements = &policy.eviction_requirements;
    let of_both = ["cpu", "memory"].iter().all(|resource| {
        requirements.iter().any(|of| upwards(of) && of.resources.contains(*resource))
    });
    match requirements.is_empty() {
        true => {}
        false if of_both && requirements.iter().all(upwards) => {
            translation.annotations.insert("scale", "up-only".into());
        }
        false => translation.none(
            "evictionRequirements: no pod is evicted, and only both resources together can be \
             kept from cuts (scale=up-only)",
        ),
    }
    for name in policy.other.keys() {
        translation.none(format!("{name} of updatePolicy: not known to this version"));
    }
}

/// Which containers are scaled.
fn containers(
    policies: &[ContainerPolicy],
    target: Option<&[TargetContainer]>,
    translation: &mut Translation,
) {
    if !policies.iter().any(is_off) {
        return;
    }
    let off = |name: &str| {
        let own = policies.iter().find(|policy| policy.container_name == name);
        own.or(policies.iter().find(|policy| is_for_all(policy))).is_some_and(is_off)
    };
    let named = policies.iter().filter(|policy| !is_for_all(policy));
    let all_off = policies.iter().any(|policy| is_for_all(policy) && is_off(policy));
    let names: Vec<&str> = match target {
        Some(containers) => containers.iter().map(|container| container.name.as_str()).collect(),
        // Of all others it is known that they are off.
        None if all_off => named.map(|policy| policy.container_name.as_str()).collect(),
        None => {
            translation.none(
                "mode Off of a container: the annotation `containers` names those that are \
                 scaled, and the target, which has them, is not known here",
            );
            return;
        }
    };
    let scaled: Vec<&str> = names.into_iter().filter(|name| !off(name)).collect();
    match scaled.is_empty() {
        true => drop(translation.annotations.insert("mode", "off".into())),
        false => drop(translation.annotations.insert("containers", scaled.join(","))),
    }
}

/// Whether requests alone are changed.
fn values(policies: &[&ContainerPolicy], translation: &mut Translation) -> bool {
    let alone =
        |policy: &&ContainerPolicy| policy.controlled_values.as_deref() == Some("RequestsOnly");
    let count = policies.iter().filter(|policy| alone(policy)).count();
    let all = count > 0 && count == policies.len();
    if all {
        translation.annotations.insert("controls", "requests".into());
    } else if count > 0 {
        translation.none(
            "controlledValues of single containers: `controls` holds for all of a pod, and stays \
             at requests and limits",
        );
    }
    all
}

/// Bounds of requests there, of limits here, which keep their ratio.
fn bounds(
    policies: &[&ContainerPolicy],
    target: Option<&[TargetContainer]>,
    requests_alone: bool,
    translation: &mut Translation,
) {
    for resource in Resource::ALL {
        let name = resource.name();
        let (mut least, mut most) = (Vec::new(), Vec::new());
        for policy in policies {
            let ratio = ratio(policy, target, resource, requests_alone);
            let given = [(&policy.min_allowed, &mut least), (&policy.max_allowed, &mut most)];
            for (allowed, found) in given {
                let Some(text) = allowed.get(name).map(Amount::to_string) else { continue };
                match (quantity::amount(resource, &text), ratio) {
                    (Some(amount), Some(ratio)) => found.push(amount * ratio),
                    (Some(amount), None) => {
                        translation.remark(format!(
                            "{name} {text} of {}: VerticalPodAutoscalers bound requests, and this \
                             service limits; where the limit is a multiple of the request, so \
                             must be the bound",
                            shown(policy)
                        ));
                        found.push(amount);
                    }
                    (None, _) => translation.none(format!("{name} {text:?}: not a quantity")),
                }
            }
        }
        let differ = |found: &[f64]| found.iter().any(|of| (of - found[0]).abs() > 1e-9);
        let partly = |found: &[f64]| !found.is_empty() && found.len() < policies.len();
        if differ(&least) || differ(&most) || partly(&least) || partly(&most) {
            translation.none(format!(
                "bounds of {name} of single containers: annotations hold for all containers of a \
                 pod; what all of them may have is given"
            ));
        }
        // Where one is not bounded, none can be.
        let whole = |found: Vec<f64>| Some(found).filter(|of| !of.is_empty() && !partly(of));
        let lowest = whole(least).map(|of| of.into_iter().fold(f64::INFINITY, f64::min));
        let highest = whole(most).map(|of| of.into_iter().fold(0.0, f64::max));
        let (min, max) = match resource {
            Resource::Cpu => ("min-cpu", "max-cpu"),
            Resource::Memory => ("min-memory", "max-memory"),
        };
        for (annotation, amount) in [(min, lowest), (max, highest)] {
            if let Some(amount) = amount {
                translation.annotations.insert(annotation, written(resource, amount));
            }
        }
        (translation.least[resource], translation.most[resource]) = (lowest, highest);
    }
}

/// The limit of a container as a multiple of its request: the largest, where several are meant;
/// None: not known.
fn ratio(
    policy: &ContainerPolicy,
    target: Option<&[TargetContainer]>,
    resource: Resource,
    requests_alone: bool,
) -> Option<f64> {
    if requests_alone {
        return Some(1.0);
    }
    let meant = target?
        .iter()
        .filter(|container| is_for_all(policy) || container.name == policy.container_name);
    let ratio = |container: &TargetContainer| {
        let (limit, request) = (container.limits[resource], container.requests[resource]);
        match (limit, request) {
            (Some(limit), Some(request)) if request > 0.0 => limit / request,
            _ => 1.0,
        }
    };
    meant.map(ratio).reduce(f64::max)
}

pub fn written(resource: Resource, amount: f64) -> String {
    match resource {
        Resource::Cpu => quantity::format_cpu((amount * 1000.0).round() as u64),
        Resource::Memory => quantity::format_memory((amount * 1024.0).round() as u64),
    }
}

fn resources(policies: &[&ContainerPolicy], translation: &mut Translation) {
    for policy in policies {
        if let Some(controlled) = &policy.controlled_resources
            && controlled.len() < 2
        {
            let named: Vec<&str> = controlled.iter().map(String::as_str).collect();
            translation.none(format!(
                "controlledResources [{}] of {}: both resources are scaled; bounds that are equal \
                 hold one of them",
                named.join(", "),
                shown(policy)
            ));
        }
    }
}

fn startup(spec: &Spec, policies: &[&ContainerPolicy], translation: &mut Translation) {
    let boosts = policies.iter().filter_map(|policy| policy.startup_boost.as_ref());
    let boosts: Vec<_> = spec.startup_boost.iter().chain(boosts).collect();
    let durations = boosts.iter().filter_map(|boost| boost.cpu.as_ref()?.duration.as_deref());
    if let Some(seconds) = durations.filter_map(seconds).max() {
        translation.annotations.insert("startup", format!("{seconds}s"));
    }
    if !boosts.is_empty() {
        translation.remark(
            "startupBoost: what a start needs is told by earlier starts, and never more than the \
             template gives; there is no factor",
        );
    }
}

/// `1m30s` in seconds.
fn seconds(text: &str) -> Option<u64> {
    let (mut sum, mut number) = (0, String::new());
    for c in text.chars() {
        let unit = match c {
            '0'..='9' => {
                number.push(c);
                continue;
            }
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        sum += std::mem::take(&mut number).parse::<u64>().ok()?.checked_mul(unit)?;
    }
    number.is_empty().then_some(sum).filter(|sum| *sum > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(of: serde_json::Value) -> Spec {
        serde_json::from_value(of).unwrap()
    }

    fn container(name: &str, cpu: (f64, f64), memory: (f64, f64)) -> TargetContainer {
        TargetContainer {
            name: name.into(),
            requests: PerResource::new(Some(cpu.0), Some(memory.0)),
            limits: PerResource::new(Some(cpu.1), Some(memory.1)),
        }
    }

    fn translated(of: serde_json::Value) -> Translation {
        let target = [
            container("app", (0.5, 1.0), (256.0, 256.0)),
            container("proxy", (0.1, 0.1), (64.0, 128.0)),
        ];
        translate(&spec(of), Some(&target))
    }

    #[test]
    fn modes_are_those_of_the_annotation() {
        for (mode, expected) in [
            ("Off", "recommend"),
            ("Initial", "recommend"),
            ("Auto", "live"),
            ("Recreate", "live"),
            ("InPlaceOrRecreate", "live"),
            ("Surprise", "recommend"),
        ] {
            let translation = translated(json!({"updatePolicy": {"updateMode": mode}}));
            assert_eq!(translation.annotations["mode"], expected, "{mode}");
            let told = matches!(mode, "Initial" | "Surprise");
            assert_eq!(!translation.no_counterpart.is_empty(), told, "{mode}");
        }
        assert_eq!(translated(json!({})).annotations["mode"], "live", "the default is Recreate");
    }

    #[test]
    fn bounds_of_requests_become_bounds_of_limits() {
        let policy = json!({"containerName": "*", "minAllowed": {"cpu": "100m", "memory": "64Mi"},
            "maxAllowed": {"cpu": "2", "memory": "1Gi"}});
        let of = |policy: &serde_json::Value| {
            translated(json!({"resourcePolicy": {"containerPolicies": [policy]}}))
        };
        let translation = of(&policy);
        let annotation = |name: &str| translation.annotations[name].as_str();
        // The limit of one is twice its request.
        assert_eq!((annotation("min-cpu"), annotation("max-cpu")), ("200m", "4"));
        assert_eq!((annotation("min-memory"), annotation("max-memory")), ("128Mi", "2Gi"));
        assert_eq!(translation.most, PerResource::new(Some(4.0), Some(2048.0)));
        let mut alone = policy.clone();
        alone["controlledValues"] = "RequestsOnly".into();
        let translation = of(&alone);
        assert_eq!(translation.annotations["controls"], "requests");
        assert_eq!(translation.annotations["max-cpu"], "2");
        let unknown =
            translate(&spec(json!({"resourcePolicy": {"containerPolicies": [policy]}})), None);
        assert_eq!(unknown.annotations["max-cpu"], "2");
        assert_eq!(unknown.remarks.iter().filter(|of| of.contains("bound requests")).count(), 4);
    }

    #[test]
    fn what_is_of_single_containers_is_told_of() {
        let translation = translated(json!({"resourcePolicy": {"containerPolicies": [
            {"containerName": "proxy", "mode": "Off"},
            {"containerName": "app", "controlledResources": ["memory"],
                "maxAllowed": {"memory": "1Gi"}},
        ]}}));
        assert_eq!(translation.annotations["containers"], "app");
        assert_eq!(translation.annotations["max-memory"], "1Gi");
        assert!(translation.no_counterpart[0].contains("controlledResources [memory]"));
        let differing = translated(json!({"resourcePolicy": {"containerPolicies": [
            {"containerName": "app", "maxAllowed": {"memory": "1Gi"}},
            {"containerName": "proxy", "maxAllowed": {"memory": "128Mi"}},
        ]}}));
        assert_eq!(differing.annotations["max-memory"], "1Gi");
        assert!(differing.no_counterpart[0].contains("bounds of memory of single containers"));
        let partly = translated(json!({"resourcePolicy": {"containerPolicies": [
            {"containerName": "app", "maxAllowed": {"memory": "1Gi"}},
            {"containerName": "*"},
        ]}}));
        assert!(!partly.annotations.contains_key("max-memory"));
        let off = translated(json!({"resourcePolicy": {"containerPolicies": [
            {"containerName": "*", "mode": "Off"}]}}));
        assert_eq!(off.annotations["mode"], "off");
    }

    #[test]
    fn what_has_no_counterpart_is_never_silent() {
        let translation = translated(json!({
            "updatePolicy": {"minReplicas": 2, "evictAfterOOMSeconds": 5, "evictionRequirements": [
                {"resources": ["memory"], "changeRequirement": "TargetHigherThanRequests"}]},
            "recommenders": [{"name": "custom"}],
            "startupBoost": {"cpu": {"type": "Factor", "factor": 3, "duration": "1m30s"}},
            "somethingNew": 1,
            "resourcePolicy": {"containerPolicies": [{"containerName": "*", "odd": 2,
                "minAllowed": {"cpu": "many"}}]},
        }));
        let told = translation.no_counterpart.join("\n");
        for part in [
            "minReplicas",
            "evictAfterOOMSeconds",
            "evictionRequirements",
            "recommenders",
            "somethingNew",
            "odd of all containers",
            "\"many\"",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert_eq!(translation.annotations["startup"], "90s");
        let upwards = translated(json!({"updatePolicy": {"evictionRequirements": [
            {"resources": ["cpu", "memory"], "changeRequirement": "TargetHigherThanRequests"}]}}));
        assert_eq!(upwards.annotations["scale"], "up-only");
    }
}
