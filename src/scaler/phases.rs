//! Where a cycle spends its time.

use std::fmt;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The pods out of the watches' copies, with the workloads behind them.
    List,
    /// The metrics' bytes from the API server.
    Fetch,
    /// Those bytes into usage.
    Parse,
    /// History brought up to date, states made of it.
    Features,
    Forward,
    /// What the guard, the cooldown and the bounds leave of the network's wishes, as requests and
    /// limits.
    Plan,
    /// Resizes sent and waited for, and everything recorded.
    Apply,
}

impl Phase {
    pub const ALL: [Self; 7] = [
        Self::List,
        Self::Fetch,
        Self::Parse,
        Self::Features,
        Self::Forward,
        Self::Plan,
        Self::Apply,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Fetch => "fetch",
            Self::Parse => "parse",
            Self::Features => "features",
            Self::Forward => "forward",
            Self::Plan => "plan",
            Self::Apply => "apply",
        }
    }
}

/// Time that has passed, and CPU time of the whole process meanwhile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    pub wall: Duration,
    pub cpu: Duration,
}

/// What each phase of one cycle has taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Phases([Spent; Phase::ALL.len()]);

impl Phases {
    pub fn iter(&self) -> impl Iterator<Item = (Phase, Spent)> + '_ {
        Phase::ALL.into_iter().zip(self.0)
    }

    pub fn total(&self) -> Spent {
        self.0.iter().fold(Spent::default(), |sum, spent| Spent {
            wall: sum.wall + spent.wall,
            cpu: sum.cpu + spent.cpu,
        })
    }
}

/// Each phase with its seconds of time and of CPU: `list=0.012/0.010 fetch=…`.
impl fmt::Display for Phases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (phase, spent)) in self.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            let (wall, cpu) = (spent.wall.as_secs_f64(), spent.cpu.as_secs_f64());
            write!(f, "{space}{}={wall:.6}/{cpu:.6}", phase.name())?;
        }
        Ok(())
    }
}

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
        let spent = &mut self.phases.0[phase as usize];
        spent.wall += now.0 - self.lap.0;
        spent.cpu += now.1.saturating_sub(self.lap.1);
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
