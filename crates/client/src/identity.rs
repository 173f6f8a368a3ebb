//! Who this terminal is: its key, what it knows of its server, and the sessions that the next call resumes.
//!
//! ```text
//!   STATE/terminal.key     made here, never leaves
//!   STATE/enrolment.toml   the bundle; its secret is burnt when the server has taken the key
//!   STATE/sessions/        one file for each session, taken out once
//!   STATE/terminal.lock    shared by sessions, which may be several at once; enrolling is done alone
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use delivery::proof::{
    Bundle, BundleError, CredentialsError, KeyFileError, PublicKey, SecretKey, ServerKeyList,
    TerminalCredentials, write_secret,
};
use delivery::{Enrolment, StateFolderError, StateLock, TerminalId};
use jiff::Timestamp;

use crate::agreements::Agreements;
use crate::shelf::SessionFolder;

/// The lock of a terminal's state folder.
const LOCK: &str = "terminal";

/// An enrolled terminal.
#[derive(Debug)]
pub struct Identity {
    state: PathBuf,
    /// As it stands in the file: changed there first.
    bundle: Mutex<Bundle>,
    id: TerminalId,
    key: PublicKey,
    credentials: TerminalCredentials,
    /// While this guard lives, no process enrols.
    _lock: StateLock,
}

/// Why a terminal cannot prove itself.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Not enrolled.
    #[error(
        "this terminal is not enrolled; have its server's operator make a bundle (ringup terminal invite), then: ringup enrol BUNDLE"
    )]
    NotEnrolled,
    /// The bundle, or what is kept of it.
    #[error("{path} is not usable")]
    Bundle {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: BundleError,
    },
    /// A file cannot be read or written.
    #[error("could not use {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The state folder: a session runs while it is to be enrolled, or the other way round.
    #[error(transparent)]
    State(#[from] StateFolderError),
    /// Its time is over.
    #[error("the bundle expired at {0}; ask for another")]
    Expired(Timestamp),
    /// It has been used: the terminal's own copy, not the bundle.
    #[error("the bundle has no secret: it has been used")]
    NoSecret,
    /// The key file.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The key.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

impl Identity {
    /// Takes a bundle: makes the terminal's key if there is none, and keeps what the bundle says. Until the next session has
    /// proved it the server does not know the key.
    ///
    /// # Errors
    /// [`IdentityError`]; nothing is changed then.
    pub fn enrol(state: &Path, bundle: &Bundle, now: Timestamp) -> Result<Self, IdentityError> {
        if bundle.secret.is_none() {
            return Err(IdentityError::NoSecret);
        }
        if bundle.expires_at <= now {
            return Err(IdentityError::Expired(bundle.expires_at));
        }
        // A session that runs would write what it knows of the earlier server over this.
        let alone = StateLock::alone(state, LOCK)?;
        SecretKey::read_or_make(&key_file(state))?;
        keep(state, bundle)?;
        // Sessions with the server of an earlier enrolment must not be resumed by it.
        match fs::remove_dir_all(state.join("sessions")) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(IdentityError::File {
                    path: state.join("sessions"),
                    source,
                });
            }
            _ => {}
        }
        drop(alone);
        Self::open(state)
    }

    /// The identity kept in `state`.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn open(state: &Path) -> Result<Self, IdentityError> {
        if !enrolment_file(state).exists() {
            return Err(IdentityError::NotEnrolled); // and no folder is made
        }
        let lock = StateLock::shared(state, LOCK)?;
        let bundle = read(state)?;
        let key = SecretKey::read(&key_file(state))?.ok_or(IdentityError::NotEnrolled)?;
        let shelf = Arc::new(SessionFolder::new(state.join("sessions")));
        let credentials = TerminalCredentials::new(&key, bundle.servers.clone(), Some(shelf))?;
        let (id, bundle) = (bundle.terminal, Mutex::new(bundle));
        Ok(Self {
            state: state.to_owned(),
            bundle,
            id,
            key: key.public(),
            credentials,
            _lock: lock,
        })
    }

    /// The terminal's public id.
    pub fn id(&self) -> TerminalId {
        self.id
    }

    /// The terminal's public key.
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// What PPP agreed on with the server before.
    pub(crate) fn agreements(&self) -> Agreements {
        Agreements::new(&self.state)
    }

    /// What it proves itself with.
    pub fn credentials(&self) -> &TerminalCredentials {
        &self.credentials
    }

    /// What proves it to a server that does not know its key yet.
    pub fn enrolment(&self) -> Option<Enrolment> {
        let secret = self.bundle().secret.clone();
        secret.map(|secret| Enrolment {
            secret,
            key: self.key,
        })
    }

    /// The server has ended a session in order, so it knows the key: the secret is of no use to anybody any more.
    ///
    /// # Errors
    /// [`IdentityError::File`]: the secret stays, which the server does not take twice.
    pub fn burn_secret(&self) -> Result<(), IdentityError> {
        if self.bundle().secret.is_none() {
            return Ok(());
        }
        self.change(|bundle| bundle.secret = None)
    }

    /// The server, which was proved, says by which keys it is known from now on: from the next session on no other is.
    ///
    /// # Errors
    /// [`IdentityError::File`]: those that were stay.
    pub fn keep_servers(&self, keys: &ServerKeyList) -> Result<(), IdentityError> {
        if self.bundle().servers == keys.keys() {
            return Ok(());
        }
        self.change(|bundle| bundle.servers = keys.keys().to_vec())
    }

    /// Changes what is kept, in the file first. Another session of this terminal may have changed something else of it meanwhile.
    fn change(&self, work: impl FnOnce(&mut Bundle)) -> Result<(), IdentityError> {
        let path = self.state.join("enrolment.lock");
        let failed = |source| IdentityError::File {
            path: path.clone(),
            source,
        };
        let lock = File::create(&path).map_err(failed)?;
        lock.lock().map_err(failed)?; // another holds it for a write
        let mut changed = read(&self.state)?;
        work(&mut changed);
        keep(&self.state, &changed)?;
        *self.bundle() = changed;
        Ok(())
    }

    fn bundle(&self) -> MutexGuard<'_, Bundle> {
        self.bundle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key_file(state: &Path) -> PathBuf {
    state.join("terminal.key")
}

fn enrolment_file(state: &Path) -> PathBuf {
    state.join("enrolment.toml")
}

fn read(state: &Path) -> Result<Bundle, IdentityError> {
    let path = enrolment_file(state);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(IdentityError::NotEnrolled);
        }
        Err(source) => return Err(IdentityError::File { path, source }),
    };
    text.parse()
        .map_err(|source| IdentityError::Bundle { path, source })
}

fn keep(state: &Path, bundle: &Bundle) -> Result<(), IdentityError> {
    let path = enrolment_file(state);
    write_secret(&path, bundle.to_string().as_bytes())
        .map_err(|source| IdentityError::File { path, source })
}

#[cfg(test)]
mod tests {
    use delivery::proof::EnrolmentSecret;

    use super::*;

    fn bundle() -> Bundle {
        Bundle {
            terminal: TerminalId::from_octets([9; 8]),
            name: "owner".into(),
            servers: vec![SecretKey::generate().unwrap().public()],
            callers: vec![],
            number: None,
            address: None,
            secret: Some(EnrolmentSecret::from_octets([7; 32])),
            expires_at: "2026-12-01T00:00:00Z".parse().unwrap(),
        }
    }

    fn before() -> Timestamp {
        "2026-11-30T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn an_enrolled_terminal_keeps_its_key_and_burns_its_secret_once() {
        let folder = tempfile::tempdir().unwrap();
        let enrolled = Identity::enrol(folder.path(), &bundle(), before()).unwrap();
        assert!(enrolled.enrolment().is_some());
        enrolled.burn_secret().unwrap();
        let again = Identity::open(folder.path()).unwrap();
        assert_eq!((again.id(), again.key()), (enrolled.id(), enrolled.key()));
        assert!(again.enrolment().is_none());
        again.burn_secret().unwrap();
        let key = enrolled.key();
        drop((enrolled, again));
        // A new bundle, as for another server, does not make another terminal.
        assert_eq!(
            Identity::enrol(folder.path(), &bundle(), before())
                .unwrap()
                .key(),
            key
        );
    }

    #[test]
    fn nobody_enrols_while_a_session_runs_and_sessions_run_side_by_side() {
        let folder = tempfile::tempdir().unwrap();
        drop(Identity::enrol(folder.path(), &bundle(), before()).unwrap());
        let sessions = [(); 2].map(|()| Identity::open(folder.path()).unwrap());
        let kept = fs::read(enrolment_file(folder.path())).unwrap();
        let again = Identity::enrol(folder.path(), &bundle(), before());
        assert!(
            matches!(
                again,
                Err(IdentityError::State(StateFolderError::Held { .. }))
            ),
            "{again:?}"
        );
        assert_eq!(fs::read(enrolment_file(folder.path())).unwrap(), kept);
        drop(sessions);
        drop(Identity::enrol(folder.path(), &bundle(), before()).unwrap());
    }

    #[test]
    fn a_session_does_not_undo_what_another_has_learnt() {
        let folder = tempfile::tempdir().unwrap();
        let first = Identity::enrol(folder.path(), &bundle(), before()).unwrap();
        let second = Identity::open(folder.path()).unwrap();
        let new = SecretKey::generate().unwrap().public();
        first
            .keep_servers(&ServerKeyList::new(vec![new]).unwrap())
            .unwrap();
        second.burn_secret().unwrap();
        let third = Identity::open(folder.path()).unwrap();
        assert_eq!(third.bundle().servers, [new]);
        assert!(third.enrolment().is_none());
    }

    #[test]
    fn the_servers_new_keys_are_kept_and_burning_the_secret_brings_no_old_one_back() {
        let folder = tempfile::tempdir().unwrap();
        let enrolled = Identity::enrol(folder.path(), &bundle(), before()).unwrap();
        let new = SecretKey::generate().unwrap().public();
        enrolled
            .keep_servers(&ServerKeyList::new(vec![new]).unwrap())
            .unwrap();
        enrolled.burn_secret().unwrap();
        let again = Identity::open(folder.path()).unwrap();
        assert_eq!(again.bundle().servers, [new]);
        assert!(again.enrolment().is_none());
    }

    #[test]
    fn a_bundle_that_is_over_or_used_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let late = "2026-12-01T00:00:00Z".parse().unwrap();
        assert!(matches!(
            Identity::enrol(folder.path(), &bundle(), late),
            Err(IdentityError::Expired(_))
        ));
        let used = Bundle {
            secret: None,
            ..bundle()
        };
        assert!(matches!(
            Identity::enrol(folder.path(), &used, before()),
            Err(IdentityError::NoSecret)
        ));
        assert!(matches!(
            Identity::open(folder.path()),
            Err(IdentityError::NotEnrolled)
        ));
        assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
    }
}
