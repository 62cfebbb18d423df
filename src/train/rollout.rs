//! Many pods lived through at once under the network, as in production, with something random tried
//! now and then.

use ndarray::ArrayView2;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::demand::STEPS_PER_DAY;
use super::demonstrator;
use super::environment::{Moment, Pod};
use super::episodes::Episode;
use super::score::{OOM_PRICE, Passed, RESIZE_PRICE, UNSERVED_PRICE};
use crate::core::action::Action;
use crate::core::decision::{Decision, decide, resolve};
use crate::core::features::FeatureSet;
use crate::core::network::{Preference, QValues};
use crate::core::observation::Observation;
use crate::core::resource::{PerResource, Resource};
use crate::model::{ModelError, Network};
use crate::sim::physics::Resources;

/// One decision and what came of it until the next one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transition {
    /// What was done, CPU then memory.
    pub actions: [Action; 2],
    /// What would have become of each preferred action.
    pub resolved: [[Action; 3]; 2],
    /// What the demonstrator wants.
    pub demonstrated: [Action; 2],
    /// Whether something random was tried.
    pub explored: bool,
    /// Discounted to the time of the decision.
    pub rewards: [f32; 2],
    /// What a reward after it counts.
    pub discount: f32,
    /// Usage at the next transition as a share of the limit decided by; none after a gap.
    pub future: Option<[f32; 2]>,
}

/// The trajectory of one pod: as many states as transitions, and the last transition has no future.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trajectory {
    /// One row of features for each transition.
    pub states: Vec<f32>,
    pub transitions: Vec<Transition>,
}

/// How the trajectories come about.
#[derive(Debug, Clone, Copy)]
pub struct Conditions<'a> {
    pub features: &'a FeatureSet,
    pub discount: f64,
    /// The boldest pod tries something random in this share of its transitions, the most careful
    /// one in a hundredth of it.
    pub exploration: f64,
    /// The share of pods that the demonstrator steers.
    pub demonstrations: f64,
    pub reward_scale: f64,
}

/// Lives through all episodes, half of them on another thread.
pub fn live(
    episodes: &[Episode],
    network: &Network,
    conditions: Conditions<'_>,
) -> Result<Vec<Trajectory>, ModelError> {
    let (ours, theirs) = episodes.split_at(episodes.len() / 2);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| run_together(theirs, network, conditions));
        let mut trajectories = run_together(ours, network, conditions)?;
        trajectories.extend(
            other.join().unwrap_or_else(|_| Err(ModelError::Input("a rollout stopped".into())))?,
        );
        Ok(trajectories)
    })
}

struct EpisodeRun<'e> {
    episode: &'e Episode,
    pod: Pod,
    /// The same pod under the same demand, steered by the demonstrator.
    companion: Pod,
    rng: StdRng,
    exploration: f64,
    demonstrated: bool,
    trajectory: Trajectory,
    /// The limits that the last decision was made under.
    decided_under: Resources,
    /// Whether a step was missed since the last decision.
    gap: bool,
}

fn run_together(
    episodes: &[Episode],
    network: &Network,
    conditions: Conditions<'_>,
) -> Result<Vec<Trajectory>, ModelError> {
    let Conditions { features, .. } = conditions;
    let mut all: Vec<EpisodeRun<'_>> =
        episodes.iter().map(|episode| EpisodeRun::new(episode, conditions)).collect();
    let mut states = Vec::new();
    loop {
        states.clear();
        let mut observations = Vec::new();
        for (index, running) in all.iter_mut().enumerate() {
            if let Some(observation) = running.step(conditions) {
                features.extend_row(
                    &mut states,
                    &observation,
                    &running.pod.history,
                    &running.episode.policy,
                );
                observations.push((index, observation));
            }
        }
        if !observations.is_empty() {
            let shape = (observations.len(), features.len());
            let view = ArrayView2::from_shape(shape, &states)
                .map_err(|error| ModelError::Input(error.to_string()))?;
            let answers = network.forward(view)?;
            let rows = states.chunks_exact(features.len());
            for (((index, observation), q_values), row) in
                observations.into_iter().zip(answers).zip(rows)
            {
                all[index].act(&observation, q_values, row, conditions);
            }
        } else if all.iter().all(|running| running.pod.is_over()) {
            return Ok(all.into_iter().map(|running| running.trajectory).collect());
        }
    }
}

impl<'e> EpisodeRun<'e> {
    fn new(episode: &'e Episode, conditions: Conditions<'_>) -> Self {
        let (pod, mut rng) = (episode.pod(), StdRng::seed_from_u64(episode.seed));
        let exploration = conditions.exploration * 100f64.powf(-rng.random::<f64>());
        let demonstrated = rng.random::<f64>() < conditions.demonstrations;
        let decided_under = pod.limits;
        Self {
            episode,
            companion: pod.clone(),
            pod,
            rng,
            exploration,
            demonstrated,
            trajectory: Trajectory::default(),
            decided_under,
            gap: false,
        }
    }

    /// Lets one step pass and counts it to the last transition.
    fn step(&mut self, conditions: Conditions<'_>) -> Option<Observation> {
        let (ours, usage, observation) = live_on(&mut self.pod, self.episode)?;
        let theirs = self.step_baseline();
        let rewards = [ours[0] - theirs[0], ours[1] - theirs[1]];
        if let Some(transition) = self.trajectory.transitions.last_mut() {
            for (sum, reward) in transition.rewards.iter_mut().zip(rewards) {
                *sum += transition.discount * (reward * conditions.reward_scale) as f32;
            }
            transition.discount *= conditions.discount as f32;
            if observation.is_some() && !self.gap {
                let share = |usage: f64, limit: f64| (usage / limit).clamp(0.0, 1.0) as f32;
                let under = self.decided_under;
                transition.future =
                    Some([share(usage.cpu, under.cpu), share(usage.memory, under.memory)]);
            }
        }
        self.gap = observation.is_none();
        observation
    }

    /// What the demonstrator gets for the same step. Only what is better or worse than that counts:
    /// no action of ours changes it, and what the demand brings upon both of us teaches nothing.
    fn step_baseline(&mut self) -> [f64; 2] {
        let policy = &self.episode.policy;
        let Some(([cpu, memory], _, observation)) = live_on(&mut self.companion, self.episode)
        else {
            return [0.0; 2];
        };
        let decision = observation
            .map(|observation| demonstrator::act(&mut self.companion, &observation, policy));
        let [cpu_resize, memory_resize] = decision.as_ref().map_or([0.0; 2], resize_rewards);
        [cpu + cpu_resize, memory + memory_resize]
    }

    fn act(
        &mut self,
        observation: &Observation,
        mut q_values: QValues,
        row: &[f32],
        conditions: Conditions<'_>,
    ) {
        let policy = &self.episode.policy;
        let explored = self.rng.random::<f64>() < self.exploration;
        if explored {
            let mut any = || [0; 3].map(|_| self.rng.random::<f32>());
            (q_values.cpu, q_values.memory) = (any(), any());
        }
        let history = &self.pod.history;
        let demonstrated = demonstrator::preferred_actions(observation, history);
        if self.demonstrated && !explored {
            q_values = QValues { room: q_values.room, ..demonstrator::answer(demonstrated) };
        }
        let decision = decide(observation, history, &q_values, policy, observation.at);
        let resolved = Resource::ALL.map(|resource| {
            let room = q_values.preference(resource).room;
            Action::ALL.map(|action| {
                let wanted = Preference { action, room };
                resolve(resource, wanted, observation, history, policy, observation.at).action
            })
        });
        self.decided_under = self.pod.limits;
        self.pod.apply(&decision, policy);
        let PerResource { cpu, memory } = decision.actions;
        let rewards =
            resize_rewards(&decision).map(|reward| (reward * conditions.reward_scale) as f32);
        self.trajectory.states.extend_from_slice(row);
        self.trajectory.transitions.push(Transition {
            actions: [cpu, memory],
            resolved,
            demonstrated,
            explored,
            rewards,
            discount: 1.0,
            future: None,
        });
    }
}

/// Lets a pod live on to its next cycle: the rewards until then, the last usage, and what is seen.
/// None: it is over.
fn live_on(pod: &mut Pod, episode: &Episode) -> Option<([f64; 2], Resources, Option<Observation>)> {
    let (mut sums, mut usage) = ([0.0; 2], Resources::ZERO);
    let moment = pod.advance(&episode.policy, |passed| {
        let rewards = rewards(passed, episode);
        sums = [sums[0] + rewards[0], sums[1] + rewards[1]];
        usage = passed.step.usage;
    })?;
    match moment {
        Moment::Cycle(observation) | Moment::Birth(observation) => Some((sums, usage, observation)),
        Moment::SecondLook(observation) => Some((sums, usage, Some(observation))),
    }
}

/// The COST of a time that has passed, by resource, negated.
fn rewards(passed: &Passed, episode: &Episode) -> [f64; 2] {
    let (ceiling, limits, step) = (episode.ceiling, passed.limits, &passed.step);
    let mut cpu = -0.5 * limits.cpu / ceiling.cpu;
    let mut memory = -0.5 * limits.memory / ceiling.memory;
    if step.up {
        cpu -= UNSERVED_PRICE * step.unserved / episode.mean_cpu;
    }
    if step.oom_killed {
        memory -= OOM_PRICE * STEPS_PER_DAY;
    }
    [cpu, memory]
}

/// A resize costs once, however many resources it changes.
fn resize_rewards(decision: &Decision) -> [f64; 2] {
    let changed =
        [decision.actions.cpu, decision.actions.memory].map(|action| action != Action::Maintain);
    let share = 1.0 / changed.iter().filter(|changed| **changed).count().max(1) as f64;
    changed.map(|changed| if changed { -RESIZE_PRICE * STEPS_PER_DAY * share } else { 0.0 })
}
