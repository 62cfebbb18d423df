//! A local copy of one kind of object in one namespace, fed by a watch.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::Notify;

use super::pulse::Pulse;
use crate::client::error::{Call, ClusterError};
use crate::client::retry::Deadline;

/// By name.
pub type Items<V> = HashMap<Arc<str>, Arc<V>>;

/// Whether a value that takes the place of another, or of none, is to be told.
pub type IsNews<V> = fn(Option<&V>, &V) -> bool;

/// News that nobody has asked for are forgotten, the oldest first.
const MOST_NEWS: usize = 1000;

pub struct ResourceCache<V> {
    call: Call,
    state: RwLock<State<V>>,
    changed: Notify,
    is_news: IsNews<V>,
    /// Whoever waits for news, of this copy and others.
    told: Arc<Notify>,
}

struct State<V> {
    /// Shared with those who read it: it is copied only where it changes under their eyes.
    items: Arc<Items<V>>,
    /// What a list that is under way has brought so far; it replaces the items when it is complete.
    incoming: Items<V>,
    synced: bool,
    fault: Option<ClusterError>,
    /// Of the watch that feeds it. What an earlier one still brings is of no use.
    pulse: Arc<Pulse>,
    /// There is nothing to watch.
    is_empty: bool,
    /// Names of what is news since somebody last asked.
    news: VecDeque<Arc<str>>,
}

impl<V> Default for State<V> {
    fn default() -> Self {
        Self {
            items: Arc::default(),
            incoming: HashMap::new(),
            synced: false,
            fault: None,
            pulse: Arc::default(),
            is_empty: false,
            news: VecDeque::new(),
        }
    }
}

impl<V: PartialEq + Send + Sync + 'static> ResourceCache<V> {
    pub fn new(resource: &'static str, namespace: &str) -> Self {
        Self::telling(resource, namespace, |_, _| false, Arc::default())
    }

    /// One that tells its news.
    pub fn telling(
        resource: &'static str,
        namespace: &str,
        is_news: IsNews<V>,
        told: Arc<Notify>,
    ) -> Self {
        Self {
            call: Call::over("watch", resource, namespace),
            state: RwLock::new(State::default()),
            changed: Notify::new(),
            is_news,
            told,
        }
    }

    /// What is news since this was last asked, as it is now.
    pub fn take_news(&self) -> Vec<Arc<V>> {
        if self.state.read().news.is_empty() {
            return Vec::new();
        }
        let mut state = self.state.write();
        let names = std::mem::take(&mut state.news);
        let mut told = HashSet::new();
        let names = names.iter().filter(|name| told.insert(Arc::clone(name)));
        names.filter_map(|name| state.items.get(name).cloned()).collect()
    }

    /// These of what is known, complete or not.
    pub fn known_of<'a>(&self, names: impl Iterator<Item = &'a str>) -> Items<V> {
        let state = self.state.read();
        let known = names.filter_map(|name| state.items.get_key_value(name));
        known.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// From now on by this watch, and no other. What is known stays until that has listed.
    pub(super) fn fed_by(&self, pulse: &Arc<Pulse>) {
        self.state.write().pulse = pulse.clone();
    }

    /// Nothing is news before the copy was complete once.
    fn tell(&self, state: &mut State<V>, name: &Arc<str>, value: &V) {
        if state.synced && (self.is_news)(state.items.get(name).map(Arc::as_ref), value) {
            if state.news.len() == MOST_NEWS {
                state.news.pop_front();
            }
            state.news.push_back(name.clone());
            self.told.notify_one();
        }
    }

    fn take(&self, from: &Arc<Pulse>, change: impl FnOnce(&mut State<V>)) {
        let mut state = self.state.write();
        if Arc::ptr_eq(&state.pulse, from) {
            change(&mut state);
        }
    }

    pub(super) fn list_begins(&self, from: &Arc<Pulse>) {
        self.take(from, |state| state.incoming.clear());
    }

    /// What is as it was known to be is not held twice until the list is complete.
    pub(super) fn listed(&self, from: &Arc<Pulse>, name: &str, value: Option<V>) {
        let Some(value) = value else { return };
        self.take(from, |state| {
            let known = state.items.get_key_value(name).filter(|(_, known)| ***known == value);
            let (name, value) = match known {
                Some((name, known)) => (name.clone(), known.clone()),
                None => (name.into(), Arc::new(value)),
            };
            state.incoming.insert(name, value);
        });
    }

    pub(super) fn list_ends(&self, from: &Arc<Pulse>) {
        self.take(from, |state| {
            let incoming = std::mem::take(&mut state.incoming);
            for (name, value) in &incoming {
                self.tell(state, name, value);
            }
            state.items = Arc::new(incoming);
            (state.synced, state.fault, state.is_empty) = (true, None, false);
        });
        self.changed.notify_waiters();
    }

    /// An object is gone, too, that had something to say and has nothing any more.
    pub(super) fn changed(&self, from: &Arc<Pulse>, name: &str, value: Option<V>) {
        self.take(from, |state| match value {
            Some(value) => {
                let name = name.into();
                self.tell(state, &name, &value);
                Arc::make_mut(&mut state.items).insert(name, Arc::new(value));
            }
            None => drop(Arc::make_mut(&mut state.items).remove(name)),
        });
        self.changed.notify_waiters();
    }

    /// The watch goes on where it was.
    pub(super) fn in_order(&self, from: &Arc<Pulse>) {
        self.take(from, |state| state.fault = None);
        self.changed.notify_waiters();
    }

    pub(super) fn broken(&self, from: &Arc<Pulse>, fault: &ClusterError) {
        self.take(from, |state| state.fault = Some(fault.clone()));
        self.changed.notify_waiters();
    }

    /// It cannot be told whether there is something to watch.
    pub fn unknown(&self, fault: &ClusterError) {
        self.state.write().fault = Some(fault.clone());
        self.changed.notify_waiters();
    }

    /// There is nothing to follow.
    pub fn holds_nothing(&self) {
        *self.state.write() = State { synced: true, is_empty: true, ..State::default() };
        self.changed.notify_waiters();
    }

    /// Waits until the copy is complete, or its watch out of order.
    pub async fn settle(&self, deadline: Deadline) {
        let is_settled = || {
            let state = self.state.read();
            state.synced || state.fault.is_some()
        };
        loop {
            let changed = self.changed.notified();
            if is_settled() || tokio::time::timeout(deadline.left(), changed).await.is_err() {
                return;
            }
        }
    }

    /// What the copy holds, or held when its watch was last in order.
    pub fn last_known(&self) -> Result<Arc<Items<V>>, ClusterError> {
        self.once_complete(Arc::clone)
    }

    /// The same of one object.
    pub fn last_known_of(&self, name: &str) -> Result<Option<Arc<V>>, ClusterError> {
        self.once_complete(|items| items.get(name).cloned())
    }

    /// Why the copy never was complete.
    pub fn never_complete(&self) -> Option<ClusterError> {
        self.once_complete(|_| ()).err()
    }

    fn once_complete<T>(&self, read: impl FnOnce(&Arc<Items<V>>) -> T) -> Result<T, ClusterError> {
        let state = self.state.read();
        if state.synced {
            Ok(read(&state.items))
        } else {
            Err(state.fault.clone().unwrap_or_else(|| self.unanswered("no answer yet")))
        }
    }

    fn unanswered(&self, how: &str) -> ClusterError {
        let call = Call { verb: "list", ..self.call.clone() };
        ClusterError::Unavailable { call, message: how.into() }
    }

    /// What there is now, once the copy is complete and its watch in order. `probe` asks the API
    /// server directly when the watch is broken: once that answers, the watch need not rest any
    /// longer.
    pub async fn items<F, Fut>(
        &self,
        deadline: Deadline,
        probe: F,
    ) -> Result<Arc<Items<V>>, ClusterError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<(), ClusterError>>,
    {
        loop {
            let changed = self.changed.notified();
            let (fault, pulse) = {
                let state = self.state.read();
                if state.is_fresh() {
                    return Ok(state.items.clone());
                }
                (state.fault.clone(), state.pulse.clone())
            };
            if let Some(fault) = fault {
                if !matches!(fault, ClusterError::Unavailable { .. }) {
                    return Err(fault);
                }
                probe().await?;
            }
            pulse.wake();
            if tokio::time::timeout(deadline.left(), changed).await.is_err() {
                let fault = self.state.read().fault.clone();
                return Err(fault.unwrap_or_else(|| self.unanswered("timed out: no answer")));
            }
        }
    }

    /// One object as it is now, if that is known without asking: Some(None) where there is none.
    pub fn fresh(&self, name: &str) -> Option<Option<Arc<V>>> {
        let state = self.state.read();
        state.is_fresh().then(|| state.items.get(name).cloned())
    }

    /// Why the watch is out of order, if it is.
    pub fn fault(&self) -> Option<ClusterError> {
        self.state.read().fault.clone()
    }

    /// Complete, and fed by a watch that is in order and has said something lately.
    pub fn is_fresh(&self) -> bool {
        self.state.read().is_fresh()
    }

    /// What is known, complete or not.
    pub fn known(&self) -> Arc<Items<V>> {
        self.state.read().items.clone()
    }
}

impl<V> State<V> {
    fn is_fresh(&self) -> bool {
        self.synced && self.fault.is_none() && (self.is_empty || self.pulse.is_fresh())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn it_is_fresh_only_while_its_watch_speaks() {
        let cache = ResourceCache::<u8>::new("pods", "shop");
        let pulse = Arc::new(Pulse::default());
        cache.fed_by(&pulse);
        cache.list_begins(&pulse);
        cache.listed(&pulse, "web", Some(1));
        assert!(!cache.is_fresh() && cache.fresh("web").is_none(), "the list is not complete");
        cache.list_ends(&pulse);
        assert_eq!(cache.fresh("web").flatten().as_deref(), Some(&1));
        assert_eq!(cache.fresh("db"), Some(None));
        let silent = Arc::new(Pulse::of_age(Duration::from_secs(95)).unwrap());
        cache.fed_by(&silent);
        assert!(!cache.is_fresh() && cache.fresh("web").is_none());
        let late = Deadline::after(Duration::from_millis(50));
        assert!(cache.items(late, async || Ok(())).await.is_err(), "it is not decided on");
        cache.holds_nothing();
        assert!(cache.is_fresh(), "nothing is watched, so nothing is said");
    }

    type Entry = (&'static str, u32);

    /// It is news when a value has grown, or begins.
    fn telling() -> (ResourceCache<u32>, Arc<Pulse>) {
        let cache = ResourceCache::telling(
            "configmaps",
            "shop",
            |before, now| before < Some(now),
            Arc::default(),
        );
        let pulse = Arc::new(Pulse::default());
        cache.fed_by(&pulse);
        (cache, pulse)
    }

    fn list(cache: &ResourceCache<u32>, pulse: &Arc<Pulse>, entries: &[Entry]) {
        cache.list_begins(pulse);
        entries.iter().for_each(|(name, value)| cache.listed(pulse, name, Some(*value)));
        cache.list_ends(pulse);
    }

    fn news(cache: &ResourceCache<u32>) -> Vec<u32> {
        let mut news: Vec<u32> = cache.take_news().iter().map(|value| **value).collect();
        news.sort_unstable();
        news
    }

    #[test]
    fn what_changes_in_a_telling_way_is_told_once_as_it_is_now() {
        let (cache, pulse) = telling();
        list(&cache, &pulse, &[("a", 1), ("b", 2)]);
        assert!(news(&cache).is_empty(), "what was there at first is no news");
        for (name, value) in [("a", 5), ("a", 7), ("b", 1), ("c", 3), ("d", 9)] {
            cache.changed(&pulse, name, Some(value));
        }
        cache.changed(&pulse, "d", None);
        assert_eq!(news(&cache), [3, 7]);
        assert!(news(&cache).is_empty());
        list(&cache, &pulse, &[("a", 7), ("b", 4), ("e", 6)]);
        assert_eq!(news(&cache), [4, 6], "what a new list brings");
    }

    #[test]
    fn what_a_new_list_brings_as_it_was_is_not_held_twice() {
        let (cache, pulse) = telling();
        list(&cache, &pulse, &[("same", 1), ("other", 1), ("gone", 1)]);
        let before = cache.known();
        list(&cache, &pulse, &[("same", 1), ("other", 2)]);
        let after = cache.known();
        assert!(Arc::ptr_eq(&before["same"], &after["same"]));
        assert_eq!((after.len(), *after["other"]), (2, 2));
    }

    #[test]
    fn news_that_nobody_asks_for_are_bounded() {
        let (cache, pulse) = telling();
        list(&cache, &pulse, &[]);
        for number in 0..=MOST_NEWS as u32 {
            cache.changed(&pulse, &format!("pod-{number}"), Some(number + 1));
        }
        let news = news(&cache);
        assert_eq!((news.len(), news[0]), (MOST_NEWS, 2), "the oldest is forgotten");
    }

    #[test]
    fn what_an_earlier_watch_still_brings_is_of_no_use() {
        let cache = ResourceCache::<u8>::new("pods", "shop");
        let (old, new) = (Arc::new(Pulse::default()), Arc::new(Pulse::default()));
        cache.fed_by(&old);
        cache.list_begins(&old);
        cache.listed(&old, "gone", Some(1));
        cache.fed_by(&new);
        cache.list_begins(&new);
        cache.listed(&old, "gone", Some(1));
        cache.list_ends(&new);
        cache.changed(&old, "gone", Some(1));
        assert!(cache.known().is_empty());
    }
}
