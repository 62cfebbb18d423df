//! Whether a watch lives: when it was last heard of, and who wants to know.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// What came no longer ago than this is what the API server has.
const FRESH: Duration = Duration::from_secs(90);

/// The life of one watch, for the copies that it feeds.
pub struct Pulse {
    heard: Mutex<Instant>,
    /// It need not rest any longer: the API server answers.
    wake: Notify,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { heard: Mutex::new(Instant::now()), wake: Notify::new() }
    }
}

impl Pulse {
    /// Whether the server has said something lately.
    pub fn is_fresh(&self) -> bool {
        self.heard.lock().elapsed() < FRESH
    }

    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits until somebody wants to know.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    pub fn beat(&self) {
        *self.heard.lock() = Instant::now();
    }

    #[cfg(test)]
    pub fn of_age(age: Duration) -> Option<Self> {
        Some(Self { heard: Mutex::new(Instant::now().checked_sub(age)?), wake: Notify::new() })
    }
}
