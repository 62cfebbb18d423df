//! State that outlives the process: what `POST /config` changed, the decisions, and what is
//! remembered of each pod and of each workload.
//!
//! One background task writes, once a second, what has changed since: nothing waits for the disk,
//! and no lock is held while it is written. A fault of the disk is logged, shown on `/readyz`, and
//! tried again; the service goes on.

pub mod file;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use self::file::{Batch, FileError, StateFile, Stored};
use crate::clock::{Clock, rfc3339};
use crate::config::{RuntimeChanges, SharedConfig};
use crate::scaler::agent::Histories;
use crate::scaler::cycle::Scaler;

const NAME: &str = "state.redb";
const PAUSE: Duration = Duration::from_secs(1);
/// Between two times that everything known of every pod is written. Changes of a pod are written
/// with the next second.
const SNAPSHOT: Duration = Duration::from_secs(300);
/// Before a file that could not be written is opened again.
const RETRY: Duration = Duration::from_secs(10);
/// Records in one commit.
const CHUNK: usize = 10_000;

/// How the writing goes, for those who ask.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
#[schema(as = StateHealth)]
pub struct Health {
    /// Where the state is kept; null: in memory only.
    #[schema(required, value_type = Option<String>, example = "/var/lib/dqn-scaler")]
    pub folder: Option<PathBuf>,
    #[schema(required, format = DateTime, example = "2026-11-25T10:30:00.000Z")]
    pub written_at: Option<String>,
    /// Why the last writing failed, if it did.
    #[schema(required)]
    pub error: Option<String>,
}

/// Whose state is kept.
#[derive(Clone)]
pub struct Sources {
    pub config: Arc<SharedConfig>,
    pub scaler: Arc<Scaler>,
    pub clock: Clock,
    pub health: SharedHealth,
}

pub type SharedHealth = Arc<Mutex<Health>>;

pub struct Store {
    sources: Sources,
    path: PathBuf,
    file: Option<StateFile>,
    /// What has been written.
    changes: Option<RuntimeChanges>,
    decisions: u64,
    snapshot_due: Instant,
    retry_at: Instant,
    restored: bool,
}

impl Store {
    /// Opens the folder and takes its state in. A file that cannot be understood is set aside.
    pub fn open(folder: &Path, sources: Sources) -> Result<Self, FileError> {
        std::fs::create_dir_all(folder).map_err(|error| FileError::Io(folder.to_owned(), error))?;
        let path = folder.join(NAME);
        sources.health.lock().folder = Some(folder.to_owned());
        let mut store = Self {
            sources,
            path,
            file: None,
            changes: None,
            decisions: 0,
            snapshot_due: Instant::now() + SNAPSHOT,
            retry_at: Instant::now(),
            restored: false,
        };
        match open(&store.path) {
            Ok((file, stored)) => {
                store.restore(stored);
                store.file = Some(file);
            }
            // The service is worth more than its memory; who has no room now may have it later.
            Err(FileError::Io(path, error)) if error.kind() == std::io::ErrorKind::StorageFull => {
                store.failed(&FileError::Io(path, error));
            }
            Err(error) => return Err(error),
        }
        Ok(store)
    }

    fn restore(&mut self, stored: Stored) {
        let Sources { config, scaler, clock, .. } = &self.sources;
        (self.decisions, self.restored) = (stored.totals.decisions, true);
        tracing::info!(
            path = %self.path.display(), decisions = stored.decisions.len(),
            pods = stored.histories.pods.len(), workloads = stored.histories.workloads.len(),
            "restored the state of an earlier process"
        );
        if !stored.changes.is_empty() && config.changes().is_empty() {
            tracing::info!(
                changes = %stored.changes,
                "the configuration was changed at run time, which still holds"
            );
            config.adopt(&stored.changes);
        }
        scaler.journal.lock().restore(stored.decisions, stored.totals);
        scaler.changes.lock().restore(stored.past_changes);
        scaler.outcomes.restore(stored.outcomes);
        let (policy, now) = (config.current().policy(), clock.now().timestamp());
        scaler.agent().restore(stored.histories, stored.windows, &policy, now);
    }

    /// Writes what has changed; everything, if it is time or the `end`.
    fn flush(&mut self, end: bool) -> Result<bool, FileError> {
        let Some(file) = &self.file else { return Ok(false) };
        let now = Instant::now();
        let Sources { config, scaler, .. } = &self.sources;
        let changes = config.changes();
        let window = config.current().policy().guard.window;
        let agent = scaler.agent();
        let mut batch = Batch { histories: agent.take_dirty(), ..Batch::default() };
        if self.changes.as_ref() != Some(&changes) {
            (batch.changes, batch.windows) = (Some(changes.clone()), Some(window));
        }
        let mut written = false;
        loop {
            let (first, decisions) = scaler.journal.lock().since(self.decisions, CHUNK);
            let last = first + decisions.len() as u64;
            if !decisions.is_empty() {
                batch.totals = Some(scaler.journal.lock().totals());
                batch.oldest_decision = last.saturating_sub(config.current().decisions_kept as u64);
                batch.decisions = (first..).zip(decisions).collect();
            }
            (batch.oldest_change, batch.past_changes) = scaler.changes.lock().take_dirty(CHUNK);
            if batch.is_empty() {
                break;
            }
            let done = file.write(&batch);
            if done.is_err() {
                scaler.changes.lock().mark_all();
            }
            done?;
            (self.decisions, written) = (last, true);
            batch = Batch::default();
        }
        self.changes = Some(changes);
        if now >= self.snapshot_due || end {
            let outcomes = Some(scaler.outcomes.past());
            file.write(&Batch { outcomes, ..Batch::default() })?;
            let (pods, workloads) = (agent.known(), agent.known_workloads());
            for chunk in pods.chunks(CHUNK) {
                let histories =
                    Histories { pods: agent.histories_of(chunk), ..Histories::default() };
                file.write(&Batch { histories, ..Batch::default() })?;
            }
            for chunk in workloads.chunks(CHUNK) {
                let workloads = agent.workloads_of(chunk);
                let histories = Histories { workloads, ..Histories::default() };
                file.write(&Batch { histories, ..Batch::default() })?;
            }
            let pods: HashSet<_> = pods.iter().collect();
            let workloads: HashSet<_> = workloads.iter().map(|key| &**key).collect();
            file.keep(|key| pods.contains(key), |key| workloads.contains(key))?;
            (self.snapshot_due, written) = (now + SNAPSHOT, true);
        }
        Ok(written)
    }

    /// Opens the file again after a failure; what it has missed is written anew.
    fn reopen(&mut self) -> Result<(), FileError> {
        if self.file.is_some() || Instant::now() < self.retry_at {
            return Ok(());
        }
        let (file, stored) = open(&self.path)?;
        if !self.restored {
            self.restore(stored);
        }
        (self.file, self.changes, self.decisions) = (Some(file), None, 0);
        self.snapshot_due = Instant::now();
        Ok(())
    }

    fn failed(&mut self, error: &FileError) {
        tracing::error!(%error, "the state is not written; it is tried again in {} s",
            RETRY.as_secs());
        self.sources.health.lock().error = Some(error.to_string());
        (self.file, self.retry_at) = (None, Instant::now() + RETRY);
    }

    fn work(&mut self, end: bool) {
        match self.reopen().and_then(|()| self.flush(end)) {
            Ok(true) => {
                let mut health = self.sources.health.lock();
                (health.error, health.written_at) = (None, Some(rfc3339(chrono::Utc::now())));
            }
            Ok(false) => {}
            Err(error) => self.failed(&error),
        }
    }
}

impl Batch {
    fn is_empty(&self) -> bool {
        let Histories { pods, workloads } = &self.histories;
        let nothing_learned = pods.is_empty() && workloads.is_empty();
        self.changes.is_none()
            && self.decisions.is_empty()
            && self.past_changes.is_empty()
            && nothing_learned
    }
}

/// Opens and reads the file. One that cannot be understood is moved out of the way, and a new one
/// takes its place.
fn open(path: &Path) -> Result<(StateFile, Stored), FileError> {
    let unreadable = match std::panic::catch_unwind(|| open_and_read(path)) {
        Ok(Err(FileError::Unreadable(_, message))) => message,
        Ok(done) => return done,
        Err(_) => "a panic in reading it".into(),
    };
    let aside =
        path.with_extension(format!("redb.unreadable-{}", chrono::Utc::now().timestamp_millis()));
    tracing::error!(
        path = %path.display(), error = %unreadable, aside = %aside.display(),
        "the stored state cannot be understood: it is set aside, and nothing of an earlier \
            process is known"
    );
    std::fs::rename(path, &aside).map_err(|error| FileError::Io(path.to_owned(), error))?;
    open_and_read(path)
}

fn open_and_read(path: &Path) -> Result<(StateFile, Stored), FileError> {
    let file = StateFile::open(path)?;
    let stored = file.read()?;
    Ok((file, stored))
}

/// Writes once a second until the service has stopped all its work, then once more.
pub async fn run(store: Option<Store>, ended: CancellationToken) {
    let Some(store) = store else { return };
    let store = Arc::new(Mutex::new(store));
    loop {
        let end = ended.is_cancelled();
        let held = store.clone();
        let work = tokio::task::spawn_blocking(move || held.lock().work(end));
        if work.await.is_err() {
            tracing::error!("a panic in the writing of the state");
            store.lock().file = None;
        }
        if end {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = ended.cancelled() => {}
        }
    }
}
