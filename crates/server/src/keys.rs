//! The server's own key, and what it proves itself to terminals with.

use std::path::Path;

use delivery::TerminalId;
use delivery::proof::{
    CourierCredentials, CredentialsError, EnrolmentSecret, KeyFileError, PublicKey, SecretKey, Secured,
};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::store::{Store, StoreError, Trust};

/// The file of the server's key in its state folder.
pub(crate) const KEY_FILE: &str = "server.key";

/// The key and its sessions: one for the life of the process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ServerKeys {
    public: PublicKey,
    credentials: CourierCredentials,
    store: Store,
}

/// Why a server has no key.
#[derive(Debug, thiserror::Error)]
pub enum ServerKeysError {
    /// Its file.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The key in it.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

/// Why nothing is said to a terminal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTrusted {
    #[error("the terminal has no key; make a bundle for it: ringup terminal invite")]
    NotEnrolled,
    #[error("the terminal is shut out")]
    ShutOut,
    #[error("the store failed")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

impl ServerKeys {
    /// The key in the server's state folder, made there at the first start.
    ///
    /// # Errors
    /// [`ServerKeysError`].
    pub fn open(state: &Path, store: Store) -> Result<Self, ServerKeysError> {
        let key = SecretKey::read_or_make(&state.join(KEY_FILE))?;
        Ok(Self { public: key.public(), credentials: CourierCredentials::new(&key)?, store })
    }

    /// What terminals pin.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Begins to prove both ends of a connection whose notice names this terminal.
    pub(crate) async fn secure<S>(
        &self,
        stream: S,
        terminal: TerminalId,
        rate_bps: u32,
    ) -> Result<(Secured<S>, Trust), NotTrusted>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let trust = self.store.trust(terminal).await?;
        match trust.pin() {
            Some(pin) => Ok((self.credentials.secure(stream, terminal, pin, rate_bps)?, trust)),
            None if trust.shut_out_at.is_some() => Err(NotTrusted::ShutOut),
            None => Err(NotTrusted::NotEnrolled),
        }
    }

    /// A terminal has proved `key` by its secret. On return that is on the disk. `false`: the secret is not out any more.
    pub(crate) async fn enrol(
        &self,
        terminal: TerminalId,
        secret: EnrolmentSecret,
        key: PublicKey,
    ) -> Result<bool, StoreError> {
        let is_enrolled = self.store.enrol(terminal, secret, key).await?;
        if is_enrolled {
            self.credentials.adopt(terminal);
        }
        Ok(is_enrolled)
    }

    /// Drops what a terminal could resume.
    pub(crate) fn forget(&self, terminal: TerminalId) {
        self.credentials.forget(terminal);
    }
}
