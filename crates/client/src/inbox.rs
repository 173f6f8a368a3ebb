//! The data manager: what comes is stored, verified, published once, and only then acknowledged.
//!
//! ```text
//!   INBOX/.incoming/ID/content ──digest, unpacked──► message.toml ──sync──► rename to INBOX/ID/ ──sync folder──► receipt
//! ```
//!
//! A crash before the rename leaves a part, which the next delivery of a long message goes on with as far as it was
//! synced, and that of a short one starts over; one after it leaves a message whose receipt is given when it is delivered again. The folder `INBOX/ID` is the memory that `ID` has come;
//! what is removed by rule is remembered in `INBOX/.seen`.

mod entry;
mod keeping;
mod part;
mod rules;
mod seen;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use delivery::{
    Arrival, Digest, Manner, MessageId, Progress, StoreError, Stored, Urgency, close_to_others,
};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use jiff::Timestamp;

pub use entry::{Entry, Note};
pub use keeping::clean;
pub use rules::{Handover, Rule, Rules};

use crate::handover::HandoverStart;
use part::{Part, Written};

/// Octets of a message that may come without a digest, and no more.
const SHORT_OCTETS_MAX: usize = 16 * 1024;

/// Folder of parts, inside the inbox so that a rename never crosses file systems.
const INCOMING: &str = ".incoming";

/// What others may do in the inbox at most: its group may read. What is made in it has the rights that the umask leaves.
const INBOX_MODE_MAX: u32 = 0o750;

/// A terminal's inbox.
#[derive(Debug)]
pub struct Inbox {
    folder: PathBuf,
    rules: Rules,
    /// Told when something was published.
    handover: Option<HandoverStart>,
}

/// Where a terminal's inbox is, and what becomes of what comes there.
#[derive(Debug, Clone)]
pub struct InboxConfig {
    /// Its folder.
    pub folder: PathBuf,
    /// What becomes of what comes.
    pub rules: Rules,
    /// The program, with its arguments, that hands over and cleans.
    pub hand_over: Vec<OsString>,
}

impl InboxConfig {
    /// Opens it for a session.
    ///
    /// # Errors
    /// [`InboxError`].
    pub fn open(&self) -> Result<Inbox, InboxError> {
        let inbox = Inbox::open(&self.folder)?;
        let handover = self
            .rules
            .is_active()
            .then(|| HandoverStart::new(self.hand_over.clone(), &self.folder));
        Ok(Inbox {
            rules: self.rules.clone(),
            handover,
            ..inbox
        })
    }
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

impl Inbox {
    /// Opens the inbox in `folder`, making it if need be.
    ///
    /// # Errors
    /// [`InboxError`]: no such place, or no right to write there.
    pub fn open(folder: &Path) -> Result<Self, InboxError> {
        let incoming = folder.join(INCOMING);
        // The inbox's own name, too: what holds receipts must be there after a power cut.
        let parent = folder
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let made =
            fs::create_dir_all(&incoming).and_then(|()| close_to_others(folder, INBOX_MODE_MAX));
        let made = made
            .and_then(|()| sync_folder(folder))
            .and_then(|()| sync_folder(parent));
        let made = made.and_then(|()| part::remove_abandoned(&incoming));
        made.map_err(|source| InboxError {
            path: folder.to_owned(),
            source,
        })?;
        Ok(Self {
            folder: folder.to_owned(),
            rules: Rules::default(),
            handover: None,
        })
    }

    /// Whether a message has been published, for good: another session may have renamed it and not synced it yet.
    async fn is_here(&self, id: MessageId) -> io::Result<bool> {
        let is_here =
            self.folder.join(id.to_string()).is_dir() || seen::was_here(&self.folder, id)?;
        if is_here {
            let folder = self.folder.clone();
            tokio::task::spawn_blocking(move || sync_folder(&folder))
                .await
                .map_err(io::Error::other)??;
        }
        Ok(is_here)
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
        let disk = |operation| move |source| StoreError::Disk { operation, source };
        if self
            .is_here(arrival.id)
            .await
            .map_err(disk("read what was here"))?
        {
            return match Entry::find(&self.folder, arrival.id) {
                Some(entry) if is_another(&entry, &arrival, content).await => {
                    Err(StoreError::Reused)
                }
                _ => Ok(Stored::Before),
            };
        }
        let mut quota = None;
        if let Some(place) = self
            .rules
            .place_for(arrival.content_type.as_str(), arrival.manner.topic.as_ref())
        {
            quota = self.rules.0[place].quota;
            // A size above the quota as a whole is refused for good: no room that is made would do.
            if let Some(quota) = quota.filter(|quota| arrival.size > *quota) {
                return Err(StoreError::TooLarge { quota });
            }
            let has_room = keeping::make_room(&self.folder, &self.rules, place, arrival.size);
            if !has_room.map_err(disk("make room in the inbox"))? {
                return Err(disk("keep more ([[inbox]] quota)")(
                    io::ErrorKind::QuotaExceeded.into(),
                ));
            }
        }
        let part = Part::open(part, &arrival).await?;
        let written = part.write(&arrival, content).await;
        if matches!(written, Err(StoreError::Damaged | StoreError::Encoding(_)))
            || (written.is_err() && part::kept(part.folder()).is_none())
        {
            let _ = fs::remove_dir_all(part.folder()); // nobody can use it; the next attempt clears it otherwise
        }
        let Written { size, digest } = written?;
        // Known of a packed one only now.
        if let Some(quota) = quota.filter(|quota| size > *quota) {
            let _ = fs::remove_dir_all(part.folder());
            return Err(StoreError::TooLarge { quota });
        }
        let Manner {
            urgency,
            topic,
            expires_at,
        } = &arrival.manner;
        let note = Note {
            id: id.clone(),
            content_type: arrival.content_type.as_str().to_owned(),
            topic: topic.as_ref().map(ToString::to_string),
            urgency: (*urgency != Urgency::default()).then(|| urgency.to_string()),
            expires_at: *expires_at,
            size,
            sha256: digest.to_string(),
            received_at: Timestamp::now(),
        };
        let folder = self.folder.clone();
        let publish = move || publish(&folder, part.folder(), &published, &note);
        let done = tokio::task::spawn_blocking(publish)
            .await
            .map_err(io::Error::other);
        done.and_then(|done| done).map_err(StoreError::Unsure)?;
        self.handover.iter().for_each(HandoverStart::published);
        let saved = size.saturating_sub(arrival.size);
        tracing::info!(message_id = %id, size, saved, offset = arrival.offset, "stored");
        Ok(Stored::Now)
    }

    async fn progress(&self, id: MessageId) -> Progress {
        let folder = self.folder.join(INCOMING).join(id.to_string());
        // Who asks may cancel what is not here: the process that holds the part may be about to publish it.
        let is_idle = part::is_idle(&folder).await;
        match self.is_here(id).await {
            Ok(true) => return Progress::Whole,
            Ok(false) if is_idle => {}
            Ok(false) => return Progress::Unknown,
            Err(error) => {
                tracing::error!(%error, "what was here cannot be read");
                return Progress::Unknown;
            }
        }
        let kept = part::kept(&folder);
        kept.map_or(Progress::Nothing, |kept| Progress::Part {
            offset: kept.offset,
            digest: kept.digest(),
        })
    }
}

/// Whether what comes is known to differ from what was published. What is packed, or comes in the middle, tells nothing.
async fn is_another(entry: &Entry, arrival: &Arrival, content: Incoming) -> bool {
    if arrival.is_packed || arrival.offset > 0 {
        return false;
    }
    if let Some(digest) = arrival.digest {
        return digest.to_string() != entry.note.sha256;
    }
    // Without a digest it is short.
    match Limited::new(content, SHORT_OCTETS_MAX).collect().await {
        Ok(content) => Digest::of(&content.to_bytes()).to_string() != entry.note.sha256,
        Err(_) => false, // cut off, so it comes again
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
