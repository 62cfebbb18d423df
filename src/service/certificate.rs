//! Until when the certificate holds that clients are shown: an expired one is served all the same,
//! but not without a word.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;
use x509_parser::pem::Pem;

use crate::clock;
use crate::files;

/// How often it is looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(60);
/// How often it is told that it ends soon, or has ended.
const REMINDER: i64 = 12 * 3600;
/// What is renewed later than this before its end is renewed late.
const SOON: i64 = 7 * 86_400;

/// From when until when, in seconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub from: i64,
    pub until: i64,
}

/// None without TLS.
pub type SharedValidity = Arc<Mutex<Option<Validity>>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Holds,
    NotYet,
    EndsSoon,
    Ended,
}

impl Validity {
    /// Of the first certificate, which is the one of the service.
    fn read(pem: &[u8]) -> anyhow::Result<Self> {
        for block in Pem::iter_from_buffer(pem) {
            let block = block.context("its text")?;
            if block.label == "CERTIFICATE" {
                let certificate = block.parse_x509().context("its content")?;
                let validity = certificate.validity();
                let (from, until) =
                    (validity.not_before.timestamp(), validity.not_after.timestamp());
                return Ok(Self { from, until });
            }
        }
        anyhow::bail!("there is no certificate in it")
    }

    pub fn holds(&self, now: i64) -> bool {
        (self.from..=self.until).contains(&now)
    }

    fn state(&self, now: i64) -> State {
        match () {
            () if now < self.from => State::NotYet,
            () if now > self.until => State::Ended,
            () if now > self.until - SOON => State::EndsSoon,
            () => State::Holds,
        }
    }

    fn tell(&self, file: &Path, state: State) {
        let (from, until) = (clock::at(self.from), clock::at(self.until));
        let (from, until) = (from.unwrap_or_default(), until.unwrap_or_default());
        let file = file.display();
        match state {
            State::Holds => tracing::info!(%file, until, "the certificate holds"),
            State::NotYet => {
                tracing::error!(%file, from, "the certificate does not hold yet, and is refused");
            }
            State::EndsSoon => tracing::warn!(%file, until, "the certificate ends soon"),
            State::Ended => {
                tracing::error!(%file, until, "the certificate has expired, and is refused");
            }
        }
    }
}

/// Looks at the file for ever, and tells of it at the start, when it changes, and now and then.
pub async fn watch(file: PathBuf, shared: SharedValidity) {
    let mut told: Option<(State, i64)> = None;
    loop {
        let path = file.clone();
        let read = tokio::task::spawn_blocking(move || files::read(&path, files::SMALL)).await;
        let validity = read
            .map_err(anyhow::Error::from)
            .and_then(|pem| Validity::read(&pem?))
            .inspect_err(|error| tracing::debug!(%error, "the certificate is not understood"));
        // What cannot be read is told of by those who serve it, and the old one stays.
        if let Ok(validity) = validity {
            let now = chrono::Utc::now().timestamp();
            let state = validity.state(now);
            let again = told.is_none_or(|(before, at)| {
                before != state || (state != State::Holds && now - at >= REMINDER)
            });
            if again {
                validity.tell(&file, state);
                told = Some((state, now));
            }
            *shared.lock() = Some(validity);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By `openssl ca -selfsign -startdate 20200101000000Z -enddate 20210101000000Z`, its key
    /// thrown away.
    const OLD: &str = "-----BEGIN CERTIFICATE-----
MIIBDzCBtgIBATAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwHhcN
MjAwMTAxMDAwMDAwWhcNMjEwMTAxMDAwMDAwWjAUMRIwEAYDVQQDDAlsb2NhbGhv
c3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASprs+R3k+QouERZRVpoIS065ev
Y2Yj7A4e1G3vJBDWj7BWKaQ0t2ZZzA75a3S6R4ElZpK+sEjCuw7D8DUyWsCFMAoG
CCqGSM49BAMCA0gAMEUCIBj0LBYZYLS8B36zSqxl+PnxJvge7Tdap8KpPjCMHLAO
AiEAw3rJDjCuVK2PfVaAHjnJwPjyfRgM5OvjwXVcNWGtlb4=
-----END CERTIFICATE-----
";

    #[test]
    fn it_is_told_from_when_until_when_a_certificate_holds() {
        let validity = Validity::read(OLD.as_bytes()).unwrap();
        assert_eq!(validity, Validity { from: 1_577_836_800, until: 1_609_459_200 });
        for (now, state, holds) in [
            (1_577_836_799, State::NotYet, false),
            (1_577_836_800, State::Holds, true),
            (1_609_459_200 - SOON, State::Holds, true),
            (1_609_459_200, State::EndsSoon, true),
            (1_609_459_201, State::Ended, false),
        ] {
            assert_eq!((validity.state(now), validity.holds(now)), (state, holds), "{now}");
        }
        for odd in ["", "words", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(Validity::read(odd.as_bytes()).is_err(), "{odd}");
        }
    }
}
