//! What others need of the configuration.

use super::endpoint::Endpoint;
use super::options::Config;
use crate::core::policy::{Exclusions, GuardSettings, Policy, Settings};
use crate::core::resource::PerResource;

impl Config {
    /// What the core needs of it.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            policy: self.policy(),
            exclusions: self.exclusions(),
            dry_run: self.dry_run,
            metrics_max_age: self.metrics_max_age as i64,
            deferred_timeout: self.deferred_timeout as i64,
        }
    }

    pub(crate) fn exclusions(&self) -> Exclusions {
        Exclusions {
            deployments: self.excluded_deployments.clone(),
            labels: self.excluded_labels.clone(),
        }
    }

    /// The Prometheus that knows the past, if there is one.
    pub(crate) fn prometheus(&self) -> Option<Endpoint> {
        Some(Endpoint {
            url: self.prometheus_url.clone().filter(|url| !url.is_empty())?,
            token_file: self.prometheus_token_file.clone(),
            ca_file: self.prometheus_ca_file.clone(),
            headers: self.prometheus_headers.clone(),
            labels: self.prometheus_labels.clone(),
        })
    }

    pub(crate) fn policy(&self) -> Policy {
        Policy {
            scale_factor: self.scale_factor,
            min: PerResource::new(self.min_cpu, self.min_memory as f64),
            max: PerResource::new(self.max_cpu, self.max_memory as f64),
            history_window: self.history_window,
            sample_interval: self.auto_scale_interval as i64,
            cooldown: self.scaling_cooldown as i64 * 60,
            emergency_scale_up: self.emergency_scale_up,
            startup: self.startup_period as i64,
            controls: self.controls,
            guard: GuardSettings {
                window: PerResource::new(
                    self.guard_cpu_window as i64,
                    self.guard_memory_window as i64,
                ),
                fade: PerResource::new(self.guard_cpu_fade, self.guard_memory_fade),
                headroom: PerResource::new(self.guard_cpu_headroom, self.guard_memory_headroom),
                caution: self.caution,
                ..GuardSettings::default()
            },
            ..Policy::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_core() {
        let settings = Config::default().settings();
        assert_eq!(Settings { exclusions: Exclusions::default(), ..settings }, Settings::default());
    }
}
