//! Who leads: a pure state machine over what was read of the Lease, and when by this process's own
//! clock.
//!
//! As in client-go, a Lease is over when it has not changed for its duration since this process
//! first saw it so. The times written in it are for people: clocks that disagree do no harm. A
//! leader counts from before it sent its last renewal, and for less than that duration, so it has
//! stopped acting before anybody can take over.

use std::time::Duration;

/// How long a lease holds, for how long its holder acts on one renewal, and the pause between two
/// attempts.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub lease: Duration,
    pub renew: Duration,
    pub retry: Duration,
}

/// What the Lease says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Empty: given back.
    pub holder: String,
    pub duration: Duration,
    /// The object's resource version: a write on another one is refused.
    pub version: String,
}

/// Moments are durations since some moment of this process's clock, which never goes back.
#[derive(Debug)]
pub struct Election {
    identity: String,
    timing: Timing,
    /// The Lease as last read, and when it was first seen so.
    seen: Option<(Record, Duration)>,
    acts_until: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Write the Lease: create it, or replace the version that was read.
    Take,
    /// Another one holds it.
    Wait,
}

impl Election {
    pub fn new(identity: String, timing: Timing) -> Self {
        Self { identity, timing, seen: None, acts_until: None }
    }

    /// The Lease has been read, or there is none. `now` is after the answer.
    pub fn read(&mut self, record: Option<Record>, now: Duration) -> Step {
        let Some(record) = record else {
            self.seen = None;
            return Step::Take;
        };
        let since = match &self.seen {
            Some((seen, since)) if *seen == record => *since,
            _ => now,
        };
        let is_free = record.holder.is_empty() || now >= since + record.duration;
        let is_mine = record.holder == self.identity;
        if !is_mine {
            self.acts_until = None;
        }
        self.seen = Some((record, since));
        if is_mine || is_free { Step::Take } else { Step::Wait }
    }

    /// The Lease has been written as `record`, by a request that was sent at `sent`.
    pub fn written(&mut self, record: Record, sent: Duration) {
        self.acts_until = Some(sent + self.timing.renew);
        self.seen = Some((record, sent));
    }

    /// The moment from which this process acts no more, unless it renews.
    pub fn acts_until(&self) -> Option<Duration> {
        self.acts_until
    }

    /// Whoever was last seen to hold the Lease.
    pub fn holder(&self) -> Option<&str> {
        self.seen
            .as_ref()
            .map(|(record, _)| record.holder.as_str())
            .filter(|holder| !holder.is_empty())
    }

    /// Acts no more; the version to give back, if it is still this process's.
    pub fn resign(&mut self) -> Option<Record> {
        self.acts_until = None;
        self.seen.take().map(|(record, _)| record).filter(|record| record.holder == self.identity)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Election {
        fn acts(&self, now: Duration) -> bool {
            self.acts_until.is_some_and(|until| now < until)
        }
    }

    const TIMING: Timing = Timing {
        lease: Duration::from_secs(15),
        renew: Duration::from_secs(10),
        retry: Duration::from_secs(2),
    };

    /// The API server's side: a write on an old version is refused.
    #[derive(Default)]
    struct Server {
        lease: Option<Record>,
        version: u64,
    }

    impl Server {
        fn write(&mut self, on: Option<&str>, holder: &str) -> Option<Record> {
            if self.lease.as_ref().map(|lease| lease.version.as_str()) != on {
                return None;
            }
            self.version += 1;
            let record = Record {
                holder: holder.into(),
                duration: TIMING.lease,
                version: self.version.to_string(),
            };
            self.lease = Some(record.clone());
            Some(record)
        }
    }

    fn record(holder: &str, version: &str) -> Record {
        Record { holder: holder.into(), duration: TIMING.lease, version: version.into() }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_that_does_not_change_for_its_duration_is_taken_over() {
        let mut election = Election::new("b".into(), TIMING);
        assert_eq!(election.read(Some(record("a", "1")), seconds(100)), Step::Wait);
        assert_eq!(election.read(Some(record("a", "1")), seconds(114)), Step::Wait);
        assert_eq!(election.read(Some(record("a", "2")), seconds(114)), Step::Wait);
        assert_eq!(election.read(Some(record("a", "2")), seconds(128)), Step::Wait);
        assert_eq!(election.read(Some(record("a", "2")), seconds(129)), Step::Take);
        assert_eq!(election.holder(), Some("a"));
    }

    #[test]
    fn what_is_given_back_or_not_there_is_taken_at_once() {
        let mut election = Election::new("b".into(), TIMING);
        assert_eq!(election.read(None, seconds(0)), Step::Take);
        assert_eq!(election.read(Some(record("", "7")), seconds(1)), Step::Take);
    }

    #[test]
    fn a_leader_acts_from_the_sending_of_a_renewal_and_stops_when_it_sees_another() {
        let mut election = Election::new("a".into(), TIMING);
        assert!(!election.acts(seconds(0)));
        election.written(record("a", "1"), seconds(100));
        assert!(election.acts(seconds(109)) && !election.acts(seconds(110)));
        assert_eq!(election.read(Some(record("b", "2")), seconds(105)), Step::Wait);
        assert!(!election.acts(seconds(105)));
        assert_eq!(election.resign(), None);
    }

    /// One thing that befalls a replica at its turn.
    #[derive(Debug, Clone)]
    enum Fate {
        /// Requests take this many ms there and this many back.
        Works(u64, u64),
        /// It is written, and the answer is lost.
        AnswerLost(u64),
        Partitioned,
        /// Stopped for this many ms between any two of its own steps.
        Paused(u64),
        Resigns,
    }

    fn fate() -> impl Strategy<Value = Fate> {
        prop_oneof![
            6 => (0..3000u64, 0..3000u64).prop_map(|(there, back)| Fate::Works(there, back)),
            1 => (0..3000u64).prop_map(Fate::AnswerLost),
            2 => Just(Fate::Partitioned),
            1 => (0..40_000u64).prop_map(Fate::Paused),
            1 => Just(Fate::Resigns),
        ]
    }

    struct Replica {
        election: Election,
        /// Its clock is ahead by this.
        skew: Duration,
        /// True time of its next step.
        wakes: Duration,
        /// A write on its way: when it arrives, on what version, when it was sent by its clock, and
        /// if the answer arrives.
        writing: Option<(Option<String>, Duration, Option<u64>)>,
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn two_never_act_at_once_and_somebody_leads_again(
            fates in prop::collection::vec(fate(), 1..200),
            skews in prop::array::uniform3(0..1_000_000u64),
        ) {
            let mut server = Server::default();
            let mut fates = fates.into_iter();
            let mut replicas: Vec<Replica> = skews.iter().enumerate().map(|(index, skew)| Replica {
                election: Election::new(index.to_string(), TIMING),
                skew: Duration::from_millis(*skew),
                wakes: Duration::from_millis(index as u64 * 100),
                writing: None,
            }).collect();
            let mut calm_since = None;
            loop {
                let next = (0..replicas.len()).min_by_key(|index| replicas[*index].wakes).unwrap();
                let now = replicas[next].wakes;
                let acting = replicas.iter().filter(|r| r.election.acts(now + r.skew)).count();
                prop_assert!(acting <= 1, "{acting} act at {now:?}");
                if calm_since.is_some_and(|since| now > since + seconds(60)) {
                    prop_assert_eq!(acting, 1);
                    break;
                }
                let replica = &mut replicas[next];
                let local = now + replica.skew;
                if let Some((on, sent, back)) = replica.writing.take() {
                    let written = server.write(on.as_deref(), &next.to_string());
                    if let (Some(record), Some(back)) = (written, back) {
                        replica.election.written(record, sent);
                        replica.wakes = now + Duration::from_millis(back);
                        continue;
                    }
                    replica.wakes = now + TIMING.retry;
                    continue;
                }
                let fate = fates.next().unwrap_or_else(|| {
                    calm_since.get_or_insert(now);
                    Fate::Works(1, 1)
                });
                let pause = match fate {
                    Fate::Partitioned => TIMING.retry,
                    Fate::Paused(pause) => Duration::from_millis(pause),
                    Fate::Resigns => {
                        if let Some(record) = replica.election.resign() {
                            server.write(Some(&record.version), "");
                        }
                        TIMING.retry
                    }
                    Fate::Works(there, _) | Fate::AnswerLost(there) => {
                        let read = server.lease.clone();
                        let on = read.as_ref().map(|record| record.version.clone());
                        match replica.election.read(read, local) {
                            Step::Take => {
                                let back = match fate {
                                    Fate::Works(_, back) => Some(back),
                                    _ => None,
                                };
                                replica.writing = Some((on, local, back));
                                Duration::from_millis(there)
                            }
                            Step::Wait => TIMING.retry,
                        }
                    }
                };
                replica.wakes = now + pause;
            }
        }
    }
}
