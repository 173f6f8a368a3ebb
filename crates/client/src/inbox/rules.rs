//! What becomes of what comes: which rule is for a message, whom it is handed to, how much is kept and how long.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use delivery::{ContentType, Topic, TopicFilter};

use super::entry::Entry;
use crate::handover::LocalUrl;

/// The rules of an inbox. The first that is for a message counts; without one the message stays until a reader acknowledges it.
#[derive(Debug, Clone, Default)]
pub struct Rules(pub Vec<Rule>);

/// One rule.
#[derive(Debug, Clone, Default)]
pub struct Rule {
    /// For messages of these topics; none: of any, and of none.
    pub topics: Vec<TopicFilter>,
    /// For contents of these media types, such as `message/rfc822`; none: of any.
    pub types: Vec<ContentType>,
    /// The application they are handed to; `None`: readers fetch and acknowledge them.
    pub handover: Option<Handover>,
    /// Retention after handover or acknowledgement; `None`: kept for ever.
    pub keep: Option<Duration>,
    /// Octets that they may have together. Beyond it those go that are done with, the oldest first; then no more is taken.
    pub quota: Option<u64>,
}

/// Whom messages are handed to. Done means: a file on the disk, exit 0, or an answer 2xx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handover {
    /// A file in this folder, named by the message's id.
    Directory(PathBuf),
    /// A new mail in this Maildir.
    Maildir(PathBuf),
    /// A program and its arguments; the content is its standard input.
    Command(Vec<OsString>),
    /// A POST to an application on this machine.
    Url(LocalUrl),
}

impl Rules {
    /// Which rule is for a message, by its place.
    pub fn place_for(&self, content_type: &str, topic: Option<&Topic>) -> Option<usize> {
        // Parameters such as a charset do not make another type (RFC 9110 §8.3.1).
        let plain = |text: &str| {
            text.split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .to_ascii_lowercase()
        };
        self.0.iter().position(|rule| {
            let is_topic = rule.topics.is_empty()
                || topic
                    .is_some_and(|topic| rule.topics.iter().any(|filter| filter.matches(topic)));
            let is_type = rule.types.is_empty()
                || rule
                    .types
                    .iter()
                    .any(|wanted| plain(wanted.as_str()) == plain(content_type));
            is_topic && is_type
        })
    }

    /// The rule for a message that is here.
    pub fn of(&self, entry: &Entry) -> Option<&Rule> {
        self.0
            .get(self.place_for(&entry.note.content_type, entry.topic().as_ref())?)
    }

    /// Whether anybody is to be told when something comes.
    pub fn is_active(&self) -> bool {
        self.0
            .iter()
            .any(|rule| rule.handover.is_some() || rule.keep.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_is_for_a_message_counts() {
        let rule = |topics: &[&str], types: &[&str]| Rule {
            topics: topics.iter().map(|text| text.parse().unwrap()).collect(),
            types: types.iter().map(|text| text.parse().unwrap()).collect(),
            ..Rule::default()
        };
        let rules = Rules(vec![
            rule(&["news/#"], &[]),
            rule(&[], &["message/rfc822"]),
            rule(&["level"], &["text/plain"]),
        ]);
        for (content_type, topic, place) in [
            ("text/plain", Some("news/weather"), Some(0)),
            ("message/rfc822", Some("news"), Some(0)),
            ("Message/RFC822; charset=utf-8", None, Some(1)),
            ("text/plain", Some("level"), Some(2)),
            ("text/html", Some("level"), None),
            ("text/plain", None, None),
        ] {
            let topic = topic.map(|text| text.parse().unwrap());
            assert_eq!(
                rules.place_for(content_type, topic.as_ref()),
                place,
                "{content_type} {topic:?}"
            );
        }
    }
}
