//! Changes to terminals and providers that there are.

use api::{ProviderChange, TerminalChange};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::response::IntoResponse as _;
use delivery::TopicFilter;
use jiff::Timestamp;

use super::providers::{no_provider, rights, shown};
use super::terminals::show_terminal;
use super::{Answer, OperatorState, Refused, parse};
use crate::keys::Whose;
use model::directory::Name;
use store::{ProviderUpdate, TerminalUpdate};

/// Gives a terminal another number, address, or right to subscribe.
pub(super) async fn change_terminal(
    State(state): State<OperatorState>,
    Path(name): Path<String>,
    body: Result<Json<TerminalChange>, JsonRejection>,
) -> Answer {
    let Json(TerminalChange {
        number,
        address,
        may_subscribe,
    }) = body?;
    let terminal = state.named(&name).await?;
    let number = number.try_map(|text| {
        state
            .number(Some(text))
            .and_then(|number| state.dialled(number))
    })?;
    let number = number.applied(Some(terminal.number.clone())).flatten();
    let address = address
        .try_map(|text| parse("address", &text))?
        .applied(terminal.address);
    if number.is_none() && address.is_none() {
        return Err(Refused::bad(
            "number",
            "a terminal needs a number to be called on, an address, or both",
        ));
    }
    if number.is_none() && terminal.trusted_by.stock().is_some() {
        return Err(Refused::bad(
            "number",
            "a stock terminal is called: it needs a number",
        ));
    }
    let filters = may_subscribe.map(|filters| {
        filters
            .iter()
            .map(|filter| parse::<TopicFilter>("may_subscribe", filter))
            .collect::<Result<_, _>>()
    });
    let is_other_number = number != terminal.number;
    let update = TerminalUpdate {
        number,
        address,
        registrable: filters.transpose()?,
    };
    if !state.store.update_terminal(terminal.id, update).await? {
        return Err(Refused::missing("name", super::no_terminal(&terminal.name)));
    }
    tracing::info!(terminal = %terminal.name, "terminal changed");
    if is_other_number {
        if terminal.trusted_by.is_number_only() {
            state.keys.revoke(terminal.id, "its number was changed");
        }
        // What is dialled just now is the number that it had.
        state.end_dialling(&terminal).await;
        state.trust_changed(terminal.id).await;
    }
    show_terminal(State(state), Path(name)).await
}

/// Gives a provider another number or other rights, or has its submissions refused.
pub(super) async fn change_provider(
    State(state): State<OperatorState>,
    Path(name): Path<String>,
    body: Result<Json<ProviderChange>, JsonRejection>,
) -> Answer {
    let Json(ProviderChange {
        number,
        may_send,
        is_disabled,
    }) = body?;
    let name = parse::<Name>("name", &name)?;
    let missing = || no_provider(&name);
    let before = state
        .store
        .provider_named(name.clone())
        .await?
        .ok_or_else(missing)?;
    let number = number
        .try_map(|text| state.number(Some(text)))?
        .applied(Some(before.number.clone()))
        .flatten();
    let may_send = may_send
        .map(|may_send| rights(&state, &may_send))
        .transpose()?;
    let loses_rights = may_send
        .as_ref()
        .is_some_and(|may_send| *may_send != before.may_send);
    let update = ProviderUpdate {
        number,
        may_send,
        is_disabled,
    };
    if !state
        .store
        .update_provider(name.clone(), update, Timestamp::now())
        .await?
    {
        return Err(missing());
    }
    // What it is saying just now would still go by what it had.
    if loses_rights || is_disabled == Some(true) {
        state.keys.sessions().end(
            &Whose::Provider(name.clone()),
            None,
            "its rights were changed",
        );
    }
    let after = state
        .store
        .provider_named(name.clone())
        .await?
        .ok_or_else(missing)?;
    tracing::info!(provider = %name, is_disabled = after.is_disabled, "provider changed");
    Ok(Json(shown(&after)).into_response())
}
