//! Demand on the grid of the decision interval: recorded series, rescaled to the bounds of the
//! limits, and generated ones.

use std::path::Path;
use std::sync::Arc;

use crate::sim::physics::Resources;
use crate::sim::series::{Series, WorkloadError};
use crate::sim::workload::{self, Kind, Workload};

/// Seconds from one decision to the next.
pub const STEP: f64 = 30.0;
pub const STEPS_PER_DAY: f64 = 86_400.0 / STEP;
pub const STEPS_PER_HOUR: usize = 120;

const LEAST_MEAN: Resources = Resources { cpu: 0.25, memory: 40.0 };
const GREATEST: Resources = Resources { cpu: 7.0, memory: 14_000.0 };
/// Generated pods are redeployed once a day: it is what ends a leak that no limit ended before.
const REDEPLOYED_AFTER: f64 = 86_400.0;

/// What one pod wants, step by step.
#[derive(Debug, Clone)]
pub struct DemandSeries {
    pub name: String,
    pub demand: Vec<Resources>,
    /// The limits that a replay begins with; None: twice the mean of the first hour.
    pub template: Option<Resources>,
}

impl DemandSeries {
    /// Where the series comes from: its name up to the first `-`, or up to a `~` where that is the
    /// namespace of a cluster.
    pub fn source(&self) -> &str {
        let end = if self.name.contains('~') { '~' } else { '-' };
        self.name.split(end).next().unwrap_or_default()
    }

    /// FNV-1a of the name: the same on every platform and in every version.
    pub fn fingerprint(&self) -> u64 {
        fingerprint(&self.name)
    }

    pub fn days(&self) -> f64 {
        self.demand.len() as f64 / STEPS_PER_DAY
    }

    pub fn mean(&self) -> Resources {
        mean(&self.demand)
    }

    pub fn max(&self) -> Resources {
        max(&self.demand)
    }

    /// Lifts a series that is too small for the limits' bounds and shrinks one that is too large,
    /// each resource by itself.
    pub fn rescaled(mut self) -> Self {
        let (mean, max) = (self.mean(), self.max());
        let factor = |mean: f64, max: f64, least: f64, greatest: f64| {
            let lift = if mean < least { least / mean.max(1e-9) } else { 1.0 };
            lift.min(greatest / max.max(1e-9))
        };
        let cpu = factor(mean.cpu, max.cpu, LEAST_MEAN.cpu, GREATEST.cpu);
        let memory = factor(mean.memory, max.memory, LEAST_MEAN.memory, GREATEST.memory);
        for demand in &mut self.demand {
            demand.cpu *= cpu;
            demand.memory *= memory;
        }
        self
    }
}

/// What the containers of one pod want, as long as all of them do.
#[derive(Debug, Clone)]
pub struct PodSeries {
    pub name: String,
    pub containers: Vec<Arc<DemandSeries>>,
}

impl PodSeries {
    /// Pods of so many containers, in the order of the series.
    pub fn combined(series: &[Arc<DemandSeries>], containers: usize) -> Vec<Self> {
        series.chunks(containers.max(1)).map(Self::of).collect()
    }

    fn of(series: &[Arc<DemandSeries>]) -> Self {
        let steps = series.iter().map(|series| series.demand.len()).min().unwrap_or_default();
        let cut = |series: &Arc<DemandSeries>| match series.demand.len() > steps {
            true => Arc::new(DemandSeries {
                name: series.name.clone(),
                demand: series.demand[..steps].to_vec(),
                template: series.template,
            }),
            false => series.clone(),
        };
        let names: Vec<&str> = series.iter().map(|series| series.name.as_str()).collect();
        Self { name: names.join("+"), containers: series.iter().map(cut).collect() }
    }

    /// Of its first container.
    pub fn source(&self) -> &str {
        self.containers.first().map_or("", |first| first.source())
    }

    pub fn days(&self) -> f64 {
        self.containers.first().map_or(0.0, |first| first.days())
    }
}

pub fn fingerprint(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

pub fn mean(demand: &[Resources]) -> Resources {
    let count = demand.len().max(1) as f64;
    let sum = |of: fn(&Resources) -> f64| demand.iter().map(of).sum::<f64>();
    Resources { cpu: sum(|d| d.cpu) / count, memory: sum(|d| d.memory) / count }
}

pub fn max(demand: &[Resources]) -> Resources {
    let largest = |of: fn(&Resources) -> f64| demand.iter().map(of).fold(0.0, f64::max);
    Resources { cpu: largest(|d| d.cpu), memory: largest(|d| d.memory) }
}

/// Every series of `folder` that has both resources, ordered by name. `hold` keeps each sample
/// until the next one, which is harder than interpolation: there are no ramps to see a rise by.
pub fn recorded(folder: &Path, hold: bool) -> Result<Vec<DemandSeries>, WorkloadError> {
    let mut all = Vec::new();
    for (name, workload) in workload::load_folder(folder)? {
        let Workload::Recorded(series) = workload else { continue };
        if !series.has_memory() {
            continue;
        }
        all.push(on_grid(name, &series, hold).rescaled());
    }
    Ok(all)
}

/// A recording, at each decision.
pub fn on_grid(name: String, series: &Series, hold: bool) -> DemandSeries {
    let steps = ((series.duration() + 1e-6) / STEP).floor() as usize + 1;
    let at = |step: usize| {
        let time = step as f64 * STEP;
        if hold { series.held_at(time) } else { series.at(time) }
    };
    DemandSeries { name, demand: (0..steps).map(at).collect(), template: None }
}

/// A workload of the project's own generator on the grid, `days` long.
pub fn generated(kind: Kind, seed: u64, days: f64) -> DemandSeries {
    let workload = Workload::generate(kind, seed);
    let at = |step: usize| {
        let time = step as f64 * STEP;
        workload.demand(time, time % REDEPLOYED_AFTER)
    };
    let steps = (days * STEPS_PER_DAY) as usize;
    let (name, demand) = (format!("{}-{seed:x}", kind.name()), (0..steps).map(at).collect());
    DemandSeries { name, demand, template: None }.rescaled()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(demand: &[(f64, f64)]) -> DemandSeries {
        let demand = demand.iter().map(|&(cpu, memory)| Resources { cpu, memory }).collect();
        DemandSeries { name: "made-up-1".into(), demand, template: None }
    }

    #[test]
    fn small_series_are_lifted_and_large_ones_shrunk() {
        let small = series(&[(0.01, 10.0), (0.03, 30.0)]).rescaled();
        assert!(
            (small.mean().cpu - 0.25).abs() < 1e-12 && (small.mean().memory - 40.0).abs() < 1e-9
        );
        let large = series(&[(1.0, 100.0), (14.0, 28_000.0)]).rescaled();
        assert!(
            (large.max().cpu - 7.0).abs() < 1e-12 && (large.max().memory - 14_000.0).abs() < 1e-9
        );
        // Lifting the mean never lifts the maximum out of the bounds.
        let mut spiky = vec![(0.0, 100.0); 999];
        spiky.push((1.0, 100.0));
        assert!((series(&spiky).rescaled().max().cpu - 7.0).abs() < 1e-12);
        let fitting = series(&[(0.5, 100.0), (1.0, 200.0)]);
        assert_eq!(fitting.clone().rescaled().demand, fitting.demand);
        assert_eq!(fitting.source(), "made");
    }

    #[test]
    fn recordings_are_put_on_the_grid_held_or_interpolated() {
        let folder = tempfile::tempdir().unwrap();
        let text = "timestamp_s,cpu_cores,memory_mib\n100,1,100\n160,2,200\n220,1,100\n";
        std::fs::write(folder.path().join("x-1.csv"), text).unwrap();
        std::fs::write(folder.path().join("cpu-only.csv"), "timestamp_s,cpu_cores\n0,1\n60,2\n")
            .unwrap();
        let cpu = |hold| {
            let all = recorded(folder.path(), hold).unwrap();
            assert_eq!(all.len(), 1);
            all[0].demand.iter().map(|demand| demand.cpu).collect::<Vec<_>>()
        };
        assert_eq!(cpu(false), [1.0, 1.5, 2.0, 1.5, 1.0]);
        assert_eq!(cpu(true), [1.0, 1.0, 2.0, 2.0, 1.0]);
    }
}
