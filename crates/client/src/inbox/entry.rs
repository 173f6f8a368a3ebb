//! A published message as it lies in the inbox: `message.toml` beside its content, and `done` once it is handed over or acknowledged.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use delivery::proof::write_secret;
use delivery::{MessageId, Topic};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// `message.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The message's id.
    pub id: String,
    /// What its content is.
    pub content_type: String,
    /// The data type it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// How soon it had to be here, if not as usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub urgency: Option<String>,
    /// Expiry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Octets of content.
    pub size: u64,
    /// SHA-256 of the content, in hex.
    pub sha256: String,
    /// When all of it was here.
    pub received_at: Timestamp,
}

/// A published message.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its id.
    pub id: MessageId,
    /// What is known of it.
    pub note: Note,
    /// When it was done with: handed over, or acknowledged.
    pub done_at: Option<Timestamp>,
    folder: PathBuf,
}

impl Entry {
    /// Reads the message in a folder of the inbox; `None`: it is none, or cannot be read.
    fn read(folder: PathBuf) -> Option<Self> {
        let id = folder.file_name()?.to_str()?.parse().ok()?;
        let note = toml::from_str(&fs::read_to_string(folder.join("message.toml")).ok()?).ok()?;
        let done_at = fs::read_to_string(folder.join("done")).ok().map(|text| {
            // A marker that a crash has emptied is one all the same: it was made after the message was taken.
            text.trim().parse().unwrap_or(Timestamp::UNIX_EPOCH)
        });
        Some(Self {
            id,
            note,
            done_at,
            folder,
        })
    }

    /// The messages of an inbox, oldest first. What is no message is passed over.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn list(inbox: &Path) -> io::Result<Vec<Self>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(inbox)? {
            entries.extend(Self::read(entry?.path()));
        }
        entries.sort_by_key(|entry| entry.id);
        Ok(entries)
    }

    /// One message of an inbox.
    pub fn find(inbox: &Path, id: MessageId) -> Option<Self> {
        Self::read(inbox.join(id.to_string()))
    }

    /// Where its content is. The name is the inbox's, never the sender's.
    pub fn content(&self) -> PathBuf {
        self.folder.join("content")
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The data type it belongs to.
    pub fn topic(&self) -> Option<Topic> {
        self.note.topic.as_ref()?.parse().ok()
    }

    /// Records on the disk that the message is done: it is not handed over again, and may be removed when its time is over.
    ///
    /// # Errors
    /// If the disk does not take it; it is handed over again then.
    pub fn done(&self) -> io::Result<()> {
        if self.done_at.is_some() {
            return Ok(());
        }
        write_secret(
            &self.folder.join("done"),
            format!("{}\n", Timestamp::now()).as_bytes(),
        )?;
        File::open(&self.folder)?.sync_all()
    }
}
