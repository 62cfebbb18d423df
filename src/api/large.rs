//! Answers that are large or cost much: so many at the same time and so many for one address, until
//! the last byte has been taken; lists are made piece by piece.

use std::iter::once;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body::{Frame, SizeHint};
use serde::Serialize;
use tokio::time::{sleep, timeout};

use super::error::ApiError;
use super::json::JSON;
use crate::service::places::{Place, Places};

/// At the same time, in all and for one address.
const MOST: usize = 32;
const MOST_FOR_ONE_ADDRESS: usize = 8;
/// How long a request waits for its turn.
const WAIT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);
/// Entries of one piece of a list.
const PIECE: usize = 250;

pub fn places() -> Arc<Places> {
    Places::new(MOST, MOST_FOR_ONE_ADDRESS)
}

/// Lets a request wait until there is a place for its answer.
pub async fn bounded(State(places): State<Arc<Places>>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip());
    let turn = async {
        loop {
            match places.take(address) {
                Ok(place) => return place,
                Err(_) => sleep(LOOK).await,
            }
        }
    };
    let Ok(place) = timeout(WAIT, turn).await else {
        let message = "Too many large answers are under way";
        let mut response = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).into_response();
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
        return response;
    };
    next.run(request).await.map(|body| Body::new(Placed { body, _place: place }))
}

/// A body that holds its place until it has been taken.
struct Placed {
    body: Body,
    _place: Place,
}

impl http_body::Body for Placed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// `frame`, which ends with an empty list, with the items in it. Each piece is made when the one
/// before has been taken, so that a long answer is never in memory as a whole.
pub fn list<T, S: Serialize>(
    frame: &impl Serialize,
    items: Vec<T>,
    shown: impl Fn(&T) -> S + Send + 'static,
) -> Result<Response, ApiError>
where
    T: Send + 'static,
{
    let frame = serde_json::to_string(frame).map_err(|error| ApiError::internal(&error))?;
    let (begin, end) = frame.rsplit_once("[]").unwrap_or_default();
    let (begin, end) = (format!("{begin}["), format!("]{end}\n"));
    let pieces = (0..items.len()).step_by(PIECE).map(move |first| {
        let piece = &items[first..(first + PIECE).min(items.len())];
        let piece: Vec<_> = piece.iter().map(&shown).collect();
        let comma = if first == 0 { "" } else { "," };
        let text = serde_json::to_string(&piece)?;
        let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        Ok(comma.to_owned() + inner.unwrap_or_default())
    });
    let all = once(Ok(begin)).chain(pieces).chain(once(Ok::<_, serde_json::Error>(end)));
    let body = Body::from_stream(futures::stream::iter(all));
    Ok(([(CONTENT_TYPE, JSON)], body).into_response())
}
