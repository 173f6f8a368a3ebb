//! What terminals are registered for, as the operator sees and changes it.

use api::{NewSubscription, OldSubscription};
use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use delivery::{TopicFilter, Urgency};
use jiff::Timestamp;
use line::Hours;
use serde_json::{Value, json};

use super::{Answer, OperatorState, Refused, Window, parse};
use model::directory::Name;
use model::subscription::{RegisteredBy, Subscription};
use store::{RegisterError, StoreError, SubscriptionEntry};

pub(super) async fn list_subscriptions(
    State(state): State<OperatorState>,
    Path(name): Path<String>,
) -> Answer {
    let terminal = state.named(&name).await?;
    let found = state.store.subscriptions(terminal.id).await?;
    Ok(Json(
        found
            .iter()
            .map(|entry| entry_json(&terminal.name, entry))
            .collect::<Vec<_>>(),
    )
    .into_response())
}

/// Those of all terminals, by terminal and filter. `?after=TERMINAL:FILTER`: a name has no colon.
pub(super) async fn list_all_subscriptions(
    State(state): State<OperatorState>,
    window: Result<Query<Window>, QueryRejection>,
) -> Answer {
    let (last, after) = Window::of(window)?;
    let after = after.map(|after| {
        let (terminal, filter) = after.split_once(':').unwrap_or((&after, ""));
        // A filter that is gone by now still has its place in the order.
        Ok::<_, Refused>((parse::<Name>("after", terminal)?, filter.to_owned()))
    });
    let found = state
        .store
        .all_subscriptions(after.transpose()?, last)
        .await?;
    Ok(Json(
        found
            .iter()
            .map(|(terminal, entry)| entry_json(terminal, entry))
            .collect::<Vec<_>>(),
    )
    .into_response())
}

fn entry_json(terminal: &Name, entry: &SubscriptionEntry) -> Value {
    let mut shown = subscription_json(entry);
    shown["terminal"] = json!(terminal.to_string());
    shown
}

pub(super) async fn subscribe(
    State(state): State<OperatorState>,
    Path(name): Path<String>,
    body: Result<Json<NewSubscription>, JsonRejection>,
) -> Answer {
    let Json(new) = body?;
    let terminal = state.named(&name).await?;
    let subscription = Subscription {
        filter: parse("filter", &new.filter)?,
        urgency: new
            .urgency
            .map_or(Ok(Urgency::Bulk), |urgency| parse("urgency", &urgency))?,
        size_max: new.size_max,
        hours: parse::<Hours>("hours", &new.hours)?,
    };
    let filter = subscription.filter.clone();
    state
        .store
        .subscribe(
            terminal.id,
            subscription,
            RegisteredBy::Operator,
            Timestamp::now(),
        )
        .await?;
    tracing::info!(terminal = %terminal.name, %filter, "registered");
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn unsubscribe(
    State(state): State<OperatorState>,
    Path(name): Path<String>,
    body: Result<Json<OldSubscription>, JsonRejection>,
) -> Answer {
    let Json(OldSubscription { filter }) = body?;
    let terminal = state.named(&name).await?;
    let filter: TopicFilter = parse("filter", &filter)?;
    if !state.store.unsubscribe(terminal.id, filter.clone()).await? {
        let detail = format!(
            "{name} is not registered for {filter}; `ringup subscription list {name}` shows its filters"
        );
        return Err(Refused::missing("filter", detail));
    }
    tracing::info!(terminal = %terminal.name, %filter, "not registered any more");
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) fn subscription_json(entry: &SubscriptionEntry) -> Value {
    let SubscriptionEntry {
        subscription:
            Subscription {
                filter,
                urgency,
                size_max,
                hours,
            },
        by,
        at,
    } = entry;
    json!({
        "filter": filter.to_string(),
        "urgency": urgency.as_str(),
        "size_max": size_max,
        "hours": if hours.0.is_empty() { "always".to_owned() } else { hours.to_string() },
        "by": by.as_str(),
        "at": at,
    })
}

impl From<RegisterError> for Refused {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Store(StoreError::NoTerminal(_)) => Self::missing("name", error),
            RegisterError::Store(error) => error.into(),
            RegisterError::TooBroad { .. } | RegisterError::TooMany => {
                Self::conflict("filter", error)
            }
        }
    }
}
