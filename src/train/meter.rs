//! What is measured of a container: means over a window, some time ago.

use std::collections::VecDeque;

use super::timing::Timing;
use crate::core::burst::Burst;
use crate::core::second_look::{Counters, VARYING, seen};
use crate::sim::physics::{Resources, Step};

/// Seconds of usage that a look at the kubelet goes by.
const LOOKS: i64 = VARYING / 1000;

/// Usage over a window of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// The first and the last tick of the window, by its beginning.
    pub begin: i64,
    pub end: i64,
    /// The mean of CPU, and the memory at the end.
    pub usage: Resources,
    /// Of a look at the kubelet.
    pub burst: Option<Burst>,
}

/// The counters of a container since its start, and what metrics-server has made of them.
#[derive(Debug, Clone)]
pub struct Meter {
    /// CPU seconds since the start and memory, before the first of the last ticks and after each.
    counters: VecDeque<(f64, f64)>,
    /// Samples with the time from which on they can be read.
    published: VecDeque<(i64, Sample)>,
    /// Since when the kubelet is looked at.
    looked: Option<i64>,
}

impl Default for Meter {
    fn default() -> Self {
        Self { counters: [(0.0, 0.0)].into(), published: VecDeque::new(), looked: None }
    }
}

impl Meter {
    /// Counts the tick that began at `now`.
    pub fn count(&mut self, now: i64, step: &Step, phase: i64, timing: &Timing) {
        let window = timing.window.max(timing.second_look.unwrap_or(0)).max(LOOKS).max(timing.tick);
        let consumed = self.counters.back().map_or(0.0, |(consumed, _)| *consumed);
        let consumed = consumed + step.usage.cpu * timing.tick as f64;
        self.counters.push_back((consumed, step.usage.memory));
        if self.counters.len() as i64 > (window + timing.age) / timing.tick + 1 {
            self.counters.pop_front();
        }
        if (now + phase) % timing.window.max(timing.tick) == 0
            && let Some(sample) = self.sample(now, now, timing.window, timing.tick)
        {
            self.published.push_back((now + timing.age, sample));
        }
        while self.published.get(1).is_some_and(|(readable, _)| *readable <= now) {
            self.published.pop_front();
        }
    }

    /// The newest sample of metrics-server.
    pub fn newest(&self, now: i64) -> Option<Sample> {
        self.published.front().filter(|(readable, _)| *readable <= now).map(|(_, sample)| *sample)
    }

    /// What a look at the kubelet tells: the usage since looks before, so nothing the first time.
    pub fn look(&mut self, now: i64, timing: &Timing) -> Option<Sample> {
        let (tick, every) = (timing.tick, timing.second_look.unwrap_or(0).max(timing.tick));
        let (end, first) = (now - timing.age, *self.looked.get_or_insert(now) - timing.age);
        let newest = self.counters.len().checked_sub(1 + (timing.age / tick) as usize)?;
        let most = (LOOKS.max(every) / every) as usize;
        let looks = (0..=most).rev().filter_map(|ago| {
            let at = end - ago as i64 * every;
            let (consumed, memory) =
                *self.counters.get(newest.checked_sub(((end - at) / tick) as usize)?)?;
            let (cpu, memory) = (Some(consumed), Some(memory));
            Some(Counters { at: 1000 * at, cpu, memory, waiting: None })
        });
        let looks: Vec<Counters> = looks.collect();
        let under = looks.iter().take_while(|look| look.at < 1000 * first).count();
        let seen = seen(&looks, under);
        let usage = Resources { cpu: seen.usage.cpu?, memory: seen.usage.memory? };
        let begin = end - seen.burst.length / 1000 + tick;
        Some(Sample { begin, end, usage, burst: Some(seen.burst) })
    }

    /// The next look will be the first one again.
    pub fn look_away(&mut self) {
        self.looked = None;
    }

    /// The usage of the `window` whose last tick began at `end`; none where the start is in it.
    fn sample(&self, now: i64, end: i64, window: i64, tick: i64) -> Option<Sample> {
        let window = window.max(tick);
        let last = self.counters.len().checked_sub(1 + ((now - end) / tick) as usize)?;
        let before = last.checked_sub((window / tick) as usize)?;
        let ((before, _), (after, memory)) = (self.counters[before], *self.counters.get(last)?);
        let usage = Resources { cpu: (after - before) / window as f64, memory };
        Some(Sample { begin: end - window + tick, end, usage, burst: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing {
        tick: 1,
        window: 10,
        age: 1,
        second_look: Some(2),
        kubelet: true,
        ..Timing::IDEAL
    };

    fn used(cpu: f64, memory: f64) -> Step {
        let usage = Resources { cpu, memory };
        Step { up: true, usage, throttled: false, unserved: 0.0, oom_killed: false }
    }

    #[test]
    fn a_sample_is_the_mean_of_its_window_and_stays_until_the_next() {
        let mut meter = Meter::default();
        let mut newest = Vec::new();
        for now in 0..35 {
            meter.count(now, &used(now as f64, 100.0 + now as f64), 0, &TIMING);
            newest.push(meter.newest(now).map(|sample| sample.usage));
        }
        let sample = |cpu, memory| Some(Resources { cpu, memory });
        assert_eq!(
            newest[..11],
            [None; 11],
            "the window was not full at 0, and 10 is a second old"
        );
        assert_eq!(newest[11..21], [sample(5.5, 110.0); 10]);
        assert_eq!(newest[21..31], [sample(15.5, 120.0); 10]);
    }

    #[test]
    fn the_kubelet_tells_of_the_last_seconds_that_were_looked_at() {
        let mut meter = Meter::default();
        let look = |now: i64, meter: &mut Meter| {
            meter.count(now, &used(now as f64, 1.0), 0, &TIMING);
            (now % 2 == 0).then(|| meter.look(now, &TIMING).map(|sample| sample.usage.cpu))
        };
        let looks: Vec<_> = (0..9).filter_map(|now| look(now, &mut meter)).collect();
        assert_eq!(looks, [None, Some(0.5), Some(1.5), Some(3.5), Some(5.5)]);
        meter.look_away();
        assert_eq!(look(10, &mut meter), Some(None));
    }
}
