//! The series of somebody's own cluster: what stands beside them, and how they are replayed.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::demand::{self, DemandSeries, STEPS_PER_HOUR};
use super::score::GREATEST;
use crate::core::resource::PerResource;
use crate::files;
use crate::sim::physics::Resources;
use crate::sim::series::Series;

/// The file in a folder of series that tells what they are of.
pub const FILE: &str = "cluster.json";
const LONGEST: u64 = 256 << 20;

/// Where series were fetched, and of which containers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    pub source: String,
    /// From when to when: seconds since the epoch.
    pub begin: i64,
    pub end: i64,
    /// Seconds between two samples.
    pub step: i64,
    /// Those that were asked for; none: all.
    pub namespaces: Vec<String>,
    pub series: Vec<ClusterSeries>,
}

/// A container of a pod, which stands for others of its workload: cores, MiB.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterSeries {
    pub namespace: String,
    pub workload: String,
    pub pod: String,
    pub container: String,
    /// Pods of the workload at the same time that this one stands for, on average.
    pub stands_for: f64,
    /// As they were told last.
    pub limits: PerResource<Option<f64>>,
    pub requests: PerResource<Option<f64>>,
    /// Restarts a pod after kills for memory, at most; None: not told.
    pub kills: Option<f64>,
    /// The share of the periods in which it was throttled; None: not told.
    pub throttled: Option<f64>,
}

impl ClusterSeries {
    /// Of the series, and of its file.
    pub fn name(&self) -> String {
        format!("{}~{}~{}", self.namespace, self.pod, self.container)
    }

    /// More than a limit may ever be: the service would not touch it either.
    pub fn is_beyond_bounds(&self, most: Resources) -> bool {
        let above = |limit: Option<f64>, greatest| limit.is_some_and(|limit| limit > greatest);
        most.cpu > GREATEST.cpu
            || most.memory > GREATEST.memory
            || above(self.limits.cpu, GREATEST.cpu)
            || above(self.limits.memory, GREATEST.memory)
    }
}

impl Cluster {
    /// What stands beside the series of a folder; None: they are of no cluster.
    pub fn read(folder: &Path) -> anyhow::Result<Option<Self>> {
        let path = folder.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let text = files::read_text(&path, LONGEST);
        let parsed =
            text.map_err(anyhow::Error::from).and_then(|of| Ok(serde_json::from_str(&of)?));
        parsed.map(Some).with_context(|| format!("cannot read {}", path.display()))
    }

    pub fn days(&self) -> f64 {
        (self.end - self.begin) as f64 / 86_400.0
    }

    pub fn by_name(&self) -> BTreeMap<String, &ClusterSeries> {
        self.series.iter().map(|series| (series.name(), series)).collect()
    }

    /// Its series as they are, not rescaled, each beginning with the limits that are in force; and
    /// the names of those that are beyond the bounds of limits.
    pub fn demand(
        &self,
        folder: &Path,
        hold: bool,
    ) -> anyhow::Result<(Vec<DemandSeries>, Vec<String>)> {
        let (mut all, mut beyond) = (Vec::new(), Vec::new());
        for of in &self.series {
            let path = folder.join(format!("{}.csv", of.name()));
            if !path.exists() {
                continue;
            }
            let series = demand::on_grid(of.name(), &Series::load(&path)?, hold);
            if of.is_beyond_bounds(series.max()) {
                beyond.push(series.name);
                continue;
            }
            let begin = series.demand.iter().take(STEPS_PER_HOUR).copied().collect::<Vec<_>>();
            let mean = demand::mean(&begin);
            // What has no limit is replayed with one that is its request.
            let begin_with = |limit: Option<f64>, request: Option<f64>, mean: f64| {
                limit.or(request).unwrap_or(2.0 * mean)
            };
            let template = Some(Resources {
                cpu: begin_with(of.limits.cpu, of.requests.cpu, mean.cpu),
                memory: begin_with(of.limits.memory, of.requests.memory, mean.memory),
            });
            all.push(DemandSeries { template, ..series });
        }
        Ok((all, beyond))
    }
}
