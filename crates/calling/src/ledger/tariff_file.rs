//! A tariff as an operator writes it.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::civil::{Date, Time};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::tariff::{Day, DestinationClass, Month, OctetPrice, Payer, Tariff, Window};
use model::money::Micros;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// Each is looked at for each change of price.
const WINDOWS_MAX: usize = 64;
/// Shorter than any unit there was, and long enough to count in.
const UNIT_MS: std::ops::RangeInclusive<u64> = 100..=86_400_000;

/// A text in the file that is parsed.
struct Text<T>(T);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map(Self)
            .map_err(|error| D::Error::custom(format!("{text:?}: {error}")))
    }
}

impl<T: Default> Default for Text<T> {
    fn default() -> Self {
        Self(T::default())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TariffText {
    name: String,
    #[serde(default)]
    setup_fee: Text<Micros>,
    #[serde(default)]
    minimum: Text<Micros>,
    #[serde(default)]
    empty_fee: Text<Micros>,
    #[serde(default)]
    failure_fee: Text<Micros>,
    #[serde(default)]
    pays: PayerText,
    #[serde(default)]
    holidays: Vec<Text<Date>>,
    #[serde(default)]
    window: Vec<WindowText>,
    octets: Option<OctetsText>,
    #[serde(default)]
    month: MonthText,
    #[serde(default)]
    destination: Vec<DestinationText>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "snake_case")]
enum PayerText {
    #[default]
    Caller,
    Called,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowText {
    #[serde(default)]
    days: Vec<String>,
    from: Option<String>,
    to: Option<String>,
    unit_ms: u64,
    price: Text<Micros>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OctetsText {
    quantum: u64,
    price: Text<Micros>,
    #[serde(default)]
    minimum: u64,
    #[serde(default)]
    per_second: u64,
    #[serde(default)]
    slow_after: Text<SignedDuration>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct MonthText {
    #[serde(default)]
    floor: Text<Micros>,
    cap: Option<Text<Micros>>,
    #[serde(default)]
    bucket: Text<Micros>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DestinationText {
    prefixes: Vec<String>,
    tariff: String,
}

impl<'de> Deserialize<'de> for Tariff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        TariffText::deserialize(deserializer)?
            .check()
            .map_err(D::Error::custom)
    }
}

impl TariffText {
    fn check(self) -> Result<Tariff, String> {
        if self.window.len() > WINDOWS_MAX {
            return Err(format!("has more than {WINDOWS_MAX} windows"));
        }
        let windows = (0..).zip(self.window).map(|(index, window)| {
            window
                .check()
                .map_err(|problem: String| format!("window[{index}].{problem}"))
        });
        let destinations = self.destination.into_iter().map(DestinationText::check);
        Ok(Tariff {
            windows: windows.collect::<Result<_, _>>()?,
            destinations: destinations.collect::<Result<_, _>>()?,
            octets: self.octets.map(OctetsText::check).transpose()?,
            month: Month {
                floor: self.month.floor.0,
                cap: self.month.cap.map(|cap| cap.0),
                bucket: self.month.bucket.0,
            },
            name: self.name,
            setup_fee: self.setup_fee.0,
            minimum: self.minimum.0,
            empty_fee: self.empty_fee.0,
            failure_fee: self.failure_fee.0,
            payer: match self.pays {
                PayerText::Caller => Payer::Caller,
                PayerText::Called => Payer::Called,
            },
            holidays: self.holidays.into_iter().map(|date| date.0).collect(),
        })
    }
}

impl WindowText {
    fn check(self) -> Result<Window, String> {
        let mut days = BTreeSet::new();
        for text in &self.days {
            match (0..).zip(DAYS).find(|(_, name)| name == text) {
                Some((day, _)) => days.insert(Day::Week(day)),
                None if text == "holiday" => days.insert(Day::Holiday),
                None => {
                    return Err(format!(
                        "days: {text:?} is not one of {}, holiday",
                        DAYS.join(", ")
                    ));
                }
            };
        }
        if days.is_empty() {
            days = (0..7).map(Day::Week).chain([Day::Holiday]).collect();
        }
        let from = self
            .from
            .map_or(Ok(Time::midnight()), |text| time("from", &text))?;
        let to = self
            .to
            .map(|text| time("to", &text))
            .transpose()?
            .filter(|to| *to != Time::midnight());
        if to.is_some_and(|to| to <= from) {
            return Err("to: is not after from; a window over midnight is two".to_owned());
        }
        if !UNIT_MS.contains(&self.unit_ms) {
            return Err(format!(
                "unit_ms: is not from {} to {}",
                UNIT_MS.start(),
                UNIT_MS.end()
            ));
        }
        Ok(Window {
            days,
            from,
            to,
            unit: Duration::from_millis(self.unit_ms),
            price: self.price.0,
        })
    }
}

impl OctetsText {
    fn check(self) -> Result<OctetPrice, String> {
        if self.quantum == 0 {
            return Err("octets.quantum: must be at least 1".to_owned());
        }
        let slow_after = Duration::try_from(self.slow_after.0)
            .map_err(|_| "octets.slow_after: is less than nothing")?;
        Ok(OctetPrice {
            quantum: self.quantum,
            price: self.price.0,
            minimum: self.minimum,
            per_second: self.per_second,
            slow_after,
        })
    }
}

impl DestinationText {
    fn check(self) -> Result<DestinationClass, String> {
        let is_number = |text: &String| {
            let digits = text.strip_prefix('+').unwrap_or(text);
            !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_digit())
        };
        if let Some(wrong) = self.prefixes.iter().find(|prefix| !is_number(prefix)) {
            return Err(format!(
                "destination.prefixes: {wrong:?} is not how a number begins, such as \"+8190\""
            ));
        }
        Ok(DestinationClass {
            prefixes: self.prefixes,
            tariff: self.tariff,
        })
    }
}

fn time(key: &str, text: &str) -> Result<Time, String> {
    if text == "24:00" {
        return Ok(Time::midnight());
    }
    Time::strptime("%H:%M", text)
        .map_err(|_| format!("{key}: {text:?} is not a time of day such as \"08:00\""))
}
