//! Pure: which terminal is called when, on which line, and what it may cost. Events and the time come in, actions go out.
//!
//! [`Calling`] is the whole of it: it drives [`dispatch`] and [`ledger`], and says what the store is to do before anything is
//! dialled. The server and the simulator are two shells around it.

mod action;
mod calendar;
mod calls;
pub mod dispatch;
mod event;
pub mod ledger;
mod money;

pub use action::{Action, Beginning, Job, Order};
pub use calendar::TerminalConditions;
pub use calls::{Calling, Policy, QUARANTINE_REASON};
pub use event::{Candidate, Event, Found, Known, Recalled, Recovered, Waits};
pub use money::{Allowance, Money, UNSEEN};
