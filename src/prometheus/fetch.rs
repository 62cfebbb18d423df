//! `evaluate --prometheus`: fetches the series of a cluster as files that can be replayed.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};

use super::answer::Series;
use super::client::{Prometheus, PrometheusError};
use super::pods;
use super::queries::{self, FIGURE, Selection};
use crate::config::Endpoint;
use crate::core::resource::PerResource;
use crate::train::cluster::{Cluster, ClusterSeries, FILE};

const TIMEOUT: Duration = Duration::from_secs(120);
const AT_ONCE: usize = 4;
/// Samples of a series in one answer; Prometheus gives no more than 11,000.
const MOST_SAMPLES: i64 = 5000;
/// A container that lived for less tells too little to be replayed, in seconds.
const LEAST_LIFE: f64 = 7200.0;
/// A question is asked so often before all is given up.
const TRIES: u32 = 3;
const MIB: f64 = 1_048_576.0;

/// The arguments of `evaluate` that are about a Prometheus.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Prometheus")]
pub struct FetchArgs {
    /// Replay the series of your own cluster, from this Prometheus or what speaks like it
    #[arg(long, value_name = "URL", conflicts_with = "traces")]
    pub prometheus: Option<String>,
    /// File with the token that it wants
    #[arg(long, value_name = "FILE", requires = "prometheus")]
    pub prometheus_token_file: Option<PathBuf>,
    /// CA (PEM) of its certificate
    #[arg(long, value_name = "FILE", requires = "prometheus")]
    pub prometheus_ca_file: Option<PathBuf>,
    /// Headers of every question
    #[arg(long, value_name = "NAME=VALUE,…", value_delimiter = ',', value_parser = pair,
        requires = "prometheus")]
    pub prometheus_headers: Vec<(String, String)>,
    /// Labels that every series must have
    #[arg(long, value_name = "NAME=VALUE,…", value_delimiter = ',', value_parser = pair,
        requires = "prometheus")]
    pub prometheus_labels: Vec<(String, String)>,
    /// How far back: days, hours or minutes
    #[arg(long, value_name = "7d", default_value = "7d", value_parser = span,
        requires = "prometheus")]
    pub since: i64,
    /// Namespaces; without them all
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', requires = "prometheus")]
    pub namespaces: Vec<String>,
    /// Seconds between two samples
    #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "prometheus",
        value_parser = clap::value_parser!(i64).range(15..=3600))]
    pub step: i64,
    /// Pods of each workload that are replayed, those that lived longest; they stand for the others
    #[arg(long, value_name = "COUNT", default_value_t = 3, requires = "prometheus",
        value_parser = clap::value_parser!(u16).range(1..))]
    pub pods: u16,
    /// Keep the series in this folder, for `train --traces` or to go on after an interruption
    #[arg(long, value_name = "DIR", requires = "prometheus")]
    pub save: Option<PathBuf>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=VALUE is wanted")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// `7d` in seconds.
fn span(text: &str) -> Result<i64, String> {
    let wrong = || "a number of days, hours or minutes is wanted: 7d, 12h or 90m".to_owned();
    let unit = match text.chars().last() {
        Some('d') => 86_400,
        Some('h') => 3600,
        Some('m') => 60,
        _ => return Err(wrong()),
    };
    let number: i64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    match number.checked_mul(unit) {
        Some(seconds) if (3600..=90 * 86_400).contains(&seconds) => Ok(seconds),
        _ => Err("must be from 1h to 90d".into()),
    }
}

impl FetchArgs {
    fn endpoint(&self, url: &str) -> anyhow::Result<Endpoint> {
        let endpoint = Endpoint {
            url: url.to_owned(),
            token_file: self.prometheus_token_file.clone(),
            ca_file: self.prometheus_ca_file.clone(),
            headers: self.prometheus_headers.iter().cloned().collect(),
            labels: self.prometheus_labels.iter().cloned().collect(),
        };
        match endpoint.check() {
            Ok(()) => Ok(endpoint),
            Err((option, problem)) => bail!("{option}: {problem}"),
        }
    }
}

/// Brings the series of the cluster into `folder`; what an interrupted run has brought stays.
pub async fn fetch(args: &FetchArgs, url: &str, folder: &Path, now: i64) -> anyhow::Result<()> {
    let endpoint = args.endpoint(url)?;
    let prometheus = Prometheus::new(&endpoint, TIMEOUT).context("Prometheus")?;
    let fetch = Fetch { prometheus, endpoint: &endpoint, args };
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let cluster = match Cluster::read(folder)? {
        Some(begun) => fetch.go_on(begun, folder)?,
        None => {
            let cluster = fetch.plan(now).await?;
            write(&folder.join(FILE), &serde_json::to_string_pretty(&cluster)?)?;
            cluster
        }
    };
    fetch.bring(&cluster, folder).await
}

struct Fetch<'a> {
    prometheus: Prometheus,
    endpoint: &'a Endpoint,
    args: &'a FetchArgs,
}

/// Pod and container.
type Key = (String, String);

/// What is known of the containers of a namespace.
#[derive(Default)]
struct Facts(HashMap<String, BTreeMap<Key, f64>>);

impl Facts {
    fn of(answer: Vec<Series>) -> Self {
        let mut facts = Self::default();
        for series in answer {
            let of_figure = facts.0.entry(series.label(FIGURE).to_owned()).or_default();
            let key = (series.label("pod").to_owned(), series.label("container").to_owned());
            of_figure.extend(series.value().map(|value| (key, value)));
        }
        facts
    }

    fn get(&self, figure: &str, key: &Key) -> Option<f64> {
        self.0.get(figure)?.get(key).copied()
    }
}

impl Fetch<'_> {
    /// The fetch that was begun in the folder, if it is this one.
    fn go_on(&self, begun: Cluster, folder: &Path) -> anyhow::Result<Cluster> {
        let same = begun.source == self.endpoint.url
            && begun.end - begun.begin == self.args.since
            && begun.step == self.args.step
            && begun.namespaces == self.args.namespaces;
        ensure!(
            same,
            "{} holds what another call has fetched: choose another folder for --save",
            folder.display()
        );
        Ok(begun)
    }

    /// Which containers are to be fetched.
    async fn plan(&self, now: i64) -> anyhow::Result<Cluster> {
        let (begin, end) = (now - self.args.since, now);
        let namespaces = match self.args.namespaces.as_slice() {
            [] => {
                let selector = queries::memory(&self.selection(None, None));
                let ask = || self.prometheus.values_of("namespace", &selector, (begin, end));
                again(ask).await.context("which namespaces there are")?
            }
            named => named.to_vec(),
        };
        ensure!(!namespaces.is_empty(), "it knows no containers of the last days");
        let bar = bar(namespaces.len(), "namespaces");
        let mut series = Vec::new();
        for namespace in namespaces {
            bar.set_message(namespace.clone());
            series.extend(self.plan_namespace(&namespace, end).await?);
            bar.inc(1);
        }
        bar.finish_and_clear();
        ensure!(!series.is_empty(), "it knows no container that lived for two hours");
        Ok(Cluster {
            source: self.endpoint.url.clone(),
            begin,
            end,
            step: self.args.step,
            namespaces: self.args.namespaces.clone(),
            series,
        })
    }

    async fn plan_namespace(
        &self,
        namespace: &str,
        end: i64,
    ) -> anyhow::Result<Vec<ClusterSeries>> {
        let selection = self.selection(Some(pods::escaped(namespace)), None);
        let query = queries::facts(&selection, self.args.since);
        let answer = again(|| self.prometheus.instant(&query, end)).await;
        let facts = Facts::of(answer.with_context(|| format!("the pods of {namespace}"))?);
        let since = self.args.since as f64;
        let mut workloads: BTreeMap<Key, Vec<(Key, f64)>> = BTreeMap::new();
        for (key, life) in facts.0.get("life").into_iter().flatten() {
            let workload = pods::owner_of(&key.0).to_owned();
            workloads.entry((workload, key.1.clone())).or_default().push((key.clone(), *life));
        }
        let mut series = Vec::new();
        for ((workload, container), mut lives) in workloads {
            lives.sort_by(|(_, a), (_, b)| b.total_cmp(a));
            let all: f64 = lives.iter().map(|(_, life)| life).sum();
            lives.truncate(self.args.pods.into());
            lives.retain(|(_, life)| *life >= LEAST_LIFE);
            let chosen: f64 = lives.iter().map(|(_, life)| life).sum();
            series.extend(lives.into_iter().map(|(key, life)| ClusterSeries {
                namespace: namespace.to_owned(),
                workload: workload.clone(),
                container: container.clone(),
                // Each stands for its share of the time that all pods lived.
                stands_for: all / since * life / chosen,
                limits: PerResource::new(
                    facts.get("cpu_limit", &key),
                    facts.get("memory_limit", &key).map(|bytes| bytes / MIB),
                ),
                requests: PerResource::new(
                    facts.get("cpu_request", &key),
                    facts.get("memory_request", &key).map(|bytes| bytes / MIB),
                ),
                kills: facts.get("kills", &key),
                throttled: facts.get("throttled", &key),
                pod: key.0,
            }));
        }
        Ok(series)
    }

    /// Fetches what is not there yet, pod by pod.
    async fn bring(&self, cluster: &Cluster, folder: &Path) -> anyhow::Result<()> {
        let mut missing: BTreeMap<(&str, &str), Vec<&ClusterSeries>> = BTreeMap::new();
        for series in &cluster.series {
            if !file(folder, series).exists() {
                missing.entry((&series.namespace, &series.pod)).or_default().push(series);
            }
        }
        let bar = bar(missing.len(), "pods");
        let fetched = missing.into_iter().map(|((namespace, pod), series)| {
            let bar = bar.clone();
            async move {
                bar.set_message(format!("{namespace}/{pod}"));
                let samples = self.samples(cluster, namespace, pod).await;
                let samples = samples.with_context(|| format!("the samples of {namespace}/{pod}"));
                let samples = samples?;
                for of in series {
                    if let Some(text) = samples.get(&of.container).and_then(csv) {
                        write(&file(folder, of), &text)?;
                    }
                }
                bar.inc(1);
                anyhow::Ok(())
            }
        });
        let mut fetched = futures::stream::iter(fetched).buffer_unordered(AT_ONCE);
        while let Some(result) = fetched.next().await {
            result.context("the same call goes on where it has ended, with --save DIR")?;
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Cores and MiB of the containers of a pod, at each time at which both are known.
    async fn samples(
        &self,
        cluster: &Cluster,
        namespace: &str,
        pod: &str,
    ) -> Result<BTreeMap<String, Samples>, PrometheusError> {
        let selection = self.selection(Some(pods::escaped(namespace)), Some(pods::escaped(pod)));
        let query = queries::usage(&selection);
        let mut cpu: BTreeMap<String, Samples> = BTreeMap::new();
        let mut both: BTreeMap<String, Samples> = BTreeMap::new();
        let length = MOST_SAMPLES * cluster.step;
        let mut begin = cluster.begin;
        while begin <= cluster.end {
            let end = (begin + length).min(cluster.end);
            let answer =
                again(|| self.prometheus.range(&query, (begin, end), cluster.step)).await?;
            let (of_cpu, of_memory): (Vec<_>, Vec<_>) =
                answer.into_iter().partition(|series| series.label(FIGURE) == "cpu");
            for series in of_cpu {
                let samples = cpu.entry(series.label("container").to_owned()).or_default();
                samples.extend(series.values.into_iter().map(|(at, cores)| (at, (cores, 0.0))));
            }
            for series in of_memory {
                let name = series.label("container");
                let Some(cpu) = cpu.get(name) else { continue };
                let both = both.entry(name.to_owned()).or_default();
                both.extend(series.values.into_iter().filter_map(|(at, bytes)| {
                    let (cores, _) = cpu.get(&at)?;
                    Some((at, (*cores, bytes / MIB)))
                }));
            }
            begin = end + cluster.step;
        }
        Ok(both)
    }

    fn selection(&self, namespaces: Option<String>, pods: Option<String>) -> Selection<'_> {
        Selection { namespaces, pods, labels: Some(&self.endpoint.labels) }
    }
}

type Samples = BTreeMap<i64, (f64, f64)>;

/// None: too few for a series.
fn csv(samples: &Samples) -> Option<String> {
    let mut text = String::from("timestamp_s,cpu_cores,memory_mib\n");
    for (at, (cpu, memory)) in samples {
        let _ = writeln!(text, "{at},{cpu:.5},{memory:.2}");
    }
    (samples.len() >= 2).then_some(text)
}

fn file(folder: &Path, series: &ClusterSeries) -> PathBuf {
    folder.join(format!("{}.csv", series.name()))
}

/// Whole or not at all.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let part = PathBuf::from(format!("{}.part", path.display()));
    let written = std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, path));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Asks again what was not answered, after pauses that double.
async fn again<T, F: Future<Output = Result<T, PrometheusError>>>(
    ask: impl Fn() -> F,
) -> Result<T, PrometheusError> {
    let mut pause = Duration::from_secs(1);
    for _ in 1..TRIES {
        match ask().await {
            Err(PrometheusError::Unavailable(_)) => tokio::time::sleep(pause).await,
            answer => return answer,
        }
        pause *= 2;
    }
    ask().await
}

fn bar(count: usize, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(count as u64);
    let template = format!("{{bar:40}} {{pos}} of {{len}} {what}, {{eta}} left {{wide_msg}}");
    bar.set_style(
        ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_of_days_hours_or_minutes() {
        assert_eq!((span("7d"), span("12h"), span("90m")), (Ok(604_800), Ok(43_200), Ok(5400)));
        for text in ["", "7", "d", "0d", "59m", "91d", "-7d", "7w", "1.5d", "99999999999999999d"] {
            assert!(span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn one_sample_is_no_series() {
        assert_eq!(csv(&Samples::from([(60, (0.5, 100.0))])), None);
        let two = Samples::from([(60, (0.5, 100.0)), (120, (0.25, 101.0))]);
        let expected = "timestamp_s,cpu_cores,memory_mib\n60,0.50000,100.00\n120,0.25000,101.00\n";
        assert_eq!(csv(&two).as_deref(), Some(expected));
    }
}
