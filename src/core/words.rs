//! Amounts, durations and reasons as people say them: what explanations, changes and the log have
//! in common.

use crate::action::Action;
use crate::decision::{Bound, Decision, SizedBy, Wait};
use crate::guard::Override;
use crate::outcome::Figures;
use crate::peaks::Age;
use crate::resource::Resource;

pub fn amount(resource: Resource, amount: f64) -> String {
    match resource {
        Resource::Cpu if amount < 0.9995 => format!("{:.0}m", amount * 1000.0),
        Resource::Cpu if amount < 1.005 => "1 core".to_owned(),
        Resource::Cpu => format!("{} cores", short(amount)),
        Resource::Memory if amount < 1023.5 => format!("{amount:.0} MiB"),
        Resource::Memory => format!("{} GiB", short(amount / 1024.0)),
    }
}

/// Two digits at most behind the point.
fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A time that is still to pass, or has passed.
pub fn span(seconds: i64) -> String {
    let (size, unit) = unit_of(seconds);
    match seconds.max(0) / size {
        1 if size == 1 => "1 second".to_owned(),
        number => format!("{number} {unit}"),
    }
}

/// What so many seconds are told in, and how many of them that is.
fn unit_of(seconds: i64) -> (i64, &'static str) {
    match seconds {
        seconds if seconds < 100 => (1, "seconds"),
        seconds if seconds < 100 * 60 => (60, "min"),
        seconds if seconds < 48 * 3600 => (3600, "h"),
        _ => (86_400, "days"),
    }
}

/// When a peak was, as exactly as it is known.
pub fn when(least: i64, most: i64) -> String {
    let (size, unit) = unit_of(most);
    // Rounded apart, so that it was in between.
    match (least / size, (most + size - 1) / size) {
        _ if most < 60 => "just now".to_owned(),
        (0, most) => format!("within the last {most} {unit}"),
        (least, most) => format!("{least} to {most} {unit} ago"),
    }
}

pub fn ago(seconds: i64) -> String {
    if seconds < 60 { "just now".to_owned() } else { format!("{} ago", span(seconds)) }
}

pub fn label(resource: Resource) -> &'static str {
    match resource {
        Resource::Cpu => "CPU",
        Resource::Memory => "memory",
    }
}

/// What the guard does to a preferred action, and why.
pub fn guard_says(why: Override, resource: Resource, figures: &Figures) -> (&'static str, String) {
    let (verb, reason) = match why {
        Override::RecentPeak if figures.peak > 0.0 => {
            return ("keeps the limit", lowest_cut(resource, figures));
        }
        Override::RecentPeak => {
            ("keeps the limit", "a cut would come too close to the recent peak")
        }
        Override::TooFewSamples => ("keeps the limit", "too few measurements to know a peak"),
        Override::OomKilled => ("raises the limit", "a container was killed for memory"),
        Override::NoMetrics => ("leaves the limit", "there are no fresh metrics"),
        Override::NoResourceSpec => ("leaves it", "there is neither a limit nor a request of it"),
        Override::ManagedByHpa => {
            ("leaves it", "a HorizontalPodAutoscaler measures the workload by it")
        }
        Override::UpOnly => ("keeps the limit", "by an annotation nothing is cut"),
        Override::RestartRequired => {
            ("leaves it", "by its resizePolicy a change would restart the container")
        }
        Override::NoMemoryCuts => {
            ("keeps the limit", "this version of Kubernetes does not lower memory limits in place")
        }
        Override::LimitRange => {
            ("keeps the limit", "a LimitRange of the namespace does not admit it")
        }
        Override::ResourceQuota => {
            ("keeps the limit", "a ResourceQuota of the namespace has no room for more")
        }
        Override::KnownNeed => ("sets the limit", "its workload is known to need as much"),
        Override::CutHurt => ("undoes a cut", "an earlier cut was too much"),
        Override::Starting => {
            ("keeps the limit", "the container has just started, or is not ready")
        }
        Override::Throttled => {
            ("keeps the limit", "the container is throttled, and so has no CPU to spare")
        }
        Override::Brief => {
            ("keeps the limit", "CPU was full for a few seconds only, as it varies by chance")
        }
        Override::TypicalUse => {
            ("sets the request", "without a limit the request follows typical use")
        }
    };
    (verb, reason.to_owned())
}

/// How far a cut could go, and why no further.
fn lowest_cut(resource: Resource, figures: &Figures) -> String {
    let floor = amount(resource, figures.floor.into());
    let why = match the_peak(resource, figures) {
        _ if figures.has_room => ", the room that the network gives".to_owned(),
        peak if figures.floor < figures.peak => format!(": {peak}, counts for less by now"),
        peak => format!(", by {peak}"),
    };
    format!("a cut could go no lower than {floor}{why}")
}

/// The recent peak, or the kill that it stands for.
fn the_peak(resource: Resource, figures: &Figures) -> String {
    let Age { least, most } = figures.peak_when;
    let when = when(least.into(), most.into());
    match figures.killed_at {
        0.0 => format!("the peak of {}, {when}", amount(resource, figures.peak.into())),
        limit => format!("the kill at a limit of {}, {when}", amount(resource, limit.into())),
    }
}

/// What an action waits for.
pub fn waits(wait: Wait) -> String {
    match wait {
        Wait::Cooldown(seconds) => {
            format!("waits {} more after the last change", span(seconds.into()))
        }
        Wait::Rest(seconds) => {
            format!("waits {} more after a resize that failed", span(seconds.into()))
        }
        Wait::Measurement => "waits for a measurement under the present limit".to_owned(),
    }
}

/// Why nothing comes of a preferred action that neither the guard nor a wait holds back.
pub fn at_its_bound(preferred: Action) -> &'static str {
    match preferred {
        Action::Increase => "the limit is the largest that is allowed",
        _ => "the limit is the smallest that is allowed",
    }
}

pub fn where_it_is(resource: Resource, bound: Bound) -> String {
    let name = resource.name();
    match bound {
        Bound::Min => format!("the limit is below its min-{name}"),
        Bound::Max => format!("the limit is above its max-{name}"),
    }
}

/// Why a resource is changed, and so far.
pub fn reason(resource: Resource, decision: &Decision) -> String {
    let (basis, seen) = (&decision.basis[resource], &decision.observation);
    let of = if seen.by_request[resource] { "request" } else { "limit" };
    let used = format!("{:.0} % of the {of} was in use", seen.utilization(resource) * 100.0);
    let figures = Figures::of(decision, resource);
    let peak = || the_peak(resource, &figures);
    let action = decision.actions[resource];
    match (action, basis.cause, basis.sized_by) {
        (_, Some(Override::OomKilled), _) => "it was killed for memory".to_owned(),
        (_, Some(Override::CutHurt), _) => "the last cut was too much and is undone".to_owned(),
        (_, Some(Override::KnownNeed), _) => "its workload is known to need as much".to_owned(),
        (_, Some(Override::TypicalUse), _) => "the request follows typical use".to_owned(),
        (Action::Increase, _, Some(SizedBy::Steps(steps))) if steps > 1 => {
            format!("{used}, full again after the last raise")
        }
        (Action::Increase, _, Some(SizedBy::Held(_))) => format!("{used}, all the time"),
        (Action::Increase, _, Some(SizedBy::Floor)) if basis.peak > 0.0 => {
            format!("{used}; it goes by {}", peak())
        }
        (Action::Decrease, ..) if basis.peak > 0.0 => {
            let safe = amount(resource, decision.floor[resource]);
            match decision.new_limit[resource] >= basis.peak {
                true => format!("it stays above {}", peak()),
                false => format!("the lowest safe limit is {safe}: {}, counts for less", peak()),
            }
        }
        _ => used,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::Observation;
    use crate::resource::PerResource;

    #[test]
    fn durations_are_as_people_say_them() {
        let said = [0, 1, 59, 119, 750, 7300, 100_000, 200_000].map(span);
        let expected =
            ["0 seconds", "1 second", "59 seconds", "1 min", "12 min", "2 h", "27 h", "2 days"];
        assert_eq!(said, expected);
        assert_eq!([0, 130, 3 * 3600].map(ago), ["just now", "2 min ago", "3 h ago"]);
    }

    #[test]
    fn a_peak_is_never_told_more_exactly_than_it_is_known() {
        let said = |(least, most)| when(least, most);
        let said = [(0, 59), (0, 80), (0, 3500), (3599, 7201), (7300, 14_401)].map(said);
        let expected = [
            "just now",
            "within the last 80 seconds",
            "within the last 59 min",
            "within the last 3 h",
            "2 to 5 h ago",
        ];
        assert_eq!(said, expected);
        assert_eq!(when(86_400 * 2 - 1, 86_400 * 2), "1 to 2 days ago");
    }

    #[test]
    fn amounts_are_short() {
        let cpu = [0.0412, 0.41, 1.0, 1.243].map(|cores| amount(Resource::Cpu, cores));
        assert_eq!(cpu, ["41m", "410m", "1 core", "1.24 cores"]);
        let memory = [20.4, 1023.0, 1024.0, 2621.4].map(|mib| amount(Resource::Memory, mib));
        assert_eq!(memory, ["20 MiB", "1023 MiB", "1 GiB", "2.56 GiB"]);
    }

    #[test]
    fn the_guard_names_how_far_a_cut_could_go_and_the_peak() {
        let peak_when = Age { least: 11_000, most: 12_250 };
        let of_peak = Figures { peak: 0.402, peak_when, floor: 0.442, ..Figures::default() };
        let said = |figures: Figures| guard_says(Override::RecentPeak, Resource::Cpu, &figures);
        let (verb, why) = said(of_peak);
        assert_eq!(verb, "keeps the limit");
        assert_eq!(why, "a cut could go no lower than 442m, by the peak of 402m, 3 to 4 h ago");
        let (_, why) = said(Figures { has_room: true, ..of_peak });
        assert_eq!(why, "a cut could go no lower than 442m, the room that the network gives");
        let (_, why) = said(Figures { floor: 0.39, ..of_peak });
        let faded = "a cut could go no lower than 390m: the peak of 402m, 3 to 4 h ago, counts for \
                     less by now";
        assert_eq!(why, faded);
        let killed = Figures { killed_at: 200.0, peak: 240.0, floor: 252.0, ..of_peak };
        let (_, why) = guard_says(Override::RecentPeak, Resource::Memory, &killed);
        let of_kill =
            "a cut could go no lower than 252 MiB, by the kill at a limit of 200 MiB, 3 to 4 h ago";
        assert_eq!(why, of_kill);
        let (_, why) = said(Figures::default());
        assert_eq!(why, "a cut would come too close to the recent peak");
    }

    #[test]
    fn a_change_is_told_with_its_reason() {
        let (usage, limit) = (PerResource::new(0.46, 100.0), PerResource::new(0.5, 512.0));
        let mut decision = Decision::maintain(Observation::measured(0, usage, limit));
        decision.actions = PerResource::new(Action::Increase, Action::Decrease);
        decision.basis.cpu.sized_by = Some(SizedBy::Steps(1));
        decision.basis.memory.sized_by = Some(SizedBy::StepDown);
        decision.basis.memory.peak = 120.0;
        let age = (&mut decision.basis.memory.peak_age_least, &mut decision.basis.memory.peak_age);
        (*age.0, *age.1) = (7300, 10_000);
        let said = |decision: &Decision| Resource::ALL.map(|resource| reason(resource, decision));
        let expected =
            ["92 % of the limit was in use", "it stays above the peak of 120 MiB, 2 to 3 h ago"];
        assert_eq!(said(&decision), expected);
        (decision.new_limit.memory, decision.floor.memory) = (110.0, 90.0);
        let faded =
            "the lowest safe limit is 90 MiB: the peak of 120 MiB, 2 to 3 h ago, counts for less";
        assert_eq!(said(&decision)[1], faded);
        decision.basis.cpu.sized_by = Some(SizedBy::Steps(4));
        decision.basis.memory.cause = Some(Override::OomKilled);
        let expected = [
            "92 % of the limit was in use, full again after the last raise",
            "it was killed for memory",
        ];
        assert_eq!(said(&decision), expected);
    }

    #[test]
    fn what_is_waited_for_is_said_with_its_time() {
        let said = [Wait::Cooldown(750), Wait::Rest(60), Wait::Measurement].map(waits);
        let expected = [
            "waits 12 min more after the last change",
            "waits 60 seconds more after a resize that failed",
            "waits for a measurement under the present limit",
        ];
        assert_eq!(said, expected);
    }
}
