//! The operator's question about calls that are to come.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::IntoResponse as _;

use super::{Answer, OperatorState, Refused, Window, stopping};
use crate::plan::{self, PLAN_MAX, Question};

pub(super) async fn show_plan(
    State(state): State<OperatorState>,
    window: Result<Query<Window>, QueryRejection>,
) -> Answer {
    let (last, after) = Window::of(window)?;
    let after = match after {
        Some(name) => Some(state.named(&name).await?.id),
        None => None,
    };
    let limit = usize::try_from(last.0).unwrap_or(PLAN_MAX).min(PLAN_MAX);
    let plan = plan::ask(&state.questions, |answer| Question::Plan {
        after,
        limit,
        answer,
    })
    .await;
    let plan = plan.ok_or_else(stopping)?;
    let plan = plan.ok_or_else(|| {
        Refused::missing(
            "after",
            "nothing is planned for this terminal any more; begin anew without it",
        )
    })?;
    Ok(Json(plan).into_response())
}
