//! One connection: HTTP/1 or HTTP/2 until it ends, falls silent, or does not take its answers.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::pending;
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// What is answered where there is no other place left.
const PROBES: [&str; 3] = ["/livez", "/readyz", "/health"];
const NO_PLACE: &str = "{\"success\":false,\"error\":\"Too many connections\"}\n";

/// The head of an HTTP/1 request, and what is held back of an answer.
const HTTP1_BUFFER: usize = 32 * 1024;
const HEADERS: u32 = 32 * 1024;
/// Requests of one HTTP/2 connection at the same time: what the RFC recommends at least.
const STREAMS: u32 = 100;
const STREAMS_OF_A_PROBE: u32 = 4;
/// What a client may send before somebody reads it: for each stream, and for all of a connection.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// HTTP/2 alone asks whether the client is still there.
const PING: Duration = Duration::from_secs(20);
/// Of an answer that is written at once.
const PIECE: usize = 16 * 1024;
/// How often a connection is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// How long a connection may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until the first request has been read, without its body; that is also for the TLS handshake.
    pub first_request: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// For taking an answer, and so much longer for each piece at this many bytes a second.
    pub answer: Duration,
    pub bytes_per_second: u32,
    /// For all of a connection that only probes may use.
    pub probe: Duration,
    /// For ending after it has been asked to.
    pub ending: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first_request: Duration::from_secs(10),
            // More than the 60 s that proxies keep theirs for.
            idle: Duration::from_secs(75),
            answer: Duration::from_secs(20),
            bytes_per_second: 16 * 1024,
            probe: Duration::from_secs(5),
            ending: Duration::from_secs(5),
        }
    }
}

/// Why a connection was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// No request came.
    Silent,
    /// An answer was not taken.
    Stalled,
    /// Others wanted its spare place, or it had it for long enough.
    Displaced,
}

impl Cut {
    pub fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Stalled => "stalled",
            Self::Displaced => "displaced",
        }
    }
}

/// Answers what comes in on a connection; `displaced` is of one that only probes may use.
pub async fn serve(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    router: Router,
    patience: Patience,
    displaced: Option<&CancellationToken>,
    stop: &CancellationToken,
) -> Result<(), Cut> {
    let spare = displaced.is_some();
    let activity = Arc::new(Activity::new());
    let (of_connection, begun) = (activity.clone(), Instant::now());
    let service = tower::service_fn(move |request: Request<hyper::body::Incoming>| {
        let (request, under_way) = (request.map(Body::new), UnderWay::begin(&of_connection));
        let router = router.clone();
        async move {
            let response = respond(router, peer, request, spare).await;
            Ok::<_, Infallible>(response.map(|body| Answer::new(body, under_way)))
        }
    });
    let builder = builder(spare);
    let mut connection =
        pin!(builder.serve_connection(TokioIo::new(io), TowerToHyperService::new(service)));
    let mut displaced = pin!(match displaced {
        Some(displaced) => displaced.cancelled().left_future(),
        None => pending().right_future(),
    });
    let mut look = tokio::time::interval(LOOK.min(patience.first_request));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ending = None;
    loop {
        tokio::select! {
            // How a client ends its connection is its own matter.
            _ = connection.as_mut() => return Ok(()),
            () = displaced.as_mut() => return Err(Cut::Displaced),
            () = stop.cancelled(), if ending.is_none() => {
                connection.as_mut().graceful_shutdown();
                // The listener bounds this one.
                ending = Some(None);
            }
            now = look.tick() => match activity.look(&patience, now) {
                _ if spare && now > begun + patience.probe => return Err(Cut::Displaced),
                Err(cut) => return Err(cut),
                Ok(idle) => match ending {
                    None if idle => {
                        connection.as_mut().graceful_shutdown();
                        ending = Some(Some(now + patience.ending));
                    }
                    // What is left of an answer is not taken.
                    Some(Some(end)) if now > end => return Err(Cut::Stalled),
                    _ => {}
                },
            },
        }
    }
}

fn builder(spare: bool) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Whoever looks at the connection sees to it.
        .header_read_timeout(None)
        .keep_alive(!spare)
        .max_buf_size(HTTP1_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(if spare { STREAMS_OF_A_PROBE } else { STREAMS })
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(STREAM_WINDOW as usize)
        .max_header_list_size(HEADERS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    builder
}

async fn respond(
    router: Router,
    peer: SocketAddr,
    mut request: Request<Body>,
    spare: bool,
) -> Response<Body> {
    if spare && !PROBES.contains(&request.uri().path()) {
        let mut response = Response::new(Body::from(NO_PLACE));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
        if request.version() < http::Version::HTTP_2 {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        return response;
    }
    request.extensions_mut().insert(ConnectInfo(peer));
    let Ok(response) = router.oneshot(request).await;
    response
}

/// What goes on in a connection.
struct Activity(Mutex<State>);

struct State {
    /// A request has been read.
    spoken: bool,
    under_way: usize,
    /// When nothing was under way any more.
    idle_since: Instant,
    answers: BTreeMap<u64, Progress>,
    next_answer: u64,
}

struct Progress {
    since: Instant,
    sent: u64,
}

impl Activity {
    fn new() -> Self {
        Self(Mutex::new(State {
            spoken: false,
            under_way: 0,
            idle_since: Instant::now(),
            answers: BTreeMap::new(),
            next_answer: 0,
        }))
    }

    /// Whether it has been idle for too long, or must be cut off.
    fn look(&self, patience: &Patience, now: Instant) -> Result<bool, Cut> {
        let state = self.0.lock();
        let stalled = |answer: &Progress| {
            let earned = answer.sent as f64 / f64::from(patience.bytes_per_second.max(1));
            now > answer.since + patience.answer + Duration::from_secs_f64(earned)
        };
        if state.answers.values().any(stalled) {
            return Err(Cut::Stalled);
        }
        if state.under_way > 0 {
            return Ok(false);
        }
        if !state.spoken && now > state.idle_since + patience.first_request {
            return Err(Cut::Silent);
        }
        Ok(state.spoken && now > state.idle_since + patience.idle)
    }
}

/// A request from its head to the last byte of its answer.
struct UnderWay {
    activity: Arc<Activity>,
    /// The number of the answer, once there is one.
    answer: Option<u64>,
}

impl UnderWay {
    fn begin(activity: &Arc<Activity>) -> Self {
        let mut state = activity.0.lock();
        state.spoken = true;
        state.under_way += 1;
        drop(state);
        Self { activity: activity.clone(), answer: None }
    }

    fn answered(&mut self) {
        let mut state = self.activity.0.lock();
        let number = state.next_answer;
        state.next_answer += 1;
        state.answers.insert(number, Progress { since: Instant::now(), sent: 0 });
        self.answer = Some(number);
    }

    fn taken(&self, bytes: usize) {
        if let Some(number) = self.answer
            && let Some(progress) = self.activity.0.lock().answers.get_mut(&number)
        {
            progress.sent += bytes as u64;
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.activity.0.lock();
        if let Some(number) = self.answer {
            state.answers.remove(&number);
        }
        state.under_way -= 1;
        state.idle_since = Instant::now();
    }
}

/// The body of an answer in small pieces, so that it is seen how fast the client takes them.
struct Answer {
    body: Body,
    rest: Bytes,
    under_way: UnderWay,
}

impl Answer {
    fn new(body: Body, mut under_way: UnderWay) -> Self {
        under_way.answered();
        Self { body, rest: Bytes::new(), under_way }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let frame = match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => frame,
                other => return other,
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let length = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(length);
        self.under_way.taken(length);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (left, inner) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + left);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + left);
        }
        hint
    }
}
