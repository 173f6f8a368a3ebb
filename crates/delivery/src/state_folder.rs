//! A folder that holds an end's state: closed to other users, and locked by the program that works in it.
//!
//! ```text
//!   FOLDER/NAME.lock    locked (flock) while its program runs, with the program's process id in it
//! ```
//!
//! The kernel gives a lock up with the process, whatever ends that. The file stays, as removing it would let two programs hold
//! two files of one name.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// Octets read of a lock file: a process id has at most ten digits.
const HOLDER_OCTETS_MAX: u64 = 16;

/// A state folder in use by this process. The lock ends with it.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

/// Why a state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateFolderError {
    /// It cannot be made, closed to others, or written to.
    #[error("could not use the folder {path}{}", hint(source))]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process works in it.
    #[error(
        "the state folder {path} is in use by {}; end that first, or use another state folder. Nothing was changed",
        shown(*holder)
    )]
    Held {
        /// Which.
        path: PathBuf,
        /// That process, if it has said so.
        holder: Option<u32>,
    },
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::ReadOnlyFilesystem => ", which is on a read-only file system",
        _ => "",
    }
}

fn shown(holder: Option<u32>) -> String {
    holder.map_or_else(
        || "another process".to_owned(),
        |process| format!("process {process}"),
    )
}

impl StateLock {
    /// Locks a state folder for this process alone. The folder is made if need be, and closed to other users.
    ///
    /// # Errors
    /// [`StateFolderError`]; nothing is changed in a folder that is held.
    pub fn alone(folder: &Path, name: &str) -> Result<Self, StateFolderError> {
        Self::take(folder, name, File::try_lock)
    }

    /// Locks a state folder for this process and others of its kind: only [`alone`](Self::alone) is kept out, and keeps out.
    ///
    /// # Errors
    /// [`StateFolderError`].
    pub fn shared(folder: &Path, name: &str) -> Result<Self, StateFolderError> {
        Self::take(folder, name, File::try_lock_shared)
    }

    fn take(
        folder: &Path,
        name: &str,
        lock: impl Fn(&File) -> Result<(), TryLockError>,
    ) -> Result<Self, StateFolderError> {
        let failed = |source| StateFolderError::Folder {
            path: folder.to_owned(),
            source,
        };
        private_folder(folder).map_err(failed)?;
        let path = folder.join(format!("{name}.lock"));
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(failed)?;
        match lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StateFolderError::Held {
                    path: folder.to_owned(),
                    holder: holder(&file),
                });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // For the error text of a process that finds the lock held. Sharers overwrite each other: any of them will do.
        let noted = file.rewind().and_then(|()| file.set_len(0));
        noted
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// The process that a lock file names.
fn holder(file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(HOLDER_OCTETS_MAX)
        .read_to_string(&mut text)
        .ok()?;
    text.trim().parse().ok()
}

/// Makes a folder that only its owner can use, or takes others' rights away from one that is there.
///
/// # Errors
/// The operating system's: no such path, or a folder of another user.
pub fn private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    close_to_others(folder, 0o700)
}

/// Takes all rights beyond `mode` away from a file or folder that is there.
///
/// # Errors
/// The operating system's.
pub fn close_to_others(path: &Path, mode: u32) -> io::Result<()> {
    let found = fs::metadata(path)?.mode();
    if found & 0o777 & !mode == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(found & mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_state_folder_is_used_by_one_process_and_says_by_which() {
        let folder = tempfile::tempdir().unwrap();
        let lock = StateLock::alone(folder.path(), "server").unwrap();
        for second in [
            StateLock::alone(folder.path(), "server"),
            StateLock::shared(folder.path(), "server"),
        ] {
            let Err(StateFolderError::Held { holder, .. }) = second else {
                panic!("{second:?}")
            };
            assert_eq!(holder, Some(std::process::id()));
        }
        let _other = StateLock::alone(folder.path(), "terminal").unwrap();
        drop(lock);
        StateLock::alone(folder.path(), "server").unwrap();
    }

    #[test]
    fn sharers_keep_out_only_who_would_be_alone() {
        let folder = tempfile::tempdir().unwrap();
        let shared = [(); 2].map(|()| StateLock::shared(folder.path(), "terminal").unwrap());
        assert!(matches!(
            StateLock::alone(folder.path(), "terminal"),
            Err(StateFolderError::Held { .. })
        ));
        drop(shared);
        StateLock::alone(folder.path(), "terminal").unwrap();
    }

    #[test]
    fn a_folder_of_any_mode_is_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("a/state");
        for before in [None, Some(0o755), Some(0o777), Some(0o770), Some(0o500)] {
            if let Some(before) = before {
                fs::set_permissions(&state, Permissions::from_mode(before)).unwrap();
            }
            private_folder(&state).unwrap();
            assert_eq!(mode(&state) & 0o077, 0, "{before:?}");
        }
    }

    #[test]
    fn a_link_in_the_place_of_the_lock_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, folder.path().join("server.lock")).unwrap();
        assert!(matches!(
            StateLock::alone(folder.path(), "server"),
            Err(StateFolderError::Folder { .. })
        ));
        assert_eq!(fs::read(&target).unwrap(), b"precious");
    }
}
