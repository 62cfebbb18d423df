//! What a kubelet says at `/metrics/resource`, in the text format of Prometheus.

use std::collections::HashMap;

use crate::core::second_look::Counters;

const CPU: &str = "container_cpu_usage_seconds_total";
const MEMORY: &str = "container_memory_working_set_bytes";
/// Kubelets tell it at `/metrics/cadvisor`, since 1.33; here wherever they come to.
const WAITING: &str = "container_pressure_cpu_waiting_seconds_total";
const MIB: f64 = 1_048_576.0;

/// What was counted of the containers of a pod, by their names.
#[derive(Debug, Clone, PartialEq)]
pub struct PodCounters {
    pub namespace: String,
    pub name: String,
    pub containers: Vec<(String, Counters)>,
}

/// A line that is no sample of a container with its time costs only itself.
pub fn read(text: &str) -> Vec<PodCounters> {
    let mut pods: HashMap<(&str, &str), Vec<(&str, Counters)>> = HashMap::new();
    for Sample { metric, labels, value, at } in text.lines().filter_map(sample) {
        let (Some(namespace), Some(pod), Some(container)) =
            (labels.of("namespace"), labels.of("pod"), labels.of("container"))
        else {
            continue;
        };
        let containers = pods.entry((namespace, pod)).or_default();
        let known = containers.iter().position(|(name, _)| *name == container);
        let index = known.unwrap_or_else(|| {
            containers.push((container, Counters::default()));
            containers.len() - 1
        });
        let Some((_, counters)) = containers.get_mut(index) else { continue };
        match metric {
            CPU => (counters.cpu, counters.at) = (Some(value), at),
            MEMORY => {
                counters.memory = Some(value / MIB);
                if counters.cpu.is_none() {
                    counters.at = at;
                }
            }
            _ => counters.waiting = Some(value),
        }
    }
    let owned = |((namespace, name), containers): ((&str, &str), Vec<(&str, Counters)>)| {
        let containers = containers.into_iter().map(|(name, of)| (name.to_owned(), of)).collect();
        PodCounters { namespace: namespace.to_owned(), name: name.to_owned(), containers }
    };
    pods.into_iter().map(owned).collect()
}

struct Sample<'a> {
    metric: &'a str,
    labels: Labels<'a>,
    value: f64,
    /// Milliseconds since the epoch.
    at: i64,
}

struct Labels<'a>(&'a str);

impl<'a> Labels<'a> {
    /// Names of Kubernetes have neither quotes nor commas: a value that has some is none.
    fn of(&self, name: &str) -> Option<&'a str> {
        let pairs = self.0.split(',').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.into_iter().find(|(label, _)| label.trim() == name)?;
        let value = value.trim().strip_prefix('"')?.strip_suffix('"')?;
        (!value.is_empty() && !value.contains(['"', '\\'])).then_some(value)
    }
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let (metric, rest) = line.split_once('{')?;
    if ![CPU, MEMORY, WAITING].contains(&metric) {
        return None;
    }
    let (labels, rest) = rest.rsplit_once('}')?;
    let mut fields = rest.split_ascii_whitespace();
    let (value, at, more) = (fields.next()?, fields.next()?, fields.next());
    let value: f64 = value.parse().ok()?;
    let is_amount = value.is_finite() && value >= 0.0 && more.is_none();
    Some(Sample { metric, labels: Labels(labels), value, at: at.parse().ok()? })
        .filter(|_| is_amount)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_sorted(text: &str) -> Vec<PodCounters> {
        let mut pods = read(text);
        pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        pods
    }

    #[test]
    fn the_answer_of_a_kubelet_is_read() {
        let pods = read_sorted(include_str!("testdata/resource-metrics-1.33.txt"));
        let names: Vec<_> = pods.iter().map(|pod| (&*pod.namespace, &*pod.name)).collect();
        let web = "web-7d9c5b8f4-x2lqp";
        assert_eq!(names, [("kube-system", "coredns-674b8bbfcf-7qk2v"), ("shop", web)]);
        let counters = |at, cpu, memory| Counters { at, cpu, memory, waiting: None };
        let app = counters(1_757_000_012_345, Some(1234.567891), Some(200.0));
        let proxy = counters(1_757_000_012_601, Some(12.0), Some(24.0));
        let expected = [("app".to_owned(), app), ("proxy".to_owned(), proxy)];
        assert_eq!(pods[1].containers, expected);
    }

    #[test]
    fn pressure_is_read_where_it_is_told() {
        let text = include_str!("testdata/resource-metrics-psi.txt");
        let pods = read_sorted(text);
        assert_eq!(pods[0].containers[0].1.waiting, Some(42.5));
        assert_eq!(pods[0].containers[0].1.cpu, Some(1234.567891));
    }

    #[test]
    fn what_is_odd_costs_only_itself() {
        let fine = r#"container_cpu_usage_seconds_total{container="a",namespace="n",pod="p"} 1 5"#;
        for odd in [
            r#"container_cpu_usage_seconds_total{container="b",namespace="n",pod="p"} NaN 5"#,
            r#"container_cpu_usage_seconds_total{container="b",namespace="n",pod="p"} -1 5"#,
            r#"container_cpu_usage_seconds_total{container="b",namespace="n",pod="p"} 1"#,
            r#"container_cpu_usage_seconds_total{container="b",namespace="n",pod="p"} 1 5 9"#,
            r#"container_cpu_usage_seconds_total{container="b",namespace="n",pod="p"} 1 soon"#,
            r#"container_cpu_usage_seconds_total{container="b",namespace="n"} 1 5"#,
            r#"container_cpu_usage_seconds_total{container="b",namespace="n",pod=""} 1 5"#,
            r#"container_cpu_usage_seconds_total{container="b\"",namespace="n",pod="p"} 1 5"#,
            r#"container_cpu_usage_seconds_total{container="b",namespace="n",pod="p" 1 5"#,
            r#"pod_cpu_usage_seconds_total{namespace="n",pod="p"} 1 5"#,
            "{}",
            "}{",
            "# HELP {",
            "node_cpu_usage_seconds_total 1 5",
            "\u{0}",
            "",
        ] {
            let pods = read(&format!("{odd}\n{fine}\n{odd}"));
            assert_eq!((pods.len(), pods[0].containers.len()), (1, 1), "{odd}");
        }
        assert_eq!(read("upstream connect error"), []);
    }
}
