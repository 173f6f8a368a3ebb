//! Pure. To whom a provider may send, and under which topics.

use std::fmt;
use std::str::FromStr;

use crate::directory::{Destination, DestinationError, Terminal};
use delivery::{Topic, TopicError, TopicFilter};

/// One thing that a provider may do. A right is about the terminal, however a submission names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Right {
    /// `*`: everything.
    Everything,
    /// `tel:`: to every terminal that has a number.
    AnyNumber,
    /// `terminal:owner`, `tel:301`, `ip:10.77.0.2`: to the terminal with this name, number or address.
    Terminal(Destination),
    /// `topic:news/#`: under topics that this filter means.
    Topic(TopicFilter),
}

/// The text is no [`Right`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RightError {
    /// Not a destination.
    #[error("a right is *, tel:, terminal:NAME, tel:NUMBER, ip:ADDRESS or topic:FILTER ({0})")]
    Destination(#[from] DestinationError),
    /// Not a filter.
    #[error(transparent)]
    Topic(#[from] TopicError),
}

impl Right {
    fn allows_terminal(&self, terminal: &Terminal) -> bool {
        match self {
            Self::Everything => true,
            Self::AnyNumber => terminal.number.is_some(),
            Self::Terminal(Destination::Number(number)) => terminal.number.as_ref() == Some(number),
            Self::Terminal(Destination::Address(address)) => terminal.address == Some(*address),
            Self::Terminal(Destination::Name(name)) => terminal.name == *name,
            Self::Topic(_) => false,
        }
    }

    fn allows_topic(&self, topic: &Topic) -> bool {
        match self {
            Self::Everything => true,
            Self::Topic(filter) => filter.matches(topic),
            Self::AnyNumber | Self::Terminal(_) => false,
        }
    }
}

/// Whether these rights allow sending to a terminal. No rights at all are the right to everything: nobody has limited them.
pub fn allow_terminal(rights: &[Right], terminal: &Terminal) -> bool {
    rights.is_empty() || rights.iter().any(|right| right.allows_terminal(terminal))
}

/// Whether these rights allow sending under a topic.
pub fn allow_topic(rights: &[Right], topic: &Topic) -> bool {
    rights.is_empty() || rights.iter().any(|right| right.allows_topic(topic))
}

/// Whether everything is allowed, also to ask which terminals there are.
pub fn allow_everything(rights: &[Right]) -> bool {
    rights.is_empty() || rights.contains(&Right::Everything)
}

impl FromStr for Right {
    type Err = RightError;

    fn from_str(text: &str) -> Result<Self, RightError> {
        match text {
            "*" => Ok(Self::Everything),
            "tel:" => Ok(Self::AnyNumber),
            _ => match text.strip_prefix("topic:") {
                Some(filter) => Ok(Self::Topic(filter.parse()?)),
                None => Ok(Self::Terminal(text.parse()?)),
            },
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("*"),
            Self::AnyNumber => f.write_str("tel:"),
            Self::Terminal(destination) => destination.fmt(f),
            Self::Topic(filter) => write!(f, "topic:{filter}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Connection;
    use crate::directory::TrustedBy;

    fn owner() -> Terminal {
        Terminal {
            id: delivery::TerminalId::from_octets([1; 8]),
            name: "owner".parse().unwrap(),
            number: Some("301".parse().unwrap()),
            address: None,
            connection: Connection::Down,
            trusted_by: TrustedBy::default(),
        }
    }

    fn rights(texts: &[&str]) -> Vec<Right> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_right_is_about_the_terminal_and_nobody_who_looks_like_it() {
        for (texts, is_allowed) in [
            (&[][..], true),
            (&["*"], true),
            (&["tel:"], true),
            (&["terminal:owner"], true),
            (&["terminal:other", "tel:301"], true),
            (&["tel:30"], false),
            (&["tel:3011"], false),
            (&["terminal:own"], false),
            (&["ip:10.77.0.2"], false),
            (&["topic:#"], false),
        ] {
            assert_eq!(
                allow_terminal(&rights(texts), &owner()),
                is_allowed,
                "{texts:?}"
            );
        }
        assert!(!allow_terminal(
            &rights(&["tel:"]),
            &Terminal {
                number: None,
                ..owner()
            }
        ));
    }

    #[test]
    fn a_topic_needs_a_right_of_its_own() {
        let topic = "news/weather".parse().unwrap();
        for (texts, is_allowed) in [
            (&[][..], true),
            (&["*"], true),
            (&["topic:news/+"], true),
            (&["topic:mail"], false),
            (&["tel:"], false),
        ] {
            assert_eq!(allow_topic(&rights(texts), &topic), is_allowed, "{texts:?}");
        }
    }

    #[test]
    fn a_right_reads_what_it_writes() {
        for text in [
            "*",
            "tel:",
            "tel:301",
            "terminal:owner",
            "ip:10.77.0.2",
            "topic:news/#",
        ] {
            assert_eq!(text.parse::<Right>().unwrap().to_string(), text);
        }
        for text in ["", "**", "owner", "tel:x", "topic:", "topic:a/#/b"] {
            assert!(text.parse::<Right>().is_err(), "{text}");
        }
    }
}
