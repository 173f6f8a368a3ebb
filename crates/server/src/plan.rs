//! The dry run: who would be called when, on which line, at what price, as things stand. And what an operator has to do
//! with dispatch besides.

use std::time::Instant;

use delivery::TerminalId;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::waiting::Decided;
use model::directory::{Name, Terminal};
use store::NotCalled;

/// Entries of a plan that are told at once: the loop in which calls are decided waits meanwhile.
pub(crate) const PLAN_MAX: usize = 1000;

/// Something the operator wants of the loop in which calls are decided.
#[derive(Debug)]
pub(crate) enum Question {
    /// The plan: this number of entries, from the one after this terminal's on. `None`: nothing is planned for that terminal.
    Plan {
        /// Whose entry came last.
        after: Option<TerminalId>,
        /// How many entries.
        limit: usize,
        /// Where the answer goes.
        answer: oneshot::Sender<Option<Plan>>,
    },
    /// The store says that this terminal is paused.
    Paused(TerminalId, oneshot::Sender<()>),
    /// Call a terminal again that was paused, or whose calls failed for days.
    Resume(Terminal, oneshot::Sender<()>),
    /// Why a terminal is not called yet, and what happens next.
    Explain(Terminal, oneshot::Sender<Decided>),
    /// The directory has this terminal now.
    Added {
        /// The terminal.
        terminal: TerminalId,
        /// Its name.
        name: Name,
    },
    /// What this terminal may prove itself with is another now.
    TrustChanged(TerminalId),
    /// The directory had this terminal.
    Removed(TerminalId),
}

/// Where to ask.
pub(crate) type Questions = mpsc::Sender<Question>;

/// A part of the plan.
#[derive(Debug, Serialize)]
pub(crate) struct Plan {
    /// Who is called, in order.
    pub(crate) entries: Vec<PlanEntry>,
    /// Entries after these.
    pub(crate) more: usize,
    /// Terminals that messages wait for and that are not called, by the reason.
    pub(crate) not_called: Vec<NotCalled>,
}

/// One terminal for which something is to be done.
#[derive(Debug, Serialize)]
pub(crate) struct PlanEntry {
    /// Its name.
    pub(crate) terminal: String,
    /// Messages that wait for it.
    pub(crate) messages: u64,
    /// The urgency of the most urgent.
    pub(crate) urgency: Option<&'static str>,
    /// Why it is not called yet, or what is being done.
    pub(crate) why: String,
    /// When it will be called at the earliest; none: it hangs on something that has no time.
    pub(crate) at: Option<Timestamp>,
    /// The line it would be called on.
    pub(crate) line: Option<String>,
    /// What a call of a minute would cost then.
    pub(crate) price: Option<String>,
    /// Calls in a row that failed.
    pub(crate) failures: u8,
}

/// The time on the wall of a moment on the other clock.
pub(crate) fn wall(at: Instant) -> Timestamp {
    let ahead =
        SignedDuration::try_from(at.saturating_duration_since(Instant::now())).unwrap_or_default();
    let at = Timestamp::now()
        .checked_add(ahead)
        .unwrap_or(Timestamp::MAX);
    at.round(jiff::Unit::Second).unwrap_or(at)
}

/// Asks, and waits for the answer. `None`: the server is stopping.
pub(crate) async fn ask<T>(
    questions: &Questions,
    question: impl FnOnce(oneshot::Sender<T>) -> Question,
) -> Option<T> {
    let (sender, answer) = oneshot::channel();
    questions.send(question(sender)).await.ok()?;
    answer.await.ok()
}
