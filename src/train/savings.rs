//! What a replay of a cluster's own series comes to, workload by workload.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::cluster::{Cluster, ClusterSeries};
use super::policies::{Kind, Outcome};
use super::score::within_bounds;
use super::table::{self, Row, Run};
use crate::core::resource::{PerResource, Resource};

/// What would have been saved.
#[derive(Debug, Clone, Serialize)]
pub struct Savings {
    /// The policy that was replayed.
    pub policy: &'static str,
    pub source: String,
    pub days: f64,
    /// Those that would have been saved the most first.
    pub workloads: Vec<WorkloadSavings>,
    /// Series that are not replayed, as they are beyond the bounds of limits.
    pub beyond_bounds: Vec<String>,
}

/// Of one container of all pods of a workload: cores, MiB, on average at the same time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct WorkloadSavings {
    pub namespace: String,
    pub workload: String,
    pub container: String,
    pub pods: f64,
    /// Limits of all pods, or requests where there is no limit; None: neither.
    pub today: PerResource<Option<f64>>,
    /// The limits that the policy gave them.
    pub replayed: PerResource<f64>,
    /// The requests that would have been saved, as they keep their ratio to the limits.
    pub saved: PerResource<Option<f64>>,
    /// Kills for memory a day: as recorded, at most, and in the replay.
    pub kills_today: Option<f64>,
    pub kills: f64,
    /// Share of the time in which it was throttled, as recorded.
    pub throttled_today: Option<f64>,
    /// Share of the CPU demand that the replay did not serve within 30 s.
    pub unserved: f64,
}

impl Savings {
    /// Of the model, or of the first policy that was compared.
    pub fn of(cluster: &Cluster, run: &Run, beyond_bounds: Vec<String>) -> Option<Self> {
        let row = run.rows.iter().find(|row| row.policy == Kind::Dqn).or(run.rows.first())?;
        Some(Self {
            policy: row.policy.name(),
            source: cluster.source.clone(),
            days: cluster.days(),
            workloads: workloads(cluster, run, row),
            beyond_bounds,
        })
    }

    pub fn total(&self, of: impl Fn(&WorkloadSavings) -> Option<f64>) -> f64 {
        self.workloads.iter().filter_map(of).sum()
    }

    pub fn to_json(&self) -> Value {
        json!(self)
    }

    pub const COLUMNS: [&'static str; 11] = [
        "pods",
        "limit cores",
        "replayed",
        "saved cores",
        "limit MiB",
        "replayed",
        "saved MiB",
        "killed/d",
        "replayed",
        "throttled %",
        "unserved %",
    ];

    /// A line for each workload: its name, then [`Self::COLUMNS`].
    pub fn rows(&self) -> Vec<Vec<String>> {
        self.workloads.iter().map(WorkloadSavings::cells).collect()
    }

    /// What it comes to, in a sentence.
    pub fn summary(&self) -> String {
        let [cpu, memory] = Resource::ALL.map(|of| self.total(|workload| workload.saved[of]));
        let days = self.days.max(f64::MIN_POSITIVE);
        let kills = self.total(|workload| Some(workload.kills)) * days;
        let killed = self.total(|workload| workload.kills_today) * days;
        format!(
            "In {days:.1} days {} would have saved {cpu:.1} cores and {:.1} GiB of requests on \
             average. Containers would have been killed for memory {kills:.0} times; they were at \
             most {killed:.0} times.",
            self.policy,
            memory / 1024.0,
        )
    }

    pub fn render(&self) -> String {
        let mut rows =
            vec![[vec!["workload".to_owned()], Self::COLUMNS.map(str::to_owned).to_vec()].concat()];
        rows.extend(self.rows());
        let mut text = String::from("\n");
        table::align(&mut text, &rows);
        text.push('\n');
        text.push_str(&self.summary());
        text.push_str(LEGEND);
        if !self.beyond_bounds.is_empty() {
            text.push_str(&format!(
                "Not replayed, as they are beyond the largest limits: {}.\n",
                self.beyond_bounds.join(", ")
            ));
        }
        text
    }
}

pub const LEGEND: &str = "
Of all pods of a workload together, on average at the same time. limit: as it is today, or the
request where there is no limit. saved: of the requests, which keep their ratio to the limits; less
than nothing is what it would have cost. killed/d: restarts a day after kills for memory, at most.
The replay begins with today's limits, so that a short one saves less than a long one.
";

impl WorkloadSavings {
    fn cells(&self) -> Vec<String> {
        let known = |value: Option<f64>, digits: usize| match value {
            Some(value) => format!("{value:.digits$}"),
            None => "-".to_owned(),
        };
        vec![
            format!("{}/{}/{}", self.namespace, self.workload, self.container),
            format!("{:.1}", self.pods),
            known(self.today.cpu, 2),
            format!("{:.2}", self.replayed.cpu),
            known(self.saved.cpu, 2),
            known(self.today.memory, 0),
            format!("{:.0}", self.replayed.memory),
            known(self.saved.memory, 0),
            known(self.kills_today, 2),
            format!("{:.2}", self.kills),
            known(self.throttled_today.map(|share| 100.0 * share), 1),
            format!("{:.2}", 100.0 * self.unserved),
        ]
    }

    /// Takes in one of its pods, which stands for others.
    fn add(&mut self, of: &ClusterSeries, outcome: &Outcome, limit: PerResource<f64>, days: f64) {
        let pods = of.stands_for;
        self.pods += pods;
        for resource in Resource::ALL {
            let (limit, today) = (limit[resource], of.limits[resource]);
            let requested = of.requests[resource].or(today);
            self.replayed[resource] += pods * limit;
            add(&mut self.today[resource], today.or(requested), pods);
            let ratio = match today.filter(|today| *today > 0.0) {
                Some(today) => requested.map(|requested| requested / today),
                None => Some(1.0),
            };
            let saved = requested.zip(ratio).map(|(requested, ratio)| requested - ratio * limit);
            add(&mut self.saved[resource], saved, pods);
        }
        add(&mut self.kills_today, of.kills.map(|kills| kills / days.max(f64::MIN_POSITIVE)), pods);
        add(&mut self.throttled_today, of.throttled, pods);
        self.kills += pods * outcome.score.ooms;
        self.unserved += pods * outcome.score.unserved;
    }

    /// What is a share is a mean over the pods.
    fn finish(mut self) -> Self {
        let pods = self.pods.max(f64::MIN_POSITIVE);
        self.unserved /= pods;
        self.throttled_today = self.throttled_today.map(|share| share / pods);
        self
    }
}

fn add(sum: &mut Option<f64>, amount: Option<f64>, pods: f64) {
    if let Some(amount) = amount {
        *sum = Some(sum.unwrap_or_default() + pods * amount);
    }
}

fn workloads(cluster: &Cluster, run: &Run, row: &Row) -> Vec<WorkloadSavings> {
    let known = cluster.by_name();
    let mut workloads: BTreeMap<_, WorkloadSavings> = BTreeMap::new();
    for (pod, outcome) in run.series.iter().zip(&row.outcomes) {
        for series in &pod.containers {
            let Some(of) = known.get(&series.name) else { continue };
            let ceiling = within_bounds(series.max());
            let limit = PerResource::new(
                outcome.score.allocated_cpu * ceiling.cpu,
                outcome.score.allocated_memory * ceiling.memory,
            );
            let key = (&of.namespace, &of.workload, &of.container);
            let workload = workloads.entry(key).or_insert_with(|| WorkloadSavings {
                namespace: of.namespace.clone(),
                workload: of.workload.clone(),
                container: of.container.clone(),
                ..WorkloadSavings::default()
            });
            workload.add(of, outcome, limit, cluster.days());
        }
    }
    let mut workloads: Vec<_> = workloads.into_values().map(WorkloadSavings::finish).collect();
    // A core is worth about as much as 8 GiB.
    let worth = |of: &WorkloadSavings| {
        of.saved.cpu.unwrap_or_default() + of.saved.memory.unwrap_or_default() / 8192.0
    };
    workloads.sort_by(|a, b| worth(b).total_cmp(&worth(a)));
    workloads
}
