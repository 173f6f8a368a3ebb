//! Pure. When hours open next, by the clock on the wall. On most nights that is a difference of two times; on two nights of the year the
//! clock is set forward or back, and an hour is missing or there twice.

use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};

use super::{DAY, Hours, WeekMinute};

/// Days that are looked through for an opening; longer closed: look again then.
const DAYS_LOOKED: usize = 62;

/// The clock is set forward by so much at most; what is more, such as a whole day, is no hour that is missing.
const SKIPPED_MAX: SignedDuration = SignedDuration::from_hours(3);

/// Time that was not on this day: the clock was set over it, and since then less has passed than was missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Skipped {
    /// Minutes that are missing.
    missing: u16,
    /// Minutes since then.
    passed: u16,
}

impl Skipped {
    pub(super) fn just_before(now: &Zoned) -> Option<Self> {
        let (zone, at) = (now.time_zone(), now.timestamp());
        let set = zone
            .preceding(at.checked_add(SignedDuration::from_nanos(1)).ok()?)
            .next()?;
        let passed = at.duration_since(set.timestamp());
        if passed >= SKIPPED_MAX {
            return None;
        }
        let before = zone.to_offset(
            set.timestamp()
                .checked_sub(SignedDuration::from_nanos(1))
                .ok()?,
        );
        let missing =
            SignedDuration::from_secs(i64::from(set.offset().seconds() - before.seconds()));
        let is_over = missing > SKIPPED_MAX || passed >= missing;
        let minutes = |time: SignedDuration| u16::try_from(time.as_mins()).ok();
        if is_over {
            None
        } else {
            Some(Self {
                missing: minutes(missing)?,
                passed: minutes(passed)?,
            })
        }
    }

    /// Whether a window of these minutes, all of which are missing, takes the place of this minute of the day.
    pub(super) fn contains(self, minute: u16, from: u16, to: u16) -> bool {
        let Some(end) = minute.checked_sub(self.passed) else {
            return false;
        };
        let Some(begin) = end.checked_sub(self.missing) else {
            return false;
        };
        begin <= from && to <= end && self.passed < to - from
    }
}

impl Hours {
    /// The first moment from now on that is in one of the windows, on no closed day: now, if it is. If all days for two months are closed,
    /// the end of that time.
    pub fn next_open(&self, now: &Zoned, is_closed: impl Fn(Date) -> bool) -> Zoned {
        let is_within = |at: &Zoned| self.0.is_empty() || self.contains(WeekMinute::at(at));
        let is_open = |at: &Zoned| !is_closed(at.date()) && is_within(at);
        if is_open(now) {
            return now.clone();
        }
        // A clock that is set back over midnight has a part of yesterday once more.
        let yesterday = now.date().yesterday().unwrap_or(now.date());
        let (zone, mut day, mut last) = (now.time_zone(), yesterday, now.clone());
        let set = zone
            .following(now.timestamp())
            .map(|set| set.timestamp())
            .take(DAYS_LOOKED);
        let set: Vec<_> = set
            .take_while(|set| set.duration_since(now.timestamp()).as_hours() < 24 * 64)
            .collect();
        for _ in 0..=DAYS_LOOKED {
            let mut moments: Vec<_> = self
                .beginnings(day)
                .flat_map(|minute| instants(zone, day, minute))
                .collect();
            // The clock is set: what was closed may be open at once.
            moments.extend(
                set.iter()
                    .filter(|set| set.to_zoned(zone.clone()).date() == day),
            );
            moments.retain(|moment| *moment > now.timestamp());
            moments.sort_unstable();
            for moment in moments {
                last = moment.to_zoned(zone.clone());
                if is_open(&last) {
                    return last;
                }
            }
            match day.tomorrow() {
                Ok(tomorrow) => day = tomorrow,
                Err(_) => break, // the end of the calendar
            }
        }
        last
    }

    /// The minutes of a day at which it may open: its first, for a window of the day before and after a closed day, and the windows'.
    fn beginnings(&self, day: Date) -> impl Iterator<Item = u16> {
        let weekday = u16::try_from(day.weekday().to_monday_zero_offset()).unwrap_or_default();
        let begin = self
            .0
            .iter()
            .filter(move |window| window.begins_on(weekday))
            .map(|window| window.from);
        begin.chain([0])
    }
}

/// When it is this minute of a day: once, twice, or, if that minute is missing, when the clock is set over it.
fn instants(zone: &TimeZone, day: Date, minute: u16) -> Vec<Timestamp> {
    let [hour, minute] =
        [minute % DAY / 60, minute % 60].map(|part| i8::try_from(part).unwrap_or_default());
    let time = day.at(hour, minute, 0, 0);
    let at = zone.to_ambiguous_zoned(time);
    let instant = |offset: Offset| offset.to_timestamp(time).ok();
    match at.offset() {
        AmbiguousOffset::Unambiguous { offset } => instant(offset).into_iter().collect(),
        AmbiguousOffset::Fold { before, after } => {
            [before, after].into_iter().filter_map(instant).collect()
        }
        AmbiguousOffset::Gap { after, .. } => {
            // With the offset that is still to come it is a moment before the clock is set.
            let before =
                instant(after).map(|at| zone.following(at).map(|set| set.timestamp()).next());
            before.flatten().into_iter().collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hours(windows: &[&str]) -> Hours {
        Hours(
            windows
                .iter()
                .map(|window| window.parse().unwrap())
                .collect(),
        )
    }

    /// Zones by their rules: a machine may have no table of their names.
    const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";
    const NEW_YORK: &str = "EST5EDT,M3.2.0,M11.1.0";
    const BEIRUT: &str = "EET-2EEST,M3.5.0/0,M10.5.0/0";
    const LORD_HOWE: &str = "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0";
    const ST_JOHNS: &str = "NST3:30NDT,M3.2.0,M11.1.0";
    /// As it was until 2011: a minute past midnight it is 23:01 again.
    const ST_JOHNS_ONCE: &str = "NST3:30NDT,M4.1.0/0:01,M10.5.0/0:01";
    const KOLKATA: &str = "IST-5:30";
    const UTC: &str = "UTC0";

    /// When it opens, in UTC. `now` is a time there, with its offset if it is there twice.
    fn opens(zone: &str, windows: &[&str], closed: &[&str], now: &str) -> String {
        let closed: Vec<Date> = closed.iter().map(|date| date.parse().unwrap()).collect();
        let zone = TimeZone::posix(zone).unwrap();
        let now = match now.parse::<Timestamp>() {
            Ok(now) => now.to_zoned(zone),
            Err(_) => now
                .parse::<jiff::civil::DateTime>()
                .unwrap()
                .to_zoned(zone)
                .unwrap(),
        };
        hours(windows)
            .next_open(&now, |date| closed.contains(&date))
            .timestamp()
            .to_string()
    }

    #[test]
    fn a_window_opens_by_the_clock_on_the_wall_on_the_night_on_which_it_is_set() {
        for (zone, now, window, opening) in [
            (
                BERLIN,
                "2027-03-28T01:59:45",
                "mon-sun 02:00-03:00",
                "2027-03-28T01:00:00Z",
            ),
            (
                BERLIN,
                "2027-03-28T01:59:45",
                "mon-sun 02:30-04:00",
                "2027-03-28T01:00:00Z",
            ),
            (
                BERLIN,
                "2027-03-28T01:59:30",
                "sun 03:01-03:20",
                "2027-03-28T01:01:00Z",
            ),
            (
                BERLIN,
                "2027-03-28T00:30:00",
                "sun 08:00-08:30",
                "2027-03-28T06:00:00Z",
            ),
            (
                BERLIN,
                "2027-03-28T03:29:59",
                "sun 02:15-02:45",
                "2027-03-28T01:29:59Z",
            ),
            (
                BERLIN,
                "2027-03-28T03:30:00",
                "sun 02:15-02:45",
                "2027-04-04T00:15:00Z",
            ),
            (
                BERLIN,
                "2027-10-31T02:59:45+02:00",
                "mon-sun 03:00-04:00",
                "2027-10-31T02:00:00Z",
            ),
            (
                BERLIN,
                "2027-10-31T01:30:00",
                "sun 02:10-02:20",
                "2027-10-31T00:10:00Z",
            ),
            (
                BERLIN,
                "2027-10-31T02:30:00+02:00",
                "sun 02:10-02:20",
                "2027-10-31T01:10:00Z",
            ),
            (
                BERLIN,
                "2027-10-31T02:30:00+02:00",
                "sun 01:00-02:10",
                "2027-10-31T01:00:00Z",
            ),
            (
                BERLIN,
                "2027-10-30T12:00:00",
                "sun 08:00-08:30",
                "2027-10-31T07:00:00Z",
            ),
            (
                NEW_YORK,
                "2027-03-14T01:59:00",
                "sun 02:15-02:45",
                "2027-03-14T07:00:00Z",
            ),
            (
                BEIRUT,
                "2027-03-27T23:59:30",
                "00:00-00:30",
                "2027-03-27T22:00:00Z",
            ),
            (
                ST_JOHNS_ONCE,
                "2027-10-31T00:00:59-02:30",
                "23:00-24:00",
                "2027-10-31T02:31:00Z",
            ),
            (
                ST_JOHNS_ONCE,
                "2027-10-31T00:00:59-02:30",
                "23:30-23:45",
                "2027-10-31T03:00:00Z",
            ),
            (
                KOLKATA,
                "2027-03-28T12:00:00",
                "sun 08:00-13:00",
                "2027-03-28T06:30:00Z",
            ),
        ] {
            assert_eq!(
                opens(zone, &[window], &[], now),
                opening,
                "{zone} {now} {window}"
            );
        }
    }

    #[test]
    fn closed_days_are_passed_over_and_open_days_begin_at_midnight() {
        let office = &["mon-fri 08:00-18:00"][..];
        // 2026-11-24 is a Tuesday.
        for (windows, closed, now, opening) in [
            (
                office,
                &[][..],
                "2026-11-24T07:59:30",
                "2026-11-24T08:00:00Z",
            ),
            (office, &[], "2026-11-24T08:00:07", "2026-11-24T08:00:07Z"),
            (
                office,
                &["2026-11-24"],
                "2026-11-24T12:00:00",
                "2026-11-25T08:00:00Z",
            ),
            (
                office,
                &["2026-11-25"],
                "2026-11-24T18:00:00",
                "2026-11-26T08:00:00Z",
            ),
            (
                office,
                &["2026-11-30"],
                "2026-11-27T18:00:00",
                "2026-12-01T08:00:00Z",
            ),
            (
                &[],
                &["2026-11-24"],
                "2026-11-24T23:00:00",
                "2026-11-25T00:00:00Z",
            ),
            (
                &["22:00-06:00"],
                &["2026-11-24"],
                "2026-11-24T23:00:00",
                "2026-11-25T00:00:00Z",
            ),
        ] {
            assert_eq!(
                opens(UTC, windows, closed, now),
                opening,
                "{windows:?} {closed:?} {now}"
            );
        }
        let now: Zoned = "2026-11-24T12:00:00[UTC]".parse().unwrap();
        let never = hours(&[]).next_open(&now, |_| true).date();
        assert_eq!(
            never,
            now.date() + jiff::Span::new().days(61),
            "looked at again then"
        );
    }

    const ZONES: [&str; 7] = [BERLIN, NEW_YORK, BEIRUT, LORD_HOWE, ST_JOHNS, KOLKATA, UTC];

    const WINDOWS: [&str; 10] = [
        "mon-sun 02:00-03:00",
        "sun 02:15-02:45",
        "sun 03:01-03:20",
        "22:00-06:00",
        "sat-sun 23:30-00:30",
        "00:00-00:30",
        "mon-fri 08:00-18:00",
        "wed 01:59-02:01",
        "02:59-24:00",
        "sun 01:30-02:30",
    ];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_moment_found_is_open_and_no_minute_before_it_is(
            zone in prop::sample::select(&ZONES[..]),
            windows in prop::sample::subsequence(&WINDOWS[..], 1..4),
            // About one of the nights on which a clock is set, or anywhere in ten years.
            near in 0_usize..30,
            off in -3_i64 * 86_400..86_400,
            anywhere in 1_800_000_000_i64..2_100_000_000,
            closed in 0_i8..7,
        ) {
            let (zone, hours) = (TimeZone::posix(zone).unwrap(), hours(&windows));
            let begin = Timestamp::from_second(1_800_000_000).unwrap();
            let night = zone.following(begin).nth(near).map_or(anywhere, |set| set.timestamp().as_second() + off);
            let now = Timestamp::from_second(night).unwrap().to_zoned(zone.clone());
            let is_closed = |date: Date| date.weekday().to_monday_zero_offset() == closed;
            let is_open = |at: &Zoned| !is_closed(at.date()) && hours.contains(WeekMinute::at(at));
            let found = hours.next_open(&now, is_closed);
            prop_assume!(windows.iter().any(|window| !window.starts_with("wed")) || closed != 2);
            prop_assume!(windows.iter().any(|window| !window.starts_with("sun")) || closed != 6);
            prop_assert!(is_open(&found), "{now}: {found}");
            let mut minute = now.timestamp();
            while minute < found.timestamp() {
                prop_assert!(!is_open(&minute.to_zoned(zone.clone())), "{now}: {minute} is before {found}");
                minute += SignedDuration::from_mins(1);
            }
        }
    }
}
