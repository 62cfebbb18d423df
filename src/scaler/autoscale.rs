//! The background task: a cycle every interval for as long as autoscaling is enabled.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use super::cycle::{Changes, Cycle, Scaler};
use crate::clock::Clock;
use crate::cluster::SharedCluster;
use crate::config::{Config, SharedConfig};
use crate::core::resource::Resource;
use crate::core::words::amount;

/// The loop, and what it uses.
pub struct Autoscaler {
    pub config: Arc<SharedConfig>,
    pub cluster: SharedCluster,
    pub scaler: Arc<Scaler>,
    pub clock: Clock,
    /// Whether the task is in its loop.
    pub alive: Arc<AtomicBool>,
}

/// Up to so much of the interval is added, so that several scalers that were started together do
/// not stay in step.
const JITTER: f64 = 0.1;

/// Of the interval, between the end of a cycle and the beginning of the next.
const LEAST_PAUSE: f64 = 0.1;

/// By the wall clock, between two summaries.
const SUMMARY: Duration = Duration::from_secs(600);

/// From the beginning of a cycle to that of the next, never less than the interval; `chance` is
/// from 0 to 1.
fn period(interval: u64, chance: f64) -> Duration {
    Duration::from_secs(interval).mul_f64(1.0 + JITTER * chance.clamp(0.0, 1.0))
}

impl Autoscaler {
    /// How things stand, in one line.
    fn summary(&self, config: &Config) {
        let (_, balances) = self.scaler.outcomes.series();
        let Some(last) = balances.last() else { return };
        let (now, template) = (&last.now.request, &last.template.request);
        let day_ago = last.at - 24 * 3600;
        let changes = self.scaler.changes.lock();
        let changed = changes.iter().rev().take_while(|change| change.cycle >= day_ago).count();
        drop(changes);
        let kills = self.scaler.outcomes.kills(|kill| kill.at >= day_ago).len();
        tracing::info!(
            pods = last.pods,
            dry_run = config.dry_run,
            changes_of_a_day = changed,
            kills_of_a_day = kills,
            "{} and {} are requested, the templates ask for {} and {}",
            amount(Resource::Cpu, now.cpu),
            amount(Resource::Memory, now.memory),
            amount(Resource::Cpu, template.cpu),
            amount(Resource::Memory, template.memory),
        );
    }

    /// Runs until the service stops. Starting and stopping is a matter of the configuration alone,
    /// so that the two can follow each other at any pace: a cycle under way ends cleanly, and what
    /// counts is what is configured after it.
    pub async fn run(self, stopping: CancellationToken) {
        let mut config_changes = self.config.subscribe();
        self.alive.store(true, Ordering::Relaxed);
        let mut told = None;
        while !stopping.is_cancelled() {
            let began = Instant::now();
            let config = config_changes.borrow_and_update().clone();
            let cluster = self.cluster.get();
            if config.auto_scale_enabled
                && let Some(cluster) = &cluster
            {
                let cycle =
                    AssertUnwindSafe(self.scaler.scale_all(cluster, &config, Changes::Dispatched));
                match cycle.catch_unwind().await {
                    Ok(Ok(Cycle { pods, phases, .. })) => {
                        let wanted = self.scaler.wanted.waiting();
                        tracing::debug!(pods, wanted, dry_run = config.dry_run, %phases, "cycle");
                        if told.is_none_or(|at: Instant| at.elapsed() >= SUMMARY) {
                            told = Some(Instant::now());
                            self.summary(&config);
                        }
                    }
                    Ok(Err(error)) => tracing::warn!(%error, "the cycle was given up"),
                    Err(_) => tracing::error!("a panic in the cycle"),
                }
            }
            let wait = match cluster {
                Some(_) => {
                    let period =
                        self.clock.real(period(config.auto_scale_interval, rand::random()));
                    // Others need the CPU, too, where a cycle takes longer than that.
                    period.saturating_sub(began.elapsed()).max(period.mul_f64(LEAST_PAUSE))
                }
                None => Duration::from_secs(1),
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = config_changes.changed() => {}
                () = stopping.cancelled() => {}
            }
        }
        self.alive.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_the_interval_and_up_to_a_tenth_more() {
        let seconds = Duration::from_secs_f64;
        let expected = (seconds(30.0), seconds(31.5), seconds(33.0));
        assert_eq!((period(30, 0.0), period(30, 0.5), period(30, 1.0)), expected);
        let drawn: Vec<_> = (0..100).map(|_| period(86_400, rand::random())).collect();
        assert!(drawn.iter().all(|period| (86_400..=95_040).contains(&period.as_secs())));
        assert!(drawn.iter().any(|period| period != &drawn[0]), "two scalers would stay in step");
    }
}
