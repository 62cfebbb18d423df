//! How many writes a second the API server is asked for: what its own answers say it bears. While
//! they are quick the pace grows little by little, and where one is slow or refused it is halved.

use std::time::{Duration, Instant};

/// The objective that Kubernetes has for nearly all writes: what takes longer is slow.
const SLOW: Duration = Duration::from_secs(1);
/// The answer to a write that had to wait for its moment lets the pace grow where it took less.
const QUICK: Duration = Duration::from_millis(500);
/// What each second of quick answers adds: so many writes a second, or this share of them where
/// that is more. As long as no answer has been slow, what the server bears is yet to be found.
const RAISE: f64 = 1.0;
const RAISE_SHARE: f64 = 0.05;
const FIRST_RAISE_SHARE: f64 = 0.25;
/// What a cut changes has to show: the next one has to wait for so long.
const REST: Duration = Duration::from_secs(5);
/// Writes a second, however slow the answers are.
const LEAST: f64 = 0.5;
/// Writes a second that a small cluster begins with: as many as client-go lets its clients send at
/// once by default.
const FIRST: f64 = 10.0;
/// Each node renews its Lease every ten seconds. With a fifth of these writes a larger cluster
/// begins, at 30 pods a node.
const PODS_A_WRITE: f64 = 5.0 * 10.0 * 30.0;

/// One slow answer may be the fault of a webhook of one namespace: each weighs so much in the share
/// of slow ones, and from that share on all are meant.
const WEIGHT: f64 = 0.1;
const MANY: f64 = 0.25;

/// The moment at which something may be written.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub at: Instant,
    /// It was waited for: without the pace it would have been written earlier.
    pub is_late: bool,
}

/// How an attempt to write was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Whatever it said: the server had time for it.
    Given,
    /// The server has too much to do, or cannot be reached.
    Overloaded,
    /// There was none in time.
    Missing,
}

#[derive(Debug)]
pub struct Pace {
    /// Writes a second, now and at most.
    rate: f64,
    most: f64,
    /// When the next one may be sent.
    next: Instant,
    /// The share of slow ones among the last answers to what was sent since the last cut.
    slow: f64,
    /// When the pace was last halved, and how often.
    cut_at: Option<Instant>,
    cuts: u64,
}

impl Pace {
    pub fn new(most: u32, now: Instant) -> Self {
        let most = f64::from(most.max(1));
        Self { rate: FIRST.min(most), most, next: now, slow: 0.0, cut_at: None, cuts: 0 }
    }

    /// The cluster has so many pods: what it does anyway is the measure to begin with.
    pub fn begin(&mut self, pods: usize) {
        if self.cut_at.is_none() {
            self.rate = self.rate.max(pods as f64 / PODS_A_WRITE).min(self.most);
        }
    }

    /// Takes the next moment to write at; nothing is saved up while nobody writes.
    pub fn take(&mut self, now: Instant) -> Moment {
        let at = self.next.max(now);
        self.next = at + Duration::from_secs_f64(1.0 / self.rate);
        Moment { at, is_late: at > now }
    }

    /// Whoever took a moment has not written.
    pub fn give_back(&mut self, now: Instant) {
        let earlier = self.next.checked_sub(Duration::from_secs_f64(1.0 / self.rate));
        self.next = earlier.unwrap_or(now).max(now);
    }

    /// Takes in how a write was answered that was sent at `sent`. The pace grows only where it held
    /// the write back, and what was sent before a cut tells nothing of the pace since.
    pub fn answered(&mut self, answer: Answer, is_late: bool, sent: Instant, now: Instant) {
        if self.cut_at.is_some_and(|cut_at| sent <= cut_at) {
            return;
        }
        let took = now.saturating_duration_since(sent);
        let is_slow = answer == Answer::Missing || took >= SLOW;
        self.slow += (if is_slow { 1.0 } else { 0.0 } - self.slow) * WEIGHT;
        let rests = self.cut_at.is_some_and(|at| now.saturating_duration_since(at) < REST);
        if answer == Answer::Overloaded || is_slow && self.slow >= MANY {
            if rests {
                return;
            }
            self.rate = (self.rate / 2.0).max(LEAST);
            self.slow = 0.0;
            self.cut_at = Some(now);
            self.cuts += 1;
        } else if is_late && !is_slow && took < QUICK {
            let share = if self.cut_at.is_none() { FIRST_RAISE_SHARE } else { RAISE_SHARE };
            let raise = share.max(RAISE / self.rate.max(1.0));
            self.rate = (self.rate + raise).min(self.most);
        }
    }

    /// Writes a second.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// How often it was halved.
    pub fn cuts(&self) -> u64 {
        self.cuts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(1);

    /// Writes as fast as it may for so many seconds, each answered after `took`.
    fn write(pace: &mut Pace, from: Instant, seconds: u64, took: Duration) -> (Instant, usize) {
        let (end, mut now, mut count) = (from + Duration::from_secs(seconds), from, 0);
        while now < end {
            let moment = pace.take(now);
            now = moment.at;
            pace.answered(Answer::Given, moment.is_late, now, now + took);
            count += 1;
        }
        (now, count)
    }

    #[test]
    fn it_begins_with_a_share_of_what_the_cluster_does_anyway() {
        for (pods, expected) in [(10, 10.0), (15_000, 10.0), (60_000, 40.0), (150_000, 100.0)] {
            let mut pace = Pace::new(100, Instant::now());
            pace.begin(pods);
            assert!((pace.rate() - expected).abs() < 1e-9, "{pods}: {}", pace.rate());
        }
        let mut pace = Pace::new(10, Instant::now());
        pace.begin(150_000);
        assert_eq!(pace.rate(), 10.0, "the setting is an upper bound");
    }

    #[test]
    fn quick_answers_raise_it_up_to_the_bound_and_idleness_does_not() {
        let began = Instant::now();
        let mut pace = Pace::new(150, began);
        let (now, count) = write(&mut pace, began, 10, TICK);
        assert!((115.0..125.0).contains(&pace.rate()) && count > 400, "{count}, {}", pace.rate());
        let (now, _) = write(&mut pace, now, 5, TICK);
        assert_eq!(pace.rate(), 150.0);
        let mut idle = Pace::new(20, began);
        for second in 1..100 {
            let Moment { at, is_late } = idle.take(now + Duration::from_secs(second));
            idle.answered(Answer::Given, is_late, at, at + TICK);
        }
        assert_eq!(idle.rate(), FIRST);
    }

    #[test]
    fn after_a_cut_it_comes_back_little_by_little() {
        let began = Instant::now();
        let mut pace = Pace::new(200, began);
        pace.begin(300_000);
        pace.answered(Answer::Overloaded, false, began, began + TICK);
        assert_eq!(pace.rate(), 100.0);
        let (now, _) = write(&mut pace, began + 2 * TICK, 10, TICK);
        assert!((155.0..170.0).contains(&pace.rate()), "{}", pace.rate());
        write(&mut pace, now, 5, TICK);
        assert_eq!(pace.rate(), 200.0);
    }

    #[test]
    fn a_pause_of_the_server_halves_it_once_however_many_answers_it_delays() {
        let began = Instant::now();
        for (answer, took) in
            [(Answer::Overloaded, TICK), (Answer::Given, 5 * SLOW), (Answer::Missing, TICK)]
        {
            let mut pace = Pace::new(40, began);
            pace.begin(60_000);
            for write in 0..30 {
                let sent = began + write * TICK;
                pace.answered(answer, true, sent, began + took + 30 * TICK);
            }
            assert_eq!((pace.rate(), pace.cuts()), (20.0, 1));
            pace.begin(150_000);
            assert_eq!(pace.rate(), 20.0, "the server has the last word");
            let (now, _) = write(&mut pace, began + 6 * SLOW, 30, TICK);
            assert_eq!((pace.rate(), pace.cuts()), (40.0, 1), "quick answers never cut");
            for second in 0..100 {
                let sent = now + Duration::from_secs(10 * second);
                pace.answered(answer, true, sent, sent + took);
            }
            assert_eq!(pace.rate(), LEAST, "it never stops for good");
        }
    }

    #[test]
    fn a_slow_answer_now_and_then_is_not_the_server() {
        let now = Instant::now();
        let mut pace = Pace::new(10, now);
        for number in 0..100 {
            let took = if number % 10 == 0 { SLOW } else { TICK };
            pace.answered(Answer::Given, true, now, now + took);
        }
        assert_eq!(pace.cuts(), 0);
    }

    #[test]
    fn writes_are_spread_and_what_is_given_back_is_not_lost() {
        let now = Instant::now();
        let mut pace = Pace::new(10, now);
        pace.begin(60_000);
        let times: Vec<_> = (0..3).map(|_| pace.take(now).at - now).collect();
        assert_eq!(times, [0, 100, 200].map(Duration::from_millis));
        pace.give_back(now);
        assert_eq!(pace.take(now).at - now, Duration::from_millis(200));
        let later = now + Duration::from_secs(60);
        assert_eq!(pace.take(later).at, later);
        assert_eq!(pace.take(later).at - later, Duration::from_millis(100), "nothing was saved up");
    }
}
