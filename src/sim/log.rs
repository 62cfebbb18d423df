//! What has been asked of the API lately, for tests and for the curious.

use std::collections::VecDeque;

use axum::http::{HeaderMap, Method, Uri, header};
use parking_lot::Mutex;
use serde::Serialize;

/// Requests that are remembered.
const REQUESTS: usize = 10_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    pub method: String,
    /// With its query.
    pub path: String,
    pub user_agent: String,
    /// None while there is no answer.
    pub status: Option<u16>,
}

#[derive(Default)]
pub struct Log(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    entries: VecDeque<Entry>,
    /// How many are forgotten: the number of the first that is not.
    forgotten: usize,
}

impl Log {
    /// Notes a request; the number is for noting its answer.
    pub fn asked(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> usize {
        let user_agent = headers
            .get(header::USER_AGENT)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let entry = Entry {
            method: method.to_string(),
            path: path.to_owned(),
            user_agent: user_agent.to_owned(),
            status: None,
        };
        let mut log = self.0.lock();
        if log.entries.len() == REQUESTS {
            log.entries.pop_front();
            log.forgotten += 1;
        }
        log.entries.push_back(entry);
        log.forgotten + log.entries.len() - 1
    }

    pub fn answered(&self, number: usize, status: u16) {
        let mut log = self.0.lock();
        if let Some(entry) =
            number.checked_sub(log.forgotten).and_then(|index| log.entries.get_mut(index))
        {
            entry.status = Some(status);
        }
    }

    /// The last requests, oldest first.
    pub fn requests(&self) -> Vec<Entry> {
        self.0.lock().entries.iter().cloned().collect()
    }

    pub fn forget(&self) {
        let mut log = self.0.lock();
        log.forgotten += log.entries.len();
        log.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_bounded_and_answers_find_their_request() {
        let log = Log::default();
        let ask = |path: &str| log.asked(&Method::GET, &path.parse().unwrap(), &HeaderMap::new());
        let first = ask("/first");
        for _ in 0..REQUESTS {
            ask("/api/v1/pods?limit=1");
        }
        let last = ask("/last");
        log.answered(first, 500);
        log.answered(last, 200);
        let entries = log.requests();
        assert_eq!(entries.len(), REQUESTS);
        assert_eq!(entries.iter().filter_map(|entry| entry.status).collect::<Vec<_>>(), [200]);
        log.forget();
        assert!(log.requests().is_empty());
    }
}
