//! What kubectl is told of times. It reckons ages by the clock on the wall, which a fast cluster
//! runs ahead of: so each time is told as far before now as it is there.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use chrono::{NaiveDateTime, TimeDelta, Utc};
use futures::StreamExt;

use crate::sim::simulation::Simulation;
use crate::sim::target::Target;

const FORMAT: &str = "%Y-%m-%dT%H:%M:%S";
const LENGTH: usize = "2026-11-25T10:30:00".len();

/// How far the times of an answer are to be moved; None for others than kubectl, whose times must
/// stay as they are.
pub fn shift(simulation: &Simulation, target: &Target, headers: &HeaderMap) -> Option<TimeDelta> {
    let agent = headers.get(header::USER_AGENT)?.to_str().ok()?;
    if !agent.starts_with("kubectl") || !matches!(target.verb, "get" | "list" | "watch") {
        return None;
    }
    let world = simulation.world();
    let ahead = (world.date(world.now) - Utc::now()).num_seconds();
    (ahead != 0).then(|| TimeDelta::seconds(-ahead))
}

/// The answer with all its times moved. An event of a watch comes in one piece, as does an object.
pub fn shifted(response: Response, shift: TimeDelta) -> Response {
    response.map(|body| {
        let pieces = body.into_data_stream();
        Body::from_stream(pieces.map(move |piece| piece.map(|piece| moved(piece, shift))))
    })
}

fn moved(piece: Bytes, shift: TimeDelta) -> Bytes {
    let mut text = piece.to_vec();
    let mut at = 0;
    while at + LENGTH <= text.len() {
        // The cheapest of what a time must have.
        if text[at + 4] == b'-' && text[at + 10] == b'T' {
            let time = std::str::from_utf8(&text[at..at + LENGTH]).ok();
            let time = time.and_then(|time| NaiveDateTime::parse_from_str(time, FORMAT).ok());
            let moved = time.and_then(|time| time.checked_add_signed(shift));
            let moved = moved.map(|time| time.format(FORMAT).to_string());
            if let Some(moved) = moved.filter(|moved| moved.len() == LENGTH) {
                text[at..at + LENGTH].copy_from_slice(moved.as_bytes());
                at += LENGTH;
                continue;
            }
        }
        at += 1;
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_moved_and_nothing_else_is() {
        let text = r#"{"a":"2026-11-25T10:30:00Z","b":"2026-11-25T10:30:00.123456Z","c":"2026-T"}"#;
        let told = moved(Bytes::from(text), TimeDelta::seconds(-3600));
        let expected =
            r#"{"a":"2026-11-25T09:30:00Z","b":"2026-11-25T09:30:00.123456Z","c":"2026-T"}"#;
        assert_eq!(told, expected);
    }
}
