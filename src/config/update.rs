//! `POST /config`: the eight documented fields, all or nothing.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Config, ConfigError};

/// The fields that can be changed at run time.
pub const FIELDS: [&str; 8] = [
    "dry_run",
    "auto_scale_enabled",
    "auto_scale_interval",
    "scaling_cooldown",
    "scale_factor",
    "namespaces",
    "excluded_deployments",
    "excluded_labels",
];

pub struct Updated {
    pub config: Config,
    /// Fields of the request that cannot be set.
    pub ignored: Vec<String>,
}

impl Config {
    /// The configuration with the request's fields in it; the first wrong one is named and nothing
    /// changes.
    pub fn updated(&self, fields: &Map<String, Value>) -> Result<Updated, ConfigError> {
        let mut config = self.clone();
        let mut ignored = Vec::new();
        for (name, value) in fields {
            match name.as_str() {
                "dry_run" => config.dry_run = boolean("dry_run", value)?,
                "auto_scale_enabled" => {
                    config.auto_scale_enabled = boolean("auto_scale_enabled", value)?
                }
                "auto_scale_interval" => {
                    config.auto_scale_interval = integer("auto_scale_interval", value)?
                }
                "scaling_cooldown" => config.scaling_cooldown = integer("scaling_cooldown", value)?,
                "scale_factor" => {
                    let number = value.as_f64();
                    config.scale_factor = number
                        .ok_or_else(|| ConfigError::field("scale_factor", "must be a number"))?;
                }
                "namespaces" => config.namespaces = strings("namespaces", value)?,
                "excluded_deployments" => {
                    config.excluded_deployments = strings("excluded_deployments", value)?
                }
                "excluded_labels" => config.excluded_labels = string_map("excluded_labels", value)?,
                _ => ignored.push(name.clone()),
            }
        }
        config.validate()?;
        Ok(Updated { config, ignored })
    }
}

fn boolean(field: &'static str, value: &Value) -> Result<bool, ConfigError> {
    value.as_bool().ok_or_else(|| ConfigError::field(field, "must be true or false"))
}

fn integer(field: &'static str, value: &Value) -> Result<u64, ConfigError> {
    value.as_u64().ok_or_else(|| ConfigError::field(field, "must be a whole number, not negative"))
}

fn strings(field: &'static str, value: &Value) -> Result<Vec<String>, ConfigError> {
    let fault = || ConfigError::field(field, "must be an array of strings");
    let items = value.as_array().ok_or_else(fault)?;
    items.iter().map(|item| item.as_str().map(String::from).ok_or_else(fault)).collect()
}

fn string_map(field: &'static str, value: &Value) -> Result<BTreeMap<String, String>, ConfigError> {
    let fault = || ConfigError::field(field, "must be an object of strings");
    let pairs = value.as_object().ok_or_else(fault)?;
    pairs
        .iter()
        .map(|(key, item)| Ok((key.clone(), item.as_str().ok_or_else(fault)?.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn update(body: Value) -> Result<Updated, ConfigError> {
        Config::default().updated(body.as_object().unwrap())
    }

    #[test]
    fn the_documented_fields_are_set_and_others_named() {
        let updated = update(json!({
            "dry_run": false, "auto_scale_interval": 60, "scale_factor": 0.3, "scaling_cooldown": 0,
            "namespaces": ["default", "production"], "excluded_labels": {"app": "system"}, "max_cpu": 99
        }))
        .unwrap();
        assert_eq!(updated.ignored, ["max_cpu"]);
        let config = updated.config;
        assert!(!config.dry_run);
        assert_eq!(
            (config.auto_scale_interval, config.scaling_cooldown, config.max_cpu),
            (60, 0, 8.0)
        );
    }

    #[test]
    fn a_wrong_type_or_range_names_the_field() {
        for (field, value) in [
            ("dry_run", json!("false")),
            ("dry_run", json!(0)),
            ("auto_scale_enabled", json!(null)),
            ("auto_scale_interval", json!(0)),
            ("auto_scale_interval", json!(86_401)),
            ("auto_scale_interval", json!(30.5)),
            ("auto_scale_interval", json!("30")),
            ("scaling_cooldown", json!(-1)),
            ("scaling_cooldown", json!(1441)),
            ("scale_factor", json!(0)),
            ("scale_factor", json!(1)),
            ("scale_factor", json!("0.2")),
            ("namespaces", json!([])),
            ("namespaces", json!("default")),
            ("namespaces", json!(["Not Valid"])),
            ("excluded_deployments", json!([1])),
            ("excluded_labels", json!({"app": 1})),
            ("excluded_labels", json!(["app"])),
        ] {
            let error =
                update(json!({ "scale_factor": 0.4, field: value })).err().map(|e| e.to_string());
            assert!(error.as_deref().is_some_and(|e| e.starts_with(field)), "{field}: {error:?}");
        }
    }
}
