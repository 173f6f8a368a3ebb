//! The sessions that the next call resumes.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use rustls::server::StoresServerSessions;

/// Terminals whose sessions a server remembers; with more, the one called longest ago pays a whole handshake.
const TERMINALS_MAX: usize = 100_000;

/// Where a terminal keeps its sessions between calls. They are secrets. One that was taken must not come back, not after a
/// crash either: it would let a call be replayed.
pub trait SessionShelf: fmt::Debug + Send + Sync + 'static {
    /// Keeps a session under a name that the far end will present. Failing costs a whole handshake at the next call, no more.
    fn put(&self, name: &[u8], session: &[u8]);

    /// Gives a session out, once, unless it is more than a day old.
    fn take(&self, name: &[u8]) -> Option<Vec<u8>>;
}

/// A terminal's shelf as rustls wants it.
#[derive(Debug)]
pub(super) struct Shelf(pub(super) Arc<dyn SessionShelf>);

impl StoresServerSessions for Shelf {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.0.put(&key, &value);
        true
    }

    fn get(&self, _key: &[u8]) -> Option<Vec<u8>> {
        None // TLS 1.2 only; a session is used once
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.take(key)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// The server's side: the last session of each terminal, in memory.
#[derive(Default)]
pub(super) struct Sessions(Mutex<Table>);

#[derive(Default)]
struct Table {
    last: HashMap<ServerName<'static>, Tls13ClientSessionValue>,
    /// In the order in which they came; a name may stand here whose session is gone or newer.
    order: VecDeque<ServerName<'static>>,
}

impl Sessions {
    /// A terminal's key is another now: nothing more is said to whoever holds the old one.
    pub(super) fn forget(&self, name: &ServerName<'static>) {
        self.table().last.remove(name);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The session of one connection whose far end has yet to show its secret. It is with nobody else's, and resumed by nobody, before
/// it is adopted. Cheap to clone.
#[derive(Debug, Clone)]
pub struct UnadoptedSession {
    own: Arc<Sessions>,
    own_name: ServerName<'static>,
    all: Arc<Sessions>,
    name: ServerName<'static>,
}

impl UnadoptedSession {
    pub(super) fn new(
        own_name: ServerName<'static>,
        all: Arc<Sessions>,
        name: ServerName<'static>,
    ) -> Self {
        Self {
            own: Arc::default(),
            own_name,
            all,
            name,
        }
    }

    /// Where the connection keeps it.
    pub(super) fn own(&self) -> Arc<Sessions> {
        self.own.clone()
    }

    /// The far end has shown its secret on this connection: the session is the terminal's, and good for its next call.
    pub fn adopt(&self) {
        if let Some(session) = self.own.take_tls13_ticket(&self.own_name) {
            self.all.insert_tls13_ticket(self.name.clone(), session);
        }
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("terminals", &self.table().last.len())
            .finish()
    }
}

impl ClientSessionStore for Sessions {
    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut table = self.table();
        if table.last.insert(name.clone(), value).is_none() {
            table.order.push_back(name);
        }
        while table.order.len() > TERMINALS_MAX {
            if let Some(oldest) = table.order.pop_front() {
                table.last.remove(&oldest);
            }
        }
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let mut table = self.table();
        let taken = table.last.remove(name)?;
        table.order.retain(|other| other != name);
        Some(taken)
    }

    fn set_kx_hint(&self, _name: ServerName<'static>, _group: NamedGroup) {}

    fn kx_hint(&self, _name: &ServerName<'_>) -> Option<NamedGroup> {
        Some(NamedGroup::X25519)
    }

    fn set_tls12_session(&self, _name: ServerName<'static>, _value: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _name: &ServerName<'static>) {}
}
