//! The simulated cluster as a running thing: a world, the clock that drives it, and the ways in.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::demo;
use super::faults::Faults;
use super::series::WorkloadError;
use super::workload;
use super::world::{EVENT_SECONDS, START, ServerVersion, World};
use crate::clock::Clock;

/// Real time for which things happen before others may look at the world.
const TURN: Duration = Duration::from_millis(5);

/// Real time between two looks at the clock.
const TICK: Duration = Duration::from_millis(20);

pub struct Simulation {
    world: Mutex<World>,
    faults: Faults,
    clock: Clock,
    /// When the clock showed the world's start.
    began: DateTime<Utc>,
}

impl Simulation {
    /// A world that is filled by `fill`, with everything already running, on the time of `clock`.
    pub fn new(clock: Clock, version: ServerVersion, fill: impl FnOnce(&mut World)) -> Arc<Self> {
        let began = clock.now();
        let mut world = World::new(version, began, 1, HISTORY, STEP);
        // For who looks with kubectl an hour is one of the clock on the wall.
        let hour = EVENT_SECONDS as f64 * clock.speed().max(1.0);
        world.event_seconds = hour as i64;
        fill(&mut world);
        world.settled_age = None;
        world.advance_to(START, || false);
        Arc::new(Self { world: Mutex::new(world), faults: Faults::default(), clock, began })
    }

    /// A small cluster of everything that occurs in real ones.
    pub fn demo(clock: Clock) -> Arc<Self> {
        Self::new(clock, ServerVersion::default(), demo::fill)
    }

    /// A Deployment for each recorded demand in a folder of CSV files.
    pub fn of_folder(clock: Clock, folder: &Path) -> Result<Arc<Self>, WorkloadError> {
        let recorded = workload::load_folder(folder)?;
        Ok(Self::new(clock, ServerVersion::default(), |world| {
            demo::fill_with_recordings(world, &recorded)
        }))
    }

    /// The world, while the guard is held: never across an await. A panic elsewhere leaves
    /// it usable.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Lets time pass as the clock says, for ever.
    pub async fn run(self: Arc<Self>) {
        loop {
            tokio::time::sleep(TICK).await;
            while !self.advance() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// A turn of what is due by now; true if that was all.
    pub(super) fn advance(&self) -> bool {
        let now = (self.clock.now() - self.began).as_seconds_f64();
        let (mut world, began) = (self.world(), Instant::now());
        world.advance_to(START + now, || began.elapsed() >= TURN)
    }
}

/// Seconds of a step of physics, and changes of each resource that watches can go back to.
const STEP: f64 = 5.0;
const HISTORY: usize = 10_000;
