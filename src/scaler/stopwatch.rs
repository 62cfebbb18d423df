//! Books the time of a cycle on its phases.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::core::phases::{Phase, Phases, Spent};

/// Books the time since the last lap on a phase.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch {
    phases: Phases,
    lap: (Instant, Duration),
}

impl Stopwatch {
    pub fn start() -> Self {
        Self { phases: Phases::default(), lap: (Instant::now(), cpu_time()) }
    }

    pub fn lap(&mut self, phase: Phase) {
        let now = (Instant::now(), cpu_time());
        let (wall, cpu) = (now.0 - self.lap.0, now.1.saturating_sub(self.lap.1));
        self.phases.add(phase, Spent { wall, cpu });
        self.lap = now;
    }

    pub fn phases(&self) -> Phases {
        self.phases
    }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lap_goes_to_its_phase() {
        let mut watch = Stopwatch::start();
        std::thread::sleep(Duration::from_millis(5));
        watch.lap(Phase::Fetch);
        let busy = Instant::now();
        while busy.elapsed() < Duration::from_millis(5) {
            std::hint::black_box(busy);
        }
        watch.lap(Phase::Forward);
        let of = |phase: Phase| watch.phases().iter().find(|(at, _)| *at == phase).unwrap().1;
        assert!(of(Phase::Fetch).wall >= Duration::from_millis(5));
        assert!(of(Phase::Forward).cpu > Duration::from_millis(1));
        assert_eq!(of(Phase::Apply), Spent::default());
        assert_eq!(watch.phases().total().wall, of(Phase::Fetch).wall + of(Phase::Forward).wall);
    }
}
