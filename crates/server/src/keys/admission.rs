//! Who is a terminal. Only a pinned key, a shown secret or a stock terminal's own proof makes one, and a loss of trust ends
//! what is open.
//!
//! ```text
//!   connection ──notice──► Candidate ──pinned key──────────────► Admitted
//!                              │  └────other key, secret shown──►    │
//!                              └──────────── revoked ◄───────────────┘   the session ends at once
//! ```
//!
//! Everything that only a terminal may cause takes an [`Admitted`]: being connected, opening TUN, clearing an alarm, replacing a
//! session. A session is registered here before its trust is read: a change that commits after that reading finds it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use delivery::proof::{EnrolmentSecret, Proof, Proved, PublicKey, UnadoptedSession};
use delivery::{EnrolError, TerminalId};
use tokio::sync::watch;

use model::directory::Name;
use store::{StoreError, Trust};

/// A terminal that has proved to be one. Made here only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    terminal: TerminalId,
}

impl Admitted {
    /// Which it is.
    pub fn terminal(&self) -> TerminalId {
        self.terminal
    }

    /// A stock terminal: its link has passed CHAP, or the config believes the number that was called.
    pub(crate) fn stock(open: &OpenSession) -> Option<Self> {
        match open.whose {
            Whose::Terminal(terminal) if !open.is_revoked() => Some(Self { terminal }),
            _ => None,
        }
    }
}

/// Tells when a terminal is admitted. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    terminal: TerminalId,
    proof: Proof,
    /// Pinned when the session began.
    keys: Arc<[PublicKey]>,
    /// Another key has shown the secret.
    enrolled: watch::Receiver<bool>,
    revoked: watch::Receiver<Option<&'static str>>,
}

impl Admission {
    /// Whether the far end has shown what it takes: from then on it may have read what was sent, whatever it was revoked since.
    pub(crate) fn has_come(&self) -> bool {
        self.proof
            .proved()
            .is_some_and(|proved| self.is_pinned(&proved) || *self.enrolled.borrow())
    }

    /// Waits for it. `None`: the connection ended without, or the terminal lost its trust. May be dropped and called again.
    pub(crate) async fn wait(&mut self) -> Option<Admitted> {
        let proved = self.proof.wait().await?;
        if !self.is_pinned(&proved) {
            self.enrolled
                .wait_for(|is_enrolled| *is_enrolled)
                .await
                .ok()?;
        }
        self.revoked.borrow().is_none().then_some(Admitted {
            terminal: self.terminal,
        })
    }

    fn is_pinned(&self, proved: &Proved) -> bool {
        self.keys.contains(&proved.peer)
    }
}

/// The far end of a session that is about to prove itself.
#[derive(Debug)]
pub(crate) struct Candidate {
    admission: Admission,
    invitation: Option<EnrolmentSecret>,
    enrolled: watch::Sender<bool>,
    /// Of one that is not known yet.
    unadopted: Option<UnadoptedSession>,
    /// What it enrols ends the others only.
    session: u64,
}

/// Why a far end that had a stream with both ends' keys is no terminal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAdmitted {
    #[error("the terminal did not prove itself")]
    NotProved,
    #[error("the terminal was not enrolled")]
    Enrol(#[source] EnrolError),
    #[error("the invitation is over")]
    InvitationOver,
    #[error("the store failed")]
    Store(#[from] StoreError),
}

impl Candidate {
    pub(super) fn new(
        open: &OpenSession,
        terminal: TerminalId,
        trust: Trust,
        proof: Proof,
        unadopted: Option<UnadoptedSession>,
    ) -> Self {
        let (enrolled, is_enrolled) = watch::channel(false);
        let admission = Admission {
            terminal,
            proof,
            keys: trust.keys.into(),
            enrolled: is_enrolled,
            revoked: open.revoked.clone(),
        };
        Self {
            admission,
            invitation: trust.invitation,
            enrolled,
            unadopted,
            session: open.number,
        }
    }

    /// Tells when this far end is admitted.
    pub(crate) fn admission(&self) -> Admission {
        self.admission.clone()
    }

    /// The secret that a key which is not pinned has to show, if one is out.
    pub(super) fn secret_for(&self, proved: &Proved) -> Option<&EnrolmentSecret> {
        self.invitation
            .as_ref()
            .filter(|_| !self.admission.is_pinned(proved))
    }

    /// The number of its session among those that are open.
    pub(super) fn session(&self) -> u64 {
        self.session
    }

    pub(super) fn terminal(&self) -> TerminalId {
        self.admission.terminal
    }

    pub(super) fn proof(&self) -> Proof {
        self.admission.proof.clone()
    }

    pub(super) fn has_invitation(&self) -> bool {
        self.invitation.is_some()
    }

    /// Its key is stored, and the secret burnt: what it resumed is good for its next call.
    pub(super) fn enrolled(&self) {
        if let Some(unadopted) = &self.unadopted {
            unadopted.adopt();
        }
        self.enrolled.send_replace(true);
    }
}

/// Whose session it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Whose {
    Terminal(TerminalId),
    Provider(Name),
}

/// The sessions that are open: a loss of trust or of a right ends them. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpenSessions(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    opened: u64,
    open: BTreeMap<Whose, BTreeMap<u64, watch::Sender<Option<&'static str>>>>,
}

/// A session that is open while this lives.
#[derive(Debug)]
pub(crate) struct OpenSession {
    sessions: OpenSessions,
    whose: Whose,
    number: u64,
    revoked: watch::Receiver<Option<&'static str>>,
}

impl OpenSessions {
    /// Registers a session. To be done before its trust or its rights are read.
    pub(crate) fn open(&self, whose: Whose) -> OpenSession {
        let mut table = self.table();
        table.opened += 1;
        let number = table.opened;
        let (sender, revoked) = watch::channel(None);
        table
            .open
            .entry(whose.clone())
            .or_default()
            .insert(number, sender);
        OpenSession {
            sessions: self.clone(),
            whose,
            number,
            revoked,
        }
    }

    /// Ends all of one's sessions, but this one. To be done after the change is on the disk. Gives how many there were.
    pub(crate) fn end(&self, whose: &Whose, but: Option<u64>, why: &'static str) -> usize {
        let table = self.table();
        let open = table.open.get(whose).into_iter().flatten();
        let ended: Vec<_> = open.filter(|(number, _)| Some(**number) != but).collect();
        for (_, session) in &ended {
            session.send_replace(Some(why));
        }
        ended.len()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenSession {
    fn is_revoked(&self) -> bool {
        self.revoked.borrow().is_some()
    }

    /// Waits until the session has to end, and says why. May be dropped and called again.
    pub(crate) async fn revoked(&self) -> &'static str {
        let mut revoked = self.revoked.clone();
        let why = revoked
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|why| *why);
        match why {
            Some(why) => why,
            None => std::future::pending().await, // never while the table has the session
        }
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        let mut table = self.sessions.table();
        if let Some(open) = table.open.get_mut(&self.whose) {
            open.remove(&self.number);
            if open.is_empty() {
                table.open.remove(&self.whose);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal(octet: u8) -> Whose {
        Whose::Terminal(TerminalId::from_octets([octet; 8]))
    }

    #[tokio::test]
    async fn a_loss_of_trust_ends_all_open_sessions_of_one_and_no_other() {
        let sessions = OpenSessions::default();
        let (one, same, other) = (
            sessions.open(terminal(1)),
            sessions.open(terminal(1)),
            sessions.open(terminal(2)),
        );
        assert_eq!(sessions.end(&terminal(1), None, "shut out"), 2);
        assert_eq!(
            (one.revoked().await, same.revoked().await),
            ("shut out", "shut out")
        );
        assert!(!other.is_revoked());
        assert!(Admitted::stock(&one).is_none() && Admitted::stock(&other).is_some());
        let later = sessions.open(terminal(1));
        assert!(
            !later.is_revoked(),
            "what begins after the change reads what is so then"
        );
    }

    #[test]
    fn the_session_that_enrols_a_key_goes_on_and_the_old_keys_ends() {
        let sessions = OpenSessions::default();
        let (old, new) = (sessions.open(terminal(1)), sessions.open(terminal(1)));
        assert_eq!(
            sessions.end(&terminal(1), Some(new.number), "its key was replaced"),
            1
        );
        assert!(old.is_revoked() && !new.is_revoked());
    }

    #[test]
    fn sessions_that_are_over_are_forgotten() {
        let sessions = OpenSessions::default();
        drop((sessions.open(terminal(1)), sessions.open(terminal(1))));
        assert!(sessions.table().open.is_empty());
    }
}
