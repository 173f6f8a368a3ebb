//! The feeds that are read, as the operator sees them.

use api::ReadFeed;
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use serde_json::{Value, json};

use super::{Answer, OperatorState, Refused};

pub(super) async fn list_feeds(State(state): State<OperatorState>) -> Answer {
    let mut shown: Vec<Value> = Vec::new();
    for feed in state.feeds.all() {
        let url = feed.url.to_string();
        let state = state.store.feed(url.clone()).await?;
        shown.push(json!({
            "url": url,
            "topic": feed.topic.to_string(),
            "provider": feed.provider.to_string(),
            "is_read": state.is_some(),
            "failed": state.as_ref().map(|state| state.failed),
            "next_at": state.map(|state| state.next_at),
        }));
    }
    Ok(Json(shown).into_response())
}

pub(super) async fn read_feed(
    State(state): State<OperatorState>,
    body: Result<Json<ReadFeed>, JsonRejection>,
) -> Answer {
    let Json(ReadFeed { url }) = body?;
    if !state.feeds.read_now(&url) {
        let detail = format!("no feed at {url:?} is in the config; `ringup feed list` shows them");
        return Err(Refused::missing("url", detail));
    }
    tracing::info!(feed = url, "feed read for the operator");
    Ok(StatusCode::ACCEPTED.into_response())
}
