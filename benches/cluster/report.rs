//! The figures as tables.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::load::Latency;
use crate::service::Cycle;

pub const PHASES: [&str; 7] = ["list", "fetch", "parse", "features", "forward", "plan", "apply"];
const MIB: f64 = 1024.0 * 1024.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    DryRun,
    Live,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Self::DryRun => "dry run",
            Self::Live => "live",
        }
    }
}

#[derive(Debug, Serialize)]
pub struct Measured {
    pub pods: usize,
    pub mode: Mode,
    /// Seconds from the start of the process.
    pub first_health: f64,
    pub first_cycle: f64,
    /// Bytes read until the first cycle was done, and in each further one.
    pub start_bytes: u64,
    pub bytes: u64,
    /// Means of the measured cycles: seconds, and seconds of CPU of the whole process.
    pub phases: BTreeMap<String, (f64, f64)>,
    pub wanted: f64,
    /// Cores that the process used while cycles followed each other.
    pub cpu_share: f64,
    /// MiB, and before anybody had asked for the list of all pods.
    pub peak_rss: f64,
    pub rss_without_list: f64,
    pub health: Latency,
    pub decisions: Latency,
    pub list: Latency,
    /// A page of the dashboard, sorted, and what Prometheus reads.
    pub page: Latency,
    pub metrics: Latency,
}

impl Measured {
    pub fn cycle(&self) -> (f64, f64) {
        self.phases.values().fold((0.0, 0.0), |sum, phase| (sum.0 + phase.0, sum.1 + phase.1))
    }
}

pub fn mean(cycles: &[Cycle]) -> BTreeMap<String, (f64, f64)> {
    let mut phases: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for (name, spent) in cycles.iter().flat_map(|cycle| &cycle.phases) {
        let sum = phases.entry(name.clone()).or_default();
        *sum = (sum.0 + spent.0 / cycles.len() as f64, sum.1 + spent.1 / cycles.len() as f64);
    }
    phases
}

pub fn print(all: &[Measured]) {
    println!("\nMilliseconds of time / of CPU in one cycle:\n");
    println!("| pods | mode | cycle | {} | wanted |", PHASES.join(" | "));
    println!("|---:|---|---:|{}---:|", "---:|".repeat(PHASES.len()));
    let spent = |(wall, cpu): (f64, f64)| format!("{:.1} / {:.1}", wall * 1e3, cpu * 1e3);
    for m in all {
        let phases =
            PHASES.map(|phase| spent(m.phases.get(phase).copied().unwrap_or_default())).join(" | ");
        println!(
            "| {} | {} | {} | {phases} | {:.0} |",
            m.pods,
            m.mode.name(),
            spent(m.cycle()),
            m.wanted
        );
    }
    println!(
        "\n| pods | mode | first `/health` s | first cycle s | MiB read at start | MiB read a \
         cycle | peak RSS MiB | with `/pods` | `/health` p50 / p99 ms | `/decisions` | `/pods` | \
         `/pods/overview` | `/metrics` |"
    );
    println!("|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for m in all {
        let latency = |l: &Latency| format!("{:.2} / {:.2}", l.p50_ms, l.p99_ms);
        println!(
            "| {} | {} | {:.2} | {:.2} | {:.1} | {:.2} | {:.0} | {:.0} | {} | {} | {} | {} | {} |",
            m.pods,
            m.mode.name(),
            m.first_health,
            m.first_cycle,
            m.start_bytes as f64 / MIB,
            m.bytes as f64 / MIB,
            m.rss_without_list,
            m.peak_rss,
            latency(&m.health),
            latency(&m.decisions),
            latency(&m.list),
            latency(&m.page),
            latency(&m.metrics)
        );
    }
    growth(all);
}

/// How much more ten times the pods cost: the exponent of growth, 1 for linear.
fn growth(all: &[Measured]) {
    let dry: Vec<&Measured> = all.iter().filter(|m| m.mode == Mode::DryRun).collect();
    for pair in dry.windows(2) {
        let (small, large) = (pair[0], pair[1]);
        let more = (large.pods as f64 / small.pods as f64).ln();
        let exponent = |of: &dyn Fn(&Measured) -> f64| (of(large) / of(small)).ln() / more;
        println!(
            "\nFrom {} to {} pods the cost grows with the power of (1: linear): cycle {:.2}, CPU \
                of a cycle {:.2}, bytes read {:.2}, RSS {:.2}, `/pods` {:.2}",
            small.pods,
            large.pods,
            exponent(&|m| m.cycle().0),
            exponent(&|m| m.cycle().1),
            exponent(&|m| m.bytes as f64),
            exponent(&|m| m.rss_without_list),
            exponent(&|m| m.list.p50_ms),
        );
    }
}
