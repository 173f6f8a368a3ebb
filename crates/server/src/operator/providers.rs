//! Providers: added, shown, given another token, removed.

use api::{NewProvider, NewToken};
use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use jiff::{SignedDuration, Timestamp};
use line::Number;
use serde::Deserialize;
use serde_json::json;

use super::{Answer, OperatorState, Refused, Window, parse};
use crate::keys::Whose;
use model::directory::{ChapSecret, Name};
use model::provider::{Provider, Token, TokenHash};
use model::rights::Right;
use model::url::HttpUrl;
use model::webhook::{Webhook, WebhookSecret};
use store::ProviderRemoved;

/// The longest that a former token may work beside the new one, in seconds: 30 days.
const OVERLAP_SECONDS_MAX: u32 = 30 * 86_400;

pub(super) async fn add_provider(
    State(state): State<OperatorState>,
    body: Result<Json<NewProvider>, JsonRejection>,
) -> Answer {
    let Json(new) = body?;
    let mut octets = [0; 32];
    getrandom::fill(&mut octets).map_err(|error| Refused::bad("token", error))?;
    let token = Token::from_octets(octets);
    let may_send = rights(&state, &new.may_send)?;
    let provider = Provider {
        name: parse("name", &new.name)?,
        number: state.number(new.number)?,
        may_send,
        is_disabled: false,
    };
    let url = new
        .webhook
        .map(|url| parse::<HttpUrl>("webhook", &url))
        .transpose()?;
    if url.is_none() && new.webhook_allow_private {
        return Err(Refused::bad(
            "webhook_allow_private",
            "is about a webhook, and there is none",
        ));
    }
    getrandom::fill(&mut octets).map_err(|error| Refused::bad("webhook", error))?;
    let secret = WebhookSecret::from_octets(octets);
    let may_be_private = new.webhook_allow_private;
    let webhook = url.map(|url| Webhook {
        url,
        secret: secret.clone(),
        may_be_private,
    });
    let has_webhook = webhook.is_some();
    if new.chap_secret.is_some() && !new.chap || new.chap && provider.number.is_none() {
        return Err(Refused::bad(
            "chap",
            "is for a provider that dials in: give its number, and chap with a secret",
        ));
    }
    let mut octets = [0; 24];
    getrandom::fill(&mut octets).map_err(|error| Refused::bad("chap_secret", error))?;
    let given = new.chap_secret.map(|text| text.parse::<ChapSecret>());
    let given = given
        .transpose()
        .map_err(|error| Refused::bad("chap_secret", error))?;
    let made = (new.chap && given.is_none()).then(|| ChapSecret::from_octets(octets));
    let chap = given.or_else(|| made.clone());
    state
        .store
        .add_provider_with(
            provider.clone(),
            TokenHash::of(token.reveal()),
            webhook,
            chap,
        )
        .await?;
    tracing::info!(provider = %provider.name, "provider added");
    let mut shown = json!(shown(&provider));
    shown["token"] = json!(token.reveal());
    if let Some(made) = made {
        shown["chap_secret"] = json!(made.reveal());
    }
    if has_webhook {
        shown["webhook_secret"] = json!(secret.reveal());
    }
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

pub(super) async fn list_providers(
    State(state): State<OperatorState>,
    window: Result<Query<Window>, QueryRejection>,
) -> Answer {
    let (last, after) = Window::of(window)?;
    let after = after
        .map(|after| parse::<Name>("after", &after))
        .transpose()?;
    let providers = state.store.providers_after(after, last).await?;
    Ok(Json(providers.iter().map(shown).collect::<Vec<_>>()).into_response())
}

/// As the operator sees it.
pub(super) fn shown(provider: &Provider) -> api::Provider {
    let may_send: Vec<_> = provider.may_send.iter().map(ToString::to_string).collect();
    api::Provider {
        name: provider.name.to_string(),
        number: provider.number.as_ref().map(Number::to_string),
        may_send: if may_send.is_empty() {
            vec!["*".to_owned()]
        } else {
            may_send
        },
        is_disabled: provider.is_disabled,
    }
}

/// The rights that these words give.
pub(super) fn rights(state: &OperatorState, may_send: &[String]) -> Result<Vec<Right>, Refused> {
    let may_send = may_send
        .iter()
        .map(|right| parse::<Right>("may_send", right));
    let at_home = |right| match right {
        Right::Terminal(destination) => Right::Terminal(destination.at(state.home)),
        other => other,
    };
    may_send.map(|right| right.map(at_home)).collect()
}

/// Gives a provider another token; the one that it has stops.
pub(super) async fn renew_token(
    State(state): State<OperatorState>,
    Path(name): Path<String>,
    body: Result<Json<NewToken>, JsonRejection>,
) -> Answer {
    let Json(NewToken { overlap_seconds }) = body?;
    let name = parse::<Name>("name", &name)?;
    if overlap_seconds > OVERLAP_SECONDS_MAX {
        return Err(Refused::bad(
            "overlap_seconds",
            "a former token works for 30 days at most",
        ));
    }
    let mut octets = [0; 32];
    getrandom::fill(&mut octets).map_err(|error| Refused::bad("token", error))?;
    let token = Token::from_octets(octets);
    let overlap = SignedDuration::from_secs(overlap_seconds.into());
    let until = (overlap_seconds > 0).then(|| Timestamp::now() + overlap);
    if !state
        .store
        .renew_token(name.clone(), TokenHash::of(token.reveal()), until)
        .await?
    {
        return Err(no_provider(&name));
    }
    if until.is_none() {
        state.keys.sessions().end(
            &Whose::Provider(name.clone()),
            None,
            "its token was replaced",
        );
    }
    tracing::info!(provider = %name, former_until = until.map(|at| at.to_string()), "provider has another token");
    let shown =
        json!({ "name": name.to_string(), "token": token.reveal(), "former_token_until": until });
    Ok(Json(shown).into_response())
}

/// `?cancel`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Removal {
    /// What waits of it is cancelled.
    #[serde(default)]
    cancel: bool,
    /// Nothing is changed: what would stand in the way, and how much waits.
    #[serde(default)]
    dry: bool,
}

/// Removes a provider. Its token stops before anything else is done.
pub(super) async fn remove_provider(
    State(state): State<OperatorState>,
    Path(name): Path<String>,
    query: Result<Query<Removal>, QueryRejection>,
) -> Answer {
    let Query(Removal { cancel, dry }) = query
        .map_err(|_| Refused::bad("query", "only ?cancel=true and ?dry=true are known here"))?;
    let name = parse::<Name>("name", &name)?;
    if let Some(places) = state.named_in_config.get(&name) {
        let detail = format!(
            "the server's config names {name} ({}); name another there and restart the server first",
            places.join(", ")
        );
        return Err(Refused::conflict("name", detail));
    }
    if state.store.provider_named(name.clone()).await?.is_none() {
        return Err(no_provider(&name));
    }
    let waiting = state.store.waiting_of(name.clone()).await?;
    if dry {
        return Ok(Json(json!({ "name": name.to_string(), "waiting": waiting })).into_response());
    }
    match state.store.remove_provider(name.clone()).await? {
        ProviderRemoved::Done => {}
        ProviderRemoved::Unknown => return Err(no_provider(&name)),
        ProviderRemoved::HasSenders(terminals) => {
            let all: Vec<_> = terminals.iter().map(ToString::to_string).collect();
            let detail = format!(
                "terminals send as {name}: {}; first: ringup terminal sends-as NAME",
                all.join(", ")
            );
            return Err(Refused::conflict("name", detail));
        }
    }
    state
        .keys
        .sessions()
        .end(&Whose::Provider(name.clone()), None, "removed");
    tracing::warn!(provider = %name, "provider removed");
    // A crash in here leaves a part waiting; `ringup message cancel` ends it.
    let cancelled = match cancel {
        true => {
            state
                .store
                .cancel_all_of(name.clone(), "its provider was removed", Timestamp::now())
                .await?
        }
        false => 0,
    };
    state.alarms.forget_provider(&name).await;
    Ok(
        Json(json!({ "name": name.to_string(), "waiting": waiting, "cancelled": cancelled }))
            .into_response(),
    )
}

pub(super) fn no_provider(name: &Name) -> Refused {
    Refused::missing(
        "name",
        format!("no provider is named {name}; `ringup provider list` shows those there are"),
    )
}
