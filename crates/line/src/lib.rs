//! A telephone line: numbers, rings, screening, and one call as a byte stream.
//!
//! * [`Number`]: who is called, who calls; [`CallId`]: one attempt
//! * [`PortAddress`], [`Port`]: where a modem is attached (a serial device, a pseudo-terminal, a TCP port)
//! * [`ModemLine`]: a modem on a port, driven by [`modem::Dialogue`]: waits for rings, dials, answers
//! * [`RingWatch`], [`Ring`]: an incoming call that is not yet answered, with what is known of the caller
//! * [`Screening`]: answer or refuse, decided from the caller's number before anything costs money (pure)
//! * [`Call`]: an answered call as a byte stream; dropping it hangs up
//!
//! One ring's way: port → dialogue → [`RingWatch`] → [`Screening`] → `ATA` or silence → [`Call`].

mod async_port;
mod call;
mod call_id;
mod hours;
mod lock_file;
mod modem_line;
mod number;
mod numbering;
mod port;
mod ring;
mod screening;
mod serial_server;
mod telnet;

pub use async_port::AsyncPort;
pub use call::{Call, UNKNOWN_RATE_BPS};
pub use call_id::{CallId, CallIdError};
pub use hours::{Hours, WeekMinute, Window, WindowError};
pub use lock_file::LockFile;
pub use modem_line::{DialFailure, LineError, ModemLine};
pub use number::{Number, NumberError};
pub use numbering::{Forbidden, Home, HomeError, check_dialled};
pub use port::{DTR_LOW, Port, PortAddress, PortAddressError, PortError, Woken};
pub use ring::{CALLER_ID_WAIT, Caller, QUIET_AFTER, RING_APART, Ring, RingInput, RingWatch};
pub use screening::{Action, ActionError, Decision, RATE_PERIOD, RefusalReason, Rule, Screening};
