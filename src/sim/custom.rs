//! Kinds that only the owners of a cluster know, such as those of operators, and their objects.

use std::collections::BTreeMap;

use serde_json::Value;

use super::store::Key;

/// A kind of namespaced objects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CustomKind {
    pub group: String,
    pub version: String,
    pub plural: String,
    pub kind: String,
}

impl CustomKind {
    pub fn new(group: &str, version: &str, plural: &str, kind: &str) -> Self {
        let [group, version, plural, kind] = [group, version, plural, kind].map(str::to_owned);
        Self { group, version, plural, kind }
    }

    pub fn api_version(&self) -> String {
        match self.group.as_str() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }
}

#[derive(Debug, Default)]
pub struct CustomObjects {
    kinds: Vec<CustomKind>,
    objects: BTreeMap<(CustomKind, Key), Value>,
}

impl CustomObjects {
    /// Lets the API serve a kind.
    pub fn define(&mut self, kind: CustomKind) {
        self.kinds.push(kind);
    }

    pub fn kinds(&self) -> &[CustomKind] {
        &self.kinds
    }

    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&CustomKind> {
        self.kinds
            .iter()
            .find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
    }

    pub fn get(&self, kind: &CustomKind, key: &Key) -> Option<&Value> {
        self.objects.get(&(kind.clone(), key.clone()))
    }

    /// The objects of a kind in a namespace, or in all.
    pub fn range<'a>(
        &'a self,
        kind: &'a CustomKind,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Value> {
        let within = move |key: &Key| namespace.is_none_or(|name| key.namespace == name);
        let objects = self.objects.iter();
        objects.filter(move |((of, key), _)| of == kind && within(key)).map(|(_, object)| object)
    }

    pub fn put(&mut self, kind: &CustomKind, object: Value) {
        self.objects.insert((kind.clone(), Key::of(&object)), object);
    }

    pub fn remove(&mut self, kind: &CustomKind, key: &Key) -> Option<Value> {
        self.objects.remove(&(kind.clone(), key.clone()))
    }
}
