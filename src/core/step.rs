//! What is to be done next with a pod, before anything is sent.

use std::borrow::Cow;

use crate::action::Action;
use crate::budget::ResizeBudget;
use crate::context::OwnedPod;
use crate::eligibility::{blocked_change, message};
use crate::guard::Override;
use crate::outcome::{DRY_RUN, NO_ACTION, Status};
use crate::pending::{Pending, asked_for, in_force, pending};
use crate::plan::{Plan, plan};
use crate::pod_decision::PodDecision;
use crate::policy::Settings;
use crate::resource::Resource;
use crate::skip_reason::SkipReason;

/// A pod at its turn, with all that the next step depends on.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    pub owned: &'a OwnedPod,
    /// What was decided, or why nothing was.
    pub decision: Result<&'a PodDecision, SkipReason>,
    /// Since when what is in force differs from what the pod asks for (seconds since the epoch).
    pub unsettled_since: Option<i64>,
    /// Ending a resize that the kubelet does not carry out has failed not long ago.
    pub backs_off: bool,
    /// Another request has changed the pod since it was decided on, or is about to.
    pub overtaken: bool,
}

/// What holds for all pods at that moment.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    pub settings: &'a Settings,
    /// Seconds since the epoch.
    pub now: i64,
    /// This replica leads, or is alone.
    pub may_act: bool,
    pub stopping: bool,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing is sent.
    Leave { status: Status, message: Cow<'static, str> },
    /// Resize the pod in place; what grows may go into the template if that fails.
    Resize { plan: Plan, fallback: bool },
    /// The kubelet does not carry out what was asked for: it goes into the template.
    FallBack { plan: Plan, refusal: String },
    /// The kubelet fails to: ask for what is in force again.
    TakeBack { plan: Plan, refusal: String },
}

impl Step {
    fn skip(reason: SkipReason, message: String) -> Self {
        Self::Leave { status: Status::Skipped(reason), message: message.into() }
    }
}

/// The one way from a decision to an action. A resize is taken from the budget only where one is
/// to be sent.
pub fn next_step(turn: &Turn, at: &Circumstances, budget: &mut ResizeBudget) -> Step {
    let owned = turn.owned;
    let (pod, name) = (&owned.pod, &owned.pod.key.name);
    let skip = |reason: SkipReason| Step::skip(reason, reason.message(name));
    let decision = match turn.decision {
        Ok(decision) => decision,
        Err(reason) => return Step::skip(reason, message(reason, owned, &at.settings.policy)),
    };
    if turn.overtaken {
        let message = format!("Pod {name} is being resized by another request");
        return Step::skip(SkipReason::CooldownPeriod, message);
    }
    let unfinished = match pending(pod, turn.unsettled_since, at.now, at.settings.deferred_timeout)
    {
        Some(Pending::Wait(message)) => {
            let message = format!("Pod {name} waits for the kubelet to finish a resize: {message}");
            return Step::skip(SkipReason::CooldownPeriod, message);
        }
        Some(Pending::GiveUp(refusal)) if !owned.may_fall_back() => {
            Some(Step::TakeBack { plan: in_force(pod), refusal })
        }
        Some(Pending::GiveUp(refusal)) => {
            let refusal = format!("the kubelet did not resize the pod: {refusal}");
            Some(Step::FallBack { plan: asked_for(pod, owned.managed_by_hpa()), refusal })
        }
        Some(Pending::TakeBack(refusal)) => Some(Step::TakeBack { plan: in_force(pod), refusal }),
        None => None,
    };
    // The wait after a change does not hold up what must become of that change.
    let waits = if unfinished.is_some() { turn.backs_off } else { decision.cooling_down() };
    if waits {
        return skip(SkipReason::CooldownPeriod);
    }
    let plan = plan(pod, decision);
    if plan.is_empty() && unfinished.is_none() {
        if decision.is_overridden_by(Override::ManagedByHpa) {
            let reason = SkipReason::ManagedByHpa;
            return Step::skip(reason, message(reason, owned, &at.settings.policy));
        }
        return Step::Leave { status: Status::NoActionNeeded, message: NO_ACTION.into() };
    }
    if at.settings.dry_run {
        return Step::Leave { status: Status::DryRun, message: DRY_RUN.into() };
    }
    if let Some((status, message)) = blocked_change(owned) {
        return Step::Leave { status, message: message.into() };
    }
    if !at.may_act {
        return skip(SkipReason::NotLeading);
    }
    if at.stopping {
        let message = "The service is stopping: the resize was not begun".into();
        return Step::Leave { status: Status::Failed, message };
    }
    if !budget.take(&pod.key) {
        return skip(SkipReason::RateLimited);
    }
    unfinished.unwrap_or_else(|| Step::Resize {
        plan,
        fallback: grows(decision) && owned.may_fall_back(),
    })
}

/// A plan that only takes away is never rolled out.
fn grows(decision: &PodDecision) -> bool {
    decision.decided().any(|(_, decision)| {
        Resource::ALL.iter().any(|resource| decision.actions[*resource] == Action::Increase)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::context::UnknownContext;
    use crate::decision::Decision;
    use crate::observation::Observation;
    use crate::overrides::{PREFIX, PodOverrides};
    use crate::pod::{
        ContainerResources, Pod, PodContainer, ResizeCondition, ResizeState, pod_key,
    };
    use crate::resource::PerResource;

    const NOW: i64 = 1000;

    /// A pod of one core and 1 GiB whose CPU is to grow by a fifth.
    struct Case {
        owned: OwnedPod,
        decision: Result<Decision, SkipReason>,
        unsettled_since: Option<i64>,
        backs_off: bool,
        overtaken: bool,
        settings: Settings,
        may_act: bool,
        stopping: bool,
        budget: ResizeBudget,
    }

    fn resources(cpu: &str) -> ContainerResources {
        ContainerResources::new(&[], &[("cpu", cpu), ("memory", "1Gi")])
    }

    fn growing() -> Case {
        let key = pod_key("shop", "web-1", "u");
        let pod = Pod::new(key, vec![PodContainer::new("app", resources("1"))]);
        let usage = PerResource::new(0.95, 512.0);
        let decision = Decision::maintain(Observation::measured(NOW, usage, pod.limit()));
        let decision = Decision {
            actions: PerResource::new(Action::Increase, Action::Maintain),
            new_limit: PerResource::new(1.2, 1024.0),
            ..decision
        };
        Case {
            owned: OwnedPod::bare(pod),
            decision: Ok(decision),
            unsettled_since: None,
            backs_off: false,
            overtaken: false,
            settings: Settings { dry_run: false, ..Settings::default() },
            may_act: true,
            stopping: false,
            budget: ResizeBudget::new(1, 1),
        }
    }

    fn quiet() -> Case {
        let mut case = growing();
        let observation = case.decision.unwrap().observation;
        case.decision = Ok(Decision::maintain(observation));
        case
    }

    fn cooling() -> Case {
        let mut case = quiet();
        case.decision = case.decision.map(|decision| Decision { cooling_down: true, ..decision });
        case
    }

    impl Case {
        fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
            change(&mut self);
            self
        }

        fn pod(&mut self) -> &mut Pod {
            Arc::make_mut(&mut self.owned.pod)
        }

        fn condition(self, state: ResizeState, since: i64) -> Self {
            self.with(|case| {
                let (message, since) = ("full".into(), Some(since));
                case.pod().resize = Some(ResizeCondition { state, message, since }.into());
            })
        }

        fn step(mut self) -> Step {
            let decision = self.decision.map(|decision| PodDecision::single("app", decision));
            let turn = Turn {
                owned: &self.owned,
                decision: decision.as_ref().map_err(|reason| *reason),
                unsettled_since: self.unsettled_since,
                backs_off: self.backs_off,
                overtaken: self.overtaken,
            };
            let circumstances = Circumstances {
                settings: &self.settings,
                now: NOW,
                may_act: self.may_act,
                stopping: self.stopping,
            };
            next_step(&turn, &circumstances, &mut self.budget)
        }
    }

    fn annotated(case: &mut Case, annotation: &str, value: &str) {
        let annotations = BTreeMap::from([(format!("{PREFIX}{annotation}"), value.to_owned())]);
        let overrides = PodOverrides::parse(Some(&annotations)).map(Arc::new);
        case.pod().overrides = overrides.clone();
        case.owned.context.overrides = overrides;
    }

    #[test]
    fn what_is_left_alone_is_answered_with_its_status_and_why() {
        use SkipReason::*;
        let skipped = Status::Skipped;
        let table: Vec<(&str, Case, Status, &str)> = vec![
            (
                "nothing was decided",
                growing().with(|case| case.decision = Err(NoMetrics)),
                skipped(NoMetrics),
                "Pod web-1 has no fresh metrics",
            ),
            (
                "an annotation cannot be followed",
                growing().with(|case| {
                    annotated(case, "max-cpu", "lots");
                    case.decision = Err(InvalidAnnotation);
                }),
                skipped(InvalidAnnotation),
                "on Pod web-1, annotation dqn-scaler.io/max-cpu",
            ),
            (
                "overtaken by another request",
                growing().with(|case| case.overtaken = true),
                skipped(CooldownPeriod),
                "Pod web-1 is being resized by another request",
            ),
            (
                "the kubelet is at it",
                growing().condition(ResizeState::InProgress, 0),
                skipped(CooldownPeriod),
                "Pod web-1 waits for the kubelet to finish a resize: full",
            ),
            (
                "deferred a moment ago",
                growing().condition(ResizeState::Deferred, NOW - 10),
                skipped(CooldownPeriod),
                "Pod web-1 waits for the kubelet to finish a resize: full",
            ),
            ("cooling down", cooling(), skipped(CooldownPeriod), "Pod web-1 is in cooldown period"),
            (
                "given up, but a failure is not long ago",
                cooling().condition(ResizeState::Infeasible, 0).with(|case| case.backs_off = true),
                skipped(CooldownPeriod),
                "Pod web-1 is in cooldown period",
            ),
            ("nothing to do", quiet(), Status::NoActionNeeded, "No scaling action needed"),
            (
                "all of it is an HPA's",
                quiet().with(|case| {
                    let decision = case.decision.as_mut().unwrap();
                    decision.overridden.cpu = Some(Override::ManagedByHpa);
                }),
                skipped(ManagedByHpa),
                "Pod web-1 is measured by a HorizontalPodAutoscaler",
            ),
            (
                "dry run",
                growing().with(|case| case.settings.dry_run = true),
                Status::DryRun,
                DRY_RUN,
            ),
            (
                "recommended only",
                growing().with(|case| annotated(case, "mode", "recommend")),
                Status::DryRun,
                "the annotation dqn-scaler.io/mode on Pod web-1",
            ),
            (
                "annotations unknown",
                growing().with(|case| {
                    let unknown = UnknownContext::Annotations("list deployments".into());
                    case.owned.context.unknown = Some(Arc::new(unknown));
                }),
                skipped(AnnotationsUnknown),
                "list deployments",
            ),
            (
                "another replica leads",
                growing().with(|case| case.may_act = false),
                skipped(NotLeading),
                "the replica that leads",
            ),
            (
                "the service stops",
                growing().with(|case| case.stopping = true),
                Status::Failed,
                "the resize was not begun",
            ),
            (
                "no budget left",
                growing().with(|case| case.budget = ResizeBudget::new(0, 1)),
                skipped(RateLimited),
                "wait for the next cycle",
            ),
        ];
        for (name, case, expected, words) in table {
            match case.step() {
                Step::Leave { status, message } => {
                    assert_eq!(status, expected, "{name}");
                    assert!(message.contains(words), "{name}: {message}");
                }
                step => panic!("{name}: {step:?}"),
            }
        }
    }

    #[test]
    fn what_is_sent_is_a_resize_a_fallback_or_what_is_in_force() {
        let plan_of = |cpu: &str| {
            let limits = BTreeMap::from([("cpu".to_owned(), cpu.to_owned())]);
            Plan::from([("app".to_owned(), crate::plan::Change { limits, ..Default::default() })])
        };
        let resize = growing().step();
        assert_eq!(resize, Step::Resize { plan: plan_of("1200m"), fallback: true });
        let cut = growing().with(|case| {
            let decision = case.decision.as_mut().unwrap();
            decision.actions.cpu = Action::Decrease;
            decision.new_limit.cpu = 0.8;
        });
        assert_eq!(cut.step(), Step::Resize { plan: plan_of("800m"), fallback: false });
        let in_place_alone = growing().with(|case| annotated(case, "fallback", "never"));
        let expected = Step::Resize { plan: plan_of("1200m"), fallback: false };
        assert_eq!(in_place_alone.step(), expected);
        let given_up = growing().condition(ResizeState::Infeasible, NOW);
        let taken_back = given_up.with(|case| annotated(case, "fallback", "never")).step();
        assert!(matches!(taken_back, Step::TakeBack { .. }), "{taken_back:?}");
        let asked_for = |case: Case| match case.step() {
            Step::FallBack { plan, refusal } => (plan["app"].limits["cpu"].clone(), refusal),
            step => panic!("{step:?}"),
        };
        let refusal = "the kubelet did not resize the pod: full".to_owned();
        let given_up = ("1".to_owned(), refusal);
        assert_eq!(asked_for(growing().condition(ResizeState::Infeasible, NOW)), given_up);
        assert_eq!(asked_for(cooling().condition(ResizeState::Infeasible, NOW)), given_up);
        assert_eq!(asked_for(quiet().condition(ResizeState::Deferred, NOW - 300)), given_up);
        let undated = quiet().with(|case| {
            let (state, message) = (ResizeState::Deferred, "full".into());
            case.pod().resize = Some(ResizeCondition { state, message, since: None }.into());
            case.unsettled_since = Some(NOW - 300);
        });
        assert_eq!(asked_for(undated), given_up);
        let failed = quiet().condition(ResizeState::Error, NOW).with(|case| {
            let in_force = Some(resources("500m").into());
            let app = PodContainer { in_force, ..PodContainer::new("app", resources("1")) };
            let pod = Pod::new(case.owned.pod.key.clone(), vec![app]);
            case.pod().containers = pod.containers;
        });
        match failed.step() {
            Step::TakeBack { plan, refusal } => {
                assert_eq!(
                    (plan["app"].limits["cpu"].as_str(), refusal.as_str()),
                    ("500m", "full")
                );
            }
            step => panic!("{step:?}"),
        }
    }

    #[test]
    fn the_budget_is_spent_by_what_is_sent_alone() {
        let mut budget = ResizeBudget::new(1, 1);
        let mut next = |mut case: Case| {
            std::mem::swap(&mut case.budget, &mut budget);
            let decision = case.decision.map(|decision| PodDecision::single("app", decision));
            let turn = Turn {
                owned: &case.owned,
                decision: decision.as_ref().map_err(|reason| *reason),
                unsettled_since: None,
                backs_off: false,
                overtaken: false,
            };
            let circumstances = Circumstances {
                settings: &case.settings,
                now: NOW,
                may_act: true,
                stopping: false,
            };
            let step = next_step(&turn, &circumstances, &mut case.budget);
            std::mem::swap(&mut case.budget, &mut budget);
            step
        };
        assert!(matches!(next(quiet()), Step::Leave { status: Status::NoActionNeeded, .. }));
        assert!(matches!(next(growing()), Step::Resize { .. }));
        let status = Status::Skipped(SkipReason::RateLimited);
        let another = growing().with(|case| case.pod().key = pod_key("shop", "web-1", "another"));
        assert!(matches!(next(another), Step::Leave { status: left, .. } if left == status));
    }
}
