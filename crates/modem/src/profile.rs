//! What is said to which modem, as data.
//!
//! The order is every profile's: reset; no echo, verbose results; **no automatic answer**; signals and flow control;
//! caller ID, again after every reset, since many modems forget it there. `docs/modems.md` says for each profile what
//! it was checked against.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A kind of modem: how it is initialised, dialled, refused and hung up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Profile(&'static Data);

/// A text that names no profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no modem profile; there are {known}", known = Profile::ALL.map(|profile| profile.name()).join(", "))]
pub struct ProfileError(String);

/// One command of the ladder. Where `is_required` is false, ERROR is an answer, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step<'a> {
    pub(crate) command: &'a str,
    pub(crate) is_required: bool,
}

#[derive(PartialEq, Eq)]
struct Data {
    name: &'static str,
    about: &'static str,
    init: &'static [Step<'static>],
    /// What stands before the dial string.
    dial: &'static str,
    /// What stands behind it when the call is only to ring: `;` keeps a GSM modem in command mode (TS 27.007 §6.2).
    ring_suffix: &'static str,
    /// Ends a call that is being set up, from command mode. `None`: any character does (V.250 §6.3.1).
    abort: Option<&'static str>,
    /// Refuses a call that rings. `None`: an analogue line knows no refusal but silence.
    refuse: Option<&'static str>,
    /// From `ATA` to CONNECT.
    answer_timeout: Duration,
}

const fn must(command: &'static str) -> Step<'static> {
    Step {
        command,
        is_required: true,
    }
}

const fn may(command: &'static str) -> Step<'static> {
    Step {
        command,
        is_required: false,
    }
}

/// A modem that knows no stored profile says ERROR; what follows says all that counts.
const RESET: Step<'_> = may("ATZ");
/// No echo, result codes, in words.
const ECHO_OFF: Step<'_> = must("ATE0Q0V1");
/// Dial tone and busy are told (V.250 §6.3.4); some know one way only.
const PROGRESS: Step<'_> = may("ATX4");
/// Never more than 0: an automatic answer comes before the caller's number is known (V.250 §6.3.8).
const NO_AUTOMATIC_ANSWER: Step<'_> = must("ATS0=0");
/// Carrier shown by DCD, hang up when DTR drops (V.250 §6.2.8, §6.2.9).
const SIGNALS: Step<'_> = may("AT&C1&D2");
/// RTS/CTS, as most modems spell it.
const FLOW: Step<'_> = may("AT&K3");

/// TS 27.005 §3.2.3, §3.4.1: no message and no report is sent to the port.
const MESSAGES_IN_HEX: Step<'_> = may("AT+CMGF=0");
const MESSAGES_KEPT: Step<'_> = may("AT+CNMI=2,0,0,0,0");

/// V.34 trains in 8 to 12 s; V.250 S7 defaults to 50 s.
const WIRED_ANSWER: Duration = Duration::from_secs(60);

static GENERIC: Data = Data {
    name: "generic",
    about: "any modem after V.250: tries the usual ways to caller ID",
    init: &[
        RESET,
        ECHO_OFF,
        PROGRESS,
        NO_AUTOMATIC_ANSWER,
        SIGNALS,
        FLOW,
        // Conexant, Agere, USR5637; then Rockwell.
        may("AT+VCID=1"),
        may("AT#CID=1"),
    ],
    dial: "ATDT",
    ring_suffix: "",
    abort: None,
    refuse: None,
    answer_timeout: WIRED_ANSWER,
};

static USR: Data = Data {
    name: "usr",
    about: "U.S. Robotics Courier, Sportster, USR5637",
    init: &[
        RESET,
        ECHO_OFF,
        PROGRESS,
        NO_AUTOMATIC_ANSWER,
        SIGNALS,
        // RTS/CTS each way is two commands there; the USR5637, which is a Conexant, knows the other one.
        may("AT&H1&R2"),
        FLOW,
        may("AT+VCID=1"),
        may("AT#CID=1"),
    ],
    ..generic()
};

static CONEXANT: Data = Data {
    name: "conexant",
    about: "Conexant CX930xx USB modems",
    // Some sold under other names want -SCID before +VCID (Dell RD02-D400).
    init: &[
        RESET,
        ECHO_OFF,
        PROGRESS,
        NO_AUTOMATIC_ANSWER,
        SIGNALS,
        FLOW,
        may("AT-SCID=1"),
        may("AT+VCID=1"),
    ],
    ..generic()
};

static ROCKWELL: Data = Data {
    name: "rockwell",
    about: "Rockwell chips and their kin",
    // W1: CARRIER and PROTOCOL before CONNECT, so that the line's rate is known and not the port's.
    init: &[
        RESET,
        ECHO_OFF,
        PROGRESS,
        NO_AUTOMATIC_ANSWER,
        SIGNALS,
        FLOW,
        may("ATW1"),
        may("AT#CID=1"),
    ],
    ..generic()
};

static MULTITECH: Data = Data {
    name: "multitech",
    about: "MultiTech MT2834 and later",
    init: &[
        RESET,
        ECHO_OFF,
        PROGRESS,
        NO_AUTOMATIC_ANSWER,
        SIGNALS,
        FLOW,
        may("AT*C1"),
        may("AT+VCID=1"),
    ],
    ..generic()
};

static GSM: Data = Data {
    name: "gsm",
    about: "GSM and LTE modems (TS 27.007): +CLIP, +CRC, explicit refusal",
    init: &[
        RESET,
        ECHO_OFF,
        NO_AUTOMATIC_ANSWER,
        SIGNALS,
        may("AT+CMEE=1"),
        // Messages stay in the modem: their text is a stranger's. Where one is told all the same, it is in hex.
        MESSAGES_IN_HEX,
        MESSAGES_KEPT,
        // The kind of call with each RING; the caller's number.
        may("AT+CRC=1"),
        may("AT+CLIP=1"),
    ],
    dial: "ATD",
    ring_suffix: ";",
    abort: Some("AT+CHUP"),
    refuse: Some("AT+CHUP"),
    answer_timeout: WIRED_ANSWER,
};

static ISDN: Data = Data {
    name: "isdn",
    about: "ISDN terminal adapters; those that must be asked for the caller by a command of their own need `init`",
    init: &[
        RESET,
        ECHO_OFF,
        NO_AUTOMATIC_ANSWER,
        SIGNALS,
        FLOW,
        may("AT+VCID=1"),
        may("AT+CLIP=1"),
    ],
    dial: "ATD",
    // A call that rings is rejected on the D channel: nobody pays.
    refuse: Some("ATH"),
    // A digital call is through in a second or two.
    answer_timeout: Duration::from_secs(20),
    ..generic()
};

static IRIDIUM: Data = Data {
    name: "iridium",
    about: "Iridium 9522 and 9523: circuit-switched data, ring alerts",
    init: &[
        RESET,
        ECHO_OFF,
        NO_AUTOMATIC_ANSWER,
        // &D0 is their default: a dropped DTR would be ignored.
        SIGNALS,
        may("AT&K3"),
        // 9600 bit/s V.110 or V.32, non-transparent.
        may("AT+CBST=71,0,1"),
        MESSAGES_IN_HEX,
        MESSAGES_KEPT,
        may("AT+CRC=1"),
        may("AT+CLIP=1"),
        may("AT+SBDMTA=1"),
        may("ATS7=90"),
    ],
    dial: "ATD",
    abort: Some("AT+CHUP"),
    refuse: Some("AT+CHUP"),
    answer_timeout: Duration::from_secs(90),
    ..generic()
};

const fn generic() -> Data {
    Data {
        name: "",
        about: "",
        init: &[],
        dial: "ATDT",
        ring_suffix: "",
        abort: None,
        refuse: None,
        answer_timeout: WIRED_ANSWER,
    }
}

impl Profile {
    /// A modem of which nothing is known but that it follows V.250.
    pub const GENERIC: Profile = Profile(&GENERIC);

    /// All there are.
    pub const ALL: [Profile; 8] = [
        Profile::GENERIC,
        Profile(&USR),
        Profile(&CONEXANT),
        Profile(&ROCKWELL),
        Profile(&MULTITECH),
        Profile(&GSM),
        Profile(&ISDN),
        Profile(&IRIDIUM),
    ];

    /// As a configuration names it.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// What it is for, in a line.
    pub fn about(self) -> &'static str {
        self.0.about
    }

    /// Whether a call that rings can be refused by a command; else silence is the refusal.
    pub fn can_refuse(self) -> bool {
        self.0.refuse.is_some()
    }

    pub(crate) fn init(self) -> &'static [Step<'static>] {
        self.0.init
    }

    pub(crate) fn dial(self) -> &'static str {
        self.0.dial
    }

    pub(crate) fn ring_suffix(self) -> &'static str {
        self.0.ring_suffix
    }

    pub(crate) fn abort(self) -> &'static str {
        self.0.abort.unwrap_or_default()
    }

    pub(crate) fn refuse(self) -> Option<&'static str> {
        self.0.refuse
    }

    pub(crate) fn answer_timeout(self) -> Duration {
        self.0.answer_timeout
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self::GENERIC
    }
}

impl FromStr for Profile {
    type Err = ProfileError;

    fn from_str(name: &str) -> Result<Self, ProfileError> {
        Self::ALL
            .into_iter()
            .find(|profile| profile.name() == name)
            .ok_or_else(|| ProfileError(name.to_owned()))
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Profile({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_resets_then_turns_automatic_answer_off_and_asks_for_the_caller_after_that() {
        for profile in Profile::ALL {
            let place = |wanted: fn(&str) -> bool| {
                profile.init().iter().position(|step| wanted(step.command))
            };
            let reset = place(|command| command == "ATZ").unwrap();
            let silent = place(|command| command == "ATS0=0").unwrap();
            let caller = place(|command| {
                ["CID=1", "+CLIP=1", "*C1"]
                    .iter()
                    .any(|end| command.ends_with(end))
            })
            .unwrap();
            assert!(reset == 0 && silent < caller, "{profile}");
            assert!(profile.init()[silent].is_required, "{profile}");
            assert!(
                !profile
                    .init()
                    .iter()
                    .any(|step| step.command.contains("S0=1")),
                "{profile}"
            );
        }
    }

    #[test]
    fn a_profile_is_found_by_its_name_and_a_wrong_name_lists_them() {
        for profile in Profile::ALL {
            assert_eq!(profile.name().parse(), Ok(profile));
        }
        let error = "hayes".parse::<Profile>().unwrap_err().to_string();
        assert!(error.contains("generic, usr, conexant"), "{error}");
    }
}
