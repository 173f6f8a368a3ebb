//! The operator's questions about alarms.

use api::ClearAlarm;
use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use serde::Deserialize;

use super::{Answer, OperatorState, Refused, Window, parse};
use crate::alarms::alarm_json;
use model::alarm::{AlarmKind, AlarmPlace};

/// `?cleared=true&last=N&after=ALARM`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Cleared alarms, too.
    #[serde(default)]
    cleared: bool,
    last: Option<u32>,
    after: Option<String>,
}

/// The active alarms, the oldest first; with `?cleared=true` all that the store has, the newest first.
pub(super) async fn list_alarms(
    State(state): State<OperatorState>,
    query: Result<Query<Wanted>, QueryRejection>,
) -> Answer {
    let wrong = |_| {
        Refused::bad(
            "query",
            "only ?cleared=true, ?last=N and ?after=ALARM are known here",
        )
    };
    let Query(Wanted {
        cleared,
        last,
        after,
    }) = query.map_err(wrong)?;
    let (last, after) = Window { last, after }.read()?;
    let after = after
        .map(|after| parse::<AlarmPlace>("after", &after))
        .transpose()?;
    let alarms = match cleared {
        true => state.store.alarms_after(last, after).await?,
        false => {
            let last = usize::try_from(last.0).unwrap_or(usize::MAX);
            AlarmPlace::page(
                state.alarms.standing().await,
                after.as_ref(),
                last,
                AlarmPlace::of,
            )
        }
    };
    Ok(Json(alarms.iter().map(alarm_json).collect::<Vec<_>>()).into_response())
}

/// The operator acknowledges an alarm. It is raised again if the cause comes again.
pub(super) async fn clear_alarm(
    State(state): State<OperatorState>,
    body: Result<Json<ClearAlarm>, JsonRejection>,
) -> Answer {
    let Json(ClearAlarm { kind, subject }) = body?;
    let kind = parse::<AlarmKind>("kind", &kind)?;
    let standing = state.alarms.standing().await;
    if !standing
        .iter()
        .any(|alarm| alarm.kind == kind && alarm.subject == subject)
    {
        let detail = format!(
            "no active alarm {kind} has this subject; `ringup alarm list` shows the active ones"
        );
        return Err(Refused::missing("subject", detail));
    }
    state.alarms.clear(kind, subject).await;
    Ok(StatusCode::NO_CONTENT.into_response())
}
