//! Usage, requests and limits as inputs for recording rules: summed by namespace, or for every pod.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::config::{Config, PodMetrics};
use crate::core::context::OwnedPod;
use crate::core::eligibility::is_monitored;
use crate::core::observation::Usage;
use crate::core::policy::Exclusions;
use crate::core::resource::PerResource;

/// A pod and what was measured of it.
pub type Seen = (OwnedPod, Option<Usage>);

/// Cores and MiB.
#[derive(Debug, Clone, Copy, Default)]
struct Amounts {
    usage: PerResource<f64>,
    request: PerResource<f64>,
    limit: PerResource<f64>,
}

/// Of the monitored pods in one cycle; by namespace and pod, where the pod is empty for a sum.
#[derive(Debug, Default)]
pub struct Inputs {
    pub watched: i64,
    pub monitored: i64,
    detail: PodMetrics,
    amounts: BTreeMap<(String, String), Amounts>,
}

impl Inputs {
    pub fn new(config: &Config) -> Self {
        Self { detail: config.pod_metrics, ..Self::default() }
    }

    /// Takes in some pods more, which are mostly of one namespace.
    pub fn extend(&mut self, pods: &[Seen], exclusions: &Exclusions) {
        self.watched += pods.len() as i64;
        let monitored = |(owned, _): &&Seen| is_monitored(owned, exclusions);
        let same = |a: &Seen, b: &Seen| a.0.pod.key.namespace == b.0.pod.key.namespace;
        for pods in pods.chunk_by(same) {
            let mut sum = Amounts::default();
            let mut any = false;
            for (owned, usage) in pods.iter().filter(monitored) {
                self.monitored += 1;
                any = true;
                let amounts = Amounts {
                    usage: usage.as_ref().map(Usage::total).unwrap_or_default(),
                    request: owned.pod.request(),
                    limit: owned.pod.limit(),
                };
                match self.detail {
                    PodMetrics::None => {}
                    PodMetrics::Namespace => sum.add(&amounts),
                    PodMetrics::Pod => self.amounts_of(owned, true).add(&amounts),
                }
            }
            if let (Some((owned, _)), true) = (pods.first(), any)
                && self.detail == PodMetrics::Namespace
            {
                self.amounts_of(owned, false).add(&sum);
            }
        }
    }

    fn amounts_of(&mut self, owned: &OwnedPod, alone: bool) -> &mut Amounts {
        let key = &owned.pod.key;
        let pod = if alone { key.name.clone() } else { String::new() };
        self.amounts.entry((key.namespace.clone(), pod)).or_default()
    }
}

impl Amounts {
    fn add(&mut self, other: &Self) {
        add(&mut self.usage, other.usage);
        add(&mut self.request, other.request);
        add(&mut self.limit, other.limit);
    }
}

fn add(sum: &mut PerResource<f64>, amount: PerResource<f64>) {
    sum.cpu += amount.cpu;
    sum.memory += amount.memory;
}

/// The inputs of the last cycle; pods that are gone are gone from here too.
#[derive(Clone, Default)]
pub struct Recorded(Arc<ArcSwap<Inputs>>);

impl Recorded {
    pub fn replace(&self, inputs: Inputs) {
        self.0.store(Arc::new(inputs));
    }
}

impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorded")
    }
}

impl Collector for Recorded {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let inputs = self.0.load();
        let scope = if inputs.detail == PodMetrics::Pod { "pod" } else { "namespace" };
        let cores = Unit::Other("cores".to_owned());
        type Of = fn(&Amounts) -> f64;
        let kinds: [(&str, &str, Of, Of); 3] = [
            ("usage", "used by", |a| a.usage.cpu, |a| a.usage.memory),
            ("request", "requested for", |a| a.request.cpu, |a| a.request.memory),
            ("limit", "allowed to", |a| a.limit.cpu, |a| a.limit.memory),
        ];
        for (kind, done, cpu, memory) in kinds {
            let columns = [
                ("cpu", &cores, cpu as Of, 1.0),
                ("memory", &Unit::Bytes, memory, 1024.0 * 1024.0),
            ];
            for (resource, unit, of, base) in columns {
                if inputs.amounts.is_empty() {
                    continue;
                }
                let name = format!("{scope}_{resource}_{kind}");
                let what = if resource == "cpu" { "CPU" } else { "Memory" };
                let help =
                    format!("{what} {done} the monitored pods in the last cycle, by {scope}");
                let mut metric =
                    encoder.encode_descriptor(&name, &help, Some(unit), MetricType::Gauge)?;
                for ((namespace, pod), amounts) in &inputs.amounts {
                    let gauge = ConstGauge::new(of(amounts) * base);
                    let all = [("namespace", namespace.as_str()), ("pod", pod.as_str())];
                    let labels = if pod.is_empty() { &all[..1] } else { &all[..] };
                    gauge.encode(metric.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}
