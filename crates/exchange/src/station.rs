//! A station: a number on the exchange, the modem there, and what its line is doing.

use crate::{
    caller_id::Presented,
    config::StationConfig,
    number::Number,
    record::CallId,
    settings::{Presentation, Settings},
    virtual_modem::VirtualModem,
};
use std::time::Duration;

/// Unanswered calls in a row from which on a station waits for each dial tone, and that wait.
const UNANSWERED_MAX: u32 = 100;
const DIAL_TONE_WAIT: Duration = Duration::from_secs(1);

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
    pub(crate) settings: Settings,
    pub(crate) modem: VirtualModem,
    pub(crate) hook: Hook,
    /// Whether someone has the DTE's side open.
    pub(crate) has_dte: bool,
    /// Circuit 108: whether the DTE wants the modem to be on the line.
    pub(crate) is_dtr_on: bool,
    /// RTS: whether the DTE takes octets now.
    pub(crate) is_dte_ready: bool,
    /// Whether it is in the audible part of a ring.
    pub(crate) is_ringing_now: bool,
    /// As the DTE last knew them.
    pub(crate) signals: Signals,
    /// Unanswered calls from here, in a row.
    pub(crate) unanswered: u32,
}

/// What a modem shows on the circuits of its port. DSR and CTS are always on: the modem has power, and its buffer has a
/// bound of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// Circuit 109, DCD.
    pub carrier: bool,
    /// Circuit 125, RI.
    pub ring: bool,
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
    /// Off hook, the carrier just gone without a hang-up: the modem waits S10 for it to come back.
    Lost,
}

impl Station {
    pub(crate) fn new(config: &StationConfig) -> Self {
        Self {
            number: config.number.clone(),
            settings: config.settings.clone(),
            modem: VirtualModem::new(config.settings.flavour),
            hook: Hook::On,
            has_dte: false,
            is_dtr_on: false,
            is_dte_ready: true,
            is_ringing_now: false,
            signals: Signals::default(),
            unanswered: 0,
        }
    }

    /// How long it waits for a dial tone: not at all, unless its calls come to nothing again and again. A program that dials in a loop
    /// makes a record a second, not thousands.
    pub(crate) fn dial_tone_wait(&self) -> Duration {
        if self.unanswered < UNANSWERED_MAX {
            Duration::ZERO
        } else {
            DIAL_TONE_WAIT
        }
    }

    /// Whether the modem answers by itself at its `rings`th ring: never for a DTE that is not there to hear of it,
    /// unless it has been told to ignore DTR.
    pub(crate) fn answers_by_itself(&self, rings: u32) -> bool {
        let profile = &self.modem.profile;
        (self.is_dtr_on || profile.dtr_off == 0)
            && profile.rings_to_answer().is_some_and(|wait| rings >= wait)
    }

    pub(crate) fn shown_signals(&self) -> Signals {
        Signals {
            carrier: !self.modem.profile.is_dcd_true || self.modem.has_carrier(),
            ring: self.is_ringing_now,
        }
    }

    /// What the exchange sends with a call from here; `None` if the line sends nothing.
    pub(crate) fn presented(&self) -> Option<Presented> {
        match &self.settings.presentation {
            Presentation::Own => Some(Presented::Number(self.number.to_string())),
            Presentation::Other(number) => Some(Presented::Number(number.to_string())),
            Presentation::Withheld => Some(Presented::Withheld),
            Presentation::Unavailable => Some(Presented::Unavailable),
            Presentation::None => None,
        }
    }
}
