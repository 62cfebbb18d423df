//! Whether a configuration can hold.

use super::error::ConfigError;
use super::options::Config;

impl Config {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        self.check_each()?;
        if self.max_cpu < self.min_cpu {
            return Err(ConfigError::field("max_cpu", "must not be below min_cpu"));
        }
        if self.max_memory < self.min_memory {
            return Err(ConfigError::field("max_memory", "must not be below min_memory"));
        }
        if let Some(outside) = self.namespaces.iter().find(|namespace| !self.allows(namespace)) {
            let message = format!("{outside:?} is not among allowed_namespaces");
            return Err(ConfigError::field("namespaces", message));
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err(ConfigError::field("tls_cert", "and tls_key must be given together"));
        }
        let checked = self.prometheus().map_or(Ok(()), |endpoint| endpoint.check());
        checked.map_err(|(option, problem)| ConfigError::field(option, problem))
    }

    /// Whether this service may look and act in the namespace at all.
    pub(crate) fn allows(&self, namespace: &str) -> bool {
        self.allowed_namespaces.is_empty()
            || self.allowed_namespaces.iter().any(|allowed| allowed == namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_timeouts_and_counts_have_an_end() {
        let huge = i64::MAX as u64;
        for (field, config) in [
            ("metrics_max_age", Config { metrics_max_age: huge, ..Config::default() }),
            ("deferred_timeout", Config { deferred_timeout: u64::MAX, ..Config::default() }),
            ("resize_timeout", Config { resize_timeout: huge, ..Config::default() }),
            ("guard_cpu_window", Config { guard_cpu_window: huge, ..Config::default() }),
            ("scaling_cooldown", Config { scaling_cooldown: huge, ..Config::default() }),
            ("resizes_per_cycle", Config { resizes_per_cycle: usize::MAX, ..Config::default() }),
            ("max_memory", Config { max_memory: u64::MAX, ..Config::default() }),
            ("max_cpu", Config { max_cpu: 1e300, ..Config::default() }),
            ("min_cpu", Config { min_cpu: f64::NAN, ..Config::default() }),
        ] {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{field}: must be from ")), "{error}");
        }
    }

    #[test]
    fn only_so_many_namespaces_are_taken() {
        let named = |count: usize| Config {
            namespaces: (0..count).map(|number| format!("team-{number}")).collect(),
            ..Config::default()
        };
        named(1000).validate().unwrap();
        let error = named(1001).validate().unwrap_err().to_string();
        assert_eq!(error, "namespaces: must name at most 1000 namespaces");
    }

    #[test]
    fn an_origin_that_no_browser_sends_is_refused_and_named() {
        let with = |origin: &str| {
            let origins = vec!["https://a.example".into(), origin.into()];
            Config { cors_origins: origins, ..Config::default() }.validate()
        };
        for origin in [
            "*",
            "http://localhost:3000",
            "https://[::1]:8443",
            "https://a.example:80",
            "chrome-extension://abcdefghijklmnop",
        ] {
            assert_eq!(with(origin), Ok(()), "{origin}");
        }
        for origin in [
            "https://*.example",
            "https://*",
            "https://A.example",
            "https://a.example:443",
            "http://a.example:80",
            "https://me@a.example",
            "https://a.example:",
            "https://a.example/",
            "https://a.example?b",
            "a.example",
            "null",
            "",
        ] {
            let error = with(origin).unwrap_err().to_string();
            assert!(error.starts_with(&format!("cors_origins: {origin:?} ")), "{error}");
        }
    }
}
