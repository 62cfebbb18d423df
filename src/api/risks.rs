//! Containers that are in danger: near their limit, killed for memory lately, or not to be resized.

use serde::Serialize;
use utoipa::ToSchema;

use crate::core::context::OwnedPod;
use crate::core::outcome::Status;
use crate::core::pod::{Pod, ResizeState};
use crate::core::words;
use crate::scaler::pod_status::Latest;

/// A kill is one of lately for so many seconds.
const LATELY: i64 = 24 * 3600;

#[derive(Serialize, ToSchema)]
pub struct Risk {
    #[schema(example = "data")]
    namespace: String,
    #[schema(example = "postgres-0")]
    pod_name: String,
    /// Empty where the pod as a whole is meant.
    #[schema(example = "postgres")]
    container: String,
    kind: RiskKind,
    /// In words.
    #[schema(example = "95 % of its memory limit is in use")]
    why: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RiskKind {
    NearLimit,
    Killed,
    NotResized,
}

pub fn of(owned: &OwnedPod, latest: Option<&Latest>, now: i64) -> Vec<Risk> {
    let pod = &owned.pod;
    let risk = |container: &str, kind, why| Risk {
        namespace: pod.key.namespace.clone(),
        pod_name: pod.key.name.clone(),
        container: container.to_owned(),
        kind,
        why,
    };
    let mut risks = Vec::new();
    for (container, state) in pod.containers.iter().zip(&pod.states) {
        let killed = state.oom_kill.map(|kill| now - kill.finished_at);
        if let Some(age) = killed.filter(|age| *age < LATELY) {
            let why = format!("killed for memory {}", words::ago(age));
            risks.push(risk(&container.name, RiskKind::Killed, why));
        }
    }
    for near in latest.and_then(|latest| latest.near.as_deref()).unwrap_or_default() {
        let (share, resource) = (near.share * 100.0, words::label(near.resource));
        let why = format!("{share:.0} % of its {resource} limit is in use");
        risks.push(risk(&near.container, RiskKind::NearLimit, why));
    }
    risks.extend(not_resized(pod, latest).map(|why| risk("", RiskKind::NotResized, why)));
    risks
}

fn not_resized(pod: &Pod, latest: Option<&Latest>) -> Option<String> {
    if let Some(condition) = &pod.resize
        && condition.state != ResizeState::InProgress
    {
        return Some(format!("could not be resized: {}", condition.message));
    }
    let last = latest.map(|latest| &latest.last).filter(|last| last.status == Status::Failed)?;
    let why = last.remark.as_deref().unwrap_or("the resize failed");
    Some(format!("could not be resized: {why}"))
}
