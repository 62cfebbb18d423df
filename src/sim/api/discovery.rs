//! What clients ask first: which release this is and what it serves.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::metrics;
use crate::sim::custom::CustomKind;
use crate::sim::resources::{ALL, Description, Resource};
use crate::sim::status::ApiError;
use crate::sim::world::ServerVersion;

const VERBS: [&str; 8] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Groups beside the core group, and their only version.
const GROUPS: [(&str, &str); 5] = [
    ("apps", "v1"),
    ("autoscaling", "v2"),
    ("autoscaling.k8s.io", "v1"),
    ("coordination.k8s.io", "v1"),
    (metrics::GROUP, metrics::VERSION),
];

/// Answers what leads to no resource.
pub fn answer(
    version: ServerVersion,
    kinds: &[CustomKind],
    verb: &str,
    path: &str,
) -> Result<Response, ApiError> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let groups = groups(kinds);
    let serves = |group: &str, of: &str| groups.contains(&(group, of));
    let found = match parts.as_slice() {
        ["version"] => release(version),
        ["healthz" | "livez" | "readyz", ..] => return read_only(verb, "ok"),
        ["api"] => json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [
                { "clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1" },
            ],
        }),
        ["apis"] => {
            let groups: Vec<Value> =
                groups.iter().map(|(name, version)| group(name, version)).collect();
            json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
        }
        ["apis", name] => {
            let (name, version) =
                groups.iter().find(|(known, _)| known == name).ok_or_else(ApiError::no_resource)?;
            let mut group = group(name, version);
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            group
        }
        ["api", "v1"] => resources(version, kinds, "", "v1"),
        ["apis", group, of] if serves(group, of) => resources(version, kinds, group, of),
        ["openapi", "v3"] => schema_index(),
        ["openapi", "v3", "api", "v1"] => schema("", "v1"),
        ["openapi", "v3", "apis", group, of] if GROUPS.contains(&(group, of)) => schema(group, of),
        _ => return Err(ApiError::no_resource()),
    };
    read_only(verb, Json(found))
}

/// All groups beside the core group, and their version.
fn groups(kinds: &[CustomKind]) -> Vec<(&str, &str)> {
    let mut groups = GROUPS.to_vec();
    for kind in kinds.iter().filter(|kind| !kind.group.is_empty()) {
        let custom = (kind.group.as_str(), kind.version.as_str());
        if !groups.contains(&custom) {
            groups.push(custom);
        }
    }
    groups
}

fn read_only(verb: &str, answer: impl IntoResponse) -> Result<Response, ApiError> {
    if verb == "get" { Ok(answer.into_response()) } else { Err(ApiError::method_not_allowed()) }
}

fn release(version: ServerVersion) -> Value {
    json!({
        "major": "1", "minor": version.minor(), "gitVersion": version.git_version(),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "2026-01-01T00:00:00Z",
        "goVersion": "", "compiler": "",
        "platform": "linux/amd64",
    })
}

fn group(name: &str, version: &str) -> Value {
    let version = json!({ "groupVersion": format!("{name}/{version}"), "version": version });
    json!({ "name": name, "versions": [version], "preferredVersion": version })
}

fn resources(server: ServerVersion, kinds: &[CustomKind], group: &str, version: &str) -> Value {
    let group_version =
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let mut resources: Vec<Value> = if group == metrics::GROUP {
        metrics::resources()
    } else {
        ALL.iter()
            .filter(|known| known.group == group)
            .flat_map(|known| described(server, known))
            .collect()
    };
    let custom = kinds.iter().filter(|kind| kind.group == group && kind.version == version);
    resources.extend(custom.map(|kind| {
        json!({
            "name": kind.plural, "singularName": kind.kind.to_lowercase(), "namespaced": true,
            "kind": kind.kind, "verbs": ["create", "delete", "get", "list", "patch", "update"],
        })
    }));
    json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version,
        "resources": resources,
    })
}

fn described(server: ServerVersion, known: &'static Description) -> Vec<Value> {
    let Description { plural, singular, kind, namespaced, short_names, categories, .. } = *known;
    let mut main = json!({
        "name": plural, "singularName": singular, "namespaced": namespaced, "kind": kind,
        "verbs": verbs(known),
    });
    for (field, names) in [("shortNames", short_names), ("categories", categories)] {
        if !names.is_empty() {
            main[field] = names.into();
        }
    }
    let subresources =
        known.subresources.iter().filter(|(name, _)| serves(server, known.resource, name));
    let subresources = subresources.map(|(name, verbs)| {
        let mut subresource = json!({
            "name": format!("{plural}/{name}"), "singularName": "", "namespaced": namespaced,
            "kind": kind, "verbs": verbs,
        });
        let (group, version, kind) = match *name {
            "scale" => ("autoscaling", "v1", "Scale"),
            "eviction" => ("policy", "v1", "Eviction"),
            _ => return subresource,
        };
        subresource["group"] = group.into();
        subresource["version"] = version.into();
        subresource["kind"] = kind.into();
        subresource
    });
    std::iter::once(main).chain(subresources).collect()
}

/// Nodes come with their kubelets: nobody creates them here.
pub fn verbs(known: &Description) -> Vec<&'static str> {
    VERBS
        .into_iter()
        .filter(|verb| *verb != "create" || known.resource != Resource::Nodes)
        .collect()
}

/// Whether a release has a subresource.
pub fn serves(version: ServerVersion, resource: Resource, subresource: &str) -> bool {
    let known = resource.describe().subresources.iter().any(|(name, _)| *name == subresource);
    known && (subresource != "resize" || version >= ServerVersion::V1_33)
}

/// Of its schemas kubectl needs only to know that the server checks fields itself.
fn schema_index() -> Value {
    let paths = GROUPS
        .iter()
        .map(|(group, version)| format!("apis/{group}/{version}"))
        .chain(["api/v1".to_owned()]);
    let entry = |path: String| {
        let url = json!({ "serverRelativeURL": format!("/openapi/v3/{path}") });
        (path, url)
    };
    json!({ "paths": paths.map(entry).collect::<serde_json::Map<_, _>>() })
}

fn schema(group: &str, version: &str) -> Value {
    let parameter =
        |name: &str| json!({ "name": name, "in": "query", "schema": { "type": "string" } });
    let path = |known: &Description| {
        let base = if group.is_empty() {
            "/api/v1".to_owned()
        } else {
            format!("/apis/{group}/{version}")
        };
        let namespace = if known.namespaced { "/namespaces/{namespace}" } else { "" };
        let patch = json!({
            "parameters": [parameter("dryRun"), parameter("fieldValidation")],
            "responses": {},
            "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": {
                "group": group, "version": version, "kind": known.kind,
            },
        });
        (format!("{base}{namespace}/{}/{{name}}", known.plural), json!({ "patch": patch }))
    };
    let paths: serde_json::Map<_, _> =
        ALL.iter().filter(|known| known.group == group).map(path).collect();
    json!({
        "openapi": "3.0.0",
        "info": { "title": "Kubernetes", "version": "simulated" },
        "paths": paths,
        "components": { "schemas": {} },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resize_is_served_since_1_33() {
        let names = |version| {
            let resources =
                resources(version, &[], "", "v1")["resources"].as_array().unwrap().clone();
            resources
                .iter()
                .map(|resource| resource["name"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert!(names(ServerVersion::V1_33).contains(&"pods/resize".to_owned()));
        assert!(!names(ServerVersion::V1_27).contains(&"pods/resize".to_owned()));
    }
}
