//! TLS sessions on the terminal's disk, so that the next call, which another process answers, resumes one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use delivery::proof::{SessionShelf, write_secret};

/// How long a session lives (RFC 8446 §4.6.1 allows a week; what is stolen of it should be worth little).
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// Sessions kept; a server uses the newest.
const SESSIONS_MAX: usize = 8;

/// The folder of sessions. It comes into being with the first.
#[derive(Debug)]
pub(crate) struct SessionFolder(PathBuf);

impl SessionFolder {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    fn path(&self, name: &[u8]) -> PathBuf {
        self.0.join(
            name.iter()
                .map(|octet| format!("{octet:02x}"))
                .collect::<String>(),
        )
    }

    /// Makes room for one more: what is over goes, then the oldest.
    fn make_room(&self) {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let mut found: Vec<_> = entries
            .map(|entry| (age(&entry.path()), entry.path()))
            .collect();
        found.sort();
        for (place, (age, path)) in found.into_iter().enumerate() {
            if place + 1 >= SESSIONS_MAX || age.is_none_or(|age| age >= LIFE) {
                let _ = fs::remove_file(path); // gone already is as good
            }
        }
    }
}

/// How old a file is. `None`: it is from the future, or not there.
fn age(path: &Path) -> Option<Duration> {
    fs::metadata(path)
        .and_then(|found| found.modified())
        .ok()?
        .elapsed()
        .ok()
}

impl SessionShelf for SessionFolder {
    fn put(&self, name: &[u8], session: &[u8]) {
        self.make_room();
        if let Err(error) = write_secret(&self.path(name), session) {
            tracing::warn!(%error, "session not kept: the next call takes a whole handshake");
        }
    }

    fn take(&self, name: &[u8]) -> Option<Vec<u8>> {
        let path = self.path(name);
        let is_alive = age(&path).is_some_and(|age| age < LIFE);
        let session = fs::read(&path).ok()?;
        // Gone for good before it is used: after a power cut it must not be there again.
        fs::remove_file(&path)
            .and_then(|()| File::open(&self.0)?.sync_all())
            .ok()?;
        is_alive.then_some(session)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_session_is_given_out_once() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = SessionFolder::new(folder.path().join("sessions"));
        shelf.put(&[1, 0xff], b"secret");
        assert_eq!(shelf.take(&[1]), None);
        let after_a_restart = SessionFolder::new(folder.path().join("sessions"));
        assert_eq!(
            after_a_restart.take(&[1, 0xff]).as_deref(),
            Some(&b"secret"[..])
        );
        assert_eq!(shelf.take(&[1, 0xff]), None);
    }

    #[test]
    fn a_session_of_yesterday_or_of_the_future_is_not_given_out() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = SessionFolder::new(folder.path().to_owned());
        for (name, at) in [(1, SystemTime::now() - LIFE), (2, SystemTime::now() + LIFE)] {
            shelf.put(&[name], b"secret");
            File::options()
                .append(true)
                .open(shelf.path(&[name]))
                .unwrap()
                .set_modified(at)
                .unwrap();
            assert_eq!(shelf.take(&[name]), None);
        }
    }

    #[test]
    fn no_more_than_eight_sessions_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = SessionFolder::new(folder.path().to_owned());
        for name in 0..20 {
            shelf.put(&[name], b"secret");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), SESSIONS_MAX);
        assert!(shelf.take(&[19]).is_some(), "the newest is kept");
    }
}
