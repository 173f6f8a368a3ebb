//! The terminals that are connected, on lines and over the Internet.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use delivery::TerminalId;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::keys::Admitted;

/// The connected terminals. There is one connection of a terminal: a new one replaces the old, which may be dead without knowing it.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    connections: Mutex<BTreeMap<TerminalId, Connection>>,
    /// Signals that a terminal has connected.
    came: Notify,
}

/// A connected terminal, as other tasks may signal it.
#[derive(Debug)]
struct Connection {
    due: Arc<Notify>,
    /// The terminal has connected again: this connection is over.
    replaced: CancellationToken,
}

/// A terminal's place among those that are connected, while this lives.
pub(super) struct Connected {
    presence: Arc<Presence>,
    terminal: TerminalId,
    replaced: CancellationToken,
}

impl Presence {
    /// Starts delivery of due messages to a terminal, if it is connected.
    pub(super) fn deliver(&self, terminal: TerminalId) {
        if let Some(connection) = self.lock().get(&terminal) {
            connection.due.notify_one();
        }
    }

    /// How many terminals are connected.
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Waits until a terminal is connected.
    pub(crate) async fn has_come(&self, terminal: TerminalId) {
        loop {
            let mut came = pin!(self.came.notified());
            // Before the look: what comes between the two is not missed.
            came.as_mut().enable();
            if self.lock().contains_key(&terminal) {
                return;
            }
            came.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TerminalId, Connection>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connected {
    /// `due` is what the terminal's delivery waits on.
    pub(super) fn new(presence: &Arc<Presence>, admitted: &Admitted, due: Arc<Notify>) -> Self {
        let terminal = admitted.terminal();
        let replaced = CancellationToken::new();
        let connection = Connection {
            due,
            replaced: replaced.clone(),
        };
        if let Some(before) = presence.lock().insert(terminal, connection) {
            before.replaced.cancel();
        }
        presence.came.notify_waiters();
        Self {
            presence: presence.clone(),
            terminal,
            replaced,
        }
    }

    /// Waits until the terminal has connected anew; for ever, if it is not connected.
    pub(super) async fn replaced(connected: &Option<Self>) {
        match connected {
            Some(connected) => connected.replaced.cancelled().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut connections = self.presence.lock();
        if !self.replaced.is_cancelled() {
            connections.remove(&self.terminal);
        }
    }
}
