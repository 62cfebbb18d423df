//! Why a decision is what it is, in words: derived from the state, the Q values and the guard's
//! changes, nothing else.

use crate::action::Action;
use crate::decision::{Bound, Decision, SizedBy};
use crate::guard::Override;
use crate::outcome::{DecisionSummary, Figures, LastOutcome, Method, Status};
use crate::resource::{PerResource, Resource};
use crate::skip_reason::SkipReason;
use crate::words::{amount, at_its_bound, guard_says, waits, when, where_it_is};

/// Utilization above which usage is called high, and below which low.
const HIGH: f64 = 0.8;
const LOW: f64 = 0.4;
/// Throttling is told of from this share of the periods on.
const TOLD: f64 = 0.01;
/// A trend beyond this is called rising or falling.
const STEADY: f64 = 0.05;

pub struct Explanation {
    pub reasoning: String,
    pub factors: Vec<String>,
}

pub fn explain(decision: &Decision) -> Explanation {
    let mut factors = Vec::new();
    let mut sentences = Vec::new();
    for resource in Resource::ALL {
        let name = resource.name();
        let (trend, utilization) =
            (decision.trend[resource], decision.observation.utilization(resource));
        factors.push(match trend {
            _ if trend > STEADY => format!("{name}_trend_increasing"),
            _ if trend < -STEADY => format!("{name}_trend_decreasing"),
            _ => format!("{name}_stable"),
        });
        if utilization >= HIGH {
            factors.push(format!("{name}_utilization_high"));
        } else if utilization <= LOW {
            factors.push(format!("{name}_utilization_low"));
        }
        if resource == Resource::Cpu && decision.observation.throttled >= TOLD {
            factors.push("cpu_throttled".into());
        }
        sentences.push(sentence(resource, decision, utilization));
    }
    for resource in Resource::ALL {
        factors.extend(decision.out_of_bounds[resource].map(|bound| match bound {
            Bound::Min => format!("{}_below_min", resource.name()),
            Bound::Max => format!("{}_above_max", resource.name()),
        }));
    }
    for resource in Resource::ALL {
        let why = decision.overridden[resource];
        factors.extend(why.map(|why| format!("{}_guard_{}", resource.name(), why.name())));
    }
    if decision.cooling_down {
        factors.push("cooldown_active".into());
    }
    Explanation { reasoning: sentences.join(" "), factors }
}

fn sentence(resource: Resource, decision: &Decision, utilization: f64) -> String {
    let (preferred, done) = (decision.predicted[resource], decision.actions[resource]);
    let of = if decision.observation.by_request[resource] { "request" } else { "limit" };
    let used = utilization * 100.0;
    let mut text = format!("{}: {used:.0} % of the {of} is in use; ", resource.label());
    text += &format!("the network prefers {}", preferred.name());
    let figures = Figures::of(decision, resource);
    match decision.overridden[resource] {
        Some(why) => {
            let (verb, reason) = match (why, guard_says(why, resource, &figures)) {
                (Override::CutHurt, (_, reason)) if done == Action::Maintain => {
                    ("keeps the limit", reason)
                }
                (Override::KnownNeed | Override::TypicalUse, (_, reason))
                    if done == Action::Maintain =>
                {
                    let near = format!("{reason}, and it is near enough to that");
                    ("leaves it", near)
                }
                (_, said) => said,
            };
            text += &format!(", the guard {verb}: {reason}");
        }
        None if done != preferred && done == Action::Maintain => {
            text += &match figures.wait {
                Some(wait) => format!(", and {}", waits(wait)),
                None if decision.cooling_down => ", and waits after the last change".to_owned(),
                None => format!(", and {}", at_its_bound(preferred)),
            };
        }
        None => {}
    }
    text += &size(resource, decision);
    text += &known(resource, decision);
    if let Some(bound) = decision.out_of_bounds[resource] {
        let when = match bound {
            Bound::Min => "is raised when the network prefers to",
            Bound::Max => "is cut when the network prefers to and the guard sees no danger in it",
        };
        text += &format!("; {}, and {when}", where_it_is(resource, bound));
    }
    text + "."
}

/// How far the limit moves, and why so far.
fn size(resource: Resource, decision: &Decision) -> String {
    let basis = &decision.basis[resource];
    let Some(sized_by) = basis.sized_by else { return String::new() };
    let new = amount(resource, decision.new_limit[resource]);
    let what = if decision.observation.by_request[resource] { "the request" } else { "it" };
    let verb = match decision.actions[resource] {
        Action::Increase => "raised",
        _ => "cut",
    };
    let why = match (sized_by, basis.cause) {
        (SizedBy::Steps(1) | SizedBy::StepDown, _) => "one step".to_owned(),
        (SizedBy::Steps(steps), _) => {
            format!("{steps} times a first step, as it was full again after the last one")
        }
        (SizedBy::Held(steps), _) => {
            format!("{steps} first steps at once, as all of the limit was used all the time")
        }
        (SizedBy::Floor, _) if basis.expected.is_some() => "the room that the network gives".into(),
        (SizedBy::Floor, _) => "the recent peak with head room".to_owned(),
        (SizedBy::Bounds, _) => "as far as bounds, LimitRanges and quotas let it".to_owned(),
        (SizedBy::Cause, Some(Override::CutHurt)) => "what it was before the last cut".to_owned(),
        (SizedBy::Cause, Some(Override::TypicalUse)) => {
            "what is typically used, with head room".to_owned()
        }
        (SizedBy::Cause, _) => "what others of its workload have settled on".to_owned(),
    };
    format!("; {what} is {verb} to {new}, {why}")
}

/// What is known of the container's needs.
fn known(resource: Resource, decision: &Decision) -> String {
    let basis = &decision.basis[resource];
    let mut known = Vec::new();
    if basis.peak > 0.0 {
        let (peak, when) =
            (amount(resource, basis.peak), when(basis.peak_age_least, basis.peak_age));
        known.push(match basis.killed_at.map(|limit| amount(resource, limit)) {
            Some(limit) => format!(
                "killed for memory at a limit of {limit}, {when}, which counts as a peak of {peak}"
            ),
            None => format!("recent peak {peak}, {when}"),
        });
        let floor = amount(resource, decision.floor[resource]);
        known.push(format!("lowest safe limit {floor}"));
    }
    known.extend(basis.expected.map(|expected| {
        let (limit, share) = (amount(resource, expected.limit), 100.0 * expected.share);
        format!("in {share} % of such cases no more than {limit} is used in the next half hour")
    }));
    if basis.typical > 0.0 {
        // The peak that decides may be newer and smaller than what was used before.
        let why = match basis.typical > basis.peak * 1.02 {
            true => ", by earlier use or other pods of its workload",
            false => "",
        };
        known.push(format!("typical use {}{why}", amount(resource, basis.typical)));
    }
    let throttled = decision.observation.throttled;
    if resource == Resource::Cpu && throttled >= TOLD {
        known.push(format!("throttled in {:.0} % of its periods", 100.0 * throttled));
    }
    known.extend(
        basis.known_need.map(|need| format!("its workload needs {}", amount(resource, need))),
    );
    if known.is_empty() { String::new() } else { format!(" ({})", known.join(", ")) }
}

/// The last outcome of a pod in a few words: what kept the network's action from being taken, and
/// what came of it; `message` where that has more to say.
pub fn in_short(last: &LastOutcome, message: Option<String>) -> String {
    let mut sentences = Vec::new();
    if let Some(decided) = &last.decided {
        match PerResource::build(|resource| blocked_by(resource, decided)) {
            PerResource { cpu: Some(cpu), memory: Some(memory) } if cpu == memory => {
                sentences.push(format!("CPU and memory: {cpu}."));
            }
            obstacles => {
                let one = |resource| {
                    obstacles[resource].as_ref().map(|why| format!("{}: {why}.", resource.label()))
                };
                sentences.extend(Resource::ALL.into_iter().filter_map(one));
            }
        }
    }
    sentences.extend(match &last.status {
        Status::Skipped(_) | Status::DryRun if message.is_some() => {
            message.map(|message| message + ".")
        }
        // What is waited for has been said.
        Status::Skipped(SkipReason::CooldownPeriod) if !sentences.is_empty() => None,
        Status::Skipped(reason) => Some(format!("Skipped: {}.", reason.name().replace('_', " "))),
        Status::Failed => Some(match &last.remark {
            Some(remark) => format!("The resize failed: {remark}."),
            None => "The resize failed.".into(),
        }),
        Status::Success(_) if last.remark.is_some() => {
            last.remark.as_ref().map(|remark| format!("{remark}."))
        }
        Status::DryRun => Some("Dry run: nothing was changed.".into()),
        Status::Success(Method::DeploymentUpdate) => Some("Written into the template.".into()),
        Status::Success(Method::Vertical) => Some("Resized in place.".into()),
        Status::NoActionNeeded if sentences.is_empty() => {
            Some("The network keeps both limits.".into())
        }
        Status::NoActionNeeded => None,
    });
    sentences.join(" ")
}

fn blocked_by(resource: Resource, decided: &DecisionSummary) -> Option<String> {
    let (preferred, done) = (decided.predicted[resource], decided.actions[resource]);
    let figures = &decided.figures[resource];
    let held = match decided.overridden[resource] {
        Some(why) => Some(guard_says(why, resource, figures).1),
        None if done != preferred && done == Action::Maintain => Some(match figures.wait {
            Some(wait) => format!("{} {}", preferred.name(), waits(wait)),
            None => at_its_bound(preferred).to_owned(),
        }),
        None => None,
    };
    let out_of_bounds =
        decided.out_of_bounds[resource].as_ref().map(|bound| where_it_is(resource, *bound));
    let both: Vec<_> = out_of_bounds.into_iter().chain(held).collect();
    (!both.is_empty()).then(|| both.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{Basis, Wait};

    #[test]
    fn the_figures_behind_a_decision_are_told() {
        let observation = crate::observation::Observation::measured(
            0,
            PerResource::new(0.1, 500.0),
            PerResource::new(1.0, 1024.0),
        );
        let mut decision = crate::decision::Decision::maintain(observation);
        decision.floor.cpu = 0.442;
        decision.basis.cpu.peak = 0.402;
        (decision.basis.cpu.peak_age_least, decision.basis.cpu.peak_age) = (11_000, 12_250);
        decision.basis.cpu.typical = 0.3;
        decision.predicted.cpu = Action::Decrease;
        decision.overridden.cpu = Some(Override::RecentPeak);
        decision.actions.memory = Action::Increase;
        decision.new_limit.memory = 2048.0;
        (decision.basis.memory.cause, decision.basis.memory.sized_by) =
            (Some(Override::KnownNeed), Some(SizedBy::Cause));
        decision.basis.memory.known_need = Some(2048.0);
        assert_eq!(
            explain(&decision).reasoning,
            "CPU: 10 % of the limit is in use; the network prefers DECREASE, the guard keeps the \
             limit: a cut could go no lower than 442m, by the peak of 402m, 3 to 4 h ago (recent \
             peak 402m, 3 to 4 h ago, lowest safe limit 442m, typical use 300m). Memory: 49 % of \
             the limit is in use; the network prefers MAINTAIN; it is raised to 2 GiB, what others \
             of its workload have settled on (its workload needs 2 GiB)."
        );
        decision.basis.cpu.typical = 0.5;
        assert!(explain(&decision).reasoning.contains("typical use 500m, by earlier use or"));
        decision.basis.memory = Basis { peak: 240.0, killed_at: Some(200.0), ..Basis::default() };
        let told = explain(&decision).reasoning;
        let expected = "(killed for memory at a limit of 200 MiB, just now, which counts as a peak \
                        of 240 MiB, lowest safe limit 0 MiB)";
        assert!(told.contains(expected), "{told}");
    }

    #[test]
    fn throttling_is_told_where_it_is_known() {
        let told = |throttled| {
            let usage = PerResource::new(0.5, 500.0);
            let limit = PerResource::new(1.0, 1024.0);
            let seen = crate::observation::Observation::measured(0, usage, limit);
            let seen = crate::observation::Observation { throttled, ..seen };
            let explained = explain(&crate::decision::Decision::maintain(seen));
            (explained.reasoning, explained.factors.contains(&"cpu_throttled".to_owned()))
        };
        assert!(!told(0.0).0.contains("throttled") && !told(0.0).1);
        let (reasoning, factor) = told(0.344);
        assert!(factor && reasoning.contains("MAINTAIN (throttled in 34 % of its periods). "));
    }

    #[test]
    fn an_outcome_in_short_names_what_stood_in_the_way() {
        let predicted = PerResource::new(Action::Decrease, Action::Increase);
        let maintain = PerResource::new(Action::Maintain, Action::Maintain);
        let wait = |wait| Figures { wait: Some(wait), ..Figures::default() };
        let figures = PerResource::new(wait(Wait::Cooldown(750)), wait(Wait::Measurement));
        let last = |status, actions, cpu, memory| {
            let overridden = PerResource::new(cpu, memory);
            let decided = DecisionSummary {
                predicted,
                actions,
                overridden,
                out_of_bounds: PerResource::default(),
                figures,
            };
            let remark = None;
            in_short(&LastOutcome { at: 0, status, decided: Some(decided), remark }, None)
        };
        let peak = Some(Override::RecentPeak);
        assert_eq!(
            last(
                Status::Success(Method::Vertical),
                PerResource::new(Action::Maintain, Action::Increase),
                peak,
                None
            ),
            "CPU: a cut would come too close to the recent peak. Resized in place."
        );
        assert_eq!(
            last(Status::NoActionNeeded, maintain, peak, peak),
            "CPU and memory: a cut would come too close to the recent peak."
        );
        assert_eq!(
            last(Status::Skipped(SkipReason::CooldownPeriod), maintain, None, None),
            "CPU: DECREASE waits 12 min more after the last change. Memory: INCREASE waits for a \
                measurement under the present limit."
        );
        let decided = DecisionSummary {
            predicted: PerResource::new(Action::Maintain, Action::Decrease),
            actions: maintain,
            overridden: PerResource::new(None, peak),
            out_of_bounds: PerResource::new(Some(Bound::Min), Some(Bound::Max)),
            figures: PerResource::default(),
        };
        assert_eq!(
            in_short(
                &LastOutcome {
                    at: 0,
                    status: Status::NoActionNeeded,
                    decided: Some(decided),
                    remark: None
                },
                None
            ),
            "CPU: the limit is below its min-cpu. \
             Memory: the limit is above its max-memory, \
             a cut would come too close to the recent peak."
        );
        let last = |status, remark: Option<&str>| LastOutcome {
            at: 0,
            status,
            decided: None,
            remark: remark.map(Box::from),
        };
        let failed = last(Status::Failed, Some("exceeded quota: q"));
        assert_eq!(in_short(&failed, None), "The resize failed: exceeded quota: q.");
        let partly = last(Status::Success(Method::Vertical), Some("CPU; memory: refused"));
        assert_eq!(in_short(&partly, None), "CPU; memory: refused.");
        let excluded = last(Status::Skipped(SkipReason::Excluded), None);
        assert_eq!(in_short(&excluded, None), "Skipped: excluded.");
        assert_eq!(in_short(&excluded, Some("Pod web is excluded".into())), "Pod web is excluded.");
    }
}
