//! Which values an option may have: checked, documented and part of the OpenAPI document.

use std::fmt::{Display, Formatter};

use utoipa::Number;
use utoipa::openapi::schema::{ArrayItems, Object, Schema};
use utoipa::openapi::{Array, RefOr};

use super::value::OptionValue;
use crate::core::names::is_dns_label;

pub(super) enum Allowed {
    /// Both ends are allowed.
    Range { least: f64, most: f64, unit: &'static str },
    /// Neither end is allowed.
    Between { least: f64, most: f64 },
    /// One value, and what it stands for.
    Only { value: f64, meaning: &'static str },
    /// So many entries, each of which is checked.
    List { fewest: usize, most: usize, each: Entry },
}

/// What a list holds.
pub(super) struct Entry {
    pub name: &'static str,
    pub pattern: Option<&'static str>,
    pub check: fn(&str) -> Result<(), String>,
}

pub(super) fn from_to(least: impl Into<f64>, most: impl Into<f64>, unit: &'static str) -> Allowed {
    Allowed::Range { least: least.into(), most: most.into(), unit }
}

pub(super) fn between(least: impl Into<f64>, most: impl Into<f64>) -> Allowed {
    Allowed::Between { least: least.into(), most: most.into() }
}

pub(super) fn only(value: impl Into<f64>, meaning: &'static str) -> Allowed {
    Allowed::Only { value: value.into(), meaning }
}

pub(super) fn namespaces(fewest: usize, most: usize) -> Allowed {
    let each = Entry {
        name: "namespace",
        pattern: Some("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"),
        check: namespace,
    };
    Allowed::List { fewest, most, each }
}

pub(super) fn origins(fewest: usize, most: usize) -> Allowed {
    Allowed::List { fewest, most, each: Entry { name: "origin", pattern: None, check: origin } }
}

/// Types of addresses of a node.
pub(super) fn address_types() -> Allowed {
    let each = Entry { name: "type", pattern: None, check: address_type };
    Allowed::List { fewest: 1, most: ADDRESS_TYPES.len(), each }
}

const ADDRESS_TYPES: [&str; 5] =
    ["InternalIP", "ExternalIP", "Hostname", "InternalDNS", "ExternalDNS"];

fn address_type(text: &str) -> Result<(), String> {
    match ADDRESS_TYPES.contains(&text) {
        true => Ok(()),
        false => Err(format!("{text:?} is none of {}", ADDRESS_TYPES.join(", "))),
    }
}

fn namespace(name: &str) -> Result<(), String> {
    if is_dns_label(name) { Ok(()) } else { Err(format!("{name:?} is not a valid namespace name")) }
}

/// As a browser writes it, or it would never be equal to one: nothing after the host and the port.
fn origin(text: &str) -> Result<(), String> {
    if text == "*" {
        return Ok(());
    }
    let uri = text.parse::<http::Uri>().ok();
    let parts = uri.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.authority()?)));
    let Some((scheme, authority)) =
        parts.filter(|(scheme, authority)| format!("{scheme}://{authority}") == text)
    else {
        let forms = "neither * nor scheme://host or scheme://host:port";
        return Err(format!("{text:?} is {forms}"));
    };
    let default_port = match scheme {
        "http" => Some(":80"),
        "https" => Some(":443"),
        _ => None,
    };
    let reason = if text.contains('*') {
        "a * stands for all origins, alone, and for no part of one"
    } else if authority.as_str().contains('@') {
        "an origin has no user"
    } else if text.chars().any(char::is_uppercase) {
        "browsers write an origin in lower case"
    } else if default_port.is_some_and(|port| authority.as_str().ends_with(port)) {
        "browsers leave the usual port out"
    } else if authority.as_str().ends_with(':') || authority.as_str().starts_with(':') {
        "it lacks the host or the port"
    } else {
        return Ok(());
    };
    Err(format!("{text:?} never matches: {reason}"))
}

impl Allowed {
    pub(super) fn check(&self, value: &impl OptionValue) -> Result<(), String> {
        if !value.is_set() {
            return Ok(());
        }
        let number = value.number().unwrap_or(f64::NAN);
        match self {
            Self::Range { least, most, .. } if !(*least..=*most).contains(&number) => {
                Err(format!("must be from {least} to {most}{}", self.unit()))
            }
            Self::Between { least, most } if !(number > *least && number < *most) => {
                Err(format!("must be above {least} and below {most}"))
            }
            Self::Only { value, meaning } if number != *value => {
                Err(format!("must be {value}: {meaning}"))
            }
            Self::List { fewest, most, each } => {
                let entries = value.entries();
                if entries.len() < *fewest {
                    return Err(format!("must name at least one {}", each.name));
                }
                if entries.len() > *most {
                    return Err(format!("must name at most {most} {}s", each.name));
                }
                entries.iter().try_for_each(|entry| (each.check)(entry))
            }
            _ => Ok(()),
        }
    }

    fn unit(&self) -> String {
        match self {
            Self::Range { unit, .. } if !unit.is_empty() => format!(" {unit}"),
            _ => String::new(),
        }
    }

    /// Tells a client of it.
    pub(super) fn restrict(&self, schema: &mut Schema) {
        match (self, schema) {
            (Self::Range { least, most, .. }, Schema::Object(object)) => {
                (object.minimum, object.maximum) =
                    (Some(Number::Float(*least)), Some(Number::Float(*most)));
            }
            (Self::Between { least, most }, Schema::Object(object)) => {
                object.exclusive_minimum = Some(Number::Float(*least));
                object.exclusive_maximum = Some(Number::Float(*most));
            }
            (Self::Only { value, .. }, Schema::Object(object)) => {
                (object.minimum, object.maximum) =
                    (Some(Number::Float(*value)), Some(Number::Float(*value)));
            }
            (Self::List { fewest, most, each }, Schema::Array(array)) => {
                (array.min_items, array.max_items) = (Some(*fewest), Some(*most));
                restrict_entries(array, each.pattern);
            }
            _ => {}
        }
    }
}

fn restrict_entries(array: &mut Array, pattern: Option<&str>) {
    if let ArrayItems::RefOrSchema(items) = &mut array.items
        && let RefOr::T(Schema::Object(Object { pattern: of, .. })) = items.as_mut()
    {
        *of = pattern.map(str::to_owned);
    }
}

/// As the documents show it.
impl Display for Allowed {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Range { least, most, .. } => {
                write!(f, "{least} to {most}{}", self.unit())
            }
            Self::Between { least, most } => write!(f, "above {least}, below {most}"),
            Self::Only { value, .. } => write!(f, "{value}"),
            Self::List { fewest, most, each } => write!(f, "{fewest} to {most} {}s", each.name),
        }
    }
}
