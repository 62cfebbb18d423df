//! JSON merge patch, strategic merge patch and JSON patch.

use json_patch::Patch;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::json;
use super::status::ApiError;

/// How a patch is to be understood, from its content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchType {
    Merge,
    Strategic,
    Json,
}

impl PatchType {
    pub fn of(content_type: &str) -> Result<Self, ApiError> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic),
            "application/json-patch+json" => Ok(Self::Json),
            _ => {
                let accepted = "application/json-patch+json, application/merge-patch+json, \
                    application/strategic-merge-patch+json";
                let message = format!(
                    "the body of the request was in an unknown format - accepted media types \
                        include: {accepted}"
                );
                Err(ApiError::new(415, "UnsupportedMediaType", message))
            }
        }
    }

    pub fn apply(self, target: &mut Value, patch: &Value) -> Result<(), ApiError> {
        match self {
            Self::Merge => json_patch::merge(target, patch),
            Self::Strategic => strategic(target, patch),
            Self::Json => return operations(target, patch),
        }
        Ok(())
    }
}

/// The key that tells the elements of a list apart, by the name of the list's field. Other lists
/// are replaced as a whole.
fn merge_key(field: &str) -> Option<&'static str> {
    match field {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets" => Some("name"),
        "volumeMounts" => Some("mountPath"),
        "volumeDevices" => Some("devicePath"),
        "ports" => Some("containerPort"),
        "conditions" => Some("type"),
        "ownerReferences" => Some("uid"),
        "hostAliases" => Some("ip"),
        "topologySpreadConstraints" => Some("topologyKey"),
        _ => None,
    }
}

fn strategic(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            *target = Value::Object(
                patch.iter().filter(|(key, _)| !key.starts_with('$')).map(clone_pair).collect(),
            );
            return;
        }
        Some("delete") => {
            *target = Value::Object(Map::new());
            return;
        }
        _ => {}
    }
    let target = json::object(target, &[]);
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/") {
            if let (Some(Value::Array(present)), Value::Array(gone)) = (target.get_mut(list), value)
            {
                present.retain(|element| !gone.contains(element));
            }
        } else if key.starts_with('$') {
            // The order of elements and retained keys change nothing that is simulated.
        } else if value.is_null() {
            target.shift_remove(key);
        } else if let (Some(by), Value::Array(elements)) = (merge_key(key), value) {
            match target.entry(key).or_insert_with(|| Value::Array(Vec::new())) {
                Value::Array(present) => merge_list(present, elements, by),
                other => *other = value.clone(),
            }
        } else {
            strategic(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

fn clone_pair((key, value): (&String, &Value)) -> (String, Value) {
    (key.clone(), value.clone())
}

fn merge_list(target: &mut Vec<Value>, patch: &[Value], by: &str) {
    if patch.iter().any(|element| element["$patch"] == "replace") {
        *target = patch.iter().filter(|element| element.get("$patch").is_none()).cloned().collect();
        return;
    }
    for element in patch {
        let place = target
            .iter()
            .position(|present| present.get(by).is_some() && present.get(by) == element.get(by));
        match (place, element["$patch"] == "delete") {
            (Some(place), true) => drop(target.remove(place)),
            (None, true) => {}
            (Some(place), false) => strategic(&mut target[place], element),
            (None, false) => {
                let mut added = Value::Null;
                strategic(&mut added, element);
                target.push(added);
            }
        }
    }
}

/// RFC 6902: all of the operations, or none.
fn operations(target: &mut Value, patch: &Value) -> Result<(), ApiError> {
    let patch = Patch::deserialize(patch)
        .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
    // The API server says nothing of which operation failed.
    let message = "the server rejected our request due to an error in our request";
    json_patch::patch(target, &patch).map_err(|_| ApiError::new(422, "Invalid", message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(kind: PatchType, mut target: Value, patch: Value) -> Value {
        kind.apply(&mut target, &patch).unwrap();
        target
    }

    #[test]
    fn a_merge_patch_replaces_lists_and_a_strategic_one_merges_them() {
        let target =
            json!({ "containers": [{ "name": "a", "image": "x" }, { "name": "b" }], "gone": 1 });
        let patch =
            json!({ "containers": [{ "name": "a", "cpu": null, "memory": 2 }], "gone": null });
        assert_eq!(
            patched(PatchType::Merge, target.clone(), patch.clone()),
            json!({ "containers": [{ "name": "a", "cpu": null, "memory": 2 }] })
        );
        assert_eq!(
            patched(PatchType::Strategic, target, patch),
            json!({ "containers": [{ "name": "a", "image": "x", "memory": 2 }, { "name": "b" }] })
        );
    }

    #[test]
    fn strategic_directives_delete_and_replace() {
        let target = json!({
            "env": [{ "name": "a" }, { "name": "b" }], "tolerations": [1], "labels": { "x": 1 },
        });
        let patch = json!({
            "env": [{ "name": "a", "$patch": "delete" }, { "name": "c" }],
            "$setElementOrder/env": [{ "name": "b" }],
            "tolerations": [2],
            "labels": { "$patch": "replace", "y": 2 },
        });
        assert_eq!(
            patched(PatchType::Strategic, target, patch),
            json!({
                "env": [{ "name": "b" }, { "name": "c" }], "tolerations": [2], "labels": { "y": 2 },
            })
        );
    }

    #[test]
    fn json_patches_apply_in_order_or_not_at_all() {
        let patch = json!([
            { "op": "test", "path": "/a/0", "value": 1 },
            { "op": "add", "path": "/a/-", "value": 3 },
            { "op": "replace", "path": "/a/0", "value": 0 },
            { "op": "move", "from": "/b", "path": "/c~1d" },
        ]);
        let target = json!({ "a": [1, 2], "b": true });
        assert_eq!(
            patched(PatchType::Json, target.clone(), patch),
            json!({ "a": [0, 2, 3], "c/d": true })
        );
        for last in [
            json!({ "op": "remove", "path": "/nothing" }),
            json!({ "op": "test", "path": "/a/1", "value": 3 }),
        ] {
            let patch = json!([{ "op": "add", "path": "/a/-", "value": 3 }, last]);
            let mut unchanged = target.clone();
            assert_eq!(PatchType::Json.apply(&mut unchanged, &patch).unwrap_err().code, 422);
            assert_eq!(unchanged, target);
        }
        let odd = json!([{ "op": "turn", "path": "/a" }]);
        assert_eq!(PatchType::Json.apply(&mut target.clone(), &odd).unwrap_err().code, 400);
    }

    #[test]
    fn other_formats_are_refused() {
        assert_eq!(PatchType::of("application/apply-patch+yaml").unwrap_err().code, 415);
        assert_eq!(
            PatchType::of("application/merge-patch+json; charset=utf-8"),
            Ok(PatchType::Merge)
        );
    }
}
