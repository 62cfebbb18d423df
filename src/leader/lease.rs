//! The election over a `coordination.k8s.io/v1` Lease: read, then compare and swap on its resource
//! version.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use super::election::{Election, Record, Step};
use super::leadership::{LeaderArgs, Leadership, SharedLeadership};
use crate::client::error::{Call, ClusterError};
use crate::config::{RuntimeChanges, SharedConfig};

/// Where the leader keeps the configuration that was changed at run time, for whoever leads next.
const CONFIG: &str = "dqn-scaler/config";

struct Candidate {
    args: LeaderArgs,
    election: Election,
    api: Api<Lease>,
    namespace: String,
    /// The object as last read or written.
    lease: Option<Lease>,
}

/// Takes part in the election until the service has stopped all its work, then gives the Lease
/// back. The `client` waits for nobody: a Lease has to be renewed in time.
pub async fn run(
    leadership: SharedLeadership,
    config: Arc<SharedConfig>,
    client: impl Future<Output = Client>,
    ended: CancellationToken,
) {
    let Some(args) = leadership.election.clone() else { return };
    let client = tokio::select! {
        client = client => client,
        () = ended.cancelled() => return,
    };
    let mut candidate = Candidate::new(args, client, leadership.identity());
    let mut config_changes = config.subscribe();
    while !ended.is_cancelled() {
        config_changes.mark_unchanged();
        let acted = leadership.acts();
        if let Err(error) = candidate.step(&leadership, &config).await {
            tracing::warn!(%error, "the lease could not be read or renewed");
        }
        if leadership.acts() != acted {
            let identity = leadership.identity();
            match acted {
                true => tracing::info!(identity, "lost leadership: another replica may act"),
                false => tracing::info!(identity, "became leader: this replica acts from now on"),
            }
        }
        let pause = candidate.args.timing().retry.mul_f64(rand::random_range(1.0..1.1));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = config_changes.changed() => {}
            () = ended.cancelled() => {}
        }
    }
    candidate.resign(&leadership).await;
}

impl Candidate {
    fn new(args: LeaderArgs, client: Client, identity: &str) -> Self {
        let namespace =
            args.lease_namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
        let election = Election::new(identity.to_owned(), args.timing());
        Self { args, election, api: Api::namespaced(client, &namespace), namespace, lease: None }
    }

    /// One attempt: renew what is held, else read and take what is free.
    async fn step(
        &mut self,
        leadership: &Leadership,
        config: &SharedConfig,
    ) -> Result<(), ClusterError> {
        if !(leadership.acts() && self.lease.is_some()) {
            let read = self.call("get", self.api.get_opt(&self.args.lease_name)).await?;
            let step = self.election.read(read.as_ref().map(record), leadership.now());
            leadership.set(&self.election);
            // What this replica itself has written last may be older than what it has adopted
            // since.
            let others =
                read.as_ref().filter(|lease| record(lease).holder != leadership.identity());
            if let Some(stored) = others.and_then(stored_config) {
                config.adopt(&stored);
            }
            self.lease = read;
            if step == Step::Wait {
                return Ok(());
            }
        }
        let wanted = self.wanted(config, leadership.identity(), self.args.lease_duration);
        let sent = leadership.now();
        // Unless it comes back written, the next attempt reads what it is now.
        self.lease = None;
        if let Some(written) = self.write(&wanted).await? {
            self.election.written(record(&written), sent);
            leadership.set(&self.election);
            self.lease = Some(written);
        }
        Ok(())
    }

    fn wanted(&self, config: &SharedConfig, holder: &str, seconds: u32) -> Lease {
        let mut lease = self.lease.clone().unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(self.args.lease_name.clone()),
                ..ObjectMeta::default()
            },
            spec: None,
        });
        let annotations = lease.metadata.annotations.get_or_insert_default();
        annotations
            .insert(CONFIG.into(), serde_json::to_string(&config.changes()).unwrap_or_default());
        let now = MicroTime(Timestamp::now());
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        let before = spec.holder_identity.replace(holder.to_owned());
        if before.as_deref() != Some(holder) {
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions =
                Some(spec.lease_transitions.map_or(0, |count| count.saturating_add(1)));
        }
        spec.renew_time = Some(now);
        spec.lease_duration_seconds = i32::try_from(seconds).ok();
        lease
    }

    /// None when another has written it since it was read.
    async fn write(&self, lease: &Lease) -> Result<Option<Lease>, ClusterError> {
        let params = PostParams::default();
        let unless_changed = |written| match written {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            written => written.map(Some),
        };
        match lease.metadata.resource_version {
            Some(_) => {
                let replaced = self.api.replace(&self.args.lease_name, &params, lease);
                self.call("update", replaced.map(unless_changed)).await
            }
            None => self.call("create", self.api.create(&params, lease).map(unless_changed)).await,
        }
    }

    /// One call, which is not worth waiting for once the leadership that it renews would be over.
    async fn call<T>(
        &self,
        verb: &'static str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, ClusterError> {
        let of = || Call::on(verb, "leases", &self.namespace, &self.args.lease_name);
        match tokio::time::timeout(self.args.renew_deadline / 2, call).await {
            Ok(answer) => answer.map_err(|error| ClusterError::from_kube(of(), &error)),
            Err(_) => Err(ClusterError::Unavailable {
                call: of(),
                message: "timed out: no answer".into(),
            }),
        }
    }

    /// Lets another replica take over at once.
    async fn resign(&mut self, leadership: &Leadership) {
        let held = self.election.resign();
        leadership.set(&self.election);
        if let (Some(_), Some(mut lease)) = (held, self.lease.take()) {
            if let Some(spec) = &mut lease.spec {
                spec.holder_identity = Some(String::new());
                spec.lease_duration_seconds = Some(1);
                spec.renew_time = Some(MicroTime(Timestamp::now()));
            }
            match self.write(&lease).await {
                Ok(Some(_)) => tracing::info!("the lease is given back"),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "the lease could not be given back"),
            }
        }
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.as_ref();
    let seconds = spec
        .and_then(|spec| spec.lease_duration_seconds)
        .and_then(|seconds| u64::try_from(seconds).ok());
    Record {
        holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
        duration: Duration::from_secs(seconds.unwrap_or(0)),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
    }
}

fn stored_config(lease: &Lease) -> Option<RuntimeChanges> {
    let text = lease.metadata.annotations.as_ref()?.get(CONFIG)?;
    let changes = serde_json::from_str(text);
    changes
        .inspect_err(|error| tracing::warn!(%error, "the lease's {CONFIG} is not understood"))
        .ok()
}
