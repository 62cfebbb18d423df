//! How many writes a second the API server is asked for: what its own answers say it bears. While
//! they are quick the pace grows, and where they are slow or refused it is halved.

use std::collections::HashMap;
use std::f64::consts::LN_2;
use std::time::{Duration, Instant};

/// The objective that Kubernetes has for nearly all writes: what takes longer is slow.
const SLOW: Duration = Duration::from_secs(1);
/// The answer to a write that had to wait for its moment lets the pace grow where it took less.
const QUICK: Duration = Duration::from_millis(500);
/// What each second of quick answers adds: so many writes a second, or this share of them where
/// that is more. As long as the pace was never cut, what the server bears is yet to be found, and
/// each second doubles it: the logarithm of 2, as each answer adds its part of it.
const RAISE: f64 = 1.0;
const RAISE_SHARE: f64 = 0.05;
const FIRST_RAISE_SHARE: f64 = LN_2;
/// What a cut changes has to show: the next one has to wait for so long.
const REST: Duration = Duration::from_secs(5);
/// Writes a second, however slow the answers are.
const LEAST: f64 = 0.5;
/// Writes a second that a small cluster begins with: as many as client-go lets its clients send at
/// once by default.
const FIRST: f64 = 10.0;
/// Each node renews its Lease every ten seconds. With two fifths of these writes a larger cluster
/// begins, at 30 pods a node.
const PODS_A_WRITE: f64 = 2.5 * 10.0 * 30.0;

/// Slow answers may be the fault of a webhook of one namespace, of which one counts until what it
/// changes has shown. Each weighs so much in the share of slow ones, and from that share on all are
/// meant.
const WEIGHT: f64 = 0.1;
const MANY: f64 = 0.25;

/// The moment at which something may be written.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub at: Instant,
    /// It was waited for: without the pace it would have been written earlier.
    pub is_late: bool,
}

/// A write that was sent.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a> {
    pub at: Instant,
    pub namespace: &'a str,
    /// The pace has held it back.
    pub is_late: bool,
}

/// How an attempt to write was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Whatever it said: the server had time for it.
    Given,
    /// The server has too much to do, or cannot be reached.
    Overloaded,
    /// There was none in the time that was left for it.
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
    /// When the last slow answer of a namespace counted.
    slow_in: HashMap<String, Instant>,
    /// When the pace was last halved or the server's pause ends, and how often it was halved.
    cut_at: Option<Instant>,
    cuts: u64,
}

impl Pace {
    pub fn new(most: u32, now: Instant) -> Self {
        let most = f64::from(most.max(1));
        Self {
            rate: FIRST.min(most),
            most,
            next: now,
            slow: 0.0,
            slow_in: HashMap::new(),
            cut_at: None,
            cuts: 0,
        }
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

    /// Takes in how a write was answered. The pace grows only where it held the write back, and
    /// what was sent before a cut tells nothing of the pace since.
    pub fn answered(&mut self, answer: Answer, sent: Sent, now: Instant) {
        if self.cut_at.is_some_and(|cut_at| sent.at <= cut_at) {
            return;
        }
        let took = now.saturating_duration_since(sent.at);
        let is_slow = took >= SLOW;
        if !is_slow || self.counts_for(sent.namespace, now) {
            self.slow += (f64::from(u8::from(is_slow)) - self.slow) * WEIGHT;
        }
        if answer == Answer::Overloaded || is_slow && self.slow >= MANY {
            self.cut(now);
        } else if answer == Answer::Given && sent.is_late && took < QUICK {
            let share = if self.cut_at.is_none() { FIRST_RAISE_SHARE } else { RAISE_SHARE };
            let raise = share.max(RAISE / self.rate.max(1.0));
            self.rate = (self.rate + raise).min(self.most);
        }
    }

    /// The server has asked to be left alone until then: what waits for that has not been slow.
    pub fn pause(&mut self, until: Instant, now: Instant) {
        self.cut(now);
        self.cut_at = self.cut_at.max(Some(until));
    }

    fn counts_for(&mut self, namespace: &str, now: Instant) -> bool {
        self.slow_in.retain(|_, at| now.saturating_duration_since(*at) < REST);
        let counts = !self.slow_in.contains_key(namespace);
        if counts {
            self.slow_in.insert(namespace.to_owned(), now);
        }
        counts
    }

    fn cut(&mut self, now: Instant) {
        if self.cut_at.is_some_and(|at| now.saturating_duration_since(at) < REST) {
            return;
        }
        self.rate = (self.rate / 2.0).max(LEAST);
        self.slow = 0.0;
        self.cut_at = Some(now);
        self.cuts += 1;
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

    fn sent(at: Instant) -> Sent<'static> {
        Sent { at, namespace: "shop", is_late: true }
    }

    /// Writes as fast as it may for so many seconds, each answered after `took`.
    fn write(pace: &mut Pace, from: Instant, seconds: u64, took: Duration) -> (Instant, usize) {
        let (end, mut now, mut count) = (from + Duration::from_secs(seconds), from, 0);
        while now < end {
            let Moment { at, is_late } = pace.take(now);
            now = at;
            pace.answered(Answer::Given, Sent { is_late, ..sent(now) }, now + took);
            count += 1;
        }
        (now, count)
    }

    #[test]
    fn it_begins_with_a_share_of_what_the_cluster_does_anyway() {
        for (pods, expected) in [(10, 10.0), (15_000, 20.0), (60_000, 80.0), (150_000, 200.0)] {
            let mut pace = Pace::new(200, Instant::now());
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
        let (now, count) = write(&mut pace, began, 3, TICK);
        assert!((70.0..85.0).contains(&pace.rate()) && count > 80, "{count}, {}", pace.rate());
        let (now, _) = write(&mut pace, now, 2, TICK);
        assert_eq!(pace.rate(), 150.0);
        let mut idle = Pace::new(20, began);
        for second in 1..100 {
            let Moment { at, is_late } = idle.take(now + Duration::from_secs(second));
            idle.answered(Answer::Given, Sent { is_late, ..sent(at) }, at + TICK);
        }
        assert_eq!(idle.rate(), FIRST);
    }

    #[test]
    fn after_a_cut_it_comes_back_little_by_little() {
        let began = Instant::now();
        let mut pace = Pace::new(200, began);
        pace.begin(300_000);
        pace.answered(Answer::Overloaded, sent(began), began + TICK);
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
            [(Answer::Overloaded, TICK), (Answer::Given, 5 * SLOW), (Answer::Missing, 5 * SLOW)]
        {
            let names: Vec<_> = (0..30).map(|number| format!("team-{number}")).collect();
            let mut pace = Pace::new(40, began);
            pace.begin(60_000);
            for (write, namespace) in (0..).zip(&names) {
                let sent = Sent { namespace, ..sent(began + write * TICK) };
                pace.answered(answer, sent, began + took + 30 * TICK);
            }
            assert_eq!((pace.rate(), pace.cuts()), (20.0, 1));
            pace.begin(150_000);
            assert_eq!(pace.rate(), 20.0, "the server has the last word");
            let (now, _) = write(&mut pace, began + 6 * SLOW, 30, TICK);
            assert_eq!((pace.rate(), pace.cuts()), (40.0, 1), "quick answers never cut");
            for second in 0..100 {
                let at = now + Duration::from_secs(10 * second);
                pace.answered(answer, sent(at), at + took);
            }
            assert_eq!(pace.rate(), LEAST, "it never stops for good");
        }
    }

    #[test]
    fn one_namespace_that_is_slow_again_and_again_is_not_the_server() {
        let began = Instant::now();
        let mut pace = Pace::new(10, began);
        for second in 0..100 {
            let now = began + Duration::from_secs(second);
            for write in 0..10 {
                let (namespace, took) = if write < 8 { ("shop", 10 * SLOW) } else { ("api", TICK) };
                pace.answered(Answer::Missing, Sent { namespace, ..sent(now) }, now + took);
            }
        }
        assert_eq!(pace.cuts(), 0);
    }

    #[test]
    fn what_the_server_has_put_off_was_not_slow() {
        let (began, pause) = (Instant::now(), 10 * SLOW);
        let mut pace = Pace::new(10, began);
        pace.answered(Answer::Given, sent(began), began + 2 * SLOW);
        pace.pause(began + pause, began);
        for write in 1..30 {
            pace.answered(Answer::Given, sent(began + write * TICK), began + pause + TICK);
        }
        assert_eq!((pace.rate(), pace.cuts()), (FIRST / 2.0, 1));
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
