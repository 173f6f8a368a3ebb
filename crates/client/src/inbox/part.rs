//! A message that is not whole yet: what of it is on the disk, and how it goes on.
//!
//! ```text
//!   .incoming/ID/content    as far as it has come, as it is on the line
//!   .incoming/ID/unpacked   what a packed one comes to; takes its place
//!   .incoming/ID/offset     how much of that was synced, written after the sync: this is what the terminal admits to
//! ```
//!
//! A power cut may leave `content` longer than `offset` says, with anything in it: it is cut back before it is gone on with.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use delivery::proof::write_secret;
use delivery::{Arrival, Digest, StoreError, UnpackError, unpack};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio::time::sleep;

/// How often a long content is synced while it comes: what a power cut costs at most.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);

/// How long another session of this terminal may hold a part.
const LOCK_WAIT: Duration = Duration::from_secs(3);

/// The part of one message.
#[derive(Debug)]
pub(super) struct Part {
    folder: PathBuf,
    /// Held while it is written: two sessions must not write one part.
    _lock: File,
}

/// What is kept beside a part, so that it can be gone on with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) offset: u64,
    size: u64,
    content_type: String,
    sha256: String,
}

/// Locks the folder of a part, which is made if need be.
async fn lock(folder: &Path) -> Result<File, StoreError> {
    let began = Instant::now();
    loop {
        match fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(disk("make a folder in the inbox")(error));
            }
            _ => {}
        }
        let open = || {
            let lock = File::open(folder)?;
            Ok((lock.metadata()?.ino(), lock))
        };
        let (inode, lock) = open().map_err(disk("lock a part in the inbox"))?;
        // Two sessions at once, and neither would be whole. One that was cut off is soon done with what it has.
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            if began.elapsed() > LOCK_WAIT {
                return Err(StoreError::Offset);
            }
            sleep(Duration::from_millis(20)).await;
            continue;
        }
        // Not one that was published or removed between the two.
        if fs::metadata(folder).is_ok_and(|found| found.ino() == inode) {
            return Ok(lock);
        }
    }
}

/// Waits until no session has the part in this folder in hand. `false`: one still has.
pub(super) async fn is_idle(folder: &Path) -> bool {
    let began = Instant::now();
    loop {
        // No part, or one that was published since.
        let Ok(part) = File::open(folder) else {
            return true;
        };
        if flock(&part, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return true;
        }
        if began.elapsed() > LOCK_WAIT {
            return false;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Puts what a packed content comes to in its place, synced.
fn unpack_in(folder: &Path, packed: u64) -> Result<Written, StoreError> {
    let (content, unpacked) = (folder.join("content"), folder.join("unpacked"));
    let from = File::open(&content).map_err(disk("unpack a message"))?;
    let file = File::create(&unpacked).map_err(disk("unpack a message"))?;
    let (size, digest) = unpack(from, packed, &file).map_err(|error| match error {
        UnpackError::Content(error) => StoreError::Encoding(error),
        UnpackError::Write(source) => StoreError::Disk {
            operation: "unpack a message",
            source,
        },
    })?;
    // What takes its place is nothing to go on with.
    let _ = fs::remove_file(folder.join("offset"));
    file.sync_all()
        .and_then(|()| fs::rename(&unpacked, &content))
        .map_err(disk("unpack a message"))?;
    Ok(Written { size, digest })
}

/// How long a part waits for the rest of its message: as long as a server keeps its doubts.
const ABANDONED_AFTER: Duration = Duration::from_secs(30 * 24 * 3600);
/// Nothing was written before this but by a clock that was wrong.
const CLOCK_WRONG_BEFORE: Duration = Duration::from_secs(1_735_689_600); // 2025

/// Removes parts of messages that no server resumes (they have expired, or were cancelled), and what a crash has left of messages
/// that were being removed. What cannot be removed now is by the next session.
pub(super) fn remove_abandoned(incoming: &Path) -> io::Result<()> {
    for entry in fs::read_dir(incoming)? {
        let folder = entry?.path();
        if let Err(error) = remove_if_abandoned(&folder) {
            tracing::warn!(part = %folder.display(), %error, "an abandoned part of a message cannot be removed");
        }
    }
    Ok(())
}

fn remove_if_abandoned(folder: &Path) -> io::Result<()> {
    if folder
        .extension()
        .is_some_and(|extension| extension == "removed")
    {
        return fs::remove_dir_all(folder);
    }
    let part = File::open(folder)?;
    if flock(&part, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(()); // a session has it in hand
    }
    let path = folder.join("content");
    let content = if path.exists() {
        File::open(path)?
    } else {
        part.try_clone()?
    };
    let (written, now, right) = (
        content.metadata()?.modified()?,
        SystemTime::now(),
        UNIX_EPOCH + CLOCK_WRONG_BEFORE,
    );
    if written < right && now >= right {
        return content.set_modified(now); // its age counts from here
    }
    if written.elapsed().is_ok_and(|age| age >= ABANDONED_AFTER) {
        fs::remove_dir_all(folder)
    } else {
        Ok(())
    }
}

fn disk(operation: &'static str) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Disk { operation, source }
}

/// What is kept of the part in a folder. What cannot be read is nothing that can be gone on with.
pub(super) fn kept(folder: &Path) -> Option<Kept> {
    let kept: Kept = toml::from_str(&fs::read_to_string(folder.join("offset")).ok()?).ok()?;
    let length = fs::metadata(folder.join("content")).ok()?.len();
    (kept.offset > 0 && kept.offset <= length && kept.offset < kept.size).then_some(kept)
}

/// A content that is whole and on the disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    pub(super) size: u64,
    pub(super) digest: Digest,
}

impl Kept {
    pub(super) fn digest(&self) -> Option<Digest> {
        self.sha256.parse().ok()
    }
}

impl Part {
    /// Takes the part of a message: makes it, or what is there of it.
    pub(super) async fn open(folder: PathBuf, arrival: &Arrival) -> Result<Self, StoreError> {
        let lock = lock(&folder).await?;
        if arrival.offset == 0 {
            for name in ["offset", "content", "unpacked", "message.toml"] {
                match fs::remove_file(folder.join(name)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(disk("clear an old part")(error));
                    }
                    _ => {}
                }
            }
        } else {
            let is_the_same = kept(&folder).is_some_and(|kept| {
                (kept.offset, kept.size) == (arrival.offset, arrival.size)
                    && arrival
                        .digest
                        .is_some_and(|digest| digest.to_string() == kept.sha256)
            });
            if !is_the_same {
                return Err(StoreError::Offset);
            }
        }
        Ok(Self {
            folder,
            _lock: lock,
        })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes what comes behind what is there; on return all of it is on the disk, has the digest that was announced, and is
    /// unpacked.
    pub(super) async fn write(
        &self,
        arrival: &Arrival,
        mut content: Incoming,
    ) -> Result<Written, StoreError> {
        let (file, mut hash) = self
            .content(arrival.offset)
            .map_err(disk("make a file in the inbox"))?;
        let mut file = tokio::fs::File::from_std(file);
        let (mut size, mut synced) = (arrival.offset, Instant::now());
        while let Some(frame) = content.frame().await {
            let data = match frame.map(Frame::into_data) {
                Ok(Ok(data)) => data,
                Ok(Err(_)) => continue, // trailers
                // What has come is not lost: the next call goes on behind it.
                Err(_) => {
                    self.keep(&mut file, arrival, size)
                        .await
                        .map_err(disk("sync the inbox"))?;
                    return Err(StoreError::Cut);
                }
            };
            size += data.len() as u64;
            if size > arrival.size {
                return Err(StoreError::Damaged);
            }
            hash.update(&data);
            file.write_all(&data)
                .await
                .map_err(disk("write to the inbox"))?;
            if synced.elapsed() >= SYNC_INTERVAL {
                self.keep(&mut file, arrival, size)
                    .await
                    .map_err(disk("sync the inbox"))?;
                synced = Instant::now();
            }
        }
        let digest = Digest::from_hash(hash);
        if size != arrival.size || arrival.digest.is_some_and(|announced| announced != digest) {
            return Err(StoreError::Damaged);
        }
        if arrival.is_packed {
            file.flush().await.map_err(disk("write to the inbox"))?;
            let folder = self.folder.clone();
            let unpacked = tokio::task::spawn_blocking(move || unpack_in(&folder, size)).await;
            return unpacked
                .map_err(io::Error::other)
                .map_err(disk("unpack a message"))?;
        }
        file.sync_all().await.map_err(disk("sync the inbox"))?;
        Ok(Written { size, digest })
    }

    /// The file, cut back to `offset`, and the hash of what is there.
    fn content(&self, offset: u64) -> io::Result<(File, Sha256)> {
        let path = self.folder.join("content");
        let mut hash = Sha256::new();
        if offset == 0 {
            return Ok((File::create_new(path)?, hash));
        }
        let mut file = OpenOptions::new().read(true).append(true).open(path)?;
        file.set_len(offset)?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                return Ok((file, hash));
            }
            hash.update(&buffer[..count]);
        }
    }

    /// Brings what has come to the disk, and then says so.
    async fn keep(
        &self,
        file: &mut tokio::fs::File,
        arrival: &Arrival,
        offset: u64,
    ) -> io::Result<()> {
        let Some(digest) = arrival.digest else {
            return Ok(());
        };
        file.flush().await?;
        file.sync_data().await?;
        let kept = Kept {
            offset,
            size: arrival.size,
            content_type: arrival.content_type.as_str().to_owned(),
            sha256: digest.to_string(),
        };
        write_secret(
            &self.folder.join("offset"),
            toml::to_string(&kept).map_err(io::Error::other)?.as_bytes(),
        )
    }
}
