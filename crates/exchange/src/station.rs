//! A station: a number on the exchange, the modem there, and what its line is doing.

use crate::{
    config::{Presentation, StationConfig},
    number::Number,
    record::CallId,
    virtual_modem::VirtualModem,
};
use std::time::Duration;

/// Names a station of one [`Exchange`](crate::Exchange): its place in the configuration, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StationId(pub(crate) u32);

impl StationId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug)]
pub(crate) struct Station {
    pub(crate) number: Number,
    pub(crate) presentation: Presentation,
    pub(crate) is_out_of_service: bool,
    /// From answering here to CONNECT.
    pub(crate) training: Duration,
    pub(crate) modem: VirtualModem,
    pub(crate) hook: Hook,
    /// DTR: whether someone has the DTE's side open.
    pub(crate) has_dte: bool,
    /// RTS: whether the DTE takes octets now.
    pub(crate) is_dte_ready: bool,
}

/// What the line of a station is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    On,
    /// Off hook with no call (`ATH1`).
    Off,
    /// Off hook, still in the pauses of its dial string.
    Pausing {
        digits: String,
        is_voice: bool,
    },
    /// On hook, and it rings.
    Ringing(CallId),
    /// Off hook in a call: calling, training or connected.
    InCall(CallId),
}

impl Station {
    pub(crate) fn new(config: &StationConfig) -> Self {
        Self {
            number: config.number.clone(),
            presentation: config.presentation.clone(),
            is_out_of_service: config.is_out_of_service,
            training: config.training,
            modem: VirtualModem::new(),
            hook: Hook::On,
            has_dte: false,
            is_dte_ready: true,
        }
    }

    /// What the exchange sends with a call from here; `None` if the line sends nothing.
    pub(crate) fn presented(&self) -> Option<String> {
        match &self.presentation {
            Presentation::Own => Some(self.number.to_string()),
            Presentation::Other(number) => Some(number.to_string()),
            // V.253 Table 2: `P` stands for a number withheld by the caller.
            Presentation::Withheld => Some("P".to_owned()),
            Presentation::None => None,
        }
    }
}
