//! The running side of pods: containers under physics, and what their metrics say.

use super::noise::mix;
use super::physics::{Container as Process, Resources};
use super::requirements::{Requirements, Sum};
use super::store::Key;
use super::workload::Workload;

/// Seconds of simulated time between two scrapes of usage, as metrics-server does it.
pub const SCRAPE_SECONDS: f64 = 15.0;

/// What a node runs of a pod.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Tells this pod from an earlier one of the same name.
    pub incarnation: u64,
    pub node: Option<String>,
    pub workload: Workload,
    pub containers: Vec<Container>,
    /// Requests as the kubelet has admitted them.
    pub allocated: Sum,
    pub resize: Resize,
    pub started: bool,
    pub finished: bool,
    pub terminating: bool,
}

/// Where the resize of a pod stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resize {
    #[default]
    None,
    Deferred,
    Infeasible,
    InProgress,
    /// Cannot be done now; tried again from time to time.
    Error,
}

/// How a container ends that does not end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    OutOfMemory,
    Exit(i32),
}

/// A container that ends some seconds after each of its starts. It is started again with back-off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CrashLoop {
    pub after: f64,
    pub end: End,
    /// While it is down, metrics lack only the container and not the whole pod.
    pub missing_alone: bool,
}

impl CrashLoop {
    pub fn new(after: f64, end: End) -> Self {
        Self { after, end, missing_alone: false }
    }
}

/// Seconds of back-off at first and at most, and of running after which it begins anew.
const FIRST_BACK_OFF: f64 = 10.0;
const LONGEST_BACK_OFF: f64 = 300.0;
const FORGIVEN: f64 = 600.0;

#[derive(Debug, Clone)]
pub struct Container {
    pub name: String,
    pub running: bool,
    /// Seconds of simulated time; before 0 if it started before the simulation.
    pub started: f64,
    pub restarts: u32,
    pub oom_kills: u32,
    /// The limits in force, and the requirements that they come from.
    pub limits: Resources,
    pub requirements: Requirements,
    /// Its share of the pod's workload.
    pub share: Resources,
    pub process: Process,
    /// Usage of memory in the last step, in MiB.
    pub memory: f64,
    /// Until when its physics is done.
    pub passed: f64,
    /// Core-seconds used since it started.
    pub cpu_total: f64,
    /// Core-seconds used, and seconds measured, since the last scrape.
    cpu_seconds: f64,
    seconds: f64,
    /// What the last scrape found: nothing of a container that was down or younger than a scrape.
    pub sample: Option<Resources>,
    /// How it has ended, while the kubelet has not seen it yet.
    pub unseen_end: Option<End>,
    pub crash_loop: Option<CrashLoop>,
    /// Seconds from its last end to its next start, as the kubelet reports them.
    pub back_off: f64,
    /// Up, but not long enough for a sample.
    pub young: bool,
    pub throttled_seconds: f64,
    pub unserved_core_seconds: f64,
}

impl Container {
    pub fn new(name: String, requirements: Requirements, share: Resources) -> Self {
        Self {
            name,
            running: false,
            started: 0.0,
            restarts: 0,
            oom_kills: 0,
            limits: Resources::UNLIMITED,
            requirements,
            share,
            process: Process::default(),
            memory: 0.0,
            passed: 0.0,
            cpu_total: 0.0,
            cpu_seconds: 0.0,
            seconds: 0.0,
            sample: None,
            unseen_end: None,
            crash_loop: None,
            back_off: 0.0,
            young: false,
            throttled_seconds: 0.0,
            unserved_core_seconds: 0.0,
        }
    }

    pub fn start(&mut self, now: f64) {
        self.running = true;
        self.started = now;
        self.passed = now;
        self.process = Process::default();
        (self.cpu_seconds, self.seconds) = (0.0, 0.0);
        self.cpu_total = 0.0;
    }

    /// Stops the container; it may start again at `until`.
    pub fn stop(&mut self, until: f64) {
        self.running = false;
        self.memory = 0.0;
        self.process.restart(until);
    }

    /// Lets time pass until `now`; how it ended with that, if it did.
    pub fn pass(&mut self, now: f64, demand: Resources) -> Option<End> {
        let step = now - self.passed;
        if step <= 0.0 {
            return None;
        }
        self.passed = now;
        let demand = Resources {
            cpu: demand.cpu * self.share.cpu,
            memory: demand.memory * self.share.memory,
        };
        let done = self.process.step(now - step, step, demand, self.limits);
        if !done.up {
            return None;
        }
        self.memory = done.usage.memory;
        self.cpu_seconds += done.usage.cpu * step;
        self.cpu_total += done.usage.cpu * step;
        self.seconds += step;
        self.throttled_seconds += if done.throttled { step } else { 0.0 };
        self.unserved_core_seconds += done.unserved * step;
        let crash = self.crash_loop.filter(|crash| now - self.started >= crash.after);
        let end = if done.oom_killed { Some(End::OutOfMemory) } else { crash.map(|c| c.end) }?;
        self.running = false;
        self.memory = 0.0;
        self.oom_kills += u32::from(end == End::OutOfMemory);
        self.back_off = if self.back_off == 0.0 || now - self.started >= FORGIVEN {
            FIRST_BACK_OFF
        } else {
            (2.0 * self.back_off).min(LONGEST_BACK_OFF)
        };
        if !done.oom_killed {
            self.process.restart(now + self.back_off);
        }
        Some(end)
    }

    /// It is down, and metrics go on without it.
    pub fn is_missing_alone(&self) -> bool {
        !self.running && self.crash_loop.is_some_and(|crash| crash.missing_alone)
    }

    fn sample(&mut self) {
        let whole = self.running && self.seconds >= 0.9 * SCRAPE_SECONDS;
        self.sample =
            whole.then(|| Resources { cpu: self.cpu_seconds / self.seconds, memory: self.memory });
        self.young = self.running && !whole;
        (self.cpu_seconds, self.seconds) = (0.0, 0.0);
    }
}

impl Pod {
    pub fn sample(&mut self) {
        self.containers.iter_mut().for_each(Container::sample);
    }

    /// Nobody can measure it.
    pub fn forget_sample(&mut self) {
        for container in &mut self.containers {
            container.sample();
            container.sample = None;
        }
    }

    /// Has been started and has not ended.
    pub fn runs(&self) -> bool {
        self.is_active() && self.started
    }

    /// Every container is up.
    pub fn is_ready(&self) -> bool {
        self.runs() && self.containers.iter().all(|container| container.running)
    }

    /// Neither finished nor going: counts as a replica.
    pub fn is_active(&self) -> bool {
        !self.finished && !self.terminating
    }

    /// Memory in use, in MiB.
    pub fn memory(&self) -> f64 {
        self.containers.iter().map(|container| container.memory).sum()
    }
}

/// The parts of a pod's workload that its containers get: in proportion to the size they were made
/// with.
pub fn shares(requirements: &[Requirements]) -> Vec<Resources> {
    let sizes: Vec<Sum> = requirements.iter().map(Requirements::size).collect();
    let total = sizes.iter().fold(Sum::default(), |a, b| a + *b);
    let part = |size: i64, total: i64| {
        if total > 0 { size as f64 / total as f64 } else { 1.0 / requirements.len() as f64 }
    };
    sizes
        .iter()
        .map(|size| Resources {
            cpu: part(size.cpu, total.cpu),
            memory: part(size.memory, total.memory),
        })
        .collect()
}

/// A seed that is the same for the same pod name.
pub fn seed_of(key: &Key) -> u64 {
    key.namespace.bytes().chain(key.name.bytes()).fold(0, |seed, byte| mix(seed ^ u64::from(byte)))
}
