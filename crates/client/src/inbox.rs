//! The data manager: what comes is stored, verified, published once, and only then acknowledged.
//!
//! ```text
//!   INBOX/.incoming/ID/content ──digest, unpacked──► message.toml ──sync──► rename to INBOX/ID/ ──sync folder──► receipt
//! ```
//!
//! A crash before the rename leaves a part, which the next delivery of a long message goes on with as far as it was
//! synced, and that of a short one starts over; one after it leaves a message whose receipt is given when it is delivered again. The folder `INBOX/ID` is the memory that `ID` has come:
//! take the content out of it as you like, but leave the folder.

mod part;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use delivery::{Arrival, Manner, MessageId, Progress, StoreError, Stored, Urgency};
use hyper::body::Incoming;
use jiff::Timestamp;
use serde::Serialize;

use part::{Part, Written};

/// Folder of parts, inside the inbox so that a rename never crosses file systems.
const INCOMING: &str = ".incoming";

/// A terminal's inbox.
#[derive(Debug)]
pub struct Inbox {
    folder: PathBuf,
}

/// The inbox cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("could not use the inbox {path}")]
pub struct InboxError {
    /// Its folder.
    path: PathBuf,
    /// Why.
    #[source]
    source: io::Error,
}

/// `message.toml` beside every content.
#[derive(Serialize)]
struct Note {
    id: String,
    content_type: String,
    size: u64,
    sha256: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    urgency: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    received_at: String,
}

impl Inbox {
    /// Opens the inbox in `folder`, making it if need be.
    ///
    /// # Errors
    /// [`InboxError`]: no such place, or no right to write there.
    pub fn open(folder: &Path) -> Result<Self, InboxError> {
        let incoming = folder.join(INCOMING);
        // The inbox's own name, too: what holds receipts must be there after a power cut.
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let made = fs::create_dir_all(&incoming).and_then(|()| sync_folder(folder)).and_then(|()| sync_folder(parent));
        made.map_err(|source| InboxError { path: folder.to_owned(), source })?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Where the content of a message is once it has been published.
    pub fn content_path(folder: &Path, id: &str) -> PathBuf {
        folder.join(id).join("content")
    }
}

impl delivery::Inbox for Inbox {
    async fn store(&self, arrival: Arrival, content: Incoming) -> Result<Stored, StoreError> {
        // A message id is 22 characters of base64url: as a file name it can be neither hidden nor a path.
        let id = arrival.id.to_string();
        let (part, published) = (self.folder.join(INCOMING).join(&id), self.folder.join(&id));
        if published.is_dir() {
            return Ok(Stored::Before);
        }
        let part = Part::open(part, &arrival).await?;
        let written = part.write(&arrival, content).await;
        if matches!(written, Err(StoreError::Damaged | StoreError::Encoding(_)))
            || (written.is_err() && part::kept(part.folder()).is_none())
        {
            let _ = fs::remove_dir_all(part.folder()); // nobody can use it; the next attempt clears it otherwise
        }
        let Written { size, digest } = written?;
        let Manner { urgency, topic, expires_at } = &arrival.manner;
        let note = Note {
            id: id.clone(),
            content_type: arrival.content_type.as_str().to_owned(),
            size,
            sha256: digest.to_string(),
            topic: topic.as_ref().map(ToString::to_string),
            urgency: (*urgency != Urgency::default()).then(|| urgency.as_str()),
            expires_at: expires_at.map(|at| at.to_string()),
            received_at: Timestamp::now().to_string(),
        };
        let folder = self.folder.clone();
        let publish = move || publish(&folder, part.folder(), &published, &note);
        let done = tokio::task::spawn_blocking(publish).await.map_err(io::Error::other);
        done.and_then(|done| done)
            .map_err(|source| StoreError::Disk { operation: "publish a message in the inbox", source })?;
        let saved = size.saturating_sub(arrival.size);
        tracing::info!(message_id = %id, size, saved, offset = arrival.offset, "stored");
        Ok(Stored::Now)
    }

    async fn progress(&self, id: MessageId) -> Progress {
        let id = id.to_string();
        if self.folder.join(&id).is_dir() {
            return Progress::Whole;
        }
        let kept = part::kept(&self.folder.join(INCOMING).join(&id));
        kept.map_or(Progress::Nothing, |kept| Progress::Part { offset: kept.offset, digest: kept.digest() })
    }
}

/// On the disk, then visible, then surely visible: in this order.
fn publish(folder: &Path, part: &Path, published: &Path, note: &Note) -> io::Result<()> {
    let _ = fs::remove_file(part.join("offset")); // nothing to go on with any more
    let text = toml::to_string(note).map_err(io::Error::other)?;
    let path = part.join("message.toml");
    fs::write(&path, text)?;
    File::open(&path)?.sync_all()?;
    sync_folder(part)?;
    fs::rename(part, published)?;
    sync_folder(folder)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
