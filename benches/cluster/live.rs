//! The service changes the cluster while that changes, too: Deployments are rolled out, watches end
//! or break, and some kubelets are slow or say nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use dqn_scaler::sim::faults::{Effect, Rule};
use dqn_scaler::sim::store::Key;
use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use serde::Serialize;
use serde_json::json;
use tokio::time::{interval, sleep};

use crate::ApiServer;
use crate::contents;
use crate::lacking::Lacking;
use crate::load::{Latency, ask};
use crate::scrape::Scrape;
use crate::service::{self, Cycle, Service};

/// The default of the service.
const INTERVAL: u64 = 30;
const LOOK: Duration = Duration::from_secs(5);
/// Of the pods, so many are replaced in so much time.
const ROLLED: f64 = 0.1;
const ROLLED_IN: Duration = Duration::from_secs(600);
/// Of the watches of pods, so many are told that their version is too old, and so many broken off,
/// so long after they began.
const SPOILT: usize = 10;
const TOO_OLD_AFTER: u64 = 60_000;
const BROKEN_AFTER: u64 = 60_000;

#[derive(Debug, Serialize)]
pub struct Live {
    pub pods: usize,
    /// The first half, which begins after an hour in which nobody scaled, and the second.
    pub halves: Vec<Half>,
    /// A second, by verb.
    pub requests: BTreeMap<String, f64>,
    /// A second, by the code of the answer.
    pub errors: BTreeMap<String, f64>,
    pub watch_ends: BTreeMap<String, f64>,
    pub rolled_pods: usize,
    pub cycles: usize,
    /// Seconds from the begin of a cycle to that of the next.
    pub cycle_starts: Vec<f64>,
    /// Means of a cycle: seconds, and seconds of CPU.
    pub cycle: (f64, f64),
    pub cpu_share: f64,
    pub peak_rss: f64,
    pub health: Latency,
    pub metrics: Latency,
    pub course: Vec<Moment>,
    /// Of the last minute and of the last 15, when it ended.
    pub load_average: String,
}

#[derive(Debug, Serialize)]
pub struct Half {
    pub seconds: f64,
    /// A second: pods whose change was sent, and resizes that kubelets have carried out.
    pub sent: f64,
    pub done: f64,
    pub failed: f64,
    /// Changes a second that were not wanted any longer at their turn.
    pub not_wanted: f64,
    /// How long changes waited until they were sent, by what they are for.
    pub waits: BTreeMap<String, Waits>,
    /// How old the decisions were by which they were sent, when that was answered.
    pub decision_age: Waits,
    pub lacking: Lacking,
}

/// Changes and their times, in seconds: bounds that were not exceeded.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Waits {
    pub sent: f64,
    pub p50: f64,
    pub p99: f64,
    pub most: f64,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub struct Moment {
    pub at: f64,
    pub waiting: f64,
    /// A second since the moment before.
    pub sent: f64,
    pub done: f64,
    pub allowed: f64,
    pub rss: f64,
    pub cpu: f64,
}

pub async fn measure(cluster: &ApiServer, pods: usize, length: Duration) -> anyhow::Result<Live> {
    let client = Client::builder().no_proxy().build()?;
    let namespaces = contents::namespaces(pods);
    spoil_watches(cluster, &client, namespaces.len()).await?;
    let mut service = Service::start(&cluster.kubeconfig, &namespaces, true, INTERVAL)?;
    service.first_cycle(pods).await?;
    let (began, cpu_before) = (Instant::now(), service.cpu()?);
    let before = scrape(&client, &service).await?;
    let (end, ended) = tokio::sync::watch::channel(false);
    let health = ask(service.url("/health"), Duration::from_millis(5), ended.clone());
    let metrics = ask(service.url("/metrics"), Duration::from_millis(200), ended);
    let (health, metrics) = (tokio::spawn(health), tokio::spawn(metrics));
    let rolling = tokio::spawn(roll_out(client.clone(), cluster.url(""), pods, length));
    let (mut halves, mut course) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let (half, moments) = measure_half(cluster, &client, &service, began, length / 2).await?;
        halves.push(half);
        course.extend(moments);
    }
    end.send_replace(true);
    let after = scrape(&client, &service).await?;
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), service.cpu()? - cpu_before);
    let rates = |metric: &str, label: &str| {
        let before = before.by(metric, label);
        let rate = |(name, value): (String, f64)| {
            let grown = value - before.get(&name).copied().unwrap_or_default();
            (name, grown / seconds)
        };
        after.by(metric, label).into_iter().map(rate).collect::<BTreeMap<_, _>>()
    };
    let cycles = service.cycles_so_far();
    Ok(Live {
        pods,
        halves,
        requests: rates("kubernetes_requests_total", "verb"),
        errors: rates("kubernetes_errors_total", "code"),
        watch_ends: after.by("watch_ends_total", "reason"),
        rolled_pods: rolling.await??,
        cycles: cycles.len(),
        cycle_starts: starts(&cycles).windows(2).map(|pair| pair[1] - pair[0]).collect(),
        cycle: service::total(&service::mean(&cycles)),
        cpu_share: cpu / seconds,
        peak_rss: service.memory("VmHWM")?,
        health: Latency::of(health.await??),
        metrics: Latency::of(metrics.await??),
        course,
        load_average: std::fs::read_to_string("/proc/loadavg")?,
    })
}

async fn measure_half(
    cluster: &ApiServer,
    client: &Client,
    service: &Service,
    start: Instant,
    length: Duration,
) -> anyhow::Result<(Half, Vec<Moment>)> {
    client.delete(cluster.url("/lacking")).send().await?.error_for_status()?;
    let (began, before) = (Instant::now(), scrape(client, service).await?);
    let course = follow(client, service, start, length).await?;
    let (seconds, after) = (began.elapsed().as_secs_f64(), scrape(client, service).await?);
    let rate = |metric: &str| (after.sum(metric) - before.sum(metric)) / seconds;
    let half = Half {
        seconds,
        sent: rate("dispatch_delay_seconds_count"),
        done: rate("resizes_total"),
        failed: rate("resize_failures_total"),
        not_wanted: rate("changes_not_wanted_total"),
        waits: waits(&before, &after),
        decision_age: quantiles(&before, &after, "decision_age_seconds_bucket", None),
        lacking: client.get(cluster.url("/lacking")).send().await?.json().await?,
    };
    Ok((half, course))
}

/// Of the first watches some are told that they are too old, and some of the later ones broken off.
async fn spoil_watches(
    cluster: &ApiServer,
    client: &Client,
    namespaces: usize,
) -> anyhow::Result<()> {
    let times = namespaces.div_ceil(SPOILT) as u32;
    let rules = [
        Effect::Gone { milliseconds: TOO_OLD_AFTER },
        Effect::Cut { milliseconds: Some(BROKEN_AFTER) },
    ]
    .map(|effect| Rule::new(effect).on("watch", "pods").times(times));
    client.put(cluster.url("/sim/faults")).json(&rules).send().await?.error_for_status()?;
    Ok(())
}

/// Replaces the pods of Deployments one after the other; says of how many.
async fn roll_out(
    client: Client,
    api: String,
    pods: usize,
    length: Duration,
) -> anyhow::Result<usize> {
    let every = (1.0 / ROLLED).round() as usize;
    let workloads: Vec<(Key, usize)> = contents::workloads(pods).step_by(every).collect();
    let mut turns = interval(ROLLED_IN.div_f64(workloads.len() as f64));
    let (began, mut rolled) = (Instant::now(), 0);
    for (Key { namespace, name }, replicas) in workloads {
        turns.tick().await;
        if began.elapsed() >= length {
            break;
        }
        let annotations = json!({ "kubectl.kubernetes.io/restartedAt": rolled.to_string() });
        let patch =
            json!({ "spec": { "template": { "metadata": { "annotations": annotations } } } });
        let url = format!("{api}/apis/apps/v1/namespaces/{namespace}/deployments/{name}");
        let request = client.patch(url).header(CONTENT_TYPE, "application/merge-patch+json");
        request.body(patch.to_string()).send().await?.error_for_status().context("a rollout")?;
        rolled += replicas;
    }
    Ok(rolled)
}

async fn follow(
    client: &Client,
    service: &Service,
    start: Instant,
    length: Duration,
) -> anyhow::Result<Vec<Moment>> {
    let (began, mut course) = (Instant::now(), Vec::new());
    let mut last: Option<(f64, Scrape, f64)> = None;
    while began.elapsed() < length {
        let (at, now, cpu) =
            (start.elapsed().as_secs_f64(), scrape(client, service).await?, service.cpu()?);
        if let Some((then, before, cpu_before)) = &last {
            let grown = |metric: &str| (now.sum(metric) - before.sum(metric)) / (at - then);
            course.push(Moment {
                at,
                waiting: now.sum("changes_waiting"),
                sent: grown("dispatch_delay_seconds_count"),
                done: grown("resizes_total"),
                allowed: now.sum("writes_allowed_per_second"),
                rss: service.memory("VmRSS")?,
                cpu: (cpu - cpu_before) / (at - then),
            });
        }
        last = Some((at, now, cpu));
        sleep(LOOK).await;
    }
    Ok(course)
}

async fn scrape(client: &Client, service: &Service) -> anyhow::Result<Scrape> {
    let text = client.get(service.url("/metrics")).send().await?.text().await?;
    Ok(Scrape::read(&text))
}

fn starts(cycles: &[Cycle]) -> Vec<f64> {
    let start = |cycle: &Cycle| cycle.ended.as_secs_f64() - service::total(&cycle.phases).0;
    cycles.iter().map(start).collect()
}

fn waits(before: &Scrape, after: &Scrape) -> BTreeMap<String, Waits> {
    let (metric, label) = ("dispatch_delay_seconds_bucket", "urgency");
    let of = |urgency: String| {
        let waits = quantiles(before, after, metric, Some((label, &urgency)));
        (urgency, waits)
    };
    let all = after.by(metric, label).into_keys().map(of);
    all.filter(|(_, waits)| waits.sent > 0.0).collect()
}

/// What a histogram has taken in meanwhile.
fn quantiles(before: &Scrape, after: &Scrape, metric: &str, of: Option<(&str, &str)>) -> Waits {
    let earlier = before.buckets(metric, of);
    let earlier = earlier.into_iter().map(|(_, count)| count).chain(std::iter::repeat(0.0));
    let buckets = after.buckets(metric, of);
    let grown: Vec<(f64, f64)> = buckets
        .into_iter()
        .zip(earlier)
        .map(|((bound, count), before)| (bound, count - before))
        .collect();
    let sent = grown.last().map_or(0.0, |(_, count)| *count);
    let within = |share: f64| {
        let reached = grown.iter().find(|(_, count)| *count >= share * sent);
        reached.map_or(f64::INFINITY, |(bound, _)| *bound)
    };
    Waits { sent, p50: within(0.5), p99: within(0.99), most: within(1.0) }
}
