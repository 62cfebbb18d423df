//! The cluster's state, and time passing in it: a queue of what is due, worked off in order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;

use super::custom::CustomObjects;
use super::denial::Denial;
use super::due::{Due, PodDue};
use super::node::Node;
use super::noise::{mix, unit};
use super::oddity::OddMetrics;
use super::physics::Resources;
use super::resources::Resource;
use super::runtime::{CrashLoop, Pod, SCRAPE_SECONDS};
use super::store::{Key, Store};
use super::workload::Workload;

/// The release that the API server and kubelets behave like, where releases differ in resizing
/// pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum ServerVersion {
    /// Alpha: no `/resize`, pods are patched themselves.
    V1_27,
    /// Beta: `/resize`, memory limits go down only with a restart.
    V1_33,
    /// Stable.
    #[default]
    V1_36,
}

impl ServerVersion {
    pub fn git_version(self) -> &'static str {
        match self {
            Self::V1_27 => "v1.27.16",
            Self::V1_33 => "v1.33.13",
            Self::V1_36 => "v1.36.2",
        }
    }

    pub fn minor(self) -> &'static str {
        match self {
            Self::V1_27 => "27",
            Self::V1_33 => "33",
            Self::V1_36 => "36",
        }
    }
}

/// When, its rank among what is due at the same moment, in which order it was asked for, and what.
type Scheduled = Reverse<(Moment, u8, u64, Due)>;

/// Seconds until a controller tries again what it could not do.
const RETRY: f64 = 10.0;

/// The simulated second at which a new cluster stands: its pods have been scraped once by
/// then.
pub(super) const START: f64 = 60.0;

/// Seconds that can be ordered: in whole microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Moment(i64);

impl Moment {
    fn at(seconds: f64) -> Self {
        Self((seconds * 1e6).round() as i64)
    }

    fn seconds(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

/// For how many seconds events are kept at least.
pub const EVENT_SECONDS: i64 = 3600;

pub struct World {
    pub version: ServerVersion,
    /// Seconds since the simulation began.
    pub now: f64,
    /// The date of second 0.
    epoch: DateTime<Utc>,
    /// Seconds of a step of physics.
    pub(super) step: f64,
    pub store: Store,
    pub pods: BTreeMap<Key, Pod>,
    pub nodes: BTreeMap<String, Node>,
    /// What pods of an owner (or a bare pod) want, by kind of the owner.
    pub(super) workloads: HashMap<(Resource, Key), Workload>,
    /// Cores and MiB in use on each node at the last scrape.
    pub(super) node_usage: BTreeMap<String, Resources>,
    /// Metrics stand still while this is set.
    pub metrics_frozen: bool,
    pub(super) scraped: f64,
    /// Names of the events that repeat, by what they say of whom.
    pub(super) repeating: HashMap<(String, &'static str, String), Key>,
    /// For how long events are kept.
    pub event_seconds: i64,
    /// While set, new pods are running at once and are this many seconds old: how a cluster begins.
    pub settled_age: Option<f64>,
    pub(super) next_incarnation: u64,
    /// Where the search for a node for the next settled pod begins.
    pub(super) next_node: Option<String>,
    /// What is odd about metrics.
    pub odd_metrics: Vec<OddMetrics>,
    /// Containers that do not stay up, by their workload and name.
    pub(super) crash_loops: HashMap<(Resource, Key, String), CrashLoop>,
    /// Kinds that only their owners know, and their objects.
    pub custom: CustomObjects,
    /// The templates that StatefulSets had, by the name of the revision in a namespace.
    pub(super) revisions: HashMap<Key, Value>,
    /// Rules of the cluster's owners that deny writes.
    pub denials: Vec<Denial>,
    /// Seconds by which the clocks of the API server, the kubelets and metrics-server are wrong.
    pub skew: f64,
    reconciling: HashSet<(Resource, Key)>,
    retrying: HashSet<(Resource, Key)>,
    queue: BinaryHeap<Scheduled>,
    sequence: u64,
    random: u64,
}

impl World {
    pub(super) fn new(
        version: ServerVersion,
        start: DateTime<Utc>,
        seed: u64,
        history: usize,
        step: f64,
    ) -> Self {
        let mut world = Self {
            version,
            now: START - SCRAPE_SECONDS,
            epoch: start - chrono::Duration::seconds(START as i64),
            step,
            store: Store::new(history),
            pods: BTreeMap::new(),
            nodes: BTreeMap::new(),
            workloads: HashMap::new(),
            node_usage: BTreeMap::new(),
            metrics_frozen: false,
            scraped: 0.0,
            repeating: HashMap::new(),
            event_seconds: EVENT_SECONDS,
            settled_age: None,
            next_incarnation: 0,
            next_node: None,
            odd_metrics: Vec::new(),
            crash_loops: HashMap::new(),
            custom: CustomObjects::default(),
            revisions: HashMap::new(),
            denials: Vec::new(),
            skew: 0.0,
            reconciling: HashSet::new(),
            retrying: HashSet::new(),
            queue: BinaryHeap::new(),
            sequence: 0,
            random: mix(seed),
        };
        world.after(step, Due::Step(None));
        world.after(SCRAPE_SECONDS, Due::Scrape);
        world.after(60.0, Due::ExpireEvents);
        world
    }

    /// Takes out what is due next, up to `until`, and lets time pass to it.
    pub(super) fn next_due(&mut self, until: f64) -> Option<Due> {
        let Reverse((moment, ..)) = self.queue.peek()?;
        if *moment > Moment::at(until) {
            return None;
        }
        let Reverse((moment, .., due)) = self.queue.pop()?;
        self.now = self.now.max(moment.seconds());
        match &due {
            Due::Reconcile(resource, key) => {
                self.reconciling.remove(&(*resource, key.clone()));
            }
            Due::Retry(resource, key) => {
                self.retrying.remove(&(*resource, key.clone()));
            }
            _ => {}
        }
        Some(due)
    }

    /// Lets something happen `seconds` from now.
    pub(super) fn after(&mut self, seconds: f64, due: Due) {
        let rank = match due {
            Due::Step(_) => 0,
            Due::Scrape => 1,
            _ => 2,
        };
        self.sequence += 1;
        self.queue.push(Reverse((Moment::at(self.now + seconds), rank, self.sequence, due)));
    }

    /// Lets a controller look at one of its objects soon.
    pub(super) fn reconcile_soon(&mut self, resource: Resource, key: &Key) {
        if self.reconciling.insert((resource, key.clone())) {
            self.after(0.1, Due::Reconcile(resource, key.clone()));
        }
    }

    /// Lets a controller look again at what it could not do.
    pub(super) fn retry_later(&mut self, resource: Resource, key: &Key) {
        if self.retrying.insert((resource, key.clone())) {
            self.after(RETRY, Due::Retry(resource, key.clone()));
        }
    }

    pub(super) fn after_for_pod(&mut self, seconds: f64, key: &Key, due: PodDue) {
        if let Some(pod) = self.pods.get(key) {
            self.after(seconds, Due::Pod(key.clone(), pod.incarnation, due));
        }
    }

    /// A moment of simulated time as objects carry it: as the cluster's clocks show it.
    pub(super) fn timestamp_at(&self, seconds: f64) -> String {
        self.date(seconds).to_rfc3339_opts(SecondsFormat::Secs, true)
    }

    pub fn timestamp(&self) -> String {
        self.timestamp_at(self.now)
    }

    pub fn date(&self, seconds: f64) -> DateTime<Utc> {
        self.epoch + chrono::Duration::microseconds(Moment::at(seconds + self.skew).0)
    }

    /// Now, as the header `Date` has it.
    pub(super) fn http_date(&self) -> String {
        self.date(self.now).format("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    pub(super) fn draw(&mut self) -> u64 {
        self.random = mix(self.random);
        self.random
    }

    pub(super) fn draw_between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * unit(self.draw())
    }

    /// A suffix as generated names have it.
    pub(super) fn name_suffix(&mut self, length: usize) -> String {
        let mut bits = self.draw();
        (0..length)
            .map(|_| {
                let letter = NAME_ALPHABET[(bits % NAME_ALPHABET.len() as u64) as usize];
                bits /= NAME_ALPHABET.len() as u64;
                char::from(letter)
            })
            .collect()
    }

    pub(super) fn hex(&mut self, length: usize) -> String {
        let mut hex = String::new();
        while hex.len() < length {
            hex += &format!("{:016x}", self.draw());
        }
        hex.truncate(length);
        hex
    }

    pub fn uid(&mut self) -> String {
        let hex = self.hex(32);
        format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
    }
}

/// Without vowels and look-alikes, so that names spell nothing.
pub(super) const NAME_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
