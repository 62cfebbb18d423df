//! What a limit does to a container: throttling, OOM kills, restarts. Shared by the simulated
//! cluster, the trainer and the evaluator, so that a policy is trained, judged and shown under the
//! same rules.

/// How long a container is down after an OOM kill.
pub const RESTART_SECONDS: f64 = 60.0;

/// Cores and MiB: a demand, a limit or a usage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resources {
    pub cpu: f64,
    pub memory: f64,
}

impl Resources {
    pub const ZERO: Self = Self { cpu: 0.0, memory: 0.0 };
    /// The limits of a container that has none.
    pub const UNLIMITED: Self = Self { cpu: f64::INFINITY, memory: f64::INFINITY };
}

/// One step of a container.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// False while the container restarts: then it uses nothing and nothing can be said of it.
    pub up: bool,
    pub usage: Resources,
    /// CPU demand over the limit: the container ran slower than it wanted.
    pub throttled: bool,
    /// Cores that were wanted and not given.
    pub unserved: f64,
    /// The memory demand passed the limit in this step: the container is down for
    /// [`RESTART_SECONDS`] afterwards.
    pub oom_killed: bool,
}

/// The part of a container that outlives a step.
#[derive(Debug, Clone, Copy, Default)]
pub struct Container {
    down_until: f64,
}

impl Container {
    /// Keeps the container down until `time` (seconds), as an eviction or a restart does.
    pub fn restart(&mut self, time: f64) {
        self.down_until = self.down_until.max(time);
    }

    pub fn is_up(&self, now: f64) -> bool {
        now >= self.down_until
    }

    /// Lets the step of `step` seconds that begins at `now` pass under a constant demand.
    pub fn step(&mut self, now: f64, step: f64, demand: Resources, limits: Resources) -> Step {
        if !self.is_up(now) {
            return Step {
                up: false,
                usage: Resources::ZERO,
                throttled: false,
                unserved: 0.0,
                oom_killed: false,
            };
        }
        let oom_killed = demand.memory > limits.memory;
        if oom_killed {
            self.restart(now + step + RESTART_SECONDS);
        }
        let cpu = demand.cpu.min(limits.cpu);
        Step {
            up: true,
            usage: Resources { cpu, memory: demand.memory.min(limits.memory) },
            throttled: demand.cpu > limits.cpu * (1.0 + 1e-9),
            unserved: demand.cpu - cpu,
            oom_killed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Resources = Resources { cpu: 1.0, memory: 100.0 };

    #[test]
    fn usage_is_demand_below_the_limit() {
        let demand = Resources { cpu: 0.4, memory: 60.0 };
        let step = Container::default().step(0.0, 30.0, demand, LIMITS);
        assert_eq!(
            step,
            Step { up: true, usage: demand, throttled: false, unserved: 0.0, oom_killed: false }
        );
    }

    #[test]
    fn cpu_over_the_limit_is_throttled_and_counted() {
        let step =
            Container::default().step(0.0, 30.0, Resources { cpu: 1.5, memory: 60.0 }, LIMITS);
        assert!(step.throttled && !step.oom_killed);
        assert_eq!((step.usage.cpu, step.unserved), (1.0, 0.5));
    }

    #[test]
    fn memory_over_the_limit_kills_and_costs_a_minute() {
        let mut container = Container::default();
        let demand = Resources { cpu: 0.4, memory: 101.0 };
        assert!(container.step(0.0, 30.0, demand, LIMITS).oom_killed);
        assert!(!container.step(30.0, 30.0, demand, LIMITS).up);
        assert!(!container.step(60.0, 30.0, demand, LIMITS).up);
        assert!(container.step(90.0, 30.0, demand, LIMITS).oom_killed);
    }
}
