//! The server's end of a delivery session: the HTTP/2 client that brings messages.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Builder;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use crate::message::{MessageHead, MessageId};
use crate::proof::{EnrolmentProof, EnrolmentSecret, Proof, PublicKey, Secured, ServerKeyList};
use crate::receiver::Progress;
use crate::{
    DIGEST_ABOVE, LAST, LINGERS, SEND_BUFFER_OCTETS, UPLOAD_COMPLETE, UPLOAD_LENGTH, UPLOAD_OFFSET, WINDOW_OCTETS,
};

/// How long a terminal may take to say that it is there.
const KEEP_ALIVE_WAIT: Duration = Duration::from_secs(20);

/// Octets kept of a terminal's explanation of a refusal.
const REASON_OCTETS_MAX: usize = 1000;

/// A delivery session on a stream whose preamble has been read. Dropping it ends the session.
#[derive(Debug)]
pub struct Courier {
    requests: http2::SendRequest<Full<Bytes>>,
    /// The connection's own task; it ends with the courier.
    connection: JoinSet<hyper::Result<()>>,
    proof: Proof,
    lingers: bool,
}

/// A terminal's word that a message is on its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// It is there now.
    Stored,
    /// It was there already: an earlier receipt was lost.
    StoredBefore,
}

/// Why there is no receipt.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The terminal does not take the message. The terminal's fault, or the message's; the link is fine.
    #[error("the terminal refused the message with status {status}: {reason}")]
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// The terminal's words, at most 1000 octets, control characters replaced.
        reason: String,
    },
    /// The session is gone; the message may or may not have arrived. Deliver it again.
    #[error("the session was lost")]
    Lost(#[source] hyper::Error),
}

/// Why a terminal was not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// It has no secret: it was not given a bundle, or has enrolled elsewhere.
    #[error("the terminal holds no enrolment secret")]
    NoSecret,
    /// It has another, or is not the terminal.
    #[error("the terminal does not know the enrolment secret")]
    WrongSecret,
    /// The session is gone.
    #[error("the session was lost")]
    Lost(#[source] hyper::Error),
}

impl Courier {
    /// Begins a session. `keep_alive` is how often a silent terminal is asked whether it is there; `None`, as on a line, which
    /// tells when it is not, sends nothing that is not asked for.
    ///
    /// # Errors
    /// If the connection fails before the first octets are handed down.
    pub async fn start<S>(stream: Secured<S>, keep_alive: Option<Duration>) -> Result<Self, DeliveryError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let proof = stream.proof();
        let (requests, driver) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(keep_alive)
            .keep_alive_timeout(KEEP_ALIVE_WAIT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(WINDOW_OCTETS)
            .initial_connection_window_size(WINDOW_OCTETS)
            .max_send_buf_size(SEND_BUFFER_OCTETS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(DeliveryError::Lost)?;
        let mut connection = JoinSet::new();
        connection.spawn(driver);
        Ok(Self { requests, connection, proof, lingers: false })
    }

    /// Has a terminal whose key is not known yet prove that it holds the secret; gives the key.
    ///
    /// # Errors
    /// [`EnrolError`]: whoever is there must not be told anything more.
    pub async fn enrol(&mut self, secret: &EnrolmentSecret) -> Result<PublicKey, EnrolError> {
        let response = self.requests.send_request(post("/enrol")).await.map_err(EnrolError::Lost)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), REASON_OCTETS_MAX).collect().await;
        let proof = body.ok().and_then(|body| EnrolmentProof::read(&body.to_bytes()));
        // An answer came, so the handshake is over.
        let proved = self.proof.wait().await;
        match (status, proof, proved) {
            (StatusCode::OK, Some(proof), Some(proved)) if secret.admits(proof, &proved, proved.peer) => {
                Ok(proved.peer)
            }
            (StatusCode::NOT_FOUND, ..) => Err(EnrolError::NoSecret),
            _ => Err(EnrolError::WrongSecret),
        }
    }

    /// Tells the terminal all keys by which this server is known from now on. `true`: they are on its disk; `false`: it does not
    /// take them, and knows those that it knew.
    ///
    /// # Errors
    /// [`DeliveryError::Lost`].
    pub async fn tell_keys(&mut self, keys: &ServerKeyList) -> Result<bool, DeliveryError> {
        let request = Request::builder().method(Method::PUT).uri("http://terminal/server-keys");
        let request = request.body(Full::new(keys.to_string().into())).expect("a constant request is valid");
        let response = self.requests.send_request(request).await.map_err(DeliveryError::Lost)?;
        Ok(response.status() == StatusCode::NO_CONTENT)
    }

    /// Whether the terminal has said that it stays when nothing more waits.
    pub fn lingers(&self) -> bool {
        self.lingers
    }

    /// Brings one message and waits for its receipt. `is_last`: nothing else waits, and the call is to end with the receipt.
    ///
    /// # Errors
    /// [`DeliveryError`].
    pub async fn deliver(
        &mut self,
        head: &MessageHead,
        content: Bytes,
        is_last: bool,
    ) -> Result<Receipt, DeliveryError> {
        let request = message(Method::PUT, head, is_last).header(CONTENT_LENGTH, head.size);
        self.bring(request, content).await
    }

    /// How much of a message the terminal has from an earlier call.
    ///
    /// # Errors
    /// [`DeliveryError`].
    pub async fn progress(&mut self, id: MessageId) -> Result<Progress, DeliveryError> {
        let request = Request::builder().method(Method::HEAD).uri(format!("http://terminal/m/{id}"));
        let request = request.body(Full::default()).expect("an id is a valid path");
        let response = self.requests.send_request(request).await.map_err(DeliveryError::Lost)?;
        let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        Ok(match (text(UPLOAD_COMPLETE), text(UPLOAD_OFFSET).and_then(|offset| offset.parse().ok())) {
            (Some("?1"), _) => Progress::Whole,
            (Some("?0"), Some(offset)) => Progress::Part(offset),
            _ => Progress::Nothing,
        })
    }

    /// Brings the rest of a message, from `offset` on, which is where the terminal said that it is.
    ///
    /// # Errors
    /// [`DeliveryError`].
    pub async fn resume(
        &mut self,
        head: &MessageHead,
        rest: Bytes,
        offset: u64,
        is_last: bool,
    ) -> Result<Receipt, DeliveryError> {
        let request = message(Method::PATCH, head, is_last)
            .header(CONTENT_LENGTH, rest.len())
            .header(UPLOAD_OFFSET, offset)
            .header(UPLOAD_LENGTH, head.size)
            .header(UPLOAD_COMPLETE, "?1");
        self.bring(request, rest).await
    }

    async fn bring(&mut self, request: Builder, content: Bytes) -> Result<Receipt, DeliveryError> {
        let request = request.body(Full::new(content)).expect("ids, content types and digests are valid header values");
        let response = self.requests.send_request(request).await.map_err(DeliveryError::Lost)?;
        self.lingers |= response.headers().contains_key(LINGERS);
        match response.status() {
            StatusCode::CREATED => Ok(Receipt::Stored),
            StatusCode::OK => Ok(Receipt::StoredBefore),
            status => {
                let body = Limited::new(response.into_body(), REASON_OCTETS_MAX).collect().await;
                let octets = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                let reason = String::from_utf8_lossy(&octets).replace(char::is_control, "?");
                Err(DeliveryError::Refused { status, reason })
            }
        }
    }

    /// Says that there is nothing more. A terminal that hangs up on it gives no answer, which is the answer.
    ///
    /// # Errors
    /// [`DeliveryError::Lost`] if the session is over, which is what was asked for.
    pub async fn nothing_more(&mut self) -> Result<(), DeliveryError> {
        self.requests.send_request(post("/nothing-more")).await.map(drop).map_err(DeliveryError::Lost)
    }

    /// Waits until the session is over. May be dropped and called again.
    pub async fn closed(&mut self) {
        self.connection.join_next().await;
    }
}

fn message(method: Method, head: &MessageHead, is_last: bool) -> Builder {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("http://terminal/m/{}", head.id))
        .header(CONTENT_TYPE, head.content_type.as_str());
    if head.size > DIGEST_ABOVE {
        request = request.header("content-digest", head.digest.to_header());
    }
    if is_last {
        request = request.header(LAST, "1");
    }
    request
}

fn post(path: &str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(Method::POST).uri(format!("http://terminal{path}"));
    request.body(Full::default()).expect("a constant request is valid")
}
