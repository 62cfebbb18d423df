//! The forms in which an object can be asked for: as it is, its metadata alone, or as a row of a
//! table for kubectl.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::request::Call;
use super::table;
use crate::sim::resources::Resource;
use crate::sim::store::Object;

pub const META: &str = "meta.k8s.io/v1";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Whole,
    Metadata,
    Table,
}

/// Which part of the object goes with its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Include {
    Nothing,
    Metadata,
    Whole,
}

#[derive(Debug, Clone, Copy)]
pub struct Form {
    resource: Resource,
    shape: Shape,
    include: Include,
    /// Ages are as of this moment.
    now: DateTime<Utc>,
}

impl Form {
    /// The first form that the client accepts.
    pub fn of(call: &Call, resource: Resource, now: DateTime<Utc>) -> Self {
        let shape = call.header(header::ACCEPT).split(',').find_map(|accepted| {
            let mut parts = accepted.split(';').map(str::trim);
            if !matches!(parts.next()?, "application/json" | "*/*" | "application/*") {
                return None;
            }
            match parts.find_map(|part| part.strip_prefix("as=")) {
                None => Some(Shape::Whole),
                Some("Table") => Some(Shape::Table),
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") => {
                    Some(Shape::Metadata)
                }
                Some(_) => None,
            }
        });
        let include = match call.parameters.include_object.as_str() {
            "None" => Include::Nothing,
            "Object" => Include::Whole,
            _ => Include::Metadata,
        };
        Self { resource, shape: shape.unwrap_or(Shape::Whole), include, now }
    }

    /// The same form at another moment.
    pub fn at(self, now: DateTime<Utc>) -> Self {
        Self { now, ..self }
    }

    /// An object that stands alone.
    pub fn object(&self, object: &Bytes) -> Bytes {
        match self.shape {
            Shape::Table => {
                [self.table_start("", ""), self.item(object), Bytes::from_static(b"]}")]
                    .concat()
                    .into()
            }
            _ => self.item(object),
        }
    }

    /// An object within a list.
    fn item(&self, object: &Bytes) -> Bytes {
        if self.shape == Shape::Whole {
            return object.clone();
        }
        let object: Value = serde_json::from_slice(object).unwrap_or_default();
        if self.shape == Shape::Metadata {
            return metadata(&object).to_string().into();
        }
        let mut row = json!({ "cells": table::cells(self.resource, &object, self.now) });
        match self.include {
            Include::Nothing => {}
            Include::Metadata => row["object"] = metadata(&object),
            Include::Whole => row["object"] = object,
        }
        row.to_string().into()
    }

    /// A list of objects at a version.
    pub fn list(self, objects: Vec<Arc<Object>>, version: u64, continue_from: &str) -> Response {
        let version = version.to_string();
        let start = match self.shape {
            Shape::Whole => {
                let kind = format!("{}List", self.resource.describe().kind);
                list_start(&kind, &self.resource.api_version(), &version, continue_from)
            }
            Shape::Metadata => {
                list_start("PartialObjectMetadataList", META, &version, continue_from)
            }
            Shape::Table => self.table_start(&version, continue_from),
        };
        list(start, objects.into_iter().map(move |object| self.item(&object.json)))
    }

    fn table_start(&self, version: &str, continue_from: &str) -> Bytes {
        let columns = table::columns(self.resource);
        format!(
            r#"{},"columnDefinitions":{columns},"rows":["#,
            opened("Table", META, version, continue_from)
        )
        .into()
    }
}

/// A list up to its first item.
pub fn list_start(kind: &str, api_version: &str, version: &str, continue_from: &str) -> Bytes {
    format!(r#"{},"items":["#, opened(kind, api_version, version, continue_from)).into()
}

fn opened(kind: &str, api_version: &str, version: &str, continue_from: &str) -> String {
    let mut metadata = json!({ "resourceVersion": version });
    if !continue_from.is_empty() {
        metadata["continue"] = continue_from.into();
    }
    format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{metadata}"#)
}

/// A response with a list that begins with `head`.
pub fn list(head: Bytes, items: impl Iterator<Item = Bytes> + Send + 'static) -> Response {
    let comma = Bytes::from_static(b",\n");
    let items = items
        .enumerate()
        .flat_map(move |(index, item)| [(index > 0).then(|| comma.clone()), Some(item)]);
    let parts = std::iter::once(head).chain(items.flatten()).chain([Bytes::from_static(b"]}\n")]);
    ([(header::CONTENT_TYPE, "application/json")], in_pieces(parts)).into_response()
}

/// Bytes in a piece of a long body.
const PIECE: usize = 128 * 1024;

/// A body that is put together while it is sent: a long list neither lies in memory as a whole nor
/// holds up a worker.
fn in_pieces(parts: impl Iterator<Item = Bytes> + Send + 'static) -> Body {
    Body::from_stream(futures::stream::unfold(parts, |mut parts| async move {
        let mut piece = BytesMut::new();
        while piece.len() < PIECE
            && let Some(part) = parts.next()
        {
            piece.extend_from_slice(&part);
        }
        tokio::task::yield_now().await;
        (!piece.is_empty()).then(|| (Ok::<_, Infallible>(piece.freeze()), parts))
    }))
}

pub fn metadata(object: &Value) -> Value {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": META, "metadata": object["metadata"] })
}
