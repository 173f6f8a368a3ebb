//! A content while it comes in: in memory as long as it is small, then in a file beside the contents, hashed as it comes.
//!
//! ```text
//!   write ──► Draft ──finish──► NewContent ──Store::accept──► renamed, folder synced, named by a row
//!             X.part            X.part, synced                (a crash before that leaves X.part, which the next start removes)
//! ```

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use delivery::Digest;
use sha2::{Digest as _, Sha256};

use super::arriving::Drafts;
use super::content::{Contents, INLINE_OCTETS_MAX, PartFile};
use super::{Holder, OverQuota, Store, StoreError, run_blocking};
use model::directory::Name;

/// Drafts in files that one provider may have begun: each is a descriptor.
pub(super) const DRAFTS_OF_ONE_MAX: usize = 64;

/// A content of which not everything is here yet. Dropping it gives it up.
#[derive(Debug)]
pub struct Draft {
    store: Store,
    /// What is not in the file yet; never much more than what is kept in a row.
    tail: Vec<u8>,
    file: Option<Writing>,
    /// Whose it is, if its octets count.
    provider: Option<Name>,
}

/// One draft's part of what its provider has in files; given back when the draft is over.
#[derive(Debug)]
struct Share {
    drafts: Arc<Drafts>,
    provider: Name,
    octets: u64,
    /// What may be added: the quota without what waits already.
    octets_max: u64,
}

/// What is in the file so far.
#[derive(Debug)]
struct Writing {
    part: PartFile,
    file: File,
    hash: Sha256,
    size: u64,
    share: Option<Share>,
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
    _share: Option<Arc<Share>>,
}

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
    pub fn draft(&self) -> Draft {
        Draft {
            store: self.clone(),
            tail: Vec::new(),
            file: None,
            provider: None,
        }
    }

    /// The same for a provider. What does not fit into memory counts in its quota before it is accepted.
    pub fn draft_of(&self, provider: &Name) -> Draft {
        Draft {
            provider: Some(provider.clone()),
            ..self.draft()
        }
    }

    /// The share of a draft that goes to a file.
    ///
    /// # Errors
    /// [`StoreError::Quota`]: too many are begun.
    async fn share(&self, provider: Name) -> Result<Share, StoreError> {
        let waits = self.waits_of(provider.clone()).await?;
        let octets_max = self.quotas.provider.octets.saturating_sub(waits.octets);
        let mut drafts = self.drafts.lock().unwrap_or_else(PoisonError::into_inner);
        let drafted = drafts.entry(provider.clone()).or_default();
        if drafted.count >= DRAFTS_OF_ONE_MAX {
            let (unit, max) = ("unfinished contents", DRAFTS_OF_ONE_MAX as u64);
            return Err(OverQuota {
                holder: Holder::Provider(provider),
                unit,
                max,
            }
            .into());
        }
        drafted.count += 1;
        drop(drafts);
        Ok(Share {
            drafts: self.drafts.clone(),
            provider,
            octets: 0,
            octets_max,
        })
    }
}

impl Share {
    /// Adds to it, if the provider's drafts stay within its quota.
    fn add(&mut self, octets: u64, quota: u64) -> Result<(), StoreError> {
        let mut drafts = self.drafts.lock().unwrap_or_else(PoisonError::into_inner);
        let drafted = drafts.entry(self.provider.clone()).or_default();
        if drafted.octets.saturating_add(octets) > self.octets_max {
            let holder = Holder::Provider(self.provider.clone());
            return Err(OverQuota {
                holder,
                unit: "octets",
                max: quota,
            }
            .into());
        }
        drafted.octets += octets;
        self.octets += octets;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut drafts = self.drafts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(drafted) = drafts.get_mut(&self.provider) {
            drafted.count -= 1;
            drafted.octets -= self.octets;
            if drafted.count == 0 {
                drafts.remove(&self.provider);
            }
        }
    }
}

impl Draft {
    /// Octets so far.
    pub fn size(&self) -> u64 {
        self.tail.len() as u64 + self.file.as_ref().map_or(0, |file| file.size)
    }

    /// Adds to it.
    ///
    /// # Errors
    /// [`StoreError`]: it is given up.
    pub async fn write(mut self, octets: &[u8]) -> Result<Self, StoreError> {
        self.tail.extend_from_slice(octets);
        if self.tail.len() > INLINE_OCTETS_MAX {
            self.spill().await
        } else {
            Ok(self)
        }
    }

    /// All of it is here; on return a file is on the disk, under a name that does not last.
    ///
    /// # Errors
    /// [`StoreError`]: it is given up.
    pub async fn finish(self) -> Result<NewContent, StoreError> {
        if self.file.is_none() {
            return Ok(NewContent::Held(self.tail.into()));
        }
        let Self { store, file, .. } = self.spill().await?;
        let Some(Writing {
            part,
            file,
            hash,
            size,
            share,
        }) = file
        else {
            return Ok(NewContent::Held(Bytes::new()));
        };
        let share = share.map(Arc::new);
        let synced = run_blocking("write", move || {
            file.sync_all()?;
            Ok(FiledContent {
                part: Arc::new(part),
                digest: Digest::from_hash(hash),
                size,
                _share: share,
            })
        });
        let synced = synced.await;
        store.vitals.note(&synced);
        synced.map(NewContent::Filed)
    }

    async fn spill(self) -> Result<Self, StoreError> {
        let Self {
            store,
            tail,
            mut file,
            provider,
        } = self;
        let mut share = match (&mut file, &provider) {
            (Some(writing), _) => writing.share.take(),
            (None, Some(provider)) => Some(store.share(provider.clone()).await?),
            (None, None) => None,
        };
        if let Some(share) = &mut share {
            share.add(tail.len() as u64, store.quotas.provider.octets)?;
        }
        let contents = store.contents.clone();
        let written = run_blocking("write", move || {
            let mut writing = match file {
                Some(writing) => writing,
                None => Writing::begin(&contents)?,
            };
            writing.share = share;
            writing.write(&tail)?;
            Ok((writing, tail))
        });
        let written = written.await;
        store.vitals.note(&written);
        let (writing, mut tail) = written?;
        tail.clear();
        Ok(Self {
            store,
            tail,
            file: Some(writing),
            provider,
        })
    }
}

impl Writing {
    fn begin(contents: &Contents) -> io::Result<Self> {
        let (part, file) = contents.part()?;
        Ok(Self {
            part,
            file,
            hash: Sha256::new(),
            size: 0,
            share: None,
        })
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.file.write_all(octets)?;
        self.hash.update(octets);
        self.size += octets.len() as u64;
        Ok(())
    }
}
