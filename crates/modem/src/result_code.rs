//! Result codes (ITU-T V.250 §5.7.1, table 1) and what vendors added.

/// What a modem answers to a command, or says by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResultCode {
    /// `OK`, 0.
    Ok,
    /// `CONNECT`, 1, with the rate in bit/s if the modem said one. Some say the line's rate, some their port's.
    Connect {
        /// bit/s.
        rate: Option<u32>,
    },
    /// `RING`, 2, and what else says that a call is coming.
    Ring(RingKind),
    /// `NO CARRIER`, 3.
    NoCarrier,
    /// `ERROR`, 4; `+CME ERROR: n` (TS 27.007 §9.2).
    Error,
    /// `NO DIALTONE` or `NO DIAL TONE`, 6.
    NoDialTone,
    /// `BUSY`, 7.
    Busy,
    /// `NO ANSWER`, 8.
    NoAnswer,
    /// `DELAYED`, 24: the modem's own redial limit; "do not try for some minutes", not a fault.
    Delayed,
    /// `BLACKLISTED`, 32: as [`ResultCode::Delayed`], for longer.
    Blacklisted,
}

/// What kind of call is coming, as far as the modem tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RingKind {
    /// It does not tell.
    Plain,
    /// A distinctive ring: `RING A` is 1. The same line has several numbers, each with its own cadence.
    Distinctive(u8),
    /// `+CRING: VOICE`: answering it gives no data call (TS 27.007 §6.11).
    Voice,
    /// `+CRING: ASYNC`, `REL ASYNC` and the like: a data call.
    Data,
    /// `+CRING: FAX` and its kin.
    Fax,
    /// `SBDRING` (9522B) or `+SBDRING` (9523): a message waits at Iridium's gateway; nobody can be answered.
    SbdAlert,
}

impl ResultCode {
    /// Reads a line. `None`: not a result code (an echo, an information text, a caller-ID line, noise).
    pub fn parse(line: &str) -> Option<Self> {
        let line = line.trim();
        Some(match line {
            "OK" | "0" => Self::Ok,
            // A modem in voice mode shields it with DLE (V.253 §9.2).
            "RING" | "2" | "\u{10}R" => Self::Ring(RingKind::Plain),
            "SBDRING" | "+SBDRING" => Self::Ring(RingKind::SbdAlert),
            "NO CARRIER" | "3" => Self::NoCarrier,
            "ERROR" | "4" => Self::Error,
            "NO DIALTONE" | "NO DIAL TONE" | "6" => Self::NoDialTone,
            "BUSY" | "7" => Self::Busy,
            "NO ANSWER" | "8" => Self::NoAnswer,
            "DELAYED" | "24" => Self::Delayed,
            "BLACKLISTED" | "32" => Self::Blacklisted,
            "1" => Self::Connect { rate: None },
            _ => return Self::parse_words(line),
        })
    }

    fn parse_words(line: &str) -> Option<Self> {
        if let Some(rest) = line.strip_prefix("RING") {
            let [b' ', cadence @ b'A'..=b'H'] = rest.as_bytes() else { return None };
            return Some(Self::Ring(RingKind::Distinctive(cadence - b'A' + 1)));
        }
        if let Some(kind) = line.strip_prefix("+CRING:") {
            return Some(Self::Ring(RingKind::from_cring(kind.trim())));
        }
        // The cadence in tenths of a second (`AT+VDR=1`): the first burst is a ring.
        if let Some(tenths) = line.strip_prefix("DRON=") {
            return tenths.trim().parse::<u16>().is_ok().then_some(Self::Ring(RingKind::Plain));
        }
        if line.starts_with("+CME ERROR:") || line.starts_with("+CMS ERROR:") {
            return Some(Self::Error);
        }
        let words = line.strip_prefix("CONNECT")?;
        if !words.is_empty() && !words.starts_with(' ') {
            return None;
        }
        Some(Self::Connect { rate: leading_number(words) })
    }
}

impl RingKind {
    fn from_cring(kind: &str) -> Self {
        match kind.split([',', ' ', '/']).next() {
            Some("VOICE" | "ALT") => Self::Voice,
            Some("FAX") => Self::Fax,
            Some("ASYNC" | "SYNC" | "REL" | "GPRS" | "PACKET") => Self::Data,
            _ => Self::Plain,
        }
    }
}

/// The rate that the line has, from what some modems say before CONNECT: `CARRIER 33600` (Rockwell, with `W1`), or
/// `+MRR: 33600,31200` (V.250 §6.4.4: transmit, receive). bit/s, our transmit direction.
pub(crate) fn line_rate(line: &str) -> Option<u32> {
    let line = line.trim();
    leading_number(line.strip_prefix("CARRIER ").or_else(|| line.strip_prefix("+MRR:"))?)
}

/// `28800/ARQ/V34/LAPM/V42BIS`: the leading digits of the first word, unless they are no rate.
fn leading_number(words: &str) -> Option<u32> {
    let digits = words.trim_start().split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().ok().filter(|rate| *rate > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_connect_gives_its_rate() {
        for (line, rate) in [
            ("CONNECT", None),
            ("CONNECT 33600", Some(33600)),
            ("CONNECT 28800/ARQ/V34/LAPM/V42BIS", Some(28800)),
            ("CONNECT 28800 V42bis", Some(28800)),
            ("CONNECT 0", None),
            ("CONNECT 99999999999999999999", None),
        ] {
            assert_eq!(ResultCode::parse(line), Some(ResultCode::Connect { rate }), "{line}");
        }
    }

    #[test]
    fn the_lines_rate_is_read_from_what_comes_before_connect() {
        assert_eq!(line_rate("CARRIER 31200"), Some(31200));
        assert_eq!(line_rate("+MRR: 33600,31200"), Some(33600));
        for line in ["PROTOCOL: LAPM", "+MCR: V34", "CARRIER", "+ER: NONE", "COMPRESSION: V.42BIS", "CARRIER LOST"] {
            assert_eq!(line_rate(line), None, "{line}");
        }
    }

    #[test]
    fn both_spellings_of_no_dial_tone_and_the_numeric_codes_are_read() {
        assert_eq!(ResultCode::parse("NO DIALTONE"), ResultCode::parse("NO DIAL TONE"));
        assert_eq!(ResultCode::parse("7"), Some(ResultCode::Busy));
        assert_eq!(ResultCode::parse("32"), Some(ResultCode::Blacklisted));
        assert_eq!(ResultCode::parse("+CME ERROR: 30"), Some(ResultCode::Error));
    }

    #[test]
    fn a_ring_says_what_it_is_for() {
        for (line, kind) in [
            ("RING", RingKind::Plain),
            ("RING B", RingKind::Distinctive(2)),
            ("+CRING: REL ASYNC", RingKind::Data),
            ("+CRING: VOICE", RingKind::Voice),
            ("+CRING: FAX", RingKind::Fax),
            ("+SBDRING", RingKind::SbdAlert),
            ("\u{10}R", RingKind::Plain),
            ("DRON=20", RingKind::Plain),
        ] {
            assert_eq!(ResultCode::parse(line), Some(ResultCode::Ring(kind)), "{line}");
        }
    }

    #[test]
    fn what_only_looks_like_a_code_is_none() {
        let lines =
            ["CONNECTED", "OKAY", "ringing", "NO CARRIERS", "10", "", "AT+VCID=1", "RINGING", "RING AB", "DROF=40"];
        for line in lines {
            assert_eq!(ResultCode::parse(line), None, "{line}");
        }
    }
}
