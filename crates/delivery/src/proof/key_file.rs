//! The file that holds an end's secret key: readable by its owner only, on the disk before it is used.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

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
        let failed = |source| KeyFileError::File { path: path.to_owned(), source };
        let octets = match fs::read(path) {
            Ok(octets) => octets,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if fs::metadata(path).map_err(failed)?.mode() & 0o077 != 0 {
            return Err(KeyFileError::Exposed(path.to_owned()));
        }
        let key = SecretKey::from_pkcs8(&octets);
        key.map(Some).map_err(|source| KeyFileError::Key { path: path.to_owned(), source })
    }

    /// Reads the key in a file, or makes one there. On return it is on the disk.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn read_or_make(path: &Path) -> Result<Self, KeyFileError> {
        if let Some(key) = Self::read(path)? {
            return Ok(key);
        }
        let key = Self::generate().map_err(|source| KeyFileError::Key { path: path.to_owned(), source })?;
        write_secret(path, key.pkcs8()).map_err(|source| KeyFileError::File { path: path.to_owned(), source })?;
        Ok(key)
    }
}

/// Writes a file that only its owner can read: whole or not at all, and on the disk on return.
///
/// # Errors
/// The operating system's.
pub fn write_secret(path: &Path, octets: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(octets)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
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
        assert_eq!(SecretKey::read_or_make(&path).unwrap().public(), key.public());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(SecretKey::read_or_make(&path), Err(KeyFileError::Exposed(_))));
    }

    #[test]
    fn a_damaged_key_file_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("terminal.key");
        write_secret(&path, b"").unwrap();
        assert!(matches!(SecretKey::read_or_make(&path), Err(KeyFileError::Key { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"");
    }
}
