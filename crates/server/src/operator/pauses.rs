//! Terminals that the operator pauses and resumes.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::IntoResponse as _;
use jiff::Timestamp;
use serde_json::json;

use super::{Answer, OperatorState, Refused, stopping};
use crate::plan::{self, Question};

/// Calls a terminal no more until it is resumed. It keeps its key and what waits; what it asks for on calls and sessions of
/// its own it is given.
pub(super) async fn pause_terminal(
    State(state): State<OperatorState>,
    Path(name): Path<String>,
) -> Answer {
    let terminal = state.named(&name).await?;
    let was_paused = !state.store.pause(terminal.id, Timestamp::now()).await?;
    plan::ask(&state.questions, |answer| {
        Question::Paused(terminal.id, answer)
    })
    .await
    .ok_or_else(stopping)?;
    if !was_paused {
        tracing::info!(terminal = %terminal.name, "paused by the operator");
    }
    // A call that is under way goes on: whoever wants it ended says so.
    let terminal = state.named(&name).await?;
    let call = terminal.connection.call().map(|call| call.to_string());
    let waiting = state.store.waiting(terminal.id).await?;
    Ok(
        Json(json!({ "name": name, "was_paused": was_paused, "call": call, "waiting": waiting }))
            .into_response(),
    )
}

/// Has a terminal called again that was paused, or whose calls failed for days.
pub(super) async fn resume_terminal(
    State(state): State<OperatorState>,
    Path(name): Path<String>,
) -> Answer {
    let terminal = state.named(&name).await?;
    let trust = state.store.trust(terminal.id, Timestamp::now()).await?;
    if let Some(at) = trust.shut_out_at {
        let again = match terminal.trusted_by.stock() {
            Some(_) => format!(
                "remove it and add it again: ringup terminal remove {name}, terminal add {name}"
            ),
            None => format!("invite it first: ringup terminal invite {name} --caller NUMBER"),
        };
        let detail = format!(
            "{name} is shut out since {at}, and is not called: its key is forgotten; {again}"
        );
        return Err(Refused::conflict("name", detail));
    }
    let was_paused = state.store.end_pause(terminal.id).await?;
    let resumed = terminal.clone();
    plan::ask(&state.questions, |answer| Question::Resume(resumed, answer))
        .await
        .ok_or_else(stopping)?;
    let standing = state
        .store
        .standing(terminal.id, Timestamp::now())
        .await?
        .map(|standing| standing.as_str());
    let waiting = state.store.waiting(terminal.id).await?;
    let number = terminal.number.is_some();
    Ok(Json(json!({
        "name": name,
        "was_paused": was_paused,
        "trust": standing,
        "has_number": number,
        "waiting": waiting,
    }))
    .into_response())
}
