//! Metrics as JSON. Texts are borrowed from the answer, which is large.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::measured::{self, Odd, Take, usage, window};
use crate::core::observation::Usage;
use crate::core::pod::Containers;
use crate::core::resource::PerResource;

#[derive(Deserialize)]
struct List<T> {
    items: Vec<T>,
}

#[derive(Deserialize)]
struct PodMetrics<'a, C> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    timestamp: DateTime<Utc>,
    #[serde(borrow)]
    window: Option<Text<'a>>,
    containers: Option<Vec<C>>,
}

type Measured<'a> = PodMetrics<'a, ContainerMetrics<'a>>;

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct ContainerMetrics<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    usage: Option<ContainerUsage<'a>>,
}

#[derive(Deserialize)]
struct ContainerUsage<'a> {
    #[serde(borrow)]
    cpu: Option<Text<'a>>,
    #[serde(borrow)]
    memory: Option<Text<'a>>,
}

/// A text that may be missing: of a plain `Cow` within an `Option`, serde would make a copy.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> PodMetrics<'a, &'a RawValue> {
    /// Without the containers that cannot be read.
    fn lenient(self) -> Measured<'a> {
        let Self { metadata, timestamp, window, containers } = self;
        let readable = |containers: Vec<&'a RawValue>| {
            let read = containers.into_iter().map(|of| serde_json::from_str(of.get()));
            read.filter_map(Result::ok).collect()
        };
        PodMetrics { metadata, timestamp, window, containers: containers.map(readable) }
    }
}

impl ContainerMetrics<'_> {
    fn measured(&self) -> Option<measured::Measured<'_>> {
        let ContainerUsage { cpu, memory } = self.usage.as_ref()?;
        let (cpu, memory) = (cpu.as_ref().map(|of| &*of.0), memory.as_ref().map(|of| &*of.0));
        Some((&self.name, PerResource::new(cpu, memory)))
    }
}

impl Measured<'_> {
    fn usage(&self, containers: &Containers) -> Usage {
        let measured = self.containers.iter().flatten().filter_map(ContainerMetrics::measured);
        let window = self.window.as_ref().and_then(|text| seconds(&text.0));
        usage(self.timestamp.timestamp(), window, measured, containers)
    }
}

pub fn read_list(body: &[u8], namespace: &str, take: &mut Take) -> Result<(), Odd> {
    let items = match serde_json::from_slice::<List<Measured>>(body) {
        Ok(list) => list.items,
        // Each is read by itself.
        Err(_) => {
            let list: List<&RawValue> = serde_json::from_slice(body)?;
            list.items.into_iter().filter_map(|item| lenient(item, namespace)).collect()
        }
    };
    items.iter().for_each(|item| take(&item.metadata.name, &|of| item.usage(of)));
    Ok(())
}

fn lenient<'a>(item: &'a RawValue, namespace: &str) -> Option<Measured<'a>> {
    let metrics = serde_json::from_str::<PodMetrics<&RawValue>>(item.get());
    metrics
        .inspect_err(|error| tracing::debug!(namespace, %error, "an item of the metrics is odd"))
        .ok()
        .map(PodMetrics::lenient)
}

pub fn read_pod(body: &[u8], containers: &Containers) -> Result<Usage, Odd> {
    Ok(serde_json::from_slice::<PodMetrics<&RawValue>>(body)?.lenient().usage(containers))
}

/// A duration as Go writes it, such as `1m30.5s`, in whole seconds; none that is no window of
/// usage.
fn seconds(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(digits);
        let letters = unit.find(|c: char| !c.is_alphabetic()).unwrap_or(unit.len());
        let (unit, left) = unit.split_at(letters);
        sum += number.parse::<f64>().ok()?
            * match unit {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                _ => return None,
            };
        rest = left;
    }
    window(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_read_as_go_writes_durations() {
        for (text, expected) in [
            ("15s", Some(15)),
            ("10.013s", Some(11)),
            ("1m30s", Some(90)),
            ("1m0.5s", Some(61)),
            ("800ms", Some(1)),
            ("0s", Some(0)),
            ("1h0m0s", None),
            ("-5s", None),
            ("15", None),
            ("s", None),
            ("1e9s", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }
}
