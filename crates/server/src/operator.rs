//! What an operator can ask and change, over a Unix socket that only the server's own user may open.
//!
//! HTTP with JSON bodies; the command line (`ringup terminal add` and the rest) is its client.

use std::net::Ipv4Addr;
use std::str::FromStr;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use delivery::TerminalId;
use line::{Home, Number, check_dialled};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::dialup::DialUp;
use crate::directory::{Connection, Destination, Name, Provider, Terminal, Token, TokenHash};
use crate::ingest::http::{message_json, problem};
use crate::plan::{self, Question, Questions};
use crate::store::{Last, Store, StoreError};

/// Entries in a list that grows for ever.
const LIST_LAST: Last = Last(100);

#[derive(Debug, Clone)]
struct Desk {
    store: Store,
    dialup: DialUp,
    home: Option<Home>,
    questions: Questions,
}

impl Desk {
    /// A number of the directory, as it is meant here.
    fn number(&self, text: Option<String>) -> Result<Option<Number>, Refused> {
        let number = text.map(|text| parse::<Number>("number", &text)).transpose()?;
        Ok(number.map(|number| number.at(self.home)))
    }
}

/// The routes.
pub(crate) fn router(store: Store, dialup: DialUp, home: Option<Home>, questions: Questions) -> Router {
    Router::new()
        .route("/terminals", get(list_terminals).post(add_terminal))
        .route("/terminals/{name}", get(show_terminal).delete(remove_terminal))
        .route("/terminals/{name}/resume", post(resume_terminal))
        .route("/plan", get(show_plan))
        .route("/providers", get(list_providers))
        .route("/providers", post(add_provider))
        .route("/lines", get(|State(desk): State<Desk>| async move { Json(desk.dialup.status()) }))
        .route("/calls", get(list_calls))
        .route("/messages", get(list_messages))
        .route("/messages/{id}", get(show_message))
        .with_state(Desk { store, dialup, home, questions })
}

/// A refusal, as a problem document.
struct Refused {
    status: StatusCode,
    field: &'static str,
    detail: String,
}

impl Refused {
    fn bad(field: &'static str, detail: impl ToString) -> Self {
        Self { status: StatusCode::BAD_REQUEST, field, detail: detail.to_string() }
    }

    fn missing(field: &'static str, detail: impl ToString) -> Self {
        Self { status: StatusCode::NOT_FOUND, field, detail: detail.to_string() }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        let (status, field) = match error {
            StoreError::Taken { field } => (StatusCode::CONFLICT, field),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "store"),
        };
        Self { status, field, detail: error.to_string() }
    }
}

impl From<JsonRejection> for Refused {
    fn from(rejection: JsonRejection) -> Self {
        // The text names the key and the place: "missing field `name` at line 1 column 2".
        Self { status: rejection.status(), field: "body", detail: rejection.body_text() }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        problem(self.status, self.field, &self.detail)
    }
}

type Answer = Result<Response, Refused>;

fn parse<T: FromStr<Err: ToString>>(field: &'static str, text: &str) -> Result<T, Refused> {
    text.parse().map_err(|error: T::Err| Refused::bad(field, format!("{text:?}: {}", error.to_string())))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTerminal {
    name: String,
    number: Option<String>,
    address: Option<String>,
}

async fn add_terminal(State(desk): State<Desk>, body: Result<Json<NewTerminal>, JsonRejection>) -> Answer {
    let Json(new) = body?;
    if new.number.is_none() && new.address.is_none() {
        return Err(Refused::bad("number", "a terminal needs a number to be called on, an address, or both"));
    }
    let number = desk.number(new.number)?;
    if let Some(number) = &number {
        check_dialled(desk.home, number)
            .map_err(|forbidden| Refused::bad("number", format!("{number} is never dialled: {forbidden}")))?;
    }
    let mut octets = [0; 8];
    getrandom::fill(&mut octets).map_err(|error| Refused::bad("id", error))?;
    let terminal = Terminal {
        id: TerminalId::from_octets(octets),
        name: parse("name", &new.name)?,
        number,
        address: new.address.map(|address| parse::<Ipv4Addr>("address", &address)).transpose()?,
        connection: Connection::Down,
    };
    desk.store.add_terminal(terminal.clone()).await?;
    tracing::info!(terminal = %terminal.name, "terminal added");
    Ok((StatusCode::CREATED, Json(terminal_json(&terminal))).into_response())
}

async fn list_terminals(State(desk): State<Desk>) -> Answer {
    let terminals = desk.store.terminals().await?;
    Ok(Json(terminals.iter().map(terminal_json).collect::<Vec<_>>()).into_response())
}

async fn show_terminal(State(desk): State<Desk>, Path(name): Path<String>) -> Answer {
    let name = parse::<Name>("name", &name)?;
    let found = desk.store.find_terminal(Destination::Name(name.clone())).await?;
    let terminal = found.ok_or_else(|| Refused::missing("name", no_terminal(&name)))?;
    let mut shown = terminal_json(&terminal);
    shown["waiting"] = json!(desk.store.due(terminal.id).await?.len());
    Ok(Json(shown).into_response())
}

async fn remove_terminal(State(desk): State<Desk>, Path(name): Path<String>) -> Answer {
    let name = parse::<Name>("name", &name)?;
    if !desk.store.remove_terminal(name.clone()).await? {
        return Err(Refused::missing("name", no_terminal(&name)));
    }
    tracing::info!(terminal = %name, "terminal removed");
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Has a terminal called again whose calls failed for days.
async fn resume_terminal(State(desk): State<Desk>, Path(name): Path<String>) -> Answer {
    let name = parse::<Name>("name", &name)?;
    match plan::ask(&desk.questions, |answer| Question::Resume(name.clone(), answer)).await {
        Some(true) => Ok(StatusCode::NO_CONTENT.into_response()),
        Some(false) => Err(Refused::missing("name", no_terminal(&name))),
        None => Err(stopping()),
    }
}

async fn show_plan(State(desk): State<Desk>) -> Answer {
    let entries = plan::ask(&desk.questions, Question::Plan).await.ok_or_else(stopping)?;
    Ok(Json(entries).into_response())
}

fn stopping() -> Refused {
    Refused {
        status: StatusCode::SERVICE_UNAVAILABLE,
        field: "server",
        detail: "the server is stopping; ask again when it runs".to_owned(),
    }
}

fn no_terminal(name: &Name) -> String {
    format!("no terminal is named {name}; `ringup terminal list` shows those there are")
}

fn terminal_json(terminal: &Terminal) -> Value {
    json!({
        "id": terminal.id.to_string(),
        "name": terminal.name.to_string(),
        "number": terminal.number.as_ref().map(Number::as_str),
        "address": terminal.address,
        "connection": terminal.connection.as_str(),
        "call": terminal.connection.call().map(|call| call.to_string()),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewProvider {
    name: String,
    number: Option<String>,
}

async fn add_provider(State(desk): State<Desk>, body: Result<Json<NewProvider>, JsonRejection>) -> Answer {
    let Json(new) = body?;
    let mut octets = [0; 32];
    getrandom::fill(&mut octets).map_err(|error| Refused::bad("token", error))?;
    let token = Token::from_octets(octets);
    let provider = Provider { name: parse("name", &new.name)?, number: desk.number(new.number)? };
    desk.store.add_provider(provider.clone(), TokenHash::of(token.reveal())).await?;
    tracing::info!(provider = %provider.name, "provider added");
    let mut shown = provider_json(&provider);
    shown["token"] = json!(token.reveal());
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

async fn list_providers(State(desk): State<Desk>) -> Answer {
    let providers = desk.store.providers().await?;
    Ok(Json(providers.iter().map(provider_json).collect::<Vec<_>>()).into_response())
}

fn provider_json(provider: &Provider) -> Value {
    json!({ "name": provider.name.to_string(), "number": provider.number.as_ref().map(Number::as_str) })
}

async fn list_calls(State(desk): State<Desk>) -> Answer {
    Ok(Json(desk.store.calls(LIST_LAST).await?).into_response())
}

async fn list_messages(State(desk): State<Desk>) -> Answer {
    let messages = desk.store.messages(LIST_LAST).await?;
    Ok(Json(messages.iter().map(message_json).collect::<Vec<_>>()).into_response())
}

async fn show_message(State(desk): State<Desk>, Path(id): Path<String>) -> Answer {
    let found = desk.store.message(parse("id", &id)?).await?;
    let message = found.ok_or_else(|| Refused::missing("id", "no message has this id"))?;
    Ok(Json(message_json(&message)).into_response())
}
