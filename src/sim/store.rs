//! What etcd and the watch cache are to a cluster: objects with resource versions, and a bounded
//! history of changes.
//!
//! Objects are kept as the bytes that a response carries, so that listing 150,000 pods copies
//! pointers and serialises nothing; a change parses one object and writes it anew.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;

use super::json;
use super::resources::{ALL, Resource};

/// Namespace (empty for cluster-wide objects) and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    pub fn of(object: &Value) -> Self {
        Self::new(json::text(object, "/metadata/namespace"), json::text(object, "/metadata/name"))
    }
}

/// A stored object: its bytes, and what selectors and indexes ask of it.
#[derive(Debug)]
pub struct Object {
    pub key: Key,
    pub version: u64,
    pub json: Bytes,
    pub labels: Vec<(String, String)>,
    /// The fields that selectors may name, beside name and namespace.
    pub fields: Vec<(&'static str, String)>,
    uid: String,
    owner: String,
}

impl Object {
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.json).unwrap_or_default()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Added,
    Modified,
    Deleted,
}

#[derive(Debug, Clone)]
pub struct Change {
    pub action: Action,
    pub object: Arc<Object>,
    /// The object before a modification: a selector may have matched that one.
    pub previous: Option<Arc<Object>>,
}

#[derive(Debug, Default)]
struct Table {
    objects: BTreeMap<Key, Arc<Object>>,
    history: VecDeque<Change>,
    /// The newest version that history has forgotten.
    forgotten: u64,
    changed: watch::Sender<()>,
}

#[derive(Debug)]
pub struct Store {
    version: u64,
    tables: Vec<Table>,
    /// By uid of the owning controller.
    owned: HashMap<String, BTreeSet<(Resource, Key)>>,
    history: usize,
}

/// A young cluster has seen a few thousand writes, and version 1 is long gone.
const FIRST: u64 = 1000;

impl Store {
    /// A store that remembers `history` changes of each resource.
    pub fn new(history: usize) -> Self {
        let tables = ALL.iter().map(|_| Table { forgotten: FIRST, ..Table::default() }).collect();
        Self { version: FIRST, tables, owned: HashMap::new(), history }
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    /// Tells when an object of this resource has changed.
    pub fn subscribe(&self, resource: Resource) -> watch::Receiver<()> {
        self.tables[resource as usize].changed.subscribe()
    }

    pub fn get(&self, resource: Resource, key: &Key) -> Option<&Arc<Object>> {
        self.tables[resource as usize].objects.get(key)
    }

    pub fn value(&self, resource: Resource, key: &Key) -> Option<Value> {
        self.get(resource, key).map(|object| object.value())
    }

    pub fn len(&self, resource: Resource) -> usize {
        self.tables[resource as usize].objects.len()
    }

    /// The objects of a namespace, or of all, in order, behind `after` if given.
    pub fn range<'a>(
        &'a self,
        resource: Resource,
        namespace: Option<&'a str>,
        after: Option<&Key>,
    ) -> impl Iterator<Item = &'a Arc<Object>> {
        let first = match (after, namespace) {
            (Some(key), _) => Bound::Excluded(key.clone()),
            (None, Some(namespace)) => Bound::Included(Key::new(namespace, "")),
            (None, None) => Bound::Unbounded,
        };
        self.tables[resource as usize]
            .objects
            .range((first, Bound::Unbounded))
            .map(|(_, object)| object)
            .take_while(move |object| {
                namespace.is_none_or(|namespace| object.key.namespace == namespace)
            })
    }

    /// The objects that a controller owns.
    pub fn owned(&self, uid: &str, resource: Resource) -> Vec<Arc<Object>> {
        let keys = self.owned.get(uid).into_iter().flatten().filter(|(kind, _)| *kind == resource);
        keys.filter_map(|(_, key)| self.get(resource, key).cloned()).collect()
    }

    pub fn owned_keys(&self, uid: &str) -> Vec<(Resource, Key)> {
        self.owned.get(uid).into_iter().flatten().cloned().collect()
    }

    /// Adds or replaces an object under a new resource version.
    pub fn put(&mut self, resource: Resource, mut value: Value) -> Arc<Object> {
        let object = self.stamp(resource, &mut value);
        if !object.owner.is_empty() {
            self.owned
                .entry(object.owner.clone())
                .or_default()
                .insert((resource, object.key.clone()));
        }
        let previous =
            self.tables[resource as usize].objects.insert(object.key.clone(), object.clone());
        if let Some(previous) = previous.as_ref().filter(|previous| previous.owner != object.owner)
        {
            self.disown(resource, previous);
        }
        let action = if previous.is_some() { Action::Modified } else { Action::Added };
        self.record(resource, Change { action, object: object.clone(), previous });
        object
    }

    pub fn remove(&mut self, resource: Resource, key: &Key) -> Option<Arc<Object>> {
        let previous = self.tables[resource as usize].objects.remove(key)?;
        self.disown(resource, &previous);
        let object = self.stamp(resource, &mut previous.value());
        self.record(
            resource,
            Change { action: Action::Deleted, object: object.clone(), previous: Some(previous) },
        );
        Some(object)
    }

    fn disown(&mut self, resource: Resource, object: &Object) {
        if let Some(owned) = self.owned.get_mut(&object.owner) {
            owned.remove(&(resource, object.key.clone()));
            if owned.is_empty() {
                self.owned.remove(&object.owner);
            }
        }
    }

    /// The changes of a resource after `version`, or none if some of them are forgotten.
    pub fn changes(
        &self,
        resource: Resource,
        version: u64,
    ) -> Option<impl Iterator<Item = &Change>> {
        let table = &self.tables[resource as usize];
        let first = table.history.partition_point(|change| change.object.version <= version);
        (version >= table.forgotten).then(|| table.history.range(first..))
    }

    /// Forgets the history, as a compaction does.
    pub fn compact(&mut self) {
        for table in &mut self.tables {
            if let Some(newest) = table.history.drain(..).next_back() {
                table.forgotten = newest.object.version;
            }
        }
    }

    /// Counts a write, also one that is kept elsewhere.
    pub fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    fn stamp(&mut self, resource: Resource, value: &mut Value) -> Arc<Object> {
        self.next_version();
        json::set(value, &["metadata"], "resourceVersion", self.version.to_string());
        Arc::new(Object {
            key: Key::of(value),
            version: self.version,
            labels: json::labels(value)
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            fields: fields(resource, value),
            uid: json::text(value, "/metadata/uid").to_owned(),
            owner: json::controller(value)
                .map(|owner| json::text(owner, "/uid"))
                .unwrap_or_default()
                .to_owned(),
            json: value.to_string().into(),
        })
    }

    fn record(&mut self, resource: Resource, change: Change) {
        let table = &mut self.tables[resource as usize];
        if table.history.len() >= self.history
            && let Some(oldest) = table.history.pop_front()
        {
            table.forgotten = oldest.object.version;
        }
        table.history.push_back(change);
        table.changed.send_replace(());
    }
}

impl Object {
    pub fn uid(&self) -> &str {
        &self.uid
    }
}

fn fields(resource: Resource, value: &Value) -> Vec<(&'static str, String)> {
    let names: &[(&'static str, &str)] = match resource {
        Resource::Pods => &[
            ("spec.nodeName", "/spec/nodeName"),
            ("status.phase", "/status/phase"),
            ("spec.restartPolicy", "/spec/restartPolicy"),
        ],
        Resource::Events => &[
            ("involvedObject.kind", "/involvedObject/kind"),
            ("involvedObject.namespace", "/involvedObject/namespace"),
            ("involvedObject.name", "/involvedObject/name"),
            ("involvedObject.uid", "/involvedObject/uid"),
            ("reason", "/reason"),
            ("source", "/source/component"),
            ("type", "/type"),
        ],
        _ => &[],
    };
    names.iter().map(|(name, pointer)| (*name, json::text(value, pointer).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str) -> Value {
        json!({ "metadata": { "namespace": "default", "name": name, "uid": name } })
    }

    #[test]
    fn history_is_bounded_and_says_when_it_has_forgotten() {
        let mut store = Store::new(3);
        let first = store.put(Resource::Pods, pod("a")).version;
        for name in ["b", "c"] {
            store.put(Resource::Pods, pod(name));
        }
        assert_eq!(store.changes(Resource::Pods, first - 1).map(Iterator::count), Some(3));
        store.remove(Resource::Pods, &Key::new("default", "a"));
        assert!(store.changes(Resource::Pods, first - 1).is_none());
        let actions: Vec<Action> =
            store.changes(Resource::Pods, first).unwrap().map(|change| change.action).collect();
        assert_eq!(actions, [Action::Added, Action::Added, Action::Deleted]);
        store.compact();
        assert!(store.changes(Resource::Pods, first).is_none());
        assert_eq!(store.changes(Resource::Pods, store.version()).map(Iterator::count), Some(0));
    }

    #[test]
    fn a_namespace_is_a_range_of_keys() {
        let mut store = Store::new(10);
        for (namespace, name) in [("a", "z"), ("b", "x"), ("b", "y"), ("c", "w")] {
            store.put(
                Resource::Pods,
                json!({ "metadata": { "namespace": namespace, "name": name } }),
            );
        }
        let names = |namespace, after: Option<Key>| {
            let range = store.range(Resource::Pods, namespace, after.as_ref());
            range.map(|object| object.key.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(Some("b"), None), ["x", "y"]);
        assert_eq!(names(Some("b"), Some(Key::new("b", "x"))), ["y"]);
        assert_eq!(names(None, Some(Key::new("b", "x"))), ["y", "w"]);
    }
}
