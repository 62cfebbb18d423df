//! The background task: a cycle every interval for as long as autoscaling is enabled.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use super::cycle::{Changes, Cycle, Scaler};
use crate::clock::Clock;
use crate::cluster::SharedCluster;
use crate::config::SharedConfig;

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

/// Never less than the interval; `chance` is from 0 to 1.
fn pause(interval: u64, chance: f64) -> Duration {
    Duration::from_secs(interval).mul_f64(1.0 + JITTER * chance.clamp(0.0, 1.0))
}

impl Autoscaler {
    /// Runs until the service stops. Starting and stopping is a matter of the configuration alone,
    /// so that the two can follow each other at any pace: a cycle under way ends cleanly, and what
    /// counts is what is configured after it.
    pub async fn run(self, stopping: CancellationToken) {
        let mut config_changes = self.config.subscribe();
        self.alive.store(true, Ordering::Relaxed);
        while !stopping.is_cancelled() {
            let config = config_changes.borrow_and_update().clone();
            let cluster = self.cluster.get();
            if config.auto_scale_enabled
                && let Some(cluster) = &cluster
            {
                let cycle =
                    AssertUnwindSafe(self.scaler.scale_all(cluster, &config, Changes::Dispatched));
                match cycle.catch_unwind().await {
                    Ok(Ok(Cycle { outcomes, phases })) => {
                        let (left, wanted) = (outcomes.len(), self.scaler.wanted.waiting());
                        tracing::debug!(left, wanted, dry_run = config.dry_run, %phases, "cycle");
                    }
                    Ok(Err(error)) => tracing::warn!(%error, "the cycle was given up"),
                    Err(_) => tracing::error!("a panic in the cycle"),
                }
            }
            let wait = match cluster {
                Some(_) => self.clock.real(pause(config.auto_scale_interval, rand::random())),
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
    fn a_pause_is_the_interval_and_up_to_a_tenth_more() {
        let seconds = Duration::from_secs_f64;
        let expected = (seconds(30.0), seconds(31.5), seconds(33.0));
        assert_eq!((pause(30, 0.0), pause(30, 0.5), pause(30, 1.0)), expected);
        let drawn: Vec<_> = (0..100).map(|_| pause(86_400, rand::random())).collect();
        assert!(drawn.iter().all(|pause| (86_400..=95_040).contains(&pause.as_secs())));
        assert!(drawn.iter().any(|pause| pause != &drawn[0]), "two scalers would stay in step");
    }
}
