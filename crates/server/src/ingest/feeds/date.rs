//! Pure. The dates of feeds, as they are written.

use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

/// Zones by name, in hours (RFC 822 §5.1); any other is taken for UTC.
const ZONES: [(&str, i8); 12] = [
    ("est", -5),
    ("edt", -4),
    ("cst", -6),
    ("cdt", -5),
    ("mst", -7),
    ("mdt", -6),
    ("pst", -8),
    ("pdt", -7),
    ("cet", 1),
    ("cest", 2),
    ("msk", 3),
    ("jst", 9),
];

/// RFC 3339, as much of ISO 8601 as W3CDTF has, RFC 822 and what resembles it.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(at) = text.parse() {
        return Some(at);
    }
    if let Ok(at) = text.trim_end_matches(['Z', 'z']).parse::<DateTime>() {
        return at.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp());
    }
    by_words(text)
}

/// `[Mon,] 2 Nov 2026 12:00[:00] [GMT]`, or the same words in another order.
fn by_words(text: &str) -> Option<Timestamp> {
    let (mut day, mut month, mut year, mut time, mut offset) =
        (None, None, None, (0, 0, 0), Offset::UTC);
    for word in text
        .split([' ', ',', '\t', '\n', '\r'])
        .filter(|word| !word.is_empty())
    {
        let lower = word.to_ascii_lowercase();
        let named = lower
            .get(..3)
            .and_then(|head| MONTHS.iter().position(|month| *month == head));
        if let Some(signed) = lower.strip_prefix('+').or_else(|| lower.strip_prefix('-')) {
            let (hours, minutes) = (
                signed.get(..2)?.parse::<u8>().ok()?,
                signed.get(2..)?.trim_matches(':'),
            );
            let minutes =
                i32::from(hours) * 60 + i32::from(minutes.parse::<u8>().unwrap_or_default());
            let sign = if lower.starts_with('-') { -60 } else { 60 };
            offset = Offset::from_seconds(minutes * sign).ok()?;
        } else if word.contains(':') {
            let mut parts = word.split(':').map(|part| {
                part.split('.')
                    .next()
                    .unwrap_or_default()
                    .parse::<i8>()
                    .ok()
            });
            time = (
                parts.next()??,
                parts.next()??,
                parts.next().flatten().unwrap_or_default(),
            );
        } else if let Ok(number) = word.parse::<i16>() {
            match day {
                None => day = Some(i8::try_from(number).ok()?),
                Some(_) => year = year.or(Some(number)),
            }
        } else if month.is_none() && named.is_some() {
            month = named.and_then(|index| i8::try_from(index + 1).ok());
        } else if let Some((_, hours)) = ZONES.iter().find(|(name, _)| *name == lower) {
            offset = Offset::constant(*hours);
        }
    }
    let year = match year? {
        short @ 0..=69 => 2000 + short,
        short @ 70..=99 => 1900 + short,
        year => year,
    };
    let (hour, minute, second) = time;
    let at = Date::new(year, month?, day?)
        .ok()?
        .at(0, 0, 0, 0)
        .to_zoned(TimeZone::UTC)
        .ok()?
        .timestamp();
    // The last second of a leap minute, and 24:00, are the first of the next.
    let seconds = (i64::from(hour) * 60 + i64::from(minute)) * 60 + i64::from(second)
        - i64::from(offset.seconds());
    at.checked_add(SignedDuration::from_secs(seconds)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_feeds_write_them() {
        for text in [
            "2026-11-02T12:00:00Z",
            "2026-11-02T13:00:00+01:00",
            "2026-11-02T12:00:00",
            "2026-11-02 12:00:00Z",
            "Mon, 02 Nov 2026 12:00:00 GMT",
            "Tue, 2 November 2026 12:00 UT",
            "2 nov 26 07:00:00 EST",
            "Mon, 02 Nov 2026 14:00:00 +0200",
            "Mon, 02 Nov 2026 06:30:00 -05:30",
            "Mon Nov  2 12:00:00 2026",
            "  Mon, 02 Nov 2026 12:00:00 XYZ\n",
        ] {
            assert_eq!(
                parse(text).map(|at| at.to_string()).as_deref(),
                Some("2026-11-02T12:00:00Z"),
                "{text:?}"
            );
        }
        assert_eq!(
            parse("2026-11-02").map(|at| at.to_string()).as_deref(),
            Some("2026-11-02T00:00:00Z")
        );
        let absurd = [
            "2 Nov 2026 12:00 +019223372036854775807",
            "2 Nov 2026 12:00 -99:99999999999999999999",
        ];
        assert_eq!(absurd.map(parse).map(|at| at.is_some()), [true, false]);
        for text in [
            "",
            "soon",
            "Mon, 99 Nov 2026 12:00 GMT",
            "32767 32767",
            "+",
            "-\u{e9}",
            "1:",
            "2026",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
