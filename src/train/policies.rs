//! The policies that can be compared by name, and the replay of pods under them.

use ndarray::ArrayView2;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::baselines::{Oracle, Peak, Rule, Seen, Threshold, TwiceTheMean};
use super::demand::{self, PodSeries};
use super::demonstrator;
use super::environment::{Moment, Pod};
use super::score::{self, Passed, Score, ScoreAccumulator};
use super::timing::Timing;
use super::vpa::{self, Vpa};
use crate::core::decision::decide;
use crate::core::features::FeatureSet;
use crate::core::history::ContainerHistory;
use crate::core::network::QValues;
use crate::core::observation::Observation;
use crate::core::policy::Policy;
use crate::core::resource::PerResource;
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
    VpaTwice,
    VpaRequests,
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
    pub const ALL: [Self; 12] = [
        Self::Static,
        Self::Threshold,
        Self::Peak,
        Self::PeakTuned,
        Self::Vpa,
        Self::VpaTwice,
        Self::VpaRequests,
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
            Self::VpaTwice => "vpa-twice",
            Self::VpaRequests => "vpa-requests",
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
            Self::Vpa => {
                "the Vertical Pod Autoscaler's recommender, resizing in place; limits are requests"
            }
            Self::VpaTwice => "the same, limits are twice the requests",
            Self::VpaRequests => "the same, requests alone are changed, limits stay",
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

    fn rule(self, interval: i64) -> Option<Box<dyn Rule>> {
        match self {
            Self::Static => Some(Box::<TwiceTheMean>::default()),
            Self::Threshold => Some(Box::new(Threshold)),
            Self::Peak => Some(Box::new(Peak::half_an_hour(interval))),
            Self::PeakTuned => Some(Box::new(Peak::tuned(interval))),
            Self::Vpa => Some(Box::new(Vpa::new(vpa::Limits::Equal))),
            Self::VpaTwice => Some(Box::new(Vpa::new(vpa::Limits::Twice))),
            Self::VpaRequests => Some(Box::new(Vpa::new(vpa::Limits::Fixed))),
            Self::Oracle => Some(Box::<Oracle>::default()),
            Self::GuardRandom | Self::GuardMaintain | Self::GuardRule | Self::Dqn => None,
        }
    }
}

/// Demand, limit and usage of a replay, step by step.
pub type Course = Vec<(Resources, Resources, Resources)>;

/// What came of one pod under one policy.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub score: Score,
    /// Of its first container.
    pub course: Option<Course>,
}

/// Under what pods are replayed.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    pub network: Option<&'a Network>,
    pub policy: &'a Policy,
    pub timing: Timing,
    /// Draws random policies.
    pub seed: u64,
    /// Keep the courses.
    pub keep: bool,
}

/// Replays `pods`, which are given by the series of their containers, under `kind`.
pub fn replay(
    kind: Kind,
    pods: &[PodSeries],
    setting: Setting<'_>,
) -> Result<Vec<Outcome>, ModelError> {
    let mut lives: Vec<Life> =
        pods.iter().enumerate().flat_map(|(pod, series)| Life::of(pod, series, setting)).collect();
    if kind.rule(setting.timing.interval).is_some() {
        for life in &mut lives {
            if let Some(rule) = kind.rule(setting.timing.interval) {
                life.follow(rule, setting);
            }
        }
        return Ok(outcomes(lives, pods.len()));
    }
    let blind = FeatureSet::from_names::<&str>(&[]).map_err(unknown_feature)?;
    match (kind, setting.network) {
        (Kind::Dqn, Some(network)) => {
            let features = features_of(network)?;
            replay_batch(&mut lives, setting, &features, |states, _, _| network.forward(states))
        }
        (Kind::GuardRandom, _) => {
            // Each container draws for itself, so that the outcome does not depend on how the
            // series are grouped.
            let draw =
                |life: &Life| StdRng::seed_from_u64(setting.seed ^ life.pod.series.fingerprint());
            let mut rngs: Vec<StdRng> = lives.iter().map(draw).collect();
            replay_batch(&mut lives, setting, &blind, |_, asked, _| {
                let q = |life: &usize| {
                    let mut head = || [0; 3].map(|_| rngs[*life].random::<f32>());
                    QValues { cpu: head(), memory: head(), ..QValues::default() }
                };
                Ok(asked.iter().map(q).collect())
            })
        }
        (Kind::GuardRule, _) => replay_batch(&mut lives, setting, &blind, |_, _, seen| {
            let preferred = |(observation, history): &(Observation, &ContainerHistory)| {
                demonstrator::answer(demonstrator::preferred_actions(observation, history))
            };
            Ok(seen.iter().map(preferred).collect())
        }),
        _ => {
            let keep_still =
                QValues { cpu: [0.0, 1.0, 0.0], memory: [0.0, 1.0, 0.0], ..QValues::default() };
            replay_batch(&mut lives, setting, &blind, |_, asked, _| {
                Ok(vec![keep_still; asked.len()])
            })
        }
    }?;
    Ok(outcomes(lives, pods.len()))
}

pub fn features_of(network: &Network) -> Result<FeatureSet, ModelError> {
    FeatureSet::from_names(network.features()).map_err(unknown_feature)
}

fn unknown_feature(error: crate::core::features::UnknownFeature) -> ModelError {
    ModelError::Metadata(error.to_string())
}

/// A container that is replayed.
struct Life {
    /// Which pod it belongs to.
    belongs_to: usize,
    pod: Pod,
    sums: ScoreAccumulator,
    recorder: Option<Recorder>,
    /// What was expected of the next cycle and what was used before it.
    expected: Option<(Resources, Resources)>,
}

/// Notes the means over the steps of the series.
#[derive(Default)]
struct Recorder {
    course: Course,
    parts: Vec<(Resources, Resources, Resources)>,
}

impl Recorder {
    fn pass(&mut self, passed: &Passed) {
        let Passed { demand, limits, step, .. } = *passed;
        self.parts.push((demand, limits, step.usage));
        if passed.ends_step {
            let (demand, usage): (Vec<_>, Vec<_>) =
                self.parts.drain(..).map(|(demand, _, usage)| (demand, usage)).unzip();
            let memory = demand.iter().map(|demand| demand.memory).fold(0.0, f64::max);
            let demand = Resources { memory, ..demand::mean(&demand) };
            self.course.push((demand, limits, demand::mean(&usage)));
        }
    }
}

impl Life {
    /// The containers of a pod, which are looked at together.
    fn of(
        belongs_to: usize,
        series: &PodSeries,
        setting: Setting<'_>,
    ) -> impl Iterator<Item = Self> {
        let first = Pod::new(series.containers[0].clone(), setting.timing);
        let count = series.containers.len();
        series.containers.clone().into_iter().map(move |series| {
            let mut pod = Pod::new(series, setting.timing).beside(&first);
            pod.containers = count;
            let recorder = setting.keep.then(Recorder::default);
            Self { belongs_to, pod, sums: ScoreAccumulator::default(), recorder, expected: None }
        })
    }

    fn advance(
        &mut self,
        policy: &Policy,
        requests: impl Fn(Resources) -> Resources,
    ) -> Option<Moment> {
        let Self { pod, sums, recorder, .. } = self;
        pod.advance(policy, |passed| {
            sums.pass(passed, requests(passed.limits));
            if let Some(recorder) = recorder {
                recorder.pass(passed);
            }
        })
    }

    /// Lives to the end under a rule.
    fn follow(&mut self, mut rule: Box<dyn Rule>, setting: Setting<'_>) {
        if let Some(limits) = rule.begin(&self.pod.series) {
            self.pod.limits = limits;
        }
        let mut last_kill = None;
        while let Some(moment) = self.advance(setting.policy, |limits| rule.requests(limits)) {
            let limits = self.pod.limits;
            let observation = match moment {
                Moment::Birth(_) => {
                    self.pod.limits = rule.next_life(self.pod.template);
                    last_kill = None;
                    continue;
                }
                Moment::Cycle(observation) => observation,
                Moment::SecondLook(_) => continue,
            };
            let kill = observation.and_then(|seen| seen.oom_kill).or(last_kill);
            let killed = std::mem::replace(&mut last_kill, kill) != kill;
            let usage = observation.filter(|seen| seen.is_measured() || killed).map(|seen| {
                let memory = if killed { limits.memory } else { seen.usage.memory };
                Resources { cpu: seen.usage.cpu, memory }
            });
            let before = rule.requests(limits);
            let at = self.pod.now();
            let wanted = rule.act(&Seen { at, limits, usage, killed });
            if usage.is_some() {
                self.sums.resized(at, before, rule.requests(wanted));
                self.pod.resize(wanted, setting.policy);
            }
        }
    }

    /// Lives on until something is seen. None: the series is over.
    fn until_seen(&mut self, policy: &Policy) -> Option<Observation> {
        loop {
            match self.advance(policy, |limits| limits)? {
                Moment::Birth(None) | Moment::Cycle(None) => self.expected = None,
                Moment::Birth(Some(observation)) | Moment::SecondLook(observation) => {
                    return Some(observation);
                }
                Moment::Cycle(Some(observation)) => {
                    let usage = observation.usage;
                    let came = Resources { cpu: usage.cpu, memory: usage.memory };
                    if let Some((expected, before)) = self.expected.take() {
                        self.sums.predicted(expected, before, came, self.pod.limits);
                    }
                    return Some(observation);
                }
            }
        }
    }

    fn decide(&mut self, observation: &Observation, q_values: &QValues, policy: &Policy) {
        let at = self.pod.now();
        let decision = decide(observation, &self.pod.history, q_values, policy, at);
        let of = |of: PerResource<f64>| Resources { cpu: of.cpu, memory: of.memory };
        let before = self.pod.limits;
        self.pod.apply(&decision, policy);
        self.sums.resized(at, before, of(decision.new_limit));
        self.expected = Some((of(decision.future), of(observation.usage)));
    }
}

/// All containers at once, so that one forward pass serves all of them, as in production. `think`
/// gets the states and which containers they are of.
fn replay_batch(
    lives: &mut [Life],
    setting: Setting<'_>,
    features: &FeatureSet,
    mut think: impl FnMut(
        ArrayView2<'_, f32>,
        &[usize],
        &[(Observation, &ContainerHistory)],
    ) -> Result<Vec<QValues>, ModelError>,
) -> Result<(), ModelError> {
    let policy = setting.policy;
    let (mut states, mut asked, mut observations) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        states.clear();
        asked.clear();
        observations.clear();
        for (index, life) in lives.iter_mut().enumerate() {
            if let Some(observation) = life.until_seen(policy) {
                features.extend_row(&mut states, &observation, &life.pod.history, policy);
                asked.push(index);
                observations.push(observation);
            }
        }
        if asked.is_empty() {
            return Ok(());
        }
        let shape = (asked.len(), features.len());
        let view = ArrayView2::from_shape(shape, &states)
            .map_err(|error| ModelError::Input(error.to_string()))?;
        let seen: Vec<_> = asked.iter().map(|index| &lives[*index].pod.history).collect();
        let seen: Vec<_> = observations.iter().copied().zip(seen).collect();
        let answers = think(view, &asked, &seen)?;
        for ((&index, observation), q_values) in asked.iter().zip(&observations).zip(&answers) {
            lives[index].decide(observation, q_values, policy);
        }
    }
}

/// By pod.
fn outcomes(lives: Vec<Life>, pods: usize) -> Vec<Outcome> {
    let mut containers = vec![Vec::new(); pods];
    let mut courses = vec![None; pods];
    for Life { belongs_to, pod, sums, recorder, .. } in lives {
        containers[belongs_to].push((sums, pod.series.max()));
        let course = &mut courses[belongs_to];
        *course = course.take().or(recorder.map(|recorder| recorder.course));
    }
    let outcome =
        |(containers, course): (Vec<_>, _)| Outcome { score: score::of_pod(&containers), course };
    containers.into_iter().zip(courses).map(outcome).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::train::demand::DemandSeries;
    use crate::train::evaluate;

    /// A day of noise with bursts of CPU and memory.
    fn made_up() -> PodSeries {
        let demand = |step: u32| Resources {
            cpu: 0.25
                + 0.05 * f64::from((step * 7) % 13)
                + if step % 720 >= 600 { 1.0 } else { 0.0 },
            memory: f64::from(100 + (step * 31) % 97 + if step % 960 >= 800 { 150 } else { 0 }),
        };
        let demand = (0..2880).map(demand).collect();
        let series = Arc::new(DemandSeries { name: "made-up".into(), demand, template: None });
        PodSeries::combined(&[series], 1).remove(0)
    }

    fn score(kind: Kind, timing: Timing) -> Score {
        let policy = Policy::default();
        let setting = Setting { network: None, policy: &policy, timing, seed: 1, keep: false };
        replay(kind, &[made_up()], setting).unwrap()[0].score
    }

    /// The figures are of `score.py`, the reference for what it covers.
    #[test]
    fn ideal_time_scores_as_the_reference_does() {
        for (kind, cost, unserved, ooms, resizes) in [
            (Kind::Static, 1.235_310_513_672_545_5, 0.034_799_158_347_064_936, 0.0, 0.0),
            (Kind::Threshold, 1.605_717_027_896_034_7, 0.002_355_721_241_779_688_6, 4.0, 1255.0),
            (Kind::Peak, 1.014_053_670_984_362_6, 0.000_680_718_879_446_858_2, 2.0, 39.0),
            (Kind::Oracle, 0.807_527_590_439_863_7, 0.0, 0.0, 46.0),
        ] {
            let score = score(kind, Timing::IDEAL);
            assert!((score.cost - cost).abs() < 1e-9, "{}: {}", kind.name(), score.cost);
            assert!((score.unserved - unserved).abs() < 1e-12, "{}", kind.name());
            assert!((score.ooms - ooms).abs() + (score.resizes - resizes).abs() < 1e-9);
        }
    }

    #[test]
    fn what_is_seen_late_costs_more_and_a_second_look_less() {
        let late = Timing { tick: 1, window: 15, age: 1, delay: 1, ..Timing::IDEAL };
        let kubelet = Timing { second_look: Some(2), kubelet: true, ..late };
        let unserved = |timing| score(Kind::GuardRule, timing).unserved;
        let later = Timing { age: 30, ..late };
        let [quick, late, later] = [kubelet, late, later].map(unserved);
        assert!(quick < late && late < 0.75 * later, "{quick} {late} {later}");
    }

    #[test]
    fn lives_cost_more_where_they_teach_nothing() {
        let series =
            evaluate::generated(1).into_iter().step_by(3).map(Arc::new).collect::<Vec<_>>();
        let pods = PodSeries::combined(&series, 1);
        let cost = |timing| {
            let policy = Policy::default();
            let setting = Setting { network: None, policy: &policy, timing, seed: 1, keep: false };
            let outcomes = replay(Kind::GuardRule, &pods, setting).unwrap();
            outcomes.iter().map(|outcome| outcome.score.cost).sum::<f64>() / pods.len() as f64
        };
        let whole = Timing { life: None, ..Timing::IDEAL };
        let lives = Timing { life: Some(3 * 3600), ..whole };
        let [whole, taught, forgotten] = [whole, lives, Timing { forget: true, ..lives }].map(cost);
        assert!(taught < whole + 0.03 && forgotten > taught + 0.1, "{whole} {taught} {forgotten}");
    }
}
