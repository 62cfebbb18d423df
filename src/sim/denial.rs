//! Admission by rules of the cluster's owners: webhooks and validating admission policies.

use serde_json::Value;

use super::resources::Resource;
use super::status::ApiError;

/// What is asked of a rule: a write that has been found valid.
#[derive(Debug, Clone, Copy)]
pub struct Review<'a> {
    pub resource: Resource,
    pub operation: Operation,
    /// As it would be stored.
    pub object: &'a Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    /// Of a pod, through its subresource.
    Resize,
}

enum Kind {
    Webhook,
    Policy,
}

type Rule = Box<dyn Fn(&Review) -> Option<String> + Send + Sync>;

/// A rule that denies some writes, and says why.
pub struct Denial {
    name: String,
    kind: Kind,
    rule: Rule,
}

impl Denial {
    /// Of a validating webhook; `rule` gives the reason of a denial.
    pub fn by_webhook(
        name: &str,
        rule: impl Fn(&Review) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.to_owned(), kind: Kind::Webhook, rule: Box::new(rule) }
    }

    /// Of a ValidatingAdmissionPolicy; `rule` gives the reason of a denial.
    pub fn by_policy(
        name: &str,
        rule: impl Fn(&Review) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.to_owned(), kind: Kind::Policy, rule: Box::new(rule) }
    }

    pub fn check(&self, review: &Review) -> Result<(), ApiError> {
        let Some(reason) = (self.rule)(review) else { return Ok(()) };
        let name = &self.name;
        Err(match self.kind {
            Kind::Webhook => {
                let message = format!("admission webhook {name:?} denied the request: {reason}");
                ApiError::new(403, "Forbidden", message)
            }
            Kind::Policy => {
                let why = format!(
                    "ValidatingAdmissionPolicy '{name}' with binding '{name}-binding' denied \
                     request: {reason}"
                );
                let object = review.object["metadata"]["name"].as_str().unwrap_or_default();
                let error = ApiError::forbidden(review.resource, object, &why);
                ApiError { code: 422, reason: "Invalid", ..error }
            }
        })
    }
}
