//! What `POST /config` has changed, in a form that outlives the process and moves to another
//! replica.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::declare::OptionSpec;
use super::options::{Config, ConfigUpdate, groups};

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
        let changed = fields().filter(|field| base[field] != config[field]);
        let changes = changed.map(|field| {
            (field.to_owned(), Change { from: base[field].clone(), to: config[field].clone() })
        });
        Self(changes.collect())
    }

    /// `base` with the changes in it that still hold.
    pub fn onto(&self, base: &Config) -> Config {
        let shown = json!(base);
        let mut config = base.clone();
        for (field, Change { from, to }) in &self.0 {
            if shown[field] != *from {
                tracing::warn!(
                    field = brief(field),
                    from = brief(from),
                    now = brief(&shown[field]),
                    "a stored change no longer holds: its field is set otherwise since"
                );
                continue;
            }
            match change(&config, field, to) {
                Ok(changed) => config = changed,
                Err(error) => tracing::warn!(
                    field = brief(field),
                    error = brief(error),
                    "a stored change is not valid"
                ),
            }
        }
        config
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn has(&self, field: &str) -> bool {
        self.0.contains_key(field)
    }
}

/// As a line of the log may hold it.
fn brief(value: impl ToString) -> String {
    const LONGEST: usize = 200;
    let mut shown: String = value.to_string().chars().take(LONGEST + 1).collect();
    if shown.chars().count() > LONGEST {
        shown.pop();
        shown.push('…');
    }
    shown
}

/// The fields that can be changed at run time.
fn fields() -> impl Iterator<Item = &'static str> {
    let options = groups().into_iter().flat_map(|group| group.options);
    options.filter(OptionSpec::at_run_time).map(|option| option.name)
}

fn change(config: &Config, field: &str, to: &Value) -> Result<Config, String> {
    let update: ConfigUpdate =
        serde_json::from_value(json!({ field: to })).map_err(|error| error.to_string())?;
    if !update.ignored().is_empty() {
        return Err("the field cannot be changed".into());
    }
    config.updated(update).map_err(|error| error.to_string())
}

impl std::fmt::Display for RuntimeChanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = self
            .0
            .iter()
            .map(|(field, Change { from, to })| (brief(field), brief(from), brief(to)))
            .map(|(field, from, to)| format!("{field}={to} (was {from})"));
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
    fn what_is_more_than_can_be_carried_is_left_out_and_told_in_short() {
        let many: Vec<_> = (0..10_000).map(|number| format!("team-{number}")).collect();
        let stored = json!({
            "namespaces": {"from": ["default"], "to": many},
            "dry_run": {"from": true, "to": false}
        });
        let changes: RuntimeChanges = serde_json::from_value(stored).unwrap();
        let held = changes.onto(&Config::default());
        assert_eq!((held.namespaces.len(), held.dry_run), (1, false));
        assert!(changes.to_string().len() < 700, "{}", changes.to_string().len());
    }

    #[test]
    fn every_field_that_can_be_changed_is_kept() {
        let shown = json!(Config::default());
        let update: ConfigUpdate = serde_json::from_value(shown.clone()).unwrap();
        let settable = shown.as_object().unwrap().len() - update.ignored().len();
        assert_eq!((settable, fields().count()), (8, 8));
        assert!(fields().all(|field| change(&Config::default(), field, &shown[field]).is_ok()));
    }
}
