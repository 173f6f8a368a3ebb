//! A terminal's place among those that are connected.

use std::sync::{Arc, PoisonError};

use delivery::TerminalId;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::super::{Connection, Shared};
use crate::keys::Admitted;

/// While this lives, the terminal is in the list of those to be notified. There is one connection of a terminal: a new one
/// replaces the old, which may be dead without knowing it.
pub(crate) struct Connected {
    shared: Arc<Shared>,
    terminal: TerminalId,
    replaced: CancellationToken,
}

impl Connected {
    /// `due` is what the terminal's delivery waits on.
    pub(crate) fn new(shared: &Arc<Shared>, admitted: &Admitted, due: Arc<Notify>) -> Self {
        let terminal = admitted.terminal();
        let replaced = CancellationToken::new();
        let entry = Connection {
            due,
            replaced: replaced.clone(),
        };
        let before = shared
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(terminal, entry);
        if let Some(before) = before {
            before.replaced.cancel();
        }
        shared.came.notify_waiters();
        Self {
            shared: shared.clone(),
            terminal,
            replaced,
        }
    }

    /// Waits until the terminal has connected anew; for ever, if it is not connected.
    pub(crate) async fn replaced(connected: &Option<Self>) {
        match connected {
            Some(connected) => connected.replaced.cancelled().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut connected = self
            .shared
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !self.replaced.is_cancelled() {
            connected.remove(&self.terminal);
        }
    }
}
