//! Pure. The AT dialogue with a modem: commands, results, rings and caller ID.
//!
//! Octets and `now` come in, decisions go out; no clock, no port, no runtime. The same [`Dialogue`] is driven by
//! the terminal's starter (blocking, no async runtime) and by the server's lines (tokio).
//!
//! * [`Dialogue`]: initialise, wait for a ring, dial, answer (ITU-T V.250)
//! * [`Profile`], [`Setup`]: what is said to which modem, as data
//! * [`ResultCode`], [`RingKind`]: what a modem says, verbose or numeric
//! * [`CallerId`]: who is calling, as far as the exchange tells, in any of the [`DIALECTS`]
//! * [`HangUp`]: the escape sequence, where no wire hangs up
//! * [`CarrierWatch`]: notices `NO CARRIER` in the octets of a call, where no signal wire tells
//! * [`shown`]: what comes from a line or another machine, made harmless for terminals and logs; in this crate because every
//!   program has it
//! * [`DialString`]: what is sent behind `ATD`; never a telephone number by itself

mod caller_id;
mod caller_packet;
mod carrier_watch;
mod dial_string;
mod dialects;
mod dialogue;
mod hang_up;
mod profile;
mod reader;
mod result_code;
mod setup;
pub mod shown;

pub use caller_id::{CallerId, CallerIdField};
pub use carrier_watch::{CARRIER_SILENCE, CarrierWatch};
pub use dial_string::{DIAL_STRING_CHARS_MAX, DialString, DialStringError};
pub use dialects::{DIALECTS, Dialect};
pub use dialogue::{Dialogue, Event, Failure, Fault, Input, Output, Signals, Wake};
pub use hang_up::{HangUp, HangUpStep};
pub use profile::{Profile, ProfileError};
pub use reader::{LINE_OCTETS_MAX, Reader};
pub use result_code::{ResultCode, RingKind};
pub use setup::{ADDED_MAX, Command, CommandError, Setup};
