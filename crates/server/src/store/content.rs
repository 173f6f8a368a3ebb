//! Large contents: files named by their digest, on the disk before the row that names them; in memory once, however many
//! terminals are brought them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

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
    /// Those that somebody holds.
    read: Arc<Mutex<BTreeMap<Digest, Weak<Vec<u8>>>>>,
}

/// A content that is gone from memory with the last who holds it.
struct Held(Arc<Vec<u8>>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
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
        Ok(Self { folder, uses: Arc::default(), read: Arc::default() })
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

    /// What is on the disk under this digest.
    pub(super) fn get(&self, digest: Digest) -> io::Result<Bytes> {
        fs::read(self.path(digest)).map(Bytes::from)
    }

    /// The same, or the copy that somebody holds already. What is damaged is nobody's copy; that it is, the caller finds.
    pub(super) fn share(&self, digest: Digest) -> io::Result<Bytes> {
        if let Some(content) = self.read().get(&digest).and_then(Weak::upgrade) {
            return Ok(Bytes::from_owner(Held(content)));
        }
        let content = fs::read(self.path(digest))?; // without the lock: others may be read meanwhile
        if Digest::of(&content) != digest {
            return Ok(content.into());
        }
        let mut read = self.read();
        read.retain(|_, content| content.strong_count() > 0);
        let content = read.get(&digest).and_then(Weak::upgrade).unwrap_or_else(|| Arc::new(content));
        read.insert(digest, Arc::downgrade(&content));
        Ok(Bytes::from_owner(Held(content)))
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

    fn read(&self) -> MutexGuard<'_, BTreeMap<Digest, Weak<Vec<u8>>>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_in_memory_once_while_anybody_holds_it_and_then_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let contents = Contents::open(folder.path().to_owned()).unwrap();
        let [news, other] = [&b"news for ten thousand"[..], b"something else"].map(|content| {
            let digest = Digest::of(content);
            contents.put(digest, content).unwrap();
            digest
        });
        let (one, two) = (contents.share(news).unwrap(), contents.share(news).unwrap());
        assert_eq!(&one[..], b"news for ten thousand");
        assert_eq!(one.as_ptr(), two.as_ptr(), "one copy");
        drop(one);
        assert_eq!(contents.share(news).unwrap().as_ptr(), two.as_ptr(), "the other holds it");
        drop(two);
        let _other = contents.share(other).unwrap();
        assert_eq!(contents.read().keys().collect::<Vec<_>>(), [&other], "nobody holds the first");
        fs::write(contents.path(news), "damaged").unwrap();
        let damaged = contents.share(news).unwrap();
        fs::write(contents.path(news), "news for ten thousand").unwrap();
        assert_eq!(&contents.share(news).unwrap()[..], b"news for ten thousand", "nobody shares {damaged:?}");
    }
}
