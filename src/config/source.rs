//! One source of configuration: a YAML file, or the environment and the command line together. What
//! it does not name stays.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;

use super::{Config, ConfigError, PodMetrics};

#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigOverrides {
    /// Model checkpoint (.pth), looked up as given, then below models/
    #[arg(long, env = "MODEL_PATH")]
    pub model_path: Option<PathBuf>,
    /// Width of the model's input
    #[arg(long, env = "STATE_DIM")]
    pub state_dim: Option<usize>,
    /// Actions of each head
    #[arg(long, env = "ACTION_DIM")]
    pub action_dim: Option<usize>,
    /// Samples of usage that a trend is computed over
    #[arg(long, env = "HISTORY_WINDOW")]
    pub history_window: Option<usize>,
    /// Smallest CPU limit of a pod, cores
    #[arg(long, env = "MIN_CPU")]
    pub min_cpu: Option<f64>,
    /// Largest CPU limit of a pod, cores
    #[arg(long, env = "MAX_CPU")]
    pub max_cpu: Option<f64>,
    /// Smallest memory limit of a pod, MiB
    #[arg(long, env = "MIN_MEMORY")]
    pub min_memory: Option<u64>,
    /// Largest memory limit of a pod, MiB
    #[arg(long, env = "MAX_MEMORY")]
    pub max_memory: Option<u64>,
    /// Share of the limit that one step adds or takes
    #[arg(long, env = "SCALE_FACTOR")]
    pub scale_factor: Option<f64>,
    /// Decide and explain, change nothing
    #[arg(long, env = "DRY_RUN", value_parser = boolean, num_args = 0..=1, default_missing_value = "true")]
    pub dry_run: Option<bool>,
    /// Connect as a pod of the cluster (true), by kubeconfig (false), or try both (unset)
    #[arg(long = "in-cluster", env = "KUBERNETES_IN_CLUSTER", value_parser = boolean, num_args = 0..=1, default_missing_value = "true")]
    pub in_cluster: Option<bool>,
    /// Namespaces to watch, comma-separated
    #[arg(long, env = "NAMESPACES", value_delimiter = ',', value_parser = trimmed)]
    pub namespaces: Option<Vec<String>>,
    /// Run the autoscale loop
    #[arg(long, env = "AUTO_SCALE_ENABLED", value_parser = boolean, num_args = 0..=1, default_missing_value = "true")]
    pub auto_scale_enabled: Option<bool>,
    /// Seconds between two cycles
    #[arg(long, env = "AUTO_SCALE_INTERVAL")]
    pub auto_scale_interval: Option<u64>,
    /// Minutes between two changes of a pod
    #[arg(long, env = "SCALING_COOLDOWN")]
    pub scaling_cooldown: Option<u64>,
    /// Deployments never touched, comma-separated
    #[arg(long, env = "EXCLUDED_DEPLOYMENTS", value_delimiter = ',', value_parser = trimmed)]
    pub excluded_deployments: Option<Vec<String>>,
    /// Labels of pods never touched: key=value, comma-separated
    #[arg(long, env = "EXCLUDED_LABELS", value_parser = labels)]
    pub excluded_labels: Option<BTreeMap<String, String>>,
    /// Let an urgent INCREASE break the cooldown
    #[arg(long, env = "EMERGENCY_SCALE_UP", value_parser = boolean, num_args = 0..=1, default_missing_value = "true")]
    pub emergency_scale_up: Option<bool>,
    /// Resizes under way at the same time
    #[arg(long, env = "RESIZE_CONCURRENCY")]
    pub resize_concurrency: Option<usize>,
    /// Resizes and templates written to the API server a second
    #[arg(long, env = "WRITES_PER_SECOND")]
    pub writes_per_second: Option<u32>,
    /// Pods that one cycle may change
    #[arg(long, env = "RESIZES_PER_CYCLE")]
    pub resizes_per_cycle: Option<usize>,
    /// Pods of one namespace that one cycle may change
    #[arg(long, env = "RESIZES_PER_NAMESPACE")]
    pub resizes_per_namespace: Option<usize>,
    /// Seconds after which a resize that the kubelet defers is given up for the template
    #[arg(long, env = "DEFERRED_TIMEOUT")]
    pub deferred_timeout: Option<u64>,
    /// Seconds to wait for the kubelet to carry out a resize
    #[arg(long, env = "RESIZE_TIMEOUT")]
    pub resize_timeout: Option<u64>,
    /// Seconds after which a measurement is too old to act on
    #[arg(long, env = "METRICS_MAX_AGE")]
    pub metrics_max_age: Option<u64>,
    /// Seconds of CPU usage whose peak a cut must keep clear of
    #[arg(long, env = "GUARD_CPU_WINDOW")]
    pub guard_cpu_window: Option<u64>,
    /// Seconds of memory usage whose peak a cut must keep clear of
    #[arg(long, env = "GUARD_MEMORY_WINDOW")]
    pub guard_memory_window: Option<u64>,
    /// Share of its weight that a peak of CPU has lost by the end of the window
    #[arg(long, env = "GUARD_CPU_FADE")]
    pub guard_cpu_fade: Option<f64>,
    /// Share of its weight that a peak of memory has lost by the end of the window
    #[arg(long, env = "GUARD_MEMORY_FADE")]
    pub guard_memory_fade: Option<f64>,
    /// Share of the CPU peak that a cut must leave above it
    #[arg(long, env = "GUARD_CPU_HEADROOM")]
    pub guard_cpu_headroom: Option<f64>,
    /// Share of the memory peak that a cut must leave above it
    #[arg(long, env = "GUARD_MEMORY_HEADROOM")]
    pub guard_memory_headroom: Option<f64>,
    /// Decisions kept for GET /decisions
    #[arg(long, env = "DECISIONS_KEPT")]
    pub decisions_kept: Option<usize>,
    /// For what usage, requests and limits are told to Prometheus
    #[arg(long, env = "POD_METRICS", value_enum)]
    pub pod_metrics: Option<PodMetrics>,
    /// Namespaces in which this service may look and act at all, comma-separated; unless given, all
    #[arg(long, env = "ALLOWED_NAMESPACES", value_delimiter = ',', value_parser = trimmed)]
    pub allowed_namespaces: Option<Vec<String>>,
    /// Let the API refuse every write
    #[arg(long, env = "READ_ONLY", value_parser = boolean, num_args = 0..=1, default_missing_value = "true")]
    pub read_only: Option<bool>,
    /// File with the token that a write needs
    #[arg(long, env = "WRITE_TOKEN_FILE")]
    pub write_token_file: Option<PathBuf>,
    /// Origins whose pages may ask and write, comma-separated; *: all
    #[arg(long, env = "CORS_ORIGINS", value_delimiter = ',', value_parser = trimmed)]
    pub cors_origins: Option<Vec<String>>,
    /// Certificate (PEM); with it the service speaks TLS
    #[arg(long, env = "TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// Key of the certificate (PEM)
    #[arg(long, env = "TLS_KEY")]
    pub tls_key: Option<PathBuf>,
}

/// Moves each field that the layer names into the configuration.
macro_rules! overlay {
    ($layer:ident onto $config:ident: $($field:ident),* $(,)?) => {
        $(if let Some(value) = $layer.$field { $config.$field = value; })*
    };
}

impl ConfigOverrides {
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let fault = |error: String| ConfigError::File(format!("{}: {error}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
        // An empty file says nothing, and that is fine.
        let layer: Option<Self> =
            serde_norway::from_str(&text).map_err(|error| fault(error.to_string()))?;
        Ok(layer.unwrap_or_default())
    }

    pub fn apply(self, config: &mut Config) {
        config.in_cluster = self.in_cluster.or(config.in_cluster);
        config.write_token_file = self.write_token_file.or(config.write_token_file.take());
        config.tls_cert = self.tls_cert.or(config.tls_cert.take());
        config.tls_key = self.tls_key.or(config.tls_key.take());
        overlay!(self onto config:
            model_path, state_dim, action_dim, history_window, min_cpu, max_cpu, min_memory, max_memory, scale_factor,
            dry_run, namespaces, auto_scale_enabled, auto_scale_interval, scaling_cooldown, excluded_deployments,
            excluded_labels, emergency_scale_up, resize_concurrency, writes_per_second, resizes_per_cycle, resizes_per_namespace, deferred_timeout, resize_timeout, metrics_max_age,
            guard_cpu_window, guard_memory_window, guard_cpu_fade, guard_memory_fade, guard_cpu_headroom,
            guard_memory_headroom, decisions_kept, pod_metrics, allowed_namespaces, read_only, cors_origins,
        );
    }
}

/// A flag as environments write it.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("must be true or false".into()),
    }
}

fn trimmed(text: &str) -> Result<String, std::convert::Infallible> {
    Ok(text.trim().to_owned())
}

fn labels(text: &str) -> Result<BTreeMap<String, String>, String> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                Ok((key.trim().to_owned(), value.trim().to_owned()))
            }
            _ => Err(format!("{pair:?} is not key=value")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        layer: ConfigOverrides,
    }

    #[test]
    fn flags_are_read() {
        let arguments = "x --dry-run=False --namespaces a,b --excluded-labels app=redis,tier=cache --emergency-scale-up";
        let layer = Cli::try_parse_from(arguments.split(' ')).unwrap().layer;
        assert_eq!((layer.dry_run, layer.emergency_scale_up), (Some(false), Some(true)));
        assert_eq!(layer.namespaces.unwrap(), ["a", "b"]);
        assert_eq!(layer.excluded_labels.unwrap()["tier"], "cache");
        for bad in ["--dry-run=maybe", "--excluded-labels=redis", "--scale-factor=x"] {
            assert!(Cli::try_parse_from(["x", bad]).is_err(), "{bad}");
        }
    }
}
