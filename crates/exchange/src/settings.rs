//! How one station behaves: what its modem is, what it presents, what its line does. All of it can change while the
//! exchange runs; a call takes the settings it finds when it is placed, or when it connects.

use crate::{config::Keys, number::Number};
use std::{ops::RangeInclusive, time::Duration};

/// Bounds of the line rate: below any real modem, above any simulated line.
pub(crate) const RATES: RangeInclusive<i64> = 50..=100_000_000;
/// Beyond this there is no telling a line from noise.
const BIT_ERRORS_MAX: f64 = 0.5;
/// Longest name that is presented; V.253 and ETSI leave room for 15 to 50.
const NAME_OCTETS_MAX: usize = 50;

/// How one station behaves; the keys of a `[[station]]` but for its number and its port.
///
/// "To" a station is what its DTE receives, "from" it what its DTE sends.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// `modem`: what kind of equipment is there.
    pub flavour: Flavour,
    /// `withheld`, `unavailable`, `presents`, `caller_id`: what it presents when it calls.
    pub presentation: Presentation,
    /// `name`: presented beside the number.
    pub name: Option<String>,
    /// `caller_id_timing`: when this station receives caller ID.
    pub caller_id_timing: CallerIdTiming,
    /// `odd_rings`: with Japanese timing, the short rings before the number; a modem that knows them shows one or two.
    pub odd_rings: u32,
    /// `caller_id_spacing`: `NMBR = 1` or `NMBR=1`.
    pub is_caller_id_tight: bool,
    /// `out_of_service`: callers get NO CARRIER, and the station no dial tone.
    pub is_out_of_service: bool,
    /// `no_dial_tone`: it can be called but not call.
    pub has_no_dial_tone: bool,
    /// `busy`: callers get BUSY, whatever the station does.
    pub is_busy: bool,
    /// `dialling`: off hook from ATD until the exchange looks whether the called station is free.
    pub dialling: Duration,
    /// `training`: from answering at this station to CONNECT.
    pub training: Duration,
    /// `training_fails`: no carrier ever comes of answering here.
    pub is_training_lost: bool,
    /// `rate_to`, in bit/s.
    pub rate_to: u32,
    /// `rate_from`, in bit/s.
    pub rate_from: u32,
    /// `jitter`: up to this much is added to the delay, anew for each chunk; octets stay in order.
    pub jitter: Duration,
    /// `bit_errors_to`: the share of bits that arrive inverted.
    pub bit_errors_to: f64,
    /// `bit_errors_from`.
    pub bit_errors_from: f64,
    /// `echo`: what its modem sends comes back to it, a round trip later.
    pub has_echo: bool,
    /// `cut_after`: a call is cut this long after CONNECT.
    pub cut_after: Option<Duration>,
    /// `cut_after_octets`: a call is cut when this many octets have arrived at its ends, both together.
    pub cut_after_octets: Option<u64>,
    /// `tariff`: what calls from here cost, if anything is said about it.
    pub tariff: Option<String>,
}

/// What kind of equipment a station has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// An analogue modem. It can refuse a call only by not answering it.
    Analogue,
    /// An ISDN terminal adapter: the number comes with the first ring, ATH refuses a call that rings.
    Isdn,
    /// A mobile telephone: `+CLIP` with each ring, `+CHUP` refuses, `ATD…;` is a voice call.
    Gsm,
}

/// What a station presents to those it calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presentation {
    /// Its own number.
    Own,
    /// Another number than its own, as a spoofer or a company's switchboard does.
    Other(Number),
    /// The number is withheld: the called modem shows `NMBR = P`.
    Withheld,
    /// The network does not know the number: the called modem shows `NMBR = O`.
    Unavailable,
    /// No caller ID is sent at all.
    None,
}

/// When a called analogue station receives caller ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerIdTiming {
    /// In the silence after the first ring.
    AfterFirstRing,
    /// Before the first ring, after a reversal of the line (United Kingdom).
    BeforeFirstRing,
    /// After one or two short rings that a modem may show, before those that count (Japan).
    AfterOddRings,
}

impl Settings {
    /// What a station is that says nothing about itself.
    pub(crate) fn new(rate: u32, training: Duration) -> Self {
        Self {
            flavour: Flavour::Analogue,
            presentation: Presentation::Own,
            name: None,
            caller_id_timing: CallerIdTiming::AfterFirstRing,
            odd_rings: 1,
            is_caller_id_tight: false,
            is_out_of_service: false,
            has_no_dial_tone: false,
            is_busy: false,
            dialling: Duration::ZERO,
            training,
            is_training_lost: false,
            rate_to: rate,
            rate_from: rate,
            jitter: Duration::ZERO,
            bit_errors_to: 0.0,
            bit_errors_from: 0.0,
            has_echo: false,
            cut_after: None,
            cut_after_octets: None,
            tariff: None,
        }
    }

    /// Takes what `keys` say of these; what they do not mention stays.
    pub(crate) fn read(&mut self, keys: &mut Keys<'_>) {
        let flavours = [
            ("analogue", Flavour::Analogue),
            ("isdn", Flavour::Isdn),
            ("gsm", Flavour::Gsm),
        ];
        change(&mut self.flavour, keys.choice("modem", &flavours));
        self.read_presentation(keys);
        if let Some(name) = keys.text("name") {
            if name.len() > NAME_OCTETS_MAX
                || !name.bytes().all(|octet| (b' '..=b'~').contains(&octet))
            {
                keys.fault("name", "is not up to 50 printable ASCII characters");
            }
            self.name = Some(name).filter(|name| !name.is_empty());
        }
        let timings = [
            ("us", CallerIdTiming::AfterFirstRing),
            ("uk", CallerIdTiming::BeforeFirstRing),
            ("japan", CallerIdTiming::AfterOddRings),
        ];
        change(
            &mut self.caller_id_timing,
            keys.choice("caller_id_timing", &timings),
        );
        change(&mut self.odd_rings, keys.number("odd_rings", 1..=2));
        change(
            &mut self.is_caller_id_tight,
            keys.choice("caller_id_spacing", &[("wide", false), ("tight", true)]),
        );
        change(&mut self.is_out_of_service, keys.flag("out_of_service"));
        change(&mut self.has_no_dial_tone, keys.flag("no_dial_tone"));
        change(&mut self.is_busy, keys.flag("busy"));
        change(&mut self.dialling, keys.time("dialling"));
        change(&mut self.training, keys.time("training"));
        change(&mut self.is_training_lost, keys.flag("training_fails"));
        change(&mut self.rate_to, keys.number("rate_to", RATES));
        change(&mut self.rate_from, keys.number("rate_from", RATES));
        change(&mut self.jitter, keys.time("jitter"));
        change(
            &mut self.bit_errors_to,
            keys.share("bit_errors_to", BIT_ERRORS_MAX),
        );
        change(
            &mut self.bit_errors_from,
            keys.share("bit_errors_from", BIT_ERRORS_MAX),
        );
        change(&mut self.has_echo, keys.flag("echo"));
        // Nothing cuts after 0: so that what a control socket has set can be taken back.
        if let Some(time) = keys.time("cut_after") {
            self.cut_after = Some(time).filter(|time| !time.is_zero());
        }
        if let Some(octets) = keys.number::<u64>("cut_after_octets", 0..=i64::MAX) {
            self.cut_after_octets = Some(octets).filter(|octets| *octets > 0);
        }
        if let Some(tariff) = keys.text("tariff") {
            self.tariff = Some(tariff).filter(|tariff| !tariff.is_empty());
        }
    }

    fn read_presentation(&mut self, keys: &mut Keys<'_>) {
        let spellings = ["withheld", "unavailable", "presents", "caller_id"];
        if spellings.iter().filter(|key| keys.has(key)).count() > 1 {
            keys.fault(
                "presents",
                "only one of withheld, unavailable, presents and caller_id can be set",
            );
        }
        let withheld = |is_set| {
            if is_set {
                Presentation::Withheld
            } else {
                Presentation::Own
            }
        };
        change(&mut self.presentation, keys.flag("withheld").map(withheld));
        let unavailable = |is_set| {
            if is_set {
                Presentation::Unavailable
            } else {
                Presentation::Own
            }
        };
        change(
            &mut self.presentation,
            keys.flag("unavailable").map(unavailable),
        );
        let shown = |is_set| {
            if is_set {
                Presentation::Own
            } else {
                Presentation::None
            }
        };
        change(&mut self.presentation, keys.flag("caller_id").map(shown));
        match keys.text("presents").map(|text| text.parse::<Number>()) {
            None => {}
            Some(Ok(number)) => self.presentation = Presentation::Other(number),
            Some(Err(error)) => keys.fault("presents", error.to_string()),
        }
    }
}

fn change<T>(setting: &mut T, to: Option<T>) {
    if let Some(to) = to {
        *setting = to;
    }
}
