//! Reads the body of an AT command line, one command at a time.

/// One command (V.250 §6, Hayes and Rockwell for the rest).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Taken, but without effect on a virtual modem (speaker, flow control, what DCD does).
    NoEffect,
    Echo(bool),
    Quiet(bool),
    Verbose(bool),
    /// `X`: how much of the call progress is reported.
    Progress(u8),
    /// `Z` and `&F`.
    Reset(Reset),
    CallerId(bool),
    ShowCallerId(CallerIdDialect),
    SetRegister(usize, u8),
    ShowRegister(usize),
    Identify,
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

/// The two spellings of the caller ID command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallerIdDialect {
    /// `+VCID` (V.253).
    Vcid,
    /// `#CID` (Rockwell).
    Cid,
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

    /// The next command; `None` at the end of the line.
    pub(crate) fn next_command(&mut self) -> Result<Option<Command>, Unknown> {
        while self.take_if(b' ') || self.take_if(b';') {}
        let Some(letter) = self.take() else { return Ok(None) };
        let command = match letter {
            b'E' => Command::Echo(self.flag()?),
            b'Q' => Command::Quiet(self.flag()?),
            b'V' => Command::Verbose(self.flag()?),
            b'X' => Command::Progress(self.up_to(4)?),
            b'L' | b'M' => self.no_effect(3)?,
            b'Z' => {
                self.up_to(9)?;
                Command::Reset(Reset::Rest)
            }
            b'I' => {
                self.up_to(9)?;
                Command::Identify
            }
            b'H' => match self.flag()? {
                true => Command::OffHook,
                false => Command::HangUp,
            },
            b'A' => Command::Answer,
            b'O' => {
                self.up_to(1)?;
                Command::Online
            }
            b'D' => Command::Dial(self.dial_string()?),
            b'S' => self.register()?,
            b'&' => match self.take() {
                Some(b'F') => {
                    self.up_to(1)?;
                    Command::Reset(Reset::Line)
                }
                Some(b'C') => self.no_effect(1)?,
                Some(b'D') => self.no_effect(3)?,
                Some(b'K') => self.no_effect(6)?,
                _ => return Err(Unknown),
            },
            b'+' => self.caller_id("VCID", CallerIdDialect::Vcid)?,
            b'#' => self.caller_id("CID", CallerIdDialect::Cid)?,
            _ => return Err(Unknown),
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
            number = number.checked_mul(10).and_then(|tens| tens.checked_add((digit - b'0').into())).ok_or(Unknown)?;
        }
        Ok(number)
    }

    fn up_to(&mut self, max: u8) -> Result<u8, Unknown> {
        u8::try_from(self.number()?).ok().filter(|number| *number <= max).ok_or(Unknown)
    }

    fn flag(&mut self) -> Result<bool, Unknown> {
        Ok(self.up_to(1)? == 1)
    }

    fn no_effect(&mut self, max: u8) -> Result<Command, Unknown> {
        self.up_to(max)?;
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

    fn caller_id(&mut self, name: &str, dialect: CallerIdDialect) -> Result<Command, Unknown> {
        if !name.bytes().all(|letter| self.take_if(letter)) {
            return Err(Unknown);
        }
        let command = match self.take() {
            Some(b'=') => Command::CallerId(self.flag()?),
            Some(b'?') => Command::ShowCallerId(dialect),
            _ => return Err(Unknown),
        };
        // V.250 §5.4.4: an extended command ends at a `;` or with the line; Rockwell's own do not need it.
        match (dialect, self.peek()) {
            (CallerIdDialect::Vcid, Some(next)) if next != b';' && next != b' ' => Err(Unknown),
            _ => Ok(command),
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

    fn commands(line: &str) -> Result<Vec<Command>, Unknown> {
        let mut body = CommandBody::new(line.into());
        let mut commands = Vec::new();
        while let Some(command) = body.next_command()? {
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
            Command::NoEffect,
            Command::NoEffect,
            Command::NoEffect,
            Command::SetRegister(0, 0),
            Command::CallerId(true),
            Command::HangUp,
        ];
        assert_eq!(commands("E0 q V1x4&c1&D2&K3S0=0+vcid=1;h0").as_deref(), Ok(&wanted[..]));
    }

    #[test]
    fn a_dial_string_keeps_its_digits_and_drops_what_only_people_need() {
        let dial = DialString { digits: "+49301234".into(), pauses: 2, is_voice: true };
        assert_eq!(commands("DT +49 (30) 12-34,w,;"), Ok(vec![Command::Dial(dial)]));
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
            "+VCID=2",
            "+VCID=1E0",
            "+FOO=1",
            "#CI=1",
            "&",
            "&Q",
            "DT20x1",
            "L99999999999",
        ] {
            assert_eq!(commands(line), Err(Unknown), "{line}");
        }
    }
}
