//! The operator's questions about messages.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse as _;
use delivery::MessageId;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Answer, OperatorState, Refused, Window, parse};
use crate::ingest::http::{cancelled_answer, message_json};
use crate::plan::{self, Question};
use crate::waiting::{Circumstances, Waiting, settled};
use model::account::Account;
use model::alarm::AlarmKind;
use model::call::CallRecord;
use model::directory::{Destination, Name, Terminal};
use store::{EnvelopeEntry, MessageEntry, Trust};

/// Envelopes of which the story is told: each asks for its terminal and its calls.
const EXPLAINED_MAX: usize = 20;

pub(super) async fn list_messages(
    State(state): State<OperatorState>,
    window: Result<Query<Window>, QueryRejection>,
) -> Answer {
    let (last, after) = Window::of(window)?;
    let after = after
        .map(|after| parse::<MessageId>("after", &after))
        .transpose()?;
    let messages = state.store.messages_after(last, after).await?;
    Ok(Json(messages.iter().map(message_json).collect::<Vec<_>>()).into_response())
}

pub(super) async fn show_message(
    State(state): State<OperatorState>,
    Path(id): Path<String>,
) -> Answer {
    Ok(Json(message_json(&find(&state, &id).await?)).into_response())
}

pub(super) async fn cancel_message(
    State(state): State<OperatorState>,
    Path(id): Path<String>,
) -> Answer {
    let id = parse::<MessageId>("id", &id)?;
    let cancelled = state
        .store
        .cancel(id, None, "cancelled by the operator", Timestamp::now())
        .await?
        .ok_or_else(no_message)?;
    tracing::info!(message_id = %id, cancelled = cancelled.cancelled, "message cancelled by the operator");
    Ok(cancelled_answer(id, cancelled).unwrap_or_else(axum::response::IntoResponse::into_response))
}

/// The message with all that is known of why each envelope is where it is.
pub(super) async fn explain_message(
    State(state): State<OperatorState>,
    Path(id): Path<String>,
) -> Answer {
    let message = find(&state, &id).await?;
    let mut story = message_json(&message);
    let standing = state.alarms.standing().await;
    let of = |kind| standing.iter().filter(move |alarm| alarm.kind == kind);
    let faults: Vec<_> = of(AlarmKind::LineOutOfOrder)
        .map(|alarm| (alarm.subject.clone(), alarm.detail.clone()))
        .collect();
    let spent: Vec<_> = of(AlarmKind::Budget)
        .map(|alarm| alarm.subject.clone())
        .collect();
    for (index, envelope) in message.envelopes.iter().enumerate().take(EXPLAINED_MAX) {
        let told = explain(&state, &message, envelope, &faults, &spent).await?;
        if let (Some(into), Value::Object(told)) = (story["envelopes"][index].as_object_mut(), told)
        {
            into.extend(told);
        }
    }
    Ok(Json(story).into_response())
}

async fn explain(
    state: &OperatorState,
    message: &MessageEntry,
    envelope: &EnvelopeEntry,
    faults: &[(String, String)],
    spent: &[String],
) -> Result<Value, Refused> {
    let because = settled(envelope, message.handling.expires_at);
    // A removed terminal is known by its id only: it has no calls to tell of.
    let Ok(name) = envelope.terminal.parse::<Name>() else {
        return Ok(json!({ "because": because }));
    };
    let mut calls = state
        .store
        .calls_with(name.clone(), message.accepted_at)
        .await?;
    if let Some(settled_at) = envelope.at {
        calls.retain(|call| call.placed_at <= settled_at);
    }
    let waiting = match envelope.verdict {
        Some(_) => None,
        None => {
            let terminal = state.store.find_terminal(Destination::Name(name)).await?;
            let (mut trust, mut decided, mut budgets) = (Trust::default(), None, Vec::new());
            let (mut stated, mut paused_at) = (None, None);
            if let Some(found @ Terminal { id, name, .. }) = &terminal {
                trust = state.store.trust(*id, Timestamp::now()).await?;
                paused_at = state.store.paused_at(*id).await?;
                let (urgency, size) = (message.handling.urgency, message.head.size);
                stated = state.store.stated(*id, Timestamp::now()).await?;
                stated = stated.filter(|stated| !stated.take(urgency, size, Timestamp::now()));
                decided = plan::ask(&state.questions, |answer| {
                    Question::Explain(found.clone(), answer)
                })
                .await;
                let lines = decided
                    .iter()
                    .flat_map(|decided| decided.lines.iter().cloned().map(Account::Line));
                let own = [
                    Account::Server,
                    Account::Terminal(name.clone()),
                    Account::Provider(message.provider.clone()),
                ];
                budgets.extend(
                    own.into_iter()
                        .chain(lines)
                        .map(|account| account.to_string()),
                );
                budgets.retain(|account| spent.contains(account));
            }
            let terminal = terminal.as_ref();
            let believes_numbers = state.dialup.believes_numbers();
            let (stated, budgets) = (stated.as_ref(), &budgets[..]);
            let calls = &calls;
            let around = Circumstances {
                terminal,
                trust,
                paused_at,
                believes_numbers,
                calls,
                decided,
                faults,
                stated,
                budgets,
            };
            Some(Waiting::of(envelope, &around))
        }
    };
    let waiting = waiting.map(
        |Waiting {
             reason,
             next,
             next_at,
         }| json!({ "reason": reason, "next": next, "next_at": next_at }),
    );
    let calls: Vec<_> = calls.iter().map(call_json).collect();
    Ok(json!({ "calls": calls, "waiting": waiting, "because": because }))
}

fn call_json(call: &CallRecord) -> Value {
    json!({
        "id": call.id.to_string(),
        "direction": call.direction,
        "line": call.via.to_string(),
        "placed_at": call.placed_at,
        "connected_at": call.connected_at,
        "ended_at": call.ended_at,
        "outcome": call.outcome,
    })
}

async fn find(state: &OperatorState, id: &str) -> Result<MessageEntry, Refused> {
    state
        .store
        .message(parse("id", id)?)
        .await?
        .ok_or_else(no_message)
}

fn no_message() -> Refused {
    Refused::missing("id", "no message has this id")
}
