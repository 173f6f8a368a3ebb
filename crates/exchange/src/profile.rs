//! What a modem remembers between commands: switches and S-registers.

use std::time::Duration;

/// S-registers that exist; the numbers are those of V.250 §6 and Hayes.
const REGISTERS: usize = 13;
/// S0 rings before auto answer (0 never), S2 escape character, S3 line end, S4 response format, S5 erase,
/// S7 seconds to wait for a carrier, S8 seconds for a `,`, S12 escape guard time in 1/50 s; the others only remember.
const FACTORY_REGISTERS: [u8; REGISTERS] = [0, 0, 43, 13, 10, 8, 2, 50, 2, 6, 14, 95, 50];

/// The active profile. `ATZ` and `AT&F` both go back to the factory's: this modem stores no other.
#[derive(Debug)]
pub(crate) struct Profile {
    pub(crate) echo: bool,
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
    /// `X`: 0 to 4.
    pub(crate) progress: u8,
    /// Whether the caller's number is shown; off after every reset, as on many real modems.
    pub(crate) caller_id: bool,
    registers: [u8; REGISTERS],
}

impl Default for Profile {
    fn default() -> Self {
        Self { echo: true, quiet: false, verbose: true, progress: 4, caller_id: false, registers: FACTORY_REGISTERS }
    }
}

impl Profile {
    pub(crate) fn register(&self, register: usize) -> Option<u8> {
        self.registers.get(register).copied()
    }

    /// Returns whether there is such a register and it may hold the value.
    #[must_use]
    pub(crate) fn set_register(&mut self, register: usize, value: u8) -> bool {
        // V.250 §6.2.1 to 6.2.3: the characters that frame a line are ASCII.
        if (3..=5).contains(&register) && value > 127 {
            return false;
        }
        let Some(place) = self.registers.get_mut(register) else { return false };
        *place = value;
        true
    }

    pub(crate) fn rings_to_answer(&self) -> Option<u32> {
        Some(u32::from(self.registers[0])).filter(|rings| *rings > 0)
    }

    /// Above 127 there is none: the escape is switched off.
    pub(crate) fn escape_character(&self) -> Option<u8> {
        Some(self.registers[2]).filter(u8::is_ascii)
    }

    pub(crate) fn line_end(&self) -> u8 {
        self.registers[3]
    }

    pub(crate) fn response_format(&self) -> u8 {
        self.registers[4]
    }

    pub(crate) fn erase(&self) -> u8 {
        self.registers[5]
    }

    /// Without an end if S7 is 0.
    pub(crate) fn carrier_wait(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.registers[7].into())).filter(|wait| !wait.is_zero())
    }

    pub(crate) fn pause(&self) -> Duration {
        Duration::from_secs(self.registers[8].into())
    }

    pub(crate) fn escape_guard(&self) -> Duration {
        Duration::from_millis(20) * u32::from(self.registers[12])
    }
}
