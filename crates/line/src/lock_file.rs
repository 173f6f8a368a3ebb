//! The lock files with which mgetty, pppd, minicom and UUCP exclude each other from a device (FHS 3.0 §5.9).

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, test_kill_process};

/// The conventional folder.
const FOLDER: &str = "/var/lock";

/// A lock on a device; released on drop.
#[derive(Debug)]
pub struct LockFile {
    path: PathBuf,
}

/// Another process has locked the device.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) process: u32,
}

impl LockFile {
    /// Locks a device for this process. `Ok(None)`: a lock file is not possible (no permission, no folder, or not a
    /// serial device); the other locks must do.
    pub(crate) fn take(device: &Path) -> Result<Option<Self>, Held> {
        Self::take_in(Path::new(FOLDER), device)
    }

    fn take_in(folder: &Path, device: &Path) -> Result<Option<Self>, Held> {
        // /dev/modem may be a link to /dev/ttyUSB0; a pseudo-terminal (/dev/pts/3) has no name in this scheme.
        let device = device.canonicalize().unwrap_or_else(|_| device.to_owned());
        let (Some(name), Some("dev")) = (
            device.file_name(),
            device
                .parent()
                .and_then(Path::file_name)
                .and_then(|n| n.to_str()),
        ) else {
            return Ok(None);
        };
        let path = folder.join(format!("LCK..{}", name.to_string_lossy()));
        // Two tries: a stale lock is removed once.
        for _ in 0..2 {
            match link_to_own_file(folder, &path) {
                Ok(()) => return Ok(Some(Self { path })),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => match owner(&path) {
                    Some(process) if is_alive(process) => return Err(Held { process }),
                    _ => drop(std::fs::remove_file(&path)),
                },
                Err(error) => {
                    tracing::debug!(path = %path.display(), %error, "no lock file");
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path); // gone already, or the folder is: nobody is kept out
    }
}

/// Written first and named after that: a lock is never read without its owner.
fn link_to_own_file(folder: &Path, path: &Path) -> io::Result<()> {
    let own = folder.join(format!("LTMP.ringup.{}", std::process::id()));
    // The folder is writable for others: this name may be a link, or a file that others have open.
    let make = || OpenOptions::new().write(true).create_new(true).open(&own);
    let mut file = match make() {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            std::fs::remove_file(&own)?;
            make()?
        }
        made => made?,
    };
    // Readable for all processes, whatever the umask. Ten characters and a line feed is the form that all of them
    // read.
    let written = file.set_permissions(Permissions::from_mode(0o644));
    let written =
        written.and_then(|()| file.write_all(format!("{:>10}\n", std::process::id()).as_bytes()));
    let linked = written.and_then(|()| std::fs::hard_link(&own, path));
    std::fs::remove_file(&own)?;
    linked
}

/// The process id in a lock file.
fn owner(path: &Path) -> Option<u32> {
    let mut text = String::new();
    File::open(path)
        .ok()?
        .take(64)
        .read_to_string(&mut text)
        .ok()?;
    text.split_whitespace().next()?.parse().ok()
}

fn is_alive(process: u32) -> bool {
    let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) else {
        return false;
    };
    // EPERM: the process exists and has another owner.
    !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn a_device_is_locked_once_and_free_again_afterwards() {
        let folder = folder();
        let take = || LockFile::take_in(folder.path(), Path::new("/dev/ttyUSB7"));
        let lock = take().unwrap().unwrap();
        let text = std::fs::read_to_string(folder.path().join("LCK..ttyUSB7")).unwrap();
        assert_eq!(text, format!("{:>10}\n", std::process::id()));
        assert_eq!(
            take().unwrap_err(),
            Held {
                process: std::process::id()
            }
        );
        drop(lock);
        assert!(take().unwrap().is_some());
    }

    #[test]
    fn the_lock_of_a_process_that_is_gone_is_taken_over() {
        let folder = folder();
        // No process has so high an id (pid_max is at most 2^22).
        for text in ["   4194305\n", "not a number\n", "", "-1\n"] {
            std::fs::write(folder.path().join("LCK..ttyS0"), text).unwrap();
            assert!(
                LockFile::take_in(folder.path(), Path::new("/dev/ttyS0"))
                    .unwrap()
                    .is_some(),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_lies_in_the_place_of_the_own_file_is_neither_followed_nor_used() {
        let folder = folder();
        let (own, other) = (
            folder
                .path()
                .join(format!("LTMP.ringup.{}", std::process::id())),
            folder.path().join("o"),
        );
        std::fs::write(&other, "precious").unwrap();
        std::os::unix::fs::symlink(&other, &own).unwrap();
        let lock = LockFile::take_in(folder.path(), Path::new("/dev/ttyUSB7"))
            .unwrap()
            .unwrap();
        assert_eq!(std::fs::read(&other).unwrap(), b"precious");
        let file = std::fs::metadata(folder.path().join("LCK..ttyUSB7")).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o644);
        drop(lock);
    }

    #[test]
    fn without_a_folder_and_for_a_pseudo_terminal_there_is_no_lock_file() {
        assert!(
            LockFile::take_in(Path::new("/nonexistent"), Path::new("/dev/ttyS0"))
                .unwrap()
                .is_none()
        );
        assert!(
            LockFile::take_in(folder().path(), Path::new("/dev/pts/3"))
                .unwrap()
                .is_none()
        );
    }
}
