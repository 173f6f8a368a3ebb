//! How one modem is to be initialised: its profile, and what an operator adds.

use std::fmt;
use std::str::FromStr;

use crate::profile::Profile;

/// Longest command an operator may add, in characters: V.250 §5.2.1 only promises 40 octets of command line.
const COMMAND_CHARS_MAX: usize = 60;
/// Most of them: each costs a round trip with every call.
pub const ADDED_MAX: usize = 16;

/// A modem's profile, and commands of the operator's own behind it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Setup {
    /// What is said first.
    pub profile: Profile,
    /// What is said then. ERROR is an answer, but logged.
    pub added: Vec<Command>,
}

impl From<Profile> for Setup {
    fn from(profile: Profile) -> Self {
        Self {
            profile,
            added: Vec::new(),
        }
    }
}

/// An AT command that configures: it can neither dial, answer, nor turn automatic answer on.
#[derive(Clone, PartialEq, Eq)]
pub struct Command(Box<str>);

/// Why a text is no [`Command`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// It does not begin with `AT`, or nothing follows.
    #[error("{0:?} is no AT command; write it with its AT, such as \"ATS153=6\"")]
    NotAt(String),
    /// A control character, or something outside ASCII: it could end the command and start another.
    #[error("{0:?} cannot stand in an AT command")]
    Character(char),
    /// Longer than modems promise to take.
    #[error("an AT command of {0} characters is too long; at most {COMMAND_CHARS_MAX} fit")]
    TooLong(usize),
    /// It would dial, answer, or have the modem answer by itself.
    #[error("{0:?} is not a setting: {1}")]
    NotASetting(String, &'static str),
}

impl Command {
    /// The text as it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Command {
    type Err = CommandError;

    fn from_str(text: &str) -> Result<Self, CommandError> {
        let upper = text.to_ascii_uppercase();
        if let Some(c) = text.chars().find(|c| !matches!(c, ' '..='~')) {
            return Err(CommandError::Character(c));
        }
        if text.len() > COMMAND_CHARS_MAX {
            return Err(CommandError::TooLong(text.len()));
        }
        let body = upper.strip_prefix("AT").filter(|body| !body.is_empty());
        let body = body.ok_or_else(|| CommandError::NotAt(text.to_owned()))?;
        let refused = |why| Err(CommandError::NotASetting(text.to_owned(), why));
        match basic_commands(body) {
            Some(Basic::Dials) => refused("it dials or answers; calls are placed by Ringup alone"),
            Some(Basic::AnswersItself) => refused(
                "a modem that answers by itself does so before the caller's number is known",
            ),
            None => Ok(Self(text.into())),
        }
    }
}

enum Basic {
    Dials,
    AnswersItself,
}

/// The first basic command (V.250 §5.4.1: a letter, perhaps behind `&` and the like, and a number) that is no setting.
/// What begins with `+`, `#` or `*` is one command up to the next `;`.
fn basic_commands(body: &str) -> Option<Basic> {
    let mut rest = body.trim_start();
    while let Some(first) = rest.chars().next() {
        rest = match first {
            'D' | 'A' => return Some(Basic::Dials),
            '+' | '#' | '*' | '-' | '!' | '^' | '$' => {
                rest.split_once(';').map_or("", |(_, rest)| rest)
            }
            'S' => {
                let register = rest[1..].trim_start().trim_start_matches('0');
                let is_s0 = !register.starts_with(|c: char| c.is_ascii_digit())
                    && rest[1..].trim_start().starts_with('0');
                let value = register.trim_start().strip_prefix('=').map(str::trim_start);
                if is_s0
                    && value.is_some_and(|value| {
                        value
                            .trim_start_matches('0')
                            .starts_with(|c: char| c.is_ascii_digit())
                    })
                {
                    return Some(Basic::AnswersItself);
                }
                after_number(value.unwrap_or(register))
            }
            '&' | '%' | '\\' => after_number(rest.get(2..).unwrap_or_default()),
            _ => after_number(&rest[1..]),
        }
        .trim_start();
    }
    None
}

fn after_number(text: &str) -> &str {
    text.trim_start_matches(|c: char| {
        c.is_ascii_digit() || matches!(c, '=' | '?' | '.' | ',' | ' ')
    })
}

/// All of it: it holds no number.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_taken_as_it_is_written() {
        for text in [
            "ATS153=6",
            "AT+CBST=7,0,1",
            "ATX3M0",
            "at&b2\\n3",
            "ATS0=0",
            "ATS10=14S7=90",
            "AT+VCID=1;#CID=1",
        ] {
            assert_eq!(text.parse::<Command>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_dials_or_answers_is_refused_wherever_it_stands() {
        for text in [
            "ATD112",
            "ATA",
            "ATM0D112",
            "ATX3 D 112",
            "ATS7=60A",
            "AT&F0D1",
            "AT+FCLASS=0;D112",
            "AT\\N3A",
        ] {
            assert!(
                matches!(text.parse::<Command>(), Err(CommandError::NotASetting(..))),
                "{text}"
            );
        }
    }

    #[test]
    fn automatic_answer_cannot_be_turned_on() {
        for text in [
            "ATS0=1",
            "ATM0S0=2",
            "ATS 0 = 1",
            "ATS00=1",
            "ats0=01",
            "ATS7=60S0=9",
        ] {
            assert!(
                matches!(text.parse::<Command>(), Err(CommandError::NotASetting(..))),
                "{text}"
            );
        }
    }

    #[test]
    fn a_command_is_one_line_of_ascii() {
        for text in ["ATZ\rATD1", "ATZ\n", "ＡＴＺ", "AT\u{0}"] {
            assert!(
                matches!(text.parse::<Command>(), Err(CommandError::Character(_))),
                "{text:?}"
            );
        }
        assert!(matches!(
            "AT".parse::<Command>(),
            Err(CommandError::NotAt(_))
        ));
        assert!(matches!(
            "Z".parse::<Command>(),
            Err(CommandError::NotAt(_))
        ));
    }
}
