//! The changes that are wanted and still to be made: at most one a pod, the newest. What is wanted
//! of nodes and namespaces that do not answer costs only them.

use std::collections::{BTreeMap, HashMap};

use futures::future::join_all;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::agent::Decided;
use crate::core::breaker::Breaker;
use crate::core::outcome::Outcome;
use crate::core::pod::{Pod, PodKey};
use crate::core::pod_decision::Urgency;

/// Changes of the pods of one node that may be under way: one whose kubelet does not answer costs
/// only itself. As many again may be of containers in need.
const MOST_OF_NODE: usize = 10;
/// Changes of the pods of one namespace that may be on their way to the API server: one whose
/// webhook does not answer costs only itself.
const MOST_OF_NAMESPACE: usize = 8;

#[derive(Default)]
pub struct Wanted {
    changes: Mutex<Changes>,
    pub more: Notify,
}

#[derive(Default)]
struct Changes {
    waiting: BTreeMap<Place, Change>,
    /// Where that of a pod is.
    places: HashMap<PodKey, Place>,
    /// Given out so far.
    numbers: u32,
    nodes: BTreeMap<String, Node>,
    namespaces: BTreeMap<String, Namespace>,
}

#[derive(Default)]
struct Node {
    /// Changes of its pods.
    under_way: usize,
    /// Whether its kubelet answers.
    breaker: Breaker,
}

#[derive(Default)]
struct Namespace {
    /// Changes of its pods that the API server has not answered.
    sending: usize,
    /// Whether writes succeed.
    breaker: Breaker,
}

/// Of a node whose kubelet does not answer, or a namespace where writes fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenBreaker {
    pub kind: &'static str,
    pub name: String,
    /// Seconds since the epoch.
    pub since: i64,
}

const NODE: &str = "node";
const NAMESPACE: &str = "namespace";

/// The most urgent first, of those the one that has waited longest, and then in the order in which
/// they were put down.
type Place = (Urgency, i64, u32);

pub struct Change {
    pub decided: Decided,
    /// When it was decided, in seconds since the epoch, and since when the pod is to be changed.
    at: i64,
    pub since: i64,
    /// It is the one attempt that an open breaker allows.
    pub is_try: bool,
    /// Who waits for what comes of it.
    pub waiter: Option<oneshot::Sender<Outcome>>,
}

/// How pressing it is: what was begun is ended first.
pub fn urgency(decided: &Decided) -> Urgency {
    if decided.owned.pod.resize.is_some() { Urgency::Killed } else { decided.urgency() }
}

impl Change {
    fn new(decided: Decided, at: i64) -> Self {
        Self { decided, at, since: at, is_try: false, waiter: None }
    }

    pub fn node(&self) -> &str {
        self.decided.owned.pod.node_name.as_deref().unwrap_or_default()
    }

    pub fn namespace(&self) -> &str {
        &self.decided.owned.pod.key.namespace
    }

    /// What takes away waits for an answer; what a container is in need of, or what ends a resize
    /// that was begun, is sent all the same.
    fn may_wait(&self) -> bool {
        urgency(&self.decided) >= Urgency::Shrinks
    }
}

impl Changes {
    /// In place of an earlier one of the same pod.
    fn add(&mut self, mut change: Change) {
        let pod = &change.decided.owned.pod.key;
        let earlier = self.places.get(pod).and_then(|place| self.waiting.remove(place));
        // A container that has come to be in need waits from now on, not as long as its cut did.
        let earlier = earlier.filter(|earlier| earlier.may_wait() == change.may_wait());
        change.since = earlier.map_or(change.at, |earlier| earlier.since);
        self.numbers = self.numbers.wrapping_add(1);
        let place = (urgency(&change.decided), change.since, self.numbers);
        self.places.insert(pod.clone(), place);
        self.waiting.insert(place, change);
    }

    fn take(&mut self, place: &Place) -> Option<Change> {
        let change = self.waiting.remove(place)?;
        self.places.remove(&change.decided.owned.pod.key);
        Some(change)
    }

    /// Forgets those that were decided on before that moment.
    fn forget_before(&mut self, moment: i64) {
        let places = &mut self.places;
        self.waiting.retain(|_, change| {
            let kept = change.at >= moment;
            if !kept {
                places.remove(&change.decided.owned.pod.key);
            }
            kept
        });
    }

    fn is_free(&self, change: &Change, now: i64) -> bool {
        let node = self.nodes.get(change.node());
        let most = if change.may_wait() { MOST_OF_NODE } else { 2 * MOST_OF_NODE };
        let namespace = self.namespaces.get(change.namespace());
        let has_place = node.is_none_or(|node| node.under_way < most)
            && namespace.is_none_or(|namespace| namespace.sending < MOST_OF_NAMESPACE);
        let answers = || {
            node.is_none_or(|node| node.breaker.allows(now))
                && namespace.is_none_or(|namespace| namespace.breaker.allows(now))
        };
        has_place && (!change.may_wait() || answers())
    }

    fn begin(&mut self, change: &mut Change, now: i64) {
        let node = self.nodes.entry(change.node().to_owned()).or_default();
        node.under_way += 1;
        change.is_try = node.breaker.tries(now);
        let namespace = self.namespaces.entry(change.namespace().to_owned()).or_default();
        namespace.sending += 1;
        change.is_try |= namespace.breaker.tries(now);
    }

    fn forget_idle(&mut self, now: i64) {
        self.nodes.retain(|_, node| node.under_way > 0 || !node.breaker.is_idle(now));
        self.namespaces.retain(|_, of| of.sending > 0 || !of.breaker.is_idle(now));
    }
}

impl Wanted {
    /// What a cycle wants; what was wanted before `since` and is not now counts no more.
    pub fn put(&self, decided: Vec<Decided>, at: i64, since: i64) {
        let mut changes = self.changes.lock();
        for decided in decided {
            changes.add(Change::new(decided, at));
        }
        changes.forget_before(since);
        changes.forget_idle(at);
        drop(changes);
        self.more.notify_one();
    }

    /// What somebody wants who waits for what comes of it; of a change that is not made, because
    /// there is a newer one or a cycle wants none, nothing does.
    pub async fn put_and_wait(&self, decided: Vec<Decided>, at: i64) -> Vec<Outcome> {
        let mut waits = Vec::with_capacity(decided.len());
        {
            let mut changes = self.changes.lock();
            for decided in decided {
                let (waiter, wait) = oneshot::channel();
                changes.add(Change { waiter: Some(waiter), ..Change::new(decided, at) });
                waits.push(wait);
            }
        }
        self.more.notify_one();
        join_all(waits).await.into_iter().flatten().collect()
    }

    /// The most urgent change of a node that is not busy and answers, which is under way from now
    /// on.
    pub fn next(&self, now: i64) -> Option<Change> {
        let mut changes = self.changes.lock();
        let mut waiting = changes.waiting.iter();
        let place = *waiting.find(|(_, change)| changes.is_free(change, now))?.0;
        let mut next = changes.take(&place)?;
        changes.begin(&mut next, now);
        Some(next)
    }

    /// A change that was the one attempt has come to nothing: the next one may be tried in its
    /// place.
    pub fn not_tried(&self, node: &str, namespace: &str, now: i64) {
        let mut changes = self.changes.lock();
        if let Some(node) = changes.nodes.get_mut(node) {
            node.breaker.gives_back(now);
        }
        if let Some(namespace) = changes.namespaces.get_mut(namespace) {
            namespace.breaker.gives_back(now);
        }
    }

    /// A change of a pod of that namespace was sent, or came to nothing.
    pub fn sent(&self, namespace: &str) {
        if let Some(namespace) = self.changes.lock().namespaces.get_mut(namespace) {
            namespace.sending = namespace.sending.saturating_sub(1);
        }
        self.more.notify_one();
    }

    /// A change of a pod of that node is over.
    pub fn done(&self, node: &str) {
        if let Some(node) = self.changes.lock().nodes.get_mut(node) {
            node.under_way = node.under_way.saturating_sub(1);
        }
        self.more.notify_one();
    }

    /// The kubelet of this pod has said something of a resize, or was waited for in vain.
    pub fn kubelet_answered(&self, pod: &Pod, answered: bool, now: i64) {
        let Some(name) = &pod.node_name else { return };
        let mut changes = self.changes.lock();
        changes.nodes.entry(name.to_string()).or_default().breaker.heard(answered, now);
    }

    /// A write for this pod was answered, or failed with the server.
    pub fn write_answered(&self, pod: &Pod, answered: bool, now: i64) {
        let namespace = pod.key.namespace.clone();
        let mut changes = self.changes.lock();
        changes.namespaces.entry(namespace).or_default().breaker.heard(answered, now);
    }

    /// The nodes and namespaces that do not answer.
    pub fn open_breakers(&self) -> Vec<OpenBreaker> {
        let changes = self.changes.lock();
        let told = |kind, name: &String, breaker: &Breaker| {
            let since = breaker.open_since()?;
            Some(OpenBreaker { kind, name: name.clone(), since })
        };
        let nodes = changes.nodes.iter().filter_map(|(name, of)| told(NODE, name, &of.breaker));
        let namespaces = changes.namespaces.iter();
        nodes
            .chain(namespaces.filter_map(|(name, of)| told(NAMESPACE, name, &of.breaker)))
            .collect()
    }

    pub fn count_open_breakers(&self) -> [(&'static str, usize); 2] {
        let open = self.open_breakers();
        [NODE, NAMESPACE].map(|kind| (kind, open.iter().filter(|of| of.kind == kind).count()))
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.changes.lock().waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::core::action::Action;
    use crate::core::context::OwnedPod;
    use crate::core::decision::Decision;
    use crate::core::observation::Observation;
    use crate::core::outcome::{DONE, Method, Status};
    use crate::core::pod::{ResizeCondition, ResizeState, pod_key};
    use crate::core::pod_decision::PodDecision;
    use crate::core::resource::PerResource;
    use crate::core::skip_reason::SkipReason;

    fn change(name: &str, node: &str) -> Decided {
        let key = pod_key("shop", name, name);
        let pod = Pod { node_name: Some(node.into()), ..Pod::new(key, Vec::new()) };
        Decided {
            owned: OwnedPod::bare(pod),
            decision: Err(SkipReason::NoMetrics),
            workload: None,
            resized_at: None,
            unsettled_since: None,
            backs_off: false,
            origin: Default::default(),
        }
    }

    fn growing(name: &str, node: &str) -> Decided {
        let decided = change(name, node);
        let usage = PerResource::new(0.95, 512.0);
        let observation = Observation::measured(0, usage, PerResource::new(1.0, 1024.0));
        let actions = PerResource::new(Action::Increase, Action::Maintain);
        let decision = Decision { actions, ..Decision::maintain(observation) };
        Decided { decision: Ok(PodDecision::single("app", decision)), ..decided }
    }

    /// Sent at once.
    fn next(wanted: &Wanted, now: i64) -> Option<String> {
        let change = wanted.next(now)?;
        wanted.sent(change.namespace());
        Some(change.decided.owned.pod.key.name.clone())
    }

    #[test]
    fn what_is_in_need_comes_first_then_what_has_waited_longest() {
        let wanted = Wanted::default();
        wanted.put(vec![change("a", "n1"), growing("b", "n2")], 100, 100);
        wanted.put(vec![change("c", "n1"), change("d", "n1")], 103, 100);
        // Another cycle, and something newer for a pod that waits.
        wanted.put(vec![change("e", "n1"), growing("d", "n1"), change("c", "n1")], 110, 104);
        assert_eq!(wanted.waiting(), 3, "what the cycle does not want counts no more");
        let taken: Vec<_> = std::iter::from_fn(|| wanted.next(111)).collect();
        let of = |change: &Change| (change.decided.owned.pod.key.name.clone(), change.since);
        let expected = [("d", 110), ("c", 103), ("e", 110)].map(|(pod, at)| (pod.to_owned(), at));
        assert_eq!(taken.iter().map(of).collect::<Vec<_>>(), expected);
        assert!(wanted.changes.lock().places.is_empty());
    }

    #[tokio::test]
    async fn who_waits_hears_what_came_of_it_or_that_nothing_did() {
        let wanted = Wanted::default();
        let all = ["made", "replaced", "dropped"].map(|name| growing(name, "n1"));
        let waits = wanted.put_and_wait(all.into(), 100);
        let made = async {
            wanted.put(vec![growing("made", "n1"), growing("replaced", "n1")], 101, 101);
            let waits = wanted.put_and_wait(vec![growing("made", "n1")], 102);
            let made = async {
                while let Some(Change { decided, waiter, .. }) = wanted.next(102) {
                    let pod = decided.owned.pod.key.clone();
                    let (status, message) = (Status::Success(Method::Vertical), DONE.into());
                    let outcome = Outcome { pod, status, message, decided: None };
                    assert!(waiter.is_none_or(|waiter| waiter.send(outcome).is_ok()));
                }
            };
            tokio::join!(waits, made).0
        };
        let (first, second) = tokio::join!(waits, made);
        let told: Vec<_> = second.iter().map(|outcome| &*outcome.pod.name).collect();
        assert_eq!((first.len(), &told[..]), (0, &["made"][..]));
    }

    #[test]
    fn a_busy_node_holds_nobody_else_back() {
        let wanted = Wanted::default();
        let mut all: Vec<_> = (0..12).map(|pod| change(&format!("cut{pod}"), "busy")).collect();
        all.push(change("other", "n2"));
        wanted.put(all, 0, 0);
        let names: Vec<_> = std::iter::from_fn(|| next(&wanted, 1)).collect();
        assert_eq!(names.iter().filter(|name| name.starts_with("cut")).count(), MOST_OF_NODE);
        assert!(names.contains(&"other".to_owned()));
        wanted.put((0..12).map(|pod| growing(&format!("up{pod}"), "busy")).collect(), 1, 0);
        let names: Vec<_> = std::iter::from_fn(|| next(&wanted, 1)).collect();
        assert_eq!(names.len(), MOST_OF_NODE, "what is in need has as many places");
        assert!(names.iter().all(|name| name.starts_with("up")));
        (0..=MOST_OF_NODE).for_each(|_| wanted.done("busy"));
        let names: Vec<_> = std::iter::from_fn(|| next(&wanted, 1)).collect();
        assert_eq!(names.iter().filter(|name| name.starts_with("up")).count(), 2);
    }

    #[test]
    fn a_namespace_that_does_not_answer_holds_nobody_else_back() {
        let wanted = Wanted::default();
        let mut all: Vec<_> =
            (0..12).map(|pod| growing(&format!("up{pod}"), &format!("n{pod}"))).collect();
        let mut elsewhere = change("cut", "n1");
        Arc::make_mut(&mut elsewhere.owned.pod).key = pod_key("other", "cut", "cut");
        all.push(elsewhere);
        wanted.put(all, 0, 0);
        let begun: Vec<_> = std::iter::from_fn(|| wanted.next(1)).collect();
        let last = begun.last().map(Change::namespace);
        assert_eq!((begun.len(), last), (MOST_OF_NAMESPACE + 1, Some("other")));
        wanted.sent("shop");
        assert!(wanted.next(1).is_some() && wanted.next(1).is_none());
    }

    #[test]
    fn where_no_kubelet_answers_only_what_grows_is_sent() {
        let wanted = Wanted::default();
        let silent = change("a", "n1").owned.pod;
        for _ in 0..3 {
            wanted.kubelet_answered(&silent, false, 10);
        }
        let open = OpenBreaker { kind: NODE, name: "n1".into(), since: 10 };
        assert_eq!(wanted.open_breakers(), [open]);
        assert_eq!(wanted.count_open_breakers(), [(NODE, 1), (NAMESPACE, 0)]);
        let mut begun = change("begun", "n1");
        let state = ResizeState::Error;
        let condition = ResizeCondition { state, message: "full".into(), since: None };
        Arc::make_mut(&mut begun.owned.pod).resize = Some(condition.into());
        let all = ["cut", "other"].map(|name| change(name, "n1"));
        let all = all.into_iter().chain([change("b", "n2"), growing("c", "n1"), begun]);
        wanted.put(all.collect(), 11, 11);
        let names: Vec<_> = std::iter::from_fn(|| next(&wanted, 12)).collect();
        assert_eq!(names, ["begun", "c", "b"]);
        assert_eq!(next(&wanted, 26).as_deref(), Some("cut"));
        assert_eq!(next(&wanted, 26), None);
        wanted.not_tried("n1", "shop", 26);
        wanted.put(vec![change("third", "n1")], 26, 11);
        assert_eq!(next(&wanted, 26).as_deref(), Some("other"));
        assert_eq!(next(&wanted, 26), None);
        wanted.kubelet_answered(&silent, true, 26);
        assert_eq!(next(&wanted, 26).as_deref(), Some("third"));
        assert!(wanted.open_breakers().is_empty());
    }

    #[test]
    fn where_writes_fail_the_other_namespaces_go_on() {
        let wanted = Wanted::default();
        let pod = change("a", "n1").owned.pod;
        for _ in 0..3 {
            wanted.write_answered(&pod, false, 10);
        }
        let mut elsewhere = change("b", "n1");
        Arc::make_mut(&mut elsewhere.owned.pod).key = pod_key("other", "b", "b");
        wanted.put(vec![change("a", "n1"), elsewhere], 11, 11);
        assert_eq!((next(&wanted, 12).as_deref(), next(&wanted, 12)), (Some("b"), None));
        assert_eq!(wanted.count_open_breakers(), [(NODE, 0), (NAMESPACE, 1)]);
        wanted.put(Vec::new(), 5000, 5000);
        assert_eq!(wanted.count_open_breakers(), [(NODE, 0), (NAMESPACE, 0)], "long ago");
    }
}
