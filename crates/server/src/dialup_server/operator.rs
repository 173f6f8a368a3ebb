//! What the technician beside the modems can ask of a dial-up server: its lines, its calls, what is wrong. The rest is its information
//! server's.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use line::CallId;
use serde::Deserialize;
use serde_json::json;

use super::DialupConfig;
use super::calls::Calls;
use crate::dialup::{LineEntry, LineState};
use crate::ingest::http::problem;
use model::alarm::AlarmPlace;

#[derive(Clone)]
struct OperatorState {
    calls: Arc<Calls>,
    config: Arc<DialupConfig>,
}

/// The routes: of an information server's those that are about lines and calls.
pub(super) fn router(calls: Arc<Calls>, config: Arc<DialupConfig>) -> Router {
    Router::new()
        .route("/lines", get(list_lines))
        .route("/calls", get(list_calls))
        .route("/calls/{id}/end", post(end_call))
        .route("/alarms", get(list_alarms))
        .fallback(|State(state): State<OperatorState>, uri: Uri| async move {
            let server = &state.config.information;
            let detail = format!(
                "this is a dial-up server, which knows lines, calls and alarms only; ask the information server at {server} for {}",
                uri.path()
            );
            problem(StatusCode::NOT_FOUND, "server", &detail)
        })
        .with_state(OperatorState { calls, config })
}

async fn list_lines(State(state): State<OperatorState>) -> Response {
    let entries = state.config.lines.iter().map(|line| {
        let now = state.calls.line_now(&line.name);
        LineEntry {
            name: line.name.to_string(),
            port: line.port.to_string(),
            state: now
                .as_ref()
                .map_or(LineState::Initialising, |now| now.state),
            fault: now.as_ref().and_then(|now| now.fault.clone()),
            rings_refused: now.map_or(0, |now| now.rings_refused),
        }
    });
    Json(entries.collect::<Vec<_>>()).into_response()
}

#[derive(Deserialize)]
struct Window {
    last: Option<usize>,
    after: Option<String>,
}

/// The calls of this process, newest first.
async fn list_calls(
    State(state): State<OperatorState>,
    Query(Window { last, after }): Query<Window>,
) -> Response {
    let records = state.calls.records();
    let begin = match after.map(|after| after.parse::<CallId>()) {
        None => 0,
        Some(Ok(after)) => records
            .iter()
            .position(|record| record.id == after)
            .map_or(records.len(), |found| found + 1),
        Some(Err(error)) => return problem(StatusCode::BAD_REQUEST, "after", &error.to_string()),
    };
    Json(
        records
            .into_iter()
            .skip(begin)
            .take(last.unwrap_or(100))
            .collect::<Vec<_>>(),
    )
    .into_response()
}

async fn end_call(State(state): State<OperatorState>, Path(id): Path<String>) -> Response {
    let Ok(call) = id.parse::<CallId>() else {
        return problem(
            StatusCode::BAD_REQUEST,
            "id",
            &format!("{id:?} is no call's id"),
        );
    };
    if !state.calls.end_here(call) {
        return problem(
            StatusCode::NOT_FOUND,
            "id",
            &format!("no call {call} is under way here"),
        );
    }
    tracing::info!(%call, "call ended by the operator");
    StatusCode::NO_CONTENT.into_response()
}

/// What is wrong now: a line out of order, no connection to the information server. Cleared alarms are not kept here.
async fn list_alarms(
    State(state): State<OperatorState>,
    Query(Window { last, after }): Query<Window>,
) -> Response {
    let after = match after.map(|after| after.parse::<AlarmPlace>()).transpose() {
        Ok(after) => after,
        Err(error) => return problem(StatusCode::BAD_REQUEST, "after", &error.to_string()),
    };
    let lines = state.config.lines.iter().filter_map(|line| {
        let now = state
            .calls
            .line_now(&line.name)
            .filter(|now| now.state == LineState::OutOfOrder)?;
        let fault = now.fault.unwrap_or_else(|| "out of order".to_owned());
        let detail = format!(
            "{}: {fault}; it is tried again every half minute",
            line.port
        );
        let place = AlarmPlace {
            raised_at: now.since,
            kind: "line-out-of-order".to_owned(),
            subject: line.name.to_string(),
        };
        Some((place, detail))
    });
    let trunk = state.calls.without_trunk_since().map(|since| {
        let detail = "no connection to the information server: no call is placed or answered; see the log for why";
        let subject = state.config.information.to_string();
        (AlarmPlace { raised_at: since, kind: "information-server-lost".to_owned(), subject }, detail.to_owned())
    });
    let alarms = AlarmPlace::page(
        lines.chain(trunk).collect(),
        after.as_ref(),
        last.unwrap_or(100),
        |(place, _)| place.clone(),
    );
    let shown = alarms.iter().map(|(AlarmPlace { raised_at, kind, subject }, detail)| {
        json!({ "kind": kind, "subject": subject, "detail": detail, "raised_at": raised_at, "cleared_at": null })
    });
    Json(shown.collect::<Vec<_>>()).into_response()
}
