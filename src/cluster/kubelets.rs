//! The kubelets of the nodes, asked for what their containers use now: where each is, which of them
//! rest, and how many are asked.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use governor::{DefaultDirectRateLimiter, Quota};
use internment::ArcIntern as Shared;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::resource_metrics::{PodCounters, read};
use crate::client::kubelet::{KubeletClient, KubeletError};
use crate::clock::Clock;

/// Nodes that are asked at once, and requests to kubelets a second, whatever for.
const AT_ONCE: usize = 8;
const PER_SECOND: u32 = 50;
/// For so long an address is taken for the node's. A watch of all nodes would bring each of their
/// heartbeats, and keep objects of nodes that nobody asks for.
const ADDRESS_AGE: Duration = Duration::from_secs(300);
/// How long the API server may take to tell an address.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Rests of a node that does not answer, by the clock of the cluster: each twice the one before.
const SHORTEST_REST: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(300);

pub struct Kubelets {
    client: KubeletClient,
    api: Api<Node>,
    clock: Clock,
    preferred: Vec<String>,
    nodes: Mutex<HashMap<Shared<str>, Known>>,
    /// Without the right no node is asked until then.
    refused_until: Mutex<Option<Instant>>,
    told: AtomicBool,
    places: Semaphore,
    rate: DefaultDirectRateLimiter,
}

/// What is known of a node.
#[derive(Default)]
struct Known {
    authority: Option<(String, Instant)>,
    asked: Option<Instant>,
    /// In a row.
    failures: u32,
    rests_until: Option<Instant>,
}

/// What came of a request, as metrics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Answered,
    Refused,
    Failed,
}

impl Answer {
    pub fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl Kubelets {
    pub fn new(client: KubeletClient, api: Client, clock: Clock, preferred: Vec<String>) -> Self {
        let rate = NonZeroU32::new(PER_SECOND).unwrap_or(NonZeroU32::MIN);
        Self {
            client,
            api: Api::all(api),
            clock,
            preferred,
            nodes: Mutex::default(),
            refused_until: Mutex::default(),
            told: AtomicBool::new(false),
            places: Semaphore::new(AT_ONCE),
            rate: DefaultDirectRateLimiter::direct(Quota::per_second(rate)),
        }
    }

    /// Up to `most` nodes whose turn it is: those of `first`, then the others, of both those first
    /// that have waited longest. None of those that rest.
    pub fn due(
        &self,
        nodes: &[Shared<str>],
        first: &HashSet<Shared<str>>,
        most: usize,
    ) -> Vec<Shared<str>> {
        let now = Instant::now();
        if self.refused_until.lock().is_some_and(|until| now < until) {
            return Vec::new();
        }
        let mut known = self.nodes.lock();
        let wanted: HashSet<&Shared<str>> = nodes.iter().collect();
        known.retain(|node, _| wanted.contains(node));
        let state = |node: &Shared<str>| known.get(node);
        let rests = |node: &&Shared<str>| {
            state(node).and_then(|known| known.rests_until).is_some_and(|until| now < until)
        };
        let mut due: Vec<_> = nodes.iter().filter(|node| !rests(node)).collect();
        due.sort_by_key(|node| {
            (Reverse(first.contains(*node)), state(node).and_then(|known| known.asked))
        });
        due.into_iter().take(most).cloned().collect()
    }

    /// Whether the kubelet of the node answered when it was last asked.
    pub fn answers(&self, node: &Shared<str>) -> bool {
        let nodes = self.nodes.lock();
        nodes.get(node).is_some_and(|known| known.asked.is_some() && known.failures == 0)
    }

    /// Nodes that rest because they did not answer.
    pub fn silent(&self) -> usize {
        self.nodes.lock().values().filter(|known| known.failures > 0).count()
    }

    /// What the containers of a node have used by now; None where it is not told, or no request is
    /// left in this second.
    pub async fn look(&self, node: &Shared<str>) -> Option<(Answer, Vec<PodCounters>)> {
        let _place = self.places.acquire().await.ok()?;
        self.rate.check().ok()?;
        self.nodes.lock().entry(node.clone()).or_default().asked = Some(Instant::now());
        let looked = match self.authority(node).await {
            Ok(authority) => self.client.resource_metrics(&authority).await,
            Err(error) => Err(error),
        };
        Some(match looked {
            Ok(text) => {
                self.answered(node);
                (Answer::Answered, read(&text))
            }
            Err(error) => (self.failed(node, &error), Vec::new()),
        })
    }

    /// The address and port of a node, from the API server where it is not known.
    async fn authority(&self, node: &Shared<str>) -> Result<String, KubeletError> {
        let known = self.nodes.lock().get(node).and_then(|known| known.authority.clone());
        if let Some((authority, _)) = known.filter(|(_, at)| at.elapsed() < ADDRESS_AGE) {
            return Ok(authority);
        }
        let unavailable = |message: String| KubeletError::Unavailable(message);
        let object = tokio::time::timeout(TIMEOUT, self.api.get(node)).await;
        let object = object.map_err(|_| unavailable("the node is not told".into()))?;
        let object = object.map_err(|error| match error {
            kube::Error::Api(status) if matches!(status.code, 401 | 403) => {
                KubeletError::Refused(status.code)
            }
            error => unavailable(error.to_string()),
        })?;
        let authority = authority(&object, &self.preferred);
        let authority = authority.ok_or_else(|| unavailable("the node has no address".into()))?;
        let mut nodes = self.nodes.lock();
        nodes.entry(node.clone()).or_default().authority =
            Some((authority.clone(), Instant::now()));
        Ok(authority)
    }

    fn answered(&self, node: &Shared<str>) {
        self.told.store(false, Ordering::Relaxed);
        let mut nodes = self.nodes.lock();
        let known = nodes.entry(node.clone()).or_default();
        (known.failures, known.rests_until) = (0, None);
    }

    /// Lets the node rest; where the right is missing, all of them.
    fn failed(&self, node: &Shared<str>, error: &KubeletError) -> Answer {
        let mut nodes = self.nodes.lock();
        let others_answer = nodes
            .iter()
            .any(|(name, known)| name != node && known.asked.is_some() && known.failures == 0);
        let known = nodes.entry(node.clone()).or_default();
        let refused = matches!(error, KubeletError::Refused(_));
        let rest = SHORTEST_REST * (1 << known.failures.min(6));
        let rest = if refused { LONGEST_REST } else { rest.min(LONGEST_REST) };
        let until = Instant::now() + self.clock.real(rest);
        known.failures = known.failures.saturating_add(1);
        (known.rests_until, known.authority) = (Some(until), None);
        if refused && !others_answer {
            *self.refused_until.lock() = Some(until);
        }
        if others_answer || self.told.swap(true, Ordering::Relaxed) {
            tracing::debug!(%node, %error, "a kubelet tells nothing");
        } else {
            let right = "it takes `get` on `nodes` and `nodes/metrics`";
            let why = if refused { right } else { "it does not answer" };
            let what = "a kubelet tells nothing, metrics.k8s.io is asked";
            tracing::warn!(%node, %error, why, "{what}");
        }
        if refused { Answer::Refused } else { Answer::Failed }
    }
}

/// Where the kubelet of a node listens.
fn authority(node: &Node, preferred: &[String]) -> Option<String> {
    let status = node.status.as_ref()?;
    let addresses = status.addresses.as_deref().unwrap_or_default();
    let of = |kind: &String| addresses.iter().find(|address| address.type_ == *kind);
    let address = &preferred.iter().find_map(of)?.address;
    let endpoints = status.daemon_endpoints.as_ref();
    let port = endpoints.and_then(|of| of.kubelet_endpoint.as_ref()).map_or(10250, |of| of.port);
    Some(match address.contains(':') {
        true => format!("[{address}]:{port}"),
        false => format!("{address}:{port}"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(addresses: &[(&str, &str)]) -> Node {
        let addresses: Vec<_> = addresses
            .iter()
            .map(|(kind, address)| json!({ "type": kind, "address": address }))
            .collect();
        let endpoint = json!({ "kubeletEndpoint": { "Port": 20250 } });
        serde_json::from_value(json!({
            "metadata": { "name": "node-1" },
            "status": { "addresses": addresses, "daemonEndpoints": endpoint },
        }))
        .unwrap()
    }

    #[test]
    fn a_kubelet_is_where_its_node_says() {
        let preferred = ["InternalIP", "Hostname"].map(String::from);
        let at = |addresses: &[(&str, &str)]| authority(&node(addresses), &preferred);
        let both = [("Hostname", "node-1"), ("InternalIP", "10.0.0.7")];
        assert_eq!(at(&both).as_deref(), Some("10.0.0.7:20250"));
        assert_eq!(at(&both[..1]).as_deref(), Some("node-1:20250"));
        assert_eq!(at(&[("InternalIP", "fd00::7")]).as_deref(), Some("[fd00::7]:20250"));
        assert_eq!(at(&[("ExternalIP", "192.0.2.1")]), None);
        let silent = Node { status: None, ..node(&both) };
        assert_eq!(authority(&silent, &preferred), None);
    }

    fn kubelets() -> Kubelets {
        let nobody = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Err::<http::Response<kube::client::Body>, _>(std::io::Error::other("nobody"))
        });
        let client = Client::new(nobody, "default");
        let preferred = vec!["InternalIP".to_owned()];
        Kubelets::new(KubeletClient::over(client.clone()), client, Clock::new(1.0), preferred)
    }

    fn names<T: FromIterator<Shared<str>>>(nodes: &[&str]) -> T {
        nodes.iter().map(|name| Shared::from(*name)).collect()
    }

    #[tokio::test]
    async fn each_node_has_its_turn_but_one_that_fails_rests() {
        let kubelets = kubelets();
        let nodes: Vec<_> = names(&["a", "b", "c"]);
        let due = |first: &[&str], most| kubelets.due(&nodes, &names(first), most);
        assert_eq!(due(&[], 9).len(), 3);
        assert_eq!(due(&["b"], 1), [Shared::from("b")]);
        let (answer, pods) = kubelets.look(&"b".into()).await.unwrap();
        assert_eq!((answer, pods.len()), (Answer::Failed, 0));
        assert_eq!((kubelets.silent(), kubelets.answers(&"b".into())), (1, false));
        assert!(!due(&["b"], 9).contains(&"b".into()) && due(&["b"], 9).len() == 2);
        kubelets.nodes.lock().entry("a".into()).or_default().asked = Some(Instant::now());
        assert_eq!(due(&[], 1), [Shared::from("c")], "it was never asked");
    }

    #[tokio::test]
    async fn rests_grow_to_an_end_and_a_missing_right_lets_all_rest() {
        let kubelets = kubelets();
        let node = Shared::from("a");
        let rest = || {
            let until = kubelets.nodes.lock()[&node].rests_until.unwrap();
            until.duration_since(Instant::now()).as_secs_f64().round()
        };
        let unavailable = KubeletError::Unavailable("no answer".into());
        let rests: Vec<_> = (0..9)
            .map(|_| {
                kubelets.failed(&node, &unavailable);
                rest()
            })
            .collect();
        assert_eq!(rests, [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0]);
        let nodes: Vec<_> = names(&["a", "b"]);
        assert_eq!(kubelets.due(&nodes, &names(&[]), 9), [Shared::from("b")]);
        assert_eq!(kubelets.failed(&node, &KubeletError::Refused(403)), Answer::Refused);
        assert!(kubelets.due(&nodes, &names(&["b"]), 9).is_empty());
    }

    #[tokio::test]
    async fn one_node_that_refuses_among_others_rests_alone() {
        let kubelets = kubelets();
        kubelets.nodes.lock().entry("b".into()).or_default().asked = Some(Instant::now());
        kubelets.failed(&"a".into(), &KubeletError::Refused(401));
        assert_eq!(
            kubelets.due(&names::<Vec<_>>(&["a", "b"]), &names(&["a"]), 9),
            [Shared::from("b")]
        );
    }
}
