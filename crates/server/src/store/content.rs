//! Large contents: files named by their digest, on the disk before the row that names them.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use delivery::Digest;

/// Octets up to which a content is kept in its row. Above, a file is the smaller load for the log.
pub(super) const INLINE_OCTETS_MAX: usize = 64 * 1024;

/// The folder of large contents.
#[derive(Debug, Clone)]
pub(super) struct Contents {
    folder: PathBuf,
}

impl Contents {
    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// Puts a content on the disk: written beside, synced, renamed, folder synced. A crash before the end leaves at most
    /// a file that nobody names.
    pub(super) fn put(&self, digest: Digest, content: &[u8]) -> io::Result<()> {
        let path = self.path(digest);
        if path.metadata().is_ok_and(|found| found.len() == content.len() as u64) {
            return sync_folder(&self.folder);
        }
        // Two submissions of the same content may be under way: each writes its own file.
        let beside = self.folder.join(format!("{}.part", delivery::MessageId::now()));
        let mut file = File::create_new(&beside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        sync_folder(&self.folder)
    }

    pub(super) fn get(&self, digest: Digest) -> io::Result<Bytes> {
        fs::read(self.path(digest)).map(Bytes::from)
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
