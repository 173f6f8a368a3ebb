//! Reads a tariff from its table: `[tariff.NAME]`.

use super::{Class, Day, Micros, MonthTerms, OctetPrice, Payer, Tariff, Window};
use crate::config::Keys;
use jiff::civil::{Date, Time};
use std::{collections::BTreeSet, time::Duration};
use toml::Value;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// More than any tariff has; each is looked at for each change of price.
const WINDOWS_MAX: usize = 64;
/// Shorter than any unit there was (satellite: 4.5 s), and long enough to count in.
const UNIT_MS: std::ops::RangeInclusive<i64> = 100..=86_400_000;

/// Whatever is not as it should be is a fault; the tariff is then not used.
pub(crate) fn read(mut keys: Keys<'_>) -> Tariff {
    let mut tariff = Tariff {
        setup_fee: money(&mut keys, "setup_fee"),
        minimum: money(&mut keys, "minimum"),
        failure_fee: money(&mut keys, "failure_fee"),
        payer: keys
            .choice(
                "pays",
                &[("caller", Payer::Caller), ("called", Payer::Called)],
            )
            .unwrap_or_default(),
        ..Tariff::default()
    };
    for text in texts(&mut keys, "holidays") {
        match text.parse::<Date>() {
            Ok(date) => drop(tariff.holidays.insert(date)),
            Err(_) => keys.fault(
                "holidays",
                format!("\"{text}\" is not a date such as \"2026-12-25\""),
            ),
        }
    }
    let windows = keys.tables("window");
    if windows.len() > WINDOWS_MAX {
        keys.fault("window", format!("there are more than {WINDOWS_MAX}"));
    }
    for (index, table) in windows.into_iter().take(WINDOWS_MAX).enumerate() {
        let prefix = keys.name(&format!("window[{index}]."));
        tariff
            .windows
            .extend(window(Keys::new(table, prefix, keys.faults)));
    }
    if keys.has("octets") {
        let table = keys.table("octets");
        let prefix = keys.name("octets.");
        tariff.octets = Some(octets(Keys::new(table, prefix, keys.faults)));
    }
    for (index, table) in keys
        .tables("class")
        .into_iter()
        .enumerate()
        .take(WINDOWS_MAX)
    {
        let prefix = keys.name(&format!("class[{index}]."));
        tariff
            .classes
            .extend(class(Keys::new(table, prefix, keys.faults)));
    }
    if keys.has("month") {
        let table = keys.table("month");
        let prefix = keys.name("month.");
        tariff.month = month(Keys::new(table, prefix, keys.faults));
    }
    keys.end();
    tariff
}

fn class(mut keys: Keys<'_>) -> Option<Class> {
    let prefix = keys.text("prefix").unwrap_or_default();
    let rate_max = keys.number("rate_max", 1..=i64::from(u32::MAX));
    if prefix.is_empty() && rate_max.is_none() {
        keys.fault(
            "prefix",
            "is missing, and so is rate_max: one says which calls are meant",
        );
    }
    let tariff = keys.text("tariff");
    if tariff.is_none() {
        keys.fault("tariff", "is missing: what such calls are charged by");
    }
    keys.end();
    Some(Class {
        prefix,
        rate_max,
        tariff: tariff?,
    })
}

fn month(mut keys: Keys<'_>) -> MonthTerms {
    let terms = MonthTerms {
        bucket: money(&mut keys, "bucket"),
        floor: money(&mut keys, "floor"),
        cap: keys.has("cap").then(|| money(&mut keys, "cap")),
    };
    if terms.cap.is_some_and(|cap| cap < terms.floor) {
        keys.fault("cap", "is below floor");
    }
    keys.end();
    terms
}

fn window(mut keys: Keys<'_>) -> Option<Window> {
    let mut days = BTreeSet::new();
    for text in texts(&mut keys, "days") {
        match (DAYS.iter().position(|day| *day == text), text.as_str()) {
            (Some(day), _) => drop(days.insert(Day::Week(i8::try_from(day).unwrap_or_default()))),
            (None, "holiday") => drop(days.insert(Day::Holiday)),
            _ => keys.fault(
                "days",
                format!("\"{text}\" is not one of {}, holiday", DAYS.join(", ")),
            ),
        }
    }
    if days.is_empty() {
        days = (0..7).map(Day::Week).chain([Day::Holiday]).collect();
    }
    let from = time(&mut keys, "from").unwrap_or(Time::midnight());
    let to = time(&mut keys, "to").filter(|to| *to != Time::midnight());
    if to.is_some_and(|to| to <= from) {
        keys.fault("to", "is not after from: a window over midnight is two");
    }
    let price = money(&mut keys, "price");
    if !keys.has("unit_ms") {
        keys.fault("unit_ms", "is missing");
    }
    let unit = keys.number("unit_ms", UNIT_MS).map(Duration::from_millis);
    keys.end();
    Some(Window {
        days,
        from,
        to,
        unit: unit?,
        price,
    })
}

fn octets(mut keys: Keys<'_>) -> OctetPrice {
    let any = 0..=i64::MAX;
    let octets = OctetPrice {
        quantum: keys.number("quantum", 1..=i64::MAX).unwrap_or(1),
        price: money(&mut keys, "price"),
        minimum: keys.number("minimum", any.clone()).unwrap_or_default(),
        per_second: keys.number("per_second", any).unwrap_or_default(),
        slow_after: keys.time("slow_after").unwrap_or_default(),
    };
    keys.end();
    octets
}

fn time(keys: &mut Keys<'_>, key: &str) -> Option<Time> {
    let text = keys.text(key)?;
    let time = if text == "24:00" {
        Ok(Time::midnight())
    } else {
        Time::strptime("%H:%M", &text)
    };
    if time.is_err() {
        keys.fault(
            key,
            format!("\"{text}\" is not a time of day such as \"08:00\""),
        );
    }
    time.ok()
}

fn texts(keys: &mut Keys<'_>, key: &str) -> Vec<String> {
    let texts = match keys.take(key) {
        None => return Vec::new(),
        Some(Value::Array(items)) => items
            .into_iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>(),
        Some(_) => None,
    };
    if texts.is_none() {
        keys.fault(key, "must be a list of texts in quotes");
    }
    texts.unwrap_or_default()
}

/// Money is text, never a binary fraction: `"8.5"`.
fn money(keys: &mut Keys<'_>, key: &str) -> Micros {
    let Some(text) = keys.text(key) else {
        return Micros::default();
    };
    parse(&text).unwrap_or_else(|| {
        keys.fault(
            key,
            format!("\"{text}\" is not an amount such as \"8.5\", with at most 6 decimals"),
        );
        Micros::default()
    })
}

pub(super) fn parse(text: &str) -> Option<Micros> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits =
        |part: &str| !part.is_empty() && part.bytes().all(|octet| octet.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) || fraction.len() > 6 {
        return None;
    }
    let fraction: i64 = format!("{fraction:0<6}").parse().ok()?;
    whole
        .parse::<i64>()
        .ok()?
        .checked_mul(1_000_000)?
        .checked_add(fraction)
        .map(Micros)
}
