//! Short ways into JSON objects.

use serde_json::{Map, Value};

/// The text at a JSON pointer, or "" where there is none.
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub fn number(value: &Value, pointer: &str) -> Option<i64> {
    value.pointer(pointer).and_then(Value::as_i64)
}

/// The elements of the array at a JSON pointer, or none.
pub fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The object at a path of keys, made where it is missing or something else.
pub fn object<'a>(value: &'a mut Value, path: &[&str]) -> &'a mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match (value, path) {
        (Value::Object(map), []) => map,
        (Value::Object(map), [first, rest @ ..]) => {
            object(map.entry(*first).or_insert(Value::Null), rest)
        }
        _ => unreachable!("made an object above"),
    }
}

/// The array under the last key of a path, made where it is missing or something else.
pub fn array<'a>(value: &'a mut Value, path: &[&str], key: &str) -> &'a mut Vec<Value> {
    let slot = object(value, path).entry(key).or_insert(Value::Null);
    if !slot.is_array() {
        *slot = Value::Array(Vec::new());
    }
    match slot {
        Value::Array(array) => array,
        _ => unreachable!("made an array above"),
    }
}

pub fn set(value: &mut Value, path: &[&str], key: &str, to: impl Into<Value>) {
    object(value, path).insert(key.to_owned(), to.into());
}

pub fn labels(value: &Value) -> impl Iterator<Item = (&str, &str)> {
    let labels = value.pointer("/metadata/labels").and_then(Value::as_object);
    labels.into_iter().flatten().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
}

/// The reference to the controller that owns an object.
pub fn controller(value: &Value) -> Option<&Value> {
    items(value, "/metadata/ownerReferences").iter().find(|owner| owner["controller"] == true)
}
