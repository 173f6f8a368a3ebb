//! Pure. Data types, and filters over them by the rules of MQTT (OASIS MQTT 5.0 §4.7).

use std::fmt;
use std::str::FromStr;

use modem::shown;

/// Octets of a topic or a filter.
const TOPIC_OCTETS_MAX: usize = 200;

/// A data type that a message belongs to: `news/weather`. Levels are divided by `/`; no `+`, no `#`, nothing invisible.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Box<str>);

/// What topics are meant: `news/+/today`, `news/#`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter(Box<str>);

/// The text is no topic, or no filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Empty, too long, or with characters that cannot be seen or make it read differently from what it is.
    #[error(
        "a topic has 1 to {TOPIC_OCTETS_MAX} octets, such as news/weather, no control characters and no direction marks (such as U+202E)"
    )]
    Text,
    /// A wildcard in a topic.
    #[error("a topic has no + and no #; those are for filters")]
    Wildcard,
    /// A wildcard that is not a whole level, or `#` before the end.
    #[error("in a filter, + stands for a whole level, and # for all that follow, at the end")]
    Filter,
}

fn check_text(text: &str) -> Result<(), TopicError> {
    let is_text =
        !text.is_empty() && text.len() <= TOPIC_OCTETS_MAX && !text.contains(shown::is_harmful);
    if is_text {
        Ok(())
    } else {
        Err(TopicError::Text)
    }
}

impl FromStr for Topic {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        check_text(text)?;
        if text.contains(['+', '#']) {
            Err(TopicError::Wildcard)
        } else {
            Ok(Self(text.into()))
        }
    }
}

impl FromStr for TopicFilter {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        check_text(text)?;
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            let is_level = !level.contains(['+', '#'])
                || level == "+"
                || (level == "#" && levels.peek().is_none());
            if !is_level {
                return Err(TopicError::Filter);
            }
        }
        Ok(Self(text.into()))
    }
}

impl TopicFilter {
    /// Whether this topic is meant. Topics that begin with `$` only by filters that begin with it, too (§4.7.2).
    pub fn matches(&self, topic: &Topic) -> bool {
        if topic.0.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut levels = topic.0.split('/');
        for wanted in self.0.split('/') {
            match (wanted, levels.next()) {
                // `news/#` means `news`, too.
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (wanted, Some(level)) if wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}

impl TopicFilter {
    /// Whether this filter means every topic that `other` means.
    pub fn covers(&self, other: &Self) -> bool {
        if other.0.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut levels = other.0.split('/');
        for wanted in self.0.split('/') {
            match (wanted, levels.next()) {
                ("#", _) => return true,
                (_, None | Some("#")) => return false,
                ("+", Some(_)) => {}
                (wanted, Some(level)) if wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_means_the_topics_that_mqtt_says() {
        for (filter, topic, is_meant) in [
            ("news/weather", "news/weather", true),
            ("news/weather", "news", false),
            ("news", "news/weather", false),
            ("news/+", "news/weather", true),
            ("news/+", "news/weather/today", false),
            ("news/+", "news", false),
            ("news/#", "news", true),
            ("news/#", "news/weather/today", true),
            ("#", "news/weather", true),
            ("+/+", "/finance", true),
            ("#", "$SYS/load", false),
            ("+/load", "$SYS/load", false),
            ("$SYS/#", "$SYS/load", true),
        ] {
            let found = filter
                .parse::<TopicFilter>()
                .unwrap()
                .matches(&topic.parse().unwrap());
            assert_eq!(found, is_meant, "{filter} and {topic}");
        }
    }

    #[test]
    fn a_filter_covers_another_if_it_means_all_that_the_other_means() {
        for (wide, narrow, covers) in [
            ("news/#", "news/#", true),
            ("news/#", "news", true),
            ("news/#", "news/+/today", true),
            ("news/#", "#", false),
            ("news/+", "news/weather", true),
            ("news/+", "news/+", true),
            ("news/+", "news/#", false),
            ("news/+", "news", false),
            ("news/weather", "news/+", false),
            ("+/weather", "news/weather", true),
            ("#", "news/#", true),
            ("#", "$SYS/#", false),
            ("$SYS/#", "$SYS/load", true),
        ] {
            let [wide, narrow]: [TopicFilter; 2] = [wide, narrow].map(|text| text.parse().unwrap());
            assert_eq!(wide.covers(&narrow), covers, "{wide} and {narrow}");
        }
    }

    #[test]
    fn what_is_no_topic_or_filter_is_refused() {
        for text in [
            "",
            "a\nb",
            &"a".repeat(201),
            "level/\u{202e}hgih",
            "a\u{2028}b",
        ] {
            assert_eq!(text.parse::<Topic>(), Err(TopicError::Text), "{text:?}");
            assert_eq!(
                text.parse::<TopicFilter>(),
                Err(TopicError::Text),
                "{text:?}"
            );
        }
        assert_eq!("a/+".parse::<Topic>(), Err(TopicError::Wildcard));
        for text in ["a+", "#/a", "a/b#", "a/#/b"] {
            assert_eq!(
                text.parse::<TopicFilter>(),
                Err(TopicError::Filter),
                "{text:?}"
            );
        }
    }
}
