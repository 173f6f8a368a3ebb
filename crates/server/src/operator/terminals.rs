//! The operator's questions about terminals.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse as _;
use delivery::Conditions;
use jiff::Timestamp;
use line::Number;
use serde_json::{Value, json};

use super::subscriptions::subscription_json;
use super::{Answer, OperatorState, Window, parse};
use model::directory::{Name, Terminal};
use store::TerminalEntry;

/// A largest size from here on is none: a terminal that said nothing of it takes everything.
const MAX_SAID: u64 = i64::MAX.unsigned_abs();

pub(super) async fn list_terminals(
    State(state): State<OperatorState>,
    window: Result<Query<Window>, QueryRejection>,
) -> Answer {
    let (last, after) = Window::of(window)?;
    let after = after
        .map(|after| parse::<Name>("after", &after))
        .transpose()?;
    let entries = state
        .store
        .terminal_entries(after, last, Timestamp::now())
        .await?;
    Ok(Json(entries.iter().map(entry_json).collect::<Vec<_>>()).into_response())
}

fn entry_json(entry: &TerminalEntry) -> Value {
    let mut shown = terminal_json(&entry.terminal);
    shown["trust"] = json!(entry.standing.as_str());
    shown["paused_at"] = json!(entry.paused_at);
    shown["waiting"] = json!(entry.waiting);
    shown
}

pub(super) async fn show_terminal(
    State(state): State<OperatorState>,
    Path(name): Path<String>,
) -> Answer {
    let terminal = state.named(&name).await?;
    let mut shown = terminal_json(&terminal);
    shown["subscriptions"] = json!(
        state
            .store
            .subscriptions(terminal.id)
            .await?
            .iter()
            .map(subscription_json)
            .collect::<Vec<_>>()
    );
    let registrable = state.store.registrable(terminal.id).await?;
    shown["may_subscribe"] = match registrable.as_slice() {
        [] => json!(["#"]),
        filters => json!(filters.iter().map(ToString::to_string).collect::<Vec<_>>()),
    };
    shown["sends_as"] = json!(
        state
            .store
            .sender(terminal.id)
            .await?
            .map(|provider| provider.name.to_string())
    );
    shown["waiting"] = json!(state.store.waiting(terminal.id).await?);
    let trust = state.store.trust(terminal.id, Timestamp::now()).await?;
    shown["keys"] = json!(
        trust
            .keys
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    );
    // Those that it has said to have; none: those of its bundle.
    shown["server_keys"] = json!(trust.told.map(|told| {
        told.keys()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    }));
    shown["trust"] = json!(
        state
            .store
            .standing(terminal.id, Timestamp::now())
            .await?
            .map(|standing| standing.as_str())
    );
    shown["paused_at"] = json!(state.store.paused_at(terminal.id).await?);
    // What it has said itself that it takes for now.
    shown["stated"] = match state.store.stated(terminal.id, Timestamp::now()).await? {
        Some(Conditions {
            urgency,
            size_max,
            until,
            reason,
        }) => json!({
            "takes": urgency.as_str(),
            "size_max": size_max.filter(|max| *max < MAX_SAID),
            "until": until,
            "reason": reason,
        }),
        None => Value::Null,
    };
    Ok(Json(shown).into_response())
}

pub(super) fn terminal_json(terminal: &Terminal) -> Value {
    json!({
        "id": terminal.id.to_string(),
        "name": terminal.name.to_string(),
        "number": terminal.number.as_ref().map(Number::as_str),
        "address": terminal.address,
        "trusted_by": terminal.trusted_by.as_str(),
        "deliver": terminal.trusted_by.stock().map(|stock| stock.inbox.to_string()),
        "connection": terminal.connection.as_str(),
        "call": terminal.connection.call().map(|call| call.to_string()),
    })
}
