//! The database's files: readable by the server's user only, and still where they were.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use delivery::close_to_others;

/// The file of the server's key in a state folder.
pub const KEY_FILE: &str = "server.key";

/// The database in a state folder.
pub(super) const DATABASE: &str = "ringup.db";

/// The database's file as it was opened.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl DatabaseFile {
    /// Makes it if need be, and takes others' rights away from it and from what SQLite has beside it. SQLite gives what it makes there
    /// later the rights of the database.
    pub(super) fn prepare(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)?;
        let found = file.metadata()?;
        for end in ["", "-wal", "-shm", "-journal"] {
            let mut beside = path.clone().into_os_string();
            beside.push(end);
            match close_to_others(Path::new(&beside), 0o600) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(Self {
            device: found.dev(),
            inode: found.ino(),
            path,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file that is open still has its name. What is written to one without is gone with the process.
    pub(super) fn is_here(&self) -> bool {
        fs::metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode))
    }
}
