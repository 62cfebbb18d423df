//! Deciding on pods at a client's wish: one or all.

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::monitoring::{action_distribution, current_metrics, future_predictions, overview};
use super::{ApiError, PodPath, SharedState, cluster, finish};
use crate::clock::rfc3339;
use crate::scaler::action::Resource;
use crate::scaler::decision::Decision;
use crate::scaler::explain::explain;
use crate::scaler::outcome::{Outcome, Status};

pub async fn scale_pod(State(state): SharedState, path: PodPath) -> Result<Json<Value>, ApiError> {
    let cluster = cluster(&state)?;
    let mut outcomes = finish(&state, |state| async move {
        state.scaler.scale_one(&cluster, &state.config(), &path.namespace, &path.name).await
    })
    .await??;
    let outcome = outcomes.pop().ok_or_else(|| ApiError::internal(&"a pod without an outcome"))?;
    let mut result = json!({
        "pod_name": outcome.pod.name,
        "namespace": outcome.pod.namespace,
        "timestamp": rfc3339(state.clock.now()),
    });
    let fields = result.as_object_mut().ok_or_else(|| ApiError::internal(&"an object that is none"))?;
    if let Some(decision) = &outcome.decided {
        describe(fields, decision);
    }
    fields.insert("can_scale".into(), (!matches!(outcome.status, Status::Skipped(_))).into());
    fields.insert("status".into(), outcome.status.name().into());
    fields.insert("applied".into(), matches!(outcome.status, Status::Success(_)).into());
    match outcome.status {
        Status::Skipped(reason) => drop(fields.insert("reason".into(), reason.name().into())),
        Status::Failed => drop(fields.insert("reason".into(), outcome.message.into())),
        Status::Success(method) => drop(fields.insert("scaling_method".into(), method.name().into())),
        _ => {}
    }
    Ok(Json(json!({"success": true, "result": result})))
}

pub fn describe(fields: &mut Map<String, Value>, decision: &Decision) {
    let changes: Map<_, _> = Resource::ALL
        .iter()
        .map(|resource| {
            let (current, new) = (*decision.observation.limit.get(*resource), *decision.new_limit.get(*resource));
            let percent = if current > 0.0 { (new / current - 1.0) * 100.0 } else { 0.0 };
            let action = decision.actions.get(*resource);
            let change = json!({
                "current": rounded(current), "new": rounded(new), "change_percent": rounded(percent), "action": action
            });
            (resource.name().to_owned(), change)
        })
        .collect();
    let predicted = &decision.predicted;
    fields.insert("current_metrics".into(), current_metrics(decision));
    fields.insert(
        "predictions".into(),
        json!({
            "cpu_action": predicted.cpu,
            "memory_action": predicted.memory,
            "cpu_action_index": predicted.cpu.index(),
            "memory_action_index": predicted.memory.index()
        }),
    );
    fields.insert("confidence".into(), json!(decision.confidence));
    fields.insert("future_predictions".into(), future_predictions(decision));
    let q_values = &decision.q_values;
    fields.insert("q_values".into(), json!({"cpu_q_values": q_values.cpu, "memory_q_values": q_values.memory}));
    fields.insert("resource_changes".into(), changes.into());
    let explanation = explain(decision);
    let explained = json!({"reasoning": explanation.reasoning, "factors": explanation.factors});
    fields.insert("explanation".into(), explained);
}

/// Without the tail that binary fractions leave behind.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

pub async fn scale_all(State(state): SharedState) -> Result<Json<Value>, ApiError> {
    let cluster = cluster(&state)?;
    let cycle =
        finish(&state, |state| async move { state.scaler.scale_all(&cluster, &state.config()).await }).await??;
    let results: Vec<_> = cycle.outcomes.iter().map(result).collect();
    let totals = state.scaler.journal.lock().totals();
    Ok(Json(json!({
        "success": true,
        "processed": results.len(),
        "results": results,
        "statistics": {"overview": overview(&state, &totals), "action_distribution": action_distribution(&totals)},
        "timestamp": rfc3339(state.clock.now())
    })))
}

fn result(outcome: &Outcome) -> Value {
    let mut result = json!({
        "pod_name": outcome.pod.name,
        "namespace": outcome.pod.namespace,
        "status": outcome.status.name(),
        "message": outcome.message
    });
    match (&outcome.status, &outcome.decided) {
        (Status::Skipped(reason), _) => result["reason"] = reason.name().into(),
        (_, Some(decision)) => result["actions"] = json!(decision.actions),
        _ => {}
    }
    result
}
