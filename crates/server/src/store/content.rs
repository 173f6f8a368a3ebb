//! Large contents: files named by their digest, on the disk before the row that names them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use delivery::Digest;

/// Octets up to which a content is kept in its row. Above, a file is the smaller load for the log.
pub(super) const INLINE_OCTETS_MAX: usize = 64 * 1024;

/// Where damaged contents are moved to.
const DAMAGED: &str = "damaged";

/// What a content file is called while it is written.
const PART: &str = ".part";

/// The folder of large contents.
#[derive(Debug, Clone)]
pub(super) struct Contents {
    folder: PathBuf,
    uses: Arc<Mutex<Uses>>,
}

/// Why files must stay that no row names yet.
#[derive(Debug, Default)]
struct Uses {
    /// Digests of contents that are being accepted, and by how many.
    pinned: BTreeMap<Digest, usize>,
    /// Backups that are being made.
    held: usize,
}

/// While it lives, the file of this digest stays.
#[derive(Debug)]
pub(super) struct Pin {
    uses: Arc<Mutex<Uses>>,
    digest: Digest,
}

/// While it lives, every file stays.
#[derive(Debug)]
pub(super) struct Hold {
    uses: Arc<Mutex<Uses>>,
}

impl Contents {
    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            // A crash while it was written: nobody was told that it is here.
            if path.extension().is_some_and(|extension| extension == &PART[1..]) {
                fs::remove_file(path)?;
            }
        }
        Ok(Self { folder, uses: Arc::default() })
    }

    /// Keeps a digest's file from being removed, from before it is looked for until a row names it.
    pub(super) fn pin(&self, digest: Digest) -> Pin {
        *self.uses().pinned.entry(digest).or_default() += 1;
        Pin { uses: self.uses.clone(), digest }
    }

    pub(super) fn hold(&self) -> Hold {
        self.uses().held += 1;
        Hold { uses: self.uses.clone() }
    }

    /// Puts a content on the disk: written beside, synced, renamed, folder synced. A crash before the end leaves at most
    /// a file that nobody names.
    pub(super) fn put(&self, digest: Digest, content: &[u8]) -> io::Result<()> {
        let path = self.path(digest);
        // A file of this name that has something else in it is damaged, and mended by this.
        if fs::read(&path).is_ok_and(|found| found == content) {
            return sync_folder(&self.folder);
        }
        // Two submissions of the same content may be under way: each writes its own file.
        let beside = self.folder.join(format!("{}{PART}", delivery::MessageId::now()));
        let written = write_synced(&beside, content).and_then(|()| fs::rename(&beside, &path));
        if written.is_err() {
            let _ = fs::remove_file(&beside); // on a full disk every octet counts; else the next start removes it
        }
        written?;
        sync_folder(&self.folder)
    }

    pub(super) fn get(&self, digest: Digest) -> io::Result<Bytes> {
        fs::read(self.path(digest)).map(Bytes::from)
    }

    /// The digests of all files.
    pub(super) fn list(&self) -> io::Result<Vec<Digest>> {
        let mut digests = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            digests.extend(entry?.file_name().to_str().and_then(|name| name.parse::<Digest>().ok()));
        }
        Ok(digests)
    }

    /// Removes a file unless somebody needs it. `is_named` is asked while nobody can begin to need it.
    pub(super) fn remove_unless<E: From<io::Error>>(
        &self,
        digest: Digest,
        is_named: impl FnOnce() -> Result<bool, E>,
    ) -> Result<bool, E> {
        let uses = self.uses();
        if uses.held > 0 || uses.pinned.contains_key(&digest) || is_named()? {
            return Ok(false);
        }
        match fs::remove_file(self.path(digest)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Moves a damaged file out of the way, for a person to look at.
    pub(super) fn set_aside(&self, digest: Digest) -> io::Result<()> {
        let folder = self.folder.join(DAMAGED);
        fs::create_dir_all(&folder)?;
        match fs::rename(self.path(digest), folder.join(digest.to_string())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => sync_folder(&self.folder),
        }
    }

    pub(super) fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }

    fn uses(&self) -> MutexGuard<'_, Uses> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = uses.pinned.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                uses.pinned.remove(&self.digest);
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner).held -= 1;
    }
}

/// Writes a new file and syncs it.
pub(super) fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(content)?;
    file.sync_all()
}

pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
