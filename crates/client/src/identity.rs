//! Who this terminal is: its key, what it knows of its server, and the sessions that the next call resumes.
//!
//! ```text
//!   STATE/terminal.key     made here, never leaves
//!   STATE/enrolment.toml   the bundle; its secret is burnt when the server has taken the key
//!   STATE/sessions/        one file for each session, taken out once
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use delivery::proof::{
    Bundle, BundleError, CredentialsError, KeyFileError, PublicKey, SecretKey, ServerKeyList, TerminalCredentials,
    write_secret,
};
use delivery::{Enrolment, TerminalId};
use jiff::Timestamp;

use crate::agreements::Agreements;
use crate::shelf::SessionFolder;

/// An enrolled terminal.
#[derive(Debug)]
pub struct Identity {
    state: PathBuf,
    /// As it stands in the file: changed there first.
    bundle: Mutex<Bundle>,
    id: TerminalId,
    key: PublicKey,
    credentials: TerminalCredentials,
}

/// Why a terminal cannot prove itself.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Nobody has enrolled it.
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
        SecretKey::read_or_make(&key_file(state))?;
        keep(state, bundle)?;
        // Sessions with the server of an earlier enrolment must not be resumed by it.
        match fs::remove_dir_all(state.join("sessions")) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(IdentityError::File { path: state.join("sessions"), source });
            }
            _ => {}
        }
        Self::open(state)
    }

    /// The identity kept in `state`.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn open(state: &Path) -> Result<Self, IdentityError> {
        let path = enrolment_file(state);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(IdentityError::NotEnrolled),
            Err(source) => return Err(IdentityError::File { path, source }),
        };
        let bundle: Bundle = text.parse().map_err(|source| IdentityError::Bundle { path, source })?;
        let key = SecretKey::read(&key_file(state))?.ok_or(IdentityError::NotEnrolled)?;
        let shelf = Arc::new(SessionFolder::new(state.join("sessions")));
        let credentials = TerminalCredentials::new(&key, bundle.servers.clone(), Some(shelf))?;
        let (id, bundle) = (bundle.terminal, Mutex::new(bundle));
        Ok(Self { state: state.to_owned(), bundle, id, key: key.public(), credentials })
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
        secret.map(|secret| Enrolment { secret, key: self.key })
    }

    /// The server has ended a session in order, so it knows the key: the secret is of no use to anybody any more.
    ///
    /// # Errors
    /// [`IdentityError::File`]: the secret stays, which the server does not take twice.
    pub fn burn_secret(&self) -> Result<(), IdentityError> {
        let mut bundle = self.bundle();
        if bundle.secret.is_none() {
            return Ok(());
        }
        let burnt = Bundle { secret: None, ..bundle.clone() };
        keep(&self.state, &burnt)?;
        *bundle = burnt;
        Ok(())
    }

    /// The server, which was proved, says by which keys it is known from now on: from the next session on no other is.
    ///
    /// # Errors
    /// [`IdentityError::File`]: those that were stay.
    pub fn keep_servers(&self, keys: &ServerKeyList) -> Result<(), IdentityError> {
        let mut bundle = self.bundle();
        let told = Bundle { servers: keys.keys().to_vec(), ..bundle.clone() };
        if told != *bundle {
            keep(&self.state, &told)?;
            *bundle = told;
        }
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

fn keep(state: &Path, bundle: &Bundle) -> Result<(), IdentityError> {
    let path = enrolment_file(state);
    write_secret(&path, bundle.to_string().as_bytes()).map_err(|source| IdentityError::File { path, source })
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
        // A new bundle, as for another server, does not make another terminal.
        assert_eq!(Identity::enrol(folder.path(), &bundle(), before()).unwrap().key(), enrolled.key());
    }

    #[test]
    fn the_servers_new_keys_are_kept_and_burning_the_secret_brings_no_old_one_back() {
        let folder = tempfile::tempdir().unwrap();
        let enrolled = Identity::enrol(folder.path(), &bundle(), before()).unwrap();
        let new = SecretKey::generate().unwrap().public();
        enrolled.keep_servers(&ServerKeyList::new(vec![new]).unwrap()).unwrap();
        enrolled.burn_secret().unwrap();
        let again = Identity::open(folder.path()).unwrap();
        assert_eq!(again.bundle().servers, [new]);
        assert!(again.enrolment().is_none());
    }

    #[test]
    fn a_bundle_that_is_over_or_used_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let late = "2026-12-01T00:00:00Z".parse().unwrap();
        assert!(matches!(Identity::enrol(folder.path(), &bundle(), late), Err(IdentityError::Expired(_))));
        let used = Bundle { secret: None, ..bundle() };
        assert!(matches!(Identity::enrol(folder.path(), &used, before()), Err(IdentityError::NoSecret)));
        assert!(matches!(Identity::open(folder.path()), Err(IdentityError::NotEnrolled)));
        assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
    }
}
