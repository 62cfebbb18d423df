//! The configuration: defaults, then a YAML file, the environment, the command line and `POST
//! /config`; the later wins.

mod runtime_changes;
mod shared;
mod source;
mod update;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use runtime_changes::RuntimeChanges;
pub use shared::SharedConfig;
pub use source::{ConfigOverrides, boolean};
pub use update::Updated;

use crate::core::names::is_dns_label;
use crate::core::policy::{Exclusions, GuardSettings, Policy, Settings};
use crate::core::resource::PerResource;

/// For what usage, requests and limits are published to Prometheus.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum PodMetrics {
    None,
    #[default]
    Namespace,
    /// Six series a pod.
    Pod,
}

/// Everything but where to listen. `GET /config` answers with its fields, the documented ones
/// first.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Config {
    /// The checkpoint.
    #[schema(value_type = String, example = "final-models/dqn_model.pth")]
    pub model_path: PathBuf,
    /// Width of the model's input.
    #[schema(example = 8)]
    pub state_dim: usize,
    /// Actions of each head.
    #[schema(example = 3)]
    pub action_dim: usize,
    /// Samples that a trend is computed over.
    #[schema(example = 5)]
    pub history_window: usize,
    /// Smallest CPU limit of a pod, cores.
    #[schema(example = 0.1)]
    pub min_cpu: f64,
    /// Largest CPU limit of a pod, cores.
    #[schema(example = 8.0)]
    pub max_cpu: f64,
    /// Smallest memory limit of a pod, MiB.
    #[schema(example = 20)]
    pub min_memory: u64,
    /// Largest memory limit of a pod, MiB.
    #[schema(example = 16384)]
    pub max_memory: u64,
    /// Share of the limit that one step adds or takes.
    #[schema(exclusive_minimum = 0, exclusive_maximum = 1, example = 0.2)]
    pub scale_factor: f64,
    /// Decide and explain, change nothing.
    pub dry_run: bool,
    /// Whether the service runs as a pod of the cluster it scales.
    // None: try both, in-cluster first.
    #[serde(serialize_with = "in_cluster")]
    #[schema(value_type = bool)]
    pub in_cluster: Option<bool>,
    /// Namespaces that are watched.
    #[schema(example = json!(["default"]))]
    pub namespaces: Vec<String>,
    /// Run the loop.
    pub auto_scale_enabled: bool,
    /// Seconds between two cycles.
    #[schema(minimum = 1, maximum = 86400, example = 30)]
    pub auto_scale_interval: u64,
    /// Minutes between two changes of a pod.
    #[schema(maximum = 1440, example = 30)]
    pub scaling_cooldown: u64,
    /// Deployments never touched.
    #[schema(example = json!(["redis", "dqn-scaler"]))]
    pub excluded_deployments: Vec<String>,
    /// Labels of pods never touched.
    #[schema(example = json!({"app": "redis"}))]
    pub excluded_labels: BTreeMap<String, String>,
    /// An INCREASE at 90 % of the limit, or after an OOM kill, does not wait for the cooldown.
    pub emergency_scale_up: bool,
    /// Resizes under way at the same time.
    pub resize_concurrency: usize,
    /// Resizes and templates written to the API server a second; events may be half as many
    /// besides.
    pub writes_per_second: u32,
    /// Pods that one cycle may change in all.
    pub resizes_per_cycle: usize,
    /// The same for each namespace.
    pub resizes_per_namespace: usize,
    /// Seconds after which a resize that the kubelet defers is given up for the template.
    pub deferred_timeout: u64,
    /// Seconds to wait for the kubelet to carry out a resize that it has accepted.
    pub resize_timeout: u64,
    /// Seconds after which a measurement is too old to act on.
    pub metrics_max_age: u64,
    /// Seconds of CPU usage whose peak a cut must keep clear of.
    pub guard_cpu_window: u64,
    /// The same for memory.
    pub guard_memory_window: u64,
    /// The share of its weight that a peak of CPU has lost by the end of the window.
    pub guard_cpu_fade: f64,
    /// The same for memory.
    pub guard_memory_fade: f64,
    /// Share of the CPU peak that a cut must leave above it.
    pub guard_cpu_headroom: f64,
    /// The same for memory.
    pub guard_memory_headroom: f64,
    /// Decisions kept for `GET /decisions`.
    pub decisions_kept: usize,
    /// For what usage, requests and limits are told to Prometheus.
    pub pod_metrics: PodMetrics,
    /// Namespaces in which this service may look and act at all; empty: all.
    #[schema(example = json!(["default", "data"]))]
    pub allowed_namespaces: Vec<String>,
    /// The API refuses every write.
    pub read_only: bool,
    /// The file that holds the token that writes need; null: they need none.
    #[schema(value_type = Option<String>, required, example = "/etc/dqn-scaler/token")]
    pub write_token_file: Option<PathBuf>,
    /// Origins whose pages may ask and write; `*`: all.
    #[schema(example = json!(["*"]))]
    pub cors_origins: Vec<String>,
    /// The certificate, PEM; null: plain HTTP.
    #[schema(value_type = Option<String>, required, example = "/etc/dqn-scaler/tls.crt")]
    pub tls_cert: Option<PathBuf>,
    /// The key of the certificate, PEM.
    #[schema(value_type = Option<String>, required, example = "/etc/dqn-scaler/tls.key")]
    pub tls_key: Option<PathBuf>,
}

fn in_cluster<S: serde::Serializer>(
    value: &Option<bool>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(
        value.unwrap_or_else(|| std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()),
    )
}

impl Default for Config {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            model_path: "final-models/dqn_model.pth".into(),
            state_dim: 8,
            action_dim: 3,
            history_window: policy.history_window,
            min_cpu: policy.min.cpu,
            max_cpu: policy.max.cpu,
            min_memory: policy.min.memory as u64,
            max_memory: policy.max.memory as u64,
            scale_factor: policy.scale_factor,
            dry_run: true,
            in_cluster: None,
            namespaces: vec!["default".into()],
            auto_scale_enabled: true,
            auto_scale_interval: 30,
            scaling_cooldown: policy.cooldown as u64 / 60,
            excluded_deployments: [
                "redis",
                "dqn-scaler",
                "metrics-collector",
                "load-generator",
                "dqn-scaler-dashboard",
            ]
            .map(String::from)
            .into(),
            excluded_labels: [("app", "redis"), ("component", "redis")]
                .map(|(k, v)| (k.into(), v.into()))
                .into(),
            emergency_scale_up: policy.emergency_scale_up,
            resize_concurrency: 4,
            writes_per_second: 10,
            resizes_per_cycle: 100,
            resizes_per_namespace: 20,
            deferred_timeout: 300,
            resize_timeout: 10,
            metrics_max_age: 120,
            guard_cpu_window: policy.guard.window.cpu as u64,
            guard_memory_window: policy.guard.window.memory as u64,
            guard_cpu_fade: policy.guard.fade.cpu,
            guard_memory_fade: policy.guard.fade.memory,
            guard_cpu_headroom: policy.guard.headroom.cpu,
            guard_memory_headroom: policy.guard.headroom.memory,
            decisions_kept: 1000,
            pod_metrics: PodMetrics::default(),
            allowed_namespaces: Vec::new(),
            read_only: false,
            write_token_file: None,
            cors_origins: vec!["*".into()],
            tls_cert: None,
            tls_key: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("{field}: {message}")]
    Field { field: &'static str, message: String },
    #[error("{0}")]
    File(String),
}

impl ConfigError {
    fn field(field: &'static str, message: impl Into<String>) -> Self {
        Self::Field { field, message: message.into() }
    }
}

impl Config {
    /// Defaults, then the file, then what the environment and the command line say.
    pub fn load(
        file: Option<&Path>,
        environment_and_flags: ConfigOverrides,
    ) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        if let Some(path) = file {
            ConfigOverrides::read(path)?.apply(&mut config);
        }
        environment_and_flags.apply(&mut config);
        config.validate()?;
        Ok(config)
    }

    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = |holds: bool, field: &'static str, message: &str| {
            if holds { Ok(()) } else { Err(ConfigError::field(field, message)) }
        };
        check(self.state_dim >= 1, "state_dim", "must be at least 1")?;
        check(self.action_dim == 3, "action_dim", "must be 3: DECREASE, MAINTAIN and INCREASE")?;
        check(
            (2..=120).contains(&self.history_window),
            "history_window",
            "must be from 2 to 120 samples",
        )?;
        check(self.min_cpu > 0.0 && self.min_cpu.is_finite(), "min_cpu", "must be above 0 cores")?;
        check(
            self.max_cpu >= self.min_cpu && self.max_cpu.is_finite(),
            "max_cpu",
            "must not be below min_cpu",
        )?;
        check(self.min_memory >= 1, "min_memory", "must be at least 1 MiB")?;
        check(self.max_memory >= self.min_memory, "max_memory", "must not be below min_memory")?;
        check(
            self.scale_factor > 0.0 && self.scale_factor < 1.0,
            "scale_factor",
            "must be above 0 and below 1",
        )?;
        check(!self.namespaces.is_empty(), "namespaces", "must name at least one namespace")?;
        for (field, names) in
            [("allowed_namespaces", &self.allowed_namespaces), ("namespaces", &self.namespaces)]
        {
            for namespace in names {
                let message = format!("{namespace:?} is not a valid namespace name");
                check(is_dns_label(namespace), field, &message)?;
            }
        }
        for namespace in &self.namespaces {
            let message = format!("{namespace:?} is not among allowed_namespaces");
            check(self.allows(namespace), "namespaces", &message)?;
        }
        check(
            (1..=86_400).contains(&self.auto_scale_interval),
            "auto_scale_interval",
            "must be from 1 to 86400 seconds",
        )?;
        check(self.scaling_cooldown <= 1440, "scaling_cooldown", "must be from 0 to 1440 minutes")?;
        check(
            (1..=256).contains(&self.resize_concurrency),
            "resize_concurrency",
            "must be from 1 to 256",
        )?;
        check(
            (1..=1000).contains(&self.writes_per_second),
            "writes_per_second",
            "must be from 1 to 1000",
        )?;
        check(self.resizes_per_cycle >= 1, "resizes_per_cycle", "must be at least 1")?;
        check(self.resizes_per_namespace >= 1, "resizes_per_namespace", "must be at least 1")?;
        check(self.resize_timeout >= 1, "resize_timeout", "must be at least 1 second")?;
        check(self.metrics_max_age >= 1, "metrics_max_age", "must be at least 1 second")?;
        let window = 60..=7 * 86_400;
        check(
            window.contains(&self.guard_cpu_window),
            "guard_cpu_window",
            "must be from 60 to 604800 seconds",
        )?;
        check(
            window.contains(&self.guard_memory_window),
            "guard_memory_window",
            "must be from 60 to 604800 seconds",
        )?;
        let fade = 0.0..=1.0;
        check(fade.contains(&self.guard_cpu_fade), "guard_cpu_fade", "must be from 0 to 1")?;
        check(fade.contains(&self.guard_memory_fade), "guard_memory_fade", "must be from 0 to 1")?;
        let headroom = 0.0..=10.0;
        check(
            headroom.contains(&self.guard_cpu_headroom),
            "guard_cpu_headroom",
            "must be from 0 to 10",
        )?;
        check(
            headroom.contains(&self.guard_memory_headroom),
            "guard_memory_headroom",
            "must be from 0 to 10",
        )?;
        check(!self.cors_origins.is_empty(), "cors_origins", "must name at least one origin")?;
        for origin in &self.cors_origins {
            let message =
                format!("{origin:?} is neither * nor scheme://host or scheme://host:port");
            check(is_origin(origin), "cors_origins", &message)?;
        }
        let together = self.tls_cert.is_some() == self.tls_key.is_some();
        check(together, "tls_cert", "and tls_key must be given together")?;
        check(
            (1000..=1_000_000).contains(&self.decisions_kept),
            "decisions_kept",
            "must be from 1000 to 1000000",
        )
    }

    /// Whether this service may look and act in the namespace at all.
    pub fn allows(&self, namespace: &str) -> bool {
        self.allowed_namespaces.is_empty()
            || self.allowed_namespaces.iter().any(|allowed| allowed == namespace)
    }

    /// What the core needs of it.
    pub fn settings(&self) -> Settings {
        Settings {
            policy: self.policy(),
            exclusions: self.exclusions(),
            dry_run: self.dry_run,
            metrics_max_age: self.metrics_max_age as i64,
            deferred_timeout: self.deferred_timeout as i64,
        }
    }

    pub fn exclusions(&self) -> Exclusions {
        Exclusions {
            deployments: self.excluded_deployments.clone(),
            labels: self.excluded_labels.clone(),
        }
    }

    pub fn policy(&self) -> Policy {
        Policy {
            scale_factor: self.scale_factor,
            min: PerResource::new(self.min_cpu, self.min_memory as f64),
            max: PerResource::new(self.max_cpu, self.max_memory as f64),
            history_window: self.history_window,
            cooldown: self.scaling_cooldown as i64 * 60,
            emergency_scale_up: self.emergency_scale_up,
            guard: GuardSettings {
                window: PerResource::new(
                    self.guard_cpu_window as i64,
                    self.guard_memory_window as i64,
                ),
                fade: PerResource::new(self.guard_cpu_fade, self.guard_memory_fade),
                headroom: PerResource::new(self.guard_cpu_headroom, self.guard_memory_headroom),
                ..GuardSettings::default()
            },
            ..Policy::default()
        }
    }

    /// `MODEL_PATH` as it is, else below `models/`.
    pub fn find_model(&self) -> PathBuf {
        let below_models = Path::new("models").join(&self.model_path);
        if !self.model_path.exists() && below_models.exists() {
            below_models
        } else {
            self.model_path.clone()
        }
    }
}

/// As a browser writes it: nothing after the host and the port.
fn is_origin(text: &str) -> bool {
    let Ok(uri) = text.parse::<http::Uri>() else { return false };
    let plain = uri
        .scheme()
        .zip(uri.authority())
        .map(|(scheme, authority)| format!("{scheme}://{authority}"));
    text == "*" || plain.is_some_and(|plain| plain == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_documented_ones_and_valid() {
        let config = Config::default();
        config.validate().unwrap();
        let json = serde_json::to_value(&config).unwrap();
        assert_eq!(json["scaling_cooldown"], 30);
        assert_eq!(json["min_memory"], 20);
        assert_eq!(json["excluded_deployments"].as_array().unwrap().len(), 5);
        assert_eq!(config.policy(), Policy::default());
    }

    #[test]
    fn the_later_source_wins() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.yaml");
        std::fs::write(
            &file,
            "scale_factor: 0.3\nauto_scale_interval: 45\nexcluded_labels: {tier: cache}\n",
        )
        .unwrap();
        let flags = ConfigOverrides { auto_scale_interval: Some(60), ..ConfigOverrides::default() };
        let config = Config::load(Some(&file), flags).unwrap();
        assert_eq!(
            (config.scale_factor, config.auto_scale_interval, config.scaling_cooldown),
            (0.3, 60, 30)
        );
        assert_eq!(config.excluded_labels, BTreeMap::from([("tier".into(), "cache".into())]));
    }

    #[test]
    fn a_bad_file_or_value_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.yaml");
        for (text, named) in [
            ("scale_factr: 0.3", "scale_factr"),
            ("scale_factor: much", "scale_factor"),
            ("scale_factor: 1.5", "scale_factor"),
            ("namespaces: []", "namespaces"),
            ("namespaces: [Bad_Name]", "Bad_Name"),
            ("min_cpu: 9", "max_cpu"),
            ("scaling_cooldown: -1", "scaling_cooldown"),
            ("pod_metrics: all", "pod_metrics"),
            ("cors_origins: []", "cors_origins"),
            ("cors_origins: [https://a.example/]", "https://a.example/"),
            ("cors_origins: [a.example]", "a.example"),
            ("tls_cert: tls.crt", "tls_key"),
            ("allowed_namespaces: ['']", "allowed_namespaces"),
            ("allowed_namespaces: [shop]", "\"default\" is not among allowed_namespaces"),
        ] {
            std::fs::write(&file, text).unwrap();
            let error =
                Config::load(Some(&file), ConfigOverrides::default()).unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
        let missing =
            Config::load(Some(Path::new("/no/such/file.yaml")), ConfigOverrides::default())
                .unwrap_err();
        assert!(missing.to_string().contains("/no/such/file.yaml"));
    }
}
