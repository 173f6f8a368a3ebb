//! The operator's questions about calls, and the end of one.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use line::CallId;
use serde::Serialize;

use super::{Answer, OperatorState, Refused, Window, parse};
use model::call::CallRecord;

/// A call with what it cost, if it could cost something.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    call: CallRecord,
    cost: Option<api::Cost>,
}

pub(super) async fn list_calls(
    State(state): State<OperatorState>,
    window: Result<Query<Window>, QueryRejection>,
) -> Answer {
    let (last, after) = Window::of(window)?;
    let after = after
        .map(|after| parse::<CallId>("after", &after))
        .transpose()?;
    let calls = state.store.calls_after(last, after).await?;
    let costs = state
        .store
        .costs(calls.iter().map(|call| call.id).collect())
        .await?;
    let shown = calls.into_iter().map(|call| {
        let cost = costs.get(&call.id).map(|cost| api::Cost {
            reserved: cost.reserved.to_string(),
            spent: cost.spent.map(|spent| spent.to_string()),
        });
        Shown { call, cost }
    });
    Ok(Json(shown.collect::<Vec<_>>()).into_response())
}

/// Hangs up a call that is under way, or ends a session over the Internet. The record follows when it is over.
pub(super) async fn end_call(State(state): State<OperatorState>, Path(id): Path<String>) -> Answer {
    let id = parse::<CallId>("id", &id)?;
    if state.dialup.end_call(id) {
        tracing::info!(call = %id, "call ended by the operator");
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Err(match state.store.call(id).await? {
        Some(record) if record.ended_at.is_some() => {
            let outcome = record.outcome.unwrap_or_default();
            Refused::conflict("id", format!("call {id} is over ({outcome})"))
        }
        Some(_) => Refused::conflict("id", format!("call {id} is ending")),
        None => Refused::missing(
            "id",
            format!("there is no call {id}; `ringup call list` shows those there are"),
        ),
    })
}
