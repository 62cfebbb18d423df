//! What Prometheus, or what speaks like it (VictoriaMetrics, Thanos, Mimir), has recorded of
//! containers.

pub mod answer;
pub mod client;
pub mod fetch;
pub mod past;
pub mod pods;
pub mod queries;
