//! What is known of how a container uses a resource, relative to what it would get without a
//! network.

use crate::history::ContainerHistory;
use crate::observation::Observation;
use crate::peaks::BUCKETS;
use crate::policy::Policy;
use crate::resource::{PerResource, Resource};

/// Logarithms are cut to this.
const WIDEST: f64 = 4.0;
/// Below this amount (cores, MiB) all counts alike.
const LEAST: PerResource<f64> = PerResource { cpu: 0.01, memory: 1.0 };

/// What a network may be told of a resource of a container. Amounts are logarithms of what part
/// they are of the reference: the lowest limit that is safe by recent peaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trait {
    /// The mean of the last samples.
    Mean,
    /// The last sample.
    Usage,
    /// The largest of the newest so many of the 24 parts of the guard's window.
    Peak(usize),
    /// The smallest peak of the newest so many parts in which the container was seen.
    LowPeak(usize),
    /// The mean of the parts' peaks.
    MeanPeak,
    /// The deviation of the parts' peaks, as a share of their mean.
    Volatility,
    /// The largest rise from one part to the next.
    Rise,
    /// The share of the parts in which the container was seen.
    Known,
    /// What is typically used.
    Typical,
    Limit,
    /// Whether all of the limit is used.
    Full,
}

/// All traits of a resource of a container, computed at once.
#[derive(Debug, Clone)]
pub struct Traits {
    /// The lowest limit that is safe by recent peaks: cores, MiB.
    pub reference: f64,
    mean: f32,
    usage: f32,
    typical: f32,
    limit: f32,
    full: f32,
    /// The largest and the smallest peak of the newest part, the newest two, and so on.
    peaks: [f32; BUCKETS],
    low_peaks: [f32; BUCKETS],
    mean_peak: f32,
    volatility: f32,
    rise: f32,
    known: f32,
}

/// A limit that is used to this share has no more to give.
const FULL: f64 = 0.95;

impl Traits {
    pub fn of(
        resource: Resource,
        observation: &Observation,
        history: &ContainerHistory,
        policy: &Policy,
    ) -> Self {
        let reference = reference(resource, history.lowest_safe_limit(resource, policy));
        let part = |amount: f64| (amount / reference).max(1e-9).ln().clamp(-WIDEST, WIDEST) as f32;
        let (mut peaks, mut low_peaks) = ([0.0; BUCKETS], [0.0; BUCKETS]);
        let (mut largest, mut smallest) = (0.0_f64, f64::INFINITY);
        let (mut known, mut sum, mut squares, mut rise) = (0.0, 0.0, 0.0, 1.0_f64);
        let mut newer = None;
        history.peaks(resource).enumerate().for_each(|(index, (_, peak))| {
            if peak > 0.0 {
                (largest, smallest) = (largest.max(peak), smallest.min(peak));
                (known, sum, squares) = (known + 1.0, sum + peak, squares + peak * peak);
                rise = newer.map_or(rise, |newer: f64| rise.max(newer / peak));
                newer = Some(peak);
            }
            (peaks[index], low_peaks[index]) = (largest as f32, smallest as f32);
        });
        let mean_peak = sum / f64::max(known, 1.0);
        let variance = (squares / f64::max(known, 1.0) - mean_peak * mean_peak).max(0.0);
        let typical = f64::from(history.typical[resource]);
        Self {
            reference,
            mean: part(history.mean(resource)),
            usage: part(observation.usage[resource]),
            typical: if typical > 0.0 { part(typical) } else { 0.0 },
            limit: part(observation.limit[resource]),
            full: f32::from(u8::from(observation.utilization(resource) >= FULL)),
            peaks,
            low_peaks,
            mean_peak: part(mean_peak),
            volatility: (variance.sqrt() / mean_peak.max(1e-9)).min(WIDEST) as f32,
            rise: rise.ln().min(WIDEST) as f32,
            known: (known / BUCKETS as f64) as f32,
        }
    }

    pub fn value(&self, of: Trait) -> f32 {
        let part = |amount: f32| {
            let part = (f64::from(amount) / self.reference).max(1e-9);
            part.ln().clamp(-WIDEST, WIDEST) as f32
        };
        match of {
            Trait::Mean => self.mean,
            Trait::Usage => self.usage,
            Trait::Peak(parts) => part(self.peaks[parts - 1]),
            Trait::LowPeak(parts) => part(self.low_peaks[parts - 1]),
            Trait::MeanPeak => self.mean_peak,
            Trait::Volatility => self.volatility,
            Trait::Rise => self.rise,
            Trait::Known => self.known,
            Trait::Typical => self.typical,
            Trait::Limit => self.limit,
            Trait::Full => self.full,
        }
    }
}

/// What amounts are relative to: the lowest limit that is safe by recent peaks.
pub fn reference(resource: Resource, lowest_safe_limit: f64) -> f64 {
    lowest_safe_limit.max(LEAST[resource])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(usage: &[f64]) -> (Observation, ContainerHistory, Policy) {
        let (mut history, policy) = (ContainerHistory::default(), Policy::default());
        let limit = PerResource::new(2.0, 2048.0);
        let mut observation = Observation::measured(0, PerResource::new(0.0, 0.0), limit);
        for (hour, cpu) in usage.iter().enumerate() {
            observation.at = hour as i64 * 3600;
            observation.usage = PerResource::new(*cpu, 100.0);
            history.observe(&observation, &policy, observation.at);
        }
        (observation, history, policy)
    }

    #[test]
    fn amounts_are_parts_of_the_lowest_safe_limit() {
        let (observation, history, policy) = seen(&[0.2, 0.8, 0.2]);
        let traits = Traits::of(Resource::Cpu, &observation, &history, &policy);
        let amount = |of| f64::from(traits.value(of)).exp() * traits.reference;
        assert!((amount(Trait::Usage) - 0.2).abs() < 1e-6);
        assert!((amount(Trait::Mean) - 0.4).abs() < 1e-6);
        assert!((amount(Trait::Peak(1)) - 0.2).abs() < 1e-6);
        assert!((amount(Trait::Peak(24)) - 0.8).abs() < 1e-6);
        assert!((amount(Trait::LowPeak(24)) - 0.2).abs() < 1e-6);
        assert!((amount(Trait::MeanPeak) - 0.4).abs() < 1e-6);
        assert!((f64::from(traits.value(Trait::Rise)) - 4_f64.ln()).abs() < 1e-6);
        assert_eq!((traits.value(Trait::Known), traits.value(Trait::Full)), (0.125, 0.0));
        assert!(traits.value(Trait::Volatility) > 0.7);
    }

    #[test]
    fn of_what_was_never_seen_every_trait_is_a_number() {
        let (observation, history, policy) = seen(&[]);
        let traits = Traits::of(Resource::Memory, &observation, &history, &policy);
        for of in [Trait::Mean, Trait::Peak(24), Trait::LowPeak(1), Trait::MeanPeak, Trait::Rise] {
            assert!(traits.value(of).is_finite(), "{of:?}");
        }
    }
}
