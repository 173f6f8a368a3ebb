//! Pure. What a terminal has registered for, and what of that it is called for.

use delivery::{TerminalId, Topic, TopicFilter, Urgency};
use jiff::{Timestamp, Zoned};
use line::Hours;

/// Subscriptions that one terminal may have.
pub const SUBSCRIPTIONS_MAX: u64 = 100;

/// A data type that a terminal has registered for.
///
/// Everything that the filter means is kept for the terminal. What falls outside the rest causes no call: it rides on the
/// next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Which topics.
    pub filter: TopicFilter,
    /// The least urgent messages that the terminal is called for.
    pub urgency: Urgency,
    /// The largest content that it is called for, in octets.
    pub size_max: Option<u64>,
    /// When it is called for them: what comes outside these hours waits for them.
    pub hours: Hours,
}

/// Who registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisteredBy {
    /// The operator, on the terminal's behalf.
    Operator,
    /// The terminal itself, over a proved session.
    Terminal,
}

/// From when on an envelope may cause a call. Whatever it says, the envelope is delivered on any call before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Calls {
    /// At once.
    Now,
    /// From an instant on.
    From(Timestamp),
    /// Never: it rides along.
    Never,
}

/// A terminal that has registered for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscriber {
    /// Which.
    pub terminal: TerminalId,
    /// When it is called for it.
    pub calls: Calls,
}

impl Subscription {
    /// When the terminal is called for a message of this size that comes now.
    pub fn calls(&self, urgency: Urgency, size: u64, now: &Zoned) -> Calls {
        // Urgencies sort from the most urgent on.
        if urgency > self.urgency || self.size_max.is_some_and(|max| size > max) {
            return Calls::Never;
        }
        let from = self.hours.next_open(now, |_| false);
        if from == *now {
            Calls::Now
        } else {
            Calls::From(from.timestamp())
        }
    }
}

impl RegisteredBy {
    /// The word for it in the store and on screens.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Terminal => "terminal",
        }
    }
}

/// What a terminal may register for, nothing being everything: `Err` has it in words.
pub fn allow_filter(registrable: &[TopicFilter], filter: &TopicFilter) -> Result<(), String> {
    if registrable.is_empty() || registrable.iter().any(|allowed| allowed.covers(filter)) {
        return Ok(());
    }
    Err(registrable
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", "))
}

/// The subscribers of a topic, each once, and called as soon as one of its subscriptions says.
pub fn subscribers<'a>(
    subscriptions: impl IntoIterator<Item = (TerminalId, &'a Subscription)>,
    topic: &Topic,
    urgency: Urgency,
    size: u64,
    now: &Zoned,
) -> Vec<Subscriber> {
    let mut found: Vec<_> = subscriptions
        .into_iter()
        .filter(|(_, subscription)| subscription.filter.matches(topic))
        .map(|(terminal, subscription)| (terminal, subscription.calls(urgency, size, now)))
        .collect();
    found.sort_unstable();
    found.dedup_by_key(|(terminal, _)| *terminal);
    found
        .into_iter()
        .map(|(terminal, calls)| Subscriber { terminal, calls })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(
        filter: &str,
        urgency: Urgency,
        size_max: Option<u64>,
        hours: &str,
    ) -> Subscription {
        Subscription {
            filter: filter.parse().unwrap(),
            urgency,
            size_max,
            hours: hours.parse().unwrap(),
        }
    }

    /// 2026-11-24 is a Tuesday.
    fn at(time: &str) -> Zoned {
        format!("2026-11-24T{time}[UTC]").parse().unwrap()
    }

    #[test]
    fn what_falls_outside_the_conditions_causes_no_call() {
        let news = subscription("news/#", Urgency::Normal, Some(50_000), "06:00-22:00");
        for (urgency, size, time, calls) in [
            (Urgency::Normal, 50_000, "12:00:00", Calls::Now),
            (Urgency::Urgent, 1, "06:00:00", Calls::Now),
            (Urgency::Bulk, 1, "12:00:00", Calls::Never),
            (Urgency::Normal, 50_001, "12:00:00", Calls::Never),
            (
                Urgency::Normal,
                1,
                "05:59:30",
                Calls::From("2026-11-24T06:00:00Z".parse().unwrap()),
            ),
            (
                Urgency::Normal,
                1,
                "22:00:00",
                Calls::From("2026-11-25T06:00:00Z".parse().unwrap()),
            ),
            (Urgency::Bulk, 1, "22:00:00", Calls::Never),
        ] {
            assert_eq!(
                news.calls(urgency, size, &at(time)),
                calls,
                "{urgency} {size} {time}"
            );
        }
    }

    #[test]
    fn a_terminal_gets_one_envelope_and_is_called_as_soon_as_one_of_its_subscriptions_says() {
        let [a, b] = [1, 2].map(|octet| TerminalId::from_octets([octet; 8]));
        let wide = subscription("#", Urgency::Urgent, None, "");
        let news = subscription("news/+", Urgency::Bulk, None, "");
        let other = subscription("mail", Urgency::Bulk, None, "");
        let all = [(b, &wide), (a, &wide), (a, &news), (b, &other)];
        let found = subscribers(
            all,
            &"news/weather".parse().unwrap(),
            Urgency::Normal,
            1,
            &at("12:00:00"),
        );
        let expected = [
            Subscriber {
                terminal: a,
                calls: Calls::Now,
            },
            Subscriber {
                terminal: b,
                calls: Calls::Never,
            },
        ];
        assert_eq!(found, expected);
    }
}
