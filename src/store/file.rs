//! The file that state is kept in: an embedded transactional store, so that a kill at any moment
//! leaves the last commit.

use crate::core::pod::pod_key;
use std::path::{Path, PathBuf};

use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::RuntimeChanges;
use crate::core::change_record::ChangeRecord;
use crate::core::pod::PodKey;
use crate::core::resource::PerResource;
use crate::core::workload::WorkloadKey;
use crate::scaler::agent::Histories;
use crate::scaler::journal::{Entry, Totals};
use crate::scaler::outcomes::Past;

/// The version of what the tables hold. Fields may be added to the records; another change takes a
/// new number.
const FORMAT: u64 = 2;

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// By namespace, name and uid.
const PODS: TableDefinition<(&str, &str, &str), &[u8]> = TableDefinition::new("pod_histories");
/// By their keys, encoded.
const WORKLOADS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("workload_histories");
/// By their number.
const DECISIONS: TableDefinition<u64, &[u8]> = TableDefinition::new("pod_decisions");

/// By their number.
const CHANGES: TableDefinition<u64, &[u8]> = TableDefinition::new("changes");

/// It remembered and decided by whole pods: of it the configuration and the counts still hold.
const FORMAT_OF_PODS: u64 = 1;
const PODS_OF_FORMAT_1: TableDefinition<(&str, &str, &str), &[u8]> = TableDefinition::new("pods");
const DECISIONS_OF_FORMAT_1: TableDefinition<u64, &[u8]> = TableDefinition::new("decisions");

const CACHE: usize = 8 << 20;

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{} is in use by another process: each needs a folder of its own", .0.display())]
    InUse(PathBuf),
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    Io(PathBuf, std::io::Error),
    /// It is there and cannot be understood.
    #[error("{path}: {message}", path = .0.display(), message = .1)]
    Unreadable(PathBuf, String),
}

#[derive(Default)]
pub struct Stored {
    pub changes: RuntimeChanges,
    pub totals: Totals,
    /// Oldest first.
    pub decisions: Vec<Entry>,
    /// By their numbers, oldest first.
    pub past_changes: Vec<(u64, ChangeRecord)>,
    pub outcomes: Past,
    /// The windows of the guard that the peaks were kept for.
    pub windows: PerResource<i64>,
    pub histories: Histories,
}

/// What is to be written in one commit.
#[derive(Default)]
pub struct Batch {
    pub changes: Option<RuntimeChanges>,
    pub windows: Option<PerResource<i64>>,
    pub totals: Option<Totals>,
    pub decisions: Vec<(u64, Entry)>,
    /// Decisions with smaller numbers are forgotten.
    pub oldest_decision: u64,
    pub past_changes: Vec<(u64, ChangeRecord)>,
    /// Changes with smaller numbers are forgotten.
    pub oldest_change: u64,
    pub outcomes: Option<Past>,
    pub histories: Histories,
}

pub struct StateFile {
    path: PathBuf,
    database: Database,
}

impl StateFile {
    /// Opens the file, or makes a new one, and checks all of it.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(FileError::Unreadable(path.to_owned(), "not a regular file".into()));
        }
        let mut database = redb::Builder::new()
            .set_cache_size(CACHE)
            .create(path)
            .map_err(|e| opening(path, e))?;
        if !database.check_integrity().map_err(|e| opening(path, e))? {
            tracing::warn!(path = %path.display(), "the stored state was damaged and is repaired \
                to its last commit");
        }
        Ok(Self { path: path.to_owned(), database })
    }

    pub fn read(&self) -> Result<Stored, FileError> {
        self.try_read().map_err(|error| self.fault(error))
    }

    fn try_read(&self) -> Result<Stored, Fault> {
        let transaction = self.database.begin_read()?;
        let meta = match transaction.open_table(META) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Stored::default()),
            table => table?,
        };
        let get = |name: &str| Ok::<_, Fault>(meta.get(name)?.map(|value| value.value().to_vec()));
        let format =
            get("format")?.map(|bytes| decode::<u64>(&bytes)).transpose()?.unwrap_or_default();
        if format != FORMAT && format != FORMAT_OF_PODS {
            return Err(Fault::Content(format!(
                "format {format} is not known to this version, which writes {FORMAT}"
            )));
        }
        let mut stored = Stored {
            changes: get("changes")?.map(|bytes| self.changes(&bytes)).unwrap_or_default(),
            totals: get("totals")?.map(|bytes| decode(&bytes)).transpose()?.unwrap_or_default(),
            ..Stored::default()
        };
        if format == FORMAT_OF_PODS {
            tracing::info!(path = %self.path.display(), "the peaks of an earlier version are of \
                whole pods: those of containers are learned anew");
            return Ok(stored);
        }
        let windows = get("windows")?.map(|bytes| decode(&bytes));
        stored.windows = windows.transpose()?.unwrap_or_default();
        let outcomes = get("outcomes")?.map(|bytes| decode(&bytes));
        stored.outcomes = outcomes.transpose()?.unwrap_or_default();
        for row in transaction.open_table(DECISIONS)?.iter()? {
            stored.decisions.push(decode(row?.1.value())?);
        }
        match transaction.open_table(CHANGES) {
            // An earlier version has kept none.
            Err(redb::TableError::TableDoesNotExist(_)) => {}
            table => {
                for row in table?.iter()? {
                    let (number, record) = row?;
                    stored.past_changes.push((number.value(), decode(record.value())?));
                }
            }
        }
        for row in transaction.open_table(PODS)?.iter()? {
            let (key, history) = row?;
            let (namespace, name, uid) = key.value();
            let key = pod_key(namespace, name, uid);
            stored.histories.pods.push((key, decode(history.value())?));
        }
        match transaction.open_table(WORKLOADS) {
            // An earlier version has kept none.
            Err(redb::TableError::TableDoesNotExist(_)) => {}
            table => {
                for row in table?.iter()? {
                    let (key, history) = row?;
                    let row = (decode(key.value())?, decode(history.value())?);
                    stored.histories.workloads.push(row);
                }
            }
        }
        Ok(stored)
    }

    /// What was set at run time is worth less than all the rest.
    fn changes(&self, bytes: &[u8]) -> RuntimeChanges {
        decode(bytes).unwrap_or_else(|_| {
            tracing::warn!(path = %self.path.display(), "the stored configuration cannot be read: \
                what was changed at run time holds no longer");
            RuntimeChanges::default()
        })
    }

    pub fn write(&self, batch: &Batch) -> Result<(), FileError> {
        self.try_write(batch).map_err(|error| self.fault(error))
    }

    fn try_write(&self, batch: &Batch) -> Result<(), Fault> {
        let transaction = self.database.begin_write()?;
        transaction.delete_table(PODS_OF_FORMAT_1)?;
        transaction.delete_table(DECISIONS_OF_FORMAT_1)?;
        {
            let mut meta = transaction.open_table(META)?;
            let mut put =
                |name: &str, bytes: Vec<u8>| meta.insert(name, bytes.as_slice()).map(drop);
            put("format", encode(&FORMAT)?)?;
            if let Some(changes) = &batch.changes {
                put("changes", encode(changes)?)?;
            }
            if let Some(windows) = &batch.windows {
                put("windows", encode(windows)?)?;
            }
            if let Some(totals) = &batch.totals {
                put("totals", encode(totals)?)?;
            }
            if let Some(outcomes) = &batch.outcomes {
                put("outcomes", encode(outcomes)?)?;
            }
            let mut decisions = transaction.open_table(DECISIONS)?;
            for (number, entry) in &batch.decisions {
                decisions.insert(number, encode(entry)?.as_slice())?;
            }
            decisions.retain_in(..batch.oldest_decision, |_, _| false)?;
            let mut changes = transaction.open_table(CHANGES)?;
            for (number, record) in &batch.past_changes {
                changes.insert(number, encode(record)?.as_slice())?;
            }
            changes.retain_in(..batch.oldest_change, |_, _| false)?;
            let mut pods = transaction.open_table(PODS)?;
            for (key, history) in &batch.histories.pods {
                let bytes = encode(history)?;
                pods.insert(
                    (key.namespace.as_str(), key.name.as_str(), key.uid.as_str()),
                    bytes.as_slice(),
                )?;
            }
            let mut workloads = transaction.open_table(WORKLOADS)?;
            for (key, history) in &batch.histories.workloads {
                workloads.insert(encode(key)?.as_slice(), encode(history)?.as_slice())?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// Forgets the other pods and workloads.
    pub fn keep(
        &self,
        present: impl Fn(&PodKey) -> bool,
        remembered: impl Fn(&WorkloadKey) -> bool,
    ) -> Result<(), FileError> {
        let keep = || -> Result<(), Fault> {
            let transaction = self.database.begin_write()?;
            let there = |(namespace, name, uid): (&str, &str, &str)| {
                present(&pod_key(namespace, name, uid))
            };
            transaction.open_table(PODS)?.retain(|key, _| there(key))?;
            let known = |key: &[u8]| decode(key).is_ok_and(|key| remembered(&key));
            transaction.open_table(WORKLOADS)?.retain(|key, _| known(key))?;
            Ok(transaction.commit()?)
        };
        keep().map_err(|error| self.fault(error))
    }

    fn fault(&self, fault: Fault) -> FileError {
        let path = self.path.clone();
        match fault {
            Fault::Redb(error) => match *error {
                redb::Error::Io(error) => FileError::Io(path, error),
                error => FileError::Unreadable(path, error.to_string()),
            },
            Fault::Content(message) => FileError::Unreadable(path, message),
        }
    }
}

enum Fault {
    Redb(Box<redb::Error>),
    Content(String),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Redb(Box::new(error.into()))
    }
}

fn opening(path: &Path, error: DatabaseError) -> FileError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen => FileError::InUse(path),
        // A file that was cut short has an end where there should be more.
        DatabaseError::Storage(StorageError::Io(error))
            if !matches!(
                error.kind(),
                std::io::ErrorKind::InvalidData
                    | std::io::ErrorKind::UnexpectedEof
                    | std::io::ErrorKind::InvalidInput
            ) =>
        {
            FileError::Io(path, error)
        }
        error => FileError::Unreadable(path, error.to_string()),
    }
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>, Fault> {
    rmp_serde::to_vec_named(value).map_err(|error| Fault::Content(error.to_string()))
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    rmp_serde::from_slice(bytes).map_err(|error| Fault::Content(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::core::history::PodHistory;
    use crate::core::observation::Observation;
    use crate::core::policy::Policy;
    use crate::core::timestamp::Timestamp;

    fn batch() -> Batch {
        let key = pod_key("default", "web", "u");
        let mut history = PodHistory::default();
        let usage = PerResource::new(0.5, 100.0);
        let container = history.container_mut(&"app".into());
        container.observe(&Observation::measured(90, usage, usage), &Policy::default(), 90);
        container.resized_at = Timestamp::at(80);
        let windows = Some(PerResource::new(60, 70));
        let histories = Histories { pods: vec![(key, history)], ..Histories::default() };
        Batch { windows, histories, ..Batch::default() }
    }

    #[test]
    fn what_is_written_is_read_and_what_is_gone_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let written = batch();
        StateFile::open(&path).unwrap().write(&written).unwrap();
        let file = StateFile::open(&path).unwrap();
        let stored = file.read().unwrap();
        assert_eq!(
            (stored.windows, format!("{:?}", stored.histories)),
            (PerResource::new(60, 70), format!("{:?}", written.histories))
        );
        file.keep(|_| false, |_| false).unwrap();
        assert!(file.read().unwrap().histories.pods.is_empty());
    }

    #[test]
    fn of_the_format_of_whole_pods_the_configuration_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::open(&folder.path().join("state")).unwrap();
        let changed = Config { dry_run: false, ..Config::default() };
        let changes = RuntimeChanges::between(&Config::default(), &changed);
        file.write(&Batch { changes: Some(changes.clone()), ..batch() }).unwrap();
        let transaction = file.database.begin_write().unwrap();
        let format = encode(&FORMAT_OF_PODS).ok().unwrap();
        transaction.open_table(META).unwrap().insert("format", format.as_slice()).unwrap();
        let mut old = transaction.open_table(PODS_OF_FORMAT_1).unwrap();
        old.insert(("default", "web", "u"), b"not of this version".as_slice()).unwrap();
        drop(old);
        transaction.commit().unwrap();
        let stored = file.read().unwrap();
        assert_eq!((stored.changes, stored.histories.pods.len()), (changes, 0));
        file.write(&batch()).unwrap();
        assert_eq!(file.read().unwrap().histories.pods.len(), 1);
    }

    #[test]
    fn a_file_cut_anywhere_is_unreadable_and_no_fault_of_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        StateFile::open(&path).unwrap().write(&batch()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in (1..512).chain((512..whole.len()).step_by(whole.len() / 64)) {
            std::fs::write(&path, &whole[..length]).unwrap();
            let opened = std::panic::catch_unwind(|| StateFile::open(&path)?.read());
            assert!(
                matches!(opened, Ok(Ok(_) | Err(FileError::Unreadable(..))) | Err(_)),
                "{length}: {:?}",
                opened.ok().and_then(Result::err)
            );
        }
    }

    #[test]
    fn settings_that_cannot_be_read_cost_only_themselves() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::open(&folder.path().join("state")).unwrap();
        file.write(&batch()).unwrap();
        let transaction = file.database.begin_write().unwrap();
        transaction.open_table(META).unwrap().insert("changes", b"?".as_slice()).unwrap();
        transaction.commit().unwrap();
        let stored = file.read().unwrap();
        assert!(stored.changes.is_empty() && stored.histories.pods.len() == 1);
    }

    #[test]
    fn another_format_is_not_guessed_at() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let file = StateFile::open(&path).unwrap();
        file.write(&batch()).unwrap();
        let transaction = file.database.begin_write().unwrap();
        let format = encode(&(FORMAT + 1)).ok().unwrap();
        transaction.open_table(META).unwrap().insert("format", format.as_slice()).unwrap();
        transaction.commit().unwrap();
        let message = file.read().err().unwrap().to_string();
        assert!(message.contains("format 3 is not known"), "{message}");
    }
}
