//! From Q values to what is to be done with a container: pure, given the observation, the past, the
//! settings and the clock.

use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::guard::{self, Override, Review};
use crate::history::{AppliedChange, ContainerHistory, FULL};
use crate::network::{Preference, QValues};
use crate::observation::Observation;
use crate::peaks::{Age, DecidingPeak};
use crate::policy::{Controls, GuardSettings, Policy};
use crate::resource::{PerResource, Resource};
use crate::room::Expected;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    pub observation: Observation,
    pub q_values: QValues,
    /// The preferred action of the network: the largest Q value of each head.
    pub predicted: PerResource<Action>,
    /// What is left of it after guard, cooldown and bounds.
    pub actions: PerResource<Action>,
    pub new_limit: PerResource<f64>,
    /// The largest softmax of each head's Q values.
    pub confidence: PerResource<f64>,
    /// The usage that the prediction head expects at the next step: cores, MiB.
    pub future: PerResource<f64>,
    /// How the usage, as a share of the limit, moves over the last samples: -1 to 1.
    pub trend: PerResource<f64>,
    /// Why the guard has replaced what the network preferred, where it has.
    #[serde(default)]
    pub overridden: PerResource<Option<Override>>,
    /// The container waits, and nothing urgent breaks the wait.
    pub cooling_down: bool,
    /// Below these limits a cut would leave too little room: cores, MiB.
    pub floor: PerResource<f64>,
    /// What else is known of the container's needs.
    #[serde(default)]
    pub basis: PerResource<Basis>,
    /// Which figures of the container may change.
    #[serde(default)]
    pub controls: Controls,
    /// The bound that the limit is outside of, where it stays there for now.
    pub out_of_bounds: PerResource<Option<Bound>>,
}

/// What the size of a limit goes by: cores, MiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Basis {
    /// The recent peak that the floor goes by, and how many seconds ago it was at most, and at
    /// least.
    pub peak: f64,
    pub peak_age: i64,
    #[serde(default)]
    pub peak_age_least: i64,
    /// It stands for a kill for memory at this limit.
    #[serde(default)]
    pub killed_at: Option<f64>,
    /// What the containers of the workload use for nearly all of the time; 0 where that is not
    /// known.
    pub typical: f64,
    /// The container has been measured for long enough to know that well.
    #[serde(default)]
    pub is_known: bool,
    /// What a new container is known to need by others of its workload.
    pub known_need: Option<f64>,
    /// What the network expects of the usage to come, where the floor goes by that.
    #[serde(default)]
    pub expected: Option<Expected>,
    /// What asks for the action, where it is not the network alone.
    pub cause: Option<Override>,
    /// Why the new limit is as far away as it is; None where nothing changes.
    pub sized_by: Option<SizedBy>,
    /// Where one step down would lead, whatever speaks against it.
    #[serde(default)]
    pub step_down: f64,
    /// What an action waits for that nothing else speaks against.
    #[serde(default)]
    pub wait: Option<Wait>,
}

impl Basis {
    pub(crate) fn peak_when(&self) -> Age {
        let seconds = |age| u32::try_from(age).unwrap_or_default();
        Age { least: seconds(self.peak_age_least), most: seconds(self.peak_age) }
    }
}

/// What an action waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wait {
    /// So many seconds more after the last change.
    Cooldown(u32),
    /// So many seconds more after a resize that failed.
    Rest(u32),
    /// A measurement under the limit that holds now.
    Measurement,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SizedBy {
    /// So many first steps up, as the resource was full again and again.
    Steps(u8),
    /// So many first steps up at once, as CPU was held to its limit for all of a long measurement.
    Held(u8),
    /// One step down.
    StepDown,
    /// The lowest limit that leaves enough room.
    Floor,
    /// What asks for the action says how far.
    Cause,
    /// A bound, a LimitRange or a quota.
    Bounds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bound {
    Min,
    Max,
}

impl Decision {
    /// What comes of an observation when nothing is to change.
    pub fn maintain(observation: Observation) -> Self {
        let zero = PerResource::new(0.0, 0.0);
        let maintain = PerResource::new(Action::Maintain, Action::Maintain);
        Self {
            observation,
            q_values: QValues::default(),
            predicted: maintain,
            actions: maintain,
            new_limit: observation.limit,
            confidence: zero,
            future: zero,
            trend: zero,
            overridden: PerResource::default(),
            cooling_down: false,
            floor: zero,
            basis: PerResource::default(),
            controls: Controls::default(),
            out_of_bounds: PerResource::default(),
        }
    }

    pub fn is_overridden_by(&self, why: Override) -> bool {
        Resource::ALL.into_iter().any(|resource| self.overridden[resource] == Some(why))
    }

    /// What it comes to where it is applied.
    pub fn changes(&self) -> impl Iterator<Item = AppliedChange> + '_ {
        let changed = Resource::ALL.into_iter().filter(|of| self.actions[*of] != Action::Maintain);
        changed.map(|resource| AppliedChange {
            resource,
            from: self.observation.limit[resource],
            to: self.new_limit[resource],
            kill: self.observation.oom_kill,
        })
    }

    pub fn changes_something(&self) -> bool {
        self.actions != PerResource::new(Action::Maintain, Action::Maintain)
    }
}

pub fn decide(
    observation: &Observation,
    history: &ContainerHistory,
    q_values: &QValues,
    policy: &Policy,
    now: i64,
) -> Decision {
    let preferred = PerResource::build(|resource| q_values.preference(resource));
    let predicted = PerResource::build(|resource| preferred[resource].action);
    let resolved = PerResource::build(|resource| {
        resolve(resource, preferred[resource], observation, history, policy, now)
    });
    let actions = PerResource::build(|resource| resolved[resource].action);
    let acts = actions != PerResource::new(Action::Maintain, Action::Maintain);
    Decision {
        observation: *observation,
        q_values: *q_values,
        predicted,
        actions,
        new_limit: PerResource::build(|resource| resolved[resource].limit),
        confidence: PerResource::new(
            largest_softmax(q_values.cpu),
            largest_softmax(q_values.memory),
        ),
        future: PerResource::new(
            f64::from(q_values.future[0]).max(0.0) * observation.limit.cpu,
            f64::from(q_values.future[1]).max(0.0) * observation.limit.memory,
        ),
        trend: PerResource::build(|resource| history.trend(resource, observation.limit[resource])),
        overridden: PerResource::build(|resource| resolved[resource].overridden),
        cooling_down: !acts
            && Resource::ALL.into_iter().any(|resource| {
                rest(resource, history, now)
                    .or_else(|| cooldown(resource, observation, history, policy, now))
                    .is_some()
            }),
        floor: PerResource::build(|resource| resolved[resource].floor),
        basis: PerResource::build(|resource| {
            let peak = resolved[resource].peak;
            let more = Action::Increase.factor(policy.scale_factor);
            Basis {
                peak: peak.amount,
                peak_age: peak.age.most.into(),
                peak_age_least: peak.age.least.into(),
                killed_at: peak.by_kill.then(|| peak.amount / more),
                typical: history.typical[resource].into(),
                is_known: GuardSettings::known_share(history.observed_for()) >= 1.0,
                known_need: history.known_need(resource, now),
                expected: resolved[resource].expected,
                cause: resolved[resource].cause,
                sized_by: resolved[resource].sized_by,
                step_down: observation.limit[resource] * (1.0 - policy.scale_factor),
                wait: resolved[resource].wait,
            }
        }),
        controls: policy.controls,
        out_of_bounds: PerResource::build(|resource| match actions[resource] {
            Action::Maintain => out_of_bounds(resource, observation.limit[resource], policy),
            _ => None,
        }),
    }
}

fn out_of_bounds(resource: Resource, limit: f64, policy: &Policy) -> Option<Bound> {
    let (min, max) = (policy.min[resource], policy.max[resource]);
    // What rounding does is no matter.
    let slack = 1.001;
    match limit {
        limit if limit <= 0.0 => None,
        limit if limit > max * slack => Some(Bound::Max),
        limit if limit * slack < min => Some(Bound::Min),
        _ => None,
    }
}

/// What becomes of a preferred action.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resolved {
    pub action: Action,
    pub limit: f64,
    pub overridden: Option<Override>,
    pub floor: f64,
    pub expected: Option<Expected>,
    pub cause: Option<Override>,
    pub sized_by: Option<SizedBy>,
    pub wait: Option<Wait>,
    pub peak: DecidingPeak,
}

/// One resource's preferred action after guard, cooldown and bounds.
pub fn resolve(
    resource: Resource,
    preferred: Preference,
    observation: &Observation,
    history: &ContainerHistory,
    policy: &Policy,
    now: i64,
) -> Resolved {
    let review = guard::review(resource, preferred, observation, history, policy, now);
    let wait = rest(resource, history, now).or_else(|| {
        cooldown(resource, observation, history, policy, now)
            .filter(|_| !is_emergency(resource, &review, observation, history, policy))
    });
    let action = if wait.is_some() { Action::Maintain } else { review.action };
    let wait = wait.filter(|_| review.action != Action::Maintain);
    let limit = observation.limit[resource];
    let Review { overridden, floor, expected, cause, peak, .. } = review;
    let (wanted, sized_by) = size(resource, action, &review, observation, history, policy);
    let bounds = guard::bounds(resource, observation, policy);
    let (action, limit) = bounded(action, limit, wanted, bounds);
    let sized_by = match action {
        Action::Maintain => None,
        _ if limit != wanted => Some(SizedBy::Bounds),
        _ => Some(sized_by),
    };
    Resolved { action, limit, overridden, floor, expected, cause, sized_by, wait, peak }
}

/// How far an action goes, before bounds.
fn size(
    resource: Resource,
    action: Action,
    review: &Review,
    observation: &Observation,
    history: &ContainerHistory,
    policy: &Policy,
) -> (f64, SizedBy) {
    let limit = observation.limit[resource];
    let by_target = match review.cause {
        Some(Override::CutHurt | Override::KnownNeed | Override::TypicalUse) => SizedBy::Cause,
        _ => SizedBy::Floor,
    };
    match (action, review.cause) {
        (Action::Maintain, _) => (limit, by_target),
        (_, Some(Override::KnownNeed)) | (Action::Increase, Some(Override::TypicalUse)) => {
            (review.target, by_target)
        }
        (Action::Increase, _) => {
            // What was enough before a cut is known.
            let is_held =
                review.cause != Some(Override::CutHurt) && history.is_held(resource, observation);
            let steps = history.step_factor(resource, is_held);
            let by_steps = match history.has_grown(resource) {
                false if is_held => SizedBy::Held,
                _ => SizedBy::Steps,
            };
            match limit * (1.0 + policy.scale_factor * steps) {
                stepped if stepped >= review.target => (stepped, by_steps(steps as u8)),
                _ => (review.target, by_target),
            }
        }
        // Down to where it leads if that is nearer than a whole step.
        (Action::Decrease, cause) => {
            let least = if cause.is_some() { review.target } else { review.floor };
            match limit * (1.0 - policy.scale_factor) {
                stepped if stepped >= least => (stepped, SizedBy::StepDown),
                _ => (least, by_target),
            }
        }
    }
}

fn rest(resource: Resource, history: &ContainerHistory, now: i64) -> Option<Wait> {
    let until = history.backoff(resource).retry_at.get().filter(|until| now < *until)?;
    Some(Wait::Rest(left(until, now)))
}

fn left(until: i64, now: i64) -> u32 {
    u32::try_from(until - now).unwrap_or(u32::MAX)
}

/// What was measured under another limit says nothing of the present one: then all waits.
fn cooldown(
    resource: Resource,
    observation: &Observation,
    history: &ContainerHistory,
    policy: &Policy,
    now: i64,
) -> Option<Wait> {
    let until = history.resized_at.get().map(|resized| resized + policy.cooldown);
    match until.filter(|until| now < *until) {
        Some(until) => Some(Wait::Cooldown(left(until, now))),
        None => (!history.is_of_present_limit(resource, observation)).then_some(Wait::Measurement),
    }
}

/// What a cut took too much of is given back at once; so is what a new container needs.
fn is_emergency(
    resource: Resource,
    review: &Review,
    observation: &Observation,
    history: &ContainerHistory,
    policy: &Policy,
) -> bool {
    let used = observation.utilization(resource);
    let is_short = match (observation.by_request[resource], resource) {
        (false, _) => used >= FULL,
        // Who uses more than its request is evicted first.
        (true, Resource::Memory) => used > 1.0,
        (true, Resource::Cpu) => false,
    };
    let full = observation.measured[resource]
        && is_short
        && history.would_show_full(resource, observation);
    review.action == Action::Increase
        && match review.cause {
            Some(Override::CutHurt) => true,
            Some(Override::OomKilled) => policy.emergency_scale_up,
            _ => policy.emergency_scale_up && full,
        }
}

/// The action that really changes the limit, and the limit it leads to. A limit beyond the bounds
/// is never moved against the action's direction to meet them.
fn bounded(action: Action, limit: f64, wanted: f64, (min, max): (f64, f64)) -> (Action, f64) {
    // A quota may leave no room for as much as the smallest limit.
    let clamped = wanted.max(min).min(max);
    match action {
        Action::Decrease if clamped < limit => (action, clamped),
        Action::Increase if clamped > limit => (action, clamped),
        _ => (Action::Maintain, limit),
    }
}

fn largest_softmax(q_values: [f32; 3]) -> f64 {
    let q_values = q_values.map(f64::from);
    let largest = q_values.into_iter().fold(f64::NEG_INFINITY, f64::max);
    let part = |q| if q < largest { f64::exp(q - largest) } else { 1.0 };
    1.0 / q_values.into_iter().map(part).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::namespace_limits::NamespaceLimits;
    use crate::pod::OomKill;
    use crate::timestamp::Timestamp;

    const UP: [f32; 3] = [0.0, 0.0, 1.0];
    const DOWN: [f32; 3] = [1.0, 0.0, 0.0];
    const KEEP: [f32; 3] = [0.0, 1.0, 0.0];

    fn q(cpu: [f32; 3], memory: [f32; 3]) -> QValues {
        QValues { cpu, memory, future: [0.5, 0.25], room: None }
    }

    /// A container whose windows are filled with the usage it has.
    fn settled(
        usage: PerResource<f64>,
        limit: PerResource<f64>,
    ) -> (Observation, ContainerHistory, Policy) {
        let policy = Policy::default();
        let mut history = ContainerHistory::default();
        let mut observation = Observation::measured(0, usage, limit);
        for step in 0..1000 {
            observation.at = step * 30;
            history.observe(&observation, &policy, observation.at);
        }
        (observation, history, policy)
    }

    #[test]
    fn actions_multiply_the_limit() {
        let (observation, history, policy) =
            settled(PerResource::new(0.2, 200.0), PerResource::new(0.5, 512.0));
        let decision = decide(&observation, &history, &q(UP, DOWN), &policy, observation.at);
        assert_eq!(decision.actions, PerResource::new(Action::Increase, Action::Decrease));
        assert!(
            (decision.new_limit.cpu - 0.6).abs() < 1e-9
                && (decision.new_limit.memory - 409.6).abs() < 1e-9
        );
        assert_eq!(decision.future, PerResource::new(0.25, 128.0));
        let softmax = 1.0_f64.exp() / (1.0_f64.exp() + 2.0);
        assert!((decision.confidence.cpu - softmax).abs() < 1e-9);
    }

    #[test]
    fn memory_beyond_a_request_without_a_limit_waits_for_no_cooldown() {
        let request = PerResource::new(0.5, 800.0);
        let of = |used| {
            let (mut observation, mut history, policy) =
                settled(PerResource::new(0.1, used), request);
            observation.by_request = PerResource::new(true, true);
            history.typical = PerResource::new(0.7, 900.0);
            history.resized_at = Timestamp::at(observation.at - 60);
            decide(&observation, &history, &q(KEEP, KEEP), &policy, observation.at)
        };
        let within = of(750.0);
        assert_eq!(within.actions.memory, Action::Maintain);
        assert!(matches!(within.basis.memory.wait, Some(Wait::Cooldown(_))));
        let beyond = of(850.0);
        assert_eq!(beyond.actions, PerResource::new(Action::Maintain, Action::Increase));
        assert!(beyond.new_limit.memory >= 900.0);
    }

    #[test]
    fn a_limit_at_its_bound_is_maintained() {
        let (observation, history, policy) =
            settled(PerResource::new(7.9, 1.0), PerResource::new(8.0, 20.0));
        let decision = decide(&observation, &history, &q(UP, DOWN), &policy, observation.at);
        assert!(!decision.changes_something());
        assert_eq!(decision.predicted, PerResource::new(Action::Increase, Action::Decrease));
    }

    #[test]
    fn a_limit_beyond_its_bounds_is_told_as_long_as_it_is_held_there() {
        let (observation, history, mut policy) =
            settled(PerResource::new(0.9, 450.0), PerResource::new(1.0, 512.0));
        (policy.min.cpu, policy.max.memory) = (2.0, 256.0);
        let held = decide(&observation, &history, &q(KEEP, DOWN), &policy, observation.at);
        assert!(!held.changes_something(), "memory in use is not cut, whatever the bounds");
        assert_eq!(held.out_of_bounds, PerResource::new(Some(Bound::Min), Some(Bound::Max)));
        let raised = decide(&observation, &history, &q(UP, KEEP), &policy, observation.at);
        assert_eq!((raised.new_limit.cpu, raised.out_of_bounds.cpu), (2.0, None));
        policy.max.memory = 511.9999;
        assert_eq!(
            decide(&observation, &history, &q(KEEP, KEEP), &policy, observation.at)
                .out_of_bounds
                .memory,
            None
        );
    }

    #[test]
    fn a_step_ends_where_admission_would_refuse_it() {
        let (observation, history, policy) =
            settled(PerResource::new(0.2, 100.0), PerResource::new(1.0, 512.0));
        let none = NamespaceLimits::default();
        let infinite = f64::INFINITY;
        for (limits, q, cpu, memory) in [
            (none, q(UP, DOWN), 1.2, 409.6),
            (
                NamespaceLimits { container_max: PerResource::new(1.1, 256.0), ..none },
                q(UP, DOWN),
                1.1,
                256.0,
            ),
            (
                NamespaceLimits { container_min: PerResource::new(1.5, 500.0), ..none },
                q(UP, DOWN),
                1.5,
                500.0,
            ),
            (
                NamespaceLimits { limits_room: PerResource::new(0.1, infinite), ..none },
                q(UP, UP),
                1.1,
                614.4,
            ),
            (
                NamespaceLimits { limits_room: PerResource::new(0.0, 0.0), ..none },
                q(UP, DOWN),
                1.0,
                409.6,
            ),
        ] {
            let policy = Policy { limits, ..policy.clone() };
            let decision = decide(&observation, &history, &q, &policy, observation.at);
            let off = |resource, limit: f64| (decision.new_limit[resource] - limit).abs();
            assert!(
                off(Resource::Cpu, cpu) < 1e-9 && off(Resource::Memory, memory) < 1e-9,
                "{limits:?}: {:?}",
                decision.new_limit
            );
        }
    }

    #[test]
    fn the_cooldown_holds_all_but_an_emergency() {
        let (observation, mut history, mut policy) =
            settled(PerResource::new(0.95, 50.0), PerResource::new(1.0, 100.0));
        history.resized_at = Timestamp::at(observation.at - 60);
        let decision = decide(&observation, &history, &q(UP, UP), &policy, observation.at);
        assert_eq!(decision.actions, PerResource::new(Action::Increase, Action::Maintain));
        assert!(!decision.cooling_down);
        policy.emergency_scale_up = false;
        let decision = decide(&observation, &history, &q(UP, UP), &policy, observation.at);
        assert!(decision.cooling_down && !decision.changes_something());
        let later = observation.at - 60 + policy.cooldown;
        assert!(decide(&observation, &history, &q(UP, UP), &policy, later).changes_something());
    }

    #[test]
    fn a_failed_resize_is_not_tried_again_before_its_time() {
        let (observation, mut history, policy) =
            settled(PerResource::new(0.95, 50.0), PerResource::new(1.0, 100.0));
        history.failed(Resource::Cpu, observation.at, 30);
        history.failed(Resource::Memory, observation.at, 30);
        assert!(decide(&observation, &history, &q(UP, KEEP), &policy, observation.at).cooling_down);
        assert!(
            decide(&observation, &history, &q(UP, KEEP), &policy, observation.at + 30)
                .changes_something()
        );
    }

    fn q_head() -> impl Strategy<Value = [f32; 3]> {
        [-100.0f32..100.0, -100.0f32..100.0, -100.0f32..100.0]
    }

    proptest! {
        #[test]
        fn a_decision_keeps_to_bounds_guard_and_cooldown(
            cpu in q_head(), memory in q_head(),
            usage in (0.0..10.0f64, 0.0..20000.0f64), limit in (0.001..12.0f64, 1.0..20000.0f64),
            peak in (0.0..10.0f64, 0.0..20000.0f64), samples in 1i64..2000,
                since_resize in 0i64..4000,
            scale_factor in 0.01..0.99f64, emergency in any::<bool>(), oom in any::<bool>(),
        ) {
            let policy = Policy { scale_factor, emergency_scale_up: emergency,
                ..Policy::default() };
            let mut history = ContainerHistory::default();
            let limit = PerResource::new(limit.0, limit.1);
            let mut observation = Observation::measured(0, PerResource::new(peak.0, peak.1), limit);
            for sample in 0..samples {
                observation.at = sample * 30;
                history.observe(&observation, &policy, observation.at);
            }
            observation.usage = PerResource::new(usage.0, usage.1);
            observation.at += 30;
            history.observe(&observation, &policy, observation.at);
            let now = observation.at;
            history.resized_at = Timestamp::at(now - since_resize);
            observation.oom_kill = oom.then_some(OomKill { restart: 1, finished_at: now });
            let decision = decide(&observation, &history, &q(cpu, memory), &policy, now);
            for resource in [Resource::Cpu, Resource::Memory] {
                let (old, new) = (limit[resource], decision.new_limit[resource]);
                let (min, max) = (policy.min[resource], policy.max[resource]);
                match decision.actions[resource] {
                    Action::Maintain => prop_assert_eq!(new, old),
                    Action::Increase => prop_assert!(new > old && new <= max),
                    Action::Decrease => {
                        prop_assert!(new < old && new >= min);
                        prop_assert!(new >= *[usage.0, usage.1].get(resource.index()).unwrap());
                        // The newest bucket may have become the second one meanwhile.
                        let faded = 1.0 - policy.guard.fade[resource] / 23.0;
                        prop_assert!(new >= faded * [peak.0, peak.1][resource.index()]);
                        prop_assert!(since_resize >= policy.cooldown);
                    }
                }
                if since_resize < policy.cooldown && !emergency {
                    prop_assert_eq!(decision.actions[resource], Action::Maintain);
                }
            }
            prop_assert!((1.0 / 3.0 - 1e-9..=1.0).contains(&decision.confidence.cpu));
        }
    }
}
