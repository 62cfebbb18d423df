//! What can go wrong between this service and the API server, and which call it was.

use std::fmt;

use kube::core::Status;

/// A call as an operator would name it, and as RBAC does: verb, resource, where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub verb: &'static str,
    pub resource: &'static str,
    pub namespace: String,
    pub name: Option<String>,
}

impl Call {
    pub fn on(verb: &'static str, resource: &'static str, namespace: &str, name: &str) -> Self {
        Self { verb, resource, namespace: namespace.into(), name: Some(name.into()) }
    }

    pub fn over(verb: &'static str, resource: &'static str, namespace: &str) -> Self {
        Self { verb, resource, namespace: namespace.into(), name: None }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if let Some(name) = &self.name {
            write!(f, " {name}")?;
        }
        if self.namespace.is_empty() {
            Ok(())
        } else {
            write!(f, " in namespace {}", self.namespace)
        }
    }
}

/// Why a write is not sent.
pub const NOT_LEADING: &str = "this replica does not lead";

/// The leadership was lost over a write.
#[derive(Debug, thiserror::Error)]
#[error("not sent: {NOT_LEADING}")]
pub struct NotLeading;

#[derive(Debug, Clone, thiserror::Error)]
pub enum ClusterError {
    #[error("{call}: not found: {message}")]
    NotFound { call: Call, message: String },
    #[error("{call}: forbidden: the service account lacks the verb {:?} on {:?}: {message}",
        call.verb, call.resource)]
    Forbidden { call: Call, message: String },
    /// By admission or validation: a 403 that is no matter of RBAC, or a 422.
    #[error("{call}: refused ({code}): {message}")]
    Refused { call: Call, code: u16, message: String },
    /// By this node or this server, for what another one may do.
    #[error("{call}: not possible in place: {message}")]
    NotInPlace { call: Call, message: String },
    /// The object is not what the change was meant for.
    #[error("{call}: conflict: {message}")]
    Conflict { call: Call, message: String },
    #[error("{call}: not sent: {why}")]
    NotSent { call: Call, why: &'static str },
    #[error("{call}: {message}")]
    Unavailable { call: Call, message: String },
}

impl ClusterError {
    pub fn from_kube(call: Call, error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                let message = status.message.clone();
                match status.code {
                    404 => Self::NotFound { call, message },
                    code @ (401 | 403) if code == 401 || is_anonymous(&message) => {
                        Self::Unavailable { call, message: format!("not authenticated: {message}") }
                    }
                    403 if is_rbac(&message) => Self::Forbidden { call, message },
                    403 if is_of_node(status) => Self::NotInPlace { call, message },
                    409 => Self::Conflict { call, message },
                    // Policies answer 422 unless they say otherwise, and webhooks what they like.
                    400..=499 if is_denial(&message) => Self::Refused { call, code: 403, message },
                    code @ 400..=499 if code != 429 => Self::Refused { call, code, message },
                    code => Self::Unavailable {
                        call,
                        message: format!("API server answered {code}: {message}"),
                    },
                }
            }
            kube::Error::Service(error) if error.is::<NotLeading>() => {
                Self::NotSent { call, why: NOT_LEADING }
            }
            other => Self::Unavailable { call, message: describe(other) },
        }
    }

    pub fn call(&self) -> &Call {
        match self {
            Self::NotFound { call, .. }
            | Self::Forbidden { call, .. }
            | Self::Refused { call, .. }
            | Self::NotInPlace { call, .. }
            | Self::Conflict { call, .. }
            | Self::NotSent { call, .. }
            | Self::Unavailable { call, .. } => call,
        }
    }

    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

/// What the authorizer writes, and admission plugins never do.
fn is_rbac(message: &str) -> bool {
    message.contains(" cannot ")
}

/// What the API server writes where a webhook or a policy says no.
fn is_denial(message: &str) -> bool {
    message.contains("admission webhook \"") && message.contains(" denied the request")
        || message.contains("ValidatingAdmissionPolicy '") && message.contains(" denied request")
}

/// What the API server itself says of a resize beyond the node's size, since 1.36.
fn is_of_node(status: &Status) -> bool {
    let causes = status.details.as_ref().map(|details| details.causes.as_slice());
    causes.unwrap_or_default().iter().any(|cause| cause.reason == "NodeCapacity")
}

/// No right is missing, the caller is not known (yet): so answers a metrics server that has only
/// just begun.
fn is_anonymous(message: &str) -> bool {
    message.contains("User \"system:anonymous\"")
}

/// An error with its causes, which say more than it does ("connection refused").
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use kube::core::response::{StatusCause, StatusDetails};

    use super::*;

    fn api(code: u16, message: &str) -> ClusterError {
        let status = Status { code, message: message.into(), ..Status::default() };
        ClusterError::from_kube(
            Call::on("patch", "pods/resize", "default", "web"),
            &kube::Error::Api(Box::new(status)),
        )
    }

    #[test]
    fn a_missing_permission_is_told_from_a_full_node() {
        let denied = api(
            403,
            "pods \"web\" is forbidden: User \"x\" cannot patch resource \"pods/resize\" in API \
                group",
        );
        assert!(matches!(denied, ClusterError::Forbidden { .. }));
        let text = denied.to_string();
        assert!(text.contains("\"patch\"") && text.contains("\"pods/resize\""), "{text}");
        let unknown = api(
            403,
            "pods.metrics.k8s.io is forbidden: User \"system:anonymous\" cannot list resource \
                \"pods\"",
        );
        assert!(matches!(unknown, ClusterError::Unavailable { .. }));
        let cause = StatusCause {
            reason: "NodeCapacity".into(),
            message: String::new(),
            field: String::new(),
        };
        let details = StatusDetails {
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes: vec![cause],
            retry_after_seconds: 0,
        };
        let status = Status { code: 403, details: Some(details), ..Status::default() };
        let call = Call::on("patch", "pods/resize", "default", "web");
        let full = ClusterError::from_kube(call, &kube::Error::Api(Box::new(status)));
        assert!(matches!(full, ClusterError::NotInPlace { .. }));
        let quota = api(403, "pods \"web\" is forbidden: exceeded quota: ration");
        assert!(matches!(quota, ClusterError::Refused { code: 403, .. }));
        for denial in [
            "pods \"web\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied \
                request: no",
            "admission webhook \"w.example.test\" denied the request: no",
        ] {
            let denied = api(422, denial);
            assert!(matches!(denied, ClusterError::Refused { code: 403, .. }), "{denied}");
        }
        assert!(matches!(api(422, "Invalid value"), ClusterError::Refused { code: 422, .. }));
        assert!(api(404, "pods \"web\" not found").is_not_found());
        assert!(matches!(api(429, "slow down"), ClusterError::Unavailable { .. }));
        assert!(matches!(api(409, "modified"), ClusterError::Conflict { .. }));
        assert!(
            api(500, "etcd").to_string().contains("patch pods/resize web in namespace default")
        );
    }
}
