//! The time that the service lives in.
//!
//! On a real cluster it is the wall clock. On the simulated cluster it may run faster (`--speed`),
//! and everything that is configured in seconds or minutes (interval, cooldown, metrics age,
//! windows) follows it. Deadlines of single HTTP calls do not: they bound real waiting.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    epoch: DateTime<Utc>,
    speed: f64,
}

impl Clock {
    /// A clock that starts now and runs `speed` times as fast as the wall clock.
    pub fn new(speed: f64) -> Self {
        Self { started: Instant::now(), epoch: Utc::now(), speed }
    }

    pub fn speed(&self) -> f64 {
        self.speed
    }

    pub fn now(&self) -> DateTime<Utc> {
        if self.speed == 1.0 {
            return Utc::now();
        }
        let elapsed = self.started.elapsed().as_secs_f64() * self.speed;
        self.epoch + chrono::Duration::milliseconds((elapsed * 1000.0) as i64)
    }

    /// Seconds of this clock since a moment of the real one.
    pub fn elapsed(&self, since: Instant) -> f64 {
        since.elapsed().as_secs_f64() * self.speed
    }

    /// How long to wait in real time for `duration` of this clock to pass.
    pub fn real(&self, duration: Duration) -> Duration {
        duration.div_f64(self.speed)
    }

    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(self.real(duration)).await;
    }
}

/// The timestamp format of the API: UTC RFC 3339 with milliseconds and `Z`.
pub fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// Seconds since the epoch in the format of the API.
pub fn at(seconds: i64) -> Option<String> {
    DateTime::from_timestamp(seconds, 0).map(rfc3339)
}
