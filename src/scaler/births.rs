//! The background task that keeps what new pods are made with: of every namespace the sizes that
//! its workloads have settled on, as long as this replica may change anything.

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use super::cycle::Scaler;
use crate::blocking::run_blocking;
use crate::client::error::ClusterError;
use crate::client::retry::Deadline;
use crate::clock::Clock;
use crate::cluster::{Cluster, SharedCluster};
use crate::config::{Config, SharedConfig};
use crate::core::birth::Kept;
use crate::core::context::OwnedPod;

/// Between two looks at what has changed.
const PAUSE: Duration = Duration::from_secs(10);
/// What has not changed is written again after this time, in case that somebody else has.
const REFRESH: Duration = Duration::from_secs(600);

pub struct Births {
    pub config: Arc<SharedConfig>,
    pub cluster: SharedCluster,
    pub scaler: Arc<Scaler>,
    pub clock: Clock,
}

/// What stands in the ConfigMaps, by namespace.
#[derive(Default)]
struct Written {
    of: HashMap<String, Sizes>,
    /// Why nothing is written, once it has been told.
    told: Option<String>,
}

struct Sizes {
    entries: BTreeMap<String, Kept>,
    /// None: it is not known to stand there.
    written_at: Option<Instant>,
}

impl Births {
    /// Runs until the service stops.
    pub async fn run(self, stopping: CancellationToken) {
        let mut changes = self.config.subscribe();
        let mut written = Written::default();
        while !stopping.is_cancelled() {
            let config = changes.borrow_and_update().clone();
            match self.cluster.get().filter(|of| config.born_right_sized && of.may_act()) {
                Some(cluster) => {
                    let round = AssertUnwindSafe(self.round(&cluster, &config, &mut written));
                    match round.catch_unwind().await {
                        Ok(Ok(())) => written.told = None,
                        Ok(Err(error)) => written.tell(error),
                        Err(_) => tracing::error!("a panic in what new pods are made with"),
                    }
                }
                // Another replica may write meanwhile.
                None => written.of.clear(),
            }
            tokio::select! {
                () = tokio::time::sleep(self.clock.real(PAUSE)) => {}
                _ = changes.changed() => {}
                () = stopping.cancelled() => {}
            }
        }
    }

    async fn round(
        &self,
        cluster: &Cluster,
        config: &Config,
        written: &mut Written,
    ) -> Result<(), String> {
        let policy = cluster.policy_of_sizes().await.map_err(|error| error.to_string())?;
        let Some(policy) = policy else {
            written.of.clear();
            return Err("there is no MutatingAdmissionPolicy dqn-scaler-born-right-sized".into());
        };
        let listing = cluster.pods(&config.namespaces, Deadline::default()).await;
        let mut listing = listing.map_err(|error| error.to_string())?;
        listing.pods.sort_unstable_by(|a, b| a.pod.key.cmp(&b.pod.key));
        let mut by_namespace: HashMap<&str, Vec<OwnedPod>> = HashMap::new();
        for owned in &listing.pods {
            by_namespace.entry(&owned.pod.key.namespace).or_default().push(owned.clone());
        }
        let is_read = |namespace: &&String| {
            listing.unreadable.iter().all(|unreadable| unreadable.namespace != **namespace)
        };
        let mut fault = None;
        for namespace in config.namespaces.iter().filter(is_read) {
            let pods = by_namespace.remove(namespace.as_str()).unwrap_or_default();
            let kept = self.keep(cluster, config, namespace, &pods, &policy, written).await;
            fault = kept.err().or(fault);
        }
        let left = |name: &&String| !config.namespaces.contains(*name);
        for namespace in written.of.keys().filter(left).cloned().collect::<Vec<_>>() {
            cluster.delete_sizes(&namespace).await.map_err(|error| error.to_string())?;
            written.of.remove(&namespace);
        }
        fault.map_or(Ok(()), |error| Err(error.to_string()))
    }

    /// Brings one namespace up to date.
    async fn keep(
        &self,
        cluster: &Cluster,
        config: &Config,
        namespace: &str,
        pods: &[OwnedPod],
        policy: &str,
        written: &mut Written,
    ) -> Result<(), ClusterError> {
        if !written.of.contains_key(namespace) {
            let found = cluster.sizes(namespace).await?;
            let entries = found.into_iter().map(|(name, text)| (name, Kept::new(text))).collect();
            written.of.insert(namespace.to_owned(), Sizes { entries, written_at: None });
        }
        let Some(before) = written.of.get_mut(namespace) else { return Ok(()) };
        let settings = config.settings();
        let entries = match settings.dry_run {
            true => BTreeMap::new(),
            false => {
                let births = run_blocking(|| self.scaler.agent().births(pods, &settings));
                births.after(&before.entries, cluster.clock().now().timestamp())
            }
        };
        let texts = |of: &BTreeMap<String, Kept>| -> BTreeMap<String, String> {
            of.iter().map(|(name, kept)| (name.clone(), kept.text.clone())).collect()
        };
        let (old, new) = (texts(&before.entries), texts(&entries));
        before.entries = entries;
        let is_fresh = before.written_at.is_some_and(|at| at.elapsed() < REFRESH);
        if old == new && is_fresh {
            return Ok(());
        }
        before.written_at = None;
        match new.is_empty() {
            false => cluster.put_sizes(namespace, &new, policy).await?,
            true if old.is_empty() => {}
            true => cluster.delete_sizes(namespace).await?,
        }
        before.written_at = Some(Instant::now());
        Ok(())
    }
}

impl Written {
    /// Once, until something else is wrong.
    fn tell(&mut self, why: String) {
        if self.told.as_ref() != Some(&why) {
            tracing::warn!(why, "new pods are made as their templates have them");
            self.told = Some(why);
        }
    }
}
