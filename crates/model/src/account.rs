//! Whom money counts for, and what is reserved of it for a call.

use std::fmt;
use std::time::Duration;

use jiff::civil::Date;
use line::CallId;

use crate::directory::Name;
use crate::money::Micros;

/// Whom an amount counts for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Account {
    /// Everything.
    Server,
    /// The terminal that is called.
    Terminal(Name),
    /// The provider whose message it is called for.
    Provider(Name),
    /// The line.
    Line(Name),
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("the server"),
            Self::Terminal(name) => write!(f, "the terminal {name}"),
            Self::Provider(name) => write!(f, "the provider {name}"),
            Self::Line(name) => write!(f, "the line {name}"),
        }
    }
}

/// What a call may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The call.
    pub call: CallId,
    /// The day it counts for.
    pub day: Date,
    /// What is reserved.
    pub amount: Micros,
    /// Longest time from dialling to the end: a moment later it would cost more than is reserved.
    pub longest: Duration,
    /// Whom it counts for.
    pub accounts: Vec<Account>,
    /// What each of them that has a budget may spend on that day.
    pub limits: Vec<(Account, Micros)>,
}
