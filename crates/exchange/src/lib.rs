//! A telephone exchange in software: what the rest of Ringup is tested against, and what the demo runs on.
//!
//! Every station is a number with a virtual Hayes modem behind a pseudo-terminal, a TCP port or a stream in memory.
//! Calls ring, present a caller, are answered, train, carry octets at an exact line rate with a one-way delay, and end
//! in one [`CallRecord`] that says what a telephone company would have billed.
//!
//! - [`Exchange`] is the whole exchange without clock, file or socket: feed it an [`Input`], drain its [`Output`]s.
//! - [`Running`] and [`run`] are that exchange on real ports and real time.
//!
//! This crate reads AT commands by itself and shares no code with `ringup-modem`, so that a mistake in one reading of
//! V.250 is not made twice.
//!
//! ```text
//!  DTE octets ─► virtual_modem ─► switchboard ─► call ─► circuit ─► virtual_modem ─► DTE octets
//!                (AT, escape)     (who, when)    (phase)  (rate, delay)
//! ```

mod call;
mod caller_id;
mod circuit;
mod com_port;
mod command;
mod command_line;
mod config;
mod escape;
mod noise;
mod number;
mod profile;
mod record;
mod settings;
mod shell;
mod station;
mod switchboard;
mod tariff;
mod telnet;
mod timers;
mod virtual_modem;

pub use config::{Config, ConfigError, Port, RingPattern, StationConfig};
pub use number::{Number, NumberError};
pub use record::{Bill, CallId, CallRecord, EndedBy, Outcome};
pub use settings::{CallerIdTiming, Flavour, Presentation, Settings};
pub use shell::{ExchangeError, Running, run};
pub use station::{Signals, StationId};
pub use switchboard::{
    CallState, CallStatus, Event, Exchange, Input, Output, StationState, StationStatus,
};
pub use tariff::{Micros, MonthlyBill, Payer, Tariff};
