//! What an operator can ask and change, over a Unix socket that only the server's own user may open.
//!
//! HTTP with JSON bodies; the command line (`ringup terminal add` and the rest) is its client.

mod alarms;
mod calls;
mod changes;
mod feeds;
mod keeping;
mod messages;
mod pauses;
mod plan;
mod providers;
mod server_keys;
mod spent;
mod subscriptions;
mod terminals;
mod window;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::sync::Arc;

use api::{Invitation, Invited, NewSender, NewTerminal};
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post, put};
use axum::{Json, Router};
use delivery::proof::{Bundle, EnrolmentSecret, KeyForm};
use delivery::{TerminalId, TopicFilter};
use jiff::{SignedDuration, Timestamp};
use line::{Home, Number, check_dialled};
use serde_json::json;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use self::alarms::{clear_alarm, list_alarms};
use self::calls::{end_call, list_calls};
use self::changes::{change_provider, change_terminal};
use self::feeds::{list_feeds, read_feed};
use self::keeping::{BackupWatch, check_store, make_backup, show_backup, show_store};
use self::messages::{cancel_message, explain_message, list_messages, show_message};
use self::pauses::{pause_terminal, resume_terminal};
use self::plan::show_plan;
use self::providers::{add_provider, list_providers, remove_provider, renew_token};
use self::server_keys::{list_server_keys, register, retire_server_key, rotate_server_key};
use self::spent::show_spent;
use self::subscriptions::{list_all_subscriptions, list_subscriptions, subscribe, unsubscribe};
use self::terminals::{list_terminals, show_terminal, terminal_json};
use self::window::Window;
use crate::alarms::Alarms;
use crate::dialup::{DialUp, Rooms};
use crate::door::Door;
use crate::http_connection;
use crate::ingest::feeds::Feeds;
use crate::ingest::http::problem;
use crate::keys::{ServerKeys, Whose};
use crate::plan::{Question, Questions};
use model::causes::with_causes;
use model::directory::{
    ChapSecret, Connection, Destination, Name, Stock, StockTrust, Terminal, TrustedBy,
};
use store::{Store, StoreError};

#[derive(Debug, Clone)]
struct OperatorState {
    store: Store,
    /// How far the backup is that is being made.
    backup: BackupWatch,
    dialup: DialUp,
    keys: ServerKeys,
    home: Option<Home>,
    questions: Questions,
    alarms: Alarms,
    /// Where the config names each provider.
    named_in_config: Arc<BTreeMap<Name, Vec<String>>>,
    feeds: Feeds,
}

impl OperatorState {
    /// A number of the directory, as it is meant here.
    fn number(&self, text: Option<String>) -> Result<Option<Number>, Refused> {
        let number = text
            .map(|text| parse::<Number>("number", &text))
            .transpose()?;
        Ok(number.map(|number| number.at(self.home)))
    }

    /// The number, if it may be dialled.
    fn dialled(&self, number: Option<Number>) -> Result<Option<Number>, Refused> {
        let forbidden = number
            .as_ref()
            .map(|number| check_dialled(self.home, number).map_err(|why| (number, why)));
        match forbidden {
            Some(Err((number, why))) => Err(Refused::bad(
                "number",
                format!("{number} is never dialled: {why}"),
            )),
            _ => Ok(number),
        }
    }

    /// A terminal may prove itself with something else now: what waits for it is due.
    async fn trust_changed(&self, terminal: TerminalId) {
        self.dialup.forget_strangers(terminal);
        let _ = self.questions.send(Question::TrustChanged(terminal)).await; // stopping: it is due at the next start
    }

    /// Nothing more is dialled for a terminal that is called just now, by the state after a change: a call may have begun meanwhile. Of one
    /// that was removed, or cannot be read, the state before it counts.
    async fn end_dialling(&self, terminal: &Terminal) {
        let now = self.store.terminal(terminal.id).await.ok().flatten();
        if let Connection::Calling(call) = now.as_ref().unwrap_or(terminal).connection {
            self.dialup.end_call(call);
        }
    }

    /// The terminal of this name.
    async fn named(&self, name: &str) -> Result<Terminal, Refused> {
        let name = parse::<Name>("name", name)?;
        let found = self
            .store
            .find_terminal(Destination::Name(name.clone()))
            .await?;
        found.ok_or_else(|| Refused::missing("name", no_terminal(&name)))
    }
}

/// Serves the operator's socket until `shutdown`: of more callers than seats the rest wait.
pub(crate) async fn listen(
    listener: UnixListener,
    router: Router,
    seats: usize,
    shutdown: CancellationToken,
) {
    let door = Door::new(seats, seats);
    http_connection::listen(listener, "operator", router, seats, door, shutdown).await;
}

/// The routes.
pub(crate) fn router(
    rooms: Rooms,
    dialup: DialUp,
    home: Option<Home>,
    feeds: Feeds,
    questions: Questions,
    named_in_config: BTreeMap<Name, Vec<String>>,
) -> Router {
    let Rooms {
        store,
        keys,
        alarms,
        ..
    } = rooms;
    Router::new()
        .route("/terminals", get(list_terminals).post(add_terminal))
        .route(
            "/terminals/{name}",
            get(show_terminal)
                .patch(change_terminal)
                .delete(remove_terminal),
        )
        .route("/terminals/{name}/invitation", post(invite))
        .route("/terminals/{name}/key", post(register))
        .route("/terminals/{name}/shut-out", post(shut_out))
        .route("/terminals/{name}/pause", post(pause_terminal))
        .route("/terminals/{name}/resume", post(resume_terminal))
        .route(
            "/terminals/{name}/subscriptions",
            get(list_subscriptions).put(subscribe).delete(unsubscribe),
        )
        .route("/terminals/{name}/sender", put(set_sender))
        .route("/subscriptions", get(list_all_subscriptions))
        .route("/plan", get(show_plan))
        .route(
            "/server-keys",
            get(list_server_keys).post(rotate_server_key),
        )
        .route("/server-keys/retire", post(retire_server_key))
        .route("/providers", get(list_providers).post(add_provider))
        .route(
            "/providers/{name}",
            patch(change_provider).delete(remove_provider),
        )
        .route("/providers/{name}/token", post(renew_token))
        .route(
            "/lines",
            get(|State(state): State<OperatorState>| async move { Json(state.dialup.status()) }),
        )
        .route("/calls", get(list_calls))
        .route("/spent", get(show_spent))
        .route("/calls/{id}/end", post(end_call))
        .route("/alarms", get(list_alarms))
        .route("/alarms/clear", post(clear_alarm))
        .route("/feeds", get(list_feeds))
        .route("/feeds/read", post(read_feed))
        .route("/messages", get(list_messages))
        .route("/messages/{id}", get(show_message).delete(cancel_message))
        .route("/messages/{id}/explain", get(explain_message))
        .route("/store", get(show_store))
        .route("/store/check", get(check_store))
        .route("/store/backup", get(show_backup).post(make_backup))
        .with_state(OperatorState {
            store,
            backup: BackupWatch::default(),
            dialup,
            keys,
            home,
            questions,
            alarms,
            named_in_config: Arc::new(named_in_config),
            feeds,
        })
}

/// A refusal, as a problem document.
struct Refused {
    status: StatusCode,
    field: &'static str,
    detail: String,
    /// What else is wrong.
    more: Vec<(&'static str, String)>,
}

impl Refused {
    fn bad(field: &'static str, detail: impl ToString) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            field,
            detail: detail.to_string(),
            more: Vec::new(),
        }
    }

    fn conflict(field: &'static str, detail: impl ToString) -> Self {
        Self {
            status: StatusCode::CONFLICT,
            field,
            detail: detail.to_string(),
            more: Vec::new(),
        }
    }

    fn missing(field: &'static str, detail: impl ToString) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            field,
            detail: detail.to_string(),
            more: Vec::new(),
        }
    }

    /// All that is wrong with a request, which is at least one thing.
    fn several(faults: Vec<Self>) -> Self {
        let mut faults = faults.into_iter();
        let first = faults
            .next()
            .unwrap_or_else(|| Self::bad("body", "the request is wrong"));
        Self {
            more: faults.map(|fault| (fault.field, fault.detail)).collect(),
            ..first
        }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        let (status, field) = match error {
            StoreError::Taken { field, .. } => (StatusCode::CONFLICT, field),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "store"),
        };
        Self {
            status,
            field,
            detail: with_causes(&error),
            more: Vec::new(),
        }
    }
}

impl From<JsonRejection> for Refused {
    fn from(rejection: JsonRejection) -> Self {
        // The text names the key and the place: "missing field `name` at line 1 column 2".
        Self {
            status: rejection.status(),
            field: "body",
            detail: rejection.body_text(),
            more: Vec::new(),
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        if self.more.is_empty() {
            return problem(self.status, self.field, &self.detail);
        }
        let fault = |(field, detail): &(&str, String)| json!({ "field": field, "detail": detail });
        let more: Vec<_> = self.more.iter().map(fault).collect();
        let body = json!({
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "field": self.field,
            "detail": self.detail,
            "more": more,
        });
        (
            self.status,
            [("content-type", "application/problem+json")],
            body.to_string(),
        )
            .into_response()
    }
}

type Answer = Result<Response, Refused>;

fn parse<T: FromStr<Err: ToString>>(field: &'static str, text: &str) -> Result<T, Refused> {
    text.parse()
        .map_err(|error: T::Err| Refused::bad(field, format!("{text:?}: {}", error.to_string())))
}

/// What the new terminal is trusted by; and the secret, if it was made here.
fn trusted_by(
    new: &NewTerminal,
    believes_numbers: bool,
) -> Result<(TrustedBy, Option<ChapSecret>), Refused> {
    let trust = new.trust.as_deref().unwrap_or("key");
    let form = match trust {
        "key" => Some(KeyForm::Raw),
        "certificate" => Some(KeyForm::Certificate),
        "chap" | "number-only" => None,
        _ => {
            return Err(Refused::bad(
                "trust",
                format!("{trust:?} is not key, certificate, chap or number-only"),
            ));
        }
    };
    if new.chap_secret.is_some() && trust != "chap" {
        return Err(Refused::bad(
            "chap_secret",
            "is for terminals with trust chap",
        ));
    }
    if let Some(form) = form {
        return match new.deliver {
            Some(_) => Err(Refused::bad(
                "deliver",
                "is for stock terminals: with trust chap or number-only",
            )),
            None => Ok((TrustedBy::Key(form), None)),
        };
    }
    if new.number.is_none() {
        return Err(Refused::bad(
            "number",
            "a stock terminal is called: it needs a number",
        ));
    }
    let deliver = new.deliver.as_deref();
    let missing = || {
        Refused::bad(
            "deliver",
            "where does the stock terminal take messages? http://:PORT/PATH",
        )
    };
    let inbox = parse("deliver", deliver.ok_or_else(missing)?)?;
    if trust == "number-only" {
        if !believes_numbers {
            let detail = "nothing but its number would prove the terminal; the server's config must allow that: [stock] number_only = true";
            return Err(Refused::conflict("trust", detail));
        }
        return Ok((
            TrustedBy::Stock(Stock {
                trust: StockTrust::NumberOnly,
                inbox,
            }),
            None,
        ));
    }
    let (secret, made) = chap_secret(new)?;
    Ok((
        TrustedBy::Stock(Stock {
            trust: StockTrust::Chap(secret),
            inbox,
        }),
        made,
    ))
}

/// The secret; and once more, to be shown, if it was made here.
fn chap_secret(new: &NewTerminal) -> Result<(ChapSecret, Option<ChapSecret>), Refused> {
    if let Some(given) = &new.chap_secret {
        let given = given.parse::<ChapSecret>();
        return Ok((
            given.map_err(|error| Refused::bad("chap_secret", error))?,
            None,
        ));
    }
    let mut octets = [0; 24];
    getrandom::fill(&mut octets).map_err(|error| Refused::bad("chap_secret", error))?;
    let made = ChapSecret::from_octets(octets);
    Ok((made.clone(), Some(made)))
}

/// The value; what is wrong with it is noted.
fn noted<T>(faults: &mut Vec<Refused>, read: Result<T, Refused>) -> Option<T> {
    read.map_err(|fault| faults.push(fault)).ok()
}

async fn add_terminal(
    State(state): State<OperatorState>,
    body: Result<Json<NewTerminal>, JsonRejection>,
) -> Answer {
    let Json(new) = body?;
    let mut faults = Vec::new();
    if new.number.is_none() && new.address.is_none() {
        faults.push(Refused::bad(
            "number",
            "a terminal needs a number to be called on, an address, or both",
        ));
    }
    let mut octets = [0; 8];
    getrandom::fill(&mut octets).map_err(|error| Refused::bad("id", error))?;
    let name = noted(&mut faults, parse::<Name>("name", &new.name));
    let trusted_by = noted(
        &mut faults,
        trusted_by(&new, state.dialup.believes_numbers()),
    );
    let number = noted(
        &mut faults,
        state
            .number(new.number)
            .and_then(|number| state.dialled(number)),
    );
    let address = new
        .address
        .map(|address| parse::<Ipv4Addr>("address", &address))
        .transpose();
    let address = noted(&mut faults, address);
    let registrable = new
        .may_subscribe
        .iter()
        .map(|filter| parse::<TopicFilter>("may_subscribe", filter));
    let registrable: Vec<_> = registrable
        .filter_map(|filter| noted(&mut faults, filter))
        .collect();
    let (Some(name), Some((trusted_by, made)), Some(number), Some(address), true) =
        (name, trusted_by, number, address, faults.is_empty())
    else {
        return Err(Refused::several(faults));
    };
    let id = TerminalId::from_octets(octets);
    let terminal = Terminal {
        id,
        name,
        number,
        address,
        trusted_by,
        connection: Connection::Down,
    };
    state
        .store
        .add_terminal_with(terminal.clone(), registrable)
        .await?;
    let trust = terminal.trusted_by.as_str();
    match trust {
        "number-only" => {
            tracing::warn!(terminal = %terminal.name, trust, "terminal added: nothing but its number proves it");
        }
        _ => tracing::info!(terminal = %terminal.name, trust, "terminal added"),
    }
    let added = Question::Added {
        terminal: terminal.id,
        name: terminal.name.clone(),
    };
    let _ = state.questions.send(added).await; // stopping: it is watched from the next start on
    let mut shown = terminal_json(&terminal);
    if let Some(made) = made {
        shown["chap_secret"] = json!(made.reveal());
    }
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

async fn remove_terminal(State(state): State<OperatorState>, Path(name): Path<String>) -> Answer {
    let terminal = state.named(&name).await?;
    let name = terminal.name.clone();
    if !state
        .store
        .remove_terminal(name.clone(), Timestamp::now())
        .await?
    {
        return Err(Refused::missing("name", no_terminal(&name)));
    }
    state.keys.revoke(terminal.id, "removed");
    state.end_dialling(&terminal).await;
    tracing::info!(terminal = %name, "terminal removed");
    let _ = state.questions.send(Question::Removed(terminal.id)).await; // stopping: nobody is watched
    state.alarms.forget_terminal(&name).await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Puts a one-time secret out for a terminal, and gives the bundle that holds it.
async fn invite(
    State(state): State<OperatorState>,
    Path(name): Path<String>,
    body: Result<Json<Invitation>, JsonRejection>,
) -> Answer {
    let Json(Invitation {
        callers,
        seconds,
        no_callers,
    }) = body?;
    let terminal = state.named(&name).await?;
    if callers.is_empty() && !no_callers && terminal.number.is_some() {
        let detail = "without one the terminal would answer no call: give the numbers that this server calls from, or --no-caller for a terminal that only connects by itself";
        return Err(Refused::bad("caller", detail));
    }
    for caller in &callers {
        parse::<Number>("callers", caller)?;
    }
    let mut octets = [0; 32];
    getrandom::fill(&mut octets).map_err(|error| Refused::bad("secret", error))?;
    let secret = EnrolmentSecret::from_octets(octets);
    let expires_at = Timestamp::now() + SignedDuration::from_secs(seconds.into());
    if let Some(stock) = terminal.trusted_by.stock() {
        let trust = stock.trust.as_str();
        return Err(Refused::conflict(
            "name",
            format!("{name} is trusted by {trust}: it has no key, and takes no bundle"),
        ));
    }
    state
        .store
        .invite(terminal.id, secret.clone(), expires_at)
        .await?;
    state.trust_changed(terminal.id).await;
    tracing::info!(terminal = %terminal.name, %expires_at, "invited");
    let bundle = Bundle {
        terminal: terminal.id,
        name: terminal.name.to_string(),
        servers: state.keys.public(),
        callers,
        number: terminal.number.as_ref().map(Number::to_string),
        address: terminal.address.map(|address| address.to_string()),
        secret: Some(secret),
        expires_at,
    };
    Ok((
        StatusCode::CREATED,
        Json(Invited {
            bundle: bundle.to_string(),
            expires_at: expires_at.to_string(),
        }),
    )
        .into_response())
}

/// Says nothing more to a terminal: at once, and whatever it holds.
async fn shut_out(State(state): State<OperatorState>, Path(name): Path<String>) -> Answer {
    let terminal = state.named(&name).await?;
    state.store.shut_out(terminal.id, Timestamp::now()).await?;
    state.keys.revoke(terminal.id, "shut out");
    state.end_dialling(&terminal).await;
    tracing::warn!(terminal = %terminal.name, "shut out");
    state.trust_changed(terminal.id).await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// As which provider a terminal submits what it says on its own sessions.
async fn set_sender(
    State(state): State<OperatorState>,
    Path(name): Path<String>,
    body: Result<Json<NewSender>, JsonRejection>,
) -> Answer {
    let Json(NewSender { provider }) = body?;
    let terminal = state.named(&name).await?;
    let provider = provider
        .map(|provider| parse::<Name>("provider", &provider))
        .transpose()?;
    let had = state.store.sender(terminal.id).await?;
    if !state
        .store
        .set_sender(terminal.id, provider.clone())
        .await?
    {
        let detail = "there is no provider of this name; `ringup provider add` makes one";
        return Err(Refused::missing("provider", detail));
    }
    // What it is saying just now would still go by the right that it had.
    if had.is_some_and(|had| Some(had.name) != provider) {
        state.keys.sessions().end(
            &Whose::Terminal(terminal.id),
            None,
            "it lost the right to send",
        );
    }
    tracing::info!(terminal = %terminal.name, provider = provider.map(|name| name.to_string()), "sends as");
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn stopping() -> Refused {
    Refused {
        status: StatusCode::SERVICE_UNAVAILABLE,
        field: "server",
        detail: "the server is stopping; ask again when it runs".to_owned(),
        more: Vec::new(),
    }
}

fn no_terminal(name: &Name) -> String {
    format!("no terminal is named {name}; `ringup terminal list` shows those there are")
}
