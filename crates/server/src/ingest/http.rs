//! Submissions over HTTP: on the host's own port, and on every link.
//!
//! `POST /v1/messages?to=tel:201&to=ip:10.77.0.2` with the content as body and the provider's token as bearer token.
//! `to=topic:news/weather` is for all that have registered for it, and so is a CloudEvent of that type without a `to`.
//! 202 means: on the disk. Everything else is a problem document (RFC 9457) that names the field and the remedy.
//! `GET /v1/messages/ID` tells what became of it, `DELETE` cancels it.

mod cloud_event;
mod query;

use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router, body::Body};
use bytes::Bytes;
use delivery::{ContentType, MessageId};
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use jiff::Timestamp;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use self::query::Wanted;
use super::early_answer::EarlyAnswer;
use crate::door::Door as Entrance;
use crate::http_connection::{self, HEAD_WAIT};
use crate::intake::{Intake, Refusal};
use crate::metrics::Metrics;
use model::attempt::AttemptKind;
use model::provider::Provider;
use model::subscription::Calls;
use model::verdict::Verdict;
use store::{
    Cancelled, DeliveryEntry, EnvelopeEntry, Holder, MessageEntry, OverQuota, Store, StoreError,
};

/// Connections of the submission port: in all, and of one address. A reverse proxy is this machine, and has them all.
const CONNECTIONS_MAX: usize = 512;
const CONNECTIONS_OF_ONE_MAX: usize = 128;

/// A content that stands still for 30 s, or comes slower than an old modem on the average, keeps others out.
const ON_THE_HOST: Pace = Pace {
    silence_max: Duration::from_secs(30),
    octets_per_second: 512,
};
/// A retrain of modems may take most of a minute.
const ON_A_LINK: Pace = Pace {
    silence_max: Duration::from_secs(60),
    octets_per_second: 0,
};

/// The average counts after this.
const PACE_GRACE_SECONDS: u64 = 60;

/// When to send again what a quota or a full disk refused: not before a call or two. In seconds.
const RETRY_AFTER_SECONDS: u32 = 60;

/// The submission service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Submissions {
    /// For listeners of the host, and for links.
    host: Router,
    link: Router,
}

/// How slowly a content may come.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Between two pieces.
    silence_max: Duration,
    /// Octets a second on the average, after the first minute; 0 on a link, which has limits of its own.
    octets_per_second: u64,
}

/// Says, on a link, that a provider was recognised by its token.
#[derive(Debug, Clone)]
struct Recognised(CancellationToken);

#[derive(Debug, Clone)]
struct Door {
    intake: Intake,
    store: Store,
    metrics: Metrics,
    pace: Pace,
}

impl Submissions {
    /// The service in front of `intake`.
    pub fn new(intake: Intake, store: Store, metrics: Metrics) -> Self {
        let router = |pace| {
            Self::router(Door {
                intake: intake.clone(),
                store: store.clone(),
                metrics: metrics.clone(),
                pace,
            })
        };
        Self {
            host: router(ON_THE_HOST),
            link: router(ON_A_LINK),
        }
    }

    fn router(door: Door) -> Router {
        Router::new()
            .route("/v1/messages", post(submit))
            .route("/v1/messages/{id}", get(show).delete(cancel))
            .fallback(|| async {
                problem(StatusCode::NOT_FOUND, "path", "only /v1/messages is here")
            })
            .method_not_allowed_fallback(|| async {
                let detail = "POST to /v1/messages; GET and DELETE for /v1/messages/ID";
                problem(StatusCode::METHOD_NOT_ALLOWED, "method", detail)
            })
            .with_state(door)
    }

    /// Serves one connection of a link until it ends; `recognised` is cancelled with the first request that has a provider's
    /// token.
    pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        recognised: CancellationToken,
    ) {
        let router = self.link.clone().layer(Extension(Recognised(recognised)));
        http_connection::serve(stream, router, HEAD_WAIT, &CancellationToken::new()).await;
    }

    /// Serves a listener of the host until `shutdown`.
    pub(crate) async fn listen(
        &self,
        listener: TcpListener,
        seats: usize,
        shutdown: CancellationToken,
    ) {
        let (seats, local) = (seats.min(CONNECTIONS_MAX), CONNECTIONS_MAX);
        let door = Entrance::shared(seats, CONNECTIONS_OF_ONE_MAX).with_local_max(local);
        http_connection::listen(
            listener,
            "submissions",
            self.host.clone(),
            seats,
            door,
            shutdown,
        )
        .await;
    }
}

async fn submit(
    State(door): State<Door>,
    caller: Option<Extension<Recognised>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    mut body: Body,
) -> Response {
    match take(&door, caller, query.as_deref(), &headers, &mut body).await {
        Ok(response) => response,
        Err(problem) => {
            door.metrics.refused(problem.status);
            let text = problem_json(problem.status, problem.field, &problem.detail).to_string();
            problem.head(EarlyAnswer::body(text, body))
        }
    }
}

async fn take(
    door: &Door,
    caller: Option<Extension<Recognised>>,
    query: Option<&str>,
    headers: &HeaderMap,
    body: &mut Body,
) -> Result<Response, Problem> {
    // Who asks comes first: a stranger learns nothing about destinations, and none of his content is read.
    let provider = door.recognise(caller, headers).await?;
    let Wanted {
        recipients,
        handling,
    } = Wanted::read(query.unwrap_or_default(), headers, Timestamp::now())?;
    let content_type = match headers
        .get(CONTENT_TYPE)
        .map(|value| value.to_str().unwrap_or_default().parse())
    {
        None => ContentType::octets(),
        Some(parsed) => parsed.map_err(|error: delivery::ContentTypeError| {
            Problem::new("content-type", error.to_string())
        })?,
    };
    let max = door.intake.size_max();
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|size| size > max) {
        return Err(Refusal::TooLarge { max }.into());
    }
    // What the provider may not send is not read either.
    let permitted = door.intake.permit(provider, recipients, handling).await?;
    let (mut draft, began) = (door.intake.draft_of(permitted.provider()), Instant::now());
    while let Some(frame) = door.pace.next(body, began, draft.size()).await? {
        let frame = frame.map_err(|_| {
            Problem::new("body", "the content ended early; nothing was stored".into())
        })?;
        let Ok(octets) = frame.into_data() else {
            continue;
        };
        if draft.size() + octets.len() as u64 > max {
            return Err(Refusal::TooLarge { max }.into());
        }
        draft = draft.write(&octets).await.map_err(Refusal::from)?;
    }
    let content = draft.finish().await.map_err(Refusal::from)?;
    // A token that was taken back while the content came is void, too.
    door.intake.recognise(bearer(headers)).await?;
    let accepted = door.intake.take(permitted, content_type, content).await?;
    let body = json!({ "id": accepted.id.to_string(), "envelopes": accepted.envelopes });
    let location = format!("/v1/messages/{}", accepted.id);
    Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(body)).into_response())
}

async fn show(
    State(door): State<Door>,
    caller: Option<Extension<Recognised>>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let shown = async {
        let (provider, id) = door.asked(caller, id, &headers).await?;
        match door.store.message(id).await.map_err(Refusal::from)? {
            // Another provider's message does not exist for this one.
            Some(message) if message.provider == provider.name => {
                Ok(Json(message_json(&message)).into_response())
            }
            _ => Err(Problem::no_message()),
        }
    };
    shown.await.unwrap_or_else(IntoResponse::into_response)
}

async fn cancel(
    State(door): State<Door>,
    caller: Option<Extension<Recognised>>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let cancelled = async {
        let (provider, id) = door.asked(caller, id, &headers).await?;
        let cancelled = door
            .intake
            .cancel(provider, id)
            .await?
            .ok_or_else(Problem::no_message)?;
        cancelled_answer(id, cancelled)
    };
    cancelled.await.unwrap_or_else(IntoResponse::into_response)
}

/// What is told of a cancellation, here and on the operator's socket.
pub(crate) fn cancelled_answer(id: MessageId, cancelled: Cancelled) -> Result<Response, Problem> {
    let Cancelled {
        cancelled,
        under_way,
        settled,
    } = cancelled;
    if cancelled == 0 && under_way == 0 {
        let detail = "nothing to cancel: every envelope of it has its verdict".to_owned();
        return Err(Problem {
            status: StatusCode::CONFLICT,
            field: "id",
            detail,
            is_for_later: false,
        });
    }
    let body = json!({ "id": id.to_string(), "cancelled": cancelled, "under_way": under_way, "settled": settled });
    // What is on a line, or may be at its terminal, is cancelled later, if no receipt comes: its verdict tells.
    let status = if under_way > 0 {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(body)).into_response())
}

impl Pace {
    /// The next piece of a content: when it began to come, and the octets that are here.
    async fn next(
        self,
        body: &mut Body,
        began: Instant,
        octets: u64,
    ) -> Result<Option<Result<Frame<Bytes>, axum::Error>>, Problem> {
        let too_slow = |why: String| Problem {
            status: StatusCode::REQUEST_TIMEOUT,
            field: "body",
            detail: format!("{why}; nothing was stored"),
            is_for_later: true,
        };
        let seconds = began.elapsed().as_secs().saturating_sub(PACE_GRACE_SECONDS);
        if seconds * self.octets_per_second > octets {
            return Err(too_slow(format!(
                "the content came slower than {} octets a second",
                self.octets_per_second
            )));
        }
        let silence = format!("nothing came for {} s", self.silence_max.as_secs());
        timeout(self.silence_max, body.frame())
            .await
            .map_err(|_| too_slow(silence))
    }
}

impl Door {
    /// Who asks, by the token.
    async fn recognise(
        &self,
        caller: Option<Extension<Recognised>>,
        headers: &HeaderMap,
    ) -> Result<Provider, Problem> {
        let provider = self.intake.recognise(bearer(headers)).await?;
        if let Some(Extension(Recognised(recognised))) = caller {
            recognised.cancel();
        }
        Ok(provider)
    }

    /// Who asks, and about which message.
    async fn asked(
        &self,
        caller: Option<Extension<Recognised>>,
        id: Result<Path<String>, PathRejection>,
        headers: &HeaderMap,
    ) -> Result<(Provider, MessageId), Problem> {
        let provider = self.recognise(caller, headers).await?;
        let id = id.ok().and_then(|Path(id)| id.parse::<MessageId>().ok());
        let wrong = || {
            Problem::new(
                "id",
                "a message id has 22 characters, as the 202 gave it".to_owned(),
            )
        };
        Ok((provider, id.ok_or_else(wrong)?))
    }
}

/// A message as JSON: here and on the operator's socket.
pub(crate) fn message_json(message: &MessageEntry) -> serde_json::Value {
    let handling = &message.handling;
    json!({
        "id": message.head.id.to_string(),
        "provider": message.provider.to_string(),
        "content_type": message.head.content_type.as_str(),
        "size": message.head.size,
        "sha256": message.head.digest.to_string(),
        "accepted_at": message.accepted_at,
        "urgency": handling.urgency.as_str(),
        "topic": handling.topic.as_ref().map(ToString::to_string),
        "expires_at": handling.expires_at,
        "replace_key": handling.replace_key,
        "idempotency_key": handling.idempotency_key,
        "envelope_count": message.envelopes_count,
        "envelopes": message.envelopes.iter().map(envelope_json).collect::<Vec<_>>(),
    })
}

fn envelope_json(envelope: &EnvelopeEntry) -> serde_json::Value {
    let deliveries = envelope.deliveries.iter().map(|delivery| {
        let DeliveryEntry { call, began_at, ended_at, outcome, kind, octets } = delivery;
        let kind = kind.map(AttemptKind::as_str);
        json!({ "call": call, "began_at": began_at, "ended_at": ended_at, "outcome": outcome, "kind": kind, "octets": octets })
    });
    json!({
        "terminal": envelope.terminal,
        "state": envelope.verdict.map_or("waiting", Verdict::as_str),
        "reason": envelope.reason,
        "under_way": envelope.under_way,
        "in_doubt_since": envelope.in_doubt_since,
        "pending": envelope.pending.as_ref().map(|(verdict, _)| verdict.as_str()),
        "refusals": envelope.refusals,
        "rests_until": envelope.rests_until,
        "causes_call": match envelope.calls {
            Calls::Now => json!("now"),
            Calls::From(at) => json!(at),
            Calls::Never => json!("never"),
        },
        "call": envelope.call,
        "at": envelope.at,
        "deliveries": deliveries.collect::<Vec<_>>(),
    })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
}

/// What is wrong, for a problem document.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    field: &'static str,
    detail: String,
    /// The same request may succeed later.
    is_for_later: bool,
}

impl Problem {
    fn new(field: &'static str, detail: String) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            field,
            detail,
            is_for_later: false,
        }
    }

    fn unsupported(field: &'static str, detail: String) -> Self {
        Self {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            field,
            detail,
            is_for_later: false,
        }
    }

    fn no_message() -> Self {
        let detail = "no message of yours has this id".to_owned();
        Self {
            status: StatusCode::NOT_FOUND,
            field: "id",
            detail,
            is_for_later: false,
        }
    }

    /// For who answers in another way than this one.
    pub(crate) fn status_and_detail(self) -> (StatusCode, String) {
        (self.status, self.detail)
    }

    /// The answer with this body.
    fn head(&self, body: Body) -> Response {
        let mut response = (self.status, [(CONTENT_TYPE, PROBLEM_TYPE)], body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"ringup\""),
            );
        }
        if self.is_for_later {
            response
                .headers_mut()
                .insert(RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.head(
            problem_json(self.status, self.field, &self.detail)
                .to_string()
                .into(),
        )
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (status, field, is_for_later) = match &refusal {
            Refusal::Token => (StatusCode::UNAUTHORIZED, "authorization", false),
            Refusal::Disabled => (StatusCode::FORBIDDEN, "authorization", false),
            Refusal::NoDestination | Refusal::TooManyDestinations(_) => {
                (StatusCode::BAD_REQUEST, "to", false)
            }
            Refusal::UnknownDestination(_) => (StatusCode::NOT_FOUND, "to", false),
            Refusal::ForbiddenDestination(_) => (StatusCode::FORBIDDEN, "to", false),
            Refusal::TwoTopics(..) => (StatusCode::BAD_REQUEST, "topic", false),
            Refusal::ForbiddenTopic(_) => (StatusCode::FORBIDDEN, "topic", false),
            Refusal::Expired(_) => (StatusCode::BAD_REQUEST, "expires", false),
            Refusal::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body", false),
            Refusal::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key", false),
            Refusal::Quota(OverQuota {
                holder: Holder::Provider(_),
                ..
            }) => (StatusCode::TOO_MANY_REQUESTS, "provider", true),
            Refusal::Quota(OverQuota {
                holder: Holder::Terminal(_),
                ..
            }) => (StatusCode::TOO_MANY_REQUESTS, "to", true),
            Refusal::Full => (StatusCode::INSUFFICIENT_STORAGE, "store", true),
            // Removed while the submission was on its way in.
            Refusal::Store(StoreError::NoTerminal(_)) => (StatusCode::NOT_FOUND, "to", false),
            Refusal::Store(error) => {
                tracing::error!(%error, "submission not stored");
                (StatusCode::SERVICE_UNAVAILABLE, "store", true)
            }
        };
        Self {
            status,
            field,
            detail: refusal.to_string(),
            is_for_later,
        }
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
    (
        status,
        [(CONTENT_TYPE, PROBLEM_TYPE)],
        problem_json(status, field, detail).to_string(),
    )
        .into_response()
}

#[cfg(test)]
mod tests;
