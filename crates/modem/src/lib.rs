//! The AT dialogue with a modem: commands, results, rings and caller ID.
//!
//! Pure: octets and `now` come in, decisions go out; no clock, no port, no runtime. The same [`Dialogue`] is driven by
//! the terminal's starter (blocking, no async runtime) and by the server's lines (tokio).
//!
//! * [`Dialogue`]: initialise, wait for a ring, dial, answer (ITU-T V.250)
//! * [`ResultCode`]: what a modem says, verbose or numeric
//! * [`CallerId`]: who is calling, as far as the exchange tells
//! * [`CarrierWatch`]: notices `NO CARRIER` in the octets of a call, where no signal wire tells
//! * [`DialString`]: what is sent behind `ATD`; never a telephone number by itself

mod caller_id;
mod carrier_watch;
mod dial_string;
mod dialogue;
mod reader;
mod result_code;

pub use caller_id::{CallerId, CallerIdField};
pub use carrier_watch::{CARRIER_SILENCE, CarrierWatch};
pub use dial_string::{DIAL_STRING_CHARS_MAX, DialString, DialStringError};
pub use dialogue::{Dialogue, Event, Failure, Fault, Input, Output, Wake};
pub use reader::{LINE_OCTETS_MAX, Reader};
pub use result_code::ResultCode;
