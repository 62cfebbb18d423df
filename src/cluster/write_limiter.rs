//! The API server is everybody's: how much of it this service takes.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use governor::{DefaultDirectRateLimiter, Jitter, Quota};
use http::{HeaderMap, Request, Response, StatusCode, header};
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tower::{BoxError, Service};

use crate::client::retry::NOT_LEADING;
use crate::leader::SharedLeadership;

/// So that replicas and shards do not come in step.
const JITTER: Duration = Duration::from_millis(100);
/// No server may stop us for longer at once.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// At most so many writes a second, and so many at the same time.
pub struct WriteLimiter {
    rate: DefaultDirectRateLimiter,
    places: Semaphore,
}

impl WriteLimiter {
    pub fn new(writes_per_second: u32, at_once: usize) -> Self {
        let rate = NonZeroU32::new(writes_per_second).unwrap_or(NonZeroU32::MIN);
        // Full at the start would mean a burst.
        let quota = Quota::per_second(rate).allow_burst(NonZeroU32::MIN);
        Self {
            rate: DefaultDirectRateLimiter::direct(quota),
            places: Semaphore::new(at_once.max(1)),
        }
    }

    /// Waits for its turn; None when that would take longer than `timeout`. The place is taken
    /// until it is dropped.
    pub async fn acquire(&self, timeout: Duration) -> Option<SemaphorePermit<'_>> {
        let permit = async {
            let place = self.places.acquire().await.ok()?;
            self.rate.until_ready_with_jitter(Jitter::up_to(JITTER)).await;
            Some(place)
        };
        tokio::time::timeout(timeout, permit).await.ok().flatten()
    }
}

/// A client that holds everything back for as long as the API server asks for with `Retry-After`,
/// and sends no write that the leadership was lost over meanwhile.
pub fn throttled(client: Client, leadership: SharedLeadership) -> Client {
    let namespace = client.default_namespace().to_owned();
    Client::new(
        Throttled { client, leadership, until: Arc::new(Mutex::new(Instant::now())) },
        namespace,
    )
}

#[derive(Clone)]
struct Throttled {
    client: Client,
    leadership: SharedLeadership,
    /// Nothing is sent before.
    until: Arc<Mutex<Instant>>,
}

impl Service<Request<Body>> for Throttled {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { client, leadership, until } = self.clone();
        Box::pin(async move {
            loop {
                let wait = until.lock().saturating_duration_since(Instant::now());
                if wait.is_zero() {
                    break;
                }
                tokio::time::sleep(wait + JITTER.mul_f64(rand::random())).await;
            }
            if !request.method().is_safe() && !leadership.acts() {
                return Err(NOT_LEADING.into());
            }
            let response = client.send(request).await?;
            if let Some(wait) = retry_after(response.status(), response.headers()) {
                tracing::warn!(seconds = wait.as_secs(), "the API server asks for a pause");
                let mut until = until.lock();
                *until = (*until).max(Instant::now() + wait);
            }
            Ok(response)
        })
    }
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::leader::{LeaderArgs, Leadership};

    #[tokio::test]
    async fn writes_keep_to_the_rate_and_to_the_places() {
        let limiter = WriteLimiter::new(50, 2);
        let began = Instant::now();
        for _ in 0..6 {
            assert!(limiter.acquire(Duration::from_secs(5)).await.is_some());
        }
        assert!(began.elapsed() >= Duration::from_millis(100), "{:?}", began.elapsed());
        let _both = (
            limiter.acquire(Duration::from_secs(5)).await,
            limiter.acquire(Duration::from_secs(5)).await,
        );
        assert!(limiter.acquire(Duration::from_millis(50)).await.is_none());
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
        let client = throttled(Client::new(server, "default"), Arc::new(Leadership::alone()));
        let began = Instant::now();
        let request = || Request::get("/version").body(Vec::new()).unwrap();
        assert!(client.request_text(request()).await.is_err());
        let (one, other) =
            tokio::join!(client.request_text(request()), client.request_text(request()));
        assert!(one.is_ok() && other.is_ok() && began.elapsed() >= Duration::from_secs(1));
        assert_eq!(asked.load(Ordering::SeqCst), 3);
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
        let client =
            throttled(Client::new(server, "default"), Arc::new(Leadership::new(&args).unwrap()));
        let request = |method: &str| {
            Request::builder().method(method).uri("/version").body(Vec::new()).unwrap()
        };
        assert!(client.request_text(request("GET")).await.is_ok());
        let refused = client.request_text(request("PATCH")).await.unwrap_err();
        assert!(refused.to_string().contains(NOT_LEADING), "{refused}");
        assert_eq!(*sent.lock(), [http::Method::GET]);
    }
}
