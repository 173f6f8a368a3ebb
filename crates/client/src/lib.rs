//! The terminal: a resident starter, and the programs that a ring starts.
//!
//! One ring's way: [`starter`] (resident, tiny) → `ringup answer` = [`answer`] (screening, then ATA or silence) →
//! [`session`] (PPP, connected notice, receive) → [`inbox`] (on the disk, then the receipt) → hang up → the starter
//! waits again, with the modem initialised anew.
//!
//! What the terminal itself has to say waits in the [`outbox`]; the [`sender`] says when a call is worth it.
//!
//! The only room that dials is [`connector`], and it dials what the [`budget`] allows.

mod agreements;
pub mod answer;
pub mod budget;
pub mod connector;
pub mod handover;
pub mod identity;
pub mod inbox;
pub mod outbox;
pub mod refused;
pub mod sender;
mod service_manager;
pub mod session;
mod shelf;
pub mod starter;
pub mod submission;
