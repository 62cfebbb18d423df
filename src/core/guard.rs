//! Stands between the network and the cluster: no cut below the recent peak, more memory after an
//! OOM kill.

use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::history::PodHistory;
use crate::observation::Observation;
use crate::policy::Policy;
use crate::resource::Resource;

/// Seconds until a pod's past counts as known.
const WARM_UP: f64 = 4.0 * 3600.0;

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
    /// The pod has neither a limit nor a request of this resource.
    NoResourceSpec,
    /// A HorizontalPodAutoscaler measures the workload by this resource.
    ManagedByHpa,
    /// The pod or its workload asks that limits are never cut.
    UpOnly,
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
        }
    }
}

/// What may be done to one resource, and why it differs from what was preferred.
pub fn review(
    resource: Resource,
    preferred: Action,
    observation: &Observation,
    history: &PodHistory,
    policy: &Policy,
) -> (Action, Option<Override>) {
    if policy.managed_by_hpa[resource] {
        return (Action::Maintain, Some(Override::ManagedByHpa));
    }
    let limit = observation.limit[resource];
    if limit <= 0.0 {
        let why = (preferred != Action::Maintain).then_some(Override::NoResourceSpec);
        return (Action::Maintain, why);
    }
    if resource == Resource::Memory && history.unanswered_oom(observation) {
        let why = (preferred != Action::Increase).then_some(Override::OomKilled);
        return (Action::Increase, why);
    }
    if !observation.measured {
        let why = (preferred != Action::Maintain).then_some(Override::NoMetrics);
        return (Action::Maintain, why);
    }
    if preferred == Action::Decrease {
        if policy.up_only {
            return (Action::Maintain, Some(Override::UpOnly));
        }
        if (history.observed() as usize) < policy.history_window {
            return (Action::Maintain, Some(Override::TooFewSamples));
        }
        let (min, max) = (policy.min[resource], policy.max[resource]);
        let lowered = (limit * preferred.factor(policy.scale_factor)).clamp(min, max);
        if lowered < lowest_safe_limit(resource, history, policy) {
            return (Action::Maintain, Some(Override::RecentPeak));
        }
    }
    (preferred, None)
}

/// The recent peak, which fades with time, plus head room; more of it while little is known.
pub fn lowest_safe_limit(resource: Resource, history: &PodHistory, policy: &Policy) -> f64 {
    let known = (history.observed_for() as f64 / WARM_UP).min(1.0);
    let unknown = policy.guard.warm_up * (1.0 - known);
    history.faded_peak(resource, policy.guard.fade[resource])
        * (1.0 + policy.guard.headroom[resource])
        * (1.0 + unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::GuardSettings;
    use crate::resource::PerResource;

    /// Peaks of 6 h without head room, which do not fade.
    fn policy() -> Policy {
        let (window, none) = (PerResource::new(6 * 3600, 6 * 3600), PerResource::new(0.0, 0.0));
        let guard = GuardSettings { window, fade: none, headroom: none, warm_up: 0.1 };
        Policy { guard, ..Policy::default() }
    }

    fn observed(samples: i64, cpu: f64, step: i64) -> (Observation, PodHistory) {
        let mut history = PodHistory::default();
        let mut observation =
            Observation::measured(0, PerResource::new(cpu, 100.0), PerResource::new(1.0, 200.0));
        for sample in 0..samples {
            observation.at = sample * step;
            history.observe(&observation, &policy());
        }
        (observation, history)
    }

    #[test]
    fn a_cut_waits_for_enough_samples() {
        let (observation, history) = observed(4, 0.1, 30);
        let reviewed = review(Resource::Cpu, Action::Decrease, &observation, &history, &policy());
        assert_eq!(reviewed, (Action::Maintain, Some(Override::TooFewSamples)));
    }

    #[test]
    fn a_cut_keeps_clear_of_the_recent_peak() {
        let (observation, history) = observed(800, 0.79, 30);
        assert_eq!(
            review(Resource::Cpu, Action::Decrease, &observation, &history, &policy()).0,
            Action::Decrease
        );
        let (observation, history) = observed(800, 0.81, 30);
        let reviewed = review(Resource::Cpu, Action::Decrease, &observation, &history, &policy());
        assert_eq!(reviewed, (Action::Maintain, Some(Override::RecentPeak)));
    }

    #[test]
    fn a_cut_keeps_clear_of_what_the_fullest_container_uses() {
        let reviewed = |container_utilization| {
            let (mut observation, mut history) = observed(800, 0.1, 30);
            observation.container_utilization.cpu = container_utilization;
            observation.at += 30;
            history.observe(&observation, &policy());
            review(Resource::Cpu, Action::Decrease, &observation, &history, &policy())
        };
        assert_eq!(reviewed(0.79), (Action::Decrease, None));
        assert_eq!(reviewed(0.81), (Action::Maintain, Some(Override::RecentPeak)));
    }

    #[test]
    fn a_half_known_past_asks_for_more_room() {
        let (observation, history) = observed(10, 0.74, 30);
        assert_eq!(
            review(Resource::Cpu, Action::Decrease, &observation, &history, &policy()).0,
            Action::Maintain
        );
        let (observation, history) = observed(10, 0.72, 30);
        assert_eq!(
            review(Resource::Cpu, Action::Decrease, &observation, &history, &policy()).0,
            Action::Decrease
        );
    }

    #[test]
    fn a_peak_counts_less_with_time() {
        let (mut observation, mut history) = observed(800, 0.9, 30);
        let mut fading = policy();
        fading.guard.fade.cpu = 0.5;
        let floor = |history: &PodHistory, policy: &Policy| {
            lowest_safe_limit(Resource::Cpu, history, policy)
        };
        assert!((floor(&history, &fading) - 0.9).abs() < 1e-6);
        observation.usage.cpu = 0.1;
        observation.at += 3 * 3600;
        history.observe(&observation, &fading);
        assert!((floor(&history, &policy()) - 0.9).abs() < 1e-6);
        // Half of the window later, half of the fade: 0.9 x 0.75, give or take a bucket.
        assert!(
            (floor(&history, &fading) - 0.675).abs() < 0.9 * 0.5 / 23.0,
            "{}",
            floor(&history, &fading)
        );
    }

    #[test]
    fn an_oom_kill_raises_memory_until_it_is_answered() {
        let (mut observation, mut history) = observed(300, 0.1, 30);
        observation.oom_killed_at = Some(5000);
        let reviewed =
            review(Resource::Memory, Action::Decrease, &observation, &history, &policy());
        assert_eq!(reviewed, (Action::Increase, Some(Override::OomKilled)));
        history.resized_at = Some(5001);
        let reviewed =
            review(Resource::Memory, Action::Maintain, &observation, &history, &policy());
        assert_eq!(reviewed, (Action::Maintain, None));
    }

    #[test]
    fn without_metrics_an_oom_kill_is_answered_and_nothing_else_is_done() {
        let (mut observation, history) = observed(300, 0.1, 30);
        (observation.measured, observation.oom_killed_at) = (false, Some(5000));
        for preferred in Action::ALL {
            assert_eq!(
                review(Resource::Memory, preferred, &observation, &history, &policy()).0,
                Action::Increase
            );
            assert_eq!(
                review(Resource::Cpu, preferred, &observation, &history, &policy()).0,
                Action::Maintain
            );
        }
    }

    #[test]
    fn what_an_hpa_measures_is_left_alone_even_after_an_oom_kill() {
        let (mut observation, history) = observed(300, 0.1, 30);
        observation.oom_killed_at = Some(5000);
        let policy = Policy { managed_by_hpa: PerResource::new(false, true), ..policy() };
        for preferred in Action::ALL {
            let reviewed = review(Resource::Memory, preferred, &observation, &history, &policy);
            assert_eq!(reviewed, (Action::Maintain, Some(Override::ManagedByHpa)));
            assert_eq!(
                review(Resource::Cpu, preferred, &observation, &history, &policy),
                (preferred, None)
            );
        }
    }

    #[test]
    fn up_only_lets_nothing_be_cut() {
        let (observation, history) = observed(300, 0.1, 30);
        let policy = Policy { up_only: true, ..policy() };
        let reviewed =
            |preferred| review(Resource::Cpu, preferred, &observation, &history, &policy);
        assert_eq!(reviewed(Action::Decrease), (Action::Maintain, Some(Override::UpOnly)));
        assert_eq!(reviewed(Action::Increase), (Action::Increase, None));
    }

    #[test]
    fn what_has_no_limit_is_left_alone() {
        let (mut observation, history) = observed(300, 0.1, 30);
        observation.limit.cpu = 0.0;
        let reviewed = review(Resource::Cpu, Action::Increase, &observation, &history, &policy());
        assert_eq!(reviewed, (Action::Maintain, Some(Override::NoResourceSpec)));
    }
}
