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
    /// `RING`, 2.
    Ring,
    /// `NO CARRIER`, 3.
    NoCarrier,
    /// `ERROR`, 4.
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

impl ResultCode {
    /// Reads a line. `None`: not a result code (an echo, an information text, a caller-ID line, noise).
    pub fn parse(line: &str) -> Option<Self> {
        let line = line.trim();
        Some(match line {
            "OK" | "0" => Self::Ok,
            "RING" | "2" => Self::Ring,
            "NO CARRIER" | "3" => Self::NoCarrier,
            "ERROR" | "4" => Self::Error,
            "NO DIALTONE" | "NO DIAL TONE" | "6" => Self::NoDialTone,
            "BUSY" | "7" => Self::Busy,
            "NO ANSWER" | "8" => Self::NoAnswer,
            "DELAYED" | "24" => Self::Delayed,
            "BLACKLISTED" | "32" => Self::Blacklisted,
            "1" => Self::Connect { rate: None },
            _ => {
                let words = line.strip_prefix("CONNECT")?;
                if !words.is_empty() && !words.starts_with(' ') {
                    return None;
                }
                // `CONNECT 28800/ARQ/V34/LAPM/V42BIS`: the rate is the leading digits of the first word.
                let word = words.trim_start();
                let digits = word.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
                Self::Connect { rate: digits.parse().ok().filter(|rate| *rate > 0) }
            }
        })
    }
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
    fn both_spellings_of_no_dial_tone_and_the_numeric_codes_are_read() {
        assert_eq!(ResultCode::parse("NO DIALTONE"), ResultCode::parse("NO DIAL TONE"));
        assert_eq!(ResultCode::parse("7"), Some(ResultCode::Busy));
        assert_eq!(ResultCode::parse("32"), Some(ResultCode::Blacklisted));
    }

    #[test]
    fn what_only_looks_like_a_code_is_none() {
        for line in ["CONNECTED", "OKAY", "ringing", "NO CARRIERS", "10", "", "AT+VCID=1"] {
            assert_eq!(ResultCode::parse(line), None, "{line}");
        }
    }
}
