//! Caller ID as a called station receives it, in the formats of real equipment.

/// One caller, as the exchange presents it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallerId {
    /// MMDD.
    pub(crate) date: String,
    /// HHMM.
    pub(crate) time: String,
    /// Digits, or why there are none.
    pub(crate) number: Presented,
    pub(crate) name: Option<String>,
}

/// A number, or why there is none (V.253 Table 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Presented {
    Number(String),
    /// `P`: the caller does not want it shown.
    Withheld,
    /// `O`: the network does not know it.
    Unavailable,
}

impl Presented {
    /// As V.253 shows it and as a call record keeps it.
    pub(crate) fn shown(&self) -> &str {
        match self {
            Self::Number(number) => number,
            Self::Withheld => "P",
            Self::Unavailable => "O",
        }
    }
}

/// Parameter types of a message with several of them (ETSI EN 300 659-3, Bellcore GR-30).
const MDMF: u8 = 0x80;
const DATE_AND_TIME: u8 = 0x01;
const NUMBER: u8 = 0x02;
const NUMBER_ABSENT: u8 = 0x04;
const NAME: u8 = 0x07;
const NAME_ABSENT: u8 = 0x08;

impl CallerId {
    /// The lines of V.253's formatted presentation.
    pub(crate) fn formatted(&self, is_tight: bool) -> Vec<String> {
        let equals = if is_tight { "=" } else { " = " };
        let name = self.name.as_ref().map(|name| format!("NAME{equals}{name}"));
        let number = self.number.shown();
        let known = [
            format!("DATE{equals}{}", self.date),
            format!("TIME{equals}{}", self.time),
            format!("NMBR{equals}{number}"),
        ];
        known.into_iter().chain(name).collect()
    }

    /// The packet as it comes over the line, in hexadecimal (`+VCID=2`).
    pub(crate) fn unformatted(&self) -> String {
        let mut body = Vec::new();
        let mut parameter = |kind: u8, value: &str| {
            // A number has 15 digits, a name 50 characters: both fit into the length octet, and so do all together.
            body.push(kind);
            body.push(u8::try_from(value.len()).unwrap_or_default());
            body.extend_from_slice(value.as_bytes());
        };
        parameter(DATE_AND_TIME, &format!("{}{}", self.date, self.time));
        match &self.number {
            Presented::Number(number) => parameter(NUMBER, number),
            absent => parameter(NUMBER_ABSENT, absent.shown()),
        }
        match (&self.name, &self.number) {
            (Some(name), _) => parameter(NAME, name),
            (None, Presented::Number(_)) => {}
            (None, absent) => parameter(NAME_ABSENT, absent.shown()),
        }
        let mut packet = vec![MDMF, u8::try_from(body.len()).unwrap_or(u8::MAX)];
        packet.append(&mut body);
        let sum = packet
            .iter()
            .fold(0_u8, |sum, octet| sum.wrapping_add(*octet));
        packet.push(sum.wrapping_neg());
        packet.iter().map(|octet| format!("{octet:02X}")).collect()
    }

    /// The `+CLIP` of a mobile telephone (3GPP 27.007 §7.6): number, type, and whether it is valid.
    pub(crate) fn clip(&self) -> String {
        let alpha = self.name.as_deref().unwrap_or_default().replace('"', "");
        let (number, validity) = match &self.number {
            Presented::Number(number) => (number.as_str(), 0),
            Presented::Withheld => ("", 1),
            Presented::Unavailable => ("", 2),
        };
        let kind = match number {
            "" => 128,
            international if international.starts_with('+') => 145,
            _ => 129,
        };
        format!("+CLIP: \"{number}\",{kind},\"\",0,\"{alpha}\",{validity}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(number: Presented, name: Option<&str>) -> CallerId {
        CallerId {
            date: "1122".into(),
            time: "1930".into(),
            number,
            name: name.map(str::to_owned),
        }
    }

    /// These two packets were decoded by minimodem 0.24 and spandsp, as `1122 1930 0661234567 PUSH SERVER` and as
    /// blocked.
    #[test]
    fn the_packet_is_the_one_that_independent_decoders_read() {
        let known = caller(Presented::Number("0661234567".into()), Some("PUSH SERVER"));
        let wanted = "802301083131323231393330020A30363631323334353637070B505553482053455256455264";
        assert_eq!(known.unformatted(), wanted);
        assert_eq!(
            caller(Presented::Withheld, None).unformatted(),
            "80100108313132323139333004015008015026"
        );
    }

    #[test]
    fn a_mobile_is_told_the_type_of_the_number_and_why_there_is_none() {
        let number = |text: &str| caller(Presented::Number(text.into()), None).clip();
        assert_eq!(number("+4930123"), "+CLIP: \"+4930123\",145,\"\",0,\"\",0");
        assert_eq!(number("0661234"), "+CLIP: \"0661234\",129,\"\",0,\"\",0");
        assert_eq!(
            caller(Presented::Withheld, None).clip(),
            "+CLIP: \"\",128,\"\",0,\"\",1"
        );
        assert_eq!(
            caller(Presented::Unavailable, None).clip(),
            "+CLIP: \"\",128,\"\",0,\"\",2"
        );
    }

    #[test]
    fn equals_signs_stand_free_or_tight() {
        let caller = caller(Presented::Unavailable, Some("PAY PHONE"));
        assert_eq!(
            caller.formatted(false),
            ["DATE = 1122", "TIME = 1930", "NMBR = O", "NAME = PAY PHONE"]
        );
        assert_eq!(
            caller.formatted(true),
            ["DATE=1122", "TIME=1930", "NMBR=O", "NAME=PAY PHONE"]
        );
    }
}
