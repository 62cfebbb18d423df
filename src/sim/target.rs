//! What a request asks for, read from its method and address as the API server and its authorizer
//! read them.

use axum::extract::Query;
use axum::http::{Method, Uri};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Deserializer};

use super::store::Key;

/// Verb, resource and name as RBAC knows them; what a request does not have is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    pub verb: &'static str,
    pub group: String,
    pub version: String,
    /// `pods`, or the whole path where it leads to no resource.
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
}

impl Target {
    pub fn of(method: &Method, uri: &Uri) -> Self {
        let decoded = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let parts: Vec<String> =
            uri.path().split('/').filter(|part| !part.is_empty()).map(decoded).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
            ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
            _ => {
                return Self {
                    verb: verb(method, true, false),
                    resource: uri.path().to_owned(),
                    ..Self::default()
                };
            }
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..]
                if !matches!(rest, [] | ["status" | "finalize"]) =>
            {
                (*namespace, rest)
            }
            _ => ("", rest),
        };
        let (resource, name, subresource) = match rest {
            [resource] => (*resource, "", String::new()),
            [resource, name, subresource @ ..] => (*resource, *name, subresource.join("/")),
            [] => ("", "", String::new()),
        };
        let watches =
            Query::<Watching>::try_from_uri(uri).is_ok_and(|Query(watching)| watching.watch);
        Self {
            verb: verb(method, !name.is_empty(), watches),
            group: group.to_owned(),
            version: version.to_owned(),
            resource: resource.to_owned(),
            subresource,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    pub fn is_path(&self) -> bool {
        self.resource.starts_with('/')
    }

    /// `pods`, or `pods/resize`.
    pub fn full_resource(&self) -> String {
        match self.subresource.as_str() {
            "" => self.resource.clone(),
            subresource => format!("{}/{subresource}", self.resource),
        }
    }

    pub fn key(&self) -> Key {
        Key::new(&self.namespace, &self.name)
    }

    /// The namespace, or none for all of them.
    pub fn within(&self) -> Option<&str> {
        Some(self.namespace.as_str()).filter(|namespace| !namespace.is_empty())
    }
}

fn verb(method: &Method, named: bool, watches: bool) -> &'static str {
    match (method.as_str(), named) {
        ("GET", _) if watches => "watch",
        ("GET", true) => "get",
        ("GET", false) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        _ => "",
    }
}

/// The parameter that makes a watch of a list.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Watching {
    #[serde(deserialize_with = "flag")]
    watch: bool,
}

/// Anything but `0` and `false` is true, even nothing.
pub fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    String::deserialize(deserializer).map(|text| text != "0" && !text.eq_ignore_ascii_case("false"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(method: Method, uri: &str) -> Target {
        Target::of(&method, &uri.parse().unwrap())
    }

    #[test]
    fn addresses_are_read_as_rbac_reads_them() {
        let expected = Target {
            verb: "patch",
            version: "v1".into(),
            resource: "pods".into(),
            subresource: "resize".into(),
            namespace: "shop".into(),
            name: "web".into(),
            ..Target::default()
        };
        assert_eq!(
            target(Method::PATCH, "/api/v1/namespaces/shop/pods/web/resize?dryRun=All"),
            expected
        );
        let list = target(Method::GET, "/apis/apps/v1/deployments?watch=false");
        assert_eq!(
            (list.verb, list.group.as_str(), list.resource.as_str()),
            ("list", "apps", "deployments")
        );
        assert_eq!(target(Method::GET, "/api/v1/pods?watch").verb, "watch");
        let namespace = target(Method::GET, "/api/v1/namespaces/shop/status");
        assert_eq!((namespace.name.as_str(), namespace.subresource.as_str()), ("shop", "status"));
        let path = target(Method::GET, "/api/v1");
        assert!(path.is_path() && path.verb == "get" && path.resource == "/api/v1");
    }
}
