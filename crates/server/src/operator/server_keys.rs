//! The operator's questions about the server's own keys, and whom a terminal is known to be by its.

use api::{NewKey, Retirement};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use delivery::proof::PublicKey;
use jiff::Timestamp;
use serde_json::json;

use super::{Answer, OperatorState, Refused, parse};
use crate::keys::NotRotated;

/// Names that are shown of terminals that a retirement would lose.
const NAMES_SHOWN: usize = 20;

impl From<NotRotated> for Refused {
    fn from(why: NotRotated) -> Self {
        match why {
            NotRotated::IsRotating | NotRotated::IsNotRotating => Self::conflict("server_key", why),
            NotRotated::Keys(_) => Self {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                field: "server_key",
                detail: model::causes::with_causes(&why),
                more: Vec::new(),
            },
        }
    }
}

pub(super) async fn list_server_keys(State(state): State<OperatorState>) -> Answer {
    let knowledge = state.store.server_keys_known().await?;
    let shown: Vec<_> = state
        .keys
        .shown()
        .into_iter()
        .map(|shown| {
            let told = knowledge.iter().filter(|(_, told)| {
                told.as_ref()
                    .is_some_and(|told| told.keys().contains(&shown.key))
            });
            json!({
                "key": shown.key.to_string(),
                "state": shown.state,
                // Those that have said so; who was never told anything knows what its bundle said.
                "told": told.count(),
                "terminals": knowledge.len(),
                "certificate": shown.certificate.map(|der| pem(&der)),
            })
        })
        .collect();
    Ok(Json(shown).into_response())
}

pub(super) async fn rotate_server_key(State(state): State<OperatorState>) -> Answer {
    let made = state.keys.rotate()?;
    tracing::warn!(key = %made, "new server key made: terminals learn it in their next sessions");
    Ok((
        StatusCode::CREATED,
        Json(json!({ "key": made.to_string() })),
    )
        .into_response())
}

pub(super) async fn retire_server_key(
    State(state): State<OperatorState>,
    body: Result<Json<Retirement>, JsonRejection>,
) -> Answer {
    let Json(Retirement { force }) = body?;
    let next = state.keys.next().ok_or(NotRotated::IsNotRotating)?;
    let knowledge = state.store.server_keys_known().await?;
    let lost: Vec<_> = knowledge
        .iter()
        .filter(|(_, told)| {
            told.as_ref()
                .is_none_or(|told| !told.keys().contains(&next))
        })
        .map(|(name, _)| name.to_string())
        .collect();
    if !lost.is_empty() && !force {
        let more = lost.len().saturating_sub(NAMES_SHOWN);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let names = lost[..lost.len().min(NAMES_SHOWN)].join(", ");
        let detail = format!(
            "{names}{more} would not know this server any more: wait until they have connected, or lose them with --force"
        );
        return Err(Refused::conflict("force", detail));
    }
    let old = state.keys.retire()?;
    tracing::warn!(key = %old, lost = lost.len(), "a server key is retired");
    Ok(
        Json(json!({ "retired": old.to_string(), "key": next.to_string(), "lost": lost }))
            .into_response(),
    )
}

/// Registers the key of a terminal that cannot enrol by itself. Whoever can reach this socket has the last word.
pub(super) async fn register(
    State(state): State<OperatorState>,
    Path(name): Path<String>,
    body: Result<Json<NewKey>, JsonRejection>,
) -> Answer {
    let Json(NewKey { key }) = body?;
    let terminal = state.named(&name).await?;
    if let Some(stock) = terminal.trusted_by.stock() {
        let trust = stock.trust.as_str();
        return Err(Refused::conflict(
            "name",
            format!("{name} is trusted by {trust}: it has no key"),
        ));
    }
    let key = parse::<PublicKey>("key", &key)?;
    state
        .store
        .register(terminal.id, key, Timestamp::now())
        .await?;
    state.keys.revoke(terminal.id, "its key was replaced");
    tracing::warn!(terminal = %terminal.name, %key, "registered by the operator");
    state.trust_changed(terminal.id).await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// RFC 7468.
fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}
