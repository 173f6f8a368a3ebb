//! Submissions over HTTP: on the host's own port, and on every link.
//!
//! `POST /v1/messages?to=tel:201&to=ip:10.77.0.2` with the content as body and the provider's token as bearer token.
//! 202 means: on the disk. Everything else is a problem document (RFC 9457) that names the field and the remedy.

use std::io;

use axum::extract::{Path, RawQuery, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, body::Body};
use delivery::{ContentType, MessageId};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use percent_encoding::percent_decode_str;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};

use super::early_answer::EarlyAnswer;
use crate::directory::Destination;
use crate::intake::{Intake, Refusal, Submission};
use crate::store::{MessageEntry, Store};

/// The submission service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Submissions {
    router: Router,
}

#[derive(Debug, Clone)]
struct Door {
    intake: Intake,
    store: Store,
}

impl Submissions {
    /// The service in front of `intake`.
    pub fn new(intake: Intake, store: Store) -> Self {
        let router = Router::new()
            .route("/v1/messages", post(submit))
            .route("/v1/messages/{id}", get(show))
            .fallback(|| async { problem(StatusCode::NOT_FOUND, "path", "only /v1/messages is here") })
            .with_state(Door { intake, store });
        Self { router }
    }

    /// The routes, for a listener of the host.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Serves one connection of a link until it ends.
    pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) {
        let service = TowerToHyperService::new(self.router.clone());
        let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
        if let Err(error) = connection.await {
            tracing::debug!(%error, "submission connection ended");
        }
    }
}

async fn submit(State(door): State<Door>, RawQuery(query): RawQuery, headers: HeaderMap, mut body: Body) -> Response {
    match take(&door, query.as_deref(), &headers, &mut body).await {
        Ok(response) => response,
        Err(Problem { status, field, detail }) => {
            let text = problem_json(status, field, &detail).to_string();
            (status, [(CONTENT_TYPE, PROBLEM_TYPE)], EarlyAnswer::body(text, body)).into_response()
        }
    }
}

async fn take(door: &Door, query: Option<&str>, headers: &HeaderMap, body: &mut Body) -> Result<Response, Problem> {
    // Who asks comes first: a stranger learns nothing about destinations, and none of his content is read.
    let provider = door.intake.recognise(bearer(headers)).await?;
    let destinations = destinations(query.unwrap_or_default())?;
    let content_type = match headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default().parse()) {
        None => ContentType::octets(),
        Some(parsed) => {
            parsed.map_err(|error: delivery::ContentTypeError| Problem::new("content-type", error.to_string()))?
        }
    };
    let max = door.intake.size_max();
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|size| size > max) {
        return Err(Refusal::TooLarge { max }.into());
    }
    let limit = usize::try_from(max).unwrap_or(usize::MAX);
    let content = match Limited::new(body, limit).collect().await {
        Ok(content) => content.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(Refusal::TooLarge { max }.into()),
        Err(_) => return Err(Problem::new("body", "the content ended early; nothing was stored".into())),
    };
    let accepted = door.intake.submit(Submission { provider, destinations, content_type, content }).await?;
    let body = json!({ "id": accepted.id.to_string(), "envelopes": accepted.terminals.len() });
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

async fn show(State(door): State<Door>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let provider = match door.intake.recognise(bearer(&headers)).await {
        Ok(provider) => provider,
        Err(refusal) => {
            let Problem { status, field, detail } = refusal.into();
            return problem(status, field, &detail);
        }
    };
    let Ok(id) = id.parse::<MessageId>() else {
        return problem(StatusCode::BAD_REQUEST, "id", "a message id has 22 characters, as the 202 gave it");
    };
    match door.store.message(id).await {
        // Another provider's message does not exist for this one.
        Ok(Some(message)) if message.provider == provider.name => Json(message_json(&message)).into_response(),
        Ok(_) => problem(StatusCode::NOT_FOUND, "id", "no message of yours has this id"),
        Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, "store", &error.to_string()),
    }
}

/// A message as JSON: here and on the operator's socket.
pub(crate) fn message_json(message: &MessageEntry) -> serde_json::Value {
    let envelopes: Vec<_> = message
        .envelopes
        .iter()
        .map(|envelope| {
            json!({
                "terminal": envelope.terminal,
                "state": envelope.verdict.unwrap_or("waiting"),
                "call": envelope.call,
                "at": envelope.at,
            })
        })
        .collect();
    json!({
        "id": message.head.id.to_string(),
        "provider": message.provider.to_string(),
        "content_type": message.head.content_type.as_str(),
        "size": message.head.size,
        "sha256": message.head.digest.to_string(),
        "accepted_at": message.accepted_at,
        "envelopes": envelopes,
    })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// Reads `to=tel:201&to=...`. A `+` is a plus, as in a number, not a blank, as in a form.
fn destinations(query: &str) -> Result<Vec<Destination>, Problem> {
    let mut destinations = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("to", value)) => {
                let value = percent_decode_str(value).decode_utf8_lossy();
                let parsed = value.parse::<Destination>();
                destinations.push(parsed.map_err(|error| Problem::new("to", format!("{value:?}: {error}")))?);
            }
            _ => {
                let detail = format!("{pair:?} is not known here; give to=DESTINATION");
                return Err(Problem::new("query", detail));
            }
        }
    }
    Ok(destinations)
}

/// What is wrong, for a problem document.
struct Problem {
    status: StatusCode,
    field: &'static str,
    detail: String,
}

impl Problem {
    fn new(field: &'static str, detail: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, field, detail }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (status, field) = match &refusal {
            Refusal::Token => (StatusCode::UNAUTHORIZED, "authorization"),
            Refusal::NoDestination | Refusal::TooManyDestinations(_) => (StatusCode::BAD_REQUEST, "to"),
            Refusal::UnknownDestination(_) => (StatusCode::NOT_FOUND, "to"),
            Refusal::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body"),
            Refusal::Store(error) => {
                tracing::error!(%error, "submission not stored");
                (StatusCode::SERVICE_UNAVAILABLE, "store")
            }
        };
        Self { status, field, detail: refusal.to_string() }
    }
}

const PROBLEM_TYPE: &str = "application/problem+json";

/// A problem document (RFC 9457 §3) that names the field.
fn problem_json(status: StatusCode, field: &str, detail: &str) -> serde_json::Value {
    json!({
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "field": field,
        "detail": detail,
    })
}

/// A whole response that is a problem document.
pub(crate) fn problem(status: StatusCode, field: &str, detail: &str) -> Response {
    (status, [(CONTENT_TYPE, PROBLEM_TYPE)], problem_json(status, field, detail).to_string()).into_response()
}

/// Serves a router on a listener of the host until `shutdown`.
///
/// # Errors
/// If the listener fails.
pub(crate) async fn serve_host(
    listener: tokio::net::TcpListener,
    router: Router,
    shutdown: tokio_util::sync::CancellationToken,
) -> io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_read_from_the_query_and_faults_name_their_field() {
        let read = |query| destinations(query).map_err(|problem| (problem.field, problem.detail));
        let expected: Vec<Destination> = vec!["tel:+49301234".parse().unwrap(), "ip:10.77.0.2".parse().unwrap()];
        assert_eq!(read("to=tel:%2B49301234&to=ip:10.77.0.2"), Ok(expected));
        assert_eq!(read(""), Ok(vec![]));
        assert_eq!(read("to=201").unwrap_err().0, "to");
        assert_eq!(read("too=tel:201").unwrap_err().0, "query");
    }
}
