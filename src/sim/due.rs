//! What can be due in a simulated cluster.

use super::resources::Resource;
use super::store::Key;

/// Something that happens at a given time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// A step of physics for every container, or for those of this pod and the ones behind it.
    Step(Option<Key>),
    Scrape,
    ExpireEvents,
    /// Something about one pod, by name and the number of its incarnation.
    Pod(Key, u64, PodDue),
    /// A controller looks at its object.
    Reconcile(Resource, Key),
    /// A controller tries again what it could not do.
    Retry(Resource, Key),
    /// It shows that the kubelet of a node is gone.
    NodeLost(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PodDue {
    Schedule,
    Start,
    Remove,
    /// The kubelet looks at the spec's resources.
    AdmitResize,
    /// The kubelet changes cgroups.
    ActuateResize,
}
