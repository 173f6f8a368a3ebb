//! What this machine may spend by itself: calls and minutes a day, kept on the disk.
//!
//! ```text
//!   reserve (the longest the call may take) ──sync──► dial ──► settle (what it took) ──sync
//! ```
//!
//! A crash between the two leaves the reservation, which counts as spent. So no ring, no restart and no bug above this
//! room makes the machine spend more. Times that lie in the future (the clock was set back) count
//! as now; those of rings, if they are further ahead than rings count, not at all.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use delivery::private_folder;
use delivery::proof::write_secret;
use jiff::{SignedDuration, Timestamp};
use line::{Number, RATE_PERIOD};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// A clock before this is wrong: a machine without a battery for it begins in 1970, until something sets it.
const CLOCK_WRONG_BEFORE: Timestamp = Timestamp::constant(1_735_689_600, 0); // 2025

/// Over which calls and minutes are counted.
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// Calls of one number in an hour that may prove nothing before its answers are spaced.
pub const UNPROVED_MAX: u32 = 3;
/// Between two answers to a number that is spaced.
const SPACING: Duration = Duration::from_secs(600);
/// Between two calls back to a number that is spaced: so the useless ones of a day, 72, leave something of the day's calls.
const CALL_BACK_SPACING: Duration = Duration::from_secs(1200);
/// Total time an hour for proofs by callers from spaced numbers.
const HEARING: Duration = Duration::from_secs(60);
/// Rings remembered; more than anybody's hourly limit.
const RINGS_MAX: usize = 1000;

/// How much a machine may spend on calls of its own in any 24 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Calls, whatever becomes of them.
    pub calls_a_day: u32,
    /// Minutes on the line, from the end of dialling.
    pub minutes_a_day: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls_a_day: 100,
            minutes_a_day: 240,
        }
    }
}

/// The budget of one machine, in a folder.
#[derive(Debug)]
pub struct Budget {
    folder: PathBuf,
    limits: Limits,
}

/// Why a call is not placed.
#[derive(Debug, thiserror::Error)]
pub enum BudgetError {
    /// Maximum number of calls in 24 hours.
    #[error("{calls} calls in 24 hours are this machine's limit; the next may be placed at {next}")]
    Calls {
        /// The limit.
        calls: u32,
        /// When one of them is a day ago.
        next: Timestamp,
    },
    /// Maximum number of minutes in 24 hours.
    #[error(
        "{minutes} minutes of calls in 24 hours are this machine's limit; the next may be placed at {next}"
    )]
    Minutes {
        /// The limit.
        minutes: u32,
        /// When the oldest call is a day ago.
        next: Timestamp,
    },
    /// What is not on the disk is not spent.
    #[error("the budget in {folder} cannot be kept, so no call is placed")]
    Disk {
        /// Where it is.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Permission to place a call, with its maximum duration.
#[derive(Debug)]
#[must_use]
pub struct Reservation {
    /// Which of the calls in the file.
    at: Timestamp,
    /// The longest it may take.
    pub longest: Duration,
}

/// What is in the file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Spent {
    calls: Vec<SpentCall>,
    rings: Vec<ActedOn>,
    /// Calls that were answered, or placed for a ring, that ended without a proof or a delivery.
    #[serde(default)]
    unproved: Vec<ActedOn>,
    /// Calls whose carrier was lost before anything was proved.
    #[serde(default)]
    lost: Vec<ActedOn>,
    /// What callers from spaced numbers were given to prove themselves.
    #[serde(default)]
    heard: Vec<Heard>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Heard {
    at: Timestamp,
    millis: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct SpentCall {
    at: Timestamp,
    seconds: u64,
}

/// A ring that was acted on.
#[derive(Debug, Serialize, Deserialize)]
struct ActedOn {
    number: String,
    at: Timestamp,
}

impl Budget {
    /// The budget kept in `folder`, which is made if need be.
    pub fn new(folder: &Path, limits: Limits) -> Self {
        Self {
            folder: folder.to_owned(),
            limits,
        }
    }

    /// Reserves a call of at most `longest`, or of what is left of the day's minutes.
    ///
    /// # Errors
    /// [`BudgetError`]: then no call may be placed.
    pub fn reserve(&self, longest: Duration, now: Timestamp) -> Result<Reservation, BudgetError> {
        self.change(|spent| {
            let Limits {
                calls_a_day,
                minutes_a_day,
            } = self.limits;
            spent.forget(now);
            let next = |place: usize| spent.calls.get(place).map_or(now, |call| call.at + DAY);
            let calls = spent.calls.len();
            if calls >= calls_a_day as usize {
                return Err(BudgetError::Calls {
                    calls: calls_a_day,
                    next: next(calls - calls_a_day as usize),
                });
            }
            let seconds: u64 = spent.calls.iter().map(|call| call.seconds).sum();
            let left = (u64::from(minutes_a_day) * 60).saturating_sub(seconds);
            if left == 0 {
                return Err(BudgetError::Minutes {
                    minutes: minutes_a_day,
                    next: next(0),
                });
            }
            let longest = longest.min(Duration::from_secs(left));
            spent.calls.push(SpentCall {
                at: now,
                seconds: longest.as_secs().max(1),
            });
            Ok(Reservation { at: now, longest })
        })
    }

    /// Notes what a call has taken. A failure leaves the reservation, which is never less.
    ///
    /// # Errors
    /// [`BudgetError::Disk`].
    pub fn settle(&self, reservation: &Reservation, took: Duration) -> Result<(), BudgetError> {
        self.change(|spent| {
            if let Some(call) = spent
                .calls
                .iter_mut()
                .rfind(|call| call.at == reservation.at)
            {
                // A second that has begun is over.
                call.seconds = call
                    .seconds
                    .min(took.as_secs() + u64::from(took.subsec_nanos() > 0));
            }
            Ok(())
        })
    }

    /// How many rings of a number were acted on within the last hour. A file that cannot be read counts as many.
    pub fn acted_on(&self, number: &Number, now: Timestamp) -> u32 {
        let Ok(spent) = self.read() else {
            return u32::MAX;
        };
        let rings = spent
            .rings
            .iter()
            .filter(|ring| ring.number == number.as_str() && is_within(ring.at, RATE_PERIOD, now));
        u32::try_from(rings.count()).unwrap_or(u32::MAX)
    }

    /// Notes that a ring is being acted on.
    ///
    /// # Errors
    /// [`BudgetError::Disk`]: then it must not be.
    pub fn note_ring(&self, number: &Number, now: Timestamp) -> Result<(), BudgetError> {
        self.change(|spent| {
            note(&mut spent.rings, number, now);
            Ok(())
        })
    }

    /// Notes a call that was answered, or placed for a ring, and ended without a proof or a delivery; gives how many of this number did not
    /// within the last hour.
    ///
    /// # Errors
    /// [`BudgetError::Disk`].
    pub fn note_unproved(&self, number: &Number, now: Timestamp) -> Result<u32, BudgetError> {
        self.change(|spent| {
            note(&mut spent.unproved, number, now);
            Ok(count(&spent.unproved, number))
        })
    }

    /// Notes a call whose carrier was lost before anything was proved: the line's fault, which spaces nothing. Gives how many
    /// there were of this number within the last hour.
    ///
    /// # Errors
    /// [`BudgetError::Disk`].
    pub fn note_lost(&self, number: &Number, now: Timestamp) -> Result<u32, BudgetError> {
        self.change(|spent| {
            note(&mut spent.lost, number, now);
            Ok(count(&spent.lost, number))
        })
    }

    /// Whether a number's answers are spaced: three calls of an hour were not proved, and the last is less than ten minutes
    /// ago. Never for good: the number may be the real server's, forged. A file that cannot be read spaces.
    pub fn is_backed_off(&self, number: &Number, now: Timestamp) -> bool {
        self.is_spaced_by(number, SPACING, now)
    }

    /// The same of calls back, which this end pays for.
    pub fn is_call_back_spaced(&self, number: &Number, now: Timestamp) -> bool {
        self.is_spaced_by(number, CALL_BACK_SPACING, now)
    }

    fn is_spaced_by(&self, number: &Number, spacing: Duration, now: Timestamp) -> bool {
        let Ok(mut spent) = self.read() else {
            return true;
        };
        spent
            .unproved
            .retain(|call| is_within(call.at, RATE_PERIOD, now));
        let is_recent =
            |call: &ActedOn| call.number == number.as_str() && is_within(call.at, spacing, now);
        count(&spent.unproved, number) >= UNPROVED_MAX && spent.unproved.iter().any(is_recent)
    }

    /// What is left of the time that callers from spaced numbers have to prove themselves. A file that cannot be read leaves
    /// none.
    pub fn hearing_left(&self, now: Timestamp) -> Duration {
        self.read()
            .map_or(Duration::ZERO, |spent| spent.hearing_left(now))
    }

    /// Grants a caller from a spaced number the requested time, at most the remainder. The whole grant counts, even if less is used.
    ///
    /// # Errors
    /// [`BudgetError::Disk`]: then it has none.
    pub fn hear(&self, wanted: Duration, now: Timestamp) -> Result<Duration, BudgetError> {
        self.change(|spent| {
            spent
                .heard
                .retain(|heard| is_within(heard.at, RATE_PERIOD, now));
            let given = wanted.min(spent.hearing_left(now));
            spent.heard.push(Heard {
                at: now,
                millis: u64::try_from(given.as_millis()).unwrap_or(u64::MAX),
            });
            Ok(given)
        })
    }

    /// The server has proved itself on a call from this number.
    ///
    /// # Errors
    /// [`BudgetError::Disk`].
    pub fn note_proved(&self, number: &Number) -> Result<(), BudgetError> {
        match self.read() {
            // Nothing to forget, as nearly always: nothing to write.
            Ok(spent) if count(&spent.unproved, number) == 0 => Ok(()),
            _ => self.change(|spent| {
                spent.unproved.retain(|call| call.number != number.as_str());
                Ok(())
            }),
        }
    }

    /// Reads, changes and writes, alone: another program of this machine may be doing the same.
    fn change<T>(
        &self,
        work: impl FnOnce(&mut Spent) -> Result<T, BudgetError>,
    ) -> Result<T, BudgetError> {
        let disk = |source| BudgetError::Disk {
            folder: self.folder.clone(),
            source,
        };
        private_folder(&self.folder).map_err(disk)?;
        let lock = File::create(self.folder.join("budget.lock")).map_err(disk)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|errno| disk(errno.into()))?;
        let mut spent = self.read().map_err(disk)?;
        let result = work(&mut spent);
        // What was forgotten and put right is, whatever comes of the rest.
        self.write(&spent).map_err(disk)?;
        result
    }

    fn path(&self) -> PathBuf {
        self.folder.join("budget.json")
    }

    fn read(&self) -> io::Result<Spent> {
        match fs::read(self.path()) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Spent::default()),
            Err(error) => Err(error),
        }
    }

    fn write(&self, spent: &Spent) -> io::Result<()> {
        write_secret(&self.path(), &serde_json::to_vec(spent)?)
    }
}

impl Spent {
    fn hearing_left(&self, now: Timestamp) -> Duration {
        let recent = self
            .heard
            .iter()
            .filter(|heard| is_within(heard.at, RATE_PERIOD, now));
        HEARING.saturating_sub(
            recent
                .map(|heard| Duration::from_millis(heard.millis))
                .sum(),
        )
    }

    /// A call from the future, or from before the program was written, was placed by a clock that was wrong: it is as old as the
    /// clock that is right. One that is wrong itself puts no time right.
    fn forget(&mut self, now: Timestamp) {
        if now >= CLOCK_WRONG_BEFORE {
            let is_wrong = |at: Timestamp| at > now || at < CLOCK_WRONG_BEFORE;
            self.calls
                .iter_mut()
                .filter(|call| is_wrong(call.at))
                .for_each(|call| call.at = now);
        }
        self.calls.retain(|call| now.duration_since(call.at) < DAY);
    }
}

/// Notes one more of a number's, and forgets those of more than an hour ago.
fn note(acted_on: &mut Vec<ActedOn>, number: &Number, now: Timestamp) {
    acted_on.retain(|ring| is_within(ring.at, RATE_PERIOD, now));
    let surplus = (acted_on.len() + 1).saturating_sub(RINGS_MAX);
    acted_on.drain(..surplus);
    acted_on.push(ActedOn {
        number: number.to_string(),
        at: now,
    });
}

fn count(calls: &[ActedOn], number: &Number) -> u32 {
    u32::try_from(
        calls
            .iter()
            .filter(|call| call.number == number.as_str())
            .count(),
    )
    .unwrap_or(u32::MAX)
}

fn is_within(at: Timestamp, period: Duration, now: Timestamp) -> bool {
    now.duration_since(at).abs() < SignedDuration::try_from(period).unwrap_or(DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: SignedDuration = SignedDuration::from_hours(1);
    const TEN_MINUTES: Duration = Duration::from_secs(600);

    fn noon() -> Timestamp {
        "2026-11-23T12:00:00Z".parse().unwrap()
    }

    fn budget(folder: &tempfile::TempDir, calls_a_day: u32, minutes_a_day: u32) -> Budget {
        Budget::new(
            folder.path(),
            Limits {
                calls_a_day,
                minutes_a_day,
            },
        )
    }

    #[test]
    fn calls_are_counted_over_24_hours_and_across_restarts() {
        let folder = tempfile::tempdir().unwrap();
        for n in 0..3 {
            let _ = budget(&folder, 3, 1000)
                .reserve(TEN_MINUTES, noon() + n * HOUR)
                .unwrap();
        }
        let refused = budget(&folder, 3, 1000).reserve(TEN_MINUTES, noon() + 3 * HOUR);
        assert!(
            matches!(refused, Err(BudgetError::Calls { calls: 3, next }) if next == noon() + DAY),
            "{refused:?}"
        );
        assert!(
            budget(&folder, 3, 1000)
                .reserve(TEN_MINUTES, noon() + DAY)
                .is_ok()
        );
    }

    #[test]
    fn a_call_may_take_what_is_left_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let budget = budget(&folder, 100, 15);
        let first = budget.reserve(TEN_MINUTES, noon()).unwrap();
        assert_eq!(first.longest, TEN_MINUTES);
        let second = budget.reserve(TEN_MINUTES, noon() + HOUR).unwrap();
        assert_eq!(second.longest, TEN_MINUTES / 2);
        assert!(matches!(
            budget.reserve(TEN_MINUTES, noon() + HOUR),
            Err(BudgetError::Minutes { minutes: 15, .. })
        ));
        budget
            .settle(&second, Duration::from_millis(59_001))
            .unwrap();
        assert_eq!(
            budget.reserve(TEN_MINUTES, noon() + HOUR).unwrap().longest,
            Duration::from_secs(4 * 60)
        );
    }

    #[test]
    fn a_call_that_was_never_settled_counts_as_spent() {
        let folder = tempfile::tempdir().unwrap();
        drop(
            budget(&folder, 100, 10)
                .reserve(TEN_MINUTES, noon())
                .unwrap(),
        ); // the power fails
        assert!(
            budget(&folder, 100, 10)
                .reserve(TEN_MINUTES, noon() + HOUR)
                .is_err()
        );
    }

    #[test]
    fn a_clock_that_is_set_back_sets_no_minute_free() {
        let folder = tempfile::tempdir().unwrap();
        let _ = budget(&folder, 1, 10).reserve(TEN_MINUTES, noon()).unwrap();
        let refused = budget(&folder, 1, 10).reserve(TEN_MINUTES, noon() - 1000 * HOUR);
        assert!(
            matches!(refused, Err(BudgetError::Calls { .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn a_clock_that_was_years_ahead_costs_a_day_and_not_the_years() {
        let folder = tempfile::tempdir().unwrap();
        let (budget, ahead) = (budget(&folder, 1, 10), noon() + 24 * 365 * HOUR);
        let number = "201".parse().unwrap();
        let _ = budget.reserve(TEN_MINUTES, ahead).unwrap();
        budget.note_ring(&number, ahead).unwrap();
        for _ in 0..3 {
            budget.note_unproved(&number, ahead).unwrap();
        }
        assert!(
            budget.reserve(TEN_MINUTES, noon()).is_err(),
            "it was spent, whenever"
        );
        assert_eq!(
            (
                budget.acted_on(&number, noon()),
                budget.is_backed_off(&number, noon())
            ),
            (0, false)
        );
        assert!(budget.reserve(TEN_MINUTES, noon() + 23 * HOUR).is_err());
        assert!(budget.reserve(TEN_MINUTES, noon() + 24 * HOUR).is_ok());
    }

    #[test]
    fn a_clock_that_begins_in_1970_sets_no_call_free_before_it_is_right_nor_then() {
        let folder = tempfile::tempdir().unwrap();
        let (budget, boot) = (
            budget(&folder, 2, 100),
            Timestamp::UNIX_EPOCH + 5 * SignedDuration::from_mins(1),
        );
        let _ = budget.reserve(TEN_MINUTES, noon()).unwrap();
        let _ = budget.reserve(TEN_MINUTES, boot).unwrap();
        assert!(
            budget.reserve(TEN_MINUTES, boot + HOUR).is_err(),
            "two were placed"
        );
        assert!(
            budget.reserve(TEN_MINUTES, noon() + HOUR).is_err(),
            "and are when the clock is right again"
        );
        let _ = budget.reserve(TEN_MINUTES, noon() + 25 * HOUR).unwrap();
        // One that is never set: a day is a day.
        let folder = tempfile::tempdir().unwrap();
        let budget = self::budget(&folder, 1, 100);
        let _ = budget.reserve(TEN_MINUTES, boot).unwrap();
        assert!(budget.reserve(TEN_MINUTES, boot + 23 * HOUR).is_err());
        assert!(budget.reserve(TEN_MINUTES, boot + 24 * HOUR).is_ok());
    }

    #[test]
    fn callers_from_spaced_numbers_are_heard_for_a_minute_an_hour_in_all() {
        let folder = tempfile::tempdir().unwrap();
        let budget = budget(&folder, 100, 100);
        let given: Vec<_> = (0..10)
            .map(|_| {
                budget
                    .hear(Duration::from_secs(7), noon())
                    .unwrap()
                    .as_secs()
            })
            .collect();
        assert_eq!(given, [7, 7, 7, 7, 7, 7, 7, 7, 4, 0]);
        assert_eq!(budget.hearing_left(noon() + HOUR), HEARING);
    }

    #[test]
    fn calls_back_that_bring_nothing_leave_something_of_a_days_calls() {
        let folder = tempfile::tempdir().unwrap();
        let (one, budget) = ("201".parse().unwrap(), budget(&folder, 100, 1000));
        let mut placed = 0;
        for minute in 0..24 * 60 {
            let at = noon() + SignedDuration::from_mins(minute);
            if !budget.is_call_back_spaced(&one, at) {
                let reservation = budget.reserve(Duration::from_secs(30), at).unwrap();
                budget
                    .settle(&reservation, Duration::from_secs(20))
                    .unwrap();
                budget.note_unproved(&one, at).unwrap();
                placed += 1;
            }
        }
        assert!(
            placed <= 75,
            "{placed} calls of a hundred a day, whoever rings without end"
        );
    }

    #[test]
    fn lost_carriers_are_counted_and_space_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (one, budget) = ("201".parse().unwrap(), budget(&folder, 100, 100));
        for count in 1..=9 {
            assert_eq!(budget.note_lost(&one, noon()).unwrap(), count);
        }
        assert!(!budget.is_backed_off(&one, noon()));
    }

    #[test]
    fn what_cannot_be_kept_is_not_spent() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("budget.json"), "not what we write").unwrap();
        let budget = budget(&folder, 100, 100);
        assert!(matches!(
            budget.reserve(TEN_MINUTES, noon()),
            Err(BudgetError::Disk { .. })
        ));
        assert_eq!(budget.acted_on(&"201".parse().unwrap(), noon()), u32::MAX);
    }

    #[test]
    fn the_answers_to_a_number_are_spaced_after_three_unproved_calls_and_never_for_good() {
        let folder = tempfile::tempdir().unwrap();
        let budget = budget(&folder, 100, 100);
        let (one, other): (Number, Number) = ("201".parse().unwrap(), "202".parse().unwrap());
        let at = |minutes| noon() + SignedDuration::from_mins(minutes);
        for (minutes, count) in [(0, 1), (1, 2), (2, 3)] {
            assert!(!budget.is_backed_off(&one, at(minutes)));
            assert_eq!(budget.note_unproved(&one, at(minutes)).unwrap(), count);
        }
        assert!(budget.is_backed_off(&one, at(3)) && !budget.is_backed_off(&other, at(3)));
        assert!(
            !budget.is_backed_off(&one, at(12)),
            "the real server gets through"
        );
        assert!(!budget.is_backed_off(&one, at(62)));
        budget.note_proved(&one).unwrap();
        assert!(!budget.is_backed_off(&one, at(3)));
    }

    #[test]
    fn rings_are_counted_by_number_for_an_hour() {
        let folder = tempfile::tempdir().unwrap();
        let budget = budget(&folder, 100, 100);
        let (one, other): (Number, Number) = ("201".parse().unwrap(), "202".parse().unwrap());
        for minutes in [0, 10, 20] {
            budget
                .note_ring(&one, noon() + SignedDuration::from_mins(minutes))
                .unwrap();
        }
        let at = noon() + SignedDuration::from_mins(61);
        assert_eq!(
            (budget.acted_on(&one, at), budget.acted_on(&other, at)),
            (2, 0)
        );
    }
}
