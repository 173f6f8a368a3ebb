//! Terminals, and how a message names them.

mod trusted_by;

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use delivery::{TerminalId, Topic, TopicError};
use line::{CallId, Home, Number};

pub use trusted_by::{
    ChapSecret, ChapSecretError, InboxUrl, InboxUrlError, Stock, StockTrust, TrustedBy,
};

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
        let is_name = starts_plain
            && text.len() <= 40
            && text.chars().all(|c| is_plain(c) || "-_.".contains(c));
        if is_name {
            Ok(Self(text.into()))
        } else {
            Err(NameError)
        }
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
            Some(("ip", address)) => address
                .parse()
                .map(Self::Address)
                .map_err(|_| DestinationError::Address(address.to_owned())),
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
            None => text
                .parse()
                .map(Self::Terminal)
                .map_err(RecipientError::Destination),
        }
    }
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
        for text in [
            "tel:201",
            "tel:+4930123456",
            "ip:10.77.0.2",
            "terminal:owner",
        ] {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), text);
        }
        assert_eq!("201".parse::<Destination>(), Err(DestinationError::Scheme));
        assert_eq!(
            "ip:10.77".parse::<Destination>(),
            Err(DestinationError::Address("10.77".into()))
        );
        assert!(matches!(
            "tel:x".parse::<Destination>(),
            Err(DestinationError::Number(_))
        ));
    }

    #[test]
    fn a_recipient_is_a_terminal_or_all_that_registered_for_a_topic() {
        let recipient = |text: &str| text.parse::<Recipient>();
        assert_eq!(
            recipient("tel:201"),
            Ok(Recipient::Terminal("tel:201".parse().unwrap()))
        );
        assert_eq!(
            recipient("topic:news/a"),
            Ok(Recipient::Subscribers("news/a".parse().unwrap()))
        );
        assert_eq!(
            recipient("topic:news/#"),
            Err(RecipientError::Topic(TopicError::Wildcard))
        );
        assert_eq!(
            recipient("201"),
            Err(RecipientError::Destination(DestinationError::Scheme))
        );
    }
}
