//! The bodies of requests: read after it is clear that the request may be made, within a time, and
//! within a bound for all of them together. What nobody needs is thrown away as it comes.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, EXPECT};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::{BodyExt, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::error::ApiError;

const LARGEST: usize = 1024 * 1024;
/// Of all bodies that are in memory at the same time.
const ALL: usize = 4 * LARGEST;
/// From the head of the request to the end of its body.
const TIME: Duration = Duration::from_secs(10);

/// Bytes that bodies may still take.
#[derive(Clone)]
pub struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ALL)))
    }
}

/// Reads the body of a write, whether its route cares for it or not: one that is too large is
/// refused everywhere.
pub async fn read(
    State(room): State<Room>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if request.method() != Method::POST {
        let request = discard(request).await?;
        return Ok(next.run(request).await);
    }
    declared(&request)?;
    let (parts, body) = request.into_parts();
    let body = timeout(TIME, gathered(&room, body)).await.map_err(|_| late())??;
    Ok(next.run(Request::from_parts(parts, body.into())).await)
}

/// Takes the body of a request that is answered without it, so that its client reads the answer and
/// does not find the connection reset, or the stream, which curl 7.88 takes for a failure.
pub async fn discard(request: Request) -> Result<Request, ApiError> {
    declared(&request)?;
    let (parts, body) = request.into_parts();
    // Who asks before sending has sent nothing.
    if !parts.headers.contains_key(EXPECT) {
        let mut body = Limited::new(body, LARGEST);
        let all = async {
            while let Some(frame) = body.frame().await {
                frame.map_err(broken)?;
            }
            Ok::<(), ApiError>(())
        };
        timeout(TIME, all).await.map_err(|_| late())??;
    }
    Ok(Request::from_parts(parts, Body::empty()))
}

/// Refuses what says beforehand that it is too large.
fn declared(request: &Request) -> Result<(), ApiError> {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    match length.and_then(|length| length.parse::<u64>().ok()) {
        Some(length) if length > LARGEST as u64 => Err(too_large()),
        _ => Ok(()),
    }
}

/// Bytes and their share of the room, which is given back when they are dropped.
struct Kept {
    bytes: Vec<u8>,
    _share: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A body takes room as it comes: one that only says that it is large takes none.
async fn gathered(room: &Room, body: Body) -> Result<Bytes, ApiError> {
    let mut body = Limited::new(body, LARGEST);
    let mut bytes = Vec::new();
    let mut share: Option<OwnedSemaphorePermit> = None;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        let size = data.len() as u32;
        let more = room.0.clone().try_acquire_many_owned(size).map_err(|_| {
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "Too many bodies are being read")
        })?;
        match &mut share {
            Some(share) => share.merge(more),
            None => share = Some(more),
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Bytes::from_owner(Kept { bytes, _share: share }))
}

fn broken(error: Box<dyn std::error::Error + Send + Sync>) -> ApiError {
    if error.is::<http_body_util::LengthLimitError>() {
        too_large()
    } else {
        ApiError::bad_request("the body ended before its time")
    }
}

fn too_large() -> ApiError {
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 1 MiB")
}

fn late() -> ApiError {
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body did not come within 10 seconds")
}
