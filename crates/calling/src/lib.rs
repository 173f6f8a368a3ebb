//! Pure: which terminal is called when, on which line, and what it may cost. Events and the time come in, decisions go out.

pub mod dispatch;
pub mod ledger;
