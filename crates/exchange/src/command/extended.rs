//! Extended commands, `+NAME` and Rockwell's `#CID`, as a table.

use super::{CallerIdForm, Command, CommandBody, Unknown};
use crate::settings::Flavour;

/// Settings that are on or off and have an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Switch {
    /// `+CLIP`: the number comes with each ring (3GPP 27.007 §7.6).
    Clip,
    /// `+CRC`: rings say what kind of call it is (3GPP 27.007 §6.11).
    RingKind,
    /// `+MR`: modulation and rates are told before CONNECT (V.250 §6.4.3).
    ModulationReport,
    /// `+ER`: so is error control (V.250 §6.5.5).
    ErrorControlReport,
    /// `+DR`: so is compression (V.250 §6.6.3).
    CompressionReport,
}

impl Switch {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Clip => "+CLIP",
            Self::RingKind => "+CRC",
            Self::ModulationReport => "+MR",
            Self::ErrorControlReport => "+ER",
            Self::CompressionReport => "+DR",
        }
    }
}

/// What an extended command is.
#[derive(Clone, Copy)]
enum Kind {
    CallerId,
    Switch(Switch),
    HangUp,
    /// Says who made the modem.
    Identity(u8),
    /// Has one value only, and says so.
    Fixed {
        value: &'static str,
        shown: &'static str,
        range: &'static str,
    },
    /// Remembered, without effect.
    Kept,
}

/// Who has a command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    All,
    Gsm,
    NotGsm,
}

use Kind::{CallerId, Fixed, HangUp, Identity, Kept};
use Who::{All, Gsm, NotGsm};

const EXTENDED: &[(&str, Who, Kind)] = &[
    ("+VCID", NotGsm, CallerId),
    ("#CID", NotGsm, CallerId),
    ("+CLIP", Gsm, Kind::Switch(Switch::Clip)),
    ("+CRC", Gsm, Kind::Switch(Switch::RingKind)),
    ("+MR", All, Kind::Switch(Switch::ModulationReport)),
    ("+ER", All, Kind::Switch(Switch::ErrorControlReport)),
    ("+DR", All, Kind::Switch(Switch::CompressionReport)),
    ("+CHUP", Gsm, HangUp),
    ("+GMI", All, Identity(3)),
    ("+GMM", All, Identity(0)),
    ("+GMR", All, Identity(1)),
    ("+GSN", All, Identity(2)),
    ("+GCAP", All, Identity(6)),
    ("+CGMI", Gsm, Identity(3)),
    ("+CGMM", Gsm, Identity(0)),
    ("+CGMR", Gsm, Identity(1)),
    ("+CGSN", Gsm, Identity(2)),
    // Neither fax nor voice; wvdial and mgetty ask.
    (
        "+FCLASS",
        All,
        Fixed {
            value: "0",
            shown: "0",
            range: "0",
        },
    ),
    (
        "+CPIN",
        Gsm,
        Fixed {
            value: "",
            shown: "+CPIN: READY",
            range: "",
        },
    ),
    (
        "+CFUN",
        Gsm,
        Fixed {
            value: "1",
            shown: "+CFUN: 1",
            range: "+CFUN: (1)",
        },
    ),
    (
        "+CREG",
        Gsm,
        Fixed {
            value: "0",
            shown: "+CREG: 0,1",
            range: "+CREG: (0)",
        },
    ),
    ("+CBST", Gsm, Kept),
    ("+CHSN", Gsm, Kept),
    ("+CMEE", Gsm, Kept),
    ("+COPS", Gsm, Kept),
    ("+CR", Gsm, Kept),
    ("+CRLP", Gsm, Kept),
    ("+CSNS", Gsm, Kept),
    ("+A8E", All, Kept),
    ("+DS", All, Kept),
    ("+DS44", All, Kept),
    ("+EB", All, Kept),
    ("+EFCS", All, Kept),
    ("+EFRAM", All, Kept),
    ("+ES", All, Kept),
    ("+ESR", All, Kept),
    ("+ETBM", All, Kept),
    ("+EWIND", All, Kept),
    ("+GCI", All, Kept),
    ("+ICF", All, Kept),
    ("+IFC", All, Kept),
    ("+ILRR", All, Kept),
    ("+IPR", All, Kept),
    ("+ITF", All, Kept),
    ("+MS", All, Kept),
    ("+MSC", All, Kept),
    ("+MV18S", All, Kept),
    ("+PCW", All, Kept),
    ("+PIG", All, Kept),
    ("+PMH", All, Kept),
    ("+PQC", All, Kept),
    ("+PSS", All, Kept),
    ("+VDR", NotGsm, Kept),
    ("+VDT", NotGsm, Kept),
    ("+VRID", NotGsm, Kept),
];

/// Longest name in the table, and then some: what is longer is not read on.
const NAME_OCTETS_MAX: usize = 8;
/// Longest value that is remembered.
const VALUE_OCTETS_MAX: usize = 64;

/// What `I` with a number says.
pub(super) fn identity(number: u8) -> &'static str {
    match number {
        1 => "1.0",
        2 => "OK SUM",
        3 => "RINGUP",
        6 => "+GCAP: +MS,+ES,+DS",
        _ => "VIRTUAL MODEM",
    }
}

impl CommandBody {
    /// `sign` has been taken.
    pub(super) fn extended(&mut self, sign: u8, flavour: Flavour) -> Result<Command, Unknown> {
        let mut name = String::from(char::from(sign));
        while let Some(letter @ (b'A'..=b'Z' | b'0'..=b'9')) = self.peek() {
            if name.len() > NAME_OCTETS_MAX {
                return Err(Unknown);
            }
            name.push(letter.into());
            self.take();
        }
        let (name, who, kind) = *EXTENDED
            .iter()
            .find(|(known, ..)| *known == name)
            .ok_or(Unknown)?;
        if matches!(
            (who, flavour),
            (Gsm, Flavour::Analogue | Flavour::Isdn) | (NotGsm, Flavour::Gsm)
        ) {
            return Err(Unknown);
        }
        let asked = if self.take_if(b'?') {
            Asked::Value
        } else if self.take_if(b'=') {
            if self.take_if(b'?') {
                Asked::Range
            } else {
                Asked::Set
            }
        } else {
            Asked::Do
        };
        match (kind, asked) {
            (CallerId, Asked::Set) => Ok(Command::CallerId(match self.up_to(2)? {
                0 => CallerIdForm::Off,
                1 => CallerIdForm::Formatted,
                _ => CallerIdForm::Unformatted,
            })),
            (CallerId, Asked::Value) => Ok(Command::ShowCallerId(if sign == b'+' {
                "+VCID: "
            } else {
                ""
            })),
            (CallerId, Asked::Range) => Ok(Command::Show("(0-2)")),
            (Kind::Switch(switch), Asked::Set) => Ok(Command::Switch(switch, self.flag()?)),
            (Kind::Switch(switch), Asked::Value) => Ok(Command::ShowSwitch(switch)),
            (Kind::Switch(_), Asked::Range) => Ok(Command::Show("(0,1)")),
            (HangUp, Asked::Do) => Ok(Command::HangUp),
            (HangUp, Asked::Range) => Ok(Command::NoEffect),
            (Identity(number), Asked::Do | Asked::Value) => Ok(Command::Show(identity(number))),
            (Identity(_), Asked::Range) => Ok(Command::NoEffect),
            (Fixed { shown, .. }, Asked::Value) => Ok(Command::Show(shown)),
            (Fixed { range, .. }, Asked::Range) => Ok(Command::Show(range)),
            (Fixed { value, .. }, Asked::Set) if self.value()? == value => Ok(Command::NoEffect),
            (Kept, Asked::Set) => Ok(Command::Keep(name, self.value()?)),
            (Kept, Asked::Value) => Ok(Command::ShowKept(name)),
            (Kept, Asked::Range) => Ok(Command::NoEffect),
            // V.250 §5.4.3.1: an action without parameters; of the kept ones `+COPS` alone would be none.
            _ => Err(Unknown),
        }
        .and_then(|command| {
            // V.250 §5.4.4: an extended command ends at a `;` or with the line; Rockwell's own do not need it.
            match self.peek() {
                Some(next) if sign == b'+' && next != b';' && next != b' ' => Err(Unknown),
                _ => Ok(command),
            }
        })
    }

    /// Everything up to a `;` outside quotes.
    fn value(&mut self) -> Result<String, Unknown> {
        let mut value = String::new();
        let mut is_quoted = false;
        while let Some(octet) = self.peek().filter(|octet| is_quoted || *octet != b';') {
            if !(b' '..=b'~').contains(&octet) || value.len() == VALUE_OCTETS_MAX {
                return Err(Unknown);
            }
            is_quoted ^= octet == b'"';
            value.push(octet.into());
            self.take();
        }
        Ok(value)
    }
}

/// How an extended command is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// `+X`
    Do,
    /// `+X=1`
    Set,
    /// `+X?`
    Value,
    /// `+X=?`
    Range,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(line: &str, flavour: Flavour) -> Result<Option<Command>, Unknown> {
        CommandBody::new(line.into()).next_command(flavour)
    }

    #[test]
    fn equipment_of_one_flavour_does_not_know_the_commands_of_the_other() {
        for line in ["+CLIP=1", "+CHUP", "+CRC=1", "+CBST=7,0,1"] {
            assert!(first(line, Flavour::Gsm).is_ok(), "{line}");
            assert_eq!(first(line, Flavour::Analogue), Err(Unknown), "{line}");
            assert_eq!(first(line, Flavour::Isdn), Err(Unknown), "{line}");
        }
        assert_eq!(first("+VCID=1", Flavour::Gsm), Err(Unknown));
    }

    #[test]
    fn a_value_goes_to_the_semicolon_and_not_beyond_what_is_kept() {
        let mut body = CommandBody::new(b"+MS=V34,1,0,33600;+COPS=1,\"a;b\";E0".to_vec());
        let kept = |name, value: &str| Ok(Some(Command::Keep(name, value.into())));
        assert_eq!(
            body.next_command(Flavour::Gsm),
            kept("+MS", "V34,1,0,33600")
        );
        assert_eq!(body.next_command(Flavour::Gsm), kept("+COPS", "1,\"A;B\""));
        assert_eq!(
            body.next_command(Flavour::Gsm),
            Ok(Some(Command::Echo(false)))
        );
        assert_eq!(
            first(&format!("+MS={}", "1".repeat(65)), Flavour::Analogue),
            Err(Unknown)
        );
    }

    #[test]
    fn a_class_that_is_not_there_is_an_error_and_the_one_that_is_there_is_told() {
        assert_eq!(
            first("+FCLASS=0", Flavour::Analogue),
            Ok(Some(Command::NoEffect))
        );
        assert_eq!(
            first("+FCLASS=?", Flavour::Analogue),
            Ok(Some(Command::Show("0")))
        );
        assert_eq!(first("+FCLASS=8", Flavour::Analogue), Err(Unknown));
    }
}
