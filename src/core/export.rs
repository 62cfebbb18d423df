//! What workloads have settled on, for those who keep their templates elsewhere.

use std::collections::{BTreeMap, HashSet};

use hashbrown::HashMap;
use internment::ArcIntern as Shared;

use crate::birth::{Size, size};
use crate::context::OwnedPod;
use crate::eligibility::eligibility;
use crate::pod::ContainerResources;
use crate::policy::Settings;
use crate::workload::{WorkloadHistory, WorkloadKey};

/// The containers of a workload whose template should be another.
#[derive(Debug, Clone, PartialEq)]
pub struct SettledWorkload {
    /// Of all its instances.
    pub key: WorkloadKey,
    pub containers: Vec<SettledContainer>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SettledContainer {
    pub name: String,
    pub sidecar: bool,
    pub resources: ContainerResources,
}

/// By whether it is a sidecar and by its name: the size of a container, and of its template.
type Sizes = BTreeMap<(bool, String), (Size, Size)>;

/// Of the workloads behind these pods, in the order of their names. Those that make their pods by
/// themselves, and are not left alone: a dry run and a recommendation count, too.
pub fn settled(
    pods: &[OwnedPod],
    workloads: &HashMap<Shared<WorkloadKey>, WorkloadHistory>,
    settings: &Settings,
) -> Vec<SettledWorkload> {
    let mut seen = HashSet::new();
    let mut found: BTreeMap<WorkloadKey, Sizes> = BTreeMap::new();
    for owned in pods {
        let key = WorkloadKey::of(owned);
        if !is_templated(&key) || !seen.insert(key.clone()) {
            continue;
        }
        let Ok(own) = eligibility(owned, settings) else { continue };
        let policy = own.as_deref().unwrap_or(&settings.policy);
        let Some(history) = workloads.get(&Shared::new(key.clone())) else { continue };
        let of_all = found.entry(WorkloadKey { instance: None, ..key }).or_default();
        for container in owned.clone().select_containers().pod.containers.iter() {
            let known = history.container(&container.name).filter(|known| known.has_template());
            let Some(known) = known else { continue };
            let (size, template) = (size(known, policy), Size::of(&known.template));
            let name = (container.sidecar, container.name.to_string());
            let largest = of_all.entry(name).or_insert((size, template));
            *largest = (largest.0.or_larger(&size), largest.1.or_larger(&template));
        }
    }
    let workloads = found.into_iter().map(|(key, containers)| {
        let changed = containers.into_iter().filter_map(|((sidecar, name), (size, template))| {
            let resources = size.resources();
            (resources != template.resources()).then_some(SettledContainer {
                name,
                sidecar,
                resources,
            })
        });
        SettledWorkload { key, containers: changed.collect() }
    });
    workloads.filter(|workload| !workload.containers.is_empty()).collect()
}

fn is_templated(key: &WorkloadKey) -> bool {
    matches!(
        (key.group.as_str(), key.kind.as_str()),
        ("apps", "Deployment" | "StatefulSet" | "DaemonSet") | ("batch", "CronJob")
    )
}
