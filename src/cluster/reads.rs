//! What is asked of the API server because somebody asks this service: once for all who wait for
//! it, and at most so often.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use governor::{DefaultDirectRateLimiter, Quota};
use parking_lot::Mutex;

use crate::client::error::{Call, ClusterError};
use crate::client::retry::{BUDGET, Deadline};

/// Reads a second, and as many at once.
const RATE: NonZeroU32 = NonZeroU32::new(20).expect("above 0");
/// How long an answer holds for those who only look.
pub const KEPT: Duration = Duration::from_secs(1);
/// Beyond so many answers those are forgotten that hold no longer, and everything if all do.
const ROOM: usize = 1024;

pub struct ReadLimiter(DefaultDirectRateLimiter);

impl Default for ReadLimiter {
    fn default() -> Self {
        Self(DefaultDirectRateLimiter::direct(Quota::per_second(RATE)))
    }
}

impl ReadLimiter {
    /// Waits for its turn.
    pub async fn turn(&self, call: Call, deadline: Deadline) -> Result<(), ClusterError> {
        tokio::time::timeout(deadline.left(), self.0.until_ready())
            .await
            .map_err(|_| ClusterError::NotSent { call, why: "too many reads were waiting" })
    }
}

type Answer<T> = Shared<BoxFuture<'static, T>>;

/// Asks once for all who want to know the same at one time, and for those who come a little later.
pub struct Once<K, T> {
    kept: Duration,
    asked: Mutex<HashMap<K, (Instant, Answer<T>)>>,
}

impl<K: Hash + Eq, T: Clone + Send + Sync + 'static> Once<K, T> {
    pub fn new(kept: Duration) -> Self {
        Self { kept, asked: Mutex::default() }
    }

    pub fn ask<F>(&self, key: K, question: impl FnOnce() -> F) -> Answer<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut asked = self.asked.lock();
        let holds = |(at, answer): &(Instant, Answer<T>)| {
            at.elapsed() < if answer.peek().is_some() { self.kept } else { BUDGET }
        };
        if let Some((_, answer)) = asked.get(&key).filter(|entry| holds(entry)) {
            return answer.clone();
        }
        if asked.len() >= ROOM {
            asked.retain(|_, entry| holds(entry));
        }
        if asked.len() >= ROOM {
            asked.clear();
        }
        let answer = question().boxed().shared();
        asked.insert(key, (Instant::now(), answer.clone()));
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn all_who_wait_get_one_answer() {
        let once = Once::new(Duration::from_millis(100));
        let asked = Arc::new(AtomicU32::new(0));
        let ask = |key: u32| {
            let asked = asked.clone();
            once.ask(key, || async move {
                tokio::time::sleep(Duration::from_millis(30)).await;
                asked.fetch_add(1, Ordering::SeqCst)
            })
        };
        assert_eq!(join_all((0..50).map(|_| ask(1))).await, [0; 50]);
        assert_eq!((ask(1).await, ask(2).await), (0, 1));
        tokio::time::sleep(Duration::from_millis(110)).await;
        assert_eq!(ask(1).await, 2);
        for key in 0..10_000 {
            drop(ask(key));
        }
        assert!(once.asked.lock().len() <= ROOM);
    }

    #[tokio::test]
    async fn reads_take_their_turn_and_wait_no_longer_than_they_may() {
        let limiter = ReadLimiter::default();
        let call = Call::over("get", "pods", "shop");
        let turns = join_all(
            (0..100)
                .map(|_| limiter.turn(call.clone(), Deadline::after(Duration::from_millis(500)))),
        )
        .await;
        let passed = turns.iter().filter(|turn| turn.is_ok()).count();
        assert!((20..=35).contains(&passed), "{passed}");
    }
}
