//! Label and field selectors.

use super::status::ApiError;
use super::store::Object;

/// One requirement on a label.
#[derive(Debug, Clone, PartialEq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// What a list or watch is restricted to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selector {
    labels: Vec<Requirement>,
    /// Field, value, and whether equality is wanted.
    fields: Vec<(String, String, bool)>,
}

const FIELDS: [&str; 12] = [
    "metadata.name",
    "metadata.namespace",
    "spec.nodeName",
    "status.phase",
    "spec.restartPolicy",
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "reason",
    "source",
    "type",
];

impl Selector {
    pub fn parse(labels: &str, fields: &str) -> Result<Self, ApiError> {
        let labels = split(labels).map(requirement).collect::<Result<_, _>>()?;
        let fields = fields
            .split(',')
            .filter(|part| !part.is_empty())
            .map(field)
            .collect::<Result<_, _>>()?;
        Ok(Self { labels, fields })
    }

    pub fn matches(&self, object: &Object) -> bool {
        self.matches_labels(|name| {
            object.labels.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
        }) && self.fields.iter().all(|(name, wanted, equal)| {
            let value = match name.as_str() {
                "metadata.name" => object.key.name.as_str(),
                "metadata.namespace" => object.key.namespace.as_str(),
                name => object
                    .fields
                    .iter()
                    .find(|(key, _)| *key == name)
                    .map_or("", |(_, value)| value),
            };
            (value == wanted) == *equal
        })
    }

    fn matches_labels<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.labels.iter().all(|requirement| match requirement {
            Requirement::In(name, values) => {
                label(name).is_some_and(|value| values.iter().any(|v| v == value))
            }
            Requirement::NotIn(name, values) => {
                label(name).is_none_or(|value| values.iter().all(|v| v != value))
            }
            Requirement::Exists(name) => label(name).is_some(),
            Requirement::Absent(name) => label(name).is_none(),
        })
    }
}

/// The parts between commas outside of parentheses.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    text.split(move |c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}

fn requirement(text: &str) -> Result<Requirement, ApiError> {
    let unreadable =
        || ApiError::bad_request(format!("unable to parse requirement: found '{text}'"));
    let one = |name: &str, value: &str| (name.trim().to_owned(), vec![value.trim().to_owned()]);
    if let Some((name, values)) = text.split_once('(') {
        let values = values.strip_suffix(')').ok_or_else(unreadable)?;
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        return match name.split_whitespace().collect::<Vec<_>>().as_slice() {
            [name, "in"] => Ok(Requirement::In((*name).to_owned(), values)),
            [name, "notin"] => Ok(Requirement::NotIn((*name).to_owned(), values)),
            _ => Err(unreadable()),
        };
    }
    let requirement = if let Some((name, value)) = text.split_once("!=") {
        let (name, values) = one(name, value);
        Requirement::NotIn(name, values)
    } else if let Some((name, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        let (name, values) = one(name, value);
        Requirement::In(name, values)
    } else if let Some(name) = text.strip_prefix('!') {
        Requirement::Absent(name.trim().to_owned())
    } else {
        Requirement::Exists(text.to_owned())
    };
    let (Requirement::In(name, _)
    | Requirement::NotIn(name, _)
    | Requirement::Exists(name)
    | Requirement::Absent(name)) = &requirement;
    if name.is_empty() || name.contains(char::is_whitespace) {
        Err(unreadable())
    } else {
        Ok(requirement)
    }
}

fn field(text: &str) -> Result<(String, String, bool), ApiError> {
    let (name, value, equal) = if let Some((name, value)) = text.split_once("!=") {
        (name, value, false)
    } else if let Some((name, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        (name, value, true)
    } else {
        let message = format!("invalid selector: '{text}'; can't understand '{text}'");
        return Err(ApiError::bad_request(message));
    };
    if !FIELDS.contains(&name) {
        return Err(ApiError::bad_request(format!("field label not supported: {name}")));
    }
    Ok((name.to_owned(), value.to_owned(), equal))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(selector: &str) -> bool {
        let labels = [("app", "web"), ("tier", "front")];
        let selector = Selector::parse(selector, "").unwrap();
        selector.matches_labels(|name| {
            labels.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
        })
    }

    #[test]
    fn labels_are_selected_by_equality_sets_and_presence() {
        for yes in [
            "",
            "app=web",
            "app == web,tier!=back",
            "app in (api, web)",
            "tier notin (back),!gone",
            "app",
            "x!=y",
        ] {
            assert!(matches(yes), "{yes}");
        }
        for no in [
            "app=api",
            "app!=web",
            "app in (api)",
            "tier notin (front,back)",
            "!app",
            "gone",
            "gone in (a)",
        ] {
            assert!(!matches(no), "{no}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        assert_eq!(
            Selector::parse("", "spec.secret=1").unwrap_err().message,
            "field label not supported: spec.secret"
        );
        assert_eq!(Selector::parse("a in b", "").unwrap_err().code, 400);
        assert_eq!(Selector::parse("a of (b)", "").unwrap_err().code, 400);
    }
}
