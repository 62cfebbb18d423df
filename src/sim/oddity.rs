//! Odd metrics, as metrics-server and what stands in for it were seen to serve them.

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::json;
use super::runtime::SCRAPE_SECONDS;

/// What is odd about the metrics of some pods.
#[derive(Debug, Clone, PartialEq)]
pub struct OddMetrics {
    /// All pods, where none is named.
    pub pod: Option<String>,
    /// All containers, where none is named.
    pub container: Option<String>,
    pub oddity: Oddity,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Oddity {
    WithoutCpu,
    WithoutMemory,
    /// Of a running container, as under cgroup v1 and Kata.
    ZeroMemory,
    /// An amount that is no quantity.
    UnreadableMemory,
    WithoutContainer,
    /// `containers` is null.
    NullContainers,
    /// Measured so many seconds later, or earlier, than it was.
    Shifted {
        seconds: i64,
    },
    /// Measured before the pod was there: of an earlier one of its name.
    OfEarlierPod,
    /// Of nobody: without name and namespace.
    Nameless,
    /// Metadata and containers are texts.
    WrongTypes,
}

impl OddMetrics {
    /// Of all pods.
    pub fn new(oddity: Oddity) -> Self {
        Self { pod: None, container: None, oddity }
    }

    /// Of a pod.
    pub fn of(pod: &str, oddity: Oddity) -> Self {
        Self { pod: Some(pod.to_owned()), ..Self::new(oddity) }
    }

    pub fn in_container(self, container: &str) -> Self {
        Self { container: Some(container.to_owned()), ..self }
    }

    /// Makes the metrics of a pod odd that was made at `created`.
    pub fn apply(&self, pod: &str, created: &str, metrics: &mut Value) {
        if self.pod.as_ref().is_some_and(|name| name != pod) {
            return;
        }
        let applies = |container: &Value| {
            self.container.as_ref().is_none_or(|name| container["name"] == **name)
        };
        let mut containers = json::items(metrics, "/containers").to_vec();
        let affected = containers.iter_mut().filter(|container| applies(container));
        match self.oddity {
            Oddity::WithoutCpu => drop_usage(affected, "cpu"),
            Oddity::WithoutMemory => drop_usage(affected, "memory"),
            Oddity::ZeroMemory => set_memory(affected, "0"),
            Oddity::UnreadableMemory => set_memory(affected, "much"),
            Oddity::WithoutContainer => containers.retain(|container| !applies(container)),
            Oddity::NullContainers => {
                metrics["containers"] = Value::Null;
                return;
            }
            Oddity::Shifted { seconds } => {
                let measured = json::text(metrics, "/timestamp");
                metrics["timestamp"] = shifted(measured, seconds).into();
            }
            Oddity::OfEarlierPod => {
                metrics["timestamp"] = shifted(created, -(SCRAPE_SECONDS as i64)).into();
            }
            Oddity::Nameless => metrics["metadata"] = json!({}),
            Oddity::WrongTypes => {
                metrics["metadata"] = "none".into();
                metrics["containers"] = "none".into();
                return;
            }
        }
        metrics["containers"] = containers.into();
    }
}

fn drop_usage<'a>(containers: impl Iterator<Item = &'a mut Value>, name: &str) {
    containers.for_each(|container| drop(json::object(container, &["usage"]).shift_remove(name)));
}

fn set_memory<'a>(containers: impl Iterator<Item = &'a mut Value>, text: &str) {
    containers.for_each(|container| json::set(container, &["usage"], "memory", text));
}

/// A timestamp so many seconds later.
fn shifted(timestamp: &str, seconds: i64) -> String {
    let Ok(moment) = timestamp.parse::<DateTime<Utc>>() else { return timestamp.to_owned() };
    (moment + Duration::seconds(seconds)).to_rfc3339_opts(SecondsFormat::Secs, true)
}
