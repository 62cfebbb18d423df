//! What is to be known of containers, and the peaks that followed: pods lived through under the
//! demonstrating rule, as on a real cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::demand::{DemandSeries, STEP};
use super::demonstrator;
use super::environment::{Moment, Pod};
use super::timing::{Source, Timing, TimingArgs};
use crate::core::features::FeatureSet;
use crate::core::observation::Observation;
use crate::core::policy::Policy;
use crate::core::resource::Resource;
use crate::core::room::HORIZON;
use crate::core::traits;
use crate::model::room_learner::Foresight;

/// Seconds from one row of a container to the next.
const EVERY: i64 = 600;
/// How long the pods of some runs live, in seconds.
const LIFE: i64 = 12 * 3600;

/// Lives through each series in each of its times.
pub fn collect(
    series: &[(Arc<DemandSeries>, Vec<Timing>)],
    features: &FeatureSet,
    policy: &Policy,
) -> Foresight {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some((series, timings)) = series.get(place) else { return };
                    let lived = timings
                        .iter()
                        .map(|timing| live(series.clone(), *timing, features, policy))
                        .collect::<Vec<_>>();
                    done.lock().push((series.name.clone(), place, lived));
                }
            });
        }
    });
    let mut done = done.into_inner();
    done.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    let mut all = Foresight { width: features.len(), ..Foresight::default() };
    for rows in done.into_iter().flat_map(|(.., lived)| lived) {
        all.states.extend(rows.states);
        all.peaks.iter_mut().zip(rows.peaks).for_each(|(all, of)| all.extend(of));
    }
    all
}

/// What a training learns from: by metrics-server, by kubelet, and fresh in short lives.
pub fn timings(hold: bool) -> Vec<Timing> {
    let real = |usage| TimingArgs { usage, ..TimingArgs::default() }.timing(hold);
    let short = Timing { life: Some(LIFE), ..real(Source::Ideal) };
    vec![real(Source::MetricsApi), real(Source::Kubelet), short]
}

fn live(
    series: Arc<DemandSeries>,
    timing: Timing,
    features: &FeatureSet,
    policy: &Policy,
) -> Foresight {
    let mut rows = Foresight { width: features.len(), ..Foresight::default() };
    let mut pod = Pod::new(series, timing);
    let mut last = i64::MIN;
    while let Some(moment) = pod.advance(policy, |_| ()) {
        let observation = match moment {
            Moment::Cycle(Some(seen)) if pod.now().saturating_sub(last) >= EVERY => {
                last = pod.now();
                note(&mut rows, &pod, &seen, features, policy);
                seen
            }
            Moment::Cycle(Some(seen)) | Moment::Birth(Some(seen)) | Moment::SecondLook(seen) => {
                seen
            }
            Moment::Cycle(None) | Moment::Birth(None) => continue,
        };
        demonstrator::act(&mut pod, &observation, policy);
    }
    rows
}

/// A row of what is seen now, unless the series ends too soon to know what comes.
fn note(
    rows: &mut Foresight,
    pod: &Pod,
    seen: &Observation,
    features: &FeatureSet,
    policy: &Policy,
) {
    let steps = |seconds: i64| (seconds as f64 / STEP) as usize;
    let begin = steps(pod.now()) + 1;
    let Some(to_come) = pod.series.demand.get(begin..begin + steps(HORIZON)) else { return };
    if !seen.is_measured() {
        return;
    }
    features.extend_row(&mut rows.states, seen, &pod.history, policy);
    let largest = super::demand::max(to_come);
    for (resource, peaks) in Resource::ALL.into_iter().zip(&mut rows.peaks) {
        let peak = match resource {
            Resource::Cpu => largest.cpu,
            Resource::Memory => largest.memory,
        };
        let reference =
            traits::reference(resource, pod.history.lowest_safe_limit(resource, policy));
        peaks.push((peak.max(1e-3) / reference).ln().clamp(-4.0, 4.0) as f32);
    }
}
