//! A message's name, head and digest.

use std::fmt;
use std::fs::File;
use std::io;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::encoding::{pack, pack_stream};
use crate::octets::Octets;
use crate::plan::Due;
use crate::topic::Topic;

/// The name of a message: a version 7 UUID (RFC 9562 §5.7), so names sort by the time of acceptance; written as 22
/// base64url characters, which do not, and which are safe as a file name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(Uuid);

/// The text is not 22 base64url characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message id has 22 characters of A-Z a-z 0-9 - _, and ends with A, Q, g or w")]
pub struct MessageIdError;

impl MessageId {
    /// A new name, later than all before it. Reads the clock and a random source.
    pub fn now() -> Self {
        Self(Uuid::now_v7())
    }

    /// The name made of these octets, for who makes its names from a seed.
    pub fn from_octets(octets: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(octets))
    }

    /// Its octets, the first six of which are milliseconds of Unix time.
    pub fn octets(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for MessageId {
    type Err = MessageIdError;

    fn from_str(text: &str) -> Result<Self, MessageIdError> {
        let octets = URL_SAFE_NO_PAD.decode(text).map_err(|_| MessageIdError)?;
        Uuid::from_slice(&octets)
            .map(Self)
            .map_err(|_| MessageIdError)
    }
}

/// SHA-256 of a content. `Display` is lower-case hex, as `sha256sum` prints it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// A text that is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Not a `Content-Digest` field with a sha-256 member.
    #[error("Content-Digest must be sha-256=:BASE64: (RFC 9530 §2)")]
    Header,
    /// Not 64 hexadecimal characters.
    #[error("a digest has 64 hexadecimal characters")]
    Hex,
}

impl Digest {
    /// The digest of a whole content.
    pub fn of(content: &[u8]) -> Self {
        Self(Sha256::digest(content).into())
    }

    /// The digest that a finished hash gives, for contents that come in pieces.
    pub fn from_hash(hash: Sha256) -> Self {
        Self(hash.finalize().into())
    }

    /// The hash itself.
    pub fn octets(self) -> [u8; 32] {
        self.0
    }

    /// The value of the `Content-Digest` field (RFC 9530 §2).
    pub fn to_header(self) -> String {
        format!("sha-256=:{}:", STANDARD.encode(self.0))
    }

    /// Reads the value of a `Content-Digest` field that has one sha-256 member.
    ///
    /// # Errors
    /// [`DigestError::Header`].
    pub fn from_header(value: &str) -> Result<Self, DigestError> {
        let text = value
            .strip_prefix("sha-256=:")
            .and_then(|rest| rest.strip_suffix(':'))
            .ok_or(DigestError::Header)?;
        let octets = STANDARD.decode(text).map_err(|_| DigestError::Header)?;
        octets.try_into().map(Self).map_err(|_| DigestError::Header)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Written for every message that is stored: 32 calls of the formatter would show.
        let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
        let text: String = self
            .0
            .iter()
            .flat_map(|octet| [digit(octet >> 4), digit(octet & 15)])
            .collect();
        f.write_str(&text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        if text.len() != 64 || !text.is_ascii() {
            return Err(DigestError::Hex);
        }
        let mut octets = [0; 32];
        for (octet, at) in octets.iter_mut().zip((0..).step_by(2)) {
            *octet = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| DigestError::Hex)?;
        }
        Ok(Self(octets))
    }
}

/// A media type (RFC 9110 §8.3), at most 100 visible ASCII characters: it goes into headers, logs and files as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentType(Box<str>);

/// The text is no media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a content type looks like text/plain and has at most 100 visible characters")]
pub struct ContentTypeError;

impl ContentType {
    /// `application/octet-stream`: the type of a content without a declared type.
    pub fn octets() -> Self {
        Self("application/octet-stream".into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContentType {
    type Err = ContentTypeError;

    fn from_str(text: &str) -> Result<Self, ContentTypeError> {
        let has_slash = text
            .split_once('/')
            .is_some_and(|(kind, sub)| !kind.is_empty() && !sub.is_empty());
        let is_visible = text.bytes().all(|octet| matches!(octet, b' '..=b'~'));
        if has_slash && is_visible && text.len() <= 100 {
            Ok(Self(text.into()))
        } else {
            Err(ContentTypeError)
        }
    }
}

/// How soon a message must be there, the most urgent first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// The terminal is called now, whatever its conditions and the price say within the budget.
    Urgent,
    /// Called now, unless the terminal's conditions say later.
    #[default]
    Normal,
    /// Waits for a cheap window, or is sent on the next call, until its deadline.
    Bulk,
}

/// The text is no [`Urgency`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an urgency is urgent, normal or bulk")]
pub struct UrgencyError;

impl Urgency {
    /// All of them, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Urgent, Self::Normal, Self::Bulk];

    /// The word for it on the wire, in the store and on screens.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::Normal => "normal",
            Self::Bulk => "bulk",
        }
    }
}

impl fmt::Display for Urgency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Urgency {
    type Err = UrgencyError;

    fn from_str(text: &str) -> Result<Self, UrgencyError> {
        Self::ALL
            .into_iter()
            .find(|urgency| urgency.as_str() == text)
            .ok_or(UrgencyError)
    }
}

/// The head of a message, sent before its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageHead {
    /// Its name, the same at every attempt.
    pub id: MessageId,
    /// What the content is.
    pub content_type: ContentType,
    /// SHA-256 of the content.
    pub digest: Digest,
    /// Octets of content.
    pub size: u64,
}

/// What the provider said of a message besides: left out on the line where it is the usual.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manner {
    /// How soon it must be there.
    pub urgency: Urgency,
    /// The data type it belongs to.
    pub topic: Option<Topic>,
    /// Expiry.
    pub expires_at: Option<Timestamp>,
}

/// A message as it goes on the line.
#[derive(Debug, Clone)]
pub struct Parcel {
    head: MessageHead,
    manner: Manner,
    /// The content, packed or not.
    octets: Octets,
    /// Of the octets, if they are packed.
    packed: Option<Digest>,
}

impl Parcel {
    /// A message whose content goes as it is.
    pub fn new(head: MessageHead, manner: Manner, content: impl Into<Octets>) -> Self {
        Self {
            head,
            manner,
            octets: content.into(),
            packed: None,
        }
    }

    /// The same, packed if that pays; a content in a file into another that `scratch` makes, of which no name is needed. Takes
    /// a while for large contents, and some 20 MiB of memory at most.
    ///
    /// # Errors
    /// If a file cannot be made, read or written.
    pub fn pack(self, scratch: impl FnOnce() -> io::Result<File>) -> io::Result<Self> {
        if self.packed.is_some() {
            return Ok(self);
        }
        let content_type = &self.head.content_type;
        let packed = match self.octets.held() {
            Some(octets) => {
                pack(content_type, octets).map(|packed| (Digest::of(&packed), Octets::from(packed)))
            }
            None => pack_stream(content_type, &self.octets, scratch)?,
        };
        Ok(match packed {
            Some((digest, octets)) => Self {
                packed: Some(digest),
                octets,
                ..self
            },
            None => self,
        })
    }

    /// The same message with the octets of `other`, which is of the same content.
    #[must_use]
    pub fn in_the_form_of(self, other: &Self) -> Self {
        debug_assert_eq!(self.head.digest, other.head.digest);
        Self {
            octets: other.octets.clone(),
            packed: other.packed,
            ..self
        }
    }

    /// What the message is.
    pub fn head(&self) -> &MessageHead {
        &self.head
    }

    /// How it is to be treated.
    pub fn manner(&self) -> &Manner {
        &self.manner
    }

    /// What goes on the line.
    pub fn octets(&self) -> &Octets {
        &self.octets
    }

    /// The digest of what goes on the line.
    pub(crate) fn digest(&self) -> Digest {
        self.packed.unwrap_or(self.head.digest)
    }

    /// Whether it is packed.
    pub fn is_packed(&self) -> bool {
        self.packed.is_some()
    }

    /// Octets that packing saves the line.
    pub fn saved(&self) -> u64 {
        self.head.size.saturating_sub(self.octets.size())
    }

    /// Its place in the order.
    pub(crate) fn due(&self) -> Due {
        Due {
            urgency: self.manner.urgency,
            id: self.head.id,
            size: self.head.size,
        }
    }
}

/// The head of a message as a terminal receives it, before its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Its name.
    pub id: MessageId,
    /// What the content is.
    pub content_type: ContentType,
    /// What the provider said besides.
    pub manner: Manner,
    /// SHA-256 of what is on the line. Left out where one DATA frame holds it: TLS vouches for that.
    pub digest: Option<Digest>,
    /// Octets on the line, all of them.
    pub size: u64,
    /// Octets that came on earlier calls, and do not come again.
    pub offset: u64,
    /// They are to be [unpacked](crate::unpack).
    pub is_packed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_ids_sort_by_time_and_survive_their_text_form() {
        let (first, second) = (MessageId::now(), MessageId::now());
        assert!(first < second);
        assert_eq!(first.to_string().parse(), Ok(first));
        for text in ["", "../../../../etc/passwd", "AAAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(text.parse::<MessageId>(), Err(MessageIdError), "{text:?}");
        }
    }

    #[test]
    fn a_digest_reads_what_it_writes() {
        let digest = Digest::of(b"");
        // RFC 6234 §8.5: SHA-256 of nothing.
        assert_eq!(
            digest.to_string(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(Digest::from_header(&digest.to_header()), Ok(digest));
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        for value in [
            "",
            "sha-256=:AAAA:",
            "sha-512=:AAAA:",
            "sha-256=AAAA",
            "md5=:x:",
        ] {
            assert_eq!(
                Digest::from_header(value),
                Err(DigestError::Header),
                "{value}"
            );
        }
        assert_eq!("é".repeat(32).parse::<Digest>(), Err(DigestError::Hex));
    }

    #[test]
    fn an_urgency_is_one_of_three_words_and_the_most_urgent_sorts_first() {
        assert!(Urgency::ALL.is_sorted());
        assert!(
            Urgency::ALL
                .iter()
                .all(|urgency| urgency.as_str().parse() == Ok(*urgency))
        );
        for text in ["", "Urgent", "urgent ", "high"] {
            assert_eq!(text.parse::<Urgency>(), Err(UrgencyError), "{text:?}");
        }
    }

    #[test]
    fn a_content_type_cannot_start_a_new_header_line() {
        assert!("text/plain; charset=utf-8".parse::<ContentType>().is_ok());
        for text in [
            "text",
            "/",
            "text/",
            "text/plain\r\nX: y",
            "text/\u{e9}",
            &format!("a/{}", "b".repeat(100)),
        ] {
            assert_eq!(
                text.parse::<ContentType>(),
                Err(ContentTypeError),
                "{text:?}"
            );
        }
    }
}
