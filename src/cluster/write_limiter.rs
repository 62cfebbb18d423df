//! The API server is everybody's: how much of it this service takes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response, StatusCode, header};
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::{BoxError, Service};

use super::pace::{Answer, Moment, Pace, Sent};
use crate::client::error::NotLeading;
use crate::client::retry::BUDGET;
use crate::leader::SharedLeadership;

/// So that replicas and shards do not come in step.
const JITTER: Duration = Duration::from_millis(100);
/// No server may stop us for longer at once.
const MAX_RETRY_AFTER: Duration = BUDGET;

/// So many writes a second as the answers allow, and so many at the same time; Events are counted
/// among them.
pub struct WriteLimiter {
    pace: Mutex<Pace>,
    places: Arc<Semaphore>,
    /// Whoever waits holds a copy.
    waiting: Arc<()>,
}

/// The right to write once, until it is dropped. Where it was not used, the next one need not wait.
pub struct Permit {
    limiter: Arc<WriteLimiter>,
    used: bool,
    /// The pace has held back what is written with it first; a retry it does not.
    is_late: AtomicBool,
    _place: OwnedSemaphorePermit,
}

/// An attempt to write that is on its way to the API server, until this is dropped.
struct Attempt<'a> {
    pace: &'a Mutex<Pace>,
    sent: Sent<'a>,
    /// None: nothing was sent.
    answer: Option<Answer>,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some(answer) = self.answer {
            self.pace.lock().answered(answer, self.sent, Instant::now());
        }
    }
}

impl Permit {
    /// Writes in a namespace with this permit, and learns from how that is answered.
    pub async fn write<T>(
        &self,
        namespace: &str,
        attempt: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, kube::Error> {
        let is_late = self.is_late.swap(false, Ordering::Relaxed);
        let sent = Sent { at: Instant::now(), namespace, is_late };
        let pace = &self.limiter.pace;
        let mut on_its_way = Attempt { pace, sent, answer: Some(Answer::Missing) };
        let answer = attempt.await;
        on_its_way.answer = match &answer {
            Err(kube::Error::Service(error)) if error.is::<NotLeading>() => None,
            Err(kube::Error::Api(status)) if matches!(status.code, 429 | 503 | 504) => {
                Some(Answer::Overloaded)
            }
            Err(kube::Error::HyperError(_) | kube::Error::Service(_)) => Some(Answer::Overloaded),
            _ => Some(Answer::Given),
        };
        answer
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.used {
            self.limiter.pace.lock().give_back(Instant::now());
        }
    }
}

/// A permit that was waited for before it was known what is to be written; it ends with the first
/// answer.
#[derive(Default)]
pub struct WriteTurn(Mutex<Option<Permit>>);

impl WriteTurn {
    /// Nothing is written in this turn.
    pub fn free(&self) {
        drop(self.take());
    }

    fn take(&self) -> Option<Permit> {
        self.0.lock().take()
    }
}

impl WriteLimiter {
    pub fn new(writes_per_second: u32, at_once: usize) -> Arc<Self> {
        let pace = Mutex::new(Pace::new(writes_per_second, Instant::now()));
        let places = Arc::new(Semaphore::new(at_once.max(1)));
        Arc::new(Self { pace, places, waiting: Arc::default() })
    }

    /// Waits until something may be written, whatever it is.
    pub async fn turn(self: &Arc<Self>) -> WriteTurn {
        WriteTurn(Mutex::new(self.acquire(Duration::MAX).await))
    }

    /// The same for what is less pressing: where others wait, one in five is left to it.
    pub async fn turn_of_less(self: &Arc<Self>) -> WriteTurn {
        if Arc::strong_count(&self.waiting) > 1 {
            let rate = self.pace.lock().rate();
            tokio::time::sleep(Duration::from_secs_f64(4.0 / rate)).await;
        }
        self.turn().await
    }

    /// The permit of this turn, or the next one; None when that would take longer than `timeout`.
    pub async fn permit(self: &Arc<Self>, turn: &WriteTurn, timeout: Duration) -> Option<Permit> {
        let mut permit = match turn.take() {
            Some(permit) => permit,
            None => self.acquire(timeout).await?,
        };
        permit.used = true;
        Some(permit)
    }

    async fn acquire(self: &Arc<Self>, timeout: Duration) -> Option<Permit> {
        let (began, _waits) = (Instant::now(), self.waiting.clone());
        let place = self.places.clone().acquire_owned();
        let place = tokio::time::timeout(timeout, place).await.ok()?.ok()?;
        let now = Instant::now();
        let Moment { at, is_late } = self.pace.lock().take(now);
        let (limiter, is_late) = (self.clone(), is_late.into());
        let permit = Permit { limiter, used: false, is_late, _place: place };
        if at.saturating_duration_since(began) > timeout {
            return None;
        }
        tokio::time::sleep_until(at.into()).await;
        Some(permit)
    }

    /// The cluster has so many pods.
    pub fn begin(&self, pods: usize) {
        self.pace.lock().begin(pods);
    }

    /// Writes a second that the answers allow now, and how often they were halved.
    pub fn pace(&self) -> (f64, u64) {
        let pace = self.pace.lock();
        (pace.rate(), pace.cuts())
    }
}

/// A client that holds back what is like a request that the API server asked to wait with
/// `Retry-After`, and sends no write that the leadership was lost over meanwhile.
pub fn throttled(
    client: Client,
    leadership: SharedLeadership,
    limiter: Arc<WriteLimiter>,
) -> Client {
    let namespace = client.default_namespace().to_owned();
    Client::new(Throttled { client, leadership, limiter, held: Arc::default() }, namespace)
}

#[derive(Clone)]
struct Throttled {
    client: Client,
    leadership: SharedLeadership,
    limiter: Arc<WriteLimiter>,
    /// Nothing of a kind is sent before.
    held: Arc<Mutex<HashMap<Traffic, Instant>>>,
}

/// Requests that the API server queues alike, as far as we can tell: reads or writes of a resource,
/// in whatever namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Traffic {
    reads: bool,
    resource: String,
}

impl Traffic {
    fn of(request: &Request<Body>) -> Self {
        let mut parts: Vec<_> = request.uri().path().split('/').filter(|p| !p.is_empty()).collect();
        let version = if parts.first() == Some(&"apis") { 3 } else { 2 };
        if parts.len() > version + 2 && parts[version] == "namespaces" {
            parts.drain(version..version + 2);
        }
        // The name, but not the subresource behind it.
        if parts.len() > version + 1 {
            parts.remove(version + 1);
        }
        Self { reads: request.method().is_safe(), resource: parts.join("/") }
    }
}

impl Service<Request<Body>> for Throttled {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { client, leadership, limiter, held } = self.clone();
        Box::pin(async move {
            let traffic = Traffic::of(&request);
            while let Some(wait) = wait_for(&held, &traffic) {
                tokio::time::sleep(wait + JITTER.mul_f64(rand::random())).await;
            }
            if !request.method().is_safe() && !leadership.acts() {
                return Err(NotLeading.into());
            }
            let response = client.send(request).await?;
            if let Some(wait) = retry_after(response.status(), response.headers()) {
                tracing::warn!(
                    seconds = wait.as_secs(),
                    resource = traffic.resource,
                    "the API server asks for a pause"
                );
                let until = Instant::now() + wait;
                if !traffic.reads {
                    limiter.pace.lock().pause(until, Instant::now());
                }
                let mut held = held.lock();
                held.retain(|_, until| *until > Instant::now());
                let before = held.entry(traffic).or_insert(until);
                *before = (*before).max(until);
            }
            Ok(response)
        })
    }
}

fn wait_for(held: &Mutex<HashMap<Traffic, Instant>>, traffic: &Traffic) -> Option<Duration> {
    let until = *held.lock().get(traffic)?;
    Some(until.saturating_duration_since(Instant::now())).filter(|wait| !wait.is_zero())
}

/// Priority and fairness answers 429 with this header, and a body that says nothing of it.
fn retry_after(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if status != StatusCode::TOO_MANY_REQUESTS {
        return None;
    }
    let seconds: u64 = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::leader::{LeaderArgs, Leadership};

    #[tokio::test]
    async fn writes_keep_to_the_pace_and_to_the_places() {
        let limiter = WriteLimiter::new(50, 2);
        let (long, none) = (Duration::from_secs(5), WriteTurn::default());
        let began = Instant::now();
        for _ in 0..3 {
            assert!(limiter.permit(&none, long).await.is_some());
        }
        assert!(began.elapsed() >= Duration::from_millis(180), "{:?}", began.elapsed());
        let turn = limiter.turn().await;
        let _one = limiter.permit(&turn, long).await;
        let other = limiter.turn().await;
        let late = limiter.permit(&none, Duration::from_millis(50));
        assert!(late.await.is_none(), "no place is free");
        other.free();
        assert!(limiter.permit(&none, long).await.is_some());
    }

    #[tokio::test]
    async fn what_is_less_pressing_has_one_turn_in_five_where_others_wait() {
        let limiter = WriteLimiter::new(50, 4);
        limiter.turn_of_less().await.free();
        let (changes, events) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let change = async {
            loop {
                assert!(limiter.permit(&limiter.turn().await, Duration::MAX).await.is_some());
                changes.fetch_add(1, Ordering::SeqCst);
            }
        };
        let event = async {
            loop {
                let turn = limiter.turn_of_less().await;
                assert!(limiter.permit(&turn, Duration::MAX).await.is_some());
                events.fetch_add(1, Ordering::SeqCst);
            }
        };
        let both = async { tokio::join!(change, event) };
        _ = tokio::time::timeout(Duration::from_secs(2), both).await;
        let (changes, events) = (changes.into_inner(), events.into_inner());
        assert!(changes >= 4 * events && events > 0, "{changes}, {events}");
    }

    #[tokio::test]
    async fn nothing_is_sent_before_the_server_allows_it() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let server = tower::service_fn(move |_: Request<Body>| {
            let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
            let answer = match first {
                true => {
                    Response::builder().status(429).header("Retry-After", "1").body(Body::empty())
                }
                false => {
                    Response::builder().body(Body::from(br#"{"major":"1","minor":"36"}"#.to_vec()))
                }
            };
            async move { answer }
        });
        let client = throttled(
            Client::new(server, "default"),
            Arc::new(Leadership::alone()),
            WriteLimiter::new(50, 4),
        );
        let began = Instant::now();
        let request = || Request::get("/version").body(Vec::new()).unwrap();
        assert!(client.request_text(request()).await.is_err());
        let (one, other) =
            tokio::join!(client.request_text(request()), client.request_text(request()));
        assert!(one.is_ok() && other.is_ok() && began.elapsed() >= Duration::from_secs(1));
        assert_eq!(asked.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn what_is_held_back_is_of_one_resource_and_direction() {
        let of = |method: &str, path: &str| {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            Traffic::of(&request)
        };
        for (path, resource) in [
            ("/api/v1/namespaces/shop/pods/web?x=1", "api/v1/pods"),
            ("/api/v1/namespaces/shop/pods/web/resize", "api/v1/pods/resize"),
            ("/api/v1/pods?watch=true", "api/v1/pods"),
            ("/apis/metrics.k8s.io/v1beta1/namespaces/a/pods", "apis/metrics.k8s.io/v1beta1/pods"),
            ("/apis/apps/v1/replicasets", "apis/apps/v1/replicasets"),
            ("/version", "version"),
        ] {
            assert_eq!(of("GET", path).resource, resource);
        }
        assert_ne!(of("GET", "/api/v1/pods"), of("POST", "/api/v1/pods"));
    }

    #[tokio::test]
    async fn a_huge_pause_holds_back_only_its_like_and_not_for_ever() {
        let server = tower::service_fn(|request: Request<Body>| {
            let answer = match request.uri().path() {
                "/api/v1/events" => {
                    Response::builder().status(429).header("Retry-After", "4294967295")
                }
                _ => Response::builder(),
            };
            async move { answer.body(Body::from(b"{}".to_vec())) }
        });
        let client = throttled(
            Client::new(server, "default"),
            Arc::new(Leadership::alone()),
            WriteLimiter::new(50, 4),
        );
        let ask = |path: &str| client.request_text(Request::get(path).body(Vec::new()).unwrap());
        assert!(ask("/api/v1/events").await.is_err());
        let began = Instant::now();
        assert!(ask("/api/v1/pods").await.is_ok());
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        let held = tokio::time::timeout(Duration::from_millis(300), ask("/api/v1/events"));
        assert!(held.await.is_err(), "its like waits");
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("4294967295"));
        assert_eq!(retry_after(StatusCode::TOO_MANY_REQUESTS, &headers), Some(BUDGET));
    }

    #[tokio::test]
    async fn a_replica_that_does_not_lead_reads_and_writes_nothing() {
        let args = LeaderArgs {
            leader_elect: true,
            lease_name: "dqn-scaler".into(),
            lease_namespace: None,
            pod_name: None,
            lease_duration: 15,
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        };
        let sent = Arc::new(Mutex::new(Vec::new()));
        let seen = sent.clone();
        let server = tower::service_fn(move |request: Request<Body>| {
            seen.lock().push(request.method().clone());
            async { Response::builder().body(Body::from(b"{}".to_vec())) }
        });
        let client = throttled(
            Client::new(server, "default"),
            Arc::new(Leadership::new(&args).unwrap()),
            WriteLimiter::new(50, 4),
        );
        let request = |method: &str| {
            Request::builder().method(method).uri("/version").body(Vec::new()).unwrap()
        };
        assert!(client.request_text(request("GET")).await.is_ok());
        let refused = client.request_text(request("PATCH")).await.unwrap_err();
        let kube::Error::Service(why) = refused else { panic!("{refused}") };
        assert!(why.is::<NotLeading>(), "{why}");
        assert_eq!(*sent.lock(), [http::Method::GET]);
    }
}
