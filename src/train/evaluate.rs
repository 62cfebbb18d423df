//! `dqn-scaler evaluate`: policies compared on recorded or generated demand.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Args;
use parking_lot::Mutex;

use super::caution::{self, Cautions};
use super::cluster::Cluster;
use super::demand::{self, DemandSeries, PodSeries};
use super::importance::Importance;
use super::policies::{self, Kind, Outcome, Setting};
use super::report::{self, Report, ReportArgs};
use super::savings::Savings;
use super::split::Judged;
use super::table::{self, Row, Run};
use super::timing::TimingArgs;
use crate::core::policy::{GuardSettings, Policy};
use crate::model::{ModelError, Network, shipped};
use crate::sim::workload;

/// Days of a generated series, and how many of them there are of each kind.
const GENERATED_DAYS: f64 = 2.0;
const GENERATED_EACH: u64 = 6;
/// Pods that one task replays at once: enough for a forward pass to be worth while, few enough to
/// share the work.
const BATCH: usize = 56;

/// Compare the model with simple rules on recorded or generated demand
#[derive(Debug, Clone, Args)]
pub struct EvaluateArgs {
    /// Folder of series, CSV with the columns timestamp_s, cpu_cores, memory_mib; without it demand
    /// is generated
    #[arg(long, value_name = "DIR")]
    pub traces: Option<PathBuf>,
    /// Hold each sample until the next one instead of interpolating: the harder test
    #[arg(long)]
    pub hold: bool,
    /// Policies to compare
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub policies: Vec<String>,
    /// Series to compare on
    #[arg(long, value_delimiter = ',', value_name = "SERIES,…")]
    pub only: Vec<String>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
    /// The model
    #[arg(
        long,
        env = "MODEL_PATH",
        value_name = "FILE",
        default_value = shipped::ROOM
    )]
    pub model: PathBuf,
    /// Tell what the answers of the model depend on, too
    #[arg(long)]
    pub importance: bool,
    /// How many times rarer than by default usage is to get beyond the room that the model gives
    #[arg(long, value_name = "TIMES", default_value_t = 1.0)]
    pub caution: f64,
    /// Compare these values of caution, too: what each costs, and how often pods are killed
    #[arg(long, value_delimiter = ',', value_name = "TIMES,…")]
    pub cautions: Vec<f64>,
    /// Minutes between two changes of a pod under the model and the guard (an urgent increase does
    /// not wait)
    #[arg(long, value_name = "MINUTES", default_value_t = 30)]
    pub cooldown: i64,
    /// Draws generated demand and random policies
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Containers of a pod: so many series together
    #[arg(long, value_name = "COUNT", default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=8))]
    pub containers: u8,
    #[command(flatten)]
    pub judged: Judged,
    #[command(flatten)]
    pub timing: TimingArgs,
    #[command(flatten)]
    pub page: ReportArgs,
}

impl EvaluateArgs {
    /// What the model and the guard decide by.
    fn policy(&self) -> Policy {
        let sample_interval = self.timing.interval.into();
        let guard = GuardSettings { caution: self.caution, ..GuardSettings::default() };
        Policy { cooldown: self.cooldown * 60, sample_interval, guard, ..Policy::default() }
    }
}

pub fn run(args: &EvaluateArgs) -> anyhow::Result<()> {
    let cluster = args.traces.as_deref().map(Cluster::read).transpose()?.flatten();
    let (series, beyond) = match (&cluster, &args.traces) {
        (Some(cluster), Some(folder)) => cluster.demand(folder, args.hold)?,
        _ => (all_series(args)?, Vec::new()),
    };
    if cluster.is_some() && args.containers > 1 {
        bail!(
            "the series of a cluster are replayed container by container: leave --containers out"
        );
    }
    let (series, kinds) = (chosen(args, series)?, kinds_of(args, cluster.is_some())?);
    let network = match kinds.contains(&Kind::Dqn) {
        true => Some(shipped::find(&args.model).context("cannot load the model")?.network),
        false => None,
    };
    let pods = PodSeries::combined(&series, args.containers.into());
    let run = compare(args, &pods, &kinds, network.as_ref())?;
    let cautions = match (&network, args.cautions.is_empty()) {
        (Some(network), false) => Some(over_cautions(args, &pods, network)?),
        _ => None,
    };
    let savings = cluster.as_ref().and_then(|cluster| Savings::of(cluster, &run, beyond));
    let importance = match (&network, args.importance) {
        (Some(network), true) => {
            let timing = args.timing.timing(args.hold);
            Some(Importance::of(network, &series, timing, &args.policy(), args.seed)?)
        }
        _ => None,
    };
    if args.json {
        let mut all = run.to_json();
        all["cautions"] = serde_json::to_value(&cautions)?;
        all["importance"] = serde_json::to_value(&importance)?;
        all["savings"] = savings.as_ref().map(Savings::to_json).unwrap_or_default();
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        print!("{}", table::render(&run));
        let render = |cautions: &Cautions| cautions.render(&run.conditions());
        print!("{}", cautions.as_ref().map(render).unwrap_or_default());
        print!("{}", importance.as_ref().map(Importance::render).unwrap_or_default());
        print!("{}", savings.as_ref().map(Savings::render).unwrap_or_default());
    }
    if let Some(path) = &args.page.report {
        let report = Report {
            run: &run,
            savings: savings.as_ref(),
            network: network.as_ref(),
            importance: importance.as_ref(),
            cautions: cautions.as_ref(),
            model: &args.model,
            traces: args.traces.as_deref(),
            curves: args.page.curves.as_deref(),
            policy: &args.policy(),
            timing: args.timing.timing(args.hold),
            seed: args.seed,
            named: !args.only.is_empty(),
            written_at: report::now(),
        };
        report.write(path)?;
    }
    Ok(())
}

fn all_series(args: &EvaluateArgs) -> anyhow::Result<Vec<DemandSeries>> {
    Ok(match &args.traces {
        Some(folder) => demand::recorded(folder, args.hold)?,
        None => generated(args.seed),
    })
}

/// Those that the arguments ask for.
fn chosen(
    args: &EvaluateArgs,
    mut all: Vec<DemandSeries>,
) -> anyhow::Result<Vec<Arc<DemandSeries>>> {
    all.retain(|series| args.judged.holds(series));
    if !args.only.is_empty() {
        let unknown: Vec<_> = args
            .only
            .iter()
            .filter(|name| all.iter().all(|series| series.name != **name))
            .collect();
        if !unknown.is_empty() {
            bail!("no series {unknown:?}; there are {}", names(&all));
        }
        all.retain(|series| args.only.contains(&series.name));
    }
    if all.is_empty() {
        bail!("no series to compare on");
    }
    // The long ones first: the pods of a batch then end together.
    all.sort_by_key(|series| std::cmp::Reverse(series.demand.len()));
    Ok(all.into_iter().map(Arc::new).collect())
}

fn names(series: &[DemandSeries]) -> String {
    let names: Vec<&str> = series.iter().map(|series| series.name.as_str()).collect();
    names.join(", ")
}

/// Even seeds: training draws odd ones.
pub fn generated(seed: u64) -> Vec<DemandSeries> {
    let of = |kind| move |number| (kind, (seed * GENERATED_EACH + number) * 2);
    let drawn = workload::Kind::ALL.into_iter().flat_map(|kind| (0..GENERATED_EACH).map(of(kind)));
    drawn.map(|(kind, seed)| demand::generated(kind, seed, GENERATED_DAYS)).collect()
}

fn kinds_of(args: &EvaluateArgs, of_cluster: bool) -> anyhow::Result<Vec<Kind>> {
    if args.policies.is_empty() {
        // Who asks for a cluster's own series wants to know of this service, and of a usual one.
        let few = vec![Kind::PeakTuned, Kind::Vpa, Kind::Dqn];
        return Ok(if of_cluster { few } else { Kind::ALL.to_vec() });
    }
    let known = || Kind::ALL.map(Kind::name).join(", ");
    let parse = |name: &String| {
        Kind::parse(name).with_context(|| format!("no policy {name:?}; there are {}", known()))
    };
    args.policies.iter().map(parse).collect()
}

/// Replays all pods under the model at each of the values of caution.
fn over_cautions(
    args: &EvaluateArgs,
    pods: &[PodSeries],
    network: &Network,
) -> anyhow::Result<Cautions> {
    let point = |caution: &f64| {
        let args = EvaluateArgs { caution: *caution, ..args.clone() };
        let run = compare(&args, pods, &[Kind::Dqn], Some(network))?;
        let scores = run.rows.first().map(Row::scores).unwrap_or_default();
        Ok(caution::Point::of(*caution, &scores))
    };
    let points = args.cautions.iter().map(point).collect::<anyhow::Result<_>>()?;
    Ok(Cautions { points })
}

/// Replays all pods under all policies, with as many threads as there are processors.
pub fn compare(
    args: &EvaluateArgs,
    pods: &[PodSeries],
    kinds: &[Kind],
    network: Option<&Network>,
) -> anyhow::Result<Run> {
    let started = Instant::now();
    let policy = args.policy();
    let setting = Setting {
        network,
        policy: &policy,
        timing: args.timing.timing(args.hold),
        seed: args.seed,
        keep: false,
    };
    let batches: Vec<&[PodSeries]> = pods.chunks(BATCH).collect();
    // The network's rows take longest, so they come first.
    let tasks: Vec<(usize, usize)> = (0..kinds.len())
        .rev()
        .flat_map(|kind| (0..batches.len()).map(move |batch| (kind, batch)))
        .collect();
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(tasks.len())));
    let work = || -> Result<(), ModelError> {
        while let Some(&(kind, batch)) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcomes = policies::replay(kinds[kind], batches[batch], setting)?;
            done.lock().push((kind, batch, outcomes));
        }
        Ok(())
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(tasks.len());
    let results: Vec<Result<(), ModelError>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let failed = || Err(ModelError::Input("a worker of the evaluator stopped".into()));
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| failed())).collect()
    });
    results.into_iter().collect::<Result<Vec<()>, _>>()?;
    let mut done = done.into_inner();
    done.sort_by_key(|(kind, batch, _)| (*kind, *batch));
    let mut rows: Vec<Row> =
        kinds.iter().map(|kind| Row { policy: *kind, outcomes: Vec::new() }).collect();
    for (kind, _, outcomes) in done {
        rows[kind].outcomes.extend(outcomes);
    }
    let sources: BTreeSet<String> = pods.iter().map(|pod| pod.source().to_owned()).collect();
    Ok(Run {
        series: pods.to_vec(),
        sources: sources.into_iter().collect(),
        rows,
        generated: args.traces.is_none(),
        hold: args.hold,
        part: args.judged.words(),
        cooldown: args.cooldown,
        timing: args.timing.caption(),
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// The scores of one row, in the order of the series.
pub fn scores(outcomes: &[Outcome]) -> Vec<super::score::Score> {
    outcomes.iter().map(|outcome| outcome.score).collect()
}
