//! The words of the directory: terminals, providers, and how they are named.

mod trusted_by;

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::time::Duration;

use delivery::{TerminalId, Topic, TopicError};
use jiff::{SignedDuration, Timestamp};
use line::{CallId, Home, Number};
use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::outcome::Outcome;
use crate::rights::Right;

pub use trusted_by::{ChapSecret, ChapSecretError, InboxUrl, InboxUrlError, Stock, StockTrust, TrustedBy};

/// A name that an operator gives: 1 to 40 characters of `a-z 0-9 - _ .`, the first a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

/// The text is no [`Name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to 40 characters of a-z 0-9 - _ . and begins with a letter or digit")]
pub struct NameError;

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let starts_plain = text.chars().next().is_some_and(is_plain);
        let is_name = starts_plain && text.len() <= 40 && text.chars().all(|c| is_plain(c) || "-_.".contains(c));
        if is_name { Ok(Self(text.into())) } else { Err(NameError) }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A machine that is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminal {
    /// Its public id, made when it was added.
    pub id: TerminalId,
    /// The operator's name for it.
    pub name: Name,
    /// The number that is dialled. Without one it is reached only when it connects by itself.
    pub number: Option<Number>,
    /// Its address on a link. Without one it gets one from the pool.
    pub address: Option<Ipv4Addr>,
    /// What proves it, and so how it takes messages.
    pub trusted_by: TrustedBy,
    /// Whether its line is up.
    pub connection: Connection,
}

/// The state of a terminal's line, as the directory knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// No call.
    Down,
    /// It is being called.
    Calling(CallId),
    /// Its connected notice came over this call.
    Connected(CallId),
}

impl Connection {
    /// The word for it in the store and on screens.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Calling(_) => "calling",
            Self::Connected(_) => "connected",
        }
    }

    /// The call it is about.
    pub fn call(self) -> Option<CallId> {
        match self {
            Self::Down => None,
            Self::Calling(call) | Self::Connected(call) => Some(call),
        }
    }
}

/// A machine or person that submits data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// The operator's name for it.
    pub name: Name,
    /// The number it dials in from. Without one it submits over the network only.
    pub number: Option<Number>,
    /// To whom and under which topics it may send; empty: everything.
    pub may_send: Vec<Right>,
}

/// A provider's secret: 32 random octets as 43 base64url characters, behind `rup_` so that people and scanners know what
/// they have found. Shown once; the store keeps its hash.
pub struct Token(String);

/// What the store keeps of a [`Token`]: enough to recognise it, not enough to use it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

impl Token {
    /// A token made of these random octets.
    pub fn from_octets(octets: [u8; 32]) -> Self {
        use base64::Engine as _;
        Self(format!("rup_{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(octets)))
    }

    /// The text, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl TokenHash {
    /// The hash of what a caller presents as its token. A token is random: a plain hash is enough.
    pub fn of(presented: &str) -> Self {
        Self(Sha256::digest(presented.as_bytes()).into())
    }

    pub(crate) fn octets(&self) -> &[u8; 32] {
        &self.0
    }
}

/// How a message names the terminal it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// `tel:201`, `tel:+4930123456`: the terminal with this number.
    Number(Number),
    /// `ip:10.77.0.2`: the terminal with this address.
    Address(Ipv4Addr),
    /// `terminal:owner`: the terminal with this name.
    Name(Name),
}

/// The text names no destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// No known word before the colon.
    #[error("a destination is tel:NUMBER, ip:ADDRESS or terminal:NAME")]
    Scheme,
    /// Not a number.
    #[error(transparent)]
    Number(#[from] line::NumberError),
    /// Not an IPv4 address.
    #[error("{0:?} is not an IPv4 address")]
    Address(String),
    /// Not a name.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl Destination {
    /// The same, with a number as it is meant in a country.
    #[must_use]
    pub fn at(self, home: Option<Home>) -> Self {
        match self {
            Self::Number(number) => Self::Number(number.at(home)),
            other => other,
        }
    }
}

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        match text.split_once(':') {
            Some(("tel", number)) => Ok(Self::Number(number.parse()?)),
            Some(("ip", address)) => {
                address.parse().map(Self::Address).map_err(|_| DestinationError::Address(address.to_owned()))
            }
            Some(("terminal", name)) => Ok(Self::Name(name.parse()?)),
            _ => Err(DestinationError::Scheme),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "tel:{number}"),
            Self::Address(address) => write!(f, "ip:{address}"),
            Self::Name(name) => write!(f, "terminal:{name}"),
        }
    }
}

/// Whom a submission is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    /// One terminal.
    Terminal(Destination),
    /// `topic:news/weather`: every terminal that has registered for it.
    Subscribers(Topic),
}

/// The text names nobody a message could be for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecipientError {
    /// No terminal.
    #[error("{0}; or topic:TOPIC, for all that have registered for it")]
    Destination(DestinationError),
    /// No topic.
    #[error(transparent)]
    Topic(#[from] TopicError),
}

impl FromStr for Recipient {
    type Err = RecipientError;

    fn from_str(text: &str) -> Result<Self, RecipientError> {
        match text.strip_prefix("topic:") {
            Some(topic) => Ok(Self::Subscribers(topic.parse()?)),
            None => text.parse().map(Self::Terminal).map_err(RecipientError::Destination),
        }
    }
}

/// Which way a call went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// We called.
    Outgoing,
    /// It came in.
    Incoming,
}

/// One call, for the operator. Exactly one for each [`CallId`].
#[derive(Debug, Clone, Serialize)]
pub struct CallRecord {
    /// The call.
    #[serde(serialize_with = "as_text")]
    pub id: CallId,
    /// Which way.
    pub direction: Direction,
    /// What it went over.
    #[serde(rename = "line", serialize_with = "as_text")]
    pub via: Via,
    /// The number dialled, or the number presented by the caller; of a session without a call the terminal's, if it has one.
    #[serde(serialize_with = "as_text_if_any")]
    pub number: Option<Number>,
    /// The terminal or provider that the number belonged to.
    #[serde(serialize_with = "as_text")]
    pub party: Name,
    /// When it was placed or came in.
    pub placed_at: Timestamp,
    /// When CONNECT came: from here on it is paid for.
    pub connected_at: Option<Timestamp>,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// How it ended; `None` while it lasts.
    pub outcome: Option<String>,
    /// The same in one word, such as `busy`, for programs; `None` while it lasts.
    pub kind: Option<String>,
    /// Octets we sent on the line.
    pub octets_out: u64,
    /// Octets we received on the line.
    pub octets_in: u64,
}

/// What a call, or a session without one, goes over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Via {
    /// A line of ours.
    Line(Name),
    /// The terminal's own Internet access: no line, no price.
    Internet,
}

impl Via {
    /// The line, if it is one.
    pub fn line(&self) -> Option<&Name> {
        match self {
            Self::Line(line) => Some(line),
            Self::Internet => None,
        }
    }
}

impl From<Name> for Via {
    fn from(line: Name) -> Self {
        Self::Line(line)
    }
}

/// For records, screens and metrics.
impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => line.fmt(f),
            Self::Internet => f.write_str("internet"),
        }
    }
}

impl CallRecord {
    /// The record of a call that begins now.
    pub fn begin(direction: Direction, via: impl Into<Via>, number: Option<Number>, party: Name) -> Self {
        Self {
            id: CallId::now(),
            direction,
            via: via.into(),
            number,
            party,
            placed_at: Timestamp::now(),
            connected_at: None,
            ended_at: None,
            outcome: None,
            kind: None,
            octets_out: 0,
            octets_in: 0,
        }
    }

    /// The moment this time after it was placed. A wall clock that is set during the call makes no part of it negative.
    pub(crate) fn moment(&self, after: Duration) -> Timestamp {
        let after = SignedDuration::try_from(after).unwrap_or(SignedDuration::MAX);
        self.placed_at.checked_add(after).unwrap_or(Timestamp::MAX)
    }

    /// It is over, this time after it was placed.
    pub(crate) fn end(&mut self, outcome: &Outcome, lasted: Duration) {
        let ended_at = self.moment(lasted);
        self.connected_at = self.connected_at.map(|at| at.clamp(self.placed_at, ended_at));
        self.ended_at = Some(ended_at);
        self.outcome = Some(outcome.to_string());
        self.kind = Some(outcome.as_str().to_owned());
        let seconds = self.connected_at.map_or(0, |at| ended_at.duration_since(at).as_secs());
        tracing::info!(call = %self.id, line = %self.via, party = %self.party, %outcome, seconds,
            octets_out = self.octets_out, octets_in = self.octets_in, "call ended");
    }
}

fn as_text_if_any<S: Serializer>(value: &Option<Number>, serializer: S) -> Result<S::Ok, S::Error> {
    value.as_ref().map(Number::as_str).serialize(serializer)
}

fn as_text<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_in_paths_urls_and_logs() {
        assert!("owner-1.b".parse::<Name>().is_ok());
        for text in ["", "-x", "../x", "a b", "Owner", "ö", &"a".repeat(41)] {
            assert_eq!(text.parse::<Name>(), Err(NameError), "{text:?}");
        }
    }

    #[test]
    fn a_destination_is_a_number_an_address_or_a_name() {
        for text in ["tel:201", "tel:+4930123456", "ip:10.77.0.2", "terminal:owner"] {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), text);
        }
        assert_eq!("201".parse::<Destination>(), Err(DestinationError::Scheme));
        assert_eq!("ip:10.77".parse::<Destination>(), Err(DestinationError::Address("10.77".into())));
        assert!(matches!("tel:x".parse::<Destination>(), Err(DestinationError::Number(_))));
    }

    #[test]
    fn a_recipient_is_a_terminal_or_all_that_registered_for_a_topic() {
        let recipient = |text: &str| text.parse::<Recipient>();
        assert_eq!(recipient("tel:201"), Ok(Recipient::Terminal("tel:201".parse().unwrap())));
        assert_eq!(recipient("topic:news/a"), Ok(Recipient::Subscribers("news/a".parse().unwrap())));
        assert_eq!(recipient("topic:news/#"), Err(RecipientError::Topic(TopicError::Wildcard)));
        assert_eq!(recipient("201"), Err(RecipientError::Destination(DestinationError::Scheme)));
    }

    #[test]
    fn a_token_is_recognised_by_its_hash_alone() {
        let token = Token::from_octets([7; 32]);
        assert_eq!(token.reveal().len(), 47);
        assert!(TokenHash::of(token.reveal()) == TokenHash::of(token.reveal()));
        assert!(TokenHash::of(token.reveal()) != TokenHash::of("rup_"));
    }

    #[test]
    fn a_record_has_no_negative_part_however_the_clock_was_set() {
        let name = || "owner".parse::<Name>().unwrap();
        let mut record = CallRecord::begin(Direction::Outgoing, name(), None, name());
        let placed_at = record.placed_at;
        // As a far end says it, or as it was when the clock was an hour ahead.
        for connected_at in [Timestamp::MIN, placed_at - SignedDuration::from_hours(1), Timestamp::MAX] {
            record.connected_at = Some(connected_at);
            record.end(&Outcome::Completed, Duration::from_secs(20));
            let (connected_at, ended_at) = (record.connected_at.unwrap(), record.ended_at.unwrap());
            assert!(placed_at <= connected_at && connected_at <= ended_at, "{connected_at}");
            assert_eq!(ended_at.duration_since(placed_at).as_secs(), 20);
        }
    }
}
