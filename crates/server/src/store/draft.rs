//! A content while it comes in: in memory as long as it is small, then in a file beside the contents, hashed as it comes.
//!
//! ```text
//!   write ──► Draft ──finish──► NewContent ──Store::accept──► renamed, folder synced, named by a row
//!             X.part            X.part, synced                (a crash before that leaves X.part, which the next start removes)
//! ```

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use delivery::Digest;
use sha2::{Digest as _, Sha256};

use super::content::{Contents, INLINE_OCTETS_MAX};
use super::{Store, StoreError, run_blocking};

/// A content of which not everything is here yet. Dropping it gives it up.
#[derive(Debug)]
pub(crate) struct Draft {
    store: Store,
    /// What is not in the file yet; never much more than what is kept in a row.
    tail: Vec<u8>,
    file: Option<Writing>,
}

/// What is in the file so far.
#[derive(Debug)]
struct Writing {
    part: PartFile,
    file: File,
    hash: Sha256,
    size: u64,
}

/// A whole content that no message has yet.
#[derive(Debug, Clone)]
pub enum NewContent {
    /// In memory.
    Held(Bytes),
    /// In a file of its own, synced.
    Filed(FiledContent),
}

/// A content in a file that has no name of its own yet.
#[derive(Debug, Clone)]
pub struct FiledContent {
    pub(super) part: Arc<PartFile>,
    digest: Digest,
    size: u64,
}

/// A file that is removed unless it is renamed.
#[derive(Debug)]
pub(super) struct PartFile(PathBuf);

impl From<Bytes> for NewContent {
    fn from(octets: Bytes) -> Self {
        Self::Held(octets)
    }
}

impl From<Vec<u8>> for NewContent {
    fn from(octets: Vec<u8>) -> Self {
        Self::Held(octets.into())
    }
}

impl NewContent {
    /// Octets of it.
    pub fn size(&self) -> u64 {
        match self {
            Self::Held(octets) => octets.len() as u64,
            Self::Filed(filed) => filed.size,
        }
    }

    /// Its digest.
    pub fn digest(&self) -> Digest {
        match self {
            Self::Held(octets) => Digest::of(octets),
            Self::Filed(filed) => filed.digest,
        }
    }

    /// Those that are in memory.
    pub fn held(&self) -> Option<&Bytes> {
        match self {
            Self::Held(octets) => Some(octets),
            Self::Filed(_) => None,
        }
    }
}

impl Store {
    /// Begins to take a content in.
    pub(crate) fn draft(&self) -> Draft {
        Draft { store: self.clone(), tail: Vec::new(), file: None }
    }
}

impl Draft {
    /// Octets so far.
    pub(crate) fn size(&self) -> u64 {
        self.tail.len() as u64 + self.file.as_ref().map_or(0, |file| file.size)
    }

    /// Adds to it.
    ///
    /// # Errors
    /// [`StoreError`]: it is given up.
    pub(crate) async fn write(mut self, octets: &[u8]) -> Result<Self, StoreError> {
        self.tail.extend_from_slice(octets);
        if self.tail.len() > INLINE_OCTETS_MAX { self.spill().await } else { Ok(self) }
    }

    /// All of it is here; on return a file is on the disk, under a name that does not last.
    ///
    /// # Errors
    /// [`StoreError`]: it is given up.
    pub(crate) async fn finish(self) -> Result<NewContent, StoreError> {
        if self.file.is_none() {
            return Ok(NewContent::Held(self.tail.into()));
        }
        let Self { store, file, .. } = self.spill().await?;
        let Some(Writing { part, file, hash, size }) = file else { return Ok(NewContent::Held(Bytes::new())) };
        let synced = run_blocking("write", move || {
            file.sync_all()?;
            Ok(FiledContent { part: Arc::new(part), digest: Digest::from_hash(hash), size })
        });
        let synced = synced.await;
        store.vitals.note(&synced);
        synced.map(NewContent::Filed)
    }

    async fn spill(self) -> Result<Self, StoreError> {
        let Self { store, tail, file } = self;
        let contents = store.contents.clone();
        let written = run_blocking("write", move || {
            let mut writing = match file {
                Some(writing) => writing,
                None => Writing::begin(&contents)?,
            };
            writing.write(&tail)?;
            Ok((writing, tail))
        });
        let written = written.await;
        store.vitals.note(&written);
        let (writing, mut tail) = written?;
        tail.clear();
        Ok(Self { store, tail, file: Some(writing) })
    }
}

impl Writing {
    fn begin(contents: &Contents) -> io::Result<Self> {
        let (part, file) = contents.part()?;
        Ok(Self { part, file, hash: Sha256::new(), size: 0 })
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.file.write_all(octets)?;
        self.hash.update(octets);
        self.size += octets.len() as u64;
        Ok(())
    }
}

impl PartFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Gives it its name, in place of whatever has that.
    pub(super) fn rename(&self, path: &Path) -> io::Result<()> {
        fs::rename(&self.0, path)
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0); // on a full disk every octet counts; else the next start removes it
    }
}
