//! What a modem remembers between commands: switches and S-registers.

use crate::command::{CallerIdForm, Switch};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// S0 rings before auto answer (0 never), S1 rings so far, S2 escape character, S3 line end, S4 response format, S5
/// erase, S6 seconds before dialling without listening for a tone, S7 seconds to wait for a carrier, S8 seconds for a
/// `,`, S10 tenths of a second from the loss of the carrier to hanging up (255 never), S12 escape guard in 1/50 s.
const WITH_EFFECT: [u8; 13] = [0, 0, 43, 13, 10, 8, 2, 50, 2, 6, 14, 95, 50];
/// Registers that drivers set and read back and that do nothing here.
const REMEMBERED: &[(usize, u8)] = &[
    (14, 138),
    (16, 0),
    (18, 0),
    (21, 52),
    (22, 117),
    (23, 62),
    (24, 0),
    (25, 5),
    (26, 1),
    (27, 73),
    (28, 0),
    (29, 70),
    (30, 0),
    (31, 194),
    (32, 17),
    (33, 19),
    (36, 7),
    (37, 0),
    (38, 20),
    (40, 104),
    (41, 195),
    (46, 138),
    (48, 7),
    (82, 128),
    (86, 0),
    (91, 10),
    (92, 10),
    (95, 0),
    (109, 0),
    (110, 0),
    (153, 0),
    (201, 0),
];

/// The active profile. `ATZ` and `AT&F` both go back to the factory's: this modem stores no other.
#[derive(Debug)]
pub(crate) struct Profile {
    pub(crate) echo: bool,
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
    /// `X`: 0 to 4.
    pub(crate) progress: u8,
    /// `&C1`: DCD shows whether there is a carrier; otherwise it is always on.
    pub(crate) is_dcd_true: bool,
    /// `&D`: what DTR going off does.
    pub(crate) dtr_off: u8,
    /// How the caller's number is shown; off after every reset, as on many real modems.
    pub(crate) caller_id: CallerIdForm,
    switches: BTreeSet<Switch>,
    /// Settings that are only remembered.
    kept: BTreeMap<&'static str, String>,
    registers: BTreeMap<usize, u8>,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            echo: true,
            quiet: false,
            verbose: true,
            progress: 4,
            is_dcd_true: true,
            dtr_off: 2,
            caller_id: CallerIdForm::Off,
            switches: BTreeSet::new(),
            kept: BTreeMap::new(),
            registers: WITH_EFFECT
                .into_iter()
                .enumerate()
                .chain(REMEMBERED.iter().copied())
                .collect(),
        }
    }
}

impl Profile {
    pub(crate) fn register(&self, register: usize) -> Option<u8> {
        self.registers.get(&register).copied()
    }

    /// Returns whether there is such a register and it may hold the value.
    #[must_use]
    pub(crate) fn set_register(&mut self, register: usize, value: u8) -> bool {
        // V.250 §6.2.1 to 6.2.3: the characters that frame a line are ASCII.
        if (3..=5).contains(&register) && value > 127 {
            return false;
        }
        let Some(place) = self.registers.get_mut(&register) else {
            return false;
        };
        *place = value;
        true
    }

    pub(crate) fn is_on(&self, switch: Switch) -> bool {
        self.switches.contains(&switch)
    }

    pub(crate) fn switch(&mut self, switch: Switch, on: bool) {
        if on {
            self.switches.insert(switch);
        } else {
            self.switches.remove(&switch);
        }
    }

    pub(crate) fn kept(&self, name: &str) -> &str {
        self.kept.get(name).map_or("0", String::as_str)
    }

    /// The table of extended commands bounds how many there are.
    pub(crate) fn keep(&mut self, name: &'static str, value: String) {
        self.kept.insert(name, value);
    }

    pub(crate) fn count_rings(&mut self, rings: u32) {
        self.registers
            .insert(1, u8::try_from(rings).unwrap_or(u8::MAX));
    }

    /// What `&V` shows.
    pub(crate) fn shown(&self) -> [String; 2] {
        let digit = u8::from;
        let switches = format!(
            "E{} Q{} V{} X{} &C{} &D{}",
            digit(self.echo),
            digit(self.quiet),
            digit(self.verbose),
            self.progress,
            digit(self.is_dcd_true),
            self.dtr_off
        );
        let registers: Vec<_> = self
            .registers
            .range(..WITH_EFFECT.len())
            .map(|(number, value)| format!("S{number:02}:{value:03}"))
            .collect();
        [switches, registers.join(" ")]
    }

    pub(crate) fn rings_to_answer(&self) -> Option<u32> {
        Some(u32::from(self.effective(0))).filter(|rings| *rings > 0)
    }

    /// Above 127 there is none: the escape is switched off.
    pub(crate) fn escape_character(&self) -> Option<u8> {
        Some(self.effective(2)).filter(u8::is_ascii)
    }

    pub(crate) fn line_end(&self) -> u8 {
        self.effective(3)
    }

    pub(crate) fn response_format(&self) -> u8 {
        self.effective(4)
    }

    pub(crate) fn erase(&self) -> u8 {
        self.effective(5)
    }

    /// X0, X1 and X3 do not listen for a dial tone and wait S6 instead (V.250 §6.3.7).
    pub(crate) fn blind_dial_wait(&self) -> Duration {
        if self.hears_dial_tone() {
            Duration::ZERO
        } else {
            Duration::from_secs(self.effective(6).into())
        }
    }

    pub(crate) fn hears_dial_tone(&self) -> bool {
        matches!(self.progress, 2 | 4)
    }

    /// Without an end if S7 is 0.
    pub(crate) fn carrier_wait(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.effective(7).into())).filter(|wait| !wait.is_zero())
    }

    pub(crate) fn pause(&self) -> Duration {
        Duration::from_secs(self.effective(8).into())
    }

    /// How long a lost carrier may stay away; without an end if S10 is 255.
    pub(crate) fn carrier_loss_wait(&self) -> Option<Duration> {
        Some(self.effective(10))
            .filter(|tenths| *tenths < u8::MAX)
            .map(|tenths| Duration::from_millis(100) * tenths.into())
    }

    pub(crate) fn escape_guard(&self) -> Duration {
        Duration::from_millis(20) * u32::from(self.effective(12))
    }

    fn effective(&self, register: usize) -> u8 {
        self.register(register).unwrap_or_default()
    }
}
