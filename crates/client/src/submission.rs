//! Handing a message to the server: one HTTP request, over a link or over a network.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use delivery::{ContentType, Urgency};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};

/// Octets of answer taken.
const ANSWER_OCTETS_MAX: usize = 64 * 1024;

/// How long a submission may take in all: a megabyte at 2400 bit/s, and the server's answer.
const SUBMIT_WAIT: Duration = Duration::from_secs(2 * 3600);

/// A message to be submitted.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The provider's token.
    pub token: String,
    /// Whom it is for: `tel:...`, `ip:...`, `terminal:...`; at least one.
    pub destinations: Vec<String>,
    /// What the content is.
    pub content_type: ContentType,
    /// The content.
    pub content: Bytes,
    /// How it is to be treated.
    pub handling: Handling,
}

/// How a message is to be treated; what is not said is the server's default.
#[derive(Debug, Clone, Default)]
pub struct Handling {
    /// How soon it must be there.
    pub urgency: Urgency,
    /// Expiry: seconds from now, or a time as RFC 3339 writes it.
    pub expires: Option<String>,
    /// It takes the place of what waits under the same key.
    pub replace_key: Option<String>,
    /// The data type it belongs to.
    pub topic: Option<String>,
    /// Under the same key the same submission may be sent again: it is taken once.
    pub idempotency_key: Option<String>,
}

impl Handling {
    /// The keys and values for the query, encoded.
    fn query(&self) -> impl Iterator<Item = String> {
        let urgency = Some(self.urgency.to_string()).filter(|_| self.urgency != Urgency::default());
        let pairs = [
            ("urgency", urgency),
            ("expires", self.expires.clone()),
            ("replace", self.replace_key.clone()),
            ("topic", self.topic.clone()),
        ];
        let pairs = pairs
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)));
        pairs.map(|(key, value)| format!("{key}={}", utf8_percent_encode(&value, NON_ALPHANUMERIC)))
    }
}

/// What the server answered: it is on its disk.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Accepted {
    /// The message's id.
    pub id: String,
    /// For how many terminals it waits.
    pub envelopes: u64,
}

/// Why a submission was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The server says no; the text names the field and the remedy.
    #[error("the server refused the message ({status}): {field}: {detail}")]
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// Which part of the request is wrong.
        field: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A token, destination or key that cannot stand in a request.
    #[error("the token, a destination or the key has characters that cannot be sent")]
    Request(#[source] http::Error),
    /// The connection failed. The message may or may not have been accepted: submit it again.
    #[error("the connection to the server failed")]
    Connection(#[source] hyper::Error),
    /// The server did not answer.
    #[error("the server did not answer in {} s", SUBMIT_WAIT.as_secs())]
    Silence,
    /// Whatever answered is no Ringup server.
    #[error("what answered is not a Ringup server (status {0})")]
    NotRingup(StatusCode),
    /// The connection could not be made.
    #[error("could not connect to the server")]
    Connect(#[source] io::Error),
}

impl SubmitError {
    /// Whether the server would refuse the same again, whenever it comes: nothing is gained by trying. What is over a quota
    /// (429) or came too slowly (408) may be taken later.
    pub fn is_for_good(&self) -> bool {
        let Self::Refused { status, .. } = self else {
            return false;
        };
        status.is_client_error()
            && !matches!(
                *status,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
            )
    }
}

/// A problem document (RFC 9457).
#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    field: String,
    detail: String,
}

/// Submits one message over `stream` and waits for the server's word that it is on its disk.
///
/// # Errors
/// [`SubmitError`].
pub async fn submit<S>(
    stream: S,
    host: &str,
    submission: Submission,
) -> Result<Accepted, SubmitError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let destinations = submission.destinations.iter().map(|to| format!("to={to}"));
    let query: Vec<_> = destinations.chain(submission.handling.query()).collect();
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(format!("/v1/messages?{}", query.join("&")))
        .header(HOST, host)
        .header(AUTHORIZATION, format!("Bearer {}", submission.token))
        .header(CONTENT_TYPE, submission.content_type.as_str());
    if let Some(key) = &submission.handling.idempotency_key {
        request = request.header("idempotency-key", key);
    }
    let request = request
        .body(Full::new(submission.content))
        .map_err(SubmitError::Request)?;
    let (mut requests, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(SubmitError::Connection)?;
    let exchange = async {
        let response = requests
            .send_request(request)
            .await
            .map_err(SubmitError::Connection)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_OCTETS_MAX)
            .collect()
            .await;
        let body = body.map_err(|_| SubmitError::NotRingup(status))?.to_bytes();
        read_answer(status, &body)
    };
    let answer = async {
        let mut connection = std::pin::pin!(connection);
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            // The connection's own failure is told by the exchange, which it wakes.
            _ = &mut connection => exchange.await,
        }
    };
    tokio::time::timeout(SUBMIT_WAIT, answer)
        .await
        .unwrap_or(Err(SubmitError::Silence))
}

fn read_answer(status: StatusCode, body: &[u8]) -> Result<Accepted, SubmitError> {
    if status == StatusCode::ACCEPTED {
        return serde_json::from_slice(body).map_err(|_| SubmitError::NotRingup(status));
    }
    match serde_json::from_slice::<Problem>(body) {
        Ok(Problem { field, detail }) => Err(SubmitError::Refused {
            status,
            field,
            detail,
        }),
        Err(_) => Err(SubmitError::NotRingup(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handling_is_told_where_it_is_not_the_default_and_cannot_break_the_query() {
        assert_eq!(Handling::default().query().count(), 0);
        let handling = Handling {
            urgency: Urgency::Bulk,
            replace_key: Some("a&to=tel:9 #\u{e9}".into()),
            ..Handling::default()
        };
        let query: Vec<_> = handling.query().collect();
        assert_eq!(
            query,
            ["urgency=bulk", "replace=a%26to%3Dtel%3A9%20%23%C3%A9"]
        );
    }

    #[test]
    fn only_what_would_be_refused_again_is_refused_for_good() {
        let refused = |status| {
            read_answer(status, br#"{"field":"to","detail":"no"}"#)
                .unwrap_err()
                .is_for_good()
        };
        let for_good = [
            StatusCode::BAD_REQUEST,
            StatusCode::UNAUTHORIZED,
            StatusCode::NOT_FOUND,
        ];
        assert!(
            for_good
                .into_iter()
                .chain([StatusCode::PAYLOAD_TOO_LARGE])
                .all(refused)
        );
        let for_now = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::REQUEST_TIMEOUT,
            StatusCode::INSUFFICIENT_STORAGE,
        ];
        assert!(!for_now.into_iter().any(refused));
        assert!(
            !SubmitError::NotRingup(StatusCode::NOT_FOUND).is_for_good(),
            "that is not the server's word"
        );
    }

    #[test]
    fn an_answer_is_an_id_or_a_reason() {
        let accepted = read_answer(StatusCode::ACCEPTED, br#"{"id":"x","envelopes":1}"#).unwrap();
        assert_eq!(
            accepted,
            Accepted {
                id: "x".into(),
                envelopes: 1
            }
        );
        let refused = read_answer(
            StatusCode::NOT_FOUND,
            br#"{"field":"to","detail":"no terminal has tel:9"}"#,
        );
        let text = refused.unwrap_err().to_string();
        assert_eq!(
            text,
            "the server refused the message (404 Not Found): to: no terminal has tel:9"
        );
        assert!(matches!(
            read_answer(StatusCode::OK, b"<html>"),
            Err(SubmitError::NotRingup(_))
        ));
    }
}
