//! `POST /config`: all or nothing.

use super::error::ConfigError;
use super::options::{Config, ConfigUpdate};

impl Config {
    /// The configuration with the fields of the update in it, if it can hold.
    pub(crate) fn updated(&self, update: ConfigUpdate) -> Result<Self, ConfigError> {
        let mut config = self.clone();
        update.apply(&mut config);
        config.validate()?;
        Ok(config)
    }
}

impl ConfigUpdate {
    /// The names of the fields that are not known, or cannot be changed.
    pub(crate) fn ignored(&self) -> Vec<String> {
        self.ignored.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn update(body: Value) -> Result<(Config, Vec<String>), String> {
        let update: ConfigUpdate =
            serde_json::from_value(body).map_err(|error| error.to_string())?;
        let ignored = update.ignored();
        let config = Config::default().updated(update).map_err(|error| error.to_string())?;
        Ok((config, ignored))
    }

    #[test]
    fn the_documented_fields_are_set_and_others_named() {
        let (config, ignored) = update(json!({
            "dry_run": false, "auto_scale_interval": 60, "scale_factor": 0.3, "unknown": null,
            "scaling_cooldown": 0, "namespaces": ["default", "production"],
            "excluded_labels": {"app": "system"}, "max_cpu": 99
        }))
        .unwrap();
        assert_eq!(ignored, ["unknown", "max_cpu"]);
        let expected = Config {
            dry_run: false,
            auto_scale_interval: 60,
            scale_factor: 0.3,
            scaling_cooldown: 0,
            namespaces: vec!["default".into(), "production".into()],
            excluded_labels: [("app".into(), "system".into())].into(),
            ..Config::default()
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn a_wrong_type_or_range_is_reported() {
        for (field, value, told) in [
            ("dry_run", json!("false"), "must be true or false"),
            ("dry_run", json!(0), "must be true or false"),
            ("auto_scale_enabled", json!(null), "must be true or false"),
            ("auto_scale_interval", json!(0), "must be from 1 to 86400 seconds"),
            ("auto_scale_interval", json!(86_401), "must be from 1 to 86400 seconds"),
            ("auto_scale_interval", json!(30.5), "must be a whole number, not negative"),
            ("auto_scale_interval", json!("30"), "must be a whole number, not negative"),
            ("scaling_cooldown", json!(-1), "must be a whole number, not negative"),
            ("scaling_cooldown", json!(1441), "must be from 0 to 1440 minutes"),
            ("scale_factor", json!(0), "must be above 0 and below 1"),
            ("scale_factor", json!(1), "must be above 0 and below 1"),
            ("scale_factor", json!("0.2"), "must be a number"),
            ("namespaces", json!([]), "must name at least one namespace"),
            ("namespaces", json!("default"), "must be an array of strings"),
            ("namespaces", json!(["Not Valid"]), "\"Not Valid\" is not a valid namespace name"),
            ("excluded_deployments", json!([1]), "must be an array of strings"),
            ("excluded_labels", json!({"app": 1}), "must be an object of strings"),
            ("excluded_labels", json!(null), "must be an object of strings"),
            ("excluded_labels", json!(["app"]), "must be an object of strings"),
        ] {
            let error = update(json!({ "scale_factor": 0.4, field: value })).unwrap_err();
            assert!(error.ends_with(told), "{field}: {error:?}");
        }
    }
}
