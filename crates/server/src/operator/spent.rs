//! What was spent.

use api::{Payer, Spent};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::IntoResponse as _;
use jiff::Zoned;
use jiff::civil::Date;
use serde::Deserialize;

use super::{Answer, OperatorState, Refused};
use model::money::Micros;
use store::SpentBy;

/// `?by=terminal&since=2026-11-01`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    by: Payer,
    /// Today, if it is not given.
    since: Option<Date>,
}

pub(super) async fn show_spent(
    State(state): State<OperatorState>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Answer {
    let Query(Asked { by, since }) =
        asked.map_err(|rejection| Refused::bad("by", rejection.body_text()))?;
    let since = since.unwrap_or_else(|| Zoned::now().date());
    let column = match by {
        Payer::Provider => SpentBy::Provider,
        Payer::Terminal => SpentBy::Terminal,
        Payer::Line => SpentBy::Line,
    };
    let spent = state.store.spent_since(since, column).await?;
    let amount: Micros = spent.iter().map(|spent| spent.amount).sum();
    let entries = spent.into_iter().map(|spent| api::SpentBy {
        name: spent.name.map(|name| name.to_string()),
        calls: spent.calls,
        amount: spent.amount.to_string(),
    });
    Ok(Json(Spent {
        since,
        by,
        entries: entries.collect(),
        amount: amount.to_string(),
    })
    .into_response())
}
