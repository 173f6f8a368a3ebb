//! Reads the body of an AT command line, one command at a time.

mod extended;

use crate::settings::Flavour;
pub(crate) use extended::Switch;

/// One command (V.250 §6, Hayes and Rockwell for the rest).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Taken, but without effect on a virtual modem (speaker, flow control, modulation, compression).
    NoEffect,
    Echo(bool),
    Quiet(bool),
    Verbose(bool),
    /// `X`: how much of the call progress is reported.
    Progress(u8),
    /// `&C`: whether DCD follows the carrier or is always on.
    CarrierDetect(bool),
    /// `&D`: what is done when DTR goes off.
    DtrOff(u8),
    /// `Z` and `&F`.
    Reset(Reset),
    CallerId(CallerIdForm),
    /// `+VCID?` and `#CID?`; the prefix of the answer.
    ShowCallerId(&'static str),
    Switch(Switch, bool),
    ShowSwitch(Switch),
    /// A setting that is only remembered.
    Keep(&'static str, String),
    ShowKept(&'static str),
    SetRegister(usize, u8),
    ShowRegister(usize),
    /// `&V`.
    ShowProfile,
    /// A question with one answer.
    Show(&'static str),
    HangUp,
    OffHook,
    Answer,
    Online,
    Dial(DialString),
}

/// V.250 §6.1.1: the rest of a line after `Z` is ignored; after `&F` it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reset {
    Rest,
    Line,
}

/// How a caller's number is shown (V.253 §9.2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CallerIdForm {
    #[default]
    Off,
    Formatted,
    /// The packet of the line, in hexadecimal.
    Unformatted,
}

/// What follows `D`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DialString {
    /// What goes to the exchange.
    pub(crate) digits: String,
    /// How many `,` there are, each of them S8 seconds.
    pub(crate) pauses: u32,
    /// A `;` at the end: a call without carrier, the modem stays in command state.
    pub(crate) is_voice: bool,
}

/// The line holds something this modem does not know; answered with ERROR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unknown;

/// Commands that drivers send and that do nothing here, with the largest value each may have.
const WITHOUT_EFFECT: &[(&str, u8)] = &[
    ("B", 3),
    ("C", 1),
    ("L", 3),
    ("M", 3),
    ("N", 1),
    ("P", 0),
    ("T", 0),
    ("W", 3),
    ("&A", 3),
    ("&B", 2),
    ("&G", 2),
    ("&H", 3),
    ("&I", 5),
    ("&J", 1),
    ("&K", 6),
    ("&L", 1),
    ("&M", 6),
    ("&N", 255),
    ("&P", 3),
    ("&Q", 9),
    ("&R", 2),
    ("&S", 2),
    ("&U", 255),
    ("&W", 1),
    ("&X", 2),
    ("&Y", 3),
    ("\\A", 3),
    ("\\B", 9),
    ("\\C", 2),
    ("\\G", 1),
    ("\\J", 1),
    ("\\K", 5),
    ("\\L", 1),
    ("\\N", 7),
    ("\\Q", 6),
    ("\\T", 255),
    ("\\V", 9),
    ("\\X", 1),
    ("%A", 255),
    ("%B", 255),
    ("%C", 3),
    ("%E", 5),
    ("%L", 0),
    ("%Q", 0),
    ("\"H", 3),
    ("*C", 1),
];

/// A command line and how far it has been read.
#[derive(Debug, Default)]
pub(crate) struct CommandBody {
    line: Vec<u8>,
    next: usize,
}

impl CommandBody {
    pub(crate) fn new(line: Vec<u8>) -> Self {
        Self { line, next: 0 }
    }

    /// The next command; `None` at the end of the line. Equipment of another flavour has other commands.
    pub(crate) fn next_command(&mut self, flavour: Flavour) -> Result<Option<Command>, Unknown> {
        while self.take_if(b' ') || self.take_if(b';') {}
        let Some(letter) = self.take() else {
            return Ok(None);
        };
        let command = match letter {
            b'E' => Command::Echo(self.flag()?),
            b'Q' => Command::Quiet(self.flag()?),
            b'V' => Command::Verbose(self.flag()?),
            b'X' => Command::Progress(self.up_to(4)?),
            b'Z' => {
                self.up_to(9)?;
                Command::Reset(Reset::Rest)
            }
            b'I' => Command::Show(extended::identity(self.up_to(9)?)),
            b'H' => match self.flag()? {
                true => Command::OffHook,
                false => Command::HangUp,
            },
            b'A' => Command::Answer,
            b'O' => {
                // 1 and 3 ask for a retrain as well.
                self.up_to(3)?;
                Command::Online
            }
            b'D' => Command::Dial(self.dial_string()?),
            b'S' => self.register()?,
            b'+' | b'#' => self.extended(letter, flavour)?,
            b'&' => match self.peek() {
                Some(b'F') => self.with_number(1).map(|_| Command::Reset(Reset::Line))?,
                Some(b'C') => Command::CarrierDetect(self.with_number(1)? == 1),
                Some(b'D') => Command::DtrOff(self.with_number(3)?),
                Some(b'V') => self.with_number(1).map(|_| Command::ShowProfile)?,
                _ => self.without_effect("&")?,
            },
            b'\\' => self.without_effect("\\")?,
            b'%' => self.without_effect("%")?,
            b'"' => self.without_effect("\"")?,
            b'*' => self.without_effect("*")?,
            _ => {
                self.next -= 1;
                self.without_effect("")?
            }
        };
        Ok(Some(command))
    }

    fn peek(&self) -> Option<u8> {
        self.line.get(self.next).map(u8::to_ascii_uppercase)
    }

    fn take(&mut self) -> Option<u8> {
        let octet = self.peek()?;
        self.next += 1;
        Some(octet)
    }

    fn take_if(&mut self, wanted: u8) -> bool {
        let is_next = self.peek() == Some(wanted);
        self.next += usize::from(is_next);
        is_next
    }

    /// A decimal number, 0 if there is none (V.250 §5.4.1).
    fn number(&mut self) -> Result<u32, Unknown> {
        let mut number = 0_u32;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            self.next += 1;
            number = number
                .checked_mul(10)
                .and_then(|tens| tens.checked_add((digit - b'0').into()))
                .ok_or(Unknown)?;
        }
        Ok(number)
    }

    fn up_to(&mut self, max: u8) -> Result<u8, Unknown> {
        u8::try_from(self.number()?)
            .ok()
            .filter(|number| *number <= max)
            .ok_or(Unknown)
    }

    /// The letter that was only looked at, and its number.
    fn with_number(&mut self, max: u8) -> Result<u8, Unknown> {
        self.take();
        self.up_to(max)
    }

    fn flag(&mut self) -> Result<bool, Unknown> {
        Ok(self.up_to(1)? == 1)
    }

    /// One of [`WITHOUT_EFFECT`], the sign before its letter already taken.
    fn without_effect(&mut self, sign: &str) -> Result<Command, Unknown> {
        let letter = self.take().ok_or(Unknown)?;
        let known = WITHOUT_EFFECT.iter().find(|(name, _)| {
            name.strip_prefix(sign)
                .is_some_and(|rest| rest.as_bytes() == [letter])
        });
        let (_, max) = known.ok_or(Unknown)?;
        self.up_to(*max)?;
        Ok(Command::NoEffect)
    }

    fn register(&mut self) -> Result<Command, Unknown> {
        let register = usize::from(self.up_to(u8::MAX)?);
        match self.take() {
            Some(b'=') => Ok(Command::SetRegister(register, self.up_to(u8::MAX)?)),
            Some(b'?') => Ok(Command::ShowRegister(register)),
            _ => Err(Unknown),
        }
    }

    /// The rest of the line is the dial string (V.250 §6.3.1), except for what is after a `;`.
    fn dial_string(&mut self) -> Result<DialString, Unknown> {
        let mut dial = DialString::default();
        while let Some(character) = self.take() {
            match character {
                b'0'..=b'9' | b'*' | b'#' | b'+' => dial.digits.push(character.into()),
                b',' => dial.pauses += 1,
                b';' => {
                    dial.is_voice = true;
                    break;
                }
                // Tone or pulse, wait for tone or silence, flash, and what people put between digits.
                b'T' | b'P' | b'W' | b'@' | b'!' | b' ' | b'-' | b'.' | b'(' | b')' => {}
                _ => return Err(Unknown),
            }
        }
        Ok(dial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn commands(line: &str) -> Result<Vec<Command>, Unknown> {
        let mut body = CommandBody::new(line.into());
        let mut commands = Vec::new();
        while let Some(command) = body.next_command(Flavour::Analogue)? {
            commands.push(command);
        }
        Ok(commands)
    }

    #[test]
    fn several_commands_stand_on_one_line_in_either_case() {
        let wanted = [
            Command::Echo(false),
            Command::Quiet(false),
            Command::Verbose(true),
            Command::Progress(4),
            Command::CarrierDetect(true),
            Command::DtrOff(2),
            Command::NoEffect,
            Command::SetRegister(0, 0),
            Command::CallerId(CallerIdForm::Formatted),
            Command::HangUp,
        ];
        assert_eq!(
            commands("E0 q V1x4&c1&D2&K3S0=0+vcid=1;h0").as_deref(),
            Ok(&wanted[..])
        );
    }

    #[test]
    fn a_dial_string_keeps_its_digits_and_drops_what_only_people_need() {
        let dial = DialString {
            digits: "+49301234".into(),
            pauses: 2,
            is_voice: true,
        };
        assert_eq!(
            commands("DT +49 (30) 12-34,w,;"),
            Ok(vec![Command::Dial(dial)])
        );
    }

    #[test]
    fn a_command_that_is_not_known_or_out_of_range_is_an_error() {
        for line in [
            "Y",
            "E2",
            "X5",
            "S0",
            "S300=1",
            "S7=256",
            "+VCID",
            "+VCID=3",
            "+VCID=1E0",
            "+FOO=1",
            "#CI=1",
            "&",
            "&O",
            "&D4",
            "\\Z",
            "%",
            "DT20x1",
            "L99999999999",
        ] {
            assert_eq!(commands(line), Err(Unknown), "{line}");
        }
    }

    #[test]
    fn what_drivers_send_is_taken_without_effect() {
        for line in [
            "B0",
            "L1M1",
            "W2",
            "&H1&R2&B1",
            "\\N3%C0",
            "\\V1",
            "\"H3",
            "&Q5&S0&W",
            "*C1",
        ] {
            let commands = commands(line);
            assert!(
                commands.is_ok_and(|all| all.iter().all(|one| *one == Command::NoEffect)),
                "{line}"
            );
        }
    }
}
