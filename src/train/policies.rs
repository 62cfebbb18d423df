//! The policies that can be compared by name, and the replay of series under them.

use std::sync::Arc;

use ndarray::ArrayView2;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::baselines::{Oracle, Peak, Rule, Seen, Threshold, TwiceTheMean};
use super::demand::DemandSeries;
use super::demonstrator;
use super::environment::Pod;
use super::score::{Score, ScoreAccumulator};
use super::vpa::Vpa;
use crate::core::decision::decide;
use crate::core::features::FeatureSet;
use crate::core::history::ContainerHistory;
use crate::core::network::QValues;
use crate::core::observation::Observation;
use crate::core::policy::Policy;
use crate::model::ModelError;
use crate::model::network::Network;
use crate::sim::physics::Resources;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Static,
    Threshold,
    Peak,
    PeakTuned,
    Vpa,
    Oracle,
    /// The guard over a network that says what it likes.
    GuardRandom,
    /// The guard over a network that never acts.
    GuardMaintain,
    /// The guard over the rule that the network learns from: everything but the network.
    GuardRule,
    /// The network, and the decisions of production with the cooldown as configured.
    Dqn,
}

impl Kind {
    pub const ALL: [Self; 10] = [
        Self::Static,
        Self::Threshold,
        Self::Peak,
        Self::PeakTuned,
        Self::Vpa,
        Self::Oracle,
        Self::GuardRandom,
        Self::GuardMaintain,
        Self::GuardRule,
        Self::Dqn,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Threshold => "threshold",
            Self::Peak => "peak",
            Self::PeakTuned => "peak-tuned",
            Self::Vpa => "vpa",
            Self::Oracle => "oracle",
            Self::GuardRandom => "guard-random",
            Self::GuardMaintain => "guard-maintain",
            Self::GuardRule => "guard-rule",
            Self::Dqn => "dqn",
        }
    }

    pub fn about(self) -> &'static str {
        match self {
            Self::Static => "a fixed limit of twice the mean of the whole series",
            Self::Threshold => "up above 80 % of the limit, down below 40 %, no cooldown",
            Self::Peak => "up above 80 % now, down when the peak of 30 min is under 60 %",
            Self::PeakTuned => {
                "the best simple rule by hand: up above 95/90 %, down when the 2 h/8 h peak is \
                    under 75/72 %"
            }
            Self::Vpa => "the Vertical Pod Autoscaler's recommender, resizing in place",
            Self::Oracle => "knows the next 30 min, steps of 20 %: not attainable",
            Self::GuardRandom => "the guard over a network that answers at random",
            Self::GuardMaintain => "the guard over a network that never acts",
            Self::GuardRule => "the rule that the model learns from, through the same decisions",
            Self::Dqn => "the model, through the decisions of production",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    fn rule(self) -> Option<Box<dyn Rule>> {
        match self {
            Self::Static => Some(Box::new(TwiceTheMean)),
            Self::Threshold => Some(Box::new(Threshold)),
            Self::Peak => Some(Box::new(Peak::half_an_hour())),
            Self::PeakTuned => Some(Box::new(Peak::tuned())),
            Self::Vpa => Some(Box::<Vpa>::default()),
            Self::Oracle => Some(Box::<Oracle>::default()),
            Self::GuardRandom | Self::GuardMaintain | Self::GuardRule | Self::Dqn => None,
        }
    }
}

/// Demand, limit and usage of a replay, step by step.
pub type Course = Vec<(Resources, Resources, Resources)>;

/// What came of one series under one policy.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub score: Score,
    pub course: Option<Course>,
}

/// Replays `series` under `kind`; the courses of all series are kept if `keep`.
pub fn replay(
    kind: Kind,
    series: &[Arc<DemandSeries>],
    network: Option<&Network>,
    policy: &Policy,
    seed: u64,
    keep: bool,
) -> Result<Vec<Outcome>, ModelError> {
    if kind.rule().is_some() {
        let one = |series: &Arc<DemandSeries>| {
            let rule = kind.rule().unwrap_or_else(|| Box::new(TwiceTheMean));
            replay_rule(rule, series, keep)
        };
        return Ok(series.iter().map(one).collect());
    }
    let blind = FeatureSet::from_names::<&str>(&[]).map_err(unknown_feature)?;
    match (kind, network) {
        (Kind::Dqn, Some(network)) => {
            let features = features_of(network)?;
            replay_batch(series, policy, keep, &features, |states, _, _| network.forward(states))
        }
        (Kind::GuardRandom, _) => {
            // Each pod draws for itself, so that the outcome does not depend on how the series are
            // grouped.
            let draw = |series: &Arc<DemandSeries>| {
                StdRng::seed_from_u64(seed ^ fingerprint(&series.name))
            };
            let mut rngs: Vec<StdRng> = series.iter().map(draw).collect();
            replay_batch(series, policy, keep, &blind, |_, pods, _| {
                let q = |pod: &usize| {
                    let mut head = || [0; 3].map(|_| rngs[*pod].random::<f32>());
                    QValues { cpu: head(), memory: head(), future: [0.0, 0.0] }
                };
                Ok(pods.iter().map(q).collect())
            })
        }
        (Kind::GuardRule, _) => replay_batch(series, policy, keep, &blind, |_, _, seen| {
            let preferred = |(observation, history): &(Observation, &ContainerHistory)| {
                demonstrator::answer(demonstrator::preferred_actions(observation, history))
            };
            Ok(seen.iter().map(preferred).collect())
        }),
        _ => {
            let keep_still =
                QValues { cpu: [0.0, 1.0, 0.0], memory: [0.0, 1.0, 0.0], future: [0.0, 0.0] };
            replay_batch(series, policy, keep, &blind, |_, pods, _| {
                Ok(vec![keep_still; pods.len()])
            })
        }
    }
}

pub fn features_of(network: &Network) -> Result<FeatureSet, ModelError> {
    FeatureSet::from_names(network.features()).map_err(unknown_feature)
}

fn unknown_feature(error: crate::core::features::UnknownFeature) -> ModelError {
    ModelError::Metadata(error.to_string())
}

/// FNV-1a: the same on every platform and in every version.
pub fn fingerprint(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn replay_rule(mut rule: Box<dyn Rule>, series: &Arc<DemandSeries>, keep: bool) -> Outcome {
    let mut pod = Pod::new(series.clone());
    if let Some(limits) = rule.begin(series) {
        pod.limits = limits;
    }
    let (mut counts, mut course) = (ScoreAccumulator::default(), Course::new());
    for index in 0..series.demand.len() {
        let (demand, limits) = (pod.demand(), pod.limits);
        let step = pod.pass();
        counts.step(demand, limits, &step);
        let wanted = rule.act(&Seen { index, limits, step });
        if step.up {
            counts.resized(limits, wanted);
            pod.limits = wanted;
        }
        if keep {
            course.push((demand, limits, step.usage));
        }
    }
    Outcome { score: counts.score(series.max()), course: keep.then_some(course) }
}

/// All series at once, so that one forward pass serves all pods, as in production. `think` gets the
/// states and which pods they are of.
fn replay_batch(
    series: &[Arc<DemandSeries>],
    policy: &Policy,
    keep: bool,
    features: &FeatureSet,
    mut think: impl FnMut(
        ArrayView2<'_, f32>,
        &[usize],
        &[(Observation, &ContainerHistory)],
    ) -> Result<Vec<QValues>, ModelError>,
) -> Result<Vec<Outcome>, ModelError> {
    let mut pods: Vec<Pod> = series.iter().map(|series| Pod::new(series.clone())).collect();
    let mut tallies = vec![ScoreAccumulator::default(); pods.len()];
    let mut courses = vec![Course::new(); pods.len()];
    // What was expected of the next step and what was used before it.
    let mut expected: Vec<Option<(Resources, Resources)>> = vec![None; pods.len()];
    let (mut states, mut asked, mut observations) = (Vec::new(), Vec::new(), Vec::new());
    let mut alive: Vec<usize> = (0..pods.len()).collect();
    loop {
        alive.retain(|index| !pods[*index].is_over());
        if alive.is_empty() {
            break;
        }
        states.clear();
        asked.clear();
        observations.clear();
        for &index in &alive {
            let pod = &mut pods[index];
            let (demand, limits) = (pod.demand(), pod.limits);
            let (step, observation) = pod.live(policy);
            tallies[index].step(demand, limits, &step);
            if let (Some((expected, before)), true) = (expected[index].take(), step.up) {
                tallies[index].predicted(expected, before, step.usage, limits);
            }
            if keep {
                courses[index].push((demand, limits, step.usage));
            }
            if let Some(observation) = observation {
                features.extend_row(&mut states, &observation, &pod.history, policy);
                asked.push(index);
                observations.push(observation);
            }
        }
        let shape = (asked.len(), features.len());
        let view = ArrayView2::from_shape(shape, &states)
            .map_err(|error| ModelError::Input(error.to_string()))?;
        let seen: Vec<_> = asked.iter().map(|index| &pods[*index].history).collect();
        let seen: Vec<_> = observations.iter().copied().zip(seen).collect();
        let answers = if asked.is_empty() { Vec::new() } else { think(view, &asked, &seen)? };
        for ((&index, observation), q_values) in asked.iter().zip(&observations).zip(&answers) {
            let pod = &mut pods[index];
            let decision = decide(observation, &pod.history, q_values, policy, observation.at);
            let before = pod.limits;
            pod.apply(&decision, policy);
            tallies[index].resized(before, pod.limits);
            let future = Resources { cpu: decision.future.cpu, memory: decision.future.memory };
            let used = Resources { cpu: observation.usage.cpu, memory: observation.usage.memory };
            expected[index] = Some((future, used));
        }
    }
    let outcome = |((series, counts), course): ((&Arc<DemandSeries>, ScoreAccumulator), Course)| {
        Outcome { score: counts.score(series.max()), course: keep.then_some(course) }
    };
    Ok(series.iter().zip(tallies).zip(courses).map(outcome).collect())
}
