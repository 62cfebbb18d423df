//! The types that options have: how each is written in the environment, on the command line, in
//! JSON and in the documents.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error};
use serde_json::Value;
use utoipa::PartialSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{Object, Schema, SchemaType, Type};

pub(super) trait OptionValue: DeserializeOwned {
    /// What is said of a value of another type in `POST /config`.
    const WANTED: &'static str;

    /// The argument, with what its type makes of it.
    fn argument(argument: Arg) -> Arg;

    /// What has been given, if it has.
    fn given(matches: &mut ArgMatches, name: &str) -> Option<Self>;

    /// As the environment writes it.
    fn text(&self) -> String;

    fn json_schema() -> RefOr<Schema>;

    fn number(&self) -> Option<f64> {
        None
    }

    /// What is not set is left to something else.
    fn is_set(&self) -> bool {
        true
    }

    fn entries(&self) -> &[String] {
        &[]
    }
}

impl OptionValue for bool {
    const WANTED: &'static str = "must be true or false";

    fn argument(argument: Arg) -> Arg {
        argument.value_parser(boolean).num_args(0..=1).default_missing_value("true")
    }

    fn given(matches: &mut ArgMatches, name: &str) -> Option<Self> {
        matches.remove_one(name)
    }

    fn text(&self) -> String {
        self.to_string()
    }

    fn json_schema() -> RefOr<Schema> {
        <Self as PartialSchema>::schema()
    }
}

macro_rules! numbers {
    ($($type:ty: $wanted:literal),+) => {
        $(impl OptionValue for $type {
            const WANTED: &'static str = $wanted;

            fn argument(argument: Arg) -> Arg {
                argument.value_parser(value_parser!($type))
            }

            fn given(matches: &mut ArgMatches, name: &str) -> Option<Self> {
                matches.remove_one(name)
            }

            fn text(&self) -> String {
                // As JSON has it: 8.0 is no whole number.
                format!("{self:?}")
            }

            fn json_schema() -> RefOr<Schema> {
                <Self as PartialSchema>::schema()
            }

            fn number(&self) -> Option<f64> {
                Some(*self as f64)
            }
        })+
    };
}

numbers! {
    u32: "must be a whole number, not negative",
    u64: "must be a whole number, not negative",
    usize: "must be a whole number, not negative",
    f64: "must be a number"
}

impl OptionValue for PathBuf {
    const WANTED: &'static str = "must be a path";

    fn argument(argument: Arg) -> Arg {
        argument.value_parser(value_parser!(PathBuf))
    }

    fn given(matches: &mut ArgMatches, name: &str) -> Option<Self> {
        matches.remove_one(name)
    }

    fn text(&self) -> String {
        self.display().to_string()
    }

    fn json_schema() -> RefOr<Schema> {
        String::schema()
    }
}

impl OptionValue for String {
    const WANTED: &'static str = "must be text";

    fn argument(argument: Arg) -> Arg {
        argument
    }

    fn given(matches: &mut ArgMatches, name: &str) -> Option<Self> {
        matches.remove_one(name)
    }

    fn text(&self) -> String {
        self.clone()
    }

    fn json_schema() -> RefOr<Schema> {
        <Self as PartialSchema>::schema()
    }
}

impl OptionValue for Vec<String> {
    const WANTED: &'static str = "must be an array of strings";

    fn argument(argument: Arg) -> Arg {
        let trimmed = |text: &str| Ok::<_, Infallible>(text.trim().to_owned());
        argument
            .value_name("NAME,…")
            .value_parser(ValueParser::new(trimmed))
            .value_delimiter(',')
            .action(ArgAction::Append)
    }

    fn given(matches: &mut ArgMatches, name: &str) -> Option<Self> {
        matches.remove_many(name).map(Iterator::collect)
    }

    fn text(&self) -> String {
        self.join(",")
    }

    fn json_schema() -> RefOr<Schema> {
        <Self as PartialSchema>::schema()
    }

    fn entries(&self) -> &[String] {
        self
    }
}

impl OptionValue for BTreeMap<String, String> {
    const WANTED: &'static str = "must be an object of strings";

    fn argument(argument: Arg) -> Arg {
        argument.value_name("KEY=VALUE,…").value_parser(labels)
    }

    fn given(matches: &mut ArgMatches, name: &str) -> Option<Self> {
        matches.remove_one(name)
    }

    fn text(&self) -> String {
        let pairs = self.iter().map(|(key, value)| format!("{key}={value}"));
        pairs.collect::<Vec<_>>().join(",")
    }

    fn json_schema() -> RefOr<Schema> {
        <Self as PartialSchema>::schema()
    }
}

impl<T: OptionValue> OptionValue for Option<T> {
    const WANTED: &'static str = T::WANTED;

    fn argument(argument: Arg) -> Arg {
        T::argument(argument)
    }

    fn given(matches: &mut ArgMatches, name: &str) -> Option<Self> {
        T::given(matches, name).map(Some)
    }

    fn text(&self) -> String {
        self.as_ref().map(T::text).unwrap_or_default()
    }

    fn number(&self) -> Option<f64> {
        self.as_ref().and_then(T::number)
    }

    fn is_set(&self) -> bool {
        self.is_some()
    }

    fn json_schema() -> RefOr<Schema> {
        let mut schema = T::json_schema();
        if let RefOr::T(Schema::Object(Object { schema_type, .. })) = &mut schema
            && let SchemaType::Type(of) = schema_type
        {
            *schema_type = SchemaType::Array(vec![of.clone(), Type::Null]);
        }
        schema
    }
}

/// A flag as environments write it.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("must be true or false".into()),
    }
}

fn labels(text: &str) -> Result<BTreeMap<String, String>, String> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                Ok((key.trim().to_owned(), value.trim().to_owned()))
            }
            _ => Err(format!("{pair:?} is not key=value")),
        })
        .collect()
}

/// A field of `POST /config` that is there.
pub(super) fn field<'de, T: OptionValue, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    // As a value first, so that an error names the field and not a part of it.
    let value = Value::deserialize(deserializer)?;
    T::deserialize(value).map(Some).map_err(|_| D::Error::custom(T::WANTED))
}
