//! Faults on purpose: what real API servers, networks and authorizers do to their clients now and
//! then.

use std::future::Future;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, stream};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::log::Log;
use super::status::ApiError;
use super::target::Target;

/// Whom a refusal names that forbids something.
const USER: &str = "system:serviceaccount:default:dqn-scaler";

/// The rules in force, and the log of what has been asked.
///
/// From outside they are set on `/sim/faults`: `GET` shows the rules, `PUT` replaces them, `DELETE`
/// removes them all. The first rule that matches a request and is not used up acts on it:
///
/// ```json
/// [
///   { "verb": "list", "resource": "pods", "count": 2,
///     "effect": { "status": { "code": 429, "retryAfter": 1 } } },
///   { "verb": "patch", "resource": "pods/resize", "namespace": "default", "name": "web",
///     "effect": { "status": { "code": 403 } } },
///   { "group": "metrics.k8s.io", "effect": { "delay": { "milliseconds": 500 } } },
///   { "verb": "get", "resource": "/version", "effect": "hang" },
///   { "verb": "watch", "effect": { "cut": { "milliseconds": 2000 } } },
///   { "verb": "watch", "resource": "pods", "count": 1, "effect": { "gone": {} } }
/// ]
/// ```
///
/// `verb` and `resource` are those of RBAC, `group` is `""` for the core group; without `count` a
/// rule stays until it is removed. `/sim/requests` shows the last requests (`GET`) and forgets them
/// (`DELETE`).
#[derive(Default)]
pub struct Faults {
    rules: Mutex<Vec<Rule>>,
    pub log: Log,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verb: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// `pods`, `pods/resize`, or a path that leads to no resource, such as `/version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How many requests it still acts on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    pub effect: Effect,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Effect {
    /// Refuses, with a `Status` that the API server would give, and changes nothing.
    Status {
        code: u16,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// Seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
    },
    /// Answers late.
    Delay { milliseconds: u64 },
    /// Does what is asked, and breaks the connection off: after a while, or in the middle of the
    /// first piece of the body.
    Cut {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        milliseconds: Option<u64>,
    },
    /// Never answers, and does nothing.
    Hang,
    /// Ends a watch, at once or after a while, with the error that its version is too old.
    Gone {
        #[serde(default)]
        milliseconds: u64,
    },
}

impl Rule {
    /// A rule that acts on every request.
    pub fn new(effect: Effect) -> Self {
        Self {
            verb: None,
            group: None,
            resource: None,
            namespace: None,
            name: None,
            count: None,
            effect,
        }
    }

    pub fn on(self, verb: &str, resource: &str) -> Self {
        Self { verb: Some(verb.to_owned()), resource: Some(resource.to_owned()), ..self }
    }

    /// Only on an API group; `""` is the core group.
    pub fn of_group(self, group: &str) -> Self {
        Self { group: Some(group.to_owned()), ..self }
    }

    pub fn times(self, count: u32) -> Self {
        Self { count: Some(count), ..self }
    }

    fn matches(&self, target: &Target) -> bool {
        let agrees = |wanted: &Option<String>, actual: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == actual)
        };
        self.count != Some(0)
            && agrees(&self.verb, target.verb)
            && agrees(&self.group, &target.group)
            && agrees(&self.resource, &target.full_resource())
            && agrees(&self.namespace, &target.namespace)
            && agrees(&self.name, &target.name)
            && (target.verb == "watch" || !matches!(self.effect, Effect::Gone { .. }))
    }
}

impl Faults {
    pub fn add(&self, rule: Rule) {
        self.rules.lock().push(rule);
    }

    pub fn replace(&self, rules: Vec<Rule>) {
        *self.rules.lock() = rules;
    }

    pub fn rules(&self) -> Vec<Rule> {
        self.rules.lock().clone()
    }

    /// What is to go wrong with a request.
    pub fn strike(&self, target: &Target) -> Option<Effect> {
        let mut rules = self.rules.lock();
        let rule = rules.iter_mut().find(|rule| rule.matches(target))?;
        rule.count = rule.count.map(|count| count - 1);
        Some(rule.effect.clone())
    }
}

impl Effect {
    /// Lets it go wrong.
    pub async fn spoil(self, target: &Target, answer: impl Future<Output = Response>) -> Response {
        match self {
            Self::Status { code, message, retry_after } => {
                refusal(target, code, message, retry_after).into_response()
            }
            Self::Delay { milliseconds } => {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                answer.await
            }
            Self::Hang => std::future::pending().await,
            Self::Cut { milliseconds } => answer.await.map(|body| cut(body, milliseconds)),
            Self::Gone { milliseconds } => {
                let error =
                    ApiError::expired("The resourceVersion for the provided watch is too old.");
                let last = json!({ "type": "ERROR", "object": error.status() });
                let last = stream::iter([Ok::<_, axum::Error>(Bytes::from(format!("{last}\n")))]);
                answer.await.map(|body| Body::from_stream(until(body, milliseconds).chain(last)))
            }
        }
    }
}

fn until(body: Body, milliseconds: u64) -> impl Stream<Item = Result<Bytes, axum::Error>> {
    body.into_data_stream().take_until(tokio::time::sleep(Duration::from_millis(milliseconds)))
}

fn cut(body: Body, milliseconds: Option<u64>) -> Body {
    let broken = || {
        stream::iter([Err(axum::Error::new(std::io::Error::from(
            std::io::ErrorKind::ConnectionReset,
        )))])
    };
    match milliseconds {
        Some(milliseconds) => Body::from_stream(until(body, milliseconds).chain(broken())),
        None => {
            let half = |piece: Result<Bytes, axum::Error>| {
                piece.map(|piece| piece.slice(..piece.len() / 2))
            };
            Body::from_stream(body.into_data_stream().take(1).map(half).chain(broken()))
        }
    }
}

/// The refusal that belongs to a status code.
fn refusal(
    target: &Target,
    code: u16,
    message: Option<String>,
    retry_after: Option<u64>,
) -> ApiError {
    let (reason, usual) = match code {
        401 => ("Unauthorized", "Unauthorized".to_owned()),
        403 => ("Forbidden", forbidden(target)),
        404 => ("NotFound", "the server could not find the requested resource".to_owned()),
        409 => {
            let message = "the object has been modified; please apply your changes to the latest \
                version and try again";
            (
                "Conflict",
                format!(
                    "Operation cannot be fulfilled on {} {:?}: {message}",
                    qualified(target),
                    target.name
                ),
            )
        }
        410 => ("Expired", "The resourceVersion for the provided list is too old.".to_owned()),
        422 => {
            ("Invalid", "the server rejected our request due to an error in our request".to_owned())
        }
        429 => ("TooManyRequests", "Too many requests, please try again later.".to_owned()),
        503 => (
            "ServiceUnavailable",
            "the server is currently unable to handle the request".to_owned(),
        ),
        504 => {
            ("Timeout", "Timeout: request did not complete within the allotted duration".to_owned())
        }
        _ => ("InternalError", "Internal error occurred: etcdserver: leader changed".to_owned()),
    };
    let retry_after = retry_after.or((code == 429).then_some(1));
    let mut error = ApiError::new(code, reason, message.unwrap_or(usual));
    error.details = Some(Box::new(match retry_after {
        Some(seconds) => json!({ "retryAfterSeconds": seconds }),
        None => json!({ "name": target.name, "kind": target.resource }),
    }));
    ApiError { retry_after, ..error }
}

/// The words of the RBAC authorizer.
fn forbidden(target: &Target) -> String {
    if target.is_path() {
        return format!(
            "forbidden: User {USER:?} cannot {} path {:?}",
            target.verb, target.resource
        );
    }
    let subject = match target.name.as_str() {
        "" => qualified(target),
        name => format!("{} {name:?}", qualified(target)),
    };
    let place = match target.namespace.as_str() {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    format!(
        "{subject} is forbidden: User {USER:?} cannot {} resource {:?} in API group {:?} {place}",
        target.verb,
        target.full_resource(),
        target.group
    )
}

/// `pods`, or `deployments.apps`.
fn qualified(target: &Target) -> String {
    if target.group.is_empty() {
        target.resource.clone()
    } else {
        format!("{}.{}", target.resource, target.group)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::*;

    fn target(method: Method, path: &str) -> Target {
        Target::of(&method, &path.parse().unwrap())
    }

    #[test]
    fn a_rule_acts_on_what_it_names_and_as_often_as_it_says() {
        let faults = Faults::default();
        faults.add(Rule::new(Effect::Hang).on("list", "pods").times(1));
        assert_eq!(faults.strike(&target(Method::GET, "/api/v1/pods/x")), None);
        assert_eq!(
            faults.strike(&target(Method::GET, "/api/v1/namespaces/a/pods")),
            Some(Effect::Hang)
        );
        assert_eq!(faults.strike(&target(Method::GET, "/api/v1/namespaces/a/pods")), None);
    }

    #[test]
    fn forbidden_reads_as_rbac_writes_it() {
        let patch = target(Method::PATCH, "/api/v1/namespaces/shop/pods/web/resize");
        let expected = format!(
            "pods \"web\" is forbidden: User \"{USER}\" cannot patch resource \"pods/resize\" in \
                API group \"\" in the namespace \"shop\""
        );
        assert_eq!(forbidden(&patch), expected);
        let list = target(Method::GET, "/apis/apps/v1/deployments");
        assert!(
            forbidden(&list)
                .ends_with("\"deployments\" in API group \"apps\" at the cluster scope")
        );
    }

    #[test]
    fn rules_are_written_in_json() {
        let text = r#"[
            { "verb": "list", "resource": "pods", "count": 2,
              "effect": { "status": { "code": 429, "retryAfter": 1 } } },
            { "effect": "hang" }, { "effect": { "gone": {} } }, { "effect": { "cut": {} } }
        ]"#;
        let rules: Vec<Rule> = serde_json::from_str(text).unwrap();
        assert_eq!(
            rules[0],
            Rule::new(Effect::Status { code: 429, message: None, retry_after: Some(1) })
                .on("list", "pods")
                .times(2)
        );
        assert_eq!(rules[3].effect, Effect::Cut { milliseconds: None });
        assert!(serde_json::from_str::<Rule>(r#"{ "effekt": "hang" }"#).is_err());
    }
}
