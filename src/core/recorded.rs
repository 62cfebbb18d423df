//! What a monitoring system has recorded of a workload before this service saw it, so that the
//! first day is as good as the fourth.

use std::sync::Arc;

use crate::resource::{PerResource, Resource};

/// Of the containers of one workload, by their names.
pub type RecordedWorkload = Vec<(Arc<str>, Recorded)>;

/// Of one container of a workload: times in seconds since the epoch, amounts in cores and MiB.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recorded {
    /// The largest usage of any pod in the time that ends then.
    pub peaks: PerResource<Vec<(i64, f64)>>,
    /// What one pod uses: samples, each of which stands for `step` seconds.
    pub samples: PerResource<Vec<(i64, f64)>>,
    pub step: i64,
    /// The memory limits at which it was killed.
    pub kills: Vec<(i64, f64)>,
}

/// The pod that a workload was first seen by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstPod {
    pub name: String,
    /// Seconds since the epoch.
    pub created: Option<i64>,
}

impl Recorded {
    /// When it was first and last measured, of the time from `since` on.
    pub(crate) fn span(&self, since: i64) -> Option<(i64, i64)> {
        let times = Resource::ALL.iter().flat_map(|resource| &self.samples[*resource]);
        let times = times.map(|(at, _)| *at).filter(|at| *at >= since);
        times.clone().min().zip(times.max())
    }

    /// Without what is of after `now`, by a clock that is ahead.
    pub(crate) fn until(mut self, now: i64) -> Self {
        let series = [&mut self.peaks.cpu, &mut self.peaks.memory, &mut self.kills];
        let samples = [&mut self.samples.cpu, &mut self.samples.memory];
        for series in series.into_iter().chain(samples) {
            series.retain(|(at, amount)| *at <= now && amount.is_finite() && *amount >= 0.0);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_come_or_is_no_amount_is_left_out() {
        let series = || vec![(10, 1.0), (20, f64::NAN), (30, -1.0), (40, 2.0), (50, 3.0)];
        let recorded = Recorded {
            peaks: PerResource::new(series(), series()),
            samples: PerResource::new(series(), series()),
            step: 10,
            kills: series(),
        };
        let recorded = recorded.until(40);
        let kept = vec![(10, 1.0), (40, 2.0)];
        assert_eq!((&recorded.peaks.memory, &recorded.kills), (&kept, &kept));
        assert_eq!((recorded.span(10), recorded.span(11)), (Some((10, 40)), Some((40, 40))));
        assert_eq!(recorded.span(41), None);
    }
}
