//! The owners that no watch follows, such as objects of custom kinds: which controllers they have
//! themselves.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use futures::{StreamExt, stream};
use internment::ArcIntern as Shared;
use kube::core::{ApiResource, DynamicObject};
use kube::discovery::{self, Scope};
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::controllers::Controller;
use crate::client::retry::Deadline;
use crate::core::pod::Owner;

/// How long an answer holds. References to owners hardly ever change.
const KEPT: Duration = Duration::from_secs(600);
/// How long it is not asked again for what could not be read.
const PAUSE: Duration = Duration::from_secs(60);
/// How long each answer is waited for.
const TIMEOUT: Duration = Duration::from_secs(1);
const READS_AT_ONCE: usize = 16;

/// What was asked for, and None where it cannot be read.
pub type Owners = HashMap<Shared<Owner>, Option<Arc<Controller>>>;

/// Those of one namespace. What cannot be read is no error: its chain ends there.
#[derive(Default)]
pub struct OwnerCache(Mutex<HashMap<Shared<Owner>, Answer>>);

struct Answer {
    at: Instant,
    controller: Option<Arc<Controller>>,
}

impl Answer {
    fn is_current(&self) -> bool {
        self.at.elapsed() < if self.controller.is_some() { KEPT } else { PAUSE }
    }
}

impl OwnerCache {
    /// What is remembered, without asking.
    pub fn known(&self) -> Owners {
        let answers = self.0.lock();
        answers.iter().map(|(owner, answer)| (owner.clone(), answer.controller.clone())).collect()
    }

    /// Asks for what is not remembered, or no longer. What has no answer by the deadline is asked
    /// for the next time.
    pub async fn read(
        &self,
        client: &Client,
        namespace: &str,
        wanted: &HashSet<Shared<Owner>>,
        deadline: Deadline,
    ) -> Owners {
        let missing = self.to_be_read(wanted);
        let reads = missing
            .into_iter()
            .map(|(kind, owners)| self.read_kind(client, namespace, kind, owners));
        let in_time = timeout(deadline.left(), join_all(reads)).await;
        if in_time.is_err() {
            tracing::debug!(namespace, "not all owners were read in time");
        }
        let answers = self.0.lock();
        let controller = |owner| answers.get(owner).and_then(|answer| answer.controller.clone());
        wanted.iter().map(|owner| (owner.clone(), controller(owner))).collect()
    }

    /// The kind is looked up once for all of them.
    async fn read_kind(
        &self,
        client: &Client,
        namespace: &str,
        (group, kind): (String, String),
        owners: Vec<Shared<Owner>>,
    ) {
        let api = timeout(TIMEOUT, api(client, namespace, &group, &kind)).await.ok().flatten();
        let read = async |owner: Shared<Owner>| {
            let found = match &api {
                Some(api) => timeout(TIMEOUT, get(api, &owner)).await.ok().flatten(),
                None => None,
            };
            self.put(owner, found);
        };
        stream::iter(owners).for_each_concurrent(READS_AT_ONCE, read).await;
    }

    /// By group and kind.
    fn to_be_read(
        &self,
        wanted: &HashSet<Shared<Owner>>,
    ) -> HashMap<(String, String), Vec<Shared<Owner>>> {
        let mut answers = self.0.lock();
        // What is still wanted is asked for again before.
        answers.retain(|_, answer| answer.at.elapsed() < 2 * KEPT);
        let is_known = |owner| answers.get(owner).is_some_and(Answer::is_current);
        let mut missing: HashMap<_, Vec<_>> = HashMap::new();
        for owner in wanted.iter().filter(|owner| !is_known(owner)) {
            let kind = (owner.group.clone(), owner.kind.clone());
            missing.entry(kind).or_default().push(owner.clone());
        }
        missing
    }

    /// What was known holds where it cannot be read any more.
    fn put(&self, owner: Shared<Owner>, found: Option<Controller>) {
        let mut answers = self.0.lock();
        let controller = match found {
            Some(found) => Some(Arc::new(found)),
            None => answers.get(&owner).and_then(|answer| answer.controller.clone()),
        };
        answers.insert(owner, Answer { at: Instant::now(), controller });
    }
}

/// Of a kind, in the version that the API server prefers.
async fn api(
    client: &Client,
    namespace: &str,
    group: &str,
    kind: &str,
) -> Option<Api<DynamicObject>> {
    let found = discovery::group(client, group)
        .await
        .inspect_err(|error| tracing::debug!(group, kind, %error, "a kind is not known"))
        .ok()?;
    let (resource, capabilities): (ApiResource, _) = found.recommended_kind(kind)?;
    Some(match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => Api::namespaced_with(client.clone(), namespace, &resource),
    })
}

/// None for one that is gone, too, and for another one of its name.
async fn get(api: &Api<DynamicObject>, owner: &Owner) -> Option<Controller> {
    let object = api
        .get_metadata(&owner.name)
        .await
        .inspect_err(|error| tracing::debug!(%owner, %error, "an owner cannot be read"))
        .ok()?;
    let is_same = object.metadata.uid.as_deref() == Some(&owner.uid);
    // The annotations of such kinds do not count.
    is_same.then(|| Controller { overrides: None, ..Controller::read(&object) })
}
