//! The terminal's end of a delivery session: the HTTP/2 server that takes messages and gives receipts.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT_ENCODING;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::encoding::{EncodingError, ZSTD};
use crate::fields::{is_encoding_known, read_arrival};
use crate::message::{Arrival, Digest, MessageId};
use crate::outbox::{ItemAnswer, Outbox, OutboxBody};
use crate::plan::UNDER_WAY_MAX;
use crate::proof::{
    EnrolmentSecret, Proved, PublicKey, SERVER_KEYS_OCTETS_MAX, Secured, ServerKeyList,
};
use crate::{
    CONTENT_DIGEST, LAST, LINGERS, OUTBOX, REASON, REFUSED, SEND_BUFFER_OCTETS, UPLOAD_COMPLETE,
    UPLOAD_OFFSET, WINDOW_OCTETS,
};

/// Octets of request head taken: ours have about 200.
const HEAD_OCTETS_MAX: u32 = 4096;
/// Requests at once: the messages that a server has under way, and one more that asks.
const STREAMS_MAX: u32 = UNDER_WAY_MAX as u32 + 1;

/// Octets of a refused request's path that are logged: a message's has 25.
const PATH_LOGGED_MAX: usize = 100;
/// Refused requests of a session that are logged: a server that goes on is told so as often as it likes, but fills no log.
const REFUSALS_LOGGED_MAX: u32 = 20;

/// Where a terminal keeps what it receives. A receipt follows [`Inbox::store`], so that must not return before the
/// message is on the disk.
pub trait Inbox: Send + Sync + 'static {
    /// Stores a message durably, once for each id.
    fn store(
        &self,
        arrival: Arrival,
        content: Incoming,
    ) -> impl Future<Output = Result<Stored, StoreError>> + Send;

    /// How much of a message is here, on the disk.
    fn progress(&self, id: MessageId) -> impl Future<Output = Progress> + Send;

    /// Keeps the keys by which the server, which is proved, is known from now on, in place of those that were. They are on the
    /// disk on return. `false`: this terminal keeps none.
    ///
    /// # Errors
    /// [`StoreError`]: those that were stay.
    fn keep_server_keys(&self, _keys: &ServerKeyList) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// What this terminal has to say to its server, if it ever has anything.
    fn outbox(&self) -> Option<&dyn Outbox> {
        None
    }

    /// The server has proved itself; nothing is asked of the inbox before that.
    fn proved(&self) {}

    /// What has come is all that waited: the end of the session is no fault from here on.
    fn complete(&self) {}
}

/// A message is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// Published by this delivery.
    Now,
    /// Published before; this delivery changed nothing.
    Before,
}

/// How much of a message a terminal has. It admits to what is on the disk only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing that can be gone on with.
    Nothing,
    /// Some of it.
    Part {
        /// So many octets of what was on the line.
        offset: u64,
        /// The digest of all that, packed or not: it must go on in the same form.
        digest: Option<Digest>,
    },
    /// All of it, published.
    Whole,
    /// That cannot be said now: another session is still at work on it, or the disk does not answer.
    Unknown,
}

/// Why a message was not stored. The far end hears the text.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The content ended early or has another digest or size than announced.
    #[error("the content does not match its digest and size")]
    Damaged,
    /// The connection ended within the content.
    #[error("the connection ended within the content")]
    Cut,
    /// A message of this id was published here, and it was another.
    #[error("another message was published here under this id")]
    Reused,
    /// Fewer octets are here.
    #[error("the upload does not begin where this terminal is")]
    Offset,
    /// It is outside of what this terminal has said that it takes for now.
    #[error("not now{}", if .0.is_empty() { String::new() } else { format!(": {}", .0) })]
    NotNow(String),
    /// It cannot be unpacked; it may come unpacked.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
    /// It is larger than all that may be kept of its kind: it will never be taken.
    #[error("it is larger than the {quota} octets that this terminal keeps of its kind")]
    TooLarge {
        /// Octets that may be kept.
        quota: u64,
    },
    /// It failed while it was being published: it may be there after all.
    #[error("could not publish a message in the inbox")]
    Unsure(#[source] std::io::Error),
    /// This terminal's disk: the text says what failed.
    #[error("could not {operation}")]
    Disk {
        /// What was tried.
        operation: &'static str,
        /// The operating system's reason.
        #[source]
        source: std::io::Error,
    },
}

/// Longest time for what is being written at the end of a session to reach the disk and be acknowledged.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// After the last message a server hangs up by itself. If it does not, the terminal does.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Why a session ended other than by "nothing more".
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The connection failed.
    #[error("the session was lost")]
    Lost(#[source] hyper::Error),
    /// The server closed the connection without a word.
    #[error("the server closed the session without saying that there is nothing more")]
    Closed,
}

/// A terminal that the server does not know yet: what proves it.
#[derive(Debug, Clone)]
pub struct Enrolment {
    /// From the bundle.
    pub secret: EnrolmentSecret,
    /// The key that is to be known from now on.
    pub key: PublicKey,
}

/// Takes messages from `stream`, whose preamble has been written, until the server says that there is nothing more and
/// `linger` has passed without another message. (Zero hangs up at once.) What came as early data waits in memory until the
/// server is proved.
///
/// # Errors
/// [`ReceiveError`]: what was stored stays stored; the server delivers the rest again.
pub async fn receive<S, I>(
    stream: Secured<S>,
    inbox: Arc<I>,
    enrolment: Option<Enrolment>,
    linger: Duration,
) -> Result<(), ReceiveError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    I: Inbox,
{
    let (course, mut told) = watch::channel(Course::default());
    let course = Arc::new(course);
    let is_lingering = !linger.is_zero();
    let (proof, enrolment) = (stream.proof(), Arc::new(enrolment));
    // Closed when the last request has been dealt with.
    let (busy, mut idle) = mpsc::channel::<()>(1);
    let service = service_fn(|request| {
        let (inbox, course) = (inbox.clone(), course.clone());
        let (mut proof, enrolment) = (proof.clone(), enrolment.clone());
        let busy = busy.clone();
        async move {
            // Before the server's Finished nothing changes but memory. Without one there is nobody to answer.
            let Some(proved) = proof.wait().await else {
                return Ok::<_, Infallible>(say(StatusCode::FORBIDDEN, ""));
            };
            Ok(match (request.method(), request.uri().path()) {
                (&Method::POST, "/enrol") => enrol(enrolment.as_ref().as_ref(), &proved),
                (&Method::PUT, "/server-keys") => {
                    keep_server_keys(inbox.as_ref(), &proved, request).await
                }
                _ => answer(&inbox, busy, &course, is_lingering, request).await,
            })
        }
    });
    let mut proof = stream.proof();
    let proved = async {
        if proof.wait().await.is_some() {
            inbox.proved();
        }
        std::future::pending::<()>().await;
    };
    let connection = http2::Builder::new(TokioExecutor::new())
        .auto_date_header(false) // 30 octets of line for what the server knows
        .initial_stream_window_size(WINDOW_OCTETS)
        .initial_connection_window_size(WINDOW_OCTETS)
        .max_send_buf_size(SEND_BUFFER_OCTETS)
        .max_header_list_size(HEAD_OCTETS_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut watched = told.clone();
    let lingered = async {
        loop {
            // The sender lives as long as this future's caller: waiting cannot fail before the connection ends.
            let stay = match watched
                .wait_for(|course| course.is_over())
                .await
                .map(|course| course.end)
            {
                Ok(End::Last | End::Offered) if !is_lingering => LAST_WAIT,
                _ => linger,
            };
            if stay.is_zero() || timeout(stay, watched.changed()).await.is_err() {
                return;
            }
        }
    };
    let ended = tokio::select! {
        biased;
        () = proved => Ok(()),
        () = lingered => Ok(()),
        // The server hangs up on the receipt of the last message.
        ended = connection => {
            if told.borrow_and_update().is_over() {
                Ok(())
            } else {
                Err(ended.map_or_else(ReceiveError::Lost, |()| ReceiveError::Closed))
            }
        }
    };
    drop(busy);
    // A part that was cut off is kept, as far as it has come.
    let _ = timeout(LAST_WRITES, idle.recv()).await;
    ended
}

/// How far a session has come.
#[derive(Debug, Clone, Copy, Default)]
struct Course {
    end: End,
    /// Messages that have begun to come and have no answer yet.
    under_way: usize,
    /// Requests that were refused.
    refused: u32,
}

impl Course {
    /// What has come is all that waited.
    fn is_over(self) -> bool {
        self.end != End::Open && self.under_way == 0
    }
}

/// Whether more is to come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum End {
    /// It may.
    #[default]
    Open,
    /// The message that began last was the last.
    Last,
    /// Nothing more is to come; the server was told that something waits here, and may ask for it.
    Offered,
    /// The server has said so.
    NothingMore,
}

/// An answer: a few words, or all that waits here.
type Answer = Response<Either<Full<Bytes>, OutboxBody<UnderWay>>>;

/// A message that is coming, or what waits here and is going; whatever becomes of its request, it counts no longer when this is dropped.
struct UnderWay(Arc<watch::Sender<Course>>);

impl UnderWay {
    fn begin(course: &Arc<watch::Sender<Course>>) -> Self {
        course.send_modify(|course| {
            *course = Course {
                end: End::Open,
                under_way: course.under_way + 1,
                ..*course
            }
        });
        Self(course.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|course| course.under_way -= 1);
    }
}

async fn answer(
    inbox: &Arc<impl Inbox>,
    busy: mpsc::Sender<()>,
    course: &Arc<watch::Sender<Course>>,
    is_lingering: bool,
    request: Request<Incoming>,
) -> Answer {
    let (parts, content) = request.into_parts();
    match (&parts.method, parts.uri.path()) {
        (&Method::HEAD, path) if path.starts_with("/m/") => {
            let Ok(id) = path[3..].parse() else {
                return refuse(course, &parts, StatusCode::BAD_REQUEST, "no message id");
            };
            tell(inbox.progress(id).await)
        }
        (&Method::PUT | &Method::PATCH, path) if path.starts_with("/m/") => {
            let arrival = match read_arrival(&path[3..], &parts.method, &parts.headers) {
                Ok(_) if !is_encoding_known(&parts.headers) => {
                    return refuse(
                        course,
                        &parts,
                        StatusCode::UNSUPPORTED_MEDIA_TYPE,
                        "only zstd is unpacked here",
                    );
                }
                Ok(arrival) => arrival,
                Err(what) => return refuse(course, &parts, StatusCode::BAD_REQUEST, what),
            };
            let under_way = UnderWay::begin(course);
            // A task of its own: hyper drops this one with its stream, and a part that was cut off is still to be kept.
            let store = {
                let inbox = inbox.clone();
                tokio::spawn(async move {
                    let _busy = busy;
                    inbox.store(arrival, content).await
                })
            };
            let stored = store
                .await
                .unwrap_or_else(|failed| Err(StoreError::Unsure(std::io::Error::other(failed))));
            let is_last = stored.is_ok() && parts.headers.contains_key(LAST);
            // Said only where the server would hang up otherwise: elsewhere it costs octets and changes nothing.
            let offers = is_last && has_something_to_say(inbox);
            if is_last {
                course.send_modify(|course| {
                    course.end = if offers { End::Offered } else { End::Last }
                });
            }
            drop(under_way);
            if course.borrow().is_over() {
                inbox.complete();
            }
            match stored {
                Ok(stored) => offer(receipt(stored, is_lingering), offers),
                Err(error) => {
                    // The server hears what is wrong; what the operating system says of it is for who looks after this machine.
                    let source =
                        std::error::Error::source(&error).map(|source| format!(": {source}"));
                    let reason = format!("{error}{}", source.unwrap_or_default());
                    note_refusal(course, &parts, refusal(&error), &reason);
                    say(refusal(&error), &error.to_string())
                }
            }
        }
        (&Method::POST, "/nothing-more") => {
            let offers = has_something_to_say(inbox);
            course.send_modify(|course| {
                course.end = if offers {
                    End::Offered
                } else {
                    End::NothingMore
                }
            });
            if course.borrow().is_over() {
                inbox.complete();
            }
            offer(say(StatusCode::NO_CONTENT, ""), offers)
        }
        (&Method::GET, "/outbox") => match inbox.outbox() {
            Some(outbox) => {
                let body = OutboxBody::new(outbox.read(), UnderWay::begin(course));
                Response::new(Either::Right(body))
            }
            None => say(StatusCode::NOT_FOUND, "this terminal has nothing to say"),
        },
        (&Method::DELETE | &Method::POST, path) if path.starts_with("/outbox/") => {
            // While the server answers it has not forgotten us.
            let _under_way = UnderWay::begin(course);
            settle(inbox, &parts)
        }
        _ => {
            let reason = "only /m/{id}, /outbox and POST /nothing-more are known here";
            refuse(course, &parts, StatusCode::NOT_FOUND, reason)
        }
    }
}

fn has_something_to_say(inbox: &Arc<impl Inbox>) -> bool {
    inbox.outbox().is_some_and(Outbox::waits)
}

fn offer(mut response: Answer, offers: bool) -> Answer {
    if offers {
        response
            .headers_mut()
            .insert(OUTBOX, HeaderValue::from_static("1"));
    }
    response
}

/// The server's word about an item: taken, or refused.
fn settle(inbox: &Arc<impl Inbox>, parts: &Parts) -> Answer {
    let Some(outbox) = inbox.outbox() else {
        return say(StatusCode::NOT_FOUND, "");
    };
    let Ok(id) = parts.uri.path()["/outbox/".len()..].parse() else {
        return say(StatusCode::BAD_REQUEST, "");
    };
    let text = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let answer = if parts.method == Method::DELETE {
        ItemAnswer::Accepted
    } else {
        let Some(status) = text(REFUSED).and_then(|status| status.parse().ok()) else {
            return say(StatusCode::BAD_REQUEST, "refused is missing or no status");
        };
        let reason = text(REASON).map(|reason| percent_decode_str(reason).decode_utf8_lossy());
        ItemAnswer::Refused {
            status,
            reason: reason.unwrap_or_default().into_owned(),
        }
    };
    match outbox.settle(id, answer) {
        Ok(()) => say(StatusCode::NO_CONTENT, ""),
        Err(error) => say(StatusCode::INSUFFICIENT_STORAGE, &error.to_string()),
    }
}

fn refusal(error: &StoreError) -> StatusCode {
    match error {
        StoreError::Damaged | StoreError::Cut => StatusCode::BAD_REQUEST,
        StoreError::Offset | StoreError::Reused => StatusCode::CONFLICT,
        StoreError::Encoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        StoreError::NotNow(_) => StatusCode::SERVICE_UNAVAILABLE,
        StoreError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        StoreError::Unsure(_) => StatusCode::INTERNAL_SERVER_ERROR,
        StoreError::Disk { .. } => StatusCode::INSUFFICIENT_STORAGE,
    }
}

fn refuse(
    course: &watch::Sender<Course>,
    request: &Parts,
    status: StatusCode,
    reason: &str,
) -> Answer {
    note_refusal(course, request, status, reason);
    say(status, reason)
}

fn note_refusal(course: &watch::Sender<Course>, request: &Parts, status: StatusCode, reason: &str) {
    let mut count = 0;
    course.send_if_modified(|course| {
        course.refused = course.refused.saturating_add(1);
        count = course.refused;
        false // nobody waits for that
    });
    let (method, path) = (
        &request.method,
        request
            .uri
            .path()
            .get(..PATH_LOGGED_MAX)
            .unwrap_or(request.uri.path()),
    );
    match count {
        ..REFUSALS_LOGGED_MAX => {
            tracing::warn!(%method, path, status = status.as_u16(), reason, "refused");
        }
        REFUSALS_LOGGED_MAX => {
            tracing::warn!(%method, path, "refused; more of this session are not logged");
        }
        _ => {}
    }
}

fn tell(progress: Progress) -> Answer {
    let (complete, part) = match progress {
        Progress::Nothing => return say(StatusCode::NOT_FOUND, ""),
        Progress::Part { offset, digest } => ("?0", Some((offset, digest))),
        Progress::Whole => ("?1", None),
        Progress::Unknown => return say(StatusCode::SERVICE_UNAVAILABLE, ""),
    };
    let mut response = say(StatusCode::NO_CONTENT, "");
    let fields = response.headers_mut();
    fields.insert(UPLOAD_COMPLETE, HeaderValue::from_static(complete));
    if let Some((offset, digest)) = part {
        fields.insert(UPLOAD_OFFSET, offset.into());
        if let Some(digest) = digest {
            fields.insert(
                CONTENT_DIGEST,
                digest
                    .to_header()
                    .parse()
                    .expect("base64 is valid in a field"),
            );
        }
    }
    response
}

fn receipt(stored: Stored, is_lingering: bool) -> Answer {
    let mut receipt = match stored {
        Stored::Now => say(StatusCode::CREATED, ""),
        Stored::Before => say(StatusCode::OK, ""),
    };
    if is_lingering {
        receipt
            .headers_mut()
            .insert(LINGERS, HeaderValue::from_static("1"));
    }
    receipt
}

fn enrol(enrolment: Option<&Enrolment>, proved: &Proved) -> Answer {
    match enrolment {
        Some(Enrolment { secret, key }) => {
            say(StatusCode::OK, &secret.prove(proved, *key).to_string())
        }
        None => say(
            StatusCode::NOT_FOUND,
            "this terminal holds no enrolment secret; enrol it with a bundle",
        ),
    }
}

async fn keep_server_keys(
    inbox: &impl Inbox,
    proved: &Proved,
    request: Request<Incoming>,
) -> Answer {
    let body = Limited::new(request.into_body(), SERVER_KEYS_OCTETS_MAX)
        .collect()
        .await;
    let text = body
        .ok()
        .and_then(|body| String::from_utf8(body.to_bytes().into()).ok())
        .unwrap_or_default();
    let keys = match text.parse::<ServerKeyList>() {
        Ok(keys) => keys,
        Err(error) => return say(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    // Who leaves out the key in its hand would lock itself out, or has made a mistake.
    if !keys.keys().contains(&proved.peer) {
        return say(
            StatusCode::BAD_REQUEST,
            "the key that the server is proved by is not among them",
        );
    }
    match inbox.keep_server_keys(&keys) {
        Ok(true) => say(StatusCode::NO_CONTENT, ""),
        Ok(false) => say(
            StatusCode::NOT_FOUND,
            "this terminal keeps no keys that it is told",
        ),
        Err(error) => say(StatusCode::INSUFFICIENT_STORAGE, &error.to_string()),
    }
}

fn say(status: StatusCode, text: &str) -> Answer {
    let mut response = Response::new(Either::Left(Full::new(Bytes::copy_from_slice(
        text.as_bytes(),
    ))));
    *response.status_mut() = status;
    // What this terminal unpacks (RFC 7694 §3); an octet or so from the second answer on.
    response
        .headers_mut()
        .insert(ACCEPT_ENCODING, HeaderValue::from_static(ZSTD));
    response
}

#[cfg(test)]
mod tests;
