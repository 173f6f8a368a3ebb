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
use crate::proof::{EnrolmentSecret, Proved, PublicKey, SERVER_KEYS_OCTETS_MAX, Secured, ServerKeyList};
use crate::{
    CONTENT_DIGEST, LAST, LINGERS, OUTBOX, REASON, REFUSED, SEND_BUFFER_OCTETS, UPLOAD_COMPLETE, UPLOAD_OFFSET,
    WINDOW_OCTETS,
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
    fn store(&self, arrival: Arrival, content: Incoming) -> impl Future<Output = Result<Stored, StoreError>> + Send;

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
    /// Not so many octets are here.
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

/// What is being written when a session ends may take so long to be brought to the disk, and admitted to.
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
            let Some(proved) = proof.wait().await else { return Ok::<_, Infallible>(say(StatusCode::FORBIDDEN, "")) };
            Ok(match (request.method(), request.uri().path()) {
                (&Method::POST, "/enrol") => enrol(enrolment.as_ref().as_ref(), &proved),
                (&Method::PUT, "/server-keys") => keep_server_keys(inbox.as_ref(), &proved, request).await,
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
            let stay = match watched.wait_for(|course| course.is_over()).await.map(|course| course.end) {
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
        course.send_modify(|course| *course = Course { end: End::Open, under_way: course.under_way + 1, ..*course });
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
                    return refuse(course, &parts, StatusCode::UNSUPPORTED_MEDIA_TYPE, "only zstd is unpacked here");
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
            let stored = store.await.unwrap_or_else(|failed| Err(StoreError::Unsure(std::io::Error::other(failed))));
            let is_last = stored.is_ok() && parts.headers.contains_key(LAST);
            // Said only where the server would hang up otherwise: elsewhere it costs octets and changes nothing.
            let offers = is_last && has_something_to_say(inbox);
            if is_last {
                course.send_modify(|course| course.end = if offers { End::Offered } else { End::Last });
            }
            drop(under_way);
            if course.borrow().is_over() {
                inbox.complete();
            }
            match stored {
                Ok(stored) => offer(receipt(stored, is_lingering), offers),
                Err(error) => {
                    // The server hears what is wrong; what the operating system says of it is for who looks after this machine.
                    let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
                    let reason = format!("{error}{}", source.unwrap_or_default());
                    note_refusal(course, &parts, refusal(&error), &reason);
                    say(refusal(&error), &error.to_string())
                }
            }
        }
        (&Method::POST, "/nothing-more") => {
            let offers = has_something_to_say(inbox);
            course.send_modify(|course| course.end = if offers { End::Offered } else { End::NothingMore });
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
        response.headers_mut().insert(OUTBOX, HeaderValue::from_static("1"));
    }
    response
}

/// The server's word about an item: taken, or refused.
fn settle(inbox: &Arc<impl Inbox>, parts: &Parts) -> Answer {
    let Some(outbox) = inbox.outbox() else { return say(StatusCode::NOT_FOUND, "") };
    let Ok(id) = parts.uri.path()["/outbox/".len()..].parse() else { return say(StatusCode::BAD_REQUEST, "") };
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let answer = if parts.method == Method::DELETE {
        ItemAnswer::Accepted
    } else {
        let Some(status) = text(REFUSED).and_then(|status| status.parse().ok()) else {
            return say(StatusCode::BAD_REQUEST, "refused is missing or no status");
        };
        let reason = text(REASON).map(|reason| percent_decode_str(reason).decode_utf8_lossy());
        ItemAnswer::Refused { status, reason: reason.unwrap_or_default().into_owned() }
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

fn refuse(course: &watch::Sender<Course>, request: &Parts, status: StatusCode, reason: &str) -> Answer {
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
    let (method, path) = (&request.method, request.uri.path().get(..PATH_LOGGED_MAX).unwrap_or(request.uri.path()));
    match count {
        ..REFUSALS_LOGGED_MAX => tracing::warn!(%method, path, status = status.as_u16(), reason, "refused"),
        REFUSALS_LOGGED_MAX => tracing::warn!(%method, path, "refused; more of this session are not logged"),
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
            fields.insert(CONTENT_DIGEST, digest.to_header().parse().expect("base64 is valid in a field"));
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
        receipt.headers_mut().insert(LINGERS, HeaderValue::from_static("1"));
    }
    receipt
}

fn enrol(enrolment: Option<&Enrolment>, proved: &Proved) -> Answer {
    match enrolment {
        Some(Enrolment { secret, key }) => say(StatusCode::OK, &secret.prove(proved, *key).to_string()),
        None => say(StatusCode::NOT_FOUND, "this terminal holds no enrolment secret; enrol it with a bundle"),
    }
}

async fn keep_server_keys(inbox: &impl Inbox, proved: &Proved, request: Request<Incoming>) -> Answer {
    let body = Limited::new(request.into_body(), SERVER_KEYS_OCTETS_MAX).collect().await;
    let text = body.ok().and_then(|body| String::from_utf8(body.to_bytes().into()).ok()).unwrap_or_default();
    let keys = match text.parse::<ServerKeyList>() {
        Ok(keys) => keys,
        Err(error) => return say(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    // Who leaves out the key in its hand would lock itself out, or has made a mistake.
    if !keys.keys().contains(&proved.peer) {
        return say(StatusCode::BAD_REQUEST, "the key that the server is proved by is not among them");
    }
    match inbox.keep_server_keys(&keys) {
        Ok(true) => say(StatusCode::NO_CONTENT, ""),
        Ok(false) => say(StatusCode::NOT_FOUND, "this terminal keeps no keys that it is told"),
        Err(error) => say(StatusCode::INSUFFICIENT_STORAGE, &error.to_string()),
    }
}

fn say(status: StatusCode, text: &str) -> Answer {
    let mut response = Response::new(Either::Left(Full::new(Bytes::copy_from_slice(text.as_bytes()))));
    *response.status_mut() = status;
    // What this terminal unpacks (RFC 7694 §3); an octet or so from the second answer on.
    response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static(ZSTD));
    response
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::DuplexStream;

    use super::*;
    use crate::TerminalId;
    use crate::courier::{Courier, DeliveryError, Receipt};
    use crate::message::{ContentType, Manner, MessageHead, Parcel};
    use crate::proof::{CourierCredentials, Pin, SecretKey, TerminalCredentials};

    /// Two ends that know each other's keys.
    fn ends() -> (Secured<DuplexStream>, Secured<DuplexStream>) {
        ends_with(&SecretKey::generate().unwrap())
    }

    fn ends_with(terminal: &SecretKey) -> (Secured<DuplexStream>, Secured<DuplexStream>) {
        let server = SecretKey::generate().unwrap();
        let (near, far) = tokio::io::duplex(1000);
        let courier = CourierCredentials::new(&server).unwrap();
        let pin = Pin::Keys(vec![terminal.public()]);
        let near = courier.secure(near, TerminalId::from_octets([1; 8]), pin, 33_600).unwrap();
        let far = TerminalCredentials::new(terminal, vec![server.public()], None).unwrap().secure(far, 33_600).unwrap();
        (near, far)
    }

    #[derive(Default)]
    struct Shelf(Mutex<Vec<(MessageId, Bytes)>>);

    /// Keeps the server's keys, or cannot.
    struct KeyShelf(Mutex<Result<Vec<PublicKey>, ()>>);

    impl Inbox for KeyShelf {
        async fn store(&self, _head: Arrival, _content: Incoming) -> Result<Stored, StoreError> {
            unreachable!("nothing is brought")
        }

        async fn progress(&self, _id: MessageId) -> Progress {
            Progress::Nothing
        }

        fn keep_server_keys(&self, keys: &ServerKeyList) -> Result<bool, StoreError> {
            let mut kept = self.0.lock().unwrap();
            let full = || StoreError::Disk { operation: "keep", source: std::io::ErrorKind::StorageFull.into() };
            *kept.as_mut().map_err(|()| full())? = keys.keys().to_vec();
            Ok(true)
        }
    }

    #[tokio::test]
    async fn a_terminal_keeps_the_servers_new_keys_if_the_one_it_was_proved_by_is_among_them() {
        let key = SecretKey::generate().unwrap();
        let (near, far) = ends_with(&key);
        let server = far.expected_servers()[0];
        let new = SecretKey::generate().unwrap().public();
        let kept = Arc::new(KeyShelf(Mutex::new(Ok(vec![]))));
        tokio::spawn(receive(far, kept.clone(), None, Duration::ZERO));
        let mut courier = Courier::start(near, None).await.unwrap();
        let list = |keys: &[PublicKey]| ServerKeyList::new(keys.to_vec()).unwrap();
        assert!(!courier.tell_keys(&list(&[new])).await.unwrap(), "who would lock itself out is refused");
        assert_eq!(kept.0.lock().unwrap().as_ref().unwrap().len(), 0);
        assert!(courier.tell_keys(&list(&[server, new])).await.unwrap());
        assert_eq!(kept.0.lock().unwrap().as_deref().unwrap(), &[server, new]);
        *kept.0.lock().unwrap() = Err(());
        assert!(!courier.tell_keys(&list(&[server])).await.unwrap(), "the disk is full");
    }

    #[tokio::test]
    async fn a_terminal_that_keeps_no_keys_says_so() {
        let (near, far) = ends();
        let server = far.expected_servers()[0];
        tokio::spawn(receive(far, Arc::new(Shelf::default()), None, Duration::ZERO));
        let mut courier = Courier::start(near, None).await.unwrap();
        assert!(!courier.tell_keys(&ServerKeyList::new(vec![server]).unwrap()).await.unwrap());
    }

    impl Inbox for Shelf {
        async fn store(&self, head: Arrival, content: Incoming) -> Result<Stored, StoreError> {
            let content = content.collect().await.map_err(|_| StoreError::Cut)?.to_bytes();
            if head.digest.is_some_and(|digest| Digest::of(&content) != digest) {
                return Err(StoreError::Damaged);
            }
            let mut shelf = self.0.lock().unwrap();
            if shelf.iter().any(|(id, _)| *id == head.id) {
                return Ok(Stored::Before);
            }
            shelf.push((head.id, content));
            Ok(Stored::Now)
        }

        async fn progress(&self, id: MessageId) -> Progress {
            if self.0.lock().unwrap().iter().any(|(known, _)| *known == id) {
                Progress::Whole
            } else {
                Progress::Part { offset: 7, digest: Some(Digest::of(b"whole")) }
            }
        }
    }

    fn message(content: &'static [u8]) -> Parcel {
        let head = MessageHead {
            id: MessageId::now(),
            content_type: ContentType::octets(),
            digest: Digest::of(content),
            size: content.len() as u64,
        };
        Parcel::new(head, Manner::default(), Bytes::from_static(content))
    }

    #[tokio::test]
    async fn a_message_is_stored_before_its_receipt_and_a_repeat_is_said_to_be_one() {
        let (near, far) = ends();
        let shelf = Arc::new(Shelf::default());
        let terminal = tokio::spawn(receive(far, shelf.clone(), None, Duration::ZERO));
        let mut courier = Courier::start(near, None).await.unwrap();
        let parcel = message(b"coin box full");
        assert_eq!(courier.deliver(&parcel, 0, false).await.unwrap(), Receipt::Stored);
        assert_eq!(shelf.0.lock().unwrap().as_slice(), &[(parcel.head().id, parcel.octets().held().unwrap().clone())]);
        assert_eq!(courier.deliver(&parcel, 0, false).await.unwrap(), Receipt::StoredBefore);
        assert!(courier.nothing_more().await.is_err(), "the terminal hangs up instead of answering");
        assert!(terminal.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_refusal_leaves_the_session_usable_and_carries_its_reason() {
        let (near, far) = ends();
        let terminal = tokio::spawn(receive(far, Arc::new(Shelf::default()), None, Duration::ZERO));
        let mut courier = Courier::start(near, None).await.unwrap();
        let mut head = message(&[7; 20_000]).head().clone(); // with less TLS vouches for it
        head.digest = Digest::of(b"something else");
        let parcel = Parcel::new(head, Manner::default(), Bytes::from_static(&[7; 20_000]));
        let Err(DeliveryError::Refused { status, reason }) = courier.deliver(&parcel, 0, false).await else { panic!() };
        assert_eq!(
            (status, reason.as_str()),
            (StatusCode::BAD_REQUEST, "the content does not match its digest and size")
        );
        let parcel = message(b"second");
        assert_eq!(courier.deliver(&parcel, 0, false).await.unwrap(), Receipt::Stored);
        drop(courier);
        assert!(matches!(terminal.await.unwrap(), Err(ReceiveError::Closed | ReceiveError::Lost(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_terminal_that_lingers_takes_what_comes_after_nothing_more() {
        let (near, far) = ends();
        let terminal = tokio::spawn(receive(far, Arc::new(Shelf::default()), None, Duration::from_secs(30)));
        let mut courier = Courier::start(near, None).await.unwrap();
        courier.nothing_more().await.unwrap();
        let parcel = message(b"late");
        assert_eq!(courier.deliver(&parcel, 0, false).await.unwrap(), Receipt::Stored);
        courier.nothing_more().await.unwrap();
        courier.closed().await;
        assert!(terminal.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_lost_connection_is_not_a_receipt() {
        let (near, far) = ends();
        let mut courier = Courier::start(near, None).await.unwrap();
        drop(far);
        let parcel = message(b"x");
        assert!(matches!(courier.deliver(&parcel, 0, false).await, Err(DeliveryError::Lost(_))));
    }

    #[tokio::test]
    async fn a_terminal_proves_its_secret_to_be_enrolled_and_one_without_cannot() {
        let secret = EnrolmentSecret::from_octets([7; 32]);
        for (is_told, offered, is_admitted) in [(true, [7; 32], true), (true, [8; 32], false), (false, [7; 32], false)]
        {
            let key = SecretKey::generate().unwrap();
            let (near, far) = ends_with(&key);
            let key = key.public();
            let enrolment = is_told.then(|| Enrolment { secret: EnrolmentSecret::from_octets(offered), key });
            let terminal = tokio::spawn(receive(far, Arc::new(Shelf::default()), enrolment, Duration::ZERO));
            let mut courier = Courier::start(near, None).await.unwrap();
            assert_eq!(courier.enrol(&secret).await.is_ok(), is_admitted);
            drop(courier);
            assert!(terminal.await.unwrap().is_err());
        }
    }

    #[tokio::test]
    async fn a_last_message_ends_the_session_in_order_whoever_goes_first() {
        for is_last in [true, false] {
            let (near, far) = ends();
            let terminal = tokio::spawn(receive(far, Arc::new(Shelf::default()), None, Duration::ZERO));
            let mut courier = Courier::start(near, None).await.unwrap();
            let parcel = message(b"the only one");
            courier.deliver(&parcel, 0, is_last).await.unwrap();
            assert!(!courier.lingers());
            drop(courier); // the server hangs up on the receipt
            assert_eq!(terminal.await.unwrap().is_ok(), is_last);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_terminal_hangs_up_by_itself_on_a_server_that_forgets_to() {
        let (near, far) = ends();
        let terminal = tokio::spawn(receive(far, Arc::new(Shelf::default()), None, Duration::ZERO));
        let mut courier = Courier::start(near, None).await.unwrap();
        let parcel = message(b"the only one");
        courier.deliver(&parcel, 0, true).await.unwrap();
        let parcel = message(b"but here is another");
        courier.deliver(&parcel, 0, true).await.unwrap();
        assert!(terminal.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_terminal_that_stays_says_so_on_its_receipts() {
        let (near, far) = ends();
        tokio::spawn(receive(far, Arc::new(Shelf::default()), None, Duration::from_secs(30)));
        let mut courier = Courier::start(near, None).await.unwrap();
        let parcel = message(b"first");
        courier.deliver(&parcel, 0, true).await.unwrap();
        assert!(courier.lingers());
    }

    #[tokio::test]
    async fn a_terminal_tells_how_much_it_has_and_takes_the_rest() {
        let (near, far) = ends();
        tokio::spawn(receive(far, Arc::new(Shelf::default()), None, Duration::ZERO));
        let mut courier = Courier::start(near, None).await.unwrap();
        let parcel = message(b"a long content");
        let part = Progress::Part { offset: 7, digest: Some(Digest::of(b"whole")) };
        assert_eq!(courier.progress(parcel.head().id).await.unwrap(), part);
        let error = courier.deliver(&parcel, 7, false).await;
        // The shelf keeps no parts, so what it checks is the rest alone; that it came is enough here.
        assert!(error.is_ok(), "{error:?}");
        assert_eq!(courier.progress(parcel.head().id).await.unwrap(), Progress::Whole);
    }
}
