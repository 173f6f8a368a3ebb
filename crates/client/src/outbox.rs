//! What this terminal has to say to its server: kept on the disk until the server has it on its own.
//!
//! ```text
//!   STATE/outbox/ID.item   an item as it goes on the line; there, whole, when `add` returns
//!   STATE/outbox/ID.note   the server's word why it did not take it
//! ```
//!
//! A crash before an item's rename: it was never there. A crash after the server took it and before it is removed here: it goes
//! again under the same id, which the server knows.

mod standing;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use delivery::proof::write_secret;
use delivery::{
    Conditions, ITEM_HEAD_OCTETS_MAX, ItemAnswer, ItemHead, ItemTooLong, MessageId, Said,
    StoreError, Urgency, read_item_head, write_item_head,
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

pub use standing::StandingConditions;

/// Items that may wait.
pub const ITEMS_MAX: usize = 10_000;
/// Octets that may wait, heads and all.
pub const OUTBOX_OCTETS_MAX: u64 = 64 * 1024 * 1024;
/// Octets read at once: one frame.
const READ_OCTETS: usize = 16 * 1024;
/// Wait after which an item that the server put off justifies a call of its own; it is offered on every session.
const PUT_OFF: Duration = Duration::from_secs(600);

/// A time that lies further ahead was written by another clock: one that begins in 1970 and was set since, or was and is not now.
const ANOTHER_CLOCK: SignedDuration = SignedDuration::from_hours(1);
/// The status of what is larger than the server takes.
const TOO_LARGE: u16 = 413;
/// Age at which a half-written item, left by a crash, is removed.
const HALF_WRITTEN: Duration = Duration::from_secs(3600);

/// What this terminal takes for now, beside the items.
const CONDITIONS: &str = "conditions.json";

/// Why something was not put into the outbox.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// As much waits as may.
    #[error(
        "{items} items with {octets} octets wait in the outbox; at most {ITEMS_MAX} with {OUTBOX_OCTETS_MAX} octets may. See: ringup outbox list"
    )]
    Full {
        /// How many.
        items: usize,
        /// Of what size.
        octets: u64,
    },
    /// Its head is too long.
    #[error(transparent)]
    TooLong(#[from] ItemTooLong),
    /// The disk.
    #[error("could not use the outbox in {folder}")]
    Disk {
        /// Where.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// When a terminal calls to say what waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// What is not urgent waits no longer than this.
    pub every: Duration,
    /// So many octets are worth a call.
    pub octets: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(30 * 60),
            octets: 20_000,
        }
    }
}

/// An item that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// What it is.
    pub head: ItemHead,
    /// Octets on the disk.
    pub octets: u64,
    /// Why the server did not take it, if it said so.
    pub note: Option<Note>,
}

/// The server's word about an item that it did not take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// An HTTP status.
    pub status: u16,
    /// In words.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

impl Note {
    /// Whether it may be taken later; what is not is never offered again.
    pub fn is_for_later(&self) -> bool {
        matches!(self.status, 429 | 503 | 507)
    }
}

impl OutboxEntry {
    /// Whether it waits to be taken.
    pub fn waits(&self) -> bool {
        self.note.as_ref().is_none_or(Note::is_for_later)
    }

    /// How soon it must be said; what is not understood never.
    pub fn urgency(&self) -> Urgency {
        self.head.says.as_ref().map_or(Urgency::Bulk, Said::urgency)
    }

    /// When it was put in.
    pub fn at(&self) -> Timestamp {
        let millis = self.head.id.octets()[..6]
            .iter()
            .fold(0, |millis, octet| millis << 8 | i64::from(*octet));
        Timestamp::from_millisecond(millis).unwrap_or_default()
    }

    /// When it is worth a call of its own.
    fn calls_at(&self, every: Duration, now: Timestamp) -> Timestamp {
        // What was put in or noted by another clock has waited long enough: for how long is not known.
        let after = |at: Timestamp, wait: Duration| match at.duration_since(now) > ANOTHER_CLOCK {
            true => now,
            false => at.checked_add(wait).unwrap_or(Timestamp::MAX),
        };
        let usual = match self.urgency() {
            Urgency::Urgent => after(self.at(), Duration::ZERO),
            Urgency::Normal | Urgency::Bulk => after(self.at(), every),
        };
        self.note
            .as_ref()
            .map_or(usual, |note| usual.max(after(note.at, PUT_OFF)))
    }
}

/// The outbox of one terminal.
#[derive(Debug)]
pub struct Outbox {
    folder: PathBuf,
    /// What was read by the server since this was opened, which is for a session.
    offered: Mutex<BTreeSet<MessageId>>,
    /// What it takes whenever it has said nothing else.
    standing: Option<StandingConditions>,
}

impl Outbox {
    /// The outbox in a terminal's state folder. It comes into being with the first item.
    pub fn new(state: &Path) -> Self {
        Self {
            folder: state.join("outbox"),
            offered: Mutex::default(),
            standing: None,
        }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Puts something in. It is on the disk on return.
    ///
    /// # Errors
    /// [`OutboxError`]: it is not in.
    pub fn add(&self, said: &Said, content: &[u8]) -> Result<MessageId, OutboxError> {
        self.remove_half_written();
        let waiting = self.list()?;
        let (items, octets) = (
            waiting.len(),
            waiting.iter().map(|entry| entry.octets).sum::<u64>(),
        );
        let id = MessageId::now();
        let mut item = write_item_head(id, content.len() as u64, said)?;
        item.extend_from_slice(content);
        if items >= ITEMS_MAX || octets.saturating_add(item.len() as u64) > OUTBOX_OCTETS_MAX {
            return Err(OutboxError::Full { items, octets });
        }
        write_secret(&self.item(id), &item).map_err(|source| self.failed(source))?;
        Ok(id)
    }

    /// Keeps what this terminal takes for now, for itself and for the server.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub fn state(&self, conditions: Conditions) -> Result<MessageId, OutboxError> {
        let kept = conditions.to_json().to_string();
        self.forget_told();
        // Ours first: what we refuse and nobody told the server is put off, what it keeps and we do not is lost time.
        write_secret(&self.folder.join(CONDITIONS), kept.as_bytes())
            .map_err(|source| self.failed(source))?;
        self.add(&Said::Conditions(conditions), &[])
    }

    /// What this terminal has said that it takes, which may be over.
    fn stated(&self) -> Option<Conditions> {
        let kept = fs::read(self.folder.join(CONDITIONS)).ok()?;
        let read = serde_json::from_slice(&kept)
            .map_err(|error| error.to_string())
            .and_then(Conditions::from_json);
        read.inspect_err(|error| {
            tracing::error!(
                error,
                "what this terminal takes for now cannot be read: everything"
            );
        })
        .ok()
    }

    /// All that is here, the oldest first, what was refused too.
    ///
    /// # Errors
    /// [`OutboxError::Disk`].
    pub fn list(&self) -> Result<Vec<OutboxEntry>, OutboxError> {
        let ids = self.ids().map_err(|source| self.failed(source))?;
        Ok(ids.into_iter().filter_map(|id| self.entry(id)).collect())
    }

    /// What is here under this id.
    pub fn entry(&self, id: MessageId) -> Option<OutboxEntry> {
        let read = || -> io::Result<OutboxEntry> {
            let (head, _, octets) = open_item(&self.item(id))?;
            let note = fs::read(self.note(id))
                .ok()
                .and_then(|note| serde_json::from_slice(&note).ok());
            Ok(OutboxEntry { head, octets, note })
        };
        match read() {
            Ok(entry) => Some(entry),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None, // taken meanwhile
            Err(error) => {
                tracing::error!(%id, %error, "an item in the outbox cannot be read");
                None
            }
        }
    }

    /// Takes something out again. `false`: it is not here (any more).
    ///
    /// # Errors
    /// [`OutboxError::Disk`].
    pub fn remove(&self, id: MessageId) -> Result<bool, OutboxError> {
        let remove = || -> io::Result<bool> {
            // The item first: a note alone is nothing, an item without its note would be sent.
            match fs::remove_file(self.item(id)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error),
            }
            match fs::remove_file(self.note(id)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            File::open(&self.folder)?.sync_all()?;
            Ok(true)
        };
        remove().map_err(|source| self.failed(source))
    }

    /// When a call should be placed for what waits. `None`: nothing waits.
    ///
    /// # Errors
    /// [`OutboxError::Disk`].
    pub fn calls_at(&self, pace: Pace, now: Timestamp) -> Result<Option<Timestamp>, OutboxError> {
        let waiting: Vec<_> = self
            .list()?
            .into_iter()
            .filter(OutboxEntry::waits)
            .collect();
        let fresh = waiting.iter().filter(|entry| entry.note.is_none());
        let last = fresh.clone().map(|entry| entry.at().min(now)).max();
        let is_enough = fresh.map(|entry| entry.octets).sum::<u64>() >= pace.octets;
        let by_time = waiting
            .iter()
            .map(|entry| entry.calls_at(pace.every, now))
            .min();
        Ok(if is_enough {
            by_time.min(last).or(last)
        } else {
            by_time
        })
    }

    fn item(&self, id: MessageId) -> PathBuf {
        self.folder.join(format!("{id}.item"))
    }

    fn note(&self, id: MessageId) -> PathBuf {
        self.folder.join(format!("{id}.note"))
    }

    fn failed(&self, source: io::Error) -> OutboxError {
        OutboxError::Disk {
            folder: self.folder.clone(),
            source,
        }
    }

    fn ids(&self) -> io::Result<Vec<MessageId>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            ids.extend(
                name.to_str()
                    .and_then(|name| name.strip_suffix(".item")?.parse::<MessageId>().ok()),
            );
        }
        ids.sort();
        Ok(ids)
    }

    fn remove_half_written(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let age = entry
                .metadata()
                .and_then(|found| found.modified())
                .ok()
                .and_then(|at| at.elapsed().ok());
            if path.extension().is_some_and(|end| end == "new")
                && age.is_some_and(|age| age > HALF_WRITTEN)
            {
                let _ = fs::remove_file(path); // gone already is as good
            }
        }
    }

    /// What this session has not read yet, in the order in which it goes.
    fn unread(&self) -> Vec<MessageId> {
        let waiting = self.list().unwrap_or_else(|error| {
            tracing::error!(%error, "nothing is said to the server");
            Vec::new()
        });
        let offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unread: Vec<_> = waiting
            .into_iter()
            .filter(|entry| entry.waits() && !offered.contains(&entry.head.id))
            .collect();
        unread.sort_by_key(|entry| (entry.urgency(), entry.head.id));
        unread.into_iter().map(|entry| entry.head.id).collect()
    }
}

/// Opens an item, reads its head, and goes back to its beginning; says how long it is.
fn open_item(path: &Path) -> io::Result<(ItemHead, File, u64)> {
    let mut file = File::open(path)?;
    let octets = file.metadata()?.len();
    let mut beginning = Vec::new();
    (&file)
        .take(ITEM_HEAD_OCTETS_MAX as u64 + 2)
        .read_to_end(&mut beginning)?;
    let (head, at) = read_item_head(&beginning).ok_or_else(|| io::Error::other("it is no item"))?;
    if octets != head.size.saturating_add(at as u64) {
        return Err(io::Error::other("it is not as long as it says"));
    }
    file.seek(SeekFrom::Start(0))?;
    Ok((head, file, octets))
}

impl delivery::Outbox for Outbox {
    fn waits(&self) -> bool {
        !self.unread().is_empty()
    }

    fn read(&self) -> mpsc::Receiver<io::Result<Bytes>> {
        let (sender, octets) = mpsc::channel(1);
        let ids = self.unread();
        self.offered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(&ids);
        let paths: Vec<_> = ids.into_iter().map(|id| self.item(id)).collect();
        tokio::task::spawn_blocking(move || {
            for path in paths {
                let Ok((_, mut file, mut left)) = open_item(&path) else {
                    continue;
                }; // taken out meanwhile
                while left > 0 {
                    let mut buffer =
                        vec![0; READ_OCTETS.min(usize::try_from(left).unwrap_or(READ_OCTETS))];
                    let read = file.read_exact(&mut buffer).map(|()| Bytes::from(buffer));
                    left -= read.as_ref().map_or(left, |read| read.len() as u64);
                    if sender.blocking_send(read).is_err() {
                        return; // the session is over, or the server wants no more
                    }
                }
            }
        });
        octets
    }

    fn settle(&self, id: MessageId, answer: ItemAnswer) -> Result<(), StoreError> {
        let failed = |source| StoreError::Disk {
            operation: "note what became of an item",
            source,
        };
        match answer {
            ItemAnswer::Accepted => {
                self.remove(id)
                    .map_err(|error| failed(io::Error::other(error)))?;
                tracing::info!(item = %id, "taken by the server");
            }
            // What is not here (any more) gets no note: a server could fill the disk.
            ItemAnswer::Refused { .. } if self.entry(id).is_none() => {}
            ItemAnswer::Refused { status, reason } => {
                tracing::warn!(item = %id, status, reason, "not taken by the server");
                let note = Note {
                    status,
                    reason,
                    at: Timestamp::now(),
                };
                let note = serde_json::to_vec(&note).map_err(|error| failed(error.into()))?;
                write_secret(&self.note(id), &note).map_err(failed)?;
                if status == TOO_LARGE {
                    // The server reads no further than this, and asks anew for what stood behind it.
                    self.offered
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .clear();
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use delivery::{ContentType, Outbox as _, Outgoing};

    use super::*;

    fn message(urgency: Urgency) -> Said {
        Said::Message(Outgoing {
            to: vec!["tel:301".into()],
            content_type: ContentType::octets(),
            urgency,
            expires_at: None,
            topic: None,
            replace_key: None,
        })
    }

    async fn read(outbox: &Outbox) -> Vec<u8> {
        let (mut octets, mut all) = (outbox.read(), Vec::new());
        while let Some(some) = octets.recv().await {
            all.extend_from_slice(&some.unwrap());
        }
        all
    }

    #[tokio::test]
    async fn what_is_urgent_goes_first_and_everything_once_a_session() {
        let state = tempfile::tempdir().unwrap();
        let outbox = Outbox::new(state.path());
        assert!(!outbox.waits());
        let first = outbox.add(&message(Urgency::Bulk), &[7; 40_000]).unwrap();
        let second = outbox.add(&message(Urgency::Urgent), b"!").unwrap();
        assert!(outbox.waits());
        let octets = read(&outbox).await;
        let (head, at) = read_item_head(&octets).unwrap();
        assert_eq!((head.id, &octets[at..=at]), (second, &b"!"[..]));
        let (head, at) = read_item_head(&octets[at + 1..])
            .map(|(head, len)| (head, at + 1 + len))
            .unwrap();
        assert_eq!((head.id, octets[at..].len()), (first, 40_000));
        assert!(!outbox.waits() && read(&outbox).await.is_empty());
        assert!(
            Outbox::new(state.path()).waits(),
            "the next session is offered what was not answered"
        );
    }

    #[test]
    fn what_is_taken_is_gone_what_is_refused_is_kept_and_not_offered_and_what_is_put_off_is() {
        let state = tempfile::tempdir().unwrap();
        let outbox = Outbox::new(state.path());
        let ids = [(); 3].map(|()| outbox.add(&message(Urgency::Urgent), b"x").unwrap());
        let refused = |status| ItemAnswer::Refused {
            status,
            reason: "no".into(),
        };
        outbox.settle(ids[0], ItemAnswer::Accepted).unwrap();
        outbox.settle(ids[0], ItemAnswer::Accepted).unwrap();
        outbox.settle(ids[1], refused(403)).unwrap();
        outbox.settle(ids[2], refused(429)).unwrap();
        outbox.settle(MessageId::now(), refused(403)).unwrap();
        let listed = outbox.list().unwrap();
        let shown: Vec<_> = listed
            .iter()
            .map(|entry| {
                (
                    entry.head.id,
                    entry.waits(),
                    entry.note.as_ref().unwrap().status,
                )
            })
            .collect();
        assert_eq!(shown, [(ids[1], false, 403), (ids[2], true, 429)]);
        assert_eq!(outbox.unread(), [ids[2]]);
        let calls_at = outbox
            .calls_at(Pace::default(), Timestamp::now())
            .unwrap()
            .unwrap();
        assert!(
            calls_at > Timestamp::now() + SignedDuration::from_mins(9),
            "it is not offered in a loop"
        );
        assert!(outbox.remove(ids[1]).unwrap() && !outbox.remove(ids[1]).unwrap());
        assert_eq!(
            fs::read_dir(outbox.folder()).unwrap().count(),
            2,
            "no note is left behind"
        );
    }

    #[test]
    fn a_call_is_worth_it_for_what_is_urgent_or_has_waited_or_is_much() {
        let state = tempfile::tempdir().unwrap();
        let outbox = Outbox::new(state.path());
        let (pace, now) = (
            Pace {
                every: Duration::from_secs(600),
                octets: 1000,
            },
            Timestamp::now,
        );
        assert_eq!(outbox.calls_at(pace, now()).unwrap(), None);
        let first = outbox.add(&message(Urgency::Normal), b"a sale").unwrap();
        let at = |id| outbox.entry(id).unwrap().at();
        assert_eq!(
            outbox.calls_at(pace, now()).unwrap(),
            Some(at(first) + SignedDuration::from_mins(10))
        );
        let much = outbox.add(&message(Urgency::Bulk), &[0; 1000]).unwrap();
        assert_eq!(outbox.calls_at(pace, now()).unwrap(), Some(at(much)));
        outbox.remove(much).unwrap();
        let urgent = outbox.add(&message(Urgency::Urgent), b"door open").unwrap();
        assert_eq!(outbox.calls_at(pace, now()).unwrap(), Some(at(urgent)));
    }

    #[test]
    fn what_was_put_in_before_the_clock_fell_back_to_1970_is_called_for_now() {
        for (urgency, is_put_off) in [
            (Urgency::Urgent, false),
            (Urgency::Normal, false),
            (Urgency::Urgent, true),
        ] {
            let state = tempfile::tempdir().unwrap();
            let outbox = Outbox::new(state.path());
            let id = outbox.add(&message(urgency), b"door open").unwrap();
            if is_put_off {
                let answer = ItemAnswer::Refused {
                    status: 503,
                    reason: "later".into(),
                };
                outbox.settle(id, answer).unwrap();
            }
            let boot = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(1);
            assert_eq!(
                outbox.calls_at(Pace::default(), boot).unwrap(),
                Some(boot),
                "{urgency:?} {is_put_off}"
            );
        }
    }

    #[test]
    fn what_is_damaged_on_the_disk_is_not_said() {
        let state = tempfile::tempdir().unwrap();
        let outbox = Outbox::new(state.path());
        let ids = [(); 2].map(|()| outbox.add(&message(Urgency::Normal), b"content").unwrap());
        fs::write(outbox.item(ids[0]), b"\xff\xff{").unwrap();
        File::options()
            .write(true)
            .open(outbox.item(ids[1]))
            .unwrap()
            .set_len(20)
            .unwrap();
        fs::write(outbox.folder().join("../outbox/not-an-id.item"), b"x").unwrap();
        assert_eq!(outbox.list().unwrap(), []);
        assert!(!outbox.waits());
    }
}
