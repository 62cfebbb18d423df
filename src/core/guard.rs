//! Stands between the network and the cluster: no cut below the recent peak, no restart, more
//! memory after an OOM kill.

use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::history::ContainerHistory;
use crate::network::Preference;
use crate::observation::Observation;
use crate::peaks::DecidingPeak;
use crate::policy::{GuardSettings, Policy};
use crate::resource::{PerResource, Resource};
use crate::room::{self, Expected, Levels};
use crate::traits;

/// What a workload needs more or less, or a quota leaves for a raise, of less than this share of
/// the limit is not worth a resize.
const SMALLEST_CHANGE: f64 = 0.06;
/// Nor is a smaller cut. CPU comes back for more sooner than memory.
const SMALLEST_CUT: PerResource<f64> = PerResource { cpu: 0.15, memory: 0.06 };
/// A container that is throttled in this share of its periods has no CPU to spare, whatever it uses
/// on average.
const THROTTLED: f64 = 0.1;
/// What a network must leave above what was used just now, as a share of it.
const LEAST_HEADROOM: f64 = 0.05;
/// A request may be off from what is typically used by this share.
const REQUEST_SLACK: f64 = 0.1;

/// Why an action of the network was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Override {
    /// The cut would leave too little above the recent peak.
    RecentPeak,
    /// Too few measurements to know a peak.
    TooFewSamples,
    /// A container was killed for memory and nothing was done about it yet.
    OomKilled,
    /// Nothing fresh is known of its usage.
    NoMetrics,
    /// The container has neither a limit nor a request of this resource.
    NoResourceSpec,
    /// A HorizontalPodAutoscaler measures the workload by this resource.
    ManagedByHpa,
    /// The pod or its workload asks that limits are never cut.
    UpOnly,
    /// The change would restart the container, by its `resizePolicy`.
    RestartRequired,
    /// This version of Kubernetes does not lower memory limits in place.
    NoMemoryCuts,
    /// A LimitRange of the namespace does not admit it.
    LimitRange,
    /// A ResourceQuota of the namespace has no room for it.
    ResourceQuota,
    /// A new container needs what others of its workload have.
    KnownNeed,
    /// The last cut was too much: it is undone, and the next one waits.
    CutHurt,
    /// There is no limit: the request follows the typical use.
    TypicalUse,
    /// The container has just started, or is not ready: nothing is cut.
    Starting,
    /// The container is throttled for a good part of the time.
    Throttled,
    /// CPU was full for a few seconds only, as it is by chance now and then.
    Brief,
}

impl Override {
    pub fn name(self) -> &'static str {
        match self {
            Self::RecentPeak => "recent_peak",
            Self::TooFewSamples => "too_few_samples",
            Self::OomKilled => "oom_killed",
            Self::NoMetrics => "no_metrics",
            Self::NoResourceSpec => "no_resource_spec",
            Self::ManagedByHpa => "managed_by_hpa",
            Self::UpOnly => "up_only",
            Self::RestartRequired => "restart_required",
            Self::NoMemoryCuts => "no_memory_cuts",
            Self::LimitRange => "limit_range",
            Self::ResourceQuota => "resource_quota",
            Self::KnownNeed => "known_need",
            Self::CutHurt => "cut_hurt",
            Self::TypicalUse => "typical_use",
            Self::Starting => "starting",
            Self::Throttled => "throttled",
            Self::Brief => "brief",
        }
    }
}

/// What may be done to one resource.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Review {
    pub action: Action,
    /// Why the action differs from the preferred one.
    pub overridden: Option<Override>,
    /// Below this a cut would leave too little room: cores, MiB.
    pub floor: f64,
    /// What the network expects of the usage to come, where it decides the floor.
    pub expected: Option<Expected>,
    /// What asks for the action, where it is not the network alone.
    pub cause: Option<Override>,
    /// Where the action leads in one step, if that is known: cores, MiB.
    pub target: f64,
    /// The peak that the floor goes by.
    pub peak: DecidingPeak,
}

pub fn review(
    resource: Resource,
    preferred: Preference,
    observation: &Observation,
    history: &ContainerHistory,
    policy: &Policy,
    now: i64,
) -> Review {
    let review = review_usage(resource, preferred, observation, history, policy, now);
    match refusal(resource, review.action, observation, policy) {
        Some(why) => {
            Review { action: Action::Maintain, overridden: Some(why), cause: None, ..review }
        }
        None => review,
    }
}

/// What would refuse the action in the cluster, whatever it is asked for by.
fn refusal(
    resource: Resource,
    action: Action,
    observation: &Observation,
    policy: &Policy,
) -> Option<Override> {
    if action == Action::Maintain {
        return None;
    }
    let (limit, request) = (observation.limit[resource], observation.request[resource]);
    let range = policy.limits.range(resource, limit, request);
    let range =
        range.filter(|(min, max)| *min <= policy.max[resource] && *max >= policy.min[resource]);
    let Some((min, max)) = range else { return Some(Override::LimitRange) };
    match action {
        Action::Increase if limit >= max && max < policy.max[resource] => {
            Some(Override::LimitRange)
        }
        Action::Decrease if limit <= min && min > policy.min[resource] => {
            Some(Override::LimitRange)
        }
        Action::Increase => {
            let most = policy.limits.most_by_quota(resource, limit, request);
            (most < limit * (1.0 + SMALLEST_CHANGE)).then_some(Override::ResourceQuota)
        }
        _ => None,
    }
}

/// The smallest and the largest limit that a step may lead to.
pub fn bounds(resource: Resource, observation: &Observation, policy: &Policy) -> (f64, f64) {
    let (limit, request) = (observation.limit[resource], observation.request[resource]);
    let (min, max) = (policy.min[resource], policy.max[resource]);
    let range = policy.limits.range(resource, limit, request);
    let (least, most) = range.unwrap_or((0.0, f64::INFINITY));
    let by_quota = policy.limits.most_by_quota(resource, limit, request);
    (min.max(least), max.min(most).min(by_quota))
}

fn review_usage(
    resource: Resource,
    preferred: Preference,
    observation: &Observation,
    history: &ContainerHistory,
    policy: &Policy,
    now: i64,
) -> Review {
    let peak = history.deciding_peak(resource, policy, now);
    let by_peaks = policy.guard.with_headroom(resource, peak.faded, history.observed_for());
    let (floor, expected) = floor(resource, preferred.room, by_peaks, observation, history, policy);
    let preferred = preferred.action;
    let known = known_need(resource, peak.faded, observation, policy);
    let review = |action, overridden| Review {
        action,
        overridden,
        floor,
        expected,
        cause: None,
        target: known,
        peak,
    };
    let maintain = |why| review(Action::Maintain, Some(why));
    let unless = |action, why| review(action, (preferred != action).then_some(why));
    let because = |action, target, why| Review { cause: Some(why), target, ..unless(action, why) };
    let towards = |target, slack, why| {
        because(direction(observation.limit[resource], target, slack), target, why)
    };
    if policy.managed_by_hpa[resource] {
        return maintain(Override::ManagedByHpa);
    }
    let need = history.known_need(resource, now);
    let limit = observation.limit[resource];
    if limit <= 0.0 {
        return unless(Action::Maintain, Override::NoResourceSpec);
    }
    if resource == Resource::Memory && history.unanswered_kill(observation, now).is_some() {
        let before = history.undone_cut(resource, observation, now).or(need).unwrap_or_default();
        return because(Action::Increase, known.max(before), Override::OomKilled);
    }
    if !observation.measured[resource] && need.is_none() {
        return unless(Action::Maintain, Override::NoMetrics);
    }
    if observation.restarts[resource] && !policy.restarts_allowed {
        return unless(Action::Maintain, Override::RestartRequired);
    }
    let starts = observation.starts_at(now, policy.startup);
    let wants_more = preferred == Action::Increase
        && observation.measured[resource]
        && !observation.by_request[resource];
    let review = match (need, history.undone_cut(resource, observation, now)) {
        (Some(need), _) => {
            let of_start = if starts { history.start_need(resource) } else { 0.0 };
            // What its workload has settled on may be below the recent peak, as a cut may be.
            let used = used_just_now(resource, observation, history).min(limit);
            let least = if observation.by_request[resource] { 0.0 } else { used.max(of_start) };
            let target = need.max(least);
            let told = towards(target, SMALLEST_CHANGE, Override::KnownNeed);
            let falls = direction(limit, need.max(used), SMALLEST_CHANGE) == Action::Decrease;
            match told.action {
                // What is enough for the others may be too little for this one.
                Action::Maintain if wants_more => review(preferred, None),
                Action::Maintain if starts && falls => return maintain(Override::Starting),
                _ => Review { floor: floor.min(target), expected: None, ..told },
            }
        }
        (None, Some(before)) => towards(before, SMALLEST_CHANGE, Override::CutHurt),
        (None, None) if observation.by_request[resource] => {
            let target = typical_request(resource, peak.faded, history, policy);
            towards(target, REQUEST_SLACK, Override::TypicalUse)
        }
        (None, None) => review(preferred, None),
    };
    let is_preferred = review.action == Action::Increase && review.cause.is_none();
    if is_preferred && !history.is_short(resource, observation) {
        return maintain(Override::Brief);
    }
    if review.action != Action::Decrease {
        return review;
    }
    if policy.up_only {
        return maintain(Override::UpOnly);
    }
    if observation.unready || (starts && need.is_none()) {
        return maintain(Override::Starting);
    }
    let in_place = policy.memory_cuts || observation.restarts[resource];
    if resource == Resource::Memory && !in_place && !observation.by_request[resource] {
        return maintain(Override::NoMemoryCuts);
    }
    if need.is_some() {
        return review;
    }
    if (history.observed(resource) as usize) < policy.history_window {
        return maintain(Override::TooFewSamples);
    }
    if history.cuts_rest(resource).holds(now) {
        return maintain(Override::CutHurt);
    }
    if observation.by_request[resource] {
        return review;
    }
    if resource == Resource::Cpu && observation.throttled >= THROTTLED {
        return maintain(Override::Throttled);
    }
    let (_, most) = bounds(resource, observation, policy);
    let lowered = (limit * (1.0 - policy.scale_factor)).max(floor).min(most);
    if lowered < floor || floor > limit * (1.0 - SMALLEST_CUT[resource]) {
        return maintain(Override::RecentPeak);
    }
    review
}

/// Where a limit has to move for a target; not for less than a share of it.
fn direction(limit: f64, target: f64, slack: f64) -> Action {
    if target > limit * (1.0 + slack) {
        Action::Increase
    } else if target < limit * (1.0 - slack) {
        Action::Decrease
    } else {
        Action::Maintain
    }
}

/// The recent peak with head room, if that is further away than a first step up.
fn known_need(resource: Resource, peak: f64, observation: &Observation, policy: &Policy) -> f64 {
    let step = observation.limit[resource] * Action::Increase.factor(policy.scale_factor);
    // What rounding does is no matter.
    if peak > step * 1.001 { peak * (1.0 + policy.guard.headroom[resource]) } else { 0.0 }
}

/// What a request without a limit should be: what is typically used, and as long as that is not
/// known, the recent peak.
fn typical_request(
    resource: Resource,
    peak: f64,
    history: &ContainerHistory,
    policy: &Policy,
) -> f64 {
    let known = GuardSettings::known_share(history.observed_for());
    let typical = known * f64::from(history.typical[resource]) + (1.0 - known) * peak;
    typical * (1.0 + policy.guard.headroom[resource])
}

/// The share of all cases in which the usage of the next half hour is to stay below a limit that is
/// cut: where it does not, CPU is throttled until the limit is raised, but for memory the container
/// may be killed.
const BELOW: PerResource<f64> = PerResource { cpu: 0.9, memory: 0.995 };
/// How far a limit stays above that, as a share of it: CPU is foreseen in means of half a minute,
/// and a raise is asked for by shorter ones.
const BEYOND: PerResource<f64> = PerResource { cpu: 0.15, memory: 0.03 };
/// The newest share of the guard's window, whose peak no network goes below.
const JUST_NOW: f64 = 0.05;

/// What a cut must leave: the room that the network gives, between what was used just now and what
/// recent peaks ask for; without a network that tells, the latter.
fn floor(
    resource: Resource,
    room: Option<Levels>,
    by_peaks: f64,
    observation: &Observation,
    history: &ContainerHistory,
    policy: &Policy,
) -> (f64, Option<Expected>) {
    let known = (history.observed(resource) as usize) >= policy.history_window;
    let Some(levels) = room.filter(|_| known && observation.measured[resource]) else {
        return (by_peaks, None);
    };
    let reference = traits::reference(resource, by_peaks);
    let above = (1.0 - BELOW[resource]) / policy.guard.caution;
    let expected = room::expected(&levels, reference, 1.0 - above);
    let mean = history.mean(resource) * (1.0 + LEAST_HEADROOM);
    let least = used_just_now(resource, observation, history).max(mean);
    let wanted = expected.limit * (1.0 + BEYOND[resource]);
    let limit = wanted.max(least).min(by_peaks);
    (limit, (limit == wanted).then_some(expected))
}

/// That, with the head room that is always left.
fn used_just_now(resource: Resource, observation: &Observation, history: &ContainerHistory) -> f64 {
    let peak = history.recent_peak(resource, JUST_NOW);
    observation.usage[resource].max(peak) * (1.0 + LEAST_HEADROOM)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::burst::{Burst, WINDOW};
    use crate::history::AppliedChange;
    use crate::pod::OomKill;
    use crate::resource::PerResource;

    /// Peaks of 6 h without head room, which do not fade.
    fn policy() -> Policy {
        let (window, none) = (PerResource::new(6 * 3600, 6 * 3600), PerResource::new(0.0, 0.0));
        let guard = GuardSettings {
            window,
            fade: none,
            headroom: none,
            warm_up: 0.1,
            ..GuardSettings::default()
        };
        Policy { guard, ..Policy::default() }
    }

    fn observed(samples: i64, cpu: f64, step: i64) -> (Observation, ContainerHistory) {
        let mut history = ContainerHistory::default();
        let mut observation =
            Observation::measured(0, PerResource::new(cpu, 100.0), PerResource::new(1.0, 200.0));
        for sample in 0..samples {
            observation.at = sample * step;
            history.observe(&observation, &policy(), observation.at);
        }
        (observation, history)
    }

    fn killed(observation: Observation) -> Observation {
        let kill = OomKill { restart: 1, finished_at: observation.at };
        Observation { oom_kill: Some(kill), ..observation }
    }

    fn reviewed(
        resource: Resource,
        preferred: Action,
        (observation, history): &(Observation, ContainerHistory),
        policy: &Policy,
    ) -> (Action, Option<Override>) {
        let preferred = Preference { action: preferred, room: None };
        let review = review(resource, preferred, observation, history, policy, observation.at);
        (review.action, review.overridden)
    }

    use Action::{Decrease, Increase, Maintain};
    use Resource::{Cpu, Memory};

    #[test]
    fn what_cpu_varies_by_raises_nothing() {
        let (observation, history) = observed(800, 1.0, 30);
        let of = |ordinary| {
            let burst = Burst { length: WINDOW, ordinary: Some(ordinary), lasting: None };
            let at = observation.at + 2;
            let seen = Observation { at, burst: Some(burst), ..observation };
            let mut history = history.clone();
            history.observe(&seen, &policy(), at);
            reviewed(Cpu, Increase, &(seen, history), &policy())
        };
        assert_eq!(of(1.2), (Maintain, Some(Override::Brief)));
        assert_eq!(of(0.9), (Increase, None));
    }

    #[test]
    fn what_others_need_keeps_nothing_from_growing() {
        let of = |cpu, need| {
            let (observation, mut history) = observed(3, cpu, 30);
            history.know_need(Cpu, need, 3600);
            reviewed(Cpu, Increase, &(observation, history), &policy())
        };
        assert_eq!(of(1.0, 1.0), (Increase, None));
        assert_eq!(of(1.0, 0.5), (Increase, None));
        assert_eq!(of(0.2, 0.5), (Decrease, Some(Override::KnownNeed)));
    }

    #[test]
    fn a_cut_waits_for_enough_samples() {
        let expected = (Maintain, Some(Override::TooFewSamples));
        assert_eq!(reviewed(Cpu, Decrease, &observed(4, 0.1, 30), &policy()), expected);
    }

    #[test]
    fn a_cut_keeps_clear_of_the_recent_peak_and_is_worth_a_resize() {
        let cut = |cpu| reviewed(Cpu, Decrease, &observed(800, cpu, 30), &policy());
        assert_eq!(cut(0.84), (Decrease, None));
        assert_eq!(cut(0.86), (Maintain, Some(Override::RecentPeak)));
    }

    #[test]
    fn what_is_throttled_is_not_cut_however_little_it_uses_on_average() {
        let (observation, history) = observed(800, 0.3, 30);
        let with = |throttled| (Observation { throttled, ..observation }, history.clone());
        let cut = |resource, throttled| reviewed(resource, Decrease, &with(throttled), &policy());
        assert_eq!(cut(Cpu, 0.05), (Decrease, None));
        assert_eq!(cut(Cpu, 0.2), (Maintain, Some(Override::Throttled)));
        assert_eq!(cut(Memory, 0.2), (Decrease, None));
    }

    #[test]
    fn a_network_gives_less_room_than_old_peaks_but_not_less_than_was_used_just_now() {
        let (mut observation, mut history) = observed(700, 0.8, 30);
        for _ in 0..60 {
            observation.at += 30;
            observation.usage.cpu = 0.4;
            history.observe(&observation, &policy(), observation.at);
        }
        let by_peaks = history.lowest_safe_limit(Cpu, &policy());
        let floor = |level: f32| {
            let room = Some([level; room::LEVELS]);
            floor(Cpu, room, by_peaks, &observation, &history, &policy())
        };
        let (limit, expected) = floor(-0.5);
        let foreseen = by_peaks * (-0.5_f64).exp();
        assert!((limit - 1.15 * foreseen).abs() < 1e-6, "{limit}");
        assert!((expected.unwrap().limit - foreseen).abs() < 1e-6);
        assert!((floor(-4.0).0 - 0.42).abs() < 1e-6, "what was used just now, and 5 %");
        assert_eq!(floor(4.0), (by_peaks, None));
        let careful =
            Policy { guard: GuardSettings { caution: 100.0, ..policy().guard }, ..policy() };
        let mut levels = [-0.5; room::LEVELS];
        levels[room::LEVELS - 1] = -0.3;
        let limit = |policy: &Policy| {
            super::floor(Cpu, Some(levels), by_peaks, &observation, &history, policy).0
        };
        assert!(limit(&careful) > limit(&policy()) * 1.2);
    }

    #[test]
    fn a_half_known_past_asks_for_more_room() {
        let cut = |cpu| reviewed(Cpu, Decrease, &observed(10, cpu, 30), &policy()).0;
        assert_eq!((cut(0.79), cut(0.76)), (Maintain, Decrease));
    }

    #[test]
    fn a_peak_counts_less_with_time() {
        let (mut observation, mut history) = observed(800, 0.9, 30);
        let mut fading = policy();
        fading.guard.fade.cpu = 0.5;
        let floor =
            |history: &ContainerHistory, policy: &Policy| history.lowest_safe_limit(Cpu, policy);
        assert!((floor(&history, &fading) - 0.9).abs() < 1e-6);
        observation.usage.cpu = 0.1;
        observation.at += 3 * 3600;
        history.observe(&observation, &fading, observation.at);
        assert!((floor(&history, &policy()) - 0.9).abs() < 1e-6);
        // Half of the window later, half of the fade: 0.9 x 0.75, give or take a bucket.
        let faded = floor(&history, &fading);
        assert!((faded - 0.675).abs() < 0.9 * 0.5 / 23.0, "{faded}");
    }

    #[test]
    fn an_oom_kill_raises_memory_until_it_is_answered() {
        let (observation, mut history) = observed(300, 0.1, 30);
        let seen = killed(observation);
        let expected = (Increase, Some(Override::OomKilled));
        assert_eq!(reviewed(Memory, Decrease, &(seen, history.clone()), &policy()), expected);
        history.observe(&seen, &policy(), seen.at);
        let (from, to, kill) = (200.0, 240.0, seen.oom_kill);
        let raised = AppliedChange { resource: Memory, from, to, kill };
        history.applied(&raised, &policy(), seen.at + 1);
        assert_eq!(reviewed(Memory, Maintain, &(seen, history), &policy()), (Maintain, None));
    }

    #[test]
    fn without_metrics_an_oom_kill_is_answered_and_nothing_else_is_done() {
        let (observation, history) = observed(300, 0.1, 30);
        let measured = PerResource::new(false, false);
        let seen = (Observation { measured, ..killed(observation) }, history);
        for preferred in Action::ALL {
            assert_eq!(reviewed(Memory, preferred, &seen, &policy()).0, Increase);
            assert_eq!(reviewed(Cpu, preferred, &seen, &policy()).0, Maintain);
        }
    }

    #[test]
    fn what_an_hpa_measures_is_left_alone_even_after_an_oom_kill() {
        let (observation, history) = observed(300, 0.1, 30);
        let seen = (killed(observation), history);
        let policy = Policy { managed_by_hpa: PerResource::new(false, true), ..policy() };
        for preferred in Action::ALL {
            let expected = (Maintain, Some(Override::ManagedByHpa));
            assert_eq!(reviewed(Memory, preferred, &seen, &policy), expected);
            assert_eq!(reviewed(Cpu, preferred, &seen, &policy), (preferred, None));
        }
    }

    #[test]
    fn up_only_lets_nothing_be_cut() {
        let (seen, policy) = (observed(300, 0.1, 30), Policy { up_only: true, ..policy() });
        let expected = (Maintain, Some(Override::UpOnly));
        assert_eq!(reviewed(Cpu, Decrease, &seen, &policy), expected);
        assert_eq!(reviewed(Cpu, Increase, &seen, &policy), (Increase, None));
    }

    #[test]
    fn nothing_is_restarted_but_after_an_oom_kill_or_where_it_is_allowed() {
        let (observation, history) = observed(300, 0.1, 30);
        let restarts = PerResource::new(false, true);
        let seen = (Observation { restarts, ..observation }, history);
        for preferred in [Decrease, Increase] {
            let expected = (Maintain, Some(Override::RestartRequired));
            assert_eq!(reviewed(Memory, preferred, &seen, &policy()), expected);
            assert_eq!(reviewed(Cpu, preferred, &seen, &policy()), (preferred, None));
        }
        let allowed = Policy { restarts_allowed: true, ..policy() };
        assert_eq!(reviewed(Memory, Decrease, &seen, &allowed), (Decrease, None));
        let seen = (killed(seen.0), seen.1);
        assert_eq!(reviewed(Memory, Maintain, &seen, &policy()).0, Increase);
    }

    #[test]
    fn memory_is_not_cut_where_the_server_does_not_lower_it_in_place() {
        let seen = observed(300, 0.1, 30);
        let old = Policy { memory_cuts: false, ..policy() };
        let expected = (Maintain, Some(Override::NoMemoryCuts));
        assert_eq!(reviewed(Memory, Decrease, &seen, &old), expected);
        assert_eq!(reviewed(Cpu, Decrease, &seen, &old), (Decrease, None));
        assert_eq!(reviewed(Memory, Increase, &seen, &old), (Increase, None));
    }

    #[test]
    fn what_has_no_limit_is_left_alone() {
        let (mut observation, history) = observed(300, 0.1, 30);
        observation.limit.cpu = 0.0;
        let expected = (Maintain, Some(Override::NoResourceSpec));
        assert_eq!(reviewed(Cpu, Increase, &(observation, history), &policy()), expected);
    }

    #[test]
    fn what_admission_would_refuse_is_not_tried() {
        use crate::namespace_limits::NamespaceLimits;
        let of = |cpu| PerResource::new(cpu, f64::INFINITY);
        let none = NamespaceLimits::default();
        let at_least = |cpu| NamespaceLimits { container_min: PerResource::new(cpu, 0.0), ..none };
        let at_most = |cpu| NamespaceLimits { container_max: of(cpu), ..none };
        let room = |cpu| NamespaceLimits { limits_room: of(cpu), ..none };
        let ratio = NamespaceLimits { max_limit_request_ratio: of(0.5), ..none };
        let (range, quota) = (Some(Override::LimitRange), Some(Override::ResourceQuota));
        // A container of one core that has used a tenth of it.
        for (limits, preferred, action, why) in [
            (none, Increase, Increase, None),
            (at_most(1.0), Increase, Maintain, range),
            (at_most(1.1), Increase, Increase, None),
            (at_most(0.5), Decrease, Decrease, None),
            (at_most(0.05), Decrease, Maintain, Some(Override::RecentPeak)),
            (at_least(1.0), Decrease, Maintain, range),
            (at_least(0.9), Decrease, Decrease, None),
            (at_least(2.0), Increase, Increase, None),
            (at_least(9.0), Increase, Maintain, range),
            (ratio, Increase, Maintain, range),
            (ratio, Maintain, Maintain, None),
            (room(0.0), Increase, Maintain, quota),
            (room(0.02), Increase, Maintain, quota),
            (room(0.1), Increase, Increase, None),
            (room(0.0), Decrease, Decrease, None),
        ] {
            let policy = Policy { limits, ..policy() };
            let reviewed = reviewed(Cpu, preferred, &observed(800, 0.1, 30), &policy);
            assert_eq!(reviewed, (action, why), "{limits:?}, {preferred:?}");
        }
        let (observation, history) = observed(300, 0.1, 30);
        let limits = NamespaceLimits { limits_room: PerResource::new(0.0, 0.0), ..none };
        let policy = Policy { limits, ..policy() };
        let seen = (killed(observation), history);
        assert_eq!(reviewed(Memory, Increase, &seen, &policy), (Maintain, quota));
    }
}
