//! Where a Prometheus is asked, and as whom.

use std::collections::BTreeMap;
use std::path::PathBuf;

use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue, Uri};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Up to what comes before `/api/v1`.
    pub url: String,
    pub token_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
    pub headers: BTreeMap<String, String>,
    /// What every series must have, where a Prometheus holds those of several clusters.
    pub labels: BTreeMap<String, String>,
}

impl Endpoint {
    pub fn uri(&self) -> Result<Uri, String> {
        let text = self.url.trim_end_matches('/');
        let uri = text.parse::<Uri>().map_err(|error| format!("{text:?} is no URL: {error}"))?;
        let authority = uri.authority().map(|of| of.as_str()).unwrap_or_default();
        match uri.scheme_str() {
            Some("http" | "https") if authority.contains('@') => {
                Err("a user or password does not belong into a URL: give a token by file".into())
            }
            Some("http" | "https") if uri.query().is_some() => {
                Err(format!("{text:?} must end with a path, not with a query"))
            }
            Some("http" | "https") if !authority.is_empty() => Ok(uri),
            _ => Err(format!("{text:?} is neither http://HOST nor https://HOST")),
        }
    }

    pub fn headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
        let parse = |(name, value): (&String, &String)| {
            let known: HeaderName =
                name.parse().map_err(|_| format!("{name:?} is no name of a header"))?;
            if known == AUTHORIZATION {
                return Err("a token is given by file, not in a header".to_owned());
            }
            let value = value.parse().map_err(|_| format!("the value of {name} is no header's"))?;
            Ok((known, value))
        };
        self.headers.iter().map(parse).collect()
    }

    /// What is wrong with it, and which option that is.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        self.uri().map_err(|problem| ("prometheus_url", problem))?;
        self.headers().map_err(|problem| ("prometheus_headers", problem))?;
        let is_name = |name: &str| {
            let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
            name.chars().all(part) && name.starts_with(|c: char| !c.is_ascii_digit())
        };
        match self.labels.keys().find(|name| !is_name(name)) {
            Some(name) => Err(("prometheus_labels", format!("{name:?} is no name of a label"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> Endpoint {
        Endpoint { url: url.into(), ..Endpoint::default() }
    }

    #[test]
    fn an_address_is_a_url_without_secrets() {
        for url in ["http://prometheus:9090", "https://mimir.example/prometheus/", "http://[::1]"] {
            assert_eq!(of(url).check(), Ok(()), "{url}");
        }
        for url in ["", "prometheus:9090", "ftp://a", "http://me:secret@a", "http://a?b=c", "/a"] {
            let (part, problem) = of(url).check().unwrap_err();
            assert!(part == "prometheus_url" && !problem.contains("secret"), "{url}: {problem}");
        }
    }

    #[test]
    fn headers_and_labels_have_names_and_no_token() {
        let map = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let header = |name, value| Endpoint { headers: map(name, value), ..of("http://a") }.check();
        assert_eq!(header("X-Scope-OrgID", "team-a"), Ok(()));
        for (name, value) in [("a b", "c"), ("Authorization", "Bearer x"), ("x", "a\nb")] {
            assert_eq!(header(name, value).unwrap_err().0, "prometheus_headers", "{name}");
        }
        let label = |name| Endpoint { labels: map(name, "\"}"), ..of("http://a") }.check();
        assert_eq!(label("cluster"), Ok(()));
        for name in ["a-b", "1", ""] {
            assert_eq!(label(name).unwrap_err().0, "prometheus_labels", "{name}");
        }
    }
}
