//! Large contents: files named by their digest, on the disk before the row that names them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use delivery::{Digest, Octets, private_folder};
use sha2::{Digest as _, Sha256};

/// Octets up to which a content is kept in its row. Above, a file is the smaller load for the log.
pub(super) const INLINE_OCTETS_MAX: usize = 64 * 1024;

/// What is read of a file at once.
const CHUNK_OCTETS: usize = 64 * 1024;

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
        private_folder(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            // A crash while it was written: nobody was told that it is here.
            if path
                .extension()
                .is_some_and(|extension| extension == &PART[1..])
            {
                fs::remove_file(path)?;
            }
        }
        Ok(Self {
            folder,
            uses: Arc::default(),
        })
    }

    /// Keeps a digest's file from being removed, from before it is looked for until a row names it.
    pub(super) fn pin(&self, digest: Digest) -> Pin {
        *self.uses().pinned.entry(digest).or_default() += 1;
        Pin {
            uses: self.uses.clone(),
            digest,
        }
    }

    pub(super) fn hold(&self) -> Hold {
        self.uses().held += 1;
        Hold {
            uses: self.uses.clone(),
        }
    }

    /// A new file for a content that has no digest yet. Two submissions of the same content may be under way: each writes its own.
    pub(super) fn part(&self) -> io::Result<(PartFile, File)> {
        let mut name = [0; 16];
        getrandom::fill(&mut name).map_err(|error| io::Error::other(error.to_string()))?;
        let path = self
            .folder
            .join(format!("{:032x}{PART}", u128::from_be_bytes(name)));
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok((PartFile::new(path), file))
    }

    /// A file without a name: it is gone when it is closed, whatever happens.
    pub(super) fn scratch(&self) -> io::Result<File> {
        self.part().map(|(_, file)| file)
    }

    /// Puts a content on the disk: written beside, synced, adopted.
    pub(super) fn put(&self, digest: Digest, content: &[u8]) -> io::Result<()> {
        let (part, mut file) = self.part()?;
        file.write_all(content)?;
        file.sync_all()?;
        self.adopt(&part, digest)
    }

    /// Gives a synced file the name of its digest, and syncs the folder. A crash before the end leaves at most a file that nobody
    /// names. A file that has the name already and something else in it is damaged, and mended by this.
    pub(super) fn adopt(&self, part: &PartFile, digest: Digest) -> io::Result<()> {
        part.rename(&self.path(digest))?;
        sync_folder(&self.folder)
    }

    /// A content, if it is the one that has this digest. All of it is read for that.
    pub(super) fn get(&self, digest: Digest) -> io::Result<Option<Octets>> {
        let file = File::open(self.path(digest))?;
        let (mut hash, mut size, mut chunk) = (Sha256::new(), 0, vec![0; CHUNK_OCTETS]);
        loop {
            let read = (&file).read(&mut chunk)?;
            if read == 0 {
                break;
            }
            hash.update(&chunk[..read]);
            size += read as u64;
        }
        Ok((Digest::from_hash(hash) == digest).then(|| Octets::in_file(file, size)))
    }

    /// The digests of all files.
    pub(super) fn list(&self) -> io::Result<Vec<Digest>> {
        let mut digests = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            digests.extend(
                entry?
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse::<Digest>().ok()),
            );
        }
        Ok(digests)
    }

    /// Removes a file unless it is in use. `is_named` is asked while no use can begin.
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
        private_folder(&folder)?;
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
        self.uses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .held -= 1;
    }
}

/// Writes a new file and syncs it.
pub(super) fn write_synced(path: &Path, content: &Octets) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    io::copy(&mut content.reader(), &mut file)?;
    file.sync_all()
}

pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A file that is removed unless it is renamed.
#[derive(Debug)]
pub(super) struct PartFile(PathBuf);

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
