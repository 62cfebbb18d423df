//! What new pods of a workload are made with: the sizes that it has settled on, and for a container
//! of another image or template no less than its template gives. An entry is a text, which the
//! policy of `deploy/components/born-right-sized` reads at the creation of a pod.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use hashbrown::HashMap;
use internment::ArcIntern as Shared;

use crate::context::OwnedPod;
use crate::eligibility::policy_of_new;
use crate::pod::{ContainerResources, Quantities};
use crate::policy::{Controls, Policy, Settings};
use crate::quantity;
use crate::resource::{PerResource, Resource};
use crate::workload::{WorkloadContainer, WorkloadHistory, WorkloadKey};

/// A key of a ConfigMap is no longer.
const LONGEST_KEY: usize = 253;

/// Requests and limits that are given to a new container: cores, MiB; None where it has none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Size {
    pub request: PerResource<Option<f64>>,
    pub limit: PerResource<Option<f64>>,
    /// The limit that one of another image or template is not made without.
    least: PerResource<Option<f64>>,
}

impl Size {
    /// Of a container, as its template has it.
    pub fn of(template: &ContainerResources) -> Self {
        Self {
            request: PerResource::build(|resource| template.request(resource)),
            limit: PerResource::build(|resource| template.limit(resource)),
            least: PerResource::default(),
        }
    }

    /// The larger one of each figure.
    pub fn or_larger(&self, other: &Self) -> Self {
        Self {
            request: PerResource::build(|of| self.request[of].max_with(other.request[of])),
            limit: PerResource::build(|of| self.limit[of].max_with(other.limit[of])),
            least: PerResource::build(|of| self.least[of].max_with(other.least[of])),
        }
    }

    /// As quantities by the resources' names.
    pub fn resources(&self) -> ContainerResources {
        let texts = |amounts: &PerResource<Option<f64>>| -> Quantities {
            let text = |resource: Resource| {
                Some((resource.name().to_owned(), text(resource, amounts[resource]?)))
            };
            Resource::ALL.into_iter().filter_map(text).collect()
        };
        ContainerResources { requests: texts(&self.request), limits: texts(&self.limit) }
    }
}

trait MaxWith {
    fn max_with(self, other: Self) -> Self;
}

impl MaxWith for Option<f64> {
    fn max_with(self, other: Self) -> Self {
        match (self, other) {
            (Some(one), Some(other)) => Some(one.max(other)),
            (one, other) => one.or(other),
        }
    }
}

/// Millicores and KiB, which are what a size is rounded to.
fn per_unit(resource: Resource) -> f64 {
    match resource {
        Resource::Cpu => 1000.0,
        Resource::Memory => 1024.0,
    }
}

fn text(resource: Resource, amount: f64) -> String {
    let units = (amount * per_unit(resource)).round() as u64;
    match resource {
        Resource::Cpu => quantity::format_cpu(units),
        Resource::Memory => quantity::format_memory(units),
    }
}

/// What a new container like the template is made with.
pub fn size(known: &WorkloadContainer, policy: &Policy) -> Size {
    let mut size = Size::of(&known.template);
    for resource in Resource::ALL.into_iter().filter(|of| !policy.managed_by_hpa[*of]) {
        (size.limit[resource], size.request[resource]) = of_resource(known, resource, policy);
        let least = known.protected(resource, policy).filter(|_| !is_tight(resource, policy));
        size.least[resource] =
            least.map(|least| whole(resource, least.min(policy.limits.container_max[resource])));
    }
    size
}

/// Rounded up.
fn whole(resource: Resource, amount: f64) -> f64 {
    let unit = 1.0 / per_unit(resource);
    ((amount / unit - ROUNDING).ceil() * unit).max(unit)
}

/// A quota, or a LimitRange for whole pods, may have room for the template and no more.
fn is_tight(resource: Resource, policy: &Policy) -> bool {
    let narrow = &policy.limits;
    let rooms = [&narrow.limits_room, &narrow.requests_room, &narrow.pod_max];
    rooms.iter().any(|room| room[resource].is_finite())
}

/// The limit and the request in whole units, as admission takes them. What was equal stays equal
/// and what was smaller stays smaller, so that the QoS class stays.
fn of_resource(
    known: &WorkloadContainer,
    resource: Resource,
    policy: &Policy,
) -> (Option<f64>, Option<f64>) {
    let (old_limit, old_request) =
        (known.template.limit(resource), known.template.request(resource));
    let (limit, request) = known.needed(resource, policy);
    let narrow = &policy.limits;
    let is_tight = is_tight(resource, policy);
    let admitted = |amount: f64, old: f64| {
        let amount = if policy.up_only { amount.max(old) } else { amount };
        let amount = if is_tight { amount.min(old) } else { amount };
        amount.min(narrow.container_max[resource]).max(narrow.container_min[resource])
    };
    let unit = 1.0 / per_unit(resource);
    let whole = |amount| whole(resource, amount);
    let limit = limit
        .zip(old_limit)
        .map(|(limit, old)| whole(admitted(limit.max(known.start_need(resource, policy)), old)));
    let request = request.zip(old_request).map(|(request, old)| match policy.controls {
        Controls::Limits => old,
        _ => {
            let ratio = narrow.max_limit_request_ratio[resource];
            whole(admitted(request, old).max(limit.map_or(0.0, |limit| limit / ratio)))
        }
    });
    match (limit, request) {
        (Some(limit), Some(_)) if old_limit == old_request => (Some(limit), Some(limit)),
        (Some(limit), Some(request)) if policy.controls == Controls::Limits => {
            (Some(limit.max(request + unit)), Some(request))
        }
        (Some(limit), Some(request)) => {
            let limit = limit.max(2.0 * unit);
            (Some(limit), Some(request.min(limit - unit)))
        }
        other => other,
    }
}

/// What floating-point numbers make of a whole number is off by less than this.
const ROUNDING: f64 = 1e-6;

/// What is known for the new pods of a namespace.
#[derive(Debug, Default)]
pub struct Births {
    pub entries: BTreeMap<String, String>,
    /// Workloads that have pods, and those of them of which nothing is known that is not in the
    /// entries.
    there: HashSet<String>,
    known: HashSet<String>,
}

/// A workload whose last pod has been gone for so many seconds has no entries any more.
const GONE: i64 = 600;
/// What all entries of a namespace take at most: an object may have 1 MiB.
const MOST_BYTES: usize = 900_000;

/// An entry that was there before, and since when its workload has had no pods.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    pub text: String,
    gone_since: Option<i64>,
}

/// A container with its size.
type SizedContainer<'a> = (&'a WorkloadContainer, Size);

impl Births {
    /// Of the pods of a namespace.
    pub fn of(
        pods: &[OwnedPod],
        workloads: &HashMap<Shared<WorkloadKey>, WorkloadHistory>,
        settings: &Settings,
    ) -> Self {
        let mut births = Self::default();
        let mut seen = HashSet::new();
        let mut alike: BTreeMap<(String, Arc<str>), Vec<SizedContainer>> = BTreeMap::new();
        let mut of_instances = Vec::new();
        for owned in pods {
            let key = WorkloadKey::of(owned);
            // A bare pod is made anew by nobody.
            if owned.workload.is_none() || !seen.insert(key.clone()) {
                continue;
            }
            let workload = workload_name(&key);
            births.there.insert(workload.clone());
            let Some(policy) = policy_of_new(owned, settings) else {
                births.known.insert(workload);
                continue;
            };
            let history = workloads.get(&Shared::new(key.clone()));
            for container in owned.clone().select_containers().pod.containers.iter() {
                let known = history.and_then(|history| history.container(&container.name));
                let Some(known) = known.filter(|known| known.has_template()) else { continue };
                births.known.insert(workload.clone());
                let size = size(known, &policy);
                if let Some(instance) = &key.instance {
                    let name = entry_name(&workload, instance, &container.name);
                    of_instances.push((name, entry(known, &size)));
                }
                let of_all = alike.entry((workload.clone(), container.name.clone())).or_default();
                of_all.push((known, size));
            }
        }
        let of_all = alike.into_iter().filter_map(|((workload, container), sizes)| {
            let (known, _) = sizes.first()?;
            let same = |of: &&SizedContainer| {
                (&of.0.image, &of.0.template) == (&known.image, &known.template)
            };
            let largest = sizes.iter().filter(same).map(|(_, size)| *size);
            let largest = largest.reduce(|one, other| one.or_larger(&other))?;
            Some((entry_name(&workload, "", &container), entry(known, &largest)))
        });
        let mut bytes = 0;
        for (name, text) in of_all.chain(of_instances) {
            bytes += name.len() + text.len();
            if name.len() <= LONGEST_KEY && bytes <= MOST_BYTES {
                births.entries.insert(name, text);
            }
        }
        births
    }

    /// With what stays of the entries that were there before: those of workloads that are between
    /// two pods, and those of which this process knows nothing yet.
    pub fn after(self, before: &BTreeMap<String, Kept>, now: i64) -> BTreeMap<String, Kept> {
        let stays = before.iter().filter_map(|(name, kept)| {
            let workload = name.rsplitn(3, '_').nth(2)?;
            if self.known.contains(workload) {
                return None;
            }
            let is_there = self.there.contains(workload);
            let gone_since = (!is_there).then(|| kept.gone_since.unwrap_or(now).min(now));
            let kept = Kept { gone_since, ..kept.clone() };
            gone_since.is_none_or(|since| now - since < GONE).then(|| (name.clone(), kept))
        });
        let mut after: BTreeMap<_, _> = stays.collect();
        after.extend(self.entries.into_iter().map(|(name, text)| (name, Kept::new(text))));
        after
    }
}

impl Kept {
    pub fn new(text: String) -> Self {
        Self { text, gone_since: None }
    }
}

/// Neither a name nor a group nor a kind has an underscore.
fn workload_name(key: &WorkloadKey) -> String {
    format!("{}_{}_{}", key.group, key.kind, key.name)
}

fn entry_name(workload: &str, instance: &str, container: &str) -> String {
    format!("{workload}_{instance}_{container}")
}

/// The image and the template that a size is of, its requests and limits, and the limits that
/// another image or template is not made without.
fn entry(known: &WorkloadContainer, size: &Size) -> String {
    let (template, figures_of) = (figures(&known.template, ","), figures(&size.resources(), "|"));
    let least = |resource| size.least[resource].map_or(String::new(), |of| text(resource, of));
    let (cpu, memory) = (least(Resource::Cpu), least(Resource::Memory));
    format!("{}|{template}|{figures_of}|{cpu}|{memory}", known.image)
}

/// The requests of CPU and memory and the limits of both, empty where there is none.
fn figures(resources: &ContainerResources, separator: &str) -> String {
    let all = [&resources.requests, &resources.limits];
    let texts = all.iter().flat_map(|of| {
        Resource::ALL.map(|resource| of.get(resource.name()).map_or("", String::as_str))
    });
    texts.collect::<Vec<_>>().join(separator)
}

/// What the annotation `born` says of the template of a container that was made with `resources`.
pub fn template_of(
    born: &str,
    container: &str,
    made: &ContainerResources,
) -> Option<ContainerResources> {
    let figures = born.split(';').find_map(|of| of.strip_prefix(container)?.strip_prefix('='))?;
    let (mut texts, mut template) = (figures.split(','), made.clone());
    for of in [&mut template.requests, &mut template.limits] {
        for resource in Resource::ALL {
            match texts.next()? {
                "" => drop(of.remove(resource.name())),
                text => drop(of.insert(resource.name().to_owned(), text.to_owned())),
            }
        }
    }
    texts.next().is_none().then_some(template)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::Observation;
    use crate::overrides::{PREFIX, PodOverrides};
    use crate::pod::{Owner, Pod, PodContainer, pod_key};

    const NOW: i64 = 12 * 3600;

    fn template() -> ContainerResources {
        let requests = [("cpu", "500m"), ("memory", "256Mi")];
        ContainerResources::new(&requests, &[("cpu", "1"), ("memory", "512Mi")])
    }

    /// A container of that template that uses 0.2 cores and 100 MiB and has settled on that limit.
    fn known(template: &ContainerResources, limit: PerResource<f64>) -> WorkloadContainer {
        let (mut known, policy) = (WorkloadContainer::default(), Policy::default());
        known.inherit("web:1", Some(&template.clone().into()), &policy, 0);
        let usage = PerResource::new(0.2, 100.0);
        for at in (60..NOW).step_by(60) {
            let started_at = (at < 600).then_some(0);
            let seen = Observation::measured(at, usage, limit);
            known.learn(&Observation { started_at, ..seen }, None, true, &policy, at);
        }
        known.settle(1, limit, NOW);
        known
    }

    fn texts(size: &Size) -> String {
        figures(&size.resources(), ",")
    }

    fn sized(template: &ContainerResources, limit: PerResource<f64>, policy: &Policy) -> String {
        texts(&size(&known(template, limit), policy))
    }

    #[test]
    fn a_size_is_what_was_settled_on_and_keeps_the_class() {
        let (policy, cut, raised) =
            (Policy::default(), PerResource::new(0.3, 200.0), PerResource::new(2.0, 1024.0));
        let of = |template: &ContainerResources, limit| sized(template, limit, &policy);
        // Half of the limit, and no less than what is typically used.
        assert_eq!(of(&template(), cut), "200m,100Mi,300m,200Mi");
        assert_eq!(of(&template(), raised), "1,512Mi,2,1Gi");
        let both = [("cpu", "1"), ("memory", "512Mi")];
        let guaranteed = ContainerResources::new(&both, &both);
        assert_eq!(of(&guaranteed, cut), "300m,200Mi,300m,200Mi");
        let nearly = ContainerResources::new(&[("cpu", "999m"), ("memory", "512Mi")], &both);
        assert_eq!(of(&nearly, cut), "299m,200Mi,300m,200Mi");
        let requests = ContainerResources::new(&both, &[]);
        assert_eq!(of(&requests, cut), "300m,200Mi,,", "nothing gets a limit");
        assert_eq!(of(&ContainerResources::new(&[], &[]), cut), ",,,");
    }

    #[test]
    fn whatever_binds_a_resize_binds_a_size() {
        let default = Policy::default;
        let cut = |policy: Policy| sized(&template(), PerResource::new(0.3, 200.0), &policy);
        let raised = |policy: Policy| sized(&template(), PerResource::new(2.0, 1024.0), &policy);
        let managed_by_hpa = PerResource::new(true, false);
        assert_eq!(cut(Policy { managed_by_hpa, ..default() }), "500m,100Mi,1,200Mi");
        assert_eq!(cut(Policy { up_only: true, ..default() }), "500m,256Mi,1,512Mi");
        let max = PerResource::new(1.5, 600.0);
        assert_eq!(raised(Policy { max, ..default() }), "750m,300Mi,1500m,600Mi");
        let controls = Controls::Requests;
        assert_eq!(cut(Policy { controls, ..default() }), "300m,200Mi,1,512Mi");
        let controls = Controls::Limits;
        assert_eq!(cut(Policy { controls, ..default() }), "500m,256Mi,501m,262145Ki");
        let mut policy = default();
        policy.limits.limits_room.cpu = 10.0;
        assert_eq!(raised(policy), "500m,512Mi,1,1Gi", "a quota may have room for no more");
        let mut policy = default();
        policy.limits.container_max.memory = 700.0;
        policy.limits.container_min.cpu = 0.4;
        assert_eq!(raised(policy.clone()), "1,512Mi,2,700Mi");
        assert_eq!(cut(policy), "399m,100Mi,400m,200Mi");
    }

    #[test]
    fn a_start_that_takes_more_is_born_with_it() {
        let mut known = known(&template(), PerResource::new(0.3, 200.0));
        let start = |at, cpu| {
            let seen = Observation::measured(
                at,
                PerResource::new(cpu, 300.0),
                PerResource::new(1.0, 512.0),
            );
            Observation { started_at: Some(NOW), ..seen }
        };
        let policy = Policy::default();
        known.learn(&start(NOW + 30, 0.7), None, true, &policy, NOW + 30);
        known.learn(&start(NOW + 150, 0.2), None, true, &policy, NOW + 150);
        let size = texts(&size(&known, &policy));
        assert!(size.starts_with("200m,") && size.contains(",770m,"), "the request stays: {size}");
    }

    fn owned(annotations: &[(&str, &str)], kind: &str, name: &str) -> OwnedPod {
        let key = pod_key("shop", name, name);
        let annotations: BTreeMap<_, _> = annotations
            .iter()
            .map(|(name, value)| (format!("{PREFIX}{name}"), (*value).to_owned()))
            .collect();
        let overrides = PodOverrides::parse(Some(&annotations)).map(Arc::new);
        let node_name = Some(Shared::from("node-1"));
        let pod = Pod::new(key, vec![PodContainer::new("app", template())]);
        let (group, kind) = ("apps".into(), kind.into());
        let workload = Owner { group, kind, name: "web".into(), uid: "w".into() };
        let bare = OwnedPod::bare(Pod { overrides, node_name, ..pod });
        OwnedPod { workload: Some(Shared::new(workload)), ..bare }
    }

    fn births(pods: &[OwnedPod], dry_run: bool) -> Births {
        let mut workloads = HashMap::new();
        for (index, owned) in pods.iter().enumerate() {
            let limit = PerResource::new(0.3 + index as f64 / 10.0, 200.0);
            let mut history = WorkloadHistory::default();
            *history.container_mut(&"app".into()) = known(&template(), limit);
            workloads.insert(Shared::new(WorkloadKey::of(owned)), history);
        }
        Births::of(pods, &workloads, &Settings { dry_run, ..Settings::default() })
    }

    #[test]
    fn only_what_may_be_changed_has_entries() {
        let pod = |annotations: &[(&str, &str)]| [owned(annotations, "Deployment", "web-1")];
        let entries = births(&pod(&[]), false).entries;
        let expected = "web:1|500m,256Mi,1,512Mi|200m|100Mi|300m|200Mi|243m|118272Ki";
        assert_eq!(entries, [("apps_Deployment_web__app".into(), expected.into())].into());
        for annotation in
            [("mode", "off"), ("mode", "recommend"), ("max-cpu", "lots"), ("containers", "other")]
        {
            assert!(births(&pod(&[annotation]), false).entries.is_empty(), "{annotation:?}");
        }
        assert!(births(&pod(&[]), true).entries.is_empty());
        let mut bare = owned(&[], "Deployment", "web-1");
        bare.workload = None;
        assert!(births(&[bare], false).entries.is_empty());
    }

    #[test]
    fn an_instance_has_an_entry_of_its_own_and_a_new_one_the_largest() {
        let pods = [owned(&[], "StatefulSet", "web-0"), owned(&[], "StatefulSet", "web-1")];
        let entries = births(&pods, false).entries;
        let limit = |name: &str| entries[name].split('|').nth(4).unwrap();
        assert_eq!(limit("apps_StatefulSet_web_web-0_app"), "300m");
        assert_eq!(limit("apps_StatefulSet_web_web-1_app"), "400m");
        assert_eq!(limit("apps_StatefulSet_web__app"), "400m");
    }

    #[test]
    fn entries_stay_between_two_pods_and_end_with_their_workload() {
        let before = |name: &str| BTreeMap::from([(name.to_owned(), Kept::new("old".into()))]);
        let none = || births(&[], false);
        let gone = none().after(&before("apps_Deployment_web__app"), 0);
        assert_eq!(gone.len(), 1);
        assert_eq!(none().after(&gone, GONE - 1).len(), 1);
        assert!(none().after(&gone, GONE).is_empty());
        // Its pods are there, and nothing is known of it yet.
        let unknown = [owned(&[], "Deployment", "web-1")];
        let settings = Settings { dry_run: false, ..Settings::default() };
        let unknown = || Births::of(&unknown, &HashMap::new(), &settings);
        let kept = unknown().after(&gone, GONE * 10);
        assert_eq!(kept["apps_Deployment_web__app"], Kept::new("old".into()));
        let pod = [owned(&[], "Deployment", "web-1")];
        assert_ne!(births(&pod, false).after(&kept, 0), kept, "it is known");
        let off = [owned(&[("mode", "off")], "Deployment", "web-1")];
        assert!(births(&off, false).after(&kept, 0).is_empty());
    }

    #[test]
    fn the_template_of_a_container_that_was_born_otherwise_is_told() {
        let made = ContainerResources::new(&[("cpu", "1"), ("x/gpu", "1")], &[("cpu", "2")]);
        let of = |born| template_of(born, "app", &made);
        let expected = ContainerResources::new(
            &[("memory", "64Mi"), ("x/gpu", "1")],
            &[("cpu", "500m"), ("memory", "1Gi")],
        );
        assert_eq!(of("side=1,1,1,1;app=,64Mi,500m,1Gi"), Some(expected));
        for broken in ["", "app", "app=1,2,3", "app=1,2,3,4,5", "side=1,1,1,1"] {
            assert_eq!(of(broken), None, "{broken}");
        }
    }
}
