//! What containers want: demand for CPU and memory as a pure function of time.
//!
//! A generated workload is made of hashes of its seed and the time, not of a random number
//! generator with state: any moment can be asked for in any order, at the same small cost, and a
//! cluster of 150,000 pods needs no history to be stepped.

use std::f64::consts::TAU;
use std::path::Path;
use std::sync::Arc;

use super::noise::{mix, smooth, unit};
use super::physics::Resources;
use super::series::{Series, WorkloadError};

const HOUR: f64 = 3600.0;
const DAY: f64 = 24.0 * HOUR;

/// The families of demand that the generator knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A level with noise and a slow drift.
    Steady,
    /// Follows the day, each day a little differently.
    Daily,
    /// A quiet floor with sudden short bursts.
    Bursty,
    /// Climbs for hours, then falls back.
    Ramping,
    /// Memory grows from the start of the container until it restarts.
    Leaking,
    /// Idle between periodic jobs.
    Batch,
}

impl Kind {
    pub const ALL: [Self; 6] =
        [Self::Steady, Self::Daily, Self::Bursty, Self::Ramping, Self::Leaking, Self::Batch];

    pub fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Daily => "daily",
            Self::Bursty => "bursty",
            Self::Ramping => "ramping",
            Self::Leaking => "leaking",
            Self::Batch => "batch",
        }
    }
}

/// The demand of one container (or of one pod, which its containers then share).
#[derive(Debug, Clone)]
pub enum Workload {
    Constant(Resources),
    Generated(Pattern),
    Recorded(Arc<Series>),
}

impl Workload {
    /// `cpu` in cores, `memory` in MiB.
    pub fn constant(cpu: f64, memory: f64) -> Self {
        Self::Constant(Resources { cpu, memory })
    }

    /// A workload of `kind`, of a scale and a temper drawn by `seed`.
    pub fn generate(kind: Kind, seed: u64) -> Self {
        Self::Generated(Pattern::draw(kind, seed))
    }

    /// Like [`Self::generate`] with mean-like levels of choice: cores and MiB.
    pub fn generate_at(kind: Kind, seed: u64, cpu: f64, memory: f64) -> Self {
        Self::Generated(Pattern { cpu, memory, ..Pattern::draw(kind, seed) })
    }

    /// The same workload as another replica has it: the same shape and scale, other noise.
    pub fn replica(&self, seed: u64) -> Self {
        match self {
            Self::Generated(pattern) => {
                Self::Generated(Pattern { seed: mix(pattern.seed ^ seed), ..*pattern })
            }
            other => other.clone(),
        }
    }

    /// The demand at `t` seconds of simulated time, `since_start` seconds after the container
    /// started (leaks begin there).
    pub fn demand(&self, t: f64, since_start: f64) -> Resources {
        match self {
            Self::Constant(resources) => *resources,
            Self::Generated(pattern) => pattern.demand(t, since_start),
            Self::Recorded(series) => series.at(t),
        }
    }
}

/// Reads every `.csv` of a folder, ordered by name, as `(file name without extension, workload)`.
pub fn load_folder(folder: &Path) -> Result<Vec<(String, Workload)>, WorkloadError> {
    let unreadable = |source| WorkloadError::Read { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(WorkloadError::Empty { path: folder.to_owned() });
    }
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            Ok((name, Workload::Recorded(Arc::new(Series::load(&path)?))))
        })
        .collect()
}

/// A drawn workload: `kind` gives the shape, the rest its scale.
#[derive(Debug, Clone, Copy)]
pub struct Pattern {
    kind: Kind,
    seed: u64,
    /// Cores at a load of 1.
    cpu: f64,
    /// MiB at a load of 1.
    memory: f64,
    /// How far the shape swings the load, relative to 1.
    swing: f64,
    /// Seconds from one repetition of the shape to the next.
    period: f64,
    phase: f64,
    /// Spread of the logarithm of CPU demand from one 30 s step to the next.
    noise: f64,
    /// Share of the memory that follows the load; the rest is held whatever the load.
    elastic: f64,
}

impl Pattern {
    fn draw(kind: Kind, seed: u64) -> Self {
        let mut state = mix(seed ^ (kind as u64 + 1).wrapping_mul(0xd6e8_feb8_6659_fd93));
        let mut between = |low: f64, high: f64| {
            state = mix(state);
            low + (high - low) * unit(state)
        };
        let (swing, period, elastic) = match kind {
            Kind::Steady => (between(0.05, 0.15), between(2.0, 8.0) * HOUR, between(0.05, 0.3)),
            Kind::Daily => (between(0.4, 0.9), DAY, between(0.1, 0.6)),
            Kind::Bursty => (between(1.5, 5.0), between(0.3, 1.5) * HOUR, between(0.05, 0.4)),
            Kind::Ramping => (between(0.8, 3.0), between(2.0, 12.0) * HOUR, between(0.2, 0.8)),
            // The period is the time in which the leak doubles the memory.
            Kind::Leaking => (between(0.1, 0.3), between(2.0, 16.0) * HOUR, between(0.05, 0.2)),
            Kind::Batch => (between(2.0, 6.0), between(0.25, 6.0) * HOUR, between(0.3, 0.9)),
        };
        let seed = mix(seed ^ 0x5eed);
        let size = between(0.0, 1.0);
        // Memory goes with CPU only loosely: there are caches and there are number crunchers.
        let memory_size = 0.4 * size + 0.6 * between(0.0, 1.0);
        let log_uniform = |low: f64, high: f64, share: f64| low * (high / low).powf(share);
        // A shape that swings far starts lower, so that all kinds stay on the same nodes.
        let head_room = 1.0 + swing / 2.0;
        Self {
            kind,
            seed,
            cpu: log_uniform(0.05, 4.0, size) / head_room,
            memory: log_uniform(30.0, 6000.0, memory_size) / (1.0 + elastic * swing / 2.0),
            swing,
            period,
            phase: between(0.0, 1.0) * period,
            noise: log_uniform(0.03, 0.25, between(0.0, 1.0)),
            elastic,
        }
    }

    fn demand(&self, t: f64, since_start: f64) -> Resources {
        let load = self.load(t);
        // Requests come and go within a step; connections and caches drift within minutes.
        let flicker = self.noise * smooth(self.seed ^ 1, t / 30.0)
            + 0.4 * self.noise * smooth(self.seed ^ 2, t / 300.0);
        let cpu = self.cpu * load * flicker.exp();
        let held = 1.0 - self.elastic + self.elastic * self.load_of_memory(t);
        let leak =
            if self.kind == Kind::Leaking { 1.0 + since_start.max(0.0) / self.period } else { 1.0 };
        let wobble =
            1.0 + 0.01 * smooth(self.seed ^ 3, t / 30.0) + 0.02 * smooth(self.seed ^ 4, t / 600.0);
        Resources { cpu: cpu.max(0.001), memory: (self.memory * held * leak * wobble).max(1.0) }
    }

    /// Memory comes with the load and leaves later: the larger of now and two minutes ago.
    fn load_of_memory(&self, t: f64) -> f64 {
        self.load(t).max(self.load(t - 120.0))
    }

    /// The shape: about 1, without the noise.
    fn load(&self, t: f64) -> f64 {
        let position = (t + self.phase) / self.period;
        let turn = position.floor();
        let within = position - turn;
        // One draw for this turn of the shape: no two days, bursts or jobs are the same.
        let draw = |salt: u64| {
            unit(mix(self.seed ^ salt.wrapping_mul(0x9e37_79b9) ^ mix(turn as i64 as u64)))
        };
        match self.kind {
            Kind::Steady | Kind::Leaking => 1.0 + self.swing * smooth(self.seed ^ 5, position),
            Kind::Daily => {
                let day = 1.0 + 0.15 * smooth(self.seed ^ 6, position);
                let wave = 0.85 * (TAU * within).sin() + 0.15 * (2.0 * TAU * within).sin();
                (1.0 + self.swing * wave * day).max(0.02)
            }
            Kind::Bursty => {
                let length = (60.0 + 840.0 * draw(1)) / self.period;
                let start = draw(2) * (1.0 - length).max(0.0);
                let happens = draw(3) < 0.7;
                let height = self.swing * (0.4 + 0.8 * draw(4));
                1.0 + if happens {
                    height * bump(within, start, length, 45.0 / self.period)
                } else {
                    0.0
                }
            }
            Kind::Ramping => {
                let top = 0.7 + 0.25 * draw(1);
                let height = self.swing * (0.6 + 0.4 * draw(2));
                let climb = if within < top { within / top } else { (1.0 - within) / (1.0 - top) };
                0.5 + height * climb
            }
            Kind::Batch => {
                let length = 0.1 + 0.3 * draw(1);
                let height = self.swing * (0.7 + 0.3 * draw(2));
                0.1 + height * bump(within, 0.05 * draw(3), length, 30.0 / self.period)
            }
        }
    }
}

/// 0, then 1 from `start` for `length`, with slopes of `edge` on both sides.
fn bump(x: f64, start: f64, length: f64, edge: f64) -> f64 {
    let rise = (x - start) / edge;
    let fall = (start + length - x) / edge + 1.0;
    rise.min(fall).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(workload: &Workload) -> Vec<Resources> {
        (0..2880)
            .map(|step| workload.demand(f64::from(step) * 30.0, f64::from(step) * 30.0))
            .collect()
    }

    #[test]
    fn demand_depends_on_nothing_but_seed_and_time() {
        for kind in Kind::ALL {
            let series = day(&Workload::generate(kind, 7));
            let again = Workload::generate(kind, 7);
            assert_eq!(series[1234], again.demand(1234.0 * 30.0, 1234.0 * 30.0));
            assert_ne!(series, day(&Workload::generate(kind, 8)), "{}", kind.name());
        }
    }

    #[test]
    fn scales_vary_within_what_a_node_can_carry() {
        for kind in Kind::ALL {
            let (mut least, mut most) = (f64::MAX, 0.0_f64);
            for seed in 0..60 {
                let series = day(&Workload::generate(kind, seed));
                let mean =
                    series.iter().map(|demand| demand.cpu).sum::<f64>() / series.len() as f64;
                (least, most) = (least.min(mean), most.max(mean));
                for demand in &series {
                    assert!(
                        (0.001..=20.0).contains(&demand.cpu),
                        "{} {seed}: {demand:?}",
                        kind.name()
                    );
                    assert!(
                        (1.0..=60_000.0).contains(&demand.memory),
                        "{} {seed}: {demand:?}",
                        kind.name()
                    );
                }
            }
            assert!(least < 0.3 && most > 1.0, "{}: {least}..{most}", kind.name());
        }
    }

    #[test]
    fn a_leak_climbs_from_the_start_of_the_container() {
        let leaking = Workload::generate(Kind::Leaking, 3);
        let fresh = leaking.demand(50_000.0, 0.0).memory;
        assert!(leaking.demand(50_000.0, 50_000.0).memory > 1.5 * fresh);
        let steady = Workload::generate(Kind::Steady, 3);
        assert_eq!(steady.demand(50_000.0, 0.0), steady.demand(50_000.0, 50_000.0));
    }

    #[test]
    fn bursts_and_jobs_stand_out() {
        for kind in [Kind::Bursty, Kind::Batch] {
            let mut cpu: Vec<f64> =
                day(&Workload::generate(kind, 11)).iter().map(|demand| demand.cpu).collect();
            cpu.sort_by(f64::total_cmp);
            assert!(cpu[2879] > 2.0 * cpu[1000], "{}", kind.name());
        }
    }

    #[test]
    fn a_folder_is_read_in_order_and_errors_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(load_folder(folder.path()), Err(WorkloadError::Empty { .. })));
        std::fs::write(
            folder.path().join("b.csv"),
            "timestamp_s,cpu_cores,memory_mib\n0,1,100\n60,2,200\n",
        )
        .unwrap();
        std::fs::write(folder.path().join("a.csv"), "timestamp_s,cpu_cores\n0,1\n60,2\n").unwrap();
        let read = load_folder(folder.path()).unwrap();
        assert_eq!(read.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(read[1].1.demand(30.0, 0.0), Resources { cpu: 1.5, memory: 150.0 });
        std::fs::write(
            folder.path().join("c.csv"),
            "timestamp_s,cpu_cores,memory_mib\n0,1,100\n60,x,200\n",
        )
        .unwrap();
        let error = load_folder(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("c.csv:3: cpu_cores is not a number: \"x\""), "{error}");
    }
}
