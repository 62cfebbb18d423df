//! The ways in which a request says how an object is to be: a patch, or the object as a whole.

use axum::body::Bytes;
use axum::http::header;
use serde_json::Value;

use super::request::Call;
use super::schema::{self, Undecodable};
use crate::sim::json::{self, set};
use crate::sim::patch::PatchType;
use crate::sim::resources::Resource;
use crate::sim::status::ApiError;

pub enum Edit {
    Patch(PatchType, Value),
    Replace(Value),
}

/// What the server alone writes.
const SERVERS_OWN: [&str; 4] =
    ["creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"];

impl Edit {
    pub fn of(call: &Call) -> Result<Self, ApiError> {
        if call.target.verb == "patch" {
            let kind = PatchType::of(call.header(header::CONTENT_TYPE))?;
            return Ok(Self::Patch(kind, call.parsed()?));
        }
        call.json().map(Self::Replace)
    }

    /// What becomes of `old`, not yet decoded, and after nobody else has changed it.
    pub fn applied(&self, resource: Resource, old: &Value) -> Result<Value, ApiError> {
        let (name, uid) = (json::text(old, "/metadata/name"), json::text(old, "/metadata/uid"));
        let mut new = match self {
            Self::Patch(kind, patch) => {
                let mut new = old.clone();
                kind.apply(&mut new, patch)?;
                new
            }
            Self::Replace(new) => {
                let given = json::text(new, "/metadata/name");
                if given != name {
                    let message = format!(
                        "the name of the object ({given}) does not match the name on the URL \
                            ({name})"
                    );
                    return Err(ApiError::bad_request(message));
                }
                let given = json::text(new, "/metadata/uid");
                if !["", uid].contains(&given) {
                    let why = format!(
                        "Precondition failed: UID in precondition: {given}, UID in object meta: \
                            {uid}"
                    );
                    return Err(ApiError::conflict(resource, name, &why));
                }
                let mut new = new.clone();
                for field in ["uid", "namespace"] {
                    if json::text(&new, &format!("/metadata/{field}")).is_empty()
                        && let Some(value) = old["metadata"].get(field)
                    {
                        set(&mut new, &["metadata"], field, value.clone());
                    }
                }
                new
            }
        };
        let version = json::text(&new, "/metadata/resourceVersion");
        if !version.is_empty() && version != json::text(old, "/metadata/resourceVersion") {
            return Err(ApiError::modified(resource, name));
        }
        set(&mut new, &["metadata"], "resourceVersion", old["metadata"]["resourceVersion"].clone());
        Ok(new)
    }

    /// What becomes of `old`, decoded, with what the server alone writes as it was.
    pub fn decoded(&self, resource: Resource, old: &Value) -> Result<Value, ApiError> {
        let mut new = self.applied(resource, old)?;
        schema::decode(resource, &mut new).map_err(|problem| match self {
            Self::Patch(_, patch) => ApiError::unreadable(&patch.to_string(), &problem.0),
            Self::Replace(_) => not_handled(resource, &problem),
        })?;
        let metadata = json::object(&mut new, &["metadata"]);
        for field in SERVERS_OWN {
            match old["metadata"].get(field) {
                Some(value) => drop(metadata.insert(field.to_owned(), value.clone())),
                None => drop(metadata.shift_remove(field)),
            }
        }
        Ok(new)
    }
}

/// The refusal of a body that is no such object.
pub fn not_handled(resource: Resource, problem: &Undecodable) -> ApiError {
    let kind = resource.describe().kind;
    ApiError::bad_request(format!(
        "{kind} in version {:?} cannot be handled as a {kind}: {}",
        resource.describe().version,
        problem.0
    ))
}

/// An object as it would be answered, had it been stored.
pub fn unstored(object: &Value) -> Bytes {
    object.to_string().into()
}
