//! Every option, declared once: what it means, its name, type, default, environment variable and
//! range, and whether `POST /config` may change it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, ValueEnum, value_parser};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use super::allowed::{address_types, between, from_to, namespaces, only, origins};
use super::declare::{Group, OptionSpec, joined, keep, options, set};
use super::error::ConfigError;
use super::value::{OptionValue, field};
use crate::core::policy::Controls;

options! {
    /// The network, and what it is given.
    "Model": {
        /// The checkpoint (`.pth`), looked for as given, below `models/`, and beside the binary.
        model_path: PathBuf = "final-models/dqn_model.pth".into(), env "MODEL_PATH";
        /// Width of the model's input; it must be the model's. Unset: whatever the model has.
        state_dim: Option<usize> = None, env "STATE_DIM", within from_to(1, 4096, "");
        /// Actions of each head.
        action_dim: usize = 3, env "ACTION_DIM",
            within only(3, "DECREASE, MAINTAIN and INCREASE");
        /// Samples of usage that a trend is computed over.
        history_window: usize = 5, env "HISTORY_WINDOW", within from_to(2, 120, "samples");
    }

    /// How far limits may go, and how fast.
    "Limits": {
        /// Smallest CPU limit of a container, cores.
        min_cpu: f64 = 0.1, env "MIN_CPU", within from_to(0.001, 10_000, "cores");
        /// Largest CPU limit of a container, cores; not below `min_cpu`.
        max_cpu: f64 = 8.0, env "MAX_CPU", within from_to(0.001, 10_000, "cores");
        /// Smallest memory limit of a container, MiB.
        min_memory: u64 = 20, env "MIN_MEMORY", within from_to(1, 100_000_000, "MiB");
        /// Largest memory limit of a container, MiB; not below `min_memory`.
        max_memory: u64 = 16384, env "MAX_MEMORY", within from_to(1, 100_000_000, "MiB");
        /// Share of the limit that one step adds or takes.
        scale_factor: f64 = 0.2, env "SCALE_FACTOR", within between(0, 1), runtime 0.3;
    }

    /// Which cluster and which of its namespaces, and whether anything is changed there.
    "Cluster": {
        /// Decide and explain, change nothing.
        dry_run: bool = true, env "DRY_RUN", runtime true;
        /// Connect as a pod of the cluster (true) or by kubeconfig (false); unset: try both, as a
        /// pod first.
        #[serde(serialize_with = "in_cluster")]
        in_cluster: Option<bool> = None, env "KUBERNETES_IN_CLUSTER";
        /// Namespaces that are watched; each must be among `allowed_namespaces`.
        namespaces: Vec<String> = vec!["default".into()], env "NAMESPACES",
            within namespaces(1, 1000), runtime ["default", "data"];
    }

    /// The cycles that look at every pod.
    "Loop": {
        /// Run the autoscale loop.
        auto_scale_enabled: bool = true, env "AUTO_SCALE_ENABLED", runtime true;
        /// Seconds between two cycles, and up to a tenth more by chance, so that several scalers do
        /// not come in step.
        auto_scale_interval: u64 = 30, env "AUTO_SCALE_INTERVAL",
            within from_to(1, 86_400, "seconds"), runtime 60;
        /// Minutes between two changes of a container.
        scaling_cooldown: u64 = 30, env "SCALING_COOLDOWN",
            within from_to(0, 1440, "minutes"), runtime 45;
    }

    /// Pods that are never touched.
    "Exclusions": {
        /// Deployments whose pods are never touched.
        excluded_deployments: Vec<String> = [
                "redis",
                "dqn-scaler",
                "metrics-collector",
                "load-generator",
                "dqn-scaler-dashboard",
            ].map(String::from).into(),
            env "EXCLUDED_DEPLOYMENTS", runtime ["redis"];
        /// Labels of pods that are never touched, with their values.
        excluded_labels: BTreeMap<String, String> = [("app", "redis"), ("component", "redis")]
                .map(|(key, value)| (key.into(), value.into())).into(),
            env "EXCLUDED_LABELS", runtime {"app": "redis"};
    }

    /// The looks between two cycles at containers that are near their limit.
    "Second look": {
        /// Seconds between two looks at the kubelets of their nodes; 0: between two cycles nothing
        /// is looked at.
        second_look_interval: u64 = 2, env "SECOND_LOOK_INTERVAL",
            within from_to(0, 3600, "seconds");
        /// Seconds between two looks at `metrics.k8s.io`, where a kubelet may not be asked or does
        /// not answer; 0: there nothing is looked at.
        second_look_interval_metrics: u64 = 10, env "SECOND_LOOK_INTERVAL_METRICS",
            within from_to(0, 3600, "seconds");
        /// Ask kubelets whose certificate is not of the CA of the cluster, too.
        kubelet_insecure_tls: bool = false, env "KUBELET_INSECURE_TLS";
        /// Which address of a node its kubelet is asked at: the first of these types that it has.
        kubelet_preferred_address_types: Vec<String> =
            ["InternalIP", "ExternalIP", "Hostname"].map(String::from).into(),
            env "KUBELET_PREFERRED_ADDRESS_TYPES", within address_types();
    }

    /// How pods are changed, and how many at once.
    "Resizing": {
        /// An INCREASE at 90 % of the limit, or after an OOM kill, does not wait for the cooldown.
        emergency_scale_up: bool = true, env "EMERGENCY_SCALE_UP";
        /// Seconds after its start in which what a container uses of CPU is no peak, and it is cut
        /// to what its workload is known to need at most.
        startup_period: u64 = 120, env "STARTUP_PERIOD", within from_to(0, 3600, "seconds");
        /// Keep for each namespace what new pods are made with, for the policy of
        /// `deploy/components/born-right-sized`.
        born_right_sized: bool = false, env "BORN_RIGHT_SIZED";
        /// What is changed: requests and limits, `requests` alone or `limits` alone.
        controls: Controls = Controls::default(), env "CONTROLS";
        /// Writes that are sent at the same time, at most.
        resize_concurrency: usize = 32, env "RESIZE_CONCURRENCY", within from_to(1, 256, "");
        /// Resizes, templates and Events written to the API server a second, at most: how many it
        /// bears is told by its answers, and the rest wait their turn.
        writes_per_second: u32 = 1000, env "WRITES_PER_SECOND", within from_to(1, 1000, "");
        /// Pods that one cycle may change in all, the most urgent first.
        resizes_per_cycle: usize = 3000, env "RESIZES_PER_CYCLE", within from_to(1, 1_000_000, "");
        /// Pods of one namespace that one cycle may change.
        resizes_per_namespace: usize = 1000, env "RESIZES_PER_NAMESPACE",
            within from_to(1, 1_000_000, "");
        /// Seconds after which a resize that the kubelet defers is given up for the template.
        deferred_timeout: u64 = 300, env "DEFERRED_TIMEOUT",
            within from_to(0, 2_592_000, "seconds");
        /// Seconds to wait for the kubelet to carry out a resize that it has accepted.
        resize_timeout: u64 = 10, env "RESIZE_TIMEOUT", within from_to(1, 3600, "seconds");
    }

    /// What a cut must keep clear of, and when nothing is decided at all.
    "Guard": {
        /// Seconds after which a measurement is too old to act on.
        metrics_max_age: u64 = 120, env "METRICS_MAX_AGE", within from_to(1, 2_592_000, "seconds");
        /// Seconds of CPU usage whose peak a cut must keep clear of.
        guard_cpu_window: u64 = 28_800, env "GUARD_CPU_WINDOW",
            within from_to(60, 604_800, "seconds");
        /// Seconds of memory usage whose peak a cut must keep clear of.
        guard_memory_window: u64 = 259_200, env "GUARD_MEMORY_WINDOW",
            within from_to(60, 604_800, "seconds");
        /// Share of its weight that a peak of CPU has lost by the end of the window.
        guard_cpu_fade: f64 = 0.7, env "GUARD_CPU_FADE", within from_to(0, 1, "");
        /// Share of its weight that a peak of memory has lost by the end of the window.
        guard_memory_fade: f64 = 0.85, env "GUARD_MEMORY_FADE", within from_to(0, 1, "");
        /// Share of the CPU peak that a cut must leave above it.
        guard_cpu_headroom: f64 = 0.1, env "GUARD_CPU_HEADROOM", within from_to(0, 10, "");
        /// Share of the memory peak that a cut must leave above it.
        guard_memory_headroom: f64 = 0.05, env "GUARD_MEMORY_HEADROOM", within from_to(0, 10, "");
        /// How many times rarer than by default usage is to get beyond the room that the model
        /// gives a container: the more, the fewer OOM kills, and the more is allocated.
        caution: f64 = 1.0, env "CAUTION", within from_to(0.1, 100, "");
    }

    /// A Prometheus, or what speaks like it, that knows the past of workloads, and throttling.
    "Prometheus": {
        /// Where it answers, up to what comes before `/api/v1`; unset: nothing is asked.
        prometheus_url: Option<String> = None, env "PROMETHEUS_URL";
        /// File with the token that it wants; unset: none.
        prometheus_token_file: Option<PathBuf> = None, env "PROMETHEUS_TOKEN_FILE";
        /// CA (PEM) of its certificate; unset: those that the system trusts.
        prometheus_ca_file: Option<PathBuf> = None, env "PROMETHEUS_CA_FILE";
        /// Headers of every question, such as `X-Scope-OrgID=team-a`.
        prometheus_headers: BTreeMap<String, String> = BTreeMap::new(), env "PROMETHEUS_HEADERS";
        /// Labels that every series must have, such as `cluster=production`, where it holds those
        /// of several clusters.
        prometheus_labels: BTreeMap<String, String> = BTreeMap::new(), env "PROMETHEUS_LABELS";
        /// Days that are read of a workload that is seen for the first time.
        prometheus_days: u64 = 7, env "PROMETHEUS_DAYS", within from_to(1, 30, "days");
        /// Questions a minute: one for each workload that is new, and one for throttling.
        prometheus_queries_per_minute: u32 = 60, env "PROMETHEUS_QUERIES_PER_MINUTE",
            within from_to(1, 6000, "");
    }

    /// What is kept, and what Prometheus is told.
    "Reporting": {
        /// Decisions kept for `GET /decisions`.
        decisions_kept: usize = 1000, env "DECISIONS_KEPT", within from_to(1000, 1_000_000, "");
        /// Changes kept for `GET /changes`, at most.
        changes_kept: usize = 10_000, env "CHANGES_KEPT", within from_to(100, 1_000_000, "");
        /// Days for which changes are kept.
        changes_kept_days: u32 = 7, env "CHANGES_KEPT_DAYS", within from_to(1, 365, "days");
        /// What a requested core costs an hour, in any currency; with the other price the dashboard
        /// tells what is saved in money. 0: not known.
        price_core_hour: f64 = 0.0, env "PRICE_CORE_HOUR", within from_to(0, 1_000_000, "");
        /// What a requested GiB of memory costs an hour.
        price_gib_hour: f64 = 0.0, env "PRICE_GIB_HOUR", within from_to(0, 1_000_000, "");
        /// For what usage, requests and limits are told to Prometheus: sums by namespace, six
        /// series for each pod, or nothing.
        pod_metrics: PodMetrics = PodMetrics::default(), env "POD_METRICS";
    }

    /// Who may look and act, and where.
    "Access": {
        /// Namespaces in which this service may look and act at all; unset: all.
        allowed_namespaces: Vec<String> = Vec::new(), env "ALLOWED_NAMESPACES",
            within namespaces(0, 10_000);
        /// The API refuses every write; the loop goes on.
        read_only: bool = false, env "READ_ONLY";
        /// File with the token that a write needs; unset: it needs none.
        write_token_file: Option<PathBuf> = None, env "WRITE_TOKEN_FILE";
        /// Origins whose pages may ask and write; `*`: all.
        cors_origins: Vec<String> = vec!["*".into()], env "CORS_ORIGINS", within origins(1, 1000);
        /// Connections to the service at the same time; beyond them only `/livez`, `/readyz` and
        /// `/health` are answered. Half of the file descriptors are the most.
        max_connections: usize = 1024, env "MAX_CONNECTIONS", within from_to(1, 30_000, "");
        /// Those of them that come from one address (IPv6: from one /64 network).
        max_connections_per_address: usize = 256, env "MAX_CONNECTIONS_PER_ADDRESS",
            within from_to(1, 30_000, "");
        /// Certificate (PEM), with which the service speaks TLS; unset: plain HTTP.
        tls_cert: Option<PathBuf> = None, env "TLS_CERT";
        /// Key of the certificate (PEM); both or neither must be given.
        tls_key: Option<PathBuf> = None, env "TLS_KEY";
    }
}

/// For what usage, requests and limits are published to Prometheus.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum PodMetrics {
    None,
    #[default]
    Namespace,
    /// Six series a pod.
    Pod,
}

impl OptionValue for PodMetrics {
    const WANTED: &'static str = "must be none, namespace or pod";

    fn argument(argument: Arg) -> Arg {
        argument.value_parser(value_parser!(PodMetrics))
    }

    fn given(matches: &mut ArgMatches, name: &str) -> Option<Self> {
        matches.remove_one(name)
    }

    fn text(&self) -> String {
        self.to_possible_value()
            .map(|value: PossibleValue| value.get_name().to_owned())
            .unwrap_or_default()
    }

    fn json_schema() -> RefOr<Schema> {
        <Self as PartialSchema>::schema()
    }
}

impl OptionValue for Controls {
    const WANTED: &'static str = "must be both, requests or limits";

    fn argument(argument: Arg) -> Arg {
        let names = PossibleValuesParser::new(Self::ALL.map(Self::name));
        argument.value_parser(names.map(|name| Self::parse(&name).unwrap_or_default()))
    }

    fn given(matches: &mut ArgMatches, name: &str) -> Option<Self> {
        matches.remove_one(name)
    }

    fn text(&self) -> String {
        self.name().to_owned()
    }

    fn json_schema() -> RefOr<Schema> {
        <Self as PartialSchema>::schema()
    }
}

/// Answered is what is tried first.
fn in_cluster<S: Serializer>(value: &Option<bool>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(
        value.unwrap_or_else(|| std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()),
    )
}
