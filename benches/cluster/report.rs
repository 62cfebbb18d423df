//! The figures as tables.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::live::{Half, Live, Waits};
use crate::load::Latency;
use crate::service::{Phases, total};

pub const PHASES: [&str; 7] = ["list", "fetch", "parse", "features", "forward", "plan", "apply"];
const MIB: f64 = 1024.0 * 1024.0;

#[derive(Debug, Serialize)]
pub struct Measured {
    pub pods: usize,
    /// Seconds from the start of the process.
    pub first_health: f64,
    pub first_cycle: f64,
    /// Bytes read until the first cycle was done, and in each further one.
    pub start_bytes: u64,
    pub bytes: u64,
    /// Means of the measured cycles: seconds, and seconds of CPU of the whole process.
    pub phases: Phases,
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
    pub workloads: Latency,
    pub metrics: Latency,
}

impl Measured {
    pub fn cycle(&self) -> (f64, f64) {
        total(&self.phases)
    }
}

pub fn print(all: &[Measured]) {
    println!("\nMilliseconds of time / of CPU in one cycle:\n");
    println!("| pods | cycle | {} | wanted |", PHASES.join(" | "));
    println!("|---:|---:|{}---:|", "---:|".repeat(PHASES.len()));
    let spent = |(wall, cpu): (f64, f64)| format!("{:.1} / {:.1}", wall * 1e3, cpu * 1e3);
    for m in all {
        let phases =
            PHASES.map(|phase| spent(m.phases.get(phase).copied().unwrap_or_default())).join(" | ");
        println!("| {} | {} | {phases} | {:.0} |", m.pods, spent(m.cycle()), m.wanted);
    }
    println!(
        "\n| pods | first `/health` s | first cycle s | MiB read at start | MiB read a \
         cycle | peak RSS MiB | with `/pods` | `/health` p50 / p99 ms | `/decisions` | `/pods` | \
         `/pods/overview` | `/workloads/overview` | `/metrics` |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for m in all {
        let latency = |l: &Latency| format!("{:.2} / {:.2}", l.p50_ms, l.p99_ms);
        println!(
            "| {} | {:.2} | {:.2} | {:.1} | {:.2} | {:.0} | {:.0} | {} | {} | {} | {} | {} | {} |",
            m.pods,
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
            latency(&m.workloads),
            latency(&m.metrics)
        );
    }
    growth(all);
}

/// What came of changing the cluster.
pub fn live(all: &[Live]) {
    println!(
        "\nLive, each half by itself. Changes a second, and how many seconds they waited until \
         they were sent: not above p50 / p99 / the most\n"
    );
    println!(
        "| pods | s | pods sent | resizes done | failed | not wanted | killed | full | grows | \
         shrinks | age of the decision, answered |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for (m, half) in halves(all) {
        let told =
            |Waits { sent, p50, p99, most }: &Waits| format!("{p50} / {p99} / {most} ({sent})");
        let wait = |urgency: &str| half.waits.get(urgency).map_or("none".to_owned(), told);
        println!(
            "| {} | {:.0} | {:.1} | {:.1} | {:.2} | {:.1} | {} | {} | {} | {} | {} |",
            m.pods,
            half.seconds,
            half.sent,
            half.done,
            half.failed,
            half.not_wanted,
            wait("killed"),
            wait("full"),
            wait("grows"),
            wait("shrinks"),
            told(&half.decision_age),
        );
    }
    for m in all {
        let ends: Vec<_> = m.watch_ends.iter().map(|(why, n)| format!("{n} {why}")).collect();
        println!(
            "\n{} pods: {} were rolled out; watches ended: {}",
            m.pods,
            m.rolled_pods,
            ends.join(", ")
        );
    }
    println!("\nSeconds from throttled or killed for memory to a higher limit in force:\n");
    println!("| pods | kubelet | raised | p50 | p99 | passed | wait still | of those p50 |");
    println!("|---:|---|---:|---:|---:|---:|---:|---:|");
    for (m, half) in halves(all) {
        let all = &half.lacking;
        for (kubelet, of) in [("prompt", &all.prompt), ("slow", &all.slow), ("silent", &all.silent)]
        {
            let (raised, waiting) =
                (Latency::of(of.raised.clone()), Latency::of(of.waiting.clone()));
            println!(
                "| {} | {kubelet} | {} | {:.1} | {:.1} | {} | {} | {:.1} |",
                m.pods,
                raised.requests,
                raised.p50_ms / 1e3,
                raised.p99_ms / 1e3,
                of.passed,
                waiting.requests,
                waiting.p50_ms / 1e3,
            );
        }
    }
    println!(
        "\n| pods | cycles | s from start to start, mean / most | a cycle s / CPU s | cores | peak \
         RSS MiB | `/health` p50 / p99 ms | `/metrics` p50 / p99 ms | load average |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---|");
    for m in all {
        let mean = m.cycle_starts.iter().sum::<f64>() / m.cycle_starts.len().max(1) as f64;
        let most = m.cycle_starts.iter().copied().fold(0.0, f64::max);
        println!(
            "| {} | {} | {mean:.1} / {most:.1} | {:.2} / {:.2} | {:.2} | {:.0} | {:.2} / {:.2} | \
             {:.2} / {:.2} | {} |",
            m.pods,
            m.cycles,
            m.cycle.0,
            m.cycle.1,
            m.cpu_share,
            m.peak_rss,
            m.health.p50_ms,
            m.health.p99_ms,
            m.metrics.p50_ms,
            m.metrics.p99_ms,
            m.load_average.trim()
        );
    }
    println!("\nRequests a second to the API server by verb:\n");
    for m in all {
        let list = |rates: &BTreeMap<String, f64>| {
            let told: Vec<_> =
                rates.iter().map(|(name, rate)| format!("{name} {rate:.2}")).collect();
            told.join(", ")
        };
        println!("{} pods: {}; errors: {}", m.pods, list(&m.requests), list(&m.errors));
    }
}

fn halves(all: &[Live]) -> impl Iterator<Item = (&Live, &Half)> {
    all.iter().flat_map(|m| m.halves.iter().map(move |half| (m, half)))
}

/// How much more ten times the pods cost: the exponent of growth, 1 for linear.
fn growth(all: &[Measured]) {
    for pair in all.windows(2) {
        let (small, large) = (&pair[0], &pair[1]);
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
