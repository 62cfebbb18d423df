//! Where a cycle spends its time.

use std::fmt;
use std::time::Duration;

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
    /// What the guard, the cooldown and the bounds leave of the preferred actions, as the next step
    /// of each pod.
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

    /// Adds to what a phase has taken.
    pub fn add(&mut self, phase: Phase, spent: Spent) {
        let sum = &mut self.0[phase as usize];
        (sum.wall, sum.cpu) = (sum.wall + spent.wall, sum.cpu + spent.cpu);
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
