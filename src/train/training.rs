//! `dqn-scaler train`: rounds of running through episodes under the present network and learning
//! from them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::demand::{self, PodSeries};
use super::episodes::{COOLDOWNS, Episodes};
use super::evaluate;
use super::foresight;
use super::policies::{self, Kind, Setting};
use super::replay::Replay;
use super::rollout::{self, Conditions};
use super::score::Score;
use super::split::LeftOut;
use super::timing::Timing;
use crate::core::features::FeatureSet;
use crate::core::policy::Policy;
use crate::model::architecture::usage_in;
use crate::model::learner::{Learner, Pace};
use crate::model::network::{CHANGE, PREDICTION, TYPICAL};
use crate::model::{Checkpoint, NamedTensor, Network, room_learner, use_one_thread};

/// The share of the way that the target network goes to the online one in each gradient step.
const TARGET_RATE: f64 = 0.005;
/// The learning rate falls to this share of the first one.
const LAST_LEARNING_RATE: f64 = 0.02;
/// What is left of the imitation from half-way on, as a share of the first one: it decides where
/// values hardly differ.
const LAST_IMITATION: f64 = 0.1;
/// How much of the bias of prioritised replay is corrected at the beginning; at the end all of it.
const FIRST_CORRECTION: f64 = 0.4;
/// So that Q values are of the order of one.
const REWARD_SCALE: f64 = 0.1;
/// States of one forward pass when all entries are looked at.
const EVALUATION_BATCH: usize = 8192;

/// Train a model on recorded and generated demand
#[derive(Debug, Clone, Args)]
pub struct TrainArgs {
    /// Folder of series, CSV with the columns timestamp_s, cpu_cores, memory_mib, of which a third
    /// is left out; without it demand is generated
    #[arg(long, value_name = "DIR")]
    pub traces: Option<PathBuf>,
    /// Where the best model goes; beside it, as .training.pth, what --resume goes on from
    #[arg(long, value_name = "FILE", default_value = "models/final-models/dqn_model_room.pth")]
    pub out: PathBuf,
    /// Go on from where an interrupted training of the same arguments stopped
    #[arg(long)]
    pub resume: bool,
    /// Where the course of the training goes, as CSV
    #[arg(long, value_name = "FILE")]
    pub curves: Option<PathBuf>,
    /// The same seed gives the same model
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Rounds of running and learning
    #[arg(long, default_value_t = 60)]
    pub rounds: u64,
    #[command(flatten)]
    pub left_out: LeftOut,
    #[command(flatten)]
    pub hyperparameters: Hyperparameters,
}

/// What a round is made of.
#[derive(Debug, Clone, Args, Serialize, Deserialize, PartialEq)]
#[command(next_help_heading = "Hyperparameters")]
pub struct Hyperparameters {
    /// What Q values go by, by name; `extended` is everything there is
    #[arg(long, value_delimiter = ',', value_name = "NAME,…",
        default_values_t = FeatureSet::documented().names())]
    pub features: Vec<String>,
    /// Learn how much room a container needs, by everything there is to see
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub room: bool,
    /// Episodes of one round
    #[arg(long, default_value_t = 128)]
    pub episodes: usize,
    /// Days of an episode
    #[arg(long, default_value_t = 1.0)]
    pub days: f64,
    /// Batches learnt from in one round
    #[arg(long, default_value_t = 400)]
    pub gradient_steps: usize,
    /// Transitions of one batch
    #[arg(long, default_value_t = 512)]
    pub batch: usize,
    /// Moments that rewards are summed over before the target network takes over
    #[arg(long, default_value_t = 20)]
    pub steps: usize,
    /// What a reward counts one step later
    #[arg(long, default_value_t = 0.995)]
    pub discount: f64,
    /// Differences between the values of actions are widened 1 / (1 - this) times (advantage
    /// learning)
    #[arg(long, default_value_t = 0.9)]
    pub action_gap: f64,
    /// The share of decisions that the boldest pod makes at random
    #[arg(long, default_value_t = 0.1)]
    pub exploration: f64,
    /// The share of pods that a rule steers at the beginning; it falls to none
    #[arg(long, default_value_t = 0.5)]
    pub demonstrations: f64,
    /// What imitating that rule weighs at the beginning; half-way it has fallen to a tenth
    #[arg(long, default_value_t = 10.0)]
    pub imitation: f64,
    /// The learning rate at the beginning
    #[arg(long, default_value_t = 1e-3)]
    pub learning_rate: f64,
    /// Rounds from one evaluation on the training series to the next
    #[arg(long, default_value_t = 6)]
    pub evaluate_every: u64,
}

/// What of a training is neither weights nor arguments.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Progress {
    round: u64,
    best_cost: Option<f64>,
}

/// A line of the curves.
#[derive(Debug, Serialize)]
struct Point {
    round: u64,
    learning_rate: f64,
    loss: f64,
    loss_prediction: f64,
    cost: f64,
    unserved: f64,
    ooms: f64,
    resizes: f64,
}

struct Training<'a> {
    args: &'a TrainArgs,
    /// A state. What the trunk sees stands first.
    features: FeatureSet,
    episodes: Episodes,
    /// What the model is chosen by: the training series whole, as they are.
    judged_on: Vec<PodSeries>,
    learner: Learner,
    /// The heads that tell how much room a container needs, if it has such.
    room: Vec<NamedTensor>,
    /// What each feature typically was, if it has such.
    typical: Vec<f32>,
    progress: Progress,
}

pub fn run(args: &TrainArgs) -> anyhow::Result<()> {
    // One thread learns as fast as two on so small a network, and sums always in the same order.
    use_one_thread();
    let mut training = Training::begin(args)?;
    let mut curves = match &args.curves {
        Some(path) => Some(open_curves(path, args.resume)?),
        None => None,
    };
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} rounds, {eta} left, {msg}")?;
    let bar = ProgressBar::new(args.rounds).with_style(style);
    bar.set_position(training.progress.round);
    while training.progress.round < args.rounds {
        let point = training.round()?;
        bar.inc(1);
        if let Some(point) = point {
            bar.set_message(format!(
                "COST {:.3}, best {:.3}",
                point.cost,
                training.progress.best_cost.unwrap_or(point.cost)
            ));
            if let Some(curves) = &mut curves {
                curves.serialize(point)?;
                curves.flush()?;
            }
        }
    }
    bar.finish();
    let best = training.progress.best_cost.context("no round was evaluated")?;
    println!("{}: COST {best:.3} on what it was trained on", args.out.display());
    Ok(())
}

impl<'a> Training<'a> {
    fn begin(args: &'a TrainArgs) -> anyhow::Result<Self> {
        let seen_by_trunk = match args.hyperparameters.features.as_slice() {
            [all] if all == "extended" => FeatureSet::extended(),
            names => FeatureSet::from_names(names)?,
        };
        let features = match args.hyperparameters.room {
            true => seen_by_trunk.and_all(),
            false => seen_by_trunk.clone(),
        };
        // Each with whether its samples are held.
        let mut series = Vec::new();
        if let Some(folder) = &args.traces {
            for hold in [false, true] {
                let all = demand::recorded(folder, hold)?;
                let unknown = |name: &&String| all.iter().all(|series| series.source() != **name);
                if let Some(name) = args.left_out.without_source.iter().find(unknown) {
                    bail!("no series of the source {name:?} in {}", folder.display());
                }
                let all = all.into_iter().filter(|series| !args.left_out.holds(series));
                series.extend(all.map(|series| (Arc::new(series), hold)));
            }
            if series.is_empty() {
                bail!("no series to train on in {}", folder.display());
            }
        }
        let recorded: Vec<_> = series.iter().map(|(series, _)| series.clone()).collect();
        if series.is_empty() {
            let generated = evaluate::generated(u64::MAX >> 8).into_iter();
            series.extend(generated.map(|series| (Arc::new(series), true)));
        }
        let mut judged_on: Vec<_> = series.iter().map(|(series, _)| series.clone()).collect();
        judged_on.sort_by_key(|series| std::cmp::Reverse(series.demand.len()));
        let judged_on = PodSeries::combined(&judged_on, 1);
        let mut training = Self {
            learner: Learner::new(
                seen_by_trunk.len(),
                usage_in(&seen_by_trunk.names()).ok(),
                args.seed,
                args.hyperparameters.action_gap,
            )?,
            episodes: Episodes::new(recorded, args.hyperparameters.days),
            features,
            judged_on,
            room: Vec::new(),
            typical: Vec::new(),
            progress: Progress { round: 0, best_cost: None },
            args,
        };
        if args.resume {
            training.resume()?;
        } else if args.hyperparameters.room {
            let lives =
                series.iter().map(|(series, hold)| (series.clone(), foresight::timings(*hold)));
            let lives: Vec<_> = lives.collect();
            let rows = foresight::collect(&lives, &training.features, &Policy::default());
            training.room = room_learner::learn(&rows, args.seed)?;
            training.typical = rows.typical();
        }
        Ok(training)
    }

    /// Lives, learns and now and then evaluates.
    fn round(&mut self) -> anyhow::Result<Option<Point>> {
        let TrainArgs { hyperparameters, seed, rounds, .. } = self.args;
        let round = self.progress.round;
        let done = round as f64 / *rounds as f64;
        let learning_rate = hyperparameters.learning_rate * LAST_LEARNING_RATE.powf(done);
        let conditions = Conditions {
            features: &self.features,
            discount: hyperparameters.discount,
            exploration: hyperparameters.exploration,
            demonstrations: hyperparameters.demonstrations * (1.0 - done),
            reward_scale: REWARD_SCALE,
        };
        let episodes = self.episodes.draw(*seed, round, hyperparameters.episodes);
        let trajectories = rollout::live(&episodes, &self.network()?, conditions)?;
        let mut replay = Replay::new(trajectories, self.features.len(), hyperparameters.steps);
        if replay.is_empty() {
            bail!("the episodes are too short to learn from");
        }
        let mut errors = Vec::with_capacity(replay.len());
        for batch in replay.batches(EVALUATION_BATCH) {
            errors.extend(self.learner.errors(&batch)?);
        }
        replay.prioritise(&errors);

        let mut rng = StdRng::seed_from_u64(seed ^ round << 32);
        let correction = FIRST_CORRECTION + (1.0 - FIRST_CORRECTION) * done;
        let imitation = hyperparameters.imitation * (1.0 - 2.0 * done).max(LAST_IMITATION);
        let pace = Pace { learning_rate, imitation, target_rate: TARGET_RATE };
        let (mut loss, mut loss_prediction) = (0.0, 0.0);
        for _ in 0..hyperparameters.gradient_steps {
            let (indices, batch) = replay.draw(hyperparameters.batch, correction, &mut rng);
            let statistics = self.learner.learn(&batch, pace)?;
            replay.update(&indices, &statistics.errors);
            loss += statistics.loss / hyperparameters.gradient_steps as f64;
            loss_prediction += statistics.prediction_loss / hyperparameters.gradient_steps as f64;
        }
        self.progress.round += 1;
        if !self.progress.round.is_multiple_of(hyperparameters.evaluate_every.max(1))
            && self.progress.round != *rounds
        {
            return Ok(None);
        }
        let Score { cost, unserved, ooms, resizes, .. } = self.judge()?;
        if self.progress.best_cost.is_none_or(|best| cost < best) {
            self.progress.best_cost = Some(cost);
            self.checkpoint()?.write(&self.args.out)?;
        }
        let mut saved = self.learner.save(self.metadata()?)?;
        saved.tensors.extend(self.room.iter().cloned());
        saved.write(&saved_beside(&self.args.out))?;
        Ok(Some(Point {
            round: self.progress.round,
            learning_rate,
            loss,
            loss_prediction,
            cost,
            unserved,
            ooms,
            resizes,
        }))
    }

    fn network(&self) -> anyhow::Result<Network> {
        Ok(Network::from_checkpoint(&self.checkpoint()?)?)
    }

    fn checkpoint(&self) -> anyhow::Result<Checkpoint> {
        let mut checkpoint = self.learner.checkpoint(self.metadata()?)?;
        checkpoint.tensors.extend(self.room.iter().cloned());
        Ok(checkpoint)
    }

    /// The mean over the training series, lived through from beginning to end under each cooldown.
    fn judge(&self) -> anyhow::Result<Score> {
        let (network, series) = (self.network()?, &self.judged_on);
        let under = |cooldown| {
            let policy = Policy { cooldown, ..Policy::default() };
            let setting = Setting {
                network: Some(&network),
                policy: &policy,
                timing: Timing::IDEAL,
                seed: 0,
                keep: false,
            };
            policies::replay(Kind::Dqn, series, setting)
        };
        let [none, default] = COOLDOWNS;
        let (first, second) = std::thread::scope(|scope| {
            let other = scope.spawn(|| under(default));
            (under(none), other.join())
        });
        let mut outcomes = first?;
        outcomes.extend(second.map_err(|_| anyhow::anyhow!("an evaluation stopped"))??);
        Ok(Score::mean(&evaluate::scores(&outcomes)))
    }

    /// What the checkpoint says of itself.
    fn metadata(&self) -> anyhow::Result<Map<String, Value>> {
        let mut metadata = Map::new();
        metadata.insert("features".into(), json!(self.features.names()));
        if usage_in(&self.features.names()).is_ok() {
            metadata.insert(PREDICTION.into(), json!(CHANGE));
        }
        if !self.typical.is_empty() {
            metadata.insert(TYPICAL.into(), json!(self.typical));
        }
        metadata.insert("seed".into(), json!(self.args.seed));
        metadata.insert("progress".into(), serde_json::to_value(&self.progress)?);
        metadata
            .insert("hyperparameters".into(), serde_json::to_value(&self.args.hyperparameters)?);
        metadata.insert("rounds".into(), json!(self.args.rounds));
        metadata.insert("left_out".into(), serde_json::to_value(&self.args.left_out)?);
        metadata.insert("recorded_series".into(), json!(self.args.traces.is_some()));
        metadata
            .insert("trained_by".into(), json!(concat!("dqn-scaler ", env!("CARGO_PKG_VERSION"))));
        Ok(metadata)
    }

    fn resume(&mut self) -> anyhow::Result<()> {
        let path = saved_beside(&self.args.out);
        let saved = Checkpoint::read(&path).context("nothing to go on from")?;
        let ours = self.metadata()?;
        for key in ["seed", "hyperparameters", "rounds", "recorded_series", "left_out"] {
            let theirs = saved.metadata.get(key).unwrap_or(&Value::Null);
            if *theirs != ours[key] {
                bail!("{} was trained with {key} {theirs}, not {}", path.display(), ours[key]);
            }
        }
        self.learner.resume(&saved)?;
        let room = saved.tensors.iter().filter(|tensor| room_learner::is_of(&tensor.name));
        self.room = room.cloned().collect();
        let typical = saved.metadata.get(TYPICAL).cloned();
        self.typical = typical.map(serde_json::from_value).transpose()?.unwrap_or_default();
        let progress = saved.metadata.get("progress").cloned().unwrap_or(Value::Null);
        self.progress =
            serde_json::from_value(progress).context("it does not say how far it came")?;
        Ok(())
    }
}

/// Where a training keeps what it goes on from.
fn saved_beside(out: &Path) -> PathBuf {
    out.with_extension("training.pth")
}

fn open_curves(path: &Path, go_on: bool) -> anyhow::Result<csv::Writer<std::fs::File>> {
    let exists = go_on && path.exists();
    let file = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .append(exists)
        .truncate(!exists)
        .open(path);
    let file = file.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(csv::WriterBuilder::new().has_headers(!exists).from_writer(file))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: TrainArgs,
    }

    /// A training so short that it only shows that everything fits together.
    fn short(out: &Path, more: &[&str]) -> TrainArgs {
        let out = out.to_str().unwrap();
        let hyperparameters = "train --rounds 2 --episodes 4 --days 0.05 --gradient-steps 3 \
            --batch 16 --evaluate-every 1 --room false --out";
        Command::parse_from(hyperparameters.split(' ').chain([out]).chain(more.iter().copied()))
            .args
    }

    #[test]
    fn the_same_seed_gives_the_same_model_and_an_interruption_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let [once, again, other] =
            ["once", "again", "other"].map(|name| folder.path().join(name).join("model.pth"));
        for path in [&once, &again, &other] {
            std::fs::create_dir(path.parent().unwrap()).unwrap();
        }
        run(&short(&once, &[])).unwrap();
        Training::begin(&short(&again, &[])).unwrap().round().unwrap();
        run(&short(&again, &["--resume"])).unwrap();
        run(&short(&other, &["--seed", "2"])).unwrap();
        let bytes = |path: &Path| std::fs::read(path).unwrap();
        assert_eq!(bytes(&saved_beside(&once)), bytes(&saved_beside(&again)));
        assert_eq!(bytes(&once), bytes(&again));
        assert_ne!(bytes(&saved_beside(&once)), bytes(&saved_beside(&other)));
        let network = Network::load(&once).unwrap();
        assert_eq!(network.features(), FeatureSet::documented().names());

        let error = run(&short(&other, &["--resume"])).unwrap_err().to_string();
        assert!(error.contains("was trained with seed 2, not 1"), "{error}");
    }

    #[test]
    fn the_course_is_written_and_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let (out, curves) = (folder.path().join("model.pth"), folder.path().join("curves.csv"));
        let flags = ["--curves", curves.to_str().unwrap()];
        run(&short(&out, &flags)).unwrap();
        let lines = || std::fs::read_to_string(&curves).unwrap().lines().count();
        assert_eq!(lines(), 3);
        run(&short(&out, &[&flags[..], &["--resume"]].concat())).unwrap();
        assert_eq!(lines(), 3, "there was nothing left to do");
    }

    #[test]
    fn features_that_nobody_knows_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = run(&short(&folder.path().join("m.pth"), &["--features", "cpu_usage,gpu"]))
            .unwrap_err();
        assert!(error.to_string().contains("gpu"), "{error}");
    }
}
