//! Alarms: what an operator has to know of without looking.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::Serialize;

/// What alarms are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmKind {
    /// A terminal was not reached for longer than its conditions allow. Subject: its name.
    TerminalSilent,
    /// A message has failed because sessions broke with it, time and again. Subject: the message and its terminal.
    MessageLeftOut,
    /// A terminal refuses a message again and again, or the message has failed for it. Subject: the terminal's name.
    MessageRefused,
    /// A terminal has a message whose verdict says otherwise. Subject: the message and its terminal.
    VerdictConflict,
    /// Calls to a terminal failed for days. Subject: its name.
    DialLoop,
    /// A line's port or modem does not work. Subject: its name.
    LineOutOfOrder,
    /// Calls fail on a line for a fault of its own, though its modem is initialised. Subject: its name.
    LineSuspect,
    /// Whoever spoke for a terminal could not prove it, three times in an hour. Subject: its name.
    UnprovedCallers,
    /// Calls reached an invited terminal, three in a row, and did not enrol it. Subject: its name.
    NotEnrolled,
    /// Four fifths of a quota are used. Subject: whose, and of what.
    Quota,
    /// The disk is full, or the store fails. Subject: `store`.
    Store,
    /// A budget of a day is spent. Subject: whose.
    Budget,
    /// A feed could not be read three times, one after the other. Subject: its URL.
    Feed,
    /// The provider as which mail is submitted is not in the directory. Subject: its name.
    MailProvider,
    /// There is no connection to a dial-up server. Subject: its name.
    DialupServerLost,
    /// A dial-up server violated the trunk protocol or reported an impossible figure. Subject: its name.
    DialupServerLies,
    /// A provider's webhook takes verdicts more slowly than they come, or not at all. Subject: the provider's name.
    WebhookLate,
    /// The relay does not take notifications of mails that did not arrive. Subject: the relay.
    BouncesLate,
}

/// The text is no [`AlarmKind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "there are alarms of the kinds terminal-silent, message-left-out, message-refused, verdict-conflict, dial-loop, line-out-of-order, line-suspect, unproved-callers, not-enrolled, quota, store, budget, feed, mail-provider, dialup-server-lost, dialup-server-lies, webhook-late and bounces-late"
)]
pub struct AlarmKindError;

impl AlarmKind {
    /// All there are.
    pub const ALL: [Self; 18] = [
        Self::TerminalSilent,
        Self::MessageLeftOut,
        Self::MessageRefused,
        Self::VerdictConflict,
        Self::DialLoop,
        Self::LineOutOfOrder,
        Self::LineSuspect,
        Self::UnprovedCallers,
        Self::NotEnrolled,
        Self::Quota,
        Self::Store,
        Self::Budget,
        Self::Feed,
        Self::MailProvider,
        Self::DialupServerLost,
        Self::DialupServerLies,
        Self::WebhookLate,
        Self::BouncesLate,
    ];

    /// The word for it in the store, on screens and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TerminalSilent => "terminal-silent",
            Self::MessageLeftOut => "message-left-out",
            Self::MessageRefused => "message-refused",
            Self::VerdictConflict => "verdict-conflict",
            Self::DialLoop => "dial-loop",
            Self::LineOutOfOrder => "line-out-of-order",
            Self::LineSuspect => "line-suspect",
            Self::UnprovedCallers => "unproved-callers",
            Self::NotEnrolled => "not-enrolled",
            Self::Quota => "quota",
            Self::Store => "store",
            Self::Budget => "budget",
            Self::Feed => "feed",
            Self::MailProvider => "mail-provider",
            Self::DialupServerLost => "dialup-server-lost",
            Self::DialupServerLies => "dialup-server-lies",
            Self::WebhookLate => "webhook-late",
            Self::BouncesLate => "bounces-late",
        }
    }
}

impl fmt::Display for AlarmKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AlarmKind {
    type Err = AlarmKindError;

    fn from_str(text: &str) -> Result<Self, AlarmKindError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or(AlarmKindError)
    }
}

/// One alarm: one of a kind stands for each subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// What about.
    pub kind: AlarmKind,
    /// Which.
    pub subject: String,
    /// What an operator needs to know of it.
    pub detail: String,
    /// Since when it stands.
    pub raised_at: Timestamp,
    /// When it was over; `None`: it stands.
    pub cleared_at: Option<Timestamp>,
}

/// What happened to an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// It stands from now on.
    Raised,
    /// It is over.
    Cleared,
}

impl Event {
    /// The word for it in the store and in notices.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Cleared => "cleared",
        }
    }
}

impl FromStr for Event {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Raised, Self::Cleared]
            .into_iter()
            .find(|event| event.as_str() == text)
            .ok_or(())
    }
}

/// An alarm that was raised, or, if it says when, cleared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The alarm.
    pub alarm: Alarm,
    /// It was told from memory: the disk did not take it.
    pub is_told: bool,
}

impl Change {
    /// Which of the two happened.
    pub fn event(&self) -> Event {
        if self.alarm.cleared_at.is_some() {
            Event::Cleared
        } else {
            Event::Raised
        }
    }
}

/// A way to tell of alarms beside the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// The operator's command.
    Command,
    /// The operator's webhook.
    Webhook,
}

impl Channel {
    /// The word for it in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Webhook => "webhook",
        }
    }
}

/// The place of an alarm in a list, as `--after` names it: `RAISED/KIND/SUBJECT`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AlarmPlace {
    /// When it was raised.
    pub raised_at: Timestamp,
    /// Its kind: a dial-up server has kinds of its own.
    pub kind: String,
    /// What it is about.
    pub subject: String,
}

/// What is named is no place of an alarm.
#[derive(Debug, thiserror::Error)]
#[error("a place in the list of alarms is RAISED/KIND/SUBJECT, as the list shows them")]
pub struct AlarmPlaceError;

impl FromStr for AlarmPlace {
    type Err = AlarmPlaceError;

    fn from_str(text: &str) -> Result<Self, AlarmPlaceError> {
        let mut parts = text.splitn(3, '/');
        let mut next = || parts.next().ok_or(AlarmPlaceError);
        let raised_at = next()?.parse().map_err(|_| AlarmPlaceError)?;
        Ok(Self {
            raised_at,
            kind: next()?.to_owned(),
            subject: next()?.to_owned(),
        })
    }
}

impl AlarmPlace {
    /// The place of this alarm.
    pub fn of(alarm: &Alarm) -> Self {
        Self {
            raised_at: alarm.raised_at,
            kind: alarm.kind.as_str().to_owned(),
            subject: alarm.subject.clone(),
        }
    }

    /// The entries after this place, `last` at most, the oldest first.
    pub fn page<T>(
        entries: Vec<T>,
        after: Option<&Self>,
        last: usize,
        place: impl Fn(&T) -> Self,
    ) -> Vec<T> {
        let mut left: Vec<_> = entries
            .into_iter()
            .map(|entry| (place(&entry), entry))
            .collect();
        left.retain(|(place, _)| after.is_none_or(|after| place > after));
        left.sort_by(|(one, _), (other, _)| one.cmp(other));
        left.into_iter()
            .map(|(_, entry)| entry)
            .take(last)
            .collect()
    }
}
