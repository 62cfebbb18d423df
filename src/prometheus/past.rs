//! The past of a workload, asked for and understood.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::answer::Series;
use super::client::{Prometheus, PrometheusError};
use super::pods;
use super::queries::{self, FIGURE, STEP, Selection};
use crate::core::recorded::{FirstPod, Recorded, RecordedWorkload};
use crate::core::workload::WorkloadKey;

const MIB: f64 = 1_048_576.0;

/// What is recorded of a workload from `start` to `end`, in one question. What it is called is told
/// by one of its pods; the first `startup` seconds after a start tell nothing of CPU.
pub async fn of_workload(
    prometheus: &Prometheus,
    labels: &BTreeMap<String, String>,
    (key, pod): (&WorkloadKey, &FirstPod),
    startup: u64,
    span: (i64, i64),
) -> Result<RecordedWorkload, PrometheusError> {
    let pods = match key.instance {
        // The pods of others have their own load.
        Some(_) => pods::escaped(&pod.name),
        None => pods::pattern(&key.name, &pod.name),
    };
    let (namespaces, pods) = (Some(pods::escaped(&key.namespace)), Some(pods));
    let selection = Selection { namespaces, pods, labels: Some(labels) };
    let query = queries::past(&selection, startup);
    Ok(understood(prometheus.range(&query, span, STEP).await?))
}

fn understood(answer: Vec<Series>) -> RecordedWorkload {
    let mut containers: BTreeMap<String, Recorded> = BTreeMap::new();
    for series in answer {
        let container = containers.entry(series.label("container").to_owned()).or_default();
        container.step = STEP;
        let bytes = |values: &[(i64, f64)]| -> Vec<(i64, f64)> {
            values.iter().map(|(at, bytes)| (*at, bytes / MIB)).collect()
        };
        match series.label(FIGURE) {
            "cpu_peak" => container.peaks.cpu = series.values,
            "memory_peak" => container.peaks.memory = bytes(&series.values),
            "cpu" => container.samples.cpu = series.values,
            "memory" => container.samples.memory = bytes(&series.values),
            "kill" => container.kills = bytes(&series.values),
            _ => {}
        }
    }
    containers.into_iter().map(|(name, recorded)| (Arc::from(name), recorded)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_put_in_their_places_and_units() {
        let series = |container: &str, figure: &str, value: f64| Series {
            labels: [("container", container), (FIGURE, figure)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            values: vec![(300, value)],
        };
        let read = understood(vec![
            series("app", "cpu_peak", 1.5),
            series("app", "cpu", 0.5),
            series("app", "memory_peak", 200.0 * MIB),
            series("app", "memory", 100.0 * MIB),
            series("app", "kill", 256.0 * MIB),
            series("app", "what else", 1.0),
            series("proxy", "cpu", 0.1),
        ]);
        let names: Vec<&str> = read.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["app", "proxy"]);
        let app = &read[0].1;
        assert_eq!((&app.peaks.cpu, &app.samples.cpu), (&vec![(300, 1.5)], &vec![(300, 0.5)]));
        assert_eq!(app.peaks.memory, [(300, 200.0)]);
        assert_eq!((&app.samples.memory, &app.kills), (&vec![(300, 100.0)], &vec![(300, 256.0)]));
        assert_eq!(app.step, STEP);
        assert!(read[1].1.peaks.cpu.is_empty() && read[1].1.kills.is_empty());
    }
}
