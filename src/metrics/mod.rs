//! What is published to Prometheus: counted where it happens, written when it is asked for.

pub mod connections;
mod inputs;
mod requests;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use chrono::Utc;
use hashbrown::HashMap;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

pub use self::inputs::Inputs;
use self::inputs::Recorded;
use crate::config::Config;
use crate::core::outcome::{Applied, Status, Summed};
use crate::core::phases::Phases;
use crate::core::pod_decision::Urgency;
use crate::core::resource::Resource;

type Labels<const N: usize> = [(&'static str, &'static str); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;
type Timings<const N: usize> = Family<Labels<N>, Histogram>;
/// Seconds since the epoch.
type Timestamp = Gauge<f64, AtomicU64>;

pub struct Metrics {
    registry: Registry,
    cycles: Counters<1>,
    cycle_duration: Histogram,
    phase_duration: Timings<1>,
    last_cycle: Timestamp,
    decisions: Counters<2>,
    skipped: Counters<1>,
    overrides: Counters<2>,
    resizes: Counters<1>,
    failed_resizes: Counter,
    resize_duration: Timings<1>,
    events: Counters<1>,
    requests: requests::Requests,
    dispatched: Timings<1>,
    decision_age: Histogram,
    waiting: Gauge,
    write_rate: Gauge<f64, AtomicU64>,
    write_cuts: Counter,
    not_wanted: Counter,
    open_breakers: Family<Labels<1>, Gauge>,
    looked_at: Counter,
    kubelet_requests: Timings<1>,
    silent_kubelets: Gauge,
    resizes_under_way: Gauge,
    prometheus_queries: Counters<1>,
    pub connections: connections::Connections,
    pods_watched: Gauge,
    pods_monitored: Gauge,
    recorded: Recorded,
    model: Family<Vec<(&'static str, String)>, Gauge>,
    dry_run: Gauge,
    read_only: Gauge,
    leading: Gauge,
    autoscale_enabled: Gauge,
    autoscale_interval: Gauge,
    kubernetes_connected: Gauge,
    watch_fresh: Gauge,
    watch_ends: Counters<2>,
    /// Empty without TLS.
    certificate_expiry: Family<Labels<0>, Timestamp>,
    config_changed: Timestamp,
}

/// What is looked up when the metrics are asked for.
pub struct Now<'a> {
    pub config: &'a Config,
    pub features: usize,
    pub leading: bool,
    pub connected: bool,
    pub watch_fresh: bool,
    /// Changes that wait for their turn.
    pub waiting: usize,
    /// Writes a second that the API server bears, and how often they were halved.
    pub pace: (f64, u64),
    /// Circuit breakers that are open, by what they are of.
    pub open_breakers: [(&'static str, usize); 2],
    /// By resource and reason.
    pub watch_ends: BTreeMap<(&'static str, &'static str), u64>,
    /// When the certificate expires, in seconds since the epoch.
    pub certificate_expiry: Option<i64>,
}

/// With bounds at which a delay is told to be long.
fn delay() -> Histogram {
    Histogram::new([0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 60.0])
}

/// 1 ms to 65 s.
fn timing() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 17))
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("dqn_scaler"),
            cycles: Family::default(),
            cycle_duration: timing(),
            phase_duration: Family::new_with_constructor(timing),
            last_cycle: Timestamp::default(),
            decisions: Family::default(),
            skipped: Family::default(),
            overrides: Family::default(),
            resizes: Family::default(),
            failed_resizes: Counter::default(),
            resize_duration: Family::new_with_constructor(timing),
            events: Family::default(),
            requests: requests::Requests::default(),
            dispatched: Family::new_with_constructor(delay),
            decision_age: timing(),
            waiting: Gauge::default(),
            write_rate: Gauge::default(),
            write_cuts: Counter::default(),
            not_wanted: Counter::default(),
            open_breakers: Family::default(),
            looked_at: Counter::default(),
            kubelet_requests: Family::new_with_constructor(timing),
            silent_kubelets: Gauge::default(),
            resizes_under_way: Gauge::default(),
            prometheus_queries: Family::default(),
            connections: connections::Connections::default(),
            pods_watched: Gauge::default(),
            pods_monitored: Gauge::default(),
            recorded: Recorded::default(),
            model: Family::default(),
            dry_run: Gauge::default(),
            read_only: Gauge::default(),
            leading: Gauge::default(),
            autoscale_enabled: Gauge::default(),
            autoscale_interval: Gauge::default(),
            kubernetes_connected: Gauge::default(),
            watch_fresh: Gauge::default(),
            watch_ends: Family::default(),
            certificate_expiry: Family::default(),
            config_changed: Timestamp::default(),
        };
        metrics.config_changed();
        metrics.registered()
    }
}

impl Metrics {
    fn registered(mut self) -> Self {
        let version = Family::<Vec<(&'static str, String)>, Gauge>::default();
        version.get_or_create(&vec![("version", env!("CARGO_PKG_VERSION").to_owned())]).set(1);
        let r = &mut self.registry;
        r.register("build_info", "The version that runs; always 1", version);
        r.register("model_info", "The model that decides; always 1", self.model.clone());
        r.register("cycles", "Cycles over all pods by result", self.cycles.clone());
        r.register_with_unit(
            "cycle_duration",
            "Time that a whole cycle takes",
            Unit::Seconds,
            self.cycle_duration.clone(),
        );
        let phases = self.phase_duration.clone();
        r.register_with_unit(
            "cycle_phase_duration",
            "Time that each phase of a cycle takes",
            Unit::Seconds,
            phases,
        );
        let last = self.last_cycle.clone();
        r.register_with_unit(
            "last_cycle_timestamp",
            "When the last whole cycle ended",
            Unit::Seconds,
            last,
        );
        r.register("decisions", "Decisions by resource and action", self.decisions.clone());
        r.register("skipped", "Pods that were left alone, by reason", self.skipped.clone());
        r.register(
            "guard_overrides",
            "Preferred actions that the guard replaced",
            self.overrides.clone(),
        );
        r.register("resizes", "Resizes that were carried out, by method", self.resizes.clone());
        let dispatched = self.dispatched.clone();
        r.register_with_unit(
            "dispatch_delay",
            "Time from a decision until its change is sent, by what it is for",
            Unit::Seconds,
            dispatched,
        );
        let decision_age = self.decision_age.clone();
        r.register_with_unit(
            "decision_age",
            "Time from the decision that a change is sent by until it was answered or given up",
            Unit::Seconds,
            decision_age,
        );
        r.register(
            "changes_waiting",
            "Wanted changes that wait for their turn",
            self.waiting.clone(),
        );
        r.register(
            "resizes_under_way",
            "Resizes that the API server has accepted and whose kubelet has the next word",
            self.resizes_under_way.clone(),
        );
        r.register(
            "writes_allowed_per_second",
            "Writes a second that the answers of the API server allow now",
            self.write_rate.clone(),
        );
        r.register(
            "writes_halved",
            "Times that these were halved, for an answer that was refused or slow",
            self.write_cuts.clone(),
        );
        let not_wanted = self.not_wanted.clone();
        r.register(
            "changes_not_wanted",
            "Changes that were not wanted any longer at their turn",
            not_wanted,
        );
        r.register(
            "circuit_breakers_open",
            "Nodes and namespaces that do not answer: what takes away from their pods waits",
            self.open_breakers.clone(),
        );
        r.register("resize_failures", "Resizes that failed", self.failed_resizes.clone());
        let resize = self.resize_duration.clone();
        r.register_with_unit(
            "resize_duration",
            "Time from a resize's request to the kubelet's word",
            Unit::Seconds,
            resize,
        );
        r.register(
            "events",
            "Kubernetes Events by result: sent, failed, or dropped for want of room",
            self.events.clone(),
        );
        self.requests.register(r);
        self.connections.register(r);
        r.register(
            "second_look_pods",
            "Pods that were decided on between two cycles",
            self.looked_at.clone(),
        );
        r.register_with_unit(
            "kubelet_request_duration",
            "Time that kubelets take to tell usage, by result: answered, refused or failed",
            Unit::Seconds,
            self.kubelet_requests.clone(),
        );
        r.register(
            "kubelets_silent",
            "Nodes whose kubelet did not answer when it was last asked",
            self.silent_kubelets.clone(),
        );
        r.register(
            "prometheus_queries",
            "Questions to a Prometheus by result: answered, refused or failed",
            self.prometheus_queries.clone(),
        );
        r.register(
            "pods_watched",
            "Pods of the configured namespaces in the last cycle",
            self.pods_watched.clone(),
        );
        let monitored = self.pods_monitored.clone();
        r.register(
            "pods_monitored",
            "Those of them that are not excluded, finished or on their way out",
            monitored,
        );
        r.register("dry_run", "1: decides and changes nothing", self.dry_run.clone());
        r.register("read_only", "1: the API refuses writes", self.read_only.clone());
        r.register("leading", "1: this replica acts, alone or as the leader", self.leading.clone());
        r.register("autoscale_enabled", "1: the loop runs", self.autoscale_enabled.clone());
        let interval = self.autoscale_interval.clone();
        r.register_with_unit(
            "autoscale_interval",
            "Time between two cycles",
            Unit::Seconds,
            interval,
        );
        r.register(
            "kubernetes_connected",
            "1: connected to a cluster",
            self.kubernetes_connected.clone(),
        );
        r.register(
            "watch_fresh",
            "1: what is known of the pods is what the API server has",
            self.watch_fresh.clone(),
        );
        r.register(
            "watch_ends",
            "Watches that had to be taken up again, by resource and reason",
            self.watch_ends.clone(),
        );
        let expiry = self.certificate_expiry.clone();
        r.register_with_unit(
            "certificate_expiry_timestamp",
            "When the certificate expires with which the service answers",
            Unit::Seconds,
            expiry,
        );
        let changed = self.config_changed.clone();
        r.register_with_unit(
            "config_last_change_timestamp",
            "When the configuration last changed",
            Unit::Seconds,
            changed,
        );
        r.register_collector(Box::new(self.recorded.clone()));
        self
    }

    pub fn cycle_done(&self, phases: &Phases) {
        self.cycles.get_or_create(&[("result", "success")]).inc();
        self.cycle_duration.observe(phases.total().wall.as_secs_f64());
        for (phase, spent) in phases.iter() {
            self.phase_duration
                .get_or_create(&[("phase", phase.name())])
                .observe(spent.wall.as_secs_f64());
        }
        self.last_cycle.set(now());
    }

    pub fn cycle_failed(&self) {
        self.cycles.get_or_create(&[("result", "failure")]).inc();
    }

    /// Added up first: a cluster may have very many pods and few kinds of outcomes.
    pub fn outcomes(&self, outcomes: &[Summed]) {
        let (mut decisions, mut skipped, mut overrides) =
            (HashMap::new(), HashMap::new(), HashMap::new());
        for Summed { outcome, decision } in outcomes {
            if let Status::Skipped(reason) = outcome.status {
                *skipped.entry(reason).or_default() += 1;
            }
            let Some(decision) = decision else { continue };
            for resource in Resource::ALL {
                *decisions.entry((resource, decision.actions[resource])).or_default() += 1;
                if let Some(why) = decision.overridden[resource] {
                    *overrides.entry((resource, why)).or_default() += 1;
                }
            }
        }
        add(&self.decisions, decisions, |(resource, action)| {
            [("resource", resource.name()), ("action", action.name())]
        });
        add(&self.skipped, skipped, |reason| [("reason", reason.name())]);
        add(&self.overrides, overrides, |(resource, why)| {
            [("resource", resource.name()), ("reason", why.name())]
        });
    }

    pub fn resized(&self, took: Duration, applied: Option<&Applied>) {
        let result = match applied {
            Some(applied) => {
                self.resizes.get_or_create(&[("method", applied.method.name())]).inc();
                "success"
            }
            None => {
                self.failed_resizes.inc();
                "failure"
            }
        };
        self.resize_duration.get_or_create(&[("result", result)]).observe(took.as_secs_f64());
    }

    /// A change was sent so many seconds after it was first wanted; so old was the decision that it
    /// was sent by when that was answered.
    pub fn dispatched(&self, urgency: Urgency, seconds: i64, decision_age: Duration) {
        let delays = self.dispatched.get_or_create(&[("urgency", urgency.name())]);
        delays.observe(seconds.max(0) as f64);
        self.decision_age.observe(decision_age.as_secs_f64());
    }

    /// So many changes have waited too long.
    pub fn not_wanted(&self) {
        self.not_wanted.inc();
    }

    /// Pods that were decided on between two cycles.
    pub fn looked_at(&self, pods: usize) {
        self.looked_at.inc_by(pods as u64);
    }

    pub fn asked_kubelet(&self, result: &'static str, took: Duration) {
        self.kubelet_requests.get_or_create(&[("result", result)]).observe(took.as_secs_f64());
    }

    pub fn asked_prometheus(&self, result: &'static str) {
        self.prometheus_queries.get_or_create(&[("result", result)]).inc();
    }

    pub fn silent_kubelets(&self, count: usize) {
        self.silent_kubelets.set(count as i64);
    }

    pub fn resizes_under_way(&self, count: usize) {
        self.resizes_under_way.set(count as i64);
    }

    pub fn event(&self, result: &'static str) {
        self.events.get_or_create(&[("result", result)]).inc();
    }

    pub fn pods(&self, inputs: Inputs) {
        self.pods_watched.set(inputs.watched);
        self.pods_monitored.set(inputs.monitored);
        self.recorded.replace(inputs);
    }

    pub fn config_changed(&self) {
        self.config_changed.set(now());
    }

    /// The client, with every answer of the API server counted.
    pub fn counted(&self, client: kube::Client) -> kube::Client {
        self.requests.counted(client)
    }

    /// In the text format of Prometheus.
    pub fn text(&self, now: &Now) -> Result<String, std::fmt::Error> {
        let config = now.config;
        let path = config.model_path.display().to_string();
        let model = vec![("path", path), ("features", now.features.to_string())];
        self.model.get_or_create(&model).set(1);
        self.dry_run.set(config.dry_run.into());
        self.read_only.set(config.read_only.into());
        self.leading.set(now.leading.into());
        self.autoscale_enabled.set(config.auto_scale_enabled.into());
        self.autoscale_interval.set(config.auto_scale_interval as i64);
        self.kubernetes_connected.set(now.connected.into());
        self.watch_fresh.set(now.watch_fresh.into());
        self.waiting.set(now.waiting as i64);
        self.write_rate.set(now.pace.0);
        self.write_cuts.inner().fetch_max(now.pace.1, Relaxed);
        for (kind, open) in now.open_breakers {
            self.open_breakers.get_or_create(&[("kind", kind)]).set(open as i64);
        }
        for ((resource, reason), ends) in &now.watch_ends {
            let labels = [("resource", *resource), ("reason", *reason)];
            self.watch_ends.get_or_create(&labels).inner().fetch_max(*ends, Relaxed);
        }
        if let Some(expiry) = now.certificate_expiry {
            self.certificate_expiry.get_or_create(&[]).set(expiry as f64);
        }
        let mut text = String::new();
        prometheus_client::encoding::prometheus_text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn add<T, const N: usize>(
    counters: &Counters<N>,
    amounts: HashMap<T, u64>,
    labels: impl Fn(T) -> Labels<N>,
) {
    for (of, amount) in amounts {
        counters.get_or_create(&labels(of)).inc_by(amount);
    }
}

fn now() -> f64 {
    Utc::now().timestamp_millis() as f64 / 1000.0
}
