//! The background task that asks a Prometheus for the past of each workload that is seen for the
//! first time, and once a minute which containers are throttled.
//!
//! It is apart from the cycles, which never wait for it: as long as nothing is answered, all goes
//! on as without it.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use internment::ArcIntern as Shared;
use parking_lot::Mutex;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::cycle::Scaler;
use super::throttling::Shares;
use crate::blocking::run_blocking;
use crate::clock::{Clock, rfc3339};
use crate::config::{Config, Endpoint, SharedConfig};
use crate::core::recorded::RecordedWorkload;
use crate::core::workload::WorkloadKey;
use crate::prometheus::client::{Prometheus, PrometheusError};
use crate::prometheus::past;
use crate::prometheus::queries::{self, Selection};

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Workloads that are asked for one after the other before what came is taken in, and at once.
const BATCH: usize = 16;
const AT_ONCE: usize = 4;
/// Between two looks for workloads that are new.
const PAUSE: Duration = Duration::from_secs(2);
/// After a Prometheus that did not answer, and twice as long each further time.
const REST: Duration = Duration::from_secs(10);
const LONGEST_REST: Duration = Duration::from_secs(600);
/// Before a question is asked again that was refused.
const REFUSED_REST: Duration = Duration::from_secs(3600);
const THROTTLING_PAUSE: Duration = Duration::from_secs(60);

/// How the asking goes, for those who ask.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[schema(as = PrometheusHealth)]
pub struct Health {
    /// It has answered the last question; null: it was not asked anything yet.
    #[schema(required)]
    pub answers: Option<bool>,
    #[schema(required, format = DateTime, example = "2026-11-25T10:30:00.000Z")]
    pub answered_at: Option<String>,
    /// Why it did not, if it did not.
    #[schema(required)]
    pub error: Option<String>,
    /// Workloads whose past was taken in.
    #[schema(example = 12)]
    pub workloads_read: u64,
    /// Workloads whose past could not be asked for: the last question was refused.
    #[schema(example = 0)]
    pub workloads_refused: usize,
}

/// None: none is to be asked.
pub type SharedHealth = Arc<Mutex<Option<Health>>>;

pub struct RecordedHistory {
    pub config: Arc<SharedConfig>,
    pub scaler: Arc<Scaler>,
    pub clock: Clock,
    pub health: SharedHealth,
}

/// What is kept from round to round.
struct Rounds {
    endpoint: Endpoint,
    limiter: DefaultDirectRateLimiter,
    client: Option<Prometheus>,
    /// Workloads that were refused, and until when.
    refused: HashMap<Shared<WorkloadKey>, Instant>,
    rest: Duration,
    throttling_due: Instant,
}

impl RecordedHistory {
    /// Runs until the service stops; what was asked is then not waited for.
    pub async fn run(self, stopping: CancellationToken) {
        let Some(endpoint) = self.config.current().prometheus() else { return };
        *self.health.lock() = Some(Health::default());
        let most = self.config.current().prometheus_queries_per_minute;
        let quota = Quota::per_minute(NonZeroU32::new(most).unwrap_or(NonZeroU32::MIN));
        let mut rounds = Rounds {
            endpoint,
            // Not a minute's worth at once.
            limiter: RateLimiter::direct(quota.allow_burst(NonZeroU32::MIN)),
            client: None,
            refused: HashMap::new(),
            rest: REST,
            throttling_due: Instant::now(),
        };
        let asking = async {
            loop {
                let round = AssertUnwindSafe(self.round(&mut rounds)).catch_unwind().await;
                let pause = round.unwrap_or_else(|_| {
                    tracing::error!("a panic while a Prometheus was asked");
                    LONGEST_REST
                });
                tokio::time::sleep(pause).await;
            }
        };
        stopping.run_until_cancelled(asking).await;
    }

    /// Asks for some workloads; how long to wait for the next.
    async fn round(&self, rounds: &mut Rounds) -> Duration {
        let config = self.config.current();
        match self.ask(rounds, &config).await {
            Ok(all) => {
                rounds.rest = REST;
                if all { PAUSE } else { Duration::ZERO }
            }
            Err(error) => {
                let pause = rounds.rest;
                tracing::warn!(%error, pause = pause.as_secs(), "Prometheus does not answer");
                (rounds.client, rounds.rest) = (None, (2 * pause).min(LONGEST_REST));
                self.failed(&error);
                pause
            }
        }
    }

    /// Whether all were asked for that are new.
    async fn ask(&self, rounds: &mut Rounds, config: &Config) -> Result<bool, PrometheusError> {
        if rounds.client.is_none() {
            let endpoint = rounds.endpoint.clone();
            let made = tokio::task::spawn_blocking(move || Prometheus::new(&endpoint, TIMEOUT));
            let made = made.await.map_err(|error| PrometheusError::Unavailable(error.to_string()));
            rounds.client = Some(made??);
        }
        let Some(prometheus) = rounds.client.clone() else { return Ok(true) };
        if rounds.throttling_due <= Instant::now() {
            rounds.limiter.until_ready().await;
            rounds.throttling_due = Instant::now() + THROTTLING_PAUSE;
            self.ask_for_throttling(&prometheus, &rounds.endpoint, config).await?;
        }
        let asked = Instant::now();
        rounds.refused.retain(|_, until| *until > asked);
        let is_due = |key: &Shared<WorkloadKey>| !rounds.refused.contains_key(key);
        let due = run_blocking(|| self.scaler.agent.unrecorded(BATCH, is_due));
        let all = due.len() < BATCH;
        let now = self.clock.now().timestamp();
        let span = (now - config.prometheus_days as i64 * 86_400, now);
        let (limiter, labels) = (&rounds.limiter, &rounds.endpoint.labels);
        let startup = config.startup_period;
        let questions = due.into_iter().map(|(key, first)| {
            let prometheus = &prometheus;
            async move {
                limiter.until_ready().await;
                let of = (&*key, &first);
                let answer = past::of_workload(prometheus, labels, of, startup, span).await;
                (key, self.counted(answer))
            }
        });
        let answers: Vec<_> =
            futures::stream::iter(questions).buffer_unordered(AT_ONCE).collect().await;
        let (mut recorded, mut unavailable) = (Vec::new(), None);
        for (key, answer) in answers {
            match answer {
                Ok(of_workload) => recorded.push((key, of_workload)),
                Err(PrometheusError::Refused(error)) => {
                    tracing::warn!(workload = ?*key, error, "Prometheus refuses a question");
                    rounds.refused.insert(key, asked + REFUSED_REST);
                    self.answered(|health| health.error = Some(error));
                }
                Err(error) => unavailable = Some(error),
            }
        }
        let refused = rounds.refused.len();
        self.take_in(recorded, refused, config);
        unavailable.map_or(Ok(all), Err)
    }

    fn take_in(
        &self,
        recorded: Vec<(Shared<WorkloadKey>, RecordedWorkload)>,
        refused: usize,
        config: &Config,
    ) {
        let read = recorded.len() as u64;
        if read > 0 {
            let (policy, now) = (config.policy(), self.clock.now().timestamp());
            run_blocking(|| self.scaler.agent.take_recorded(recorded, &policy, now));
            tracing::debug!(workloads = read, "took in what Prometheus has recorded");
            self.answered(|health| health.error = None);
        }
        if let Some(health) = &mut *self.health.lock() {
            health.workloads_read += read;
            health.workloads_refused = refused;
        }
    }

    async fn ask_for_throttling(
        &self,
        prometheus: &Prometheus,
        endpoint: &Endpoint,
        config: &Config,
    ) -> Result<(), PrometheusError> {
        let namespaces = queries::any_of(&config.namespaces);
        let labels = Some(&endpoint.labels);
        let query = queries::throttling(&Selection { namespaces, labels, ..Selection::default() });
        let now = self.clock.now().timestamp();
        match self.counted(prometheus.instant(&query, now).await) {
            Ok(series) => {
                let mut shares = Shares::new();
                for of in &series {
                    let pod = (of.label("namespace").to_owned(), of.label("pod").to_owned());
                    let share = of.value().unwrap_or_default();
                    let of_pod = shares.entry(pod).or_default();
                    of_pod.push((of.label("container").to_owned(), share));
                }
                self.scaler.throttling.replace(shares, now);
                self.answered(|_| {});
                Ok(())
            }
            Err(PrometheusError::Refused(error)) => {
                self.answered(|health| health.error = Some(error));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn counted<T>(&self, answer: Result<T, PrometheusError>) -> Result<T, PrometheusError> {
        self.scaler.metrics.asked_prometheus(match &answer {
            Ok(_) => "answered",
            Err(PrometheusError::Refused(_)) => "refused",
            Err(PrometheusError::Unavailable(_)) => "failed",
        });
        answer
    }

    fn answered(&self, note: impl FnOnce(&mut Health)) {
        if let Some(health) = &mut *self.health.lock() {
            let first = health.answers != Some(true);
            if first {
                health.error = None;
                tracing::info!("Prometheus answers");
            }
            health.answers = Some(true);
            health.answered_at = Some(rfc3339(self.clock.now()));
            note(health);
        }
    }

    fn failed(&self, error: &PrometheusError) {
        if let Some(health) = &mut *self.health.lock() {
            (health.answers, health.error) = (Some(false), Some(error.to_string()));
        }
    }
}
