//! A circuit breaker: what does not answer is asked for little, until it answers again.

/// It opens after so many failures in a row.
const FAILURES: u32 = 3;
/// Seconds until something is tried again, twice as many each time.
const FIRST_PAUSE: i64 = 15;
const LONGEST_PAUSE: i64 = 120;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Breaker {
    /// In a row.
    failures: u32,
    open: Option<Open>,
}

/// In seconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Open {
    since: i64,
    next_try: i64,
    pause: i64,
    /// The last try was made in earnest.
    tried: bool,
}

impl Breaker {
    /// Since when, in seconds since the epoch.
    pub fn open_since(&self) -> Option<i64> {
        self.open.map(|open| open.since)
    }

    /// Whether something may be tried. While it is open that is one attempt, then a pause.
    pub fn allows(&self, now: i64) -> bool {
        self.open.is_none_or(|open| now >= open.next_try)
    }

    /// Something is sent; whether it is the one attempt. What is sent before its time, whatever was
    /// heard, changes nothing.
    pub fn tries(&mut self, now: i64) -> bool {
        let Some(open) = self.open.as_mut().filter(|open| now >= open.next_try) else {
            return false;
        };
        if open.tried {
            open.pause = (2 * open.pause).min(LONGEST_PAUSE);
        }
        (open.next_try, open.tried) = (now + open.pause, true);
        true
    }

    /// The attempt was not made: something else may be tried.
    pub fn gives_back(&mut self, now: i64) {
        if let Some(open) = &mut self.open {
            (open.next_try, open.tried) = (now, false);
        }
    }

    /// What was tried was answered, or was not.
    pub fn heard(&mut self, answered: bool, now: i64) {
        if answered {
            *self = Self::default();
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES && self.open.is_none() {
            let (pause, next_try) = (FIRST_PAUSE, now + FIRST_PAUSE);
            self.open = Some(Open { since: now, next_try, pause, tried: true });
        }
    }

    /// There is nothing to keep: all is well, or nothing was tried for long.
    pub fn is_idle(&self, now: i64) -> bool {
        match self.open {
            None => self.failures == 0,
            Some(open) => now - open.next_try > 10 * LONGEST_PAUSE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_with_the_first_answer() {
        let mut breaker = Breaker::default();
        for answered in [false, false, true, false, false] {
            breaker.heard(answered, 100);
            assert!(breaker.allows(100) && breaker.open_since().is_none());
        }
        breaker.heard(false, 101);
        breaker.heard(false, 109);
        assert_eq!((breaker.open_since(), breaker.allows(115)), (Some(101), false));
        assert!(breaker.allows(116));
        breaker.heard(true, 117);
        assert_eq!(breaker, Breaker::default());
    }

    #[test]
    fn while_it_is_open_attempts_come_further_and_further_apart() {
        let mut breaker = Breaker::default();
        (0..FAILURES).for_each(|_| breaker.heard(false, 0));
        let (mut now, mut pauses) = (0, Vec::new());
        for _ in 0..6 {
            let next = (now..).find(|at| breaker.allows(*at)).unwrap();
            pauses.push(next - now);
            now = next;
            assert!(breaker.tries(now));
            // What comes to nothing is no attempt.
            breaker.gives_back(now);
            assert!(breaker.tries(now) && !breaker.tries(now));
            breaker.heard(false, now);
        }
        assert_eq!(pauses, [15, 30, 60, 120, 120, 120]);
        assert!(!breaker.is_idle(now) && breaker.is_idle(now + 2000), "forgotten in the end");
        assert!(Breaker::default().is_idle(0));
    }
}
