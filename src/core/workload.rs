//! What outlives pods: of each container of a workload its peaks, its typical use, its kills, and
//! the resources that its pods have settled on.

use std::sync::Arc;

use internment::ArcIntern as Shared;
use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::context::OwnedPod;
use crate::observation::{CLOCK_TOLERANCE, Observation};
use crate::peaks::PeakWindow;
use crate::pod::{ContainerResources, OomKill, Pod};
use crate::policy::{Controls, Policy};
use crate::recorded::{FirstPod, Recorded, RecordedWorkload};
use crate::resource::{PerResource, Resource};
use crate::typical_use::TypicalUse;

/// What is remembered of a workload that is gone is forgotten after so many seconds.
pub const KEPT: i64 = 7 * 24 * 3600;
/// The share of the time that a request covers.
const COVERED: PerResource<f64> = PerResource { cpu: 0.9, memory: 0.98 };

/// What a pod is one life of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkloadKey {
    pub namespace: String,
    /// The API group of the kind, without a version.
    pub group: String,
    pub kind: String,
    pub name: String,
    /// The pod of a StatefulSet, or the node of a DaemonSet's pod: each has its own load.
    pub instance: Option<String>,
}

impl WorkloadKey {
    /// A pod that nothing has made is its own workload.
    pub fn of(owned: &OwnedPod) -> Self {
        let key = &owned.pod.key;
        let namespace = key.namespace.clone();
        let Some(owner) = owned.workload.as_deref() else {
            let (group, kind, name) = (String::new(), "Pod".into(), key.name.clone());
            return Self { namespace, group, kind, name, instance: None };
        };
        let instance = match (owner.group.as_str(), owner.kind.as_str()) {
            ("apps", "StatefulSet") => Some(key.name.clone()),
            ("apps", "DaemonSet") => owned.pod.node_name.as_ref().map(|node| node.to_string()),
            _ => None,
        };
        let (group, kind, name) = (owner.group.clone(), owner.kind.clone(), owner.name.clone());
        Self { namespace, group, kind, name, instance }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkloadHistory {
    containers: Vec<(Arc<str>, WorkloadContainer)>,
    /// When a pod of it was last there.
    pub seen_at: i64,
    /// What a monitoring system had recorded of it was taken in.
    #[serde(default)]
    is_recorded: bool,
    /// Until then.
    #[serde(skip)]
    first_pod: Option<Box<FirstPod>>,
}

/// What the pods of a workload have taught of one of their containers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkloadContainer {
    pub image: String,
    /// What a new pod starts with.
    #[serde(with = "interned")]
    pub template: Shared<ContainerResources>,
    /// How often image or template have changed.
    generation: u32,
    peaks: PerResource<PeakWindow>,
    typical: PerResource<TypicalUse>,
    /// Of its starts in the last days.
    #[serde(default = "no_peaks")]
    starts: PerResource<PeakWindow>,
    /// One of them was seen to its end.
    #[serde(default)]
    start_known: bool,
    /// When the present generation was first and last measured.
    known_since: Option<i64>,
    last_at: Option<i64>,
    settled: Option<Settled>,
    /// The largest usage, or need of a killed one, that was beyond what had been settled on, until
    /// a pod has settled on that: cores, MiB.
    #[serde(default)]
    unmet: PerResource<f32>,
    pub last_kill: Option<OomKill>,
}

/// The largest limits of its pods in the last minutes: cores, MiB.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Settled {
    since: i64,
    limit: PerResource<f64>,
    before: Option<PerResource<f64>>,
}

/// What rounding takes of a limit is less than this share of it.
const ROUNDED: f64 = 0.001;
/// Seconds that the largest of several pods' limits is taken of.
const SETTLING: i64 = 300;

impl Settled {
    fn take_in(&mut self, limit: PerResource<f64>, now: i64) {
        let age = (now - self.since).abs();
        if age < SETTLING {
            self.limit = largest(self.limit, limit);
        } else {
            let before = (age < 2 * SETTLING).then_some(self.limit);
            *self = Self { since: now, limit, before };
        }
    }

    fn limit(&self) -> PerResource<f64> {
        self.before.map_or(self.limit, |before| largest(before, self.limit))
    }
}

/// What is shared in memory is written down for each.
mod interned {
    use internment::ArcIntern as Shared;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::pod::ContainerResources;

    pub fn serialize<S: Serializer>(
        of: &Shared<ContainerResources>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        (**of).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Shared<ContainerResources>, D::Error> {
        ContainerResources::deserialize(deserializer).map(Shared::new)
    }
}

fn no_peaks() -> PerResource<PeakWindow> {
    PerResource::new(PeakWindow::new(), PeakWindow::new())
}

fn largest(a: PerResource<f64>, b: PerResource<f64>) -> PerResource<f64> {
    PerResource::build(|resource| a[resource].max(b[resource]))
}

/// What a new pod takes over from its workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Inheritance {
    pub generation: u32,
    pub peaks: PerResource<PeakWindow>,
    /// For how many seconds its generation has been measured.
    pub known_for: i64,
}

impl WorkloadHistory {
    pub fn containers(&self) -> impl Iterator<Item = (&str, &WorkloadContainer)> {
        self.containers.iter().map(|(name, container)| (&**name, container))
    }

    pub fn container(&self, name: &str) -> Option<&WorkloadContainer> {
        self.containers().find(|(known, _)| *known == name).map(|(_, container)| container)
    }

    pub fn container_mut(&mut self, name: &Arc<str>) -> &mut WorkloadContainer {
        let index = self.containers.iter().position(|(known, _)| known == name);
        let index = index.unwrap_or_else(|| {
            self.containers.reserve_exact(1);
            self.containers.push((name.clone(), WorkloadContainer::default()));
            self.containers.len() - 1
        });
        &mut self.containers[index].1
    }

    /// One of its pods is there.
    pub(crate) fn meet(&mut self, pod: &Pod, now: i64) {
        self.seen_at = self.seen_at.max(now);
        if !self.is_recorded && self.first_pod.is_none() {
            let created = pod.created.map(|created| created.timestamp());
            let first = FirstPod { name: pod.key.name.clone(), created };
            self.first_pod = Some(first.into());
        }
    }

    /// The pod that it was first seen by, as long as nothing recorded of it was taken in.
    pub fn unrecorded(&self) -> Option<&FirstPod> {
        self.first_pod.as_deref()
    }

    /// Takes in what was recorded of it before.
    pub(crate) fn take_recorded(&mut self, of: RecordedWorkload, policy: &Policy, now: i64) {
        self.is_recorded = true;
        let born = self.first_pod.take().and_then(|first| first.created);
        for (name, recorded) in of {
            self.container_mut(&name).take_recorded(&recorded.until(now), born, policy);
        }
    }

    /// What is still worth knowing at `now` of a history from another process, whose peaks were
    /// kept for `windows`.
    pub fn restored(mut self, windows: PerResource<i64>, policy: &Policy, now: i64) -> Self {
        for (_, container) in &mut self.containers {
            container.restore(windows, policy, now);
        }
        self
    }
}

impl Default for WorkloadContainer {
    fn default() -> Self {
        Self {
            image: String::new(),
            template: Shared::new(ContainerResources::default()),
            generation: 0,
            peaks: no_peaks(),
            typical: PerResource::default(),
            starts: no_peaks(),
            start_known: false,
            known_since: None,
            last_at: None,
            settled: None,
            unmet: PerResource::default(),
            last_kill: None,
        }
    }
}

impl WorkloadContainer {
    /// What a new pod takes over. `fresh` are the resources that it came with, None where they have
    /// been changed since. Another image or template is another generation, which takes over the
    /// peaks and has to show for itself what it can do without.
    pub fn inherit(
        &mut self,
        image: &str,
        fresh: Option<&Shared<ContainerResources>>,
        policy: &Policy,
        now: i64,
    ) -> Inheritance {
        let template = fresh.unwrap_or(&self.template);
        if image != self.image || *template != self.template {
            (self.image, self.template) = (image.to_owned(), template.clone());
            self.generation += 1;
            (self.known_since, self.settled) = (None, None);
        }
        self.keep_time(policy, now);
        for resource in Resource::ALL {
            // Their age is told from now on.
            self.peaks[resource].observe(now, 0.0, policy.guard.window[resource]);
        }
        self.inheritance()
    }

    /// Takes in what was measured of one of its containers, and what a killed one would have
    /// needed. What it typically uses is told by samples alone, not by looks in between, which are
    /// of those that are full.
    pub fn learn(
        &mut self,
        seen: &Observation,
        needed: Option<f64>,
        is_sample: bool,
        policy: &Policy,
        now: i64,
    ) {
        self.keep_time(policy, now);
        let window = policy.guard.window;
        if let Some(needed) = needed {
            self.peaks.memory.observe_kill(now, needed, window.memory);
            self.exceed(Resource::Memory, needed);
            self.last_kill = seen.oom_kill;
        }
        if !seen.is_measured() {
            return;
        }
        self.known_since = self.known_since.or(Some(seen.at));
        self.last_at = self.last_at.max(Some(seen.at));
        for resource in Resource::ALL.into_iter().filter(|of| seen.measured[*of]) {
            let used = seen.usage[resource];
            let starts = seen.is_of_start(resource, policy.startup);
            if starts {
                self.starts[resource].observe(seen.at, used, KEPT);
            } else if seen.is_of_start(resource, 2 * policy.startup) {
                self.start_known |= self.starts[resource].peak() > 0.0;
            }
            if starts && resource == Resource::Cpu {
                continue;
            }
            self.peaks[resource].observe(seen.at, used, window[resource]);
            self.exceed(resource, used);
            if is_sample {
                self.typical[resource].observe(seen.at, used * per_unit(resource));
            }
        }
    }

    fn exceed(&mut self, resource: Resource, amount: f64) {
        if self.settled(resource).is_none_or(|settled| amount > settled) {
            let unmet = &mut self.unmet[resource];
            *unmet = unmet.max(amount as f32);
        }
    }

    /// Takes in what was recorded of it before. Its present generation is known since a pod of that
    /// was `born` and measured.
    fn take_recorded(&mut self, of: &Recorded, born: Option<i64>, policy: &Policy) {
        let window = policy.guard.window;
        let stands_for = of.step as f64 / policy.sample_interval.max(1) as f64;
        for resource in Resource::ALL {
            for (at, peak) in &of.peaks[resource] {
                self.peaks[resource].observe(*at, *peak, window[resource]);
            }
            for (at, used) in &of.samples[resource] {
                let used = used * per_unit(resource);
                self.typical[resource].observe_weighed(*at, used, stands_for);
            }
        }
        for (at, limit) in &of.kills {
            let needed = limit * Action::Increase.factor(policy.scale_factor);
            self.peaks.memory.observe_kill(*at, needed, window.memory);
        }
        if let Some((begin, end)) = born.and_then(|born| of.span(born)) {
            self.known_since = Some(self.known_since.map_or(begin, |since| since.min(begin)));
            self.last_at = self.last_at.max(Some(end));
        }
    }

    /// What a container of its present generation that is there already takes over.
    pub(crate) fn inheritance(&self) -> Inheritance {
        Inheritance {
            generation: self.generation,
            peaks: self.peaks.clone(),
            known_for: self.known_for(),
        }
    }

    /// A container of the present generation that waits for nothing has these limits.
    pub fn settle(&mut self, generation: u32, limit: PerResource<f64>, now: i64) {
        if generation == self.generation {
            let first = Settled { since: now, limit, before: None };
            self.settled.get_or_insert(first).take_in(limit, now);
            for resource in Resource::ALL {
                if limit[resource] * (1.0 + ROUNDED) >= f64::from(self.unmet[resource]) {
                    self.unmet[resource] = 0.0;
                }
            }
        }
    }

    /// What it uses for nearly all of the time: cores, MiB; 0 where nothing is known.
    pub fn typical(&self, resource: Resource) -> f64 {
        self.typical[resource].percentile(COVERED[resource]) / per_unit(resource)
    }

    /// The limit that its pods have settled on: cores, MiB.
    pub fn settled(&self, resource: Resource) -> Option<f64> {
        let settled = self.settled.map(|settled| settled.limit()[resource]);
        settled.filter(|of| *of > 0.0)
    }

    /// The limit that a new pod needs, by what its pods have settled on: cores, MiB. Recent peaks
    /// were known to what decided that, so only what was beyond it since asks for more. But a job
    /// goes through all of its work anew, and the end of a run tells nothing of that.
    pub fn settled_need(&self, resource: Resource, policy: &Policy) -> Option<f64> {
        let settled = self.settled(resource)?;
        let floor = self.lowest_safe_limit(resource, policy);
        let unmet = f64::from(self.unmet[resource]);
        let unmet = policy.guard.with_headroom(resource, unmet, self.known_for());
        Some(settled.max(if policy.is_job { floor } else { unmet.min(floor) }))
    }

    fn lowest_safe_limit(&self, resource: Resource, policy: &Policy) -> f64 {
        let peak = self.peaks[resource].faded_peak(policy.guard.fade[resource]);
        policy.guard.with_headroom(resource, peak, self.known_for())
    }

    /// The largest usage of the guard's window: cores, MiB.
    pub fn peak(&self, resource: Resource) -> f64 {
        self.peaks[resource].peak()
    }

    /// The limit that a start needs: cores, MiB. As long as none was seen, that is the template's,
    /// and no more than that is given for a start alone.
    pub fn start_need(&self, resource: Resource, policy: &Policy) -> f64 {
        let Some(limit) = self.template.limit(resource).filter(|_| policy.startup > 0) else {
            return 0.0;
        };
        let peak = self.starts[resource].peak();
        let needed = peak * (1.0 + policy.guard.headroom[resource]);
        if self.start_known && peak > 0.0 { needed.min(limit) } else { limit }
    }

    /// When the present generation was first measured.
    pub fn known_since(&self) -> Option<i64> {
        self.known_since
    }

    fn known_for(&self) -> i64 {
        self.known_since.zip(self.last_at).map_or(0, |(since, last)| last - since)
    }

    /// The limit and the request that a new pod like its template is given: cores, MiB; None where
    /// the template has none.
    pub fn needed(&self, resource: Resource, policy: &Policy) -> (Option<f64>, Option<f64>) {
        self.needs(resource, policy, false)
    }

    /// The same; in a dry run, where what pods have settled on tells nothing, what they would come
    /// to by what was measured.
    pub fn needs(
        &self,
        resource: Resource,
        policy: &Policy,
        dry_run: bool,
    ) -> (Option<f64>, Option<f64>) {
        let floor = self.lowest_safe_limit(resource, policy);
        let typical = self.typical(resource) * (1.0 + policy.guard.headroom[resource]);
        let typical = Some(typical).filter(|of| *of > 0.0);
        let (settled, need) = match dry_run {
            true => (typical, typical.map(|typical| typical.max(floor))),
            false => (self.settled(resource), self.settled_need(resource, policy)),
        };
        let template = &self.template;
        let (limit, request) = (template.limit(resource), template.request(resource));
        let bounded = |amount: f64| amount.max(policy.min[resource]).min(policy.max[resource]);
        let Some(limit) = limit.filter(|_| policy.controls != Controls::Requests) else {
            let settled =
                settled.filter(|_| policy.controls != Controls::Limits && request != limit);
            let most = limit.unwrap_or(f64::INFINITY);
            let of_request = |request| settled.map_or(request, |of| bounded(of).min(most));
            return (limit, request.map(of_request));
        };
        let needed = match need {
            Some(need) => bounded(need),
            None => limit.max(bounded(floor)),
        };
        let of_request = |request: f64| match policy.controls {
            Controls::Limits => request,
            _ if limit <= 0.0 => request.min(needed),
            _ => (request * needed / limit).max(request.min(self.typical(resource))).min(needed),
        };
        (Some(needed), request.map(of_request))
    }

    /// The limit that a container of another image or template is raised to: cores, MiB; None where
    /// nothing asks for one.
    pub fn protected(&self, resource: Resource, policy: &Policy) -> Option<f64> {
        self.template.limit(resource).filter(|_| policy.controls != Controls::Requests)?;
        let peak = self.peaks[resource].faded_peak(policy.guard.fade[resource]);
        let floor = policy.guard.with_headroom(resource, peak, 0).min(policy.max[resource]);
        (floor > 0.0).then_some(floor)
    }

    /// Whether it is known what a new container starts with.
    pub fn has_template(&self) -> bool {
        *self.template != ContainerResources::default()
    }

    fn restore(&mut self, windows: PerResource<i64>, policy: &Policy, now: i64) {
        self.keep_time(policy, now);
        for resource in Resource::ALL {
            self.peaks[resource].restore(windows[resource], policy.guard.window[resource]);
        }
    }

    /// What lies in the future, of a clock that was ahead, is now.
    fn keep_time(&mut self, policy: &Policy, now: i64) {
        let Some(ahead) = self.last_at.map(|at| at - now).filter(|ahead| *ahead > CLOCK_TOLERANCE)
        else {
            return;
        };
        self.last_at = Some(now);
        self.known_since = self.known_since.map(|since| since - ahead);
        for resource in Resource::ALL {
            self.peaks[resource].shift(ahead, policy.guard.window[resource]);
            self.starts[resource].shift(ahead, KEPT);
        }
    }
}

/// The unit of the histograms: thousandths of a core, MiB.
fn per_unit(resource: Resource) -> f64 {
    match resource {
        Resource::Cpu => 1000.0,
        Resource::Memory => 1.0,
    }
}
