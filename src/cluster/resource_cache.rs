//! A local copy of one kind of object in one namespace, fed by a watch.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Resource};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

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
}

struct State<V> {
    items: Items<V>,
    /// What a list that is under way has brought so far; it replaces the items when it is complete.
    incoming: Items<V>,
    synced: bool,
    fault: Option<ClusterError>,
    /// Names of what is news since somebody last asked.
    news: VecDeque<Arc<str>>,
}

impl<V> Default for State<V> {
    fn default() -> Self {
        Self {
            items: HashMap::new(),
            incoming: HashMap::new(),
            synced: false,
            fault: None,
            news: VecDeque::new(),
        }
    }
}

impl<V> State<V> {
    /// Nothing is news before the copy was complete once.
    fn tell(&mut self, name: &Arc<str>, value: &V, is_news: IsNews<V>) {
        if self.synced && is_news(self.items.get(name).map(Arc::as_ref), value) {
            if self.news.len() == MOST_NEWS {
                self.news.pop_front();
            }
            self.news.push_back(name.clone());
        }
    }

    fn forget(&mut self, meta: &ObjectMeta) {
        if let Some(name) = &meta.name {
            self.items.remove(name.as_str());
        }
    }
}

impl<V: Send + Sync + 'static> ResourceCache<V> {
    pub fn new(resource: &'static str, namespace: &str) -> Self {
        Self::telling(resource, namespace, |_, _| false)
    }

    /// One that tells its news.
    pub fn telling(resource: &'static str, namespace: &str, is_news: IsNews<V>) -> Self {
        Self {
            call: Call::over("watch", resource, namespace),
            state: RwLock::new(State::default()),
            changed: Notify::new(),
            is_news,
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

    /// Follows the watch for ever. An object that `convert` makes nothing of is left out.
    pub async fn follow<K>(self: Arc<Self>, api: Api<K>, convert: fn(&K) -> Option<V>)
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        // Where the server offers it, the list comes as a stream too, and neither side holds it
        // whole.
        let streaming = watcher::Config::default().streaming_lists();
        if self.follow_by(watch(api.clone(), streaming), convert).await == Ended::NoStreamingLists {
            tracing::debug!(call = %self.call, "this server lists by pages");
            self.follow_by(watch(api, watcher::Config::default()), convert).await;
        }
    }

    async fn follow_by<K: Resource>(
        &self,
        events: impl Stream<Item = Result<Event<K>, watcher::Error>>,
        convert: fn(&K) -> Option<V>,
    ) -> Ended {
        let mut events = std::pin::pin!(events.backoff(Pauses(MIN_BACKOFF)));
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.take(event, convert),
                Err(error) if offers_no_streaming_lists(&error) => return Ended::NoStreamingLists,
                Err(error) => self.fail(&error),
            }
            self.changed.notify_waiters();
        }
        Ended::Over
    }

    fn take<K: Resource>(&self, event: Event<K>, convert: fn(&K) -> Option<V>) {
        let entry =
            |object: &K| Some((object.meta().name.as_deref()?.into(), Arc::new(convert(object)?)));
        let mut state = self.state.write();
        state.fault = None;
        match event {
            Event::Init => state.incoming.clear(),
            Event::InitApply(object) => state.incoming.extend(entry(&object)),
            Event::InitDone => {
                let incoming = std::mem::take(&mut state.incoming);
                for (name, value) in &incoming {
                    state.tell(name, value, self.is_news);
                }
                state.items = incoming;
                state.synced = true;
            }
            Event::Apply(object) => match entry(&object) {
                Some((name, value)) => {
                    state.tell(&name, &value, self.is_news);
                    state.items.insert(name, value);
                }
                // One that had something to say may have nothing any more.
                None => state.forget(object.meta()),
            },
            Event::Delete(object) => state.forget(object.meta()),
        }
    }

    fn fail(&self, error: &watcher::Error) {
        let listing = Call { verb: "list", ..self.call.clone() };
        let fault = match error {
            watcher::Error::InitialListFailed(error) => ClusterError::from_kube(listing, error),
            watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => {
                ClusterError::from_kube(self.call.clone(), error)
            }
            // The watcher lists anew by itself; nothing is wrong yet.
            watcher::Error::WatchError(status) if status.code == 410 => return,
            other => {
                ClusterError::Unavailable { call: self.call.clone(), message: other.to_string() }
            }
        };
        self.broken(fault);
    }

    pub fn broken(&self, fault: ClusterError) {
        tracing::warn!(error = %fault, "a watch is broken");
        self.state.write().fault = Some(fault);
        self.changed.notify_waiters();
    }

    /// There is nothing to follow.
    pub fn holds_nothing(&self) {
        *self.state.write() = State { synced: true, ..State::default() };
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
    pub fn last_known(&self) -> Result<Items<V>, ClusterError> {
        self.once_complete(Items::clone)
    }

    /// The same of one object.
    pub fn last_known_of(&self, name: &str) -> Result<Option<Arc<V>>, ClusterError> {
        self.once_complete(|items| items.get(name).cloned())
    }

    /// Why the copy never was complete.
    pub fn never_complete(&self) -> Option<ClusterError> {
        self.once_complete(|_| ()).err()
    }

    fn once_complete<T>(&self, read: impl FnOnce(&Items<V>) -> T) -> Result<T, ClusterError> {
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
    /// server directly when the watch is broken: it may have recovered without having had anything
    /// to say yet.
    pub async fn items<F, Fut>(
        &self,
        deadline: Deadline,
        probe: F,
    ) -> Result<Items<V>, ClusterError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<(), ClusterError>>,
    {
        loop {
            let changed = self.changed.notified();
            let (synced, fault) = {
                let state = self.state.read();
                if state.synced && state.fault.is_none() {
                    return Ok(state.items.clone());
                }
                (state.synced, state.fault.clone())
            };
            if let Some(fault) = fault {
                if !matches!(fault, ClusterError::Unavailable { .. }) {
                    return Err(fault);
                }
                probe().await?;
                if synced {
                    self.state.write().fault = None;
                    continue;
                }
            }
            if tokio::time::timeout(deadline.left(), changed).await.is_err() {
                return Err(self.unanswered("timed out: no answer"));
            }
        }
    }

    /// Why the watch is out of order, if it is.
    pub fn fault(&self) -> Option<ClusterError> {
        self.state.read().fault.clone()
    }

    /// Complete, and fed by a watch that is in order.
    pub fn is_fresh(&self) -> bool {
        let state = self.state.read();
        state.synced && state.fault.is_none()
    }

    /// What is known, complete or not.
    pub fn known(&self) -> Items<V> {
        self.state.read().items.clone()
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Ended {
    NoStreamingLists,
    Over,
}

/// Before 1.34 they are off unless asked for.
fn offers_no_streaming_lists(error: &watcher::Error) -> bool {
    let watcher::Error::WatchStartFailed(kube::Error::Api(status)) = error else { return false };
    status.code == 422 && status.message.contains("sendInitialEvents")
}

const MIN_BACKOFF: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_secs(8);

/// Doubling pauses between attempts to watch, with a little jitter so that watches do not come back
/// in step.
struct Pauses(Duration);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.0;
        self.0 = (pause * 2).min(MAX_BACKOFF);
        Some(pause.mul_f64(rand::random_range(0.8..1.2)))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.0 = MIN_BACKOFF;
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    type Entry = (&'static str, u32);

    fn object((name, value): Entry) -> ConfigMap {
        let data = [("value".to_owned(), value.to_string())].into();
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        ConfigMap { metadata, data: Some(data), ..ConfigMap::default() }
    }

    fn value(object: &ConfigMap) -> Option<u32> {
        object.data.as_ref()?.get("value")?.parse().ok()
    }

    /// It is news when a value has grown, or begins.
    fn cache() -> ResourceCache<u32> {
        ResourceCache::telling("configmaps", "shop", |before, now| before < Some(now))
    }

    fn list(cache: &ResourceCache<u32>, entries: &[Entry]) {
        cache.take(Event::<ConfigMap>::Init, value);
        for entry in entries {
            cache.take(Event::InitApply(object(*entry)), value);
        }
        cache.take(Event::<ConfigMap>::InitDone, value);
    }

    fn news(cache: &ResourceCache<u32>) -> Vec<u32> {
        let mut news: Vec<u32> = cache.take_news().iter().map(|value| **value).collect();
        news.sort_unstable();
        news
    }

    #[test]
    fn what_changes_in_a_telling_way_is_told_once_as_it_is_now() {
        let cache = cache();
        list(&cache, &[("a", 1), ("b", 2)]);
        assert!(news(&cache).is_empty(), "what was there at first is no news");
        for entry in [("a", 5), ("a", 7), ("b", 1), ("c", 3), ("d", 9)] {
            cache.take(Event::Apply(object(entry)), value);
        }
        cache.take(Event::Delete(object(("d", 9))), value);
        assert_eq!(news(&cache), [3, 7]);
        assert!(news(&cache).is_empty());
        list(&cache, &[("a", 7), ("b", 4), ("e", 6)]);
        assert_eq!(news(&cache), [4, 6], "what a new list brings");
    }

    #[test]
    fn news_that_nobody_asks_for_are_bounded() {
        let cache = cache();
        list(&cache, &[]);
        for number in 0..=MOST_NEWS as u32 {
            let mut one = object(("x", number + 1));
            one.metadata.name = Some(format!("pod-{number}"));
            cache.take(Event::Apply(one), value);
        }
        let news = news(&cache);
        assert_eq!((news.len(), news[0]), (MOST_NEWS, 2), "the oldest is forgotten");
    }
}
