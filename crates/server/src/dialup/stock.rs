//! Bringing a stock terminal what is due: a machine that runs no Ringup takes each message as a POST to its web server, on the
//! link, or each mail by its mail server (`mail`).
//!
//! ```text
//!   due ──► POST ──2xx──────────────────────────► delivered
//!             ├──408 409 425 5xx────────────────► put off: the others are tried, this one rests
//!             ├──429 503, or any with Retry-After► put off, and all that follow; not called before the time it names
//!             ├──413─────────────────────────────► refused for good: it has failed
//!             ├──3xx, any other──────────────────► refused, with the words of the answer: it rests, and fails after some tries
//!             └──no answer───────────────────────► the session broke
//!   of SMTP: 2xx delivered, 4xx put off, 5xx refused
//! ```
//!
//! The same promises as with a key: marked under way before it is sent, the verdict after the answer. What the answer is worth
//! is the terminal's word; who gave it stands in the verdict. A stock terminal cannot be asked whether it has a message: one
//! that is in doubt is sent again under its id, and one that is in doubt and cancelled, or refused for the last time, fails as unknown when
//! its time is over: what it says of a second attempt says nothing of the first.

mod mail;

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use delivery::{Departure, MessageHead, MessageId, Octets, Unread};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use line::CallId;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::attempt::Envelopes;
use super::deliver::{Broken, Tally};
use super::open_link::OpenLink;
use crate::alarms::Alarms;
use crate::outward::smtp::SendMailError;
use crate::topic::Topic;
use model::directory::{InboxUrl, Name, Stock, Terminal};
use model::outcome::UnderWay;
use store::{AttemptEnd, Begun, Claim, Doubt, Refusal, Store, StoreError};

/// Longest wait for the end of the answer, from the last octet of a message; the transmission time of the octets is added.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// Longest wait for the web server to accept a connection.
const CONNECT_WAIT: Duration = Duration::from_secs(30);

/// Maximum octets of an answer's head; hyper accepts no smaller limit.
const HEAD_OCTETS_MAX: usize = 8192;

/// Octets read of an answer's body; a longer answer loses its connection, and its status counts.
const BODY_OCTETS_MAX: usize = 16 * 1024;

/// Octets of the answer kept as the reason of a refusal.
const REASON_OCTETS_MAX: usize = 1000;

/// Longest pause that one answer can impose on calls to its terminal.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// Characters that are escaped in a field's value.
const NOT_IN_FIELDS: &AsciiSet = &CONTROLS.add(b'%');

/// Why a stock terminal gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum StockError {
    #[error("took no connection: {0}")]
    Connect(#[source] io::Error),
    #[error("broke off: {0}")]
    Http(#[source] hyper::Error),
    #[error("broke off: {0}")]
    Mail(#[source] SendMailError),
    #[error("did not answer in time")]
    TooLong,
}

/// Access to a stock terminal's server.
pub(super) trait Reach: Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Connects to this port of the terminal's own address.
    fn connect(&self, port: u16) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Completes when the link goes down.
    fn gone(&self) -> impl Future<Output = ()> + Send;

    /// Its address, for the field `host`.
    fn address(&self) -> Ipv4Addr;

    /// The line's rate, bit/s.
    fn rate_bps(&self) -> u32;
}

/// A far end reached over a link.
pub(super) struct FarEnd<L> {
    pub(super) link: Arc<L>,
    pub(super) address: Ipv4Addr,
}

impl<L: OpenLink> Reach for FarEnd<L> {
    type Stream = L::Stream;

    async fn connect(&self, port: u16) -> io::Result<L::Stream> {
        self.link.connect(port).await
    }

    async fn gone(&self) {
        self.link.gone().await;
    }

    fn address(&self) -> Ipv4Addr {
        self.address
    }

    fn rate_bps(&self) -> u32 {
        self.link.rate_bps()
    }
}

/// Parameters of a session with a stock terminal.
pub(super) struct StockDelivery<P> {
    pub(super) terminal: Terminal,
    pub(super) stock: Stock,
    pub(super) call: CallId,
    pub(super) store: Store,
    pub(super) alarms: Alarms,
    /// Signals newly due messages.
    pub(super) due: Arc<Notify>,
    /// Messages during which earlier sessions broke: delivered last.
    pub(super) suspects: Vec<MessageId>,
    /// How long to wait for more messages when none is left: to the end of the paid time, or while the terminal's own call may submit
    /// more.
    pub(super) wait_until: P,
}

/// Delivers until no message waits.
pub(super) async fn deliver(
    delivery: StockDelivery<impl Fn() -> Option<Instant>>,
    far_end: impl Reach,
) -> Result<Tally, Broken> {
    let StockDelivery {
        terminal,
        stock,
        call,
        store,
        alarms,
        due,
        suspects,
        wait_until,
    } = delivery;
    let mut bringing = Bringing {
        inbox: Inbox {
            far_end,
            stock: &stock,
            open: None,
            departures: Vec::new(),
        },
        envelopes: Envelopes {
            store: store.clone(),
            alarms,
            terminal: terminal.id,
            name: terminal.name.clone(),
            call,
        },
        tally: Tally::default(),
    };
    let mut tried = BTreeSet::new();
    loop {
        // Read again after each message: newly due ones are sent on this call.
        let Some(id) = next(&store, &terminal, &tried, &suspects).await? else {
            let Some(until) = wait_until() else { break };
            tokio::select! {
                () = due.notified() => continue,
                () = sleep_until(until) => break,
                () = bringing.inbox.far_end.gone() => break,
            }
        };
        tried.insert(id);
        bringing.bring(id).await?;
    }
    tracing::info!(%call, terminal = %terminal.name, "nothing more");
    bringing.tally.hang_up = true;
    Ok(bringing.tally)
}

/// The messages of one call, one after the other.
struct Bringing<'s, R: Reach> {
    inbox: Inbox<'s, R>,
    envelopes: Envelopes,
    tally: Tally,
}

impl<R: Reach> Bringing<'_, R> {
    async fn bring(&mut self, id: MessageId) -> Result<(), Broken> {
        let begun = match self.envelopes.claim(id).await? {
            Claim::Begun(begun) => *begun,
            Claim::Unreadable => return self.unreadable(id).await,
            Claim::Held => {
                self.tally.held += 1;
                return Ok(());
            }
            Claim::Distrusted | Claim::Settled => return Ok(()),
        };
        let inbox = &self.inbox.stock.inbox;
        match read(&self.envelopes.store, begun, inbox).await? {
            Some(message) => {
                let answer = self.inbox.bring(&message).await;
                self.settle(&message, answer).await
            }
            None => self.unreadable(id).await,
        }
    }

    async fn unreadable(&mut self, id: MessageId) -> Result<(), Broken> {
        self.tally.unreadable += 1;
        Ok(self.envelopes.unreadable(id).await?)
    }

    /// Writes down what came of a message; an error: the call is over.
    async fn settle(
        &mut self,
        message: &Brought,
        answer: Result<Answer, StockError>,
    ) -> Result<(), Broken> {
        let Envelopes { call, name, .. } = &self.envelopes;
        let id = message.head.id;
        match answer {
            Ok(Answer::Taken) => {
                let trust = &self.inbox.stock.trust;
                self.envelopes.received(id, Some(trust.evidence())).await?;
                self.tally.delivered += 1;
                let trust = trust.as_str();
                tracing::info!(%call, message_id = %id, terminal = %name, size = message.head.size, trust, "delivered");
            }
            Ok(Answer::Refused { why, refusal }) => {
                self.tally.refused += 1;
                tracing::warn!(%call, message_id = %id, terminal = %name, why, "refused");
                let doubt = self.inbox.doubt_of_answer();
                let how = AttemptEnd::refused(format!("refused {why}"), doubt);
                self.envelopes.refused(id, how, refusal).await?;
            }
            Ok(Answer::PutOff { why, all, refusal }) => {
                tracing::warn!(%call, message_id = %id, terminal = %name, why, ?all, "put off");
                let doubt = self.inbox.doubt_of_answer();
                let how = AttemptEnd::put_off(format!("put off {why}"), doubt);
                if let Some(wait) = all {
                    // The terminal puts off all messages: release this one, and pause calls to the terminal.
                    self.release(id, how).await?;
                    return Err(Broken::PutOff { why, wait });
                }
                self.tally.refused += 1;
                self.envelopes.refused(id, how, refusal).await?;
            }
            Err(source) => {
                let doubt = doubt_after(&self.inbox.departures);
                let how = AttemptEnd::broken(format!("the terminal's server {source}"), doubt);
                self.release(id, how).await?;
                // A terminal that accepted no connection has not seen the message.
                let has_seen = !matches!(source, StockError::Connect(_));
                let under_way = has_seen.then(|| UnderWay {
                    messages: vec![id],
                    received_before: self.tally.delivered,
                    ..UnderWay::default()
                });
                return Err(Broken::Stock { under_way, source });
            }
        }
        Ok(())
    }

    async fn release(&self, id: MessageId, how: AttemptEnd) -> Result<(), StoreError> {
        let Envelopes {
            store,
            terminal,
            call,
            ..
        } = &self.envelopes;
        let now = Timestamp::now();
        store.end_delivery(id, *terminal, *call, how, now).await
    }
}

/// The next message not yet tried on this call; suspects when no other is left.
async fn next(
    store: &Store,
    terminal: &Terminal,
    tried: &BTreeSet<MessageId>,
    suspects: &[MessageId],
) -> Result<Option<MessageId>, StoreError> {
    let due = store.due(terminal.id, Timestamp::now()).await?;
    let mut left = due
        .iter()
        .map(|due| due.id)
        .filter(|id| !tried.contains(id));
    let last = left.clone().next();
    if let Some(next) = left.find(|id| !suspects.contains(id)).or(last) {
        return Ok(Some(next));
    }
    // Retry refused messages when no other is left.
    let retries = store.retries(terminal.id, Timestamp::now()).await?;
    Ok(retries
        .iter()
        .map(|due| due.id)
        .find(|id| !tried.contains(id)))
}

/// A message to deliver.
#[derive(Debug, Clone)]
struct Brought {
    head: MessageHead,
    content: Octets,
    provider: Name,
    topic: Option<Topic>,
    /// The sender, of a mail.
    sender: Option<String>,
}

/// Reads a message with its content. `None`: not readable at present.
async fn read(
    store: &Store,
    begun: Begun,
    inbox: &InboxUrl,
) -> Result<Option<Brought>, StoreError> {
    let Begun { head, content, .. } = begun;
    let id = head.id;
    let Some((provider, topic)) = store.origin(id).await? else {
        return Ok(None);
    };
    let sender = store.mail_sender(id).await?;
    let content = match inbox {
        InboxUrl::Web { .. } => content,
        // The mail library needs the whole content in memory.
        InboxUrl::Mail { .. } => match tokio::task::spawn_blocking(move || content.read()).await {
            Ok(Ok(whole)) => whole.into(),
            Ok(Err(error)) => {
                tracing::error!(message_id = %id, %error, "content cannot be read");
                return Ok(None);
            }
            Err(_) => return Ok(None), // shutting down
        },
    };
    Ok(Some(Brought {
        head,
        content,
        provider,
        topic,
        sender,
    }))
}

/// Meaning of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    /// The terminal has the message.
    Taken,
    /// Retry later; `all`: send no other message either before `wait` is over.
    PutOff {
        why: String,
        all: Option<Duration>,
        refusal: Refusal,
    },
    /// The terminal refuses this message.
    Refused { why: String, refusal: Refusal },
}

/// Doubt left by attempts without an answer: the last octet may have left, or not.
fn doubt_after(tries: &[Departure]) -> Doubt {
    if tries.iter().any(Departure::is_whole) {
        Doubt::Raised
    } else {
        Doubt::Unchanged
    }
}

/// The server of a terminal.
struct Inbox<'a, R: Reach> {
    far_end: R,
    stock: &'a Stock,
    /// The connection of the last message, if reusable.
    open: Option<Open>,
    /// How much of the current message has left, for each attempt.
    departures: Vec<Departure>,
}

struct Open {
    requests: http1::SendRequest<Unread>,
    /// The connection's task; dropping this aborts it.
    _connection: JoinSet<hyper::Result<()>>,
}

impl<R: Reach> Inbox<'_, R> {
    /// Doubt left by an answer other than a receipt: it says nothing of the attempts before the answered one, nor of earlier sessions.
    fn doubt_of_answer(&self) -> Doubt {
        doubt_after(
            self.departures
                .split_last()
                .map_or(&[], |(_, before)| before),
        )
    }

    async fn bring(&mut self, message: &Brought) -> Result<Answer, StockError> {
        self.departures.clear();
        match &self.stock.inbox {
            InboxUrl::Web { port, path } => self.post(message, *port, path.as_str()).await,
            InboxUrl::Mail { port, mailbox } => {
                let stream = self.stream(*port).await?;
                // The mail library does not report its progress.
                self.departures
                    .push(Octets::from(bytes::Bytes::new()).unread(0).departure());
                timeout(
                    self.patience(message.head.size),
                    mail::send(stream, mailbox.as_ref(), message),
                )
                .await
                .map_err(|_| StockError::TooLong)?
            }
        }
    }

    async fn post(
        &mut self,
        message: &Brought,
        port: u16,
        path: &str,
    ) -> Result<Answer, StockError> {
        let (address, head) = (self.far_end.address(), &message.head);
        // The other end may have closed a kept connection at any time: that says nothing of the message.
        if let Some(mut open) = self.open.take()
            && open.requests.ready().await.is_ok()
        {
            let request = self.request(address, message, port, path);
            match self.exchange(open, request, head.size).await {
                Err(StockError::Http(_)) => {}
                answer => return answer,
            }
        }
        let open = self.connect(port).await?;
        let request = self.request(address, message, port, path);
        self.exchange(open, request, head.size).await
    }

    fn request(
        &mut self,
        address: Ipv4Addr,
        message: &Brought,
        port: u16,
        path: &str,
    ) -> Request<Unread> {
        let content = message.content.unread(0);
        self.departures.push(content.departure());
        let head = &message.head;
        let mut request = Request::post(path)
            .header(HOST, format!("{address}:{port}"))
            .header(USER_AGENT, "ringup")
            .header(CONTENT_TYPE, head.content_type.as_str())
            .header(CONTENT_LENGTH, head.size)
            .header("content-digest", head.digest.to_header())
            // A string of RFC 8941, as in draft-ietf-httpapi-idempotency-key-header §2.1.
            .header("idempotency-key", format!("\"{}\"", head.id))
            .header("ringup-provider", message.provider.to_string());
        if let Some(topic) = &message.topic {
            let topic = topic.to_string();
            request = request.header(
                "ringup-topic",
                utf8_percent_encode(&topic, NOT_IN_FIELDS).to_string(),
            );
        }
        request
            .body(content)
            .expect("checked by InboxUrl, ContentType, Name and Topic")
    }

    async fn stream(&self, port: u16) -> Result<R::Stream, StockError> {
        let connected = timeout(CONNECT_WAIT, self.far_end.connect(port)).await;
        connected
            .unwrap_or(Err(io::ErrorKind::TimedOut.into()))
            .map_err(StockError::Connect)
    }

    /// Longest wait for the answer to a message of `octets`.
    fn patience(&self, octets: u64) -> Duration {
        let on_the_line = Duration::from_secs(
            octets.saturating_mul(10) / u64::from(self.far_end.rate_bps().max(1)),
        );
        ANSWER_WAIT + 3 * on_the_line
    }

    async fn connect(&self, port: u16) -> Result<Open, StockError> {
        let stream = self.stream(port).await?;
        let (requests, connection) = http1::Builder::new()
            .max_buf_size(HEAD_OCTETS_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(StockError::Http)?;
        let mut task = JoinSet::new();
        task.spawn(connection);
        Ok(Open {
            requests,
            _connection: task,
        })
    }

    /// Sends a request and reads the answer, to its end or to the limit of [`BODY_OCTETS_MAX`].
    async fn exchange(
        &mut self,
        mut open: Open,
        request: Request<Unread>,
        octets: u64,
    ) -> Result<Answer, StockError> {
        let exchange = async {
            let response = open
                .requests
                .send_request(request)
                .await
                .map_err(StockError::Http)?;
            Ok(read_answer(response).await)
        };
        let (answer, is_whole) = timeout(self.patience(octets), exchange)
            .await
            .map_err(|_| StockError::TooLong)??;
        if is_whole {
            self.open = Some(open);
        }
        Ok(answer)
    }
}

/// Meaning of an answer, and whether it was read to its end.
async fn read_answer(response: Response<Incoming>) -> (Answer, bool) {
    let (head, body) = response.into_parts();
    let mut body = Limited::new(body, BODY_OCTETS_MAX);
    let mut words = Vec::new();
    let is_whole = loop {
        match body.frame().await {
            None => break true,
            // An answer that breaks off after its status still counts.
            Some(Err(error)) => {
                if error.is::<LengthLimitError>() {
                    tracing::debug!("the rest of a stock terminal's long answer is not read");
                }
                break false;
            }
            Some(Ok(frame)) => {
                let room = REASON_OCTETS_MAX.saturating_sub(words.len());
                words.extend(frame.data_ref().into_iter().flatten().take(room));
            }
        }
    };
    let words = String::from_utf8_lossy(&words).trim().to_owned();
    (
        judge(
            head.status,
            retry_after(&head.headers, Timestamp::now()),
            &words,
        ),
        is_whole,
    )
}

/// Meaning of a status for a message.
fn judge(status: StatusCode, retry_after: Option<Duration>, words: &str) -> Answer {
    let colon = if words.is_empty() { "" } else { ": " };
    let why = format!("with status {}{colon}{words}", status.as_u16());
    match status.as_u16() {
        200..=299 => Answer::Taken,
        // Do not follow redirects: a message for a terminal goes to that terminal.
        300..=399 => Answer::Refused {
            why: format!("{why} (redirects are not followed)"),
            refusal: Refusal::Again,
        },
        413 => Answer::Refused {
            why,
            refusal: Refusal::ForGood,
        },
        429 | 503 => Answer::PutOff {
            why,
            all: Some(retry_after.unwrap_or_default()),
            refusal: Refusal::NotNow,
        },
        // 409: an earlier attempt under the same key is still in progress (draft-ietf-httpapi-idempotency-key-header §2.7), which is no
        // receipt yet.
        408 | 409 | 425 => Answer::PutOff {
            why,
            all: retry_after,
            refusal: Refusal::NotNow,
        },
        500..=599 => Answer::PutOff {
            why,
            all: retry_after,
            refusal: Refusal::Again,
        },
        _ => Answer::Refused {
            why,
            refusal: Refusal::Again,
        },
    }
}

/// The delay to wait (RFC 9110 §10.2.3: seconds, or a date), at most a day.
fn retry_after(headers: &HeaderMap<HeaderValue>, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
            Duration::try_from(at.duration_since(now)).unwrap_or_default() // it is over
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests;
