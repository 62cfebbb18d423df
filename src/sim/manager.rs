//! Managed fields: which writer last changed which resources of a pod, and when.

use serde_json::{Map, Value, json};

use super::json;
use super::patch::PatchType;

/// Who writes, and through which subresource.
pub struct Manager {
    name: String,
    subresource: String,
}

impl Manager {
    /// As the client calls itself, else the first part of its user agent.
    pub fn new(given: &str, user_agent: &str, subresource: &str) -> Self {
        let name =
            if given.is_empty() { user_agent.split('/').next().unwrap_or_default() } else { given };
        Self { name: name.to_owned(), subresource: subresource.to_owned() }
    }

    /// Notes in `new` what of the containers' resources this writer has changed since `old`.
    pub fn note(&self, old: &Value, new: &mut Value, time: &str) {
        let fields = changed(old, new);
        if fields.is_empty() {
            return;
        }
        let metadata = json::object(new, &["metadata"]);
        let entries = metadata.entry("managedFields").or_insert_with(|| json!([]));
        let Some(entries) = entries.as_array_mut() else { return };
        let ours = |entry: &Value| {
            entry["manager"] == self.name && json::text(entry, "/subresource") == self.subresource
        };
        let index = entries.iter().position(ours).unwrap_or_else(|| {
            let mut entry = json!({
                "manager": self.name, "operation": "Update", "apiVersion": "v1",
                "fieldsType": "FieldsV1", "fieldsV1": {},
            });
            if !self.subresource.is_empty() {
                entry["subresource"] = self.subresource.as_str().into();
            }
            entries.push(entry);
            entries.len() - 1
        });
        entries[index]["time"] = time.into();
        // Merging sets of fields cannot fail: they are objects of objects.
        let _ =
            PatchType::Merge.apply(&mut entries[index]["fieldsV1"], &json!({ "f:spec": fields }));
    }
}

/// The changed requests and limits, as FieldsV1 names them.
fn changed(old: &Value, new: &Value) -> Map<String, Value> {
    let mut fields = Map::new();
    for kind in ["containers", "initContainers"] {
        let pointer = format!("/spec/{kind}");
        for (old, new) in json::items(old, &pointer).iter().zip(json::items(new, &pointer)) {
            for part in ["requests", "limits"] {
                let (old, now) = (&old["resources"][part], &new["resources"][part]);
                for (resource, _) in now
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter(|(name, value)| old[*name] != **value)
                {
                    let container = format!("k:{}", json!({ "name": new["name"] }));
                    let field = json!({ (format!("f:{kind}")): { (container): {
                        "f:resources": { (format!("f:{part}")): { (format!("f:{resource}")): {} } }
                    } } });
                    let mut merged = Value::Object(std::mem::take(&mut fields));
                    let _ = PatchType::Merge.apply(&mut merged, &field);
                    fields = merged.as_object().cloned().unwrap_or_default();
                }
            }
        }
    }
    fields
}
