//! What all processes of a village say, in the order in which it was heard.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

/// Far more than anything here takes; only a failing test waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The message of the entry that says that a process, and all it has started, has closed its log.
const ENDED: &str = "(ended)";

/// One line that a process wrote on standard error.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) who: String,
    /// The log event's message, or the line itself if it is plain text.
    pub(crate) message: String,
    /// The log event's fields.
    pub(crate) fields: Map<String, Value>,
}

impl Entry {
    /// A field as text; empty if it is not there.
    pub(crate) fn field(&self, name: &str) -> String {
        match self.fields.get(name) {
            None => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Chronicle {
    entries: Mutex<Vec<Entry>>,
    more: Condvar,
}

impl Chronicle {
    pub(crate) fn write(&self, who: &str, line: String) {
        let entry = match serde_json::from_str::<Map<String, Value>>(&line) {
            Ok(mut fields) => {
                let message = fields
                    .remove("message")
                    .and_then(|message| message.as_str().map(str::to_owned));
                Entry {
                    who: who.to_owned(),
                    message: message.unwrap_or(line),
                    fields,
                }
            }
            Err(_) => Entry {
                who: who.to_owned(),
                message: line,
                fields: Map::new(),
            },
        };
        self.entries().push(entry);
        self.more.notify_all();
    }

    pub(crate) fn write_end(&self, who: &str) {
        self.write(who, ENDED.to_owned());
    }

    /// Waits until `who` has logged `message`.
    pub(crate) fn wait(&self, who: &str, message: &str) -> Entry {
        self.wait_nth(who, message, 1)
    }

    /// Waits until `who` has logged `message` this many times; returns the last one.
    pub(crate) fn wait_nth(&self, who: &str, message: &str, times: usize) -> Entry {
        self.wait_for(who, &format!("{message:?} {times} times"), times, |entry| {
            entry.message == message
        })
    }

    /// Waits until `who` has logged `message` with this field.
    pub(crate) fn wait_field(&self, who: &str, message: &str, field: &str, value: &str) -> Entry {
        let wanted = |entry: &Entry| entry.message == message && entry.field(field) == value;
        self.wait_for(who, &format!("{message:?} with {field}={value}"), 1, wanted)
    }

    /// Waits until `who` has logged one of `messages`; gives the first that came.
    pub(crate) fn wait_any(&self, who: &str, messages: &[&str]) -> Entry {
        self.wait_for(who, &format!("one of {messages:?}"), 1, |entry| {
            messages.contains(&entry.message.as_str())
        })
    }

    /// Waits until `who` has ended.
    pub(crate) fn wait_end(&self, who: &str) {
        self.wait(who, ENDED);
    }

    fn wait_for(
        &self,
        who: &str,
        what: &str,
        times: usize,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Entry {
        let deadline = Instant::now() + PATIENCE;
        let mut entries = self.entries();
        loop {
            let mut own = entries.iter().filter(|entry| entry.who == who);
            if let Some(found) = own.by_ref().filter(|entry| wanted(entry)).nth(times - 1) {
                return found.clone();
            }
            let has_ended = entries
                .iter()
                .any(|entry| entry.who == who && entry.message == ENDED);
            let left = deadline.saturating_duration_since(Instant::now());
            if has_ended || left.is_zero() {
                let why = if has_ended {
                    "it has ended"
                } else {
                    "nothing came"
                };
                drop(entries);
                panic!("waited for {who} to say {what}, but {why}");
            }
            entries = self
                .more
                .wait_timeout(entries, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits until somebody has said so many more lines, or `at_most` has passed: a point in time for whoever wants one.
    pub(crate) fn wait_lines(&self, more: usize, at_most: Duration) {
        let deadline = Instant::now() + at_most;
        let mut entries = self.entries();
        let wanted = entries.len() + more;
        while entries.len() < wanted {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            entries = self
                .more
                .wait_timeout(entries, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// How often each value of `field` was said with this message, by whomever.
    pub(crate) fn count_by(&self, message: &str, field: &str) -> BTreeMap<String, usize> {
        self.entries()
            .iter()
            .filter(|entry| entry.message == message)
            .fold(BTreeMap::new(), |mut counts, entry| {
                *counts.entry(entry.field(field)).or_default() += 1;
                counts
            })
    }

    /// All that `who` has said with this message up to now.
    pub(crate) fn said(&self, who: &str, message: &str) -> Vec<Entry> {
        self.entries()
            .iter()
            .filter(|entry| entry.who == who && entry.message == message)
            .cloned()
            .collect()
    }

    /// The plain text that `who` has written up to now.
    pub(crate) fn plain_text(&self, who: &str) -> String {
        let entries = self.entries();
        let plain = entries
            .iter()
            .filter(|entry| entry.who == who && entry.fields.is_empty() && entry.message != ENDED);
        plain.fold(String::new(), |text, entry| text + &entry.message + "\n")
    }

    /// All of it, for people.
    pub(crate) fn tell(&self) -> String {
        self.entries().iter().fold(
            String::new(),
            |mut text,
             Entry {
                 who,
                 message,
                 fields,
             }| {
                let fields: BTreeMap<_, _> = fields.iter().collect();
                let _ = writeln!(text, "{who:12} {message} {fields:?}"); // writing to a String cannot fail
                text
            },
        )
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
