//! Whether this replica acts, for all who ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use parking_lot::RwLock;

use super::election::{Election, Timing};
use crate::config::boolean;
use crate::core::names;

#[derive(Debug, Clone, Args)]
pub struct LeaderArgs {
    /// Act only while this replica holds a Lease: for several replicas
    #[arg(long, env = "LEADER_ELECT", value_parser = boolean, num_args = 0..=1,
        default_value = "false",
        default_missing_value = "true", action = clap::ArgAction::Set)]
    pub leader_elect: bool,
    /// Name of the Lease
    #[arg(long, env = "LEASE_NAME", default_value = "dqn-scaler", value_parser = name)]
    pub lease_name: String,
    /// Namespace of the Lease; unless given, the pod's own or the kubeconfig's
    #[arg(long, env = "LEASE_NAMESPACE", value_parser = name)]
    pub lease_namespace: Option<String>,
    /// What this replica is called in the Lease; unless given, its host name
    #[arg(long, env = "POD_NAME", value_parser = name)]
    pub pod_name: Option<String>,
    /// Seconds after which a Lease that is not renewed may be taken over, 1 to 3600
    #[arg(long, env = "LEASE_DURATION", default_value_t = 15,
        value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub lease_duration: u32,
    /// Seconds for which the leader acts on one renewal: less than the lease's duration, 0.1 or
    /// more
    #[arg(long, env = "RENEW_DEADLINE", default_value = "10", value_parser = seconds)]
    pub renew_deadline: Duration,
    /// Seconds between two attempts to take or renew the Lease: less than the renew deadline, 0.1
    /// or more
    #[arg(long, env = "RETRY_PERIOD", default_value = "2", value_parser = seconds)]
    pub retry_period: Duration,
}

fn name(text: &str) -> Result<String, String> {
    if names::is_dns_subdomain(text) {
        Ok(text.to_owned())
    } else {
        Err("is no valid name of an object".into())
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "must be a number of seconds from 0.1 to 3600".into())
}

/// Whether this process may act, asked at any moment from anywhere. It ends by the clock alone: no
/// task has to run for it.
pub struct Leadership {
    pub(super) election: Option<LeaderArgs>,
    identity: String,
    began: Instant,
    /// Milliseconds since `began`.
    acts_until: AtomicU64,
    holder: RwLock<Option<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// There is no election.
    Alone,
    Leader,
    /// With the leader, if one is known.
    Follower(Option<String>),
}

impl Leadership {
    pub fn new(args: &LeaderArgs) -> Result<Self, String> {
        let timing = args.timing();
        if args.leader_elect && (timing.renew >= timing.lease || timing.retry >= timing.renew) {
            return Err("it must be RETRY_PERIOD < RENEW_DEADLINE < LEASE_DURATION".into());
        }
        let host = || {
            std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned())
        };
        let name =
            args.pod_name.clone().or_else(|| host().ok()).unwrap_or_else(|| "dqn-scaler".into());
        let election = args.leader_elect.then(|| args.clone());
        Ok(Self {
            election,
            identity: format!("{name}_{:08x}", rand::random::<u32>()),
            ..Self::alone()
        })
    }

    /// Acts always.
    pub fn alone() -> Self {
        Self {
            election: None,
            identity: "alone".into(),
            began: Instant::now(),
            acts_until: AtomicU64::new(0),
            holder: RwLock::new(None),
        }
    }

    /// Unique to this process.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    pub fn acts(&self) -> bool {
        self.election.is_none()
            || self.now() < Duration::from_millis(self.acts_until.load(Ordering::Acquire))
    }

    pub fn role(&self) -> Role {
        match &self.election {
            None => Role::Alone,
            Some(_) if self.acts() => Role::Leader,
            Some(_) => {
                Role::Follower(self.holder.read().clone().filter(|holder| holder != &self.identity))
            }
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn set(&self, election: &Election) {
        let until =
            election.acts_until().map_or(0, |until| u64::try_from(until.as_millis()).unwrap_or(0));
        self.acts_until.store(until, Ordering::Release);
        let holder = election.holder().map(str::to_owned);
        let mut known = self.holder.write();
        if *known != holder {
            *known = holder;
        }
    }
}

impl LeaderArgs {
    pub(super) fn timing(&self) -> Timing {
        let lease = Duration::from_secs(self.lease_duration.into());
        Timing { lease, renew: self.renew_deadline, retry: self.retry_period }
    }
}

/// Shared by all that changes the cluster.
pub type SharedLeadership = Arc<Leadership>;
