//! What a terminal has to say to its server: items on the terminal's disk, read by the server on a session.
//!
//! An item is written as it is kept and as it goes on the line: the length of its head in two octets (the most significant
//! first), the head (JSON, UTF-8), and as many octets of content as the head's `size` says.

use std::io;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{Method, Request};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use jiff::Timestamp;
use percent_encoding::utf8_percent_encode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use crate::fields::ESCAPED;
use crate::message::{ContentType, MessageId, Urgency};
use crate::portions::Content;
use crate::receiver::StoreError;
use crate::topic::{Topic, TopicFilter};
use crate::{REASON, REFUSED};

/// Octets of an item's head: hundreds of destinations.
pub const ITEM_HEAD_OCTETS_MAX: usize = 16 * 1024;

/// Octets of the server's words that go into a field.
const REASON_OCTETS_MAX: usize = 300;

/// Characters of a terminal's reason.
const REASON_CHARACTERS_MAX: usize = 200;

/// The head of an item, before its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemHead {
    /// Its name, the same at every attempt: the server takes an item once.
    pub id: MessageId,
    /// Octets of content.
    pub size: u64,
    /// What it says; `Err` tells what is not understood.
    pub says: Result<Said, String>,
}

/// What an item says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Here is a message.
    Message(Outgoing),
    /// Register me for a data type.
    Subscribe {
        /// Which.
        filter: TopicFilter,
        /// The least urgent that I am to be called for.
        urgency: Urgency,
        /// The largest that I am to be called for, in octets.
        size_max: Option<u64>,
        /// When I am to be called for it, as the server writes hours; empty: always.
        hours: String,
    },
    /// Take me off it.
    Unsubscribe {
        /// Which.
        filter: TopicFilter,
    },
    /// This is what I take for now.
    Conditions(Conditions),
}

/// What a terminal takes until an instant; after it, and in place of all that it said before, everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditions {
    /// The least urgent that it takes.
    pub urgency: Urgency,
    /// The largest that it takes, in octets.
    pub size_max: Option<u64>,
    /// Until when.
    pub until: Timestamp,
    /// Why, in its operator's words: roaming, battery low.
    pub reason: String,
}

impl Conditions {
    /// Whether a message is taken at an instant.
    pub fn take(&self, urgency: Urgency, size: u64, now: Timestamp) -> bool {
        // Urgencies sort from the most urgent on.
        now >= self.until
            || (urgency <= self.urgency && self.size_max.is_none_or(|max| size <= max))
    }

    /// As it stands in a head, and as a terminal keeps it for itself.
    pub fn to_json(&self) -> Value {
        let Self {
            urgency,
            size_max,
            until,
            reason,
        } = self;
        let urgency = Some(urgency.to_string()).filter(|_| *urgency != Urgency::Bulk);
        json!(WrittenConditions {
            urgency,
            size_max: *size_max,
            until: until.as_second(),
            reason: reason.clone()
        })
    }

    /// Reads what [`Conditions::to_json`] wrote.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn from_json(json: Value) -> Result<Self, String> {
        let WrittenConditions {
            urgency,
            size_max,
            until,
            reason,
        } = read(json)?;
        Ok(Self {
            urgency: urgency.map_or(Ok(Urgency::Bulk), |text| one("urgency", &text))?,
            size_max,
            until: Timestamp::from_second(until).map_err(|error| format!("until: {error}"))?,
            reason: reason.chars().take(REASON_CHARACTERS_MAX).collect(),
        })
    }
}

/// A message that a terminal submits: its content is the item's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Whom it is for: `tel:`, `ip:`, `terminal:`, `topic:`, as the server reads them.
    pub to: Vec<String>,
    /// What the content is.
    pub content_type: ContentType,
    /// How soon it must be there.
    pub urgency: Urgency,
    /// Expiry.
    pub expires_at: Option<Timestamp>,
    /// The data type it belongs to.
    pub topic: Option<Topic>,
    /// It takes the place of what waits under the same key.
    pub replace_key: Option<String>,
}

impl Said {
    /// How soon it must be said.
    pub fn urgency(&self) -> Urgency {
        match self {
            Self::Message(message) => message.urgency,
            Self::Subscribe { .. } | Self::Unsubscribe { .. } | Self::Conditions(_) => {
                Urgency::Normal
            }
        }
    }
}

/// The head as JSON has it; what is the usual is left out.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Written {
    id: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    size: u64,
    #[serde(flatten)]
    says: Map<String, Value>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct WrittenMessage {
    to: Vec<String>,
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    urgency: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replace: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct WrittenSubscription {
    filter: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    urgency: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size_max: Option<u64>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    hours: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct WrittenConditions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    urgency: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size_max: Option<u64>,
    until: i64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    reason: String,
}

/// Serde asks by reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(size: &u64) -> bool {
    *size == 0
}

/// Why a terminal cannot say something.
#[derive(Debug, thiserror::Error)]
#[error(
    "the head of an item has {0} octets; at most {ITEM_HEAD_OCTETS_MAX} are taken: name fewer destinations"
)]
pub struct ItemTooLong(usize);

/// The prefix of an item's content: its head and the head's length.
///
/// # Errors
/// [`ItemTooLong`].
pub fn write_item_head(id: MessageId, size: u64, said: &Said) -> Result<Vec<u8>, ItemTooLong> {
    let (kind, body) = match said {
        Said::Message(message) => {
            let Outgoing {
                to,
                content_type,
                urgency,
                expires_at,
                topic,
                replace_key,
            } = message;
            let written = WrittenMessage {
                to: to.clone(),
                content_type: Some(content_type.as_str().to_owned())
                    .filter(|_| *content_type != ContentType::octets()),
                urgency: Some(urgency.to_string()).filter(|_| *urgency != Urgency::default()),
                expires: expires_at.map(Timestamp::as_second),
                topic: topic.as_ref().map(ToString::to_string),
                replace: replace_key.clone(),
            };
            ("message", json!(written))
        }
        Said::Subscribe {
            filter,
            urgency,
            size_max,
            hours,
        } => {
            let urgency = Some(urgency.to_string()).filter(|_| *urgency != Urgency::Bulk);
            let (filter, size_max, hours) = (filter.to_string(), *size_max, hours.clone());
            (
                "subscribe",
                json!(WrittenSubscription {
                    filter,
                    urgency,
                    size_max,
                    hours
                }),
            )
        }
        Said::Unsubscribe { filter } => ("unsubscribe", json!({ "filter": filter.to_string() })),
        Said::Conditions(conditions) => ("conditions", conditions.to_json()),
    };
    let says = Map::from_iter([(kind.to_owned(), body)]);
    let head = serde_json::to_vec(&Written {
        id: id.to_string(),
        size,
        says,
    })
    .expect("strings and numbers are JSON");
    let length = u16::try_from(head.len())
        .ok()
        .filter(|length| usize::from(*length) <= ITEM_HEAD_OCTETS_MAX);
    let length = length.ok_or(ItemTooLong(head.len()))?;
    Ok([&length.to_be_bytes()[..], &head].concat())
}

/// Reads a head without its length. `None`: it is none, and what follows it cannot be found.
fn read_head(octets: &[u8]) -> Option<ItemHead> {
    let Written { id, size, mut says } = serde_json::from_slice(octets).ok()?;
    Some(ItemHead {
        id: id.parse().ok()?,
        size,
        says: read_said(&mut says),
    })
}

fn one<T: FromStr<Err: ToString>>(field: &str, text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|error: T::Err| format!("{field}: {}", error.to_string()))
}

fn read<T: DeserializeOwned>(body: Value) -> Result<T, String> {
    serde_json::from_value(body).map_err(|error| error.to_string())
}

fn read_said(says: &mut Map<String, Value>) -> Result<Said, String> {
    if let Some(body) = says.remove("message") {
        let WrittenMessage {
            to,
            content_type,
            urgency,
            expires,
            topic,
            replace,
        } = read(body)?;
        return Ok(Said::Message(Outgoing {
            to,
            content_type: content_type
                .map_or(Ok(ContentType::octets()), |text| one("type", &text))?,
            urgency: urgency.map_or(Ok(Urgency::default()), |text| one("urgency", &text))?,
            expires_at: expires
                .map(|at| Timestamp::from_second(at).map_err(|error| error.to_string()))
                .transpose()?,
            topic: topic.map(|text| one("topic", &text)).transpose()?,
            replace_key: replace,
        }));
    }
    if let Some(body) = says.remove("subscribe") {
        let WrittenSubscription {
            filter,
            urgency,
            size_max,
            hours,
        } = read(body)?;
        let urgency = urgency.map_or(Ok(Urgency::Bulk), |text| one("urgency", &text))?;
        return Ok(Said::Subscribe {
            filter: one("filter", &filter)?,
            urgency,
            size_max,
            hours,
        });
    }
    if let Some(body) = says.remove("unsubscribe") {
        let WrittenSubscription { filter, .. } = read(body)?;
        return Ok(Said::Unsubscribe {
            filter: one("filter", &filter)?,
        });
    }
    if let Some(body) = says.remove("conditions") {
        return Conditions::from_json(body).map(Said::Conditions);
    }
    Err(format!(
        "this server does not know what to do with {}",
        says.keys().next().map_or("nothing", String::as_str)
    ))
}

/// Reads an item's head from the beginning of what is kept of it, and how many octets that takes. `None`: it is no item.
pub fn read_item_head(octets: &[u8]) -> Option<(ItemHead, usize)> {
    let (length, rest) = octets.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    Some((read_head(rest.get(..length)?)?, 2 + length))
}

/// Where a terminal keeps what it has to say.
pub trait Outbox: Send + Sync + 'static {
    /// Whether anything waits that was not read on this session yet.
    fn waits(&self) -> bool;

    /// What waits, as it goes on the line, the most urgent first. An error ends the reading, not the session.
    fn read(&self) -> mpsc::Receiver<io::Result<Bytes>>;

    /// The server's word about an item. What becomes of it is on the disk on return.
    ///
    /// # Errors
    /// [`StoreError`]: it waits as before.
    fn settle(&self, id: MessageId, answer: ItemAnswer) -> Result<(), StoreError>;
}

/// What a server says about an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemAnswer {
    /// It is on the server's disk.
    Accepted,
    /// It is not taken: as an HTTP status, and in words.
    Refused {
        /// 429, 503 and 507: it may be taken later. Others: it never is.
        status: u16,
        /// Why.
        reason: String,
    },
}

/// What waits, as the body of an answer; the guard lives as long.
pub(crate) struct OutboxBody<G> {
    octets: mpsc::Receiver<io::Result<Bytes>>,
    _guard: G,
}

impl<G> OutboxBody<G> {
    pub(crate) fn new(octets: mpsc::Receiver<io::Result<Bytes>>, guard: G) -> Self {
        Self {
            octets,
            _guard: guard,
        }
    }
}

impl<G: Unpin> Body for OutboxBody<G> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.octets
            .poll_recv(context)
            .map(|octets| octets.map(|octets| octets.map(Frame::data)))
    }
}

/// Why a server reads no further.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The session is gone: items that have no acknowledgement come again.
    #[error("the session was lost")]
    Lost(#[source] hyper::Error),
    /// Not a valid item, so the start of the next one is unknown.
    #[error("what came is no item")]
    Malformed,
}

/// The server's end: reads items, and acknowledges them, on a session whose terminal is proved.
#[derive(Debug)]
pub struct OutboxReader {
    requests: SendRequest<Content>,
    body: Incoming,
    read: BytesMut,
    is_over: bool,
}

impl OutboxReader {
    pub(crate) fn new(requests: SendRequest<Content>, body: Incoming) -> Self {
        Self {
            requests,
            body,
            read: BytesMut::new(),
            is_over: false,
        }
    }

    /// The next item's head. `None`: there is none.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub async fn next(&mut self) -> Result<Option<ItemHead>, OutboxError> {
        self.fill(1).await?;
        if self.read.is_empty() {
            return Ok(None);
        }
        self.fill(2).await?;
        let length = self
            .read
            .first_chunk::<2>()
            .map(|length| usize::from(u16::from_be_bytes(*length)));
        let length = length
            .filter(|length| *length <= ITEM_HEAD_OCTETS_MAX)
            .ok_or(OutboxError::Malformed)?;
        self.fill(2 + length).await?;
        let head = self
            .read
            .get(2..2 + length)
            .and_then(read_head)
            .ok_or(OutboxError::Malformed)?;
        self.read.advance(2 + length);
        Ok(Some(head))
    }

    /// What is here of the content of the item whose head was read last, of which so many octets are left: at least one.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub async fn chunk(&mut self, left: u64) -> Result<Bytes, OutboxError> {
        self.fill(1).await?;
        let count = usize::try_from(left).map_or(self.read.len(), |left| left.min(self.read.len()));
        if count == 0 {
            return Err(OutboxError::Malformed);
        }
        Ok(self.read.split_to(count).freeze())
    }

    /// Waits for this many octets, or for the end of the stream.
    async fn fill(&mut self, octets: usize) -> Result<(), OutboxError> {
        while self.read.len() < octets && !self.is_over {
            match self.body.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame.map_err(OutboxError::Lost)?.into_data() {
                        self.read.extend_from_slice(&data);
                    }
                }
                None => self.is_over = true,
            }
        }
        Ok(())
    }

    /// Says what became of an item; the request is made at once, and what is returned waits until the terminal has it on its
    /// disk. `false`: it could not note it, and will offer the item again.
    ///
    /// # Errors
    /// [`OutboxError::Lost`].
    pub fn settle(
        &mut self,
        id: MessageId,
        answer: &ItemAnswer,
    ) -> impl Future<Output = Result<bool, OutboxError>> + Send + use<> {
        let request = Request::builder().uri(format!("http://terminal/outbox/{id}"));
        let request = match answer {
            ItemAnswer::Accepted => request.method(Method::DELETE),
            ItemAnswer::Refused { status, reason } => {
                let end = reason.floor_char_boundary(REASON_OCTETS_MAX);
                let reason = utf8_percent_encode(&reason[..end], ESCAPED).to_string();
                request
                    .method(Method::POST)
                    .header(REFUSED, *status)
                    .header(REASON, reason)
            }
        };
        let request = request
            .body(Content::default())
            .expect("an id is a valid path, and a reason is escaped");
        let response = self.requests.send_request(request);
        async move {
            Ok(response
                .await
                .map_err(OutboxError::Lost)?
                .status()
                .is_success())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Said {
        Said::Message(Outgoing {
            to: vec!["tel:301".into()],
            content_type: "text/plain".parse().unwrap(),
            urgency: Urgency::Urgent,
            expires_at: Some("2026-12-24T18:00:00Z".parse().unwrap()),
            topic: Some("level/é".parse().unwrap()),
            replace_key: Some("level".into()),
        })
    }

    #[test]
    fn an_item_reads_as_it_was_written_and_leaves_out_the_usual() {
        let id = MessageId::now();
        let subscribe = Said::Subscribe {
            filter: "news/#".parse().unwrap(),
            urgency: Urgency::Normal,
            size_max: Some(50_000),
            hours: "06:00-22:00".into(),
        };
        let conditions = Said::Conditions(Conditions {
            urgency: Urgency::Urgent,
            size_max: Some(1000),
            until: "2026-12-24T18:00:00Z".parse().unwrap(),
            reason: "roaming".into(),
        });
        for said in [
            message(),
            subscribe,
            conditions,
            Said::Unsubscribe {
                filter: "news/#".parse().unwrap(),
            },
        ] {
            let mut octets = write_item_head(id, 3, &said).unwrap();
            let head_octets = octets.len();
            octets.extend(b"abc");
            let (head, at) = read_item_head(&octets).unwrap();
            assert_eq!(
                (head, at),
                (
                    ItemHead {
                        id,
                        size: 3,
                        says: Ok(said)
                    },
                    head_octets
                )
            );
        }
        let plain = Outgoing {
            to: vec!["tel:301".into()],
            content_type: ContentType::octets(),
            urgency: Urgency::Normal,
            expires_at: None,
            topic: None,
            replace_key: None,
        };
        let octets = write_item_head(id, 5, &Said::Message(plain)).unwrap();
        assert_eq!(
            octets[2..],
            *format!(r#"{{"id":"{id}","size":5,"message":{{"to":["tel:301"]}}}}"#).as_bytes()
        );
    }

    #[test]
    fn what_is_not_understood_is_told_apart_from_what_is_no_item() {
        let id = MessageId::now();
        let said = |text: String| read_head(text.as_bytes()).map(|head| head.says);
        for (says, fault) in [
            (r#""dance":{}"#, "does not know what to do with dance"),
            (r#""message":{"to":["tel:1"],"urgency":"soon"}"#, "urgency"),
            (r#""message":{"to":["tel:1"],"topic":"a/#"}"#, "topic"),
            (r#""message":{}"#, "missing field `to`"),
            (r#""subscribe":{"filter":"a/#/b"}"#, "filter"),
        ] {
            let told = said(format!(r#"{{"id":"{id}",{says}}}"#))
                .unwrap()
                .unwrap_err();
            assert!(told.contains(fault), "{told}");
        }
        for text in [
            "",
            "{}",
            "[]",
            r#"{"id":"../../etc/passwd"}"#,
            r#"{"id":"","size":-1}"#,
        ] {
            assert_eq!(said(text.to_owned()), None, "{text}");
        }
        assert!(read_item_head(&[0xff]).is_none() && read_item_head(&[0xff, 0xff, b'{']).is_none());
    }

    #[test]
    fn a_head_that_nobody_would_read_is_not_written() {
        let Said::Message(mut outgoing) = message() else {
            unreachable!()
        };
        outgoing.to = vec!["terminal:gauge-17".into(); 1000];
        assert!(write_item_head(MessageId::now(), 0, &Said::Message(outgoing)).is_err());
    }
}
