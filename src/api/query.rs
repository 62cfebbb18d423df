//! The values of a query string. An empty one is as none at all.

use std::fmt::Display;

use chrono::{DateTime, Utc};
use serde::de::value::StrDeserializer;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error};
use utoipa::ToSchema;

/// In which direction a list is sorted.
#[derive(Clone, Copy, PartialEq, Eq, serde::Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    Asc,
    Desc,
}

/// What is wrong with a value.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct QueryError(String);

impl Error for QueryError {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        match expected {
            [others @ .., last] if !others.is_empty() => {
                Self(format!("must be {} or {last}", others.join(", ")))
            }
            expected => Self(format!("must be {}", expected.join(", "))),
        }
    }
}

pub fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

pub fn boolean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    match text(deserializer)?.as_deref() {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => Err(D::Error::custom("must be true or false")),
    }
}

pub fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    let number = text(deserializer)?.map(|text| text.trim().parse()).transpose();
    number.map_err(|_| D::Error::custom("must be a whole number, not negative"))
}

/// What is searched for, however it is written.
pub fn search<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(text(deserializer)?.map(|text| text.trim().to_lowercase()))
}

/// How much a page holds: something, and not more than `LARGEST`.
pub fn page_size<'de, D: Deserializer<'de>, const LARGEST: usize>(
    deserializer: D,
) -> Result<Option<usize>, D::Error> {
    let size = whole(deserializer)?;
    if size.is_some_and(|size| !(1..=LARGEST).contains(&size)) {
        return Err(D::Error::custom(format!("must be from 1 to {LARGEST}")));
    }
    Ok(size)
}

pub fn moment<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<DateTime<Utc>>, D::Error> {
    let moment = text(deserializer)?.map(|text| DateTime::parse_from_rfc3339(&text)).transpose();
    let wrong = |_| D::Error::custom("must be a moment as of RFC 3339: 2026-11-25T10:30:00Z");
    Ok(moment.map_err(wrong)?.map(|moment| moment.to_utc()))
}

/// One of several names.
pub fn choice<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text = text(deserializer)?;
    text.map(|text| T::deserialize(StrDeserializer::new(&text))).transpose()
}
