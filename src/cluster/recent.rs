//! What is remembered for a while, and no more of it than there is room for.

use std::collections::HashMap;
use std::hash::Hash;

/// Beyond so many, what is old is forgotten at once, and everything if nothing is old.
const ROOM: usize = 4096;

pub struct Recent<K, V> {
    seconds: i64,
    entries: HashMap<K, (i64, V)>,
}

impl<K: Hash + Eq, V> Recent<K, V> {
    /// Remembers for so many seconds.
    pub fn new(seconds: i64) -> Self {
        Self { seconds, entries: HashMap::new() }
    }

    pub fn get(&self, key: &K, now: i64) -> Option<&V> {
        self.entries.get(key).filter(|(at, _)| now - at < self.seconds).map(|(_, value)| value)
    }

    pub fn put(&mut self, key: K, value: V, now: i64) {
        if self.entries.len() >= ROOM {
            self.entries.retain(|_, (at, _)| now - *at < self.seconds);
        }
        if self.entries.len() >= ROOM {
            self.entries.clear();
        }
        self.entries.insert(key, (now, value));
    }
}

impl<K: Hash + Eq> Recent<K, ()> {
    /// Whether it is not remembered; from now on it is.
    pub fn is_new(&mut self, key: K, now: i64) -> bool {
        let is_new = self.get(&key, now).is_none();
        if is_new {
            self.put(key, (), now);
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_forgets_what_is_old_and_what_is_too_much() {
        let mut recent = Recent::new(60);
        recent.put("a", 1, 0);
        assert_eq!((recent.get(&"a", 59), recent.get(&"a", 60)), (Some(&1), None));
        let mut full = Recent::new(60);
        for number in 0..10 * ROOM {
            full.put(number, (), 0);
            assert!(full.entries.len() <= ROOM && full.get(&number, 0).is_some());
        }
    }
}
