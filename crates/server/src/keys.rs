//! The server's own keys, and what it proves itself with to terminals.
//!
//! ```text
//!   server.key ──rotate──► server.key + server-next.key ──retire──► server.key (the new one)
//!                            │ each terminal is told of both in a proved session; the old one proves the server
//!                            └ to those that have not said yet that they know the new one
//! ```

mod admission;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use delivery::proof::{
    CourierCredentials, CredentialsError, KeyFileError, KeyForm, Pin, PublicKey, SecretKey,
    Secured, ServerKeyList, ServerKeyListError, write_secret,
};
use delivery::{Courier, StateFolderError, StateLock, TerminalId};
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};

pub use self::admission::Admitted;
pub(crate) use self::admission::{
    Admission, Candidate, NotAdmitted, OpenSession, OpenSessions, Whose,
};
use store::{KEY_FILE, SERVER_LOCK, Store, StoreError, Trust};

/// That of the key which is to take over.
const NEXT_KEY_FILE: &str = "server-next.key";
/// The public halves of keys that were in use, one on a line.
const RETIRED_FILE: &str = "server-retired.keys";

/// The keys and their sessions: one for the life of the process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ServerKeys {
    state: Arc<Path>,
    keys: Arc<RwLock<Keys>>,
    store: Store,
    sessions: OpenSessions,
}

#[derive(Debug)]
struct Keys {
    current: ServerKey,
    /// Takes over.
    next: Option<ServerKey>,
    retired: Vec<PublicKey>,
}

#[derive(Debug, Clone)]
struct ServerKey {
    public: PublicKey,
    /// As X.509, DER.
    certificate: Arc<[u8]>,
    credentials: CourierCredentials,
}

/// Why a server has no key.
#[derive(Debug, thiserror::Error)]
pub enum ServerKeysError {
    /// A key's file.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateFolderError),
    /// The key in it.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The list of retired keys.
    #[error("could not use {path}")]
    Retired {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What is in that list.
    #[error("{0} holds something that is no key")]
    Malformed(PathBuf),
}

/// The public halves of the keys in a server's state folder; the first is made if there is none.
///
/// # Errors
/// [`ServerKeysError`].
pub fn server_public_keys(state: &Path) -> Result<Vec<PublicKey>, ServerKeysError> {
    let current = key_at(state, SERVER_LOCK, KEY_FILE)?;
    let next = SecretKey::read(&state.join(NEXT_KEY_FILE))?;
    Ok(std::iter::once(&current)
        .chain(&next)
        .map(SecretKey::public)
        .collect())
}

/// Signs octets with the key in use of the server with this state folder, which need not run; the key is made if there is none.
/// Gives the key, too. The octets must not begin with a blank: [`SecretKey::sign`] says why.
///
/// # Errors
/// [`ServerKeysError`].
pub fn sign_as_server(
    state: &Path,
    octets: &[u8],
) -> Result<(PublicKey, [u8; 64]), ServerKeysError> {
    let key = key_at(state, SERVER_LOCK, KEY_FILE)?;
    Ok((key.public(), key.sign(octets)))
}

/// A key in the state folder of a server that need not run, made if there is none. A server that runs has one.
pub(crate) fn key_at(state: &Path, lock: &str, file: &str) -> Result<SecretKey, ServerKeysError> {
    let path = state.join(file);
    if let Some(key) = SecretKey::read(&path)? {
        return Ok(key);
    }
    // Two that make one would each show another.
    let _alone = StateLock::alone(state, lock)?;
    Ok(SecretKey::read_or_make(&path)?)
}

/// Why keys were not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRotated {
    #[error(
        "a new key is being told to terminals already; retire the old one first: ringup server-key retire"
    )]
    IsRotating,
    #[error("there is one key only; make another first: ringup server-key rotate")]
    IsNotRotating,
    #[error(transparent)]
    Keys(#[from] ServerKeysError),
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
    #[error("a list of the server's keys cannot be made")]
    List(#[from] ServerKeyListError),
}

/// One of the server's keys, for the operator.
#[derive(Debug, Clone)]
pub(crate) struct ShownKey {
    pub(crate) key: PublicKey,
    /// `in use`, `new` or `retired`.
    pub(crate) state: &'static str,
    /// DER, of those that are not retired.
    pub(crate) certificate: Option<Arc<[u8]>>,
}

impl ServerKey {
    fn new(key: &SecretKey) -> Result<Self, ServerKeysError> {
        let (public, certificate) = (key.public(), key.certificate().into());
        Ok(Self {
            public,
            certificate,
            credentials: CourierCredentials::new(key)?,
        })
    }
}

impl ServerKeys {
    /// The keys in the server's state folder; the first is made there at the first start.
    ///
    /// # Errors
    /// [`ServerKeysError`].
    pub fn open(state: &Path, store: Store) -> Result<Self, ServerKeysError> {
        let current = ServerKey::new(&SecretKey::read_or_make(&state.join(KEY_FILE))?)?;
        let next = SecretKey::read(&state.join(NEXT_KEY_FILE))?
            .as_ref()
            .map(ServerKey::new)
            .transpose()?;
        let mut retired = read_retired(&state.join(RETIRED_FILE))?;
        // A retirement that a crash broke off right after its first step.
        retired.retain(|key| *key != current.public);
        Ok(Self {
            state: state.into(),
            keys: Arc::new(RwLock::new(Keys {
                current,
                next,
                retired,
            })),
            store,
            sessions: OpenSessions::default(),
        })
    }

    /// What terminals pin: all keys that are in use.
    pub fn public(&self) -> Vec<PublicKey> {
        let keys = self.read();
        keys.in_use().map(|key| key.public).collect()
    }

    /// All keys, those that are in use first.
    pub(crate) fn shown(&self) -> Vec<ShownKey> {
        let keys = self.read();
        let states = ["in use", "new"];
        let in_use = keys.in_use().zip(states).map(|(key, state)| {
            let certificate = Some(key.certificate.clone());
            ShownKey {
                key: key.public,
                state,
                certificate,
            }
        });
        let retired = keys.retired.iter().map(|key| ShownKey {
            key: *key,
            state: "retired",
            certificate: None,
        });
        in_use.chain(retired).collect()
    }

    /// Makes a second key, which is told to each terminal in its next session. On return it is on the disk.
    pub(crate) fn rotate(&self) -> Result<PublicKey, NotRotated> {
        let mut keys = self.write();
        if keys.next.is_some() {
            return Err(NotRotated::IsRotating);
        }
        let made = SecretKey::read_or_make(&self.state.join(NEXT_KEY_FILE))
            .map_err(ServerKeysError::from)?;
        let next = keys.next.insert(ServerKey::new(&made)?);
        Ok(next.public)
    }

    /// The key which is to take over, if there is one.
    pub(crate) fn next(&self) -> Option<PublicKey> {
        self.read().next.as_ref().map(|next| next.public)
    }

    /// Proves the server with the new key only, from now on. Sessions that run go on. Gives the key that was retired.
    pub(crate) fn retire(&self) -> Result<PublicKey, NotRotated> {
        let mut keys = self.write();
        let Some(next) = keys.next.clone() else {
            return Err(NotRotated::IsNotRotating);
        };
        let old = keys.current.public;
        let mut retired = keys.retired.clone();
        retired.push(old);
        let path = self.state.join(RETIRED_FILE);
        let text: String = retired.iter().map(|key| format!("{key}\n")).collect();
        let failed = |source| ServerKeysError::Retired {
            path: path.clone(),
            source,
        };
        // A crash after this step leaves both keys in use, and the list names one that is: `open` knows.
        write_secret(&path, text.as_bytes()).map_err(failed)?;
        // A crash after this one leaves the retirement done.
        let renamed = fs::rename(self.state.join(NEXT_KEY_FILE), self.state.join(KEY_FILE));
        renamed
            .and_then(|()| File::open(&self.state)?.sync_all())
            .map_err(failed)?;
        *keys = Keys {
            current: next,
            next: None,
            retired,
        };
        Ok(old)
    }

    /// The sessions that are open.
    pub(crate) fn sessions(&self) -> &OpenSessions {
        &self.sessions
    }

    /// Begins to prove both ends of a connection whose notice names this terminal, in a session of it that is registered.
    pub(crate) async fn secure<S>(
        &self,
        stream: S,
        open: &OpenSession,
        terminal: TerminalId,
        form: KeyForm,
        rate_bps: u32,
    ) -> Result<(Secured<S>, Candidate), NotTrusted>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let trust = self.store.trust(terminal, Timestamp::now()).await?;
        let Some(pin) = trust.pin() else {
            return Err(if trust.shut_out_at.is_some() {
                NotTrusted::ShutOut
            } else {
                NotTrusted::NotEnrolled
            });
        };
        let credentials = self.read().known_to(&trust).credentials.clone();
        let stream = credentials.secure_in(form, stream, terminal, pin, rate_bps)?;
        let candidate = Candidate::new(open, terminal, trust, stream.proof(), stream.unadopted());
        Ok((stream, candidate))
    }

    /// Has a far end with another key than the pinned ones show the secret, before anything else is said to it. Without an
    /// invitation there is nothing to do: TLS lets in pinned keys only. Gives the key that was enrolled.
    pub(crate) async fn enrol(
        &self,
        candidate: &Candidate,
        courier: &mut Courier,
    ) -> Result<Option<PublicKey>, NotAdmitted> {
        if !candidate.has_invitation() {
            return Ok(None);
        }
        let proved = candidate
            .proof()
            .wait()
            .await
            .ok_or(NotAdmitted::NotProved)?;
        let Some(secret) = candidate.secret_for(&proved) else {
            return Ok(None);
        };
        let key = courier.enrol(secret).await.map_err(NotAdmitted::Enrol)?;
        let terminal = candidate.terminal();
        if !self
            .store
            .enrol(terminal, secret.clone(), key, Timestamp::now())
            .await?
        {
            return Err(NotAdmitted::InvitationOver);
        }
        // The key that it had is void.
        self.sessions.end(
            &Whose::Terminal(terminal),
            Some(candidate.session()),
            "its key was replaced",
        );
        self.each(|key| key.credentials.forget(terminal));
        candidate.enrolled();
        Ok(Some(key))
    }

    /// A terminal has lost what it could prove itself with, which is on the disk: what it could resume is dropped, and what is
    /// open ends.
    pub(crate) fn revoke(&self, terminal: TerminalId, why: &'static str) {
        self.each(|key| key.credentials.forget(terminal));
        let ended = self.sessions.end(&Whose::Terminal(terminal), None, why);
        if ended > 0 {
            tracing::warn!(%terminal, why, sessions = ended, "sessions ended");
        }
    }

    /// Begins to prove both ends of a trunk. Dial-up servers are proved to by the key that is in use.
    pub(crate) fn secure_dialup_server<S>(
        &self,
        stream: S,
        pin_id: TerminalId,
        key: PublicKey,
        rate_bps: u32,
    ) -> Result<Secured<S>, CredentialsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.read()
            .current
            .credentials
            .secure(stream, pin_id, Pin::Keys(vec![key]), rate_bps)
    }

    /// The keys that a terminal has to be told, if it does not know them by its own word.
    pub(crate) async fn to_tell(
        &self,
        terminal: TerminalId,
    ) -> Result<Option<ServerKeyList>, NotTrusted> {
        let in_use = {
            let keys = self.read();
            // Nobody ever had to be told: bundles hold the only key there was.
            if keys.next.is_none() && keys.retired.is_empty() {
                return Ok(None);
            }
            keys.in_use().map(|key| key.public).collect::<Vec<_>>()
        };
        let told = self.store.trust(terminal, Timestamp::now()).await?.told;
        let list = ServerKeyList::new(in_use)?;
        Ok((told.as_ref() != Some(&list)).then_some(list))
    }

    /// A terminal has these keys on its disk. On return that is on ours.
    pub(crate) async fn told(
        &self,
        terminal: TerminalId,
        keys: ServerKeyList,
    ) -> Result<(), StoreError> {
        self.store
            .told_server_keys(terminal, keys, Timestamp::now())
            .await
    }

    fn each(&self, act: impl Fn(&ServerKey)) {
        self.read().in_use().for_each(act);
    }

    fn read(&self) -> RwLockReadGuard<'_, Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Keys> {
        self.keys.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    fn in_use(&self) -> impl Iterator<Item = &ServerKey> {
        std::iter::once(&self.current).chain(&self.next)
    }

    /// The newest key that this terminal knows, as far as it has said.
    fn known_to(&self, trust: &Trust) -> &ServerKey {
        let knows = |key: &&ServerKey| {
            trust
                .told
                .as_ref()
                .is_some_and(|told| told.keys().contains(&key.public))
        };
        self.next.as_ref().filter(knows).unwrap_or(&self.current)
    }
}

fn read_retired(path: &Path) -> Result<Vec<PublicKey>, ServerKeysError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(ServerKeysError::Retired {
                path: path.to_owned(),
                source,
            });
        }
    };
    let keys = text.lines().map(str::parse).collect::<Result<_, _>>();
    keys.map_err(|_| ServerKeysError::Malformed(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn open(folder: &TempDir) -> ServerKeys {
        ServerKeys::open(
            folder.path(),
            Store::open(folder.path(), Timestamp::now()).unwrap(),
        )
        .unwrap()
    }

    fn told(keys: &[PublicKey]) -> Trust {
        Trust {
            told: Some(ServerKeyList::new(keys.to_vec()).unwrap()),
            ..Trust::default()
        }
    }

    #[tokio::test]
    async fn a_new_key_proves_the_server_to_those_that_know_it_and_the_old_one_to_the_others_until_it_is_retired()
     {
        let folder = TempDir::new().unwrap();
        let keys = open(&folder);
        let old = keys.public()[0];
        assert!(matches!(keys.retire(), Err(NotRotated::IsNotRotating)));
        let new = keys.rotate().unwrap();
        assert!(matches!(keys.rotate(), Err(NotRotated::IsRotating)));
        drop(keys);
        let keys = open(&folder);
        assert_eq!(
            (keys.public(), keys.next()),
            (vec![old, new], Some(new)),
            "over a restart, too"
        );
        assert_eq!(keys.read().known_to(&Trust::default()).public, old);
        assert_eq!(keys.read().known_to(&told(&[old])).public, old);
        assert_eq!(keys.read().known_to(&told(&[old, new])).public, new);
        assert_eq!(keys.retire().unwrap(), old);
        assert_eq!(keys.read().known_to(&told(&[old])).public, new);
        drop(keys);
        let keys = open(&folder);
        assert_eq!(keys.public(), [new]);
        let states: Vec<_> = keys
            .shown()
            .iter()
            .map(|shown| (shown.key, shown.state))
            .collect();
        assert_eq!(states, [(new, "in use"), (old, "retired")]);
    }

    #[tokio::test]
    async fn a_retirement_that_a_crash_broke_off_leaves_both_keys_in_use() {
        let folder = TempDir::new().unwrap();
        let keys = open(&folder);
        let (old, new) = (keys.public()[0], keys.rotate().unwrap());
        drop(keys);
        write_secret(
            &folder.path().join(RETIRED_FILE),
            format!("{old}\n").as_bytes(),
        )
        .unwrap();
        let keys = open(&folder);
        assert_eq!(keys.public(), [old, new]);
        assert_eq!(keys.retire().unwrap(), old);
        assert_eq!(keys.shown().len(), 2, "retired once");
        fs::write(folder.path().join(RETIRED_FILE), "x\n").unwrap();
        assert!(matches!(
            read_retired(&folder.path().join(RETIRED_FILE)),
            Err(ServerKeysError::Malformed(_))
        ));
    }

    #[tokio::test]
    async fn nobody_is_told_of_keys_before_the_first_is_replaced_and_each_once_for_each_change_after_it()
     {
        let folder = TempDir::new().unwrap();
        let keys = open(&folder);
        let id = TerminalId::from_octets([1; 8]);
        let (name, address) = ("owner".parse().unwrap(), None);
        let terminal = model::directory::Terminal {
            id,
            name,
            number: None,
            address,
            trusted_by: model::directory::TrustedBy::default(),
            connection: model::directory::Connection::Down,
        };
        keys.store.add_terminal(terminal).await.unwrap();
        assert_eq!(keys.to_tell(id).await.unwrap(), None);
        let (old, new) = (keys.public()[0], keys.rotate().unwrap());
        for expected in [vec![old, new], vec![new]] {
            let list = keys.to_tell(id).await.unwrap().unwrap();
            assert_eq!(list.keys(), expected);
            assert_eq!(
                keys.to_tell(id).await.unwrap(),
                Some(list.clone()),
                "until it has said that it knows"
            );
            keys.told(id, list).await.unwrap();
            assert_eq!(keys.to_tell(id).await.unwrap(), None);
            let _ = keys.retire();
        }
    }
}
