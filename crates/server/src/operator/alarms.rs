//! The operator's questions about alarms.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use serde::Deserialize;

use super::{Answer, Desk, LIST_LAST, Refused, parse};
use crate::alarms::{AlarmKind, alarm_json};

/// Those that stand; with `?all` the last hundred, whether they stand or not.
pub(super) async fn list_alarms(State(desk): State<Desk>, RawQuery(query): RawQuery) -> Answer {
    let alarms = match query.as_deref() {
        None | Some("") => desk.alarms.standing().await,
        Some("all") => desk.store.alarms(LIST_LAST).await?,
        Some(_) => return Err(Refused::bad("query", "only ?all is known here")),
    };
    Ok(Json(alarms.iter().map(alarm_json).collect::<Vec<_>>()).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cleared {
    kind: String,
    subject: String,
}

/// An operator has seen to it. It is raised again if the cause comes again.
pub(super) async fn clear_alarm(State(desk): State<Desk>, body: Result<Json<Cleared>, JsonRejection>) -> Answer {
    let Json(Cleared { kind, subject }) = body?;
    let kind = parse::<AlarmKind>("kind", &kind)?;
    let standing = desk.alarms.standing().await;
    if !standing.iter().any(|alarm| alarm.kind == kind && alarm.subject == subject) {
        return Err(Refused::missing("subject", "no such alarm stands; `ringup alarm list` shows those that do"));
    }
    desk.alarms.clear(kind, subject).await;
    Ok(StatusCode::NO_CONTENT.into_response())
}
