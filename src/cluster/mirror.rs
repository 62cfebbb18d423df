//! A local copy of one kind of object in one namespace, fed by a watch.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Resource};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use super::error::{Call, ClusterError};
use super::retry::Deadline;

pub struct Mirror<V> {
    call: Call,
    state: RwLock<State<V>>,
    changed: Notify,
}

struct State<V> {
    items: HashMap<String, Arc<V>>,
    /// What a list that is under way has brought so far; it replaces the items when it is complete.
    incoming: HashMap<String, Arc<V>>,
    synced: bool,
    fault: Option<ClusterError>,
}

impl<V: Send + Sync + 'static> Mirror<V> {
    pub fn new(resource: &'static str, namespace: &str) -> Self {
        let state = State { items: HashMap::new(), incoming: HashMap::new(), synced: false, fault: None };
        Self { call: Call::over("watch", resource, namespace), state: RwLock::new(state), changed: Notify::new() }
    }

    /// Follows the watch for ever. An object that `convert` makes nothing of is left out.
    pub async fn follow<K>(self: Arc<Self>, api: Api<K>, convert: fn(&K) -> Option<V>)
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let events = watch(api, watcher::Config::default()).backoff(Pauses(FIRST_PAUSE));
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.take(event, convert),
                Err(error) => self.fail(&error),
            }
            self.changed.notify_waiters();
        }
    }

    fn take<K: Resource>(&self, event: Event<K>, convert: fn(&K) -> Option<V>) {
        let entry = |object: &K| Some((object.meta().name.clone()?, Arc::new(convert(object)?)));
        let mut state = self.state.write();
        state.fault = None;
        match event {
            Event::Init => state.incoming.clear(),
            Event::InitApply(object) => state.incoming.extend(entry(&object)),
            Event::InitDone => {
                state.items = std::mem::take(&mut state.incoming);
                state.synced = true;
            }
            Event::Apply(object) => state.items.extend(entry(&object)),
            Event::Delete(object) => {
                if let Some(name) = &object.meta().name {
                    state.items.remove(name);
                }
            }
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
            other => ClusterError::Unavailable { call: self.call.clone(), message: other.to_string() },
        };
        tracing::warn!(error = %fault, "a watch is broken");
        self.state.write().fault = Some(fault);
    }

    /// What there is now, once the copy is complete and its watch in order. `probe` asks the API server directly when the
    /// watch is broken: it may have recovered without having had anything to say yet.
    pub async fn items<F, Fut>(&self, deadline: Deadline, probe: F) -> Result<HashMap<String, Arc<V>>, ClusterError>
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
                let call = Call { verb: "list", ..self.call.clone() };
                return Err(ClusterError::Unavailable { call, message: "timed out: no answer".into() });
            }
        }
    }

    /// Complete, and fed by a watch that is in order.
    pub fn is_fresh(&self) -> bool {
        let state = self.state.read();
        state.synced && state.fault.is_none()
    }

    /// What is known, complete or not.
    pub fn known(&self) -> HashMap<String, Arc<V>> {
        self.state.read().items.clone()
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Doubling pauses between attempts to watch, with a little jitter so that watches do not come back in step.
struct Pauses(Duration);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST_PAUSE);
        Some(pause.mul_f64(rand::random_range(0.8..1.2)))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.0 = FIRST_PAUSE;
    }
}
