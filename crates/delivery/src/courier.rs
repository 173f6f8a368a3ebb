//! The server's end of a delivery session: the HTTP/2 client that brings messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT_ENCODING;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use crate::encoding::ZSTD;
use crate::fields;
use crate::message::{Digest, MessageId, Parcel, Urgency};
use crate::octets::{Departure, Octets};
use crate::outbox::OutboxReader;
use crate::plan::Due;
use crate::portions::{Content, Flushed, WayOut};
use crate::proof::{EnrolmentProof, EnrolmentSecret, Proof, PublicKey, Secured, ServerKeyList};
use crate::receiver::Progress;
use crate::{
    CONTENT_DIGEST, LINGERS, OUTBOX, SEND_BUFFER_OCTETS, UPLOAD_COMPLETE, UPLOAD_OFFSET,
    WINDOW_OCTETS,
};

/// How long a terminal may take to say that it is there.
const KEEP_ALIVE_WAIT: Duration = Duration::from_secs(20);

/// Octets kept of a terminal's explanation of a refusal.
const REASON_OCTETS_MAX: usize = 1000;

/// A delivery session on a stream whose preamble has been read. Dropping it ends the session.
///
/// Requests go in the order in which they are made; their contents as [`Plan`](crate::Plan) would have them, the most
/// urgent first, whatever is under way.
#[derive(Debug)]
pub struct Courier {
    requests: http2::SendRequest<Content>,
    /// The connection's own task; it ends with the courier.
    connection: JoinSet<hyper::Result<()>>,
    way: WayOut,
    proof: Proof,
    said: Arc<Said>,
}

/// What the terminal has said of itself in its answers.
#[derive(Debug, Default)]
struct Said {
    lingers: AtomicBool,
    takes_zstd: AtomicBool,
    /// Something waits in its outbox, and was not asked for since.
    has_outbox: AtomicBool,
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
    pub async fn start<S>(
        stream: Secured<S>,
        keep_alive: Option<Duration>,
    ) -> Result<Self, DeliveryError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (proof, way) = (stream.proof(), WayOut::new(stream.rate_bps()));
        let (requests, driver) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(keep_alive)
            .keep_alive_timeout(KEEP_ALIVE_WAIT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(WINDOW_OCTETS)
            .initial_connection_window_size(WINDOW_OCTETS)
            .max_send_buf_size(SEND_BUFFER_OCTETS)
            .handshake(TokioIo::new(Flushed::new(stream, way.clone())))
            .await
            .map_err(DeliveryError::Lost)?;
        let mut connection = JoinSet::new();
        connection.spawn(driver);
        Ok(Self {
            requests,
            connection,
            way,
            proof,
            said: Arc::default(),
        })
    }

    /// Has a terminal whose key is not known yet prove that it holds the secret; gives the key.
    ///
    /// # Errors
    /// [`EnrolError`]: whoever is there must not be told anything more.
    pub async fn enrol(&mut self, secret: &EnrolmentSecret) -> Result<PublicKey, EnrolError> {
        let response = self
            .requests
            .send_request(post("/enrol"))
            .await
            .map_err(EnrolError::Lost)?;
        self.said.note(&response);
        let status = response.status();
        let body = Limited::new(response.into_body(), REASON_OCTETS_MAX)
            .collect()
            .await;
        let proof = body
            .ok()
            .and_then(|body| EnrolmentProof::read(&body.to_bytes()));
        // An answer came, so the handshake is over.
        let proved = self.proof.wait().await;
        match (status, proof, proved) {
            (StatusCode::OK, Some(proof), Some(proved))
                if secret.admits(proof, &proved, proved.peer) =>
            {
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
        let request = Request::builder()
            .method(Method::PUT)
            .uri("http://terminal/server-keys");
        let keys = Octets::from(Bytes::from(keys.to_string()));
        // Before all messages: from the next call on another key may prove the server.
        let due = Due {
            urgency: Urgency::Urgent,
            id: MessageId::now(),
            size: keys.size(),
        };
        let content = Content::new(due, &keys, 0, self.way.clone());
        let request = request.body(content).expect("a constant request is valid");
        let response = self
            .requests
            .send_request(request)
            .await
            .map_err(DeliveryError::Lost)?;
        Ok(response.status() == StatusCode::NO_CONTENT)
    }

    /// Whether the terminal has said that it stays when nothing more waits.
    pub fn lingers(&self) -> bool {
        self.said.lingers.load(Ordering::Relaxed)
    }

    /// Whether the terminal has said that it unpacks zstd.
    pub fn takes_zstd(&self) -> bool {
        self.said.takes_zstd.load(Ordering::Relaxed)
    }

    /// Brings one message, from `offset` on, which is where the terminal said that it is; the request is made at once, and
    /// what is returned waits for the receipt. `is_last`: nothing else waits, and the call is to end with the last receipt.
    ///
    /// # Errors
    /// [`DeliveryError`].
    pub fn deliver(
        &mut self,
        parcel: &Parcel,
        offset: u64,
        is_last: bool,
    ) -> impl Future<Output = Result<Receipt, DeliveryError>> + Send + use<> {
        self.send(parcel, offset, is_last).1
    }

    /// The same; tells, too, how much of the content has been taken for the line.
    ///
    /// # Errors
    /// [`DeliveryError`], from what is returned second.
    pub fn send(
        &mut self,
        parcel: &Parcel,
        offset: u64,
        is_last: bool,
    ) -> (
        Departure,
        impl Future<Output = Result<Receipt, DeliveryError>> + Send + use<>,
    ) {
        let content = Content::new(parcel.due(), parcel.octets(), offset, self.way.clone());
        let departure = content.departure();
        let request = fields::of_parcel(parcel, offset, is_last).body(content);
        let request = request.expect("what is said of a message is valid in a field");
        let (response, said) = (self.requests.send_request(request), self.said.clone());
        let receipt = async move {
            let response = response.await.map_err(DeliveryError::Lost)?;
            said.note(&response);
            match response.status() {
                StatusCode::CREATED => Ok(Receipt::Stored),
                StatusCode::OK => Ok(Receipt::StoredBefore),
                status => {
                    let body = Limited::new(response.into_body(), REASON_OCTETS_MAX)
                        .collect()
                        .await;
                    let octets = body
                        .map(http_body_util::Collected::to_bytes)
                        .unwrap_or_default();
                    let reason = String::from_utf8_lossy(&octets).into_owned();
                    Err(DeliveryError::Refused { status, reason })
                }
            }
        };
        (departure, receipt)
    }

    /// Asks how much of a message the terminal has from an earlier call; made at once, as [`Courier::deliver`].
    ///
    /// # Errors
    /// [`DeliveryError`].
    pub fn progress(
        &mut self,
        id: MessageId,
    ) -> impl Future<Output = Result<Progress, DeliveryError>> + Send + use<> {
        let request = Request::builder()
            .method(Method::HEAD)
            .uri(format!("http://terminal/m/{id}"));
        let request = request
            .body(Content::default())
            .expect("an id is a valid path");
        let (response, said) = (self.requests.send_request(request), self.said.clone());
        async move {
            let response = response.await.map_err(DeliveryError::Lost)?;
            said.note(&response);
            let text = |name: &str| {
                response
                    .headers()
                    .get(name)
                    .and_then(|value| value.to_str().ok())
            };
            Ok(
                match (
                    text(UPLOAD_COMPLETE),
                    text(UPLOAD_OFFSET).and_then(|offset| offset.parse().ok()),
                ) {
                    (Some("?1"), _) => Progress::Whole,
                    (Some("?0"), Some(offset)) => {
                        let digest =
                            text(CONTENT_DIGEST).and_then(|value| Digest::from_header(value).ok());
                        Progress::Part { offset, digest }
                    }
                    _ if response.status() == StatusCode::NOT_FOUND => Progress::Nothing,
                    _ => Progress::Unknown,
                },
            )
        }
    }

    /// Says that there is nothing more. A terminal that hangs up on it gives no answer, which is the answer.
    ///
    /// # Errors
    /// [`DeliveryError::Lost`] if the session is over, which is what was asked for.
    pub async fn nothing_more(&mut self) -> Result<(), DeliveryError> {
        let response = self
            .requests
            .send_request(post("/nothing-more"))
            .await
            .map_err(DeliveryError::Lost)?;
        self.said.note(&response);
        Ok(())
    }

    /// Whether the terminal has said that it has something to say, and was not asked for it since.
    pub fn has_outbox(&self) -> bool {
        self.said.has_outbox.load(Ordering::Relaxed)
    }

    /// Asks the terminal for what it has to say; made at once. `None`: it has nothing.
    ///
    /// # Errors
    /// [`DeliveryError::Lost`].
    pub fn outbox(
        &mut self,
    ) -> impl Future<Output = Result<Option<OutboxReader>, DeliveryError>> + Send + use<> {
        self.said.has_outbox.store(false, Ordering::Relaxed);
        let request = Request::builder()
            .uri("http://terminal/outbox")
            .body(Content::default());
        let response = self
            .requests
            .send_request(request.expect("a constant request is valid"));
        let requests = self.requests.clone();
        async move {
            let response = response.await.map_err(DeliveryError::Lost)?;
            Ok((response.status() == StatusCode::OK)
                .then(|| OutboxReader::new(requests, response.into_body())))
        }
    }

    /// Waits until the session is over. May be dropped and called again.
    pub async fn closed(&mut self) {
        self.connection.join_next().await;
    }
}

impl Said {
    fn note(&self, response: &Response<Incoming>) {
        let headers = response.headers();
        self.has_outbox
            .fetch_or(headers.contains_key(OUTBOX), Ordering::Relaxed);
        self.lingers
            .fetch_or(headers.contains_key(LINGERS), Ordering::Relaxed);
        let takes = headers
            .get_all(ACCEPT_ENCODING)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let takes_zstd = takes
            .flat_map(|value| value.split(','))
            .any(|coding| coding.trim() == ZSTD);
        self.takes_zstd.fetch_or(takes_zstd, Ordering::Relaxed);
    }
}

fn post(path: &str) -> Request<Content> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://terminal{path}"));
    request
        .body(Content::default())
        .expect("a constant request is valid")
}
