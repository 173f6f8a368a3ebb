//! Pure. When something is allowed: hours of the week, as an operator writes them.

mod opening;

use std::fmt;
use std::str::FromStr;

use jiff::Zoned;

use opening::Skipped;

/// Minutes in a day.
const DAY: u16 = 24 * 60;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A minute of the week in local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeekMinute {
    /// 0 is Monday 00:00.
    number: u16,
    /// The clock was set forward just before.
    skipped: Option<Skipped>,
}

impl WeekMinute {
    /// `weekday` counts from Monday, 0; what is beyond the end of a day or week is its last minute.
    pub fn new(weekday: u8, hour: u8, minute: u8) -> Self {
        let minute = (u16::from(hour) * 60 + u16::from(minute)).min(DAY - 1);
        Self {
            number: u16::from(weekday.min(6)) * DAY + minute,
            skipped: None,
        }
    }

    /// The minute that it is then and there.
    pub fn at(now: &Zoned) -> Self {
        let unsigned = |part: i8| u8::try_from(part).unwrap_or_default();
        let weekday = unsigned(now.weekday().to_monday_zero_offset());
        let minute = Self::new(weekday, unsigned(now.hour()), unsigned(now.minute()));
        Self {
            skipped: Skipped::just_before(now),
            ..minute
        }
    }

    #[cfg(test)]
    pub(crate) const fn from_monday(minutes: u16) -> Self {
        Self {
            number: minutes,
            skipped: None,
        }
    }

    fn weekday(self) -> u16 {
        self.number / DAY
    }

    fn minute(self) -> u16 {
        self.number % DAY
    }
}

/// A window of the week: `"mon-fri 08:00-18:00"`, `"sat 09:00-12:00"`, `"20:00-06:00"` on every day. One that ends
/// before it begins ends on the next day; `"24:00"` is the end of a day. One that lies in an hour that the clock is set over begins when
/// the clock has been set, and is as long as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Days on which it begins: first and last, which may be before the first (`sat-mon`).
    days: (u16, u16),
    /// Minutes of the day; the second is not in it.
    from: u16,
    to: u16,
}

/// Why a text is no window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no window such as \"mon-fri 08:00-18:00\", \"sat 09:00-12:00\" or \"20:00-06:00\""
)]
pub struct WindowError(String);

/// Windows that add up; none at all means always.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hours(pub Vec<Window>);

impl Hours {
    /// Whether it is one of them.
    pub fn contains(&self, at: WeekMinute) -> bool {
        self.0.is_empty() || self.0.iter().any(|window| window.contains(at))
    }
}

/// As written by an operator: windows with a comma between.
impl FromStr for Hours {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        match text.trim() {
            "" => Ok(Self::default()),
            text => Ok(Self(
                text.split(',').map(str::parse).collect::<Result<_, _>>()?,
            )),
        }
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, window) in self.0.iter().enumerate() {
            write!(f, "{}{window}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl Window {
    fn contains(self, at: WeekMinute) -> bool {
        let (day, minute) = (at.weekday(), at.minute());
        let yesterday = (day + 6) % 7;
        if self.from < self.to {
            let is_late = || {
                at.skipped
                    .is_some_and(|skipped| skipped.contains(minute, self.from, self.to))
            };
            self.begins_on(day) && ((self.from..self.to).contains(&minute) || is_late())
        } else {
            self.begins_on(day) && minute >= self.from
                || self.begins_on(yesterday) && minute < self.to
        }
    }

    fn begins_on(self, day: u16) -> bool {
        let (first, last) = self.days;
        if first <= last {
            (first..=last).contains(&day)
        } else {
            day >= first || day <= last
        }
    }
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let read = || {
            let (days, times) = match text.trim().split_once(' ') {
                Some((days, times)) => (days, times.trim()),
                None => ("mon-sun", text.trim()),
            };
            let day = |name: &str| {
                DAYS.iter()
                    .position(|day| *day == name)
                    .and_then(|day| u16::try_from(day).ok())
            };
            let days = match days.split_once('-') {
                Some((first, last)) => (day(first)?, day(last)?),
                None => (day(days)?, day(days)?),
            };
            let (from, to) = times.split_once('-')?;
            let (from, to) = (minute(from)?, minute(to)?);
            (from != to && from < DAY).then_some(Window { days, from, to })
        };
        read().ok_or_else(|| WindowError(text.to_owned()))
    }
}

/// `08:00` to `24:00`.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| {
        let is_two_digits = text.len() == 2 && text.bytes().all(|octet| octet.is_ascii_digit());
        if is_two_digits {
            text.parse::<u16>().ok()
        } else {
            None
        }
    };
    let minute = number(hour)? * 60 + number(minute).filter(|minute| *minute < 60)?;
    (minute <= DAY).then_some(minute)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (
            DAYS[usize::from(self.days.0)],
            DAYS[usize::from(self.days.1)],
        );
        let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        write!(f, "{first}-{last} {}-{}", time(self.from), time(self.to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(windows: &[&str], weekday: u8, hour: u8, minute: u8) -> bool {
        let hours = Hours(
            windows
                .iter()
                .map(|window| window.parse().unwrap())
                .collect(),
        );
        hours.contains(WeekMinute::new(weekday, hour, minute))
    }

    const MON: u8 = 0;
    const FRI: u8 = 4;
    const SAT: u8 = 5;
    const SUN: u8 = 6;

    #[test]
    fn a_window_begins_with_its_first_minute_and_ends_before_its_last() {
        let office = &["mon-fri 08:00-18:00"];
        assert!(within(office, MON, 8, 0) && within(office, FRI, 17, 59));
        assert!(
            !within(office, MON, 7, 59)
                && !within(office, FRI, 18, 0)
                && !within(office, SAT, 12, 0)
        );
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_begins() {
        let night = &["fri 22:00-06:00"];
        assert!(within(night, FRI, 23, 0) && within(night, SAT, 5, 59));
        assert!(
            !within(night, FRI, 5, 0) && !within(night, SAT, 6, 0) && !within(night, SAT, 22, 0)
        );
        assert!(
            within(&["sun 22:00-06:00"], MON, 1, 0),
            "the week is a circle"
        );
    }

    #[test]
    fn windows_add_up_and_none_means_always() {
        assert!(within(&[], SUN, 3, 0));
        assert!(within(
            &["mon 08:00-09:00", "sat-mon 12:00-24:00"],
            SUN,
            23,
            59
        ));
        assert!(within(&["12:00-13:00"], SUN, 12, 30));
    }

    #[test]
    fn hours_are_written_as_they_are_read() {
        for text in [
            "",
            "mon-sun 06:00-22:00",
            "mon-fri 08:00-18:00, sat-sat 09:00-12:00",
        ] {
            assert_eq!(text.parse::<Hours>().unwrap().to_string(), text);
        }
        assert!("06:00-22:00,".parse::<Hours>().is_err());
    }

    #[test]
    fn what_is_no_window_is_refused() {
        let texts = [
            "",
            "mon",
            "08:00",
            "mon 8:00-18:00",
            "mon 08:00-08:00",
            "mon 25:00-26:00",
            "mon 08:60-09:00",
            "24:00-01:00",
            "monday 08:00-18:00",
            "mon-xyz 08:00-18:00",
            "mon 08:00 - 18:00",
        ];
        for text in texts {
            assert_eq!(
                text.parse::<Window>(),
                Err(WindowError(text.to_owned())),
                "{text:?}"
            );
        }
    }
}
