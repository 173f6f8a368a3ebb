//! The file that holds an end's secret key: readable by its owner only, on the disk before it is used.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::key::{SecretKey, SecretKeyError};

/// A key file that cannot be used. Its owner's to mend.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Reading or writing failed.
    #[error("could not use the key file {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others can read it, so it is no secret.
    #[error("the key file {0} can be read by others; it must have mode 0600")]
    Exposed(PathBuf),
    /// There is no key in it, or none could be made.
    #[error("the key file {path} holds no usable key")]
    Key {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: SecretKeyError,
    },
}

impl SecretKey {
    /// Reads the key in a file. `None`: there is no such file.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn read(path: &Path) -> Result<Option<Self>, KeyFileError> {
        let failed = |source| KeyFileError::File {
            path: path.to_owned(),
            source,
        };
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
            return Err(KeyFileError::Exposed(path.to_owned()));
        }
        let mut octets = Vec::new();
        file.read_to_end(&mut octets).map_err(failed)?;
        let key = SecretKey::from_pkcs8(&octets);
        key.map(Some).map_err(|source| KeyFileError::Key {
            path: path.to_owned(),
            source,
        })
    }

    /// Reads the key in a file, or makes one there. On return it is on the disk.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn read_or_make(path: &Path) -> Result<Self, KeyFileError> {
        if let Some(key) = Self::read(path)? {
            return Ok(key);
        }
        let key = Self::generate().map_err(|source| KeyFileError::Key {
            path: path.to_owned(),
            source,
        })?;
        write_secret(path, key.pkcs8()).map_err(|source| KeyFileError::File {
            path: path.to_owned(),
            source,
        })?;
        Ok(key)
    }
}

/// Writes a file that only its owner can read: whole or not at all, and on the disk on return. What is at `path` is replaced, never
/// written to; a link there, too.
///
/// # Errors
/// The operating system's.
pub fn write_secret(path: &Path, octets: &[u8]) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let (beside, mut file) = new_beside(path)?;
    let written = file
        .write_all(octets)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside); // on a full disk every octet counts
    }
    written?;
    File::open(folder)?.sync_all()
}

/// A new file beside `path` that nobody else has open, by the name `PATH.PROCESS.NUMBER.new`.
fn new_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let mut name = path
        .file_name()
        .ok_or(io::ErrorKind::InvalidInput)?
        .to_owned();
    name.push(format!(".{}.{number}.new", std::process::id()));
    let beside = path.with_file_name(name);
    // Never a file that is there: others may have it open, and a link leads elsewhere.
    let make = || {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)
    };
    let file = match make() {
        // Of an earlier process of this number, which ended while it wrote, or put there.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(&beside)?;
            make()?
        }
        made => made?,
    };
    Ok((beside, file))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept_from_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/terminal.key");
        assert!(SecretKey::read(&path).unwrap().is_none());
        let key = SecretKey::read_or_make(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(
            SecretKey::read_or_make(&path).unwrap().public(),
            key.public()
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(
            SecretKey::read_or_make(&path),
            Err(KeyFileError::Exposed(_))
        ));
    }

    #[test]
    fn a_damaged_key_file_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("terminal.key");
        write_secret(&path, b"").unwrap();
        assert!(matches!(
            SecretKey::read_or_make(&path),
            Err(KeyFileError::Key { .. })
        ));
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn a_secret_replaces_whatever_has_its_name_and_is_never_written_through_it() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (
            folder.path().join("server.key"),
            folder.path().join("other"),
        );
        fs::write(&other, "precious").unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        write_secret(&path, b"secret").unwrap();
        assert_eq!(
            (fs::read(&other).unwrap(), fs::read(&path).unwrap()),
            (b"precious".to_vec(), b"secret".to_vec())
        );
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            2,
            "nothing is left beside it"
        );
    }

    #[test]
    fn what_lies_in_the_place_of_the_file_beside_is_neither_followed_nor_used() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (
            folder.path().join("server.key"),
            folder.path().join("other"),
        );
        fs::write(&other, "precious").unwrap();
        let process = std::process::id();
        // More than any other test of this process writes meanwhile.
        for number in 0..10_000 {
            let trap = folder
                .path()
                .join(format!("server.key.{process}.{number}.new"));
            if number % 2 == 0 {
                std::os::unix::fs::symlink(&other, trap).unwrap();
            } else {
                fs::write(&trap, "").unwrap();
                fs::set_permissions(&trap, fs::Permissions::from_mode(0o666)).unwrap();
            }
        }
        std::os::unix::fs::symlink(&other, folder.path().join("server.new")).unwrap();
        for _ in 0..4 {
            write_secret(&path, b"secret").unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read(&other).unwrap(), b"precious");
    }

    #[test]
    fn two_who_write_one_secret_at_once_leave_one_of_them_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("done");
        let texts = [vec![b'a'; 100_000], vec![b'b'; 100_000]];
        std::thread::scope(|scope| {
            for text in &texts {
                scope.spawn(|| (0..20).for_each(|_| write_secret(&path, text).unwrap()));
            }
        });
        assert!(texts.contains(&fs::read(&path).unwrap()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
