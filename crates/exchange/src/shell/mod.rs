//! The exchange on real ports and real time: the only part that reads a clock, a file or a socket.
//!
//! ```text
//!  pty ┐                     events                            records ─► file, subscribers
//!  TCP ├─ one port task ───────────────► one switchboard task ┤
//!  mem ┘   for a station ◄───────────────  (owns Exchange)     events ──► log
//!                          octets, credit
//! ```
//!
//! Memory is bounded both ways: a port reads from its DTE only what the modem has granted it room for, and the
//! switchboard tells the modem that the DTE is not ready while too much of what it was given is unwritten.

mod control;
mod desk;
mod port;
mod pty;
mod rfc2217;
mod running;

pub use running::{ExchangeError, Running, run};
