//! What `POST /config` has changed, in a form that outlives the process and moves to another
//! replica.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Config;
use super::update::FIELDS;

/// The changed fields. A change holds for as long as what it changed stands as it did: whoever sets
/// another value by file, variable or flag afterwards means that value.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RuntimeChanges(BTreeMap<String, Change>);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Change {
    from: Value,
    to: Value,
}

impl RuntimeChanges {
    pub fn between(base: &Config, config: &Config) -> Self {
        let (base, config) = (json!(base), json!(config));
        let changed = FIELDS.into_iter().filter(|field| base[field] != config[field]);
        Self(
            changed
                .map(|field| {
                    (field.into(), Change { from: base[field].clone(), to: config[field].clone() })
                })
                .collect(),
        )
    }

    /// `base` with the changes in it that still hold.
    pub fn onto(&self, base: &Config) -> Config {
        let shown = json!(base);
        let mut config = base.clone();
        for (field, Change { from, to }) in &self.0 {
            if shown[field] != *from {
                tracing::warn!(%field, %from, now = %shown[field], "a stored change no longer holds: its field is set otherwise since");
                continue;
            }
            match config.updated(&serde_json::Map::from_iter([(field.clone(), to.clone())])) {
                Ok(updated) if updated.ignored.is_empty() => config = updated.config,
                Ok(_) => {
                    tracing::warn!(%field, "a stored change is of a field that cannot be changed")
                }
                Err(error) => tracing::warn!(%field, %error, "a stored change is not valid"),
            }
        }
        config
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Display for RuntimeChanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = self
            .0
            .iter()
            .map(|(field, change)| format!("{field}={} (was {})", change.to, change.from));
        f.write_str(&shown.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_back_through_json_unless_their_base_has_changed() {
        let base = Config::default();
        let config = Config {
            dry_run: false,
            scale_factor: 0.3,
            namespaces: vec!["shop".into()],
            ..base.clone()
        };
        let changes = RuntimeChanges::between(&base, &config);
        let changes: RuntimeChanges =
            serde_json::from_str(&serde_json::to_string(&changes).unwrap()).unwrap();
        assert_eq!(changes.onto(&base), config);
        let other = Config { scale_factor: 0.1, ..base.clone() };
        assert_eq!(changes.onto(&other), Config { scale_factor: 0.1, ..config });
        assert!(RuntimeChanges::between(&base, &base).is_empty());
    }

    #[test]
    fn what_is_not_valid_or_not_known_is_left_out() {
        let stored = json!({
            "scale_factor": {"from": 0.2, "to": 7},
            "max_cpu": {"from": 8.0, "to": 99.0},
            "gone": {"from": null, "to": 1},
            "dry_run": {"from": true, "to": false}
        });
        let changes: RuntimeChanges = serde_json::from_value(stored).unwrap();
        assert_eq!(
            changes.onto(&Config::default()),
            Config { dry_run: false, ..Config::default() }
        );
    }

    #[test]
    fn every_field_that_can_be_changed_is_kept() {
        let shown = json!(Config::default());
        for field in FIELDS {
            let same = serde_json::Map::from_iter([(field.to_owned(), shown[field].clone())]);
            assert!(Config::default().updated(&same).unwrap().ignored.is_empty(), "{field}");
        }
        let all = shown.as_object().unwrap();
        let settable = Config::default().updated(all).unwrap();
        assert_eq!(all.len() - settable.ignored.len(), FIELDS.len());
    }
}
