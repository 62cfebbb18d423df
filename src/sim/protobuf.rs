//! What the API server sends as protobuf where that is asked for: the metrics of pods.

use std::collections::BTreeMap;

use prost::Message;

pub const TYPE: &str = "application/vnd.kubernetes.protobuf";
/// What stands before the envelope.
const MAGIC: &[u8] = b"k8s\0";

#[derive(Message)]
struct Unknown {
    #[prost(message, required, tag = "1")]
    type_meta: TypeMeta,
    #[prost(bytes = "vec", tag = "2")]
    raw: Vec<u8>,
}

#[derive(Message)]
struct TypeMeta {
    #[prost(string, tag = "1")]
    api_version: String,
    #[prost(string, tag = "2")]
    kind: String,
}

#[derive(Message)]
pub struct PodMetricsList {
    #[prost(message, repeated, tag = "2")]
    pub items: Vec<PodMetrics>,
}

#[derive(Message)]
pub struct PodMetrics {
    #[prost(message, required, tag = "1")]
    pub metadata: ObjectMeta,
    #[prost(message, required, tag = "2")]
    pub timestamp: Time,
    #[prost(message, required, tag = "3")]
    pub window: Duration,
    #[prost(message, repeated, tag = "4")]
    pub containers: Vec<ContainerMetrics>,
}

#[derive(Message)]
pub struct ObjectMeta {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub namespace: String,
    #[prost(message, required, tag = "8")]
    pub creation_timestamp: Time,
    #[prost(btree_map = "string, string", tag = "11")]
    pub labels: BTreeMap<String, String>,
}

#[derive(Message)]
pub struct Time {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// In nanoseconds.
#[derive(Message)]
pub struct Duration {
    #[prost(int64, tag = "1")]
    pub duration: i64,
}

#[derive(Message)]
pub struct ContainerMetrics {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(btree_map = "string, message", tag = "2")]
    pub usage: BTreeMap<String, Quantity>,
}

#[derive(PartialEq, Message)]
pub struct Quantity {
    #[prost(string, tag = "1")]
    pub text: String,
}

/// An encoded object as it is sent.
pub fn envelope(api_version: &str, kind: &str, raw: Vec<u8>) -> Vec<u8> {
    let type_meta = TypeMeta { api_version: api_version.into(), kind: kind.into() };
    [MAGIC, &Unknown { type_meta, raw }.encode_to_vec()].concat()
}
