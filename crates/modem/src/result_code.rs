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
    /// `NO CARRIER`, 3, perhaps with a cause behind it; `UN-OBTAINABLE NUMBER`.
    NoCarrier,
    /// `ERROR`, 4; `+CME ERROR: n` (TS 27.007 §9.2); `COMMAND NOT SUPPORT`.
    Error,
    /// `NO DIALTONE` or `NO DIAL TONE`, 6; `NO LINE`.
    NoDialTone,
    /// `LINE IN USE`: another telephone has the line. `DIALTONE`: the exchange did not take the number.
    LineInUse,
    /// `BUSY`, 7.
    Busy,
    /// `NO ANSWER`, 8.
    NoAnswer,
    /// `DELAYED`, 24: the modem's own redial limit; "do not try for some minutes", not a fault.
    Delayed,
    /// `BLACKLISTED`, 32, or `BLACKLIST FULL`: as [`ResultCode::Delayed`], for longer.
    Blacklisted,
    /// `VOICE`, `FAX`, `+FCERROR`: what answered is no data modem.
    NotData,
}

/// Words that end the setting up of a call, however they are spelt: in any case, and with a blank, a hyphen or nothing
/// where a blank stands here. What stands behind one is its cause, or a time, unless it is a letter. The longer stands
/// before the shorter.
const WORDS: [(&str, ResultCode); 22] = [
    ("NO CARRIER", ResultCode::NoCarrier),
    ("UN OBTAINABLE NUMBER", ResultCode::NoCarrier),
    ("NUMBER UN OBTAINABLE", ResultCode::NoCarrier),
    ("BUSY", ResultCode::Busy),
    ("NO ANSWER", ResultCode::NoAnswer),
    ("NO DIAL TONE", ResultCode::NoDialTone),
    ("NO DIAL", ResultCode::NoDialTone),
    ("NO PROMPT TONE", ResultCode::NoDialTone),
    ("NO LINE", ResultCode::NoDialTone),
    ("LINE IN USE", ResultCode::LineInUse),
    ("DIAL TONE", ResultCode::LineInUse),
    ("DELAYED", ResultCode::Delayed),
    ("BLACK LISTED", ResultCode::Blacklisted),
    ("BLACK LIST", ResultCode::Blacklisted),
    ("VOICE", ResultCode::NotData),
    ("VCON", ResultCode::NotData),
    ("FAX", ResultCode::NotData),
    ("+FCERROR", ResultCode::NotData),
    ("ERROR", ResultCode::Error),
    ("+CME ERROR", ResultCode::Error),
    ("+CMS ERROR", ResultCode::Error),
    ("COMMAND NOT SUPPORT", ResultCode::Error),
];

/// What may stand between two parts of a word, or not.
const BETWEEN_PARTS: [char; 3] = [' ', '-', '_'];

/// What the reader makes of an octet that is no character: beside a word it is noise of the line.
const NOISE: [char; 2] = ['?', ' '];

/// How a line of the modem's own begins that no command asked for (`^RSSI: 17`).
const UNSOLICITED: [char; 4] = ['^', '+', '*', '%'];

/// What kind of call is coming, as far as the modem tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RingKind {
    /// It does not tell.
    Plain,
    /// A distinctive ring: `RING A` is 1, as are `RING 1` and `RING1`. The same line has several numbers, each with its
    /// own cadence.
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
        let line = line.trim_matches(NOISE).to_ascii_uppercase();
        Some(match line.as_str() {
            "OK" | "0" => Self::Ok,
            // A modem in voice mode shields it with DLE (V.253 §9.2).
            "RING" | "2" | "\u{10}R" => Self::Ring(RingKind::Plain),
            "SBDRING" | "+SBDRING" => Self::Ring(RingKind::SbdAlert),
            "3" => Self::NoCarrier,
            "4" => Self::Error,
            "6" => Self::NoDialTone,
            "7" => Self::Busy,
            "8" => Self::NoAnswer,
            "24" => Self::Delayed,
            "32" => Self::Blacklisted,
            "1" => Self::Connect { rate: None },
            _ => return Self::parse_words(&line),
        })
    }

    /// The code that ends a line of another kind, without a line's end between the two: `^RSSI: 17NO CARRIER`. Such a line
    /// is not the answer to a command, and a text in quotes is none.
    pub(crate) fn glued(line: &str) -> Option<Self> {
        let line = line.trim().to_ascii_uppercase();
        if !line.starts_with(UNSOLICITED) {
            return None;
        }
        let words = WORDS
            .iter()
            .map(|(word, _)| *word)
            .chain(["OK", "RING", "CONNECT"]);
        let code = |word: &str| {
            let begins = word.split(' ').next().unwrap_or(word);
            line.match_indices(begins).find_map(|(at, _)| {
                let before = &line[..at];
                let is_behind_a_value =
                    before.ends_with(|c: char| c.is_ascii_digit() || matches!(c, '"' | ')'));
                let is_quoted = before.matches('"').count() % 2 == 1;
                (is_behind_a_value && !is_quoted)
                    .then(|| Self::parse(&line[at..]))
                    .flatten()
            })
        };
        words.filter(|word| !word.starts_with('+')).find_map(code)
    }

    fn parse_words(line: &str) -> Option<Self> {
        if let Some(rest) = line.strip_prefix("RING") {
            return RingKind::behind_ring(rest).map(Self::Ring);
        }
        if let Some(kind) = line.strip_prefix("+CRING:") {
            return Some(Self::Ring(RingKind::from_cring(kind.trim())));
        }
        // The cadence in tenths of a second (`AT+VDR=1`): the first burst is a ring.
        if let Some(tenths) = line.strip_prefix("DRON=") {
            return tenths
                .trim()
                .parse::<u16>()
                .is_ok()
                .then_some(Self::Ring(RingKind::Plain));
        }
        let is_word = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphabetic());
        if let Some(words) = line.strip_prefix("CONNECT") {
            let words = words.strip_prefix("ED").unwrap_or(words);
            return is_word(words).then(|| Self::Connect {
                rate: connect_rate(words),
            });
        }
        if let Some(rest) = line.strip_prefix("OK") {
            return rest.starts_with(UNSOLICITED).then_some(Self::Ok);
        }
        let found = WORDS
            .iter()
            .find(|(word, _)| behind_word(line, word).is_some_and(is_word));
        found.map(|(_, code)| code.clone())
    }
}

/// What stands behind a word with which a line begins.
fn behind_word<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    let mut parts = word.split(' ');
    let begins = line.strip_prefix(parts.next()?)?;
    parts.try_fold(begins, |rest, part| {
        rest.trim_start_matches(BETWEEN_PARTS).strip_prefix(part)
    })
}

impl RingKind {
    /// `RING B` (U.S. Robotics), `RING 2` and `RING2` (Rockwell, Conexant with `-SDR`), `RING/called` (isdn4linux).
    fn behind_ring(rest: &str) -> Option<Self> {
        match rest.trim_start().as_bytes() {
            [cadence @ b'A'..=b'H'] if rest.starts_with(' ') => {
                Some(Self::Distinctive(cadence - b'A' + 1))
            }
            [cadence @ b'1'..=b'9'] => Some(Self::Distinctive(cadence - b'0')),
            [b'/', ..] => Some(Self::Plain),
            _ => None,
        }
    }

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
    let line = line.trim_matches(NOISE).to_ascii_uppercase();
    leading_number(
        line.strip_prefix("CARRIER ")
            .or_else(|| line.strip_prefix("+MRR:"))?,
    )
}

/// ` 28800/ARQ/V34`, `/ARQ/28800`, `: 9600`: the digits with which the first word begins, else the first word of nothing else.
fn connect_rate(words: &str) -> Option<u32> {
    let mut words = words
        .split([' ', '/', ':', ',', '='])
        .filter(|word| !word.is_empty());
    let first = words.next()?;
    let is_number = |word: &&str| word.bytes().all(|octet| octet.is_ascii_digit());
    if first.starts_with(|c: char| c.is_ascii_digit()) {
        return leading_number(first);
    }
    words.find(is_number).and_then(leading_number)
}

/// `28800/ARQ/V34/LAPM/V42BIS`: the leading digits of the first word, unless they are no rate.
fn leading_number(words: &str) -> Option<u32> {
    let digits = words
        .trim_start()
        .split(|c: char| !c.is_ascii_digit())
        .next()
        .unwrap_or_default();
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
            ("CONNECT/ARQ/V34/LAPM", None),
            ("CONNECT/ARQ/28800/V34", Some(28800)),
            ("CONNECT/REL", None),
            ("CONNECTED", None),
            ("CONNECTED 9600", Some(9600)),
            ("CONNECT: 14400", Some(14400)),
            ("Connect 2400EC", Some(2400)),
            ("CONNECT 75TX/1200RX", Some(75)),
            ("CONNECT 64000/V.120", Some(64000)),
            ("CONNECT 31200 LAPM COMPRESSED", Some(31200)),
        ] {
            assert_eq!(
                ResultCode::parse(line),
                Some(ResultCode::Connect { rate }),
                "{line}"
            );
        }
    }

    #[test]
    fn the_lines_rate_is_read_from_what_comes_before_connect() {
        assert_eq!(line_rate("CARRIER 31200"), Some(31200));
        assert_eq!(line_rate("Carrier 31200"), Some(31200));
        assert_eq!(line_rate("+MRR: 33600,31200"), Some(33600));
        for line in [
            "PROTOCOL: LAPM",
            "+MCR: V34",
            "CARRIER",
            "+ER: NONE",
            "COMPRESSION: V.42BIS",
            "CARRIER LOST",
        ] {
            assert_eq!(line_rate(line), None, "{line}");
        }
    }

    #[test]
    fn both_spellings_of_no_dial_tone_and_the_numeric_codes_are_read() {
        assert_eq!(
            ResultCode::parse("NO DIALTONE"),
            ResultCode::parse("NO DIAL TONE")
        );
        assert_eq!(ResultCode::parse("7"), Some(ResultCode::Busy));
        assert_eq!(ResultCode::parse("32"), Some(ResultCode::Blacklisted));
        assert_eq!(ResultCode::parse("+CME ERROR: 30"), Some(ResultCode::Error));
    }

    #[test]
    fn every_word_that_ends_dialling_is_read_with_what_stands_behind_it_and_in_any_case() {
        for (line, code) in [
            ("DELAYED 00:05:00", ResultCode::Delayed),
            ("BLACKLIST FULL", ResultCode::Blacklisted),
            ("BLACKLISTED 3", ResultCode::Blacklisted),
            ("LINE IN USE", ResultCode::LineInUse),
            ("DIALTONE", ResultCode::LineInUse),
            ("NO LINE", ResultCode::NoDialTone),
            ("NO DIAL TONE DETECTED", ResultCode::NoDialTone),
            ("VOICE", ResultCode::NotData),
            ("FAX", ResultCode::NotData),
            ("+FCERROR", ResultCode::NotData),
            ("COMMAND NOT SUPPORT", ResultCode::Error),
            ("NO CARRIER/E3411", ResultCode::NoCarrier),
            ("NO CARRIER (E3411)", ResultCode::NoCarrier),
            ("UN-OBTAINABLE NUMBER", ResultCode::NoCarrier),
            ("No Carrier", ResultCode::NoCarrier),
            ("Busy", ResultCode::Busy),
            ("No Answer", ResultCode::NoAnswer),
            ("NOCARRIER", ResultCode::NoCarrier),
            ("NO-CARRIER", ResultCode::NoCarrier),
            ("NO  CARRIER", ResultCode::NoCarrier),
            ("NO_ANSWER", ResultCode::NoAnswer),
            ("NOANSWER", ResultCode::NoAnswer),
            ("NODIALTONE", ResultCode::NoDialTone),
            ("NO DIAL-TONE", ResultCode::NoDialTone),
            ("NO DIALTONE(2)", ResultCode::NoDialTone),
            ("UNOBTAINABLE NUMBER", ResultCode::NoCarrier),
            ("NUMBER UNOBTAINABLE", ResultCode::NoCarrier),
            ("BLACK LISTED", ResultCode::Blacklisted),
            ("LINE-IN-USE", ResultCode::LineInUse),
            ("+CME ERROR", ResultCode::Error),
            ("+CME ERROR 30", ResultCode::Error),
            ("+CMS ERROR", ResultCode::Error),
            ("COMMAND NOT SUPPORT!", ResultCode::Error),
            ("?BUSY", ResultCode::Busy),
            ("NO CARRIER??", ResultCode::NoCarrier),
        ] {
            assert_eq!(ResultCode::parse(line), Some(code), "{line}");
        }
    }

    #[test]
    fn a_code_behind_a_line_that_nobody_asked_for_counts_and_a_text_in_quotes_does_not() {
        for (line, code) in [
            ("^RSSI: 17NO CARRIER", Some(ResultCode::NoCarrier)),
            ("+CREG: 1OK", Some(ResultCode::Ok)),
            ("^MODE:5,4BUSY", Some(ResultCode::Busy)),
            (
                "+CSQ: 17,99CONNECT 9600",
                Some(ResultCode::Connect { rate: Some(9600) }),
            ),
            ("^RSSI: 17RING", Some(ResultCode::Ring(RingKind::Plain))),
            ("^RSSI: 17NO DIALTONE", Some(ResultCode::NoDialTone)),
            ("^RSSI: 17NODIALTONE", Some(ResultCode::NoDialTone)),
            ("+CUSD: 0,\"CALL 7BUSY\"", None),
            ("+CLIP: \"201\",129,,,\"OK\"", None),
            ("+CEER: NO CARRIER", None),
            ("NMBR = 17NO CARRIER", None),
        ] {
            assert_eq!(ResultCode::glued(line), code, "{line}");
        }
        assert_eq!(ResultCode::parse("OK^RSSI: 17"), Some(ResultCode::Ok));
        assert_eq!(
            ResultCode::parse("NO CARRIER^RSSI: 17"),
            Some(ResultCode::NoCarrier)
        );
    }

    #[test]
    fn a_ring_says_what_it_is_for() {
        for (line, kind) in [
            ("RING", RingKind::Plain),
            ("RING B", RingKind::Distinctive(2)),
            ("RING 2", RingKind::Distinctive(2)),
            ("RING1", RingKind::Distinctive(1)),
            ("RING/08765", RingKind::Plain),
            ("?RING", RingKind::Plain),
            ("+CRING: REL ASYNC", RingKind::Data),
            ("+CRING: VOICE", RingKind::Voice),
            ("+CRING: FAX", RingKind::Fax),
            ("+SBDRING", RingKind::SbdAlert),
            ("\u{10}R", RingKind::Plain),
            ("DRON=20", RingKind::Plain),
        ] {
            assert_eq!(
                ResultCode::parse(line),
                Some(ResultCode::Ring(kind)),
                "{line}"
            );
        }
    }

    #[test]
    fn what_only_looks_like_a_code_is_none() {
        let lines = [
            "CONNECTING",
            "OKAY",
            "ringing",
            "NO CARRIERS",
            "10",
            "",
            "AT+VCID=1",
            "RINGING",
            "RING AB",
            "RINGA",
            "RING 12",
            "RINGBACK",
            "NO CARRIERLESS",
            "BLACKLISTEDX",
            "DROF=40",
            "COMPRESSION: V.42BIS",
            "PROTOCOL: LAPM",
            "CARRIER 33600",
            "PROCEEDING",
            "DIALING",
            "+MCR: V34",
            "+MRR: 9600",
            "BUSYBODY",
            "VOICEMAIL",
            "FAXES",
            "ERRORS",
            "NO ANSWERING",
            "+CUSD: 0,\"BUSY\"",
            "NOBODY",
            "^RSSI: 17",
        ];
        for line in lines {
            assert_eq!(ResultCode::parse(line), None, "{line}");
        }
    }
}
