//! What a call's end means for the next.

use std::time::Duration;

use delivery::TerminalId;

use super::avoided::Avoidance;
use super::lines::LineIndex;
use super::terminal::{Rest, State};
use super::{Dispatch, LONG, Moment, ONCE_A_DAY, RetryRules};
use model::outcome::{Outcome, Retry};

impl Dispatch {
    /// What a call's end means for the next.
    pub(super) fn after(
        &mut self,
        id: TerminalId,
        line: Option<LineIndex>,
        outcome: &Outcome,
        now: Moment,
    ) {
        let RetryRules {
            first,
            longest,
            session_wait,
            ..
        } = self.retry;
        match outcome.retry() {
            Retry::None => {
                self.terminals.remove(&id);
                if outcome.is_good() {
                    self.series.remove(&id);
                    self.suspects.cleared(id);
                }
            }
            Retry::AwaitSession => {
                let comes_until = now.at + session_wait;
                if let Some(line) = line {
                    self.avoided.rung(id, line, comes_until);
                }
                self.rest(id, comes_until, Rest::Session);
            }
            Retry::OtherLine | Retry::LineRests => self.enqueue(id),
            Retry::Pause => self.rest(id, now.at + first, Rest::BackingOff),
            Retry::OnceADay => {
                let pause = self.pause(id, first.saturating_mul(LONG), ONCE_A_DAY);
                self.rest(id, now.at + pause, Rest::BackingOff);
            }
            Retry::BackOff => {
                let pause = self.pause(id, first, longest);
                self.rest(id, now.at + pause, Rest::BackingOff);
            }
            Retry::RedialLimit | Retry::LineRefuses => {
                self.not_dialled(id, line, outcome, now);
            }
            Retry::BackOffLong => self.back_off_long(id, now),
            Retry::NotBefore(wait) => {
                let pause = self.pause(id, first, longest).max(wait);
                self.rest(id, now.at + pause, Rest::BackingOff);
            }
            Retry::NextBudget(wait) => {
                // Not all at once at midnight.
                let pause = wait + first.mul_f64(self.fraction());
                self.rest(id, now.at + pause, Rest::Budget);
            }
            Retry::Never => {
                if let Some(terminal) = self.terminals.get_mut(&id) {
                    terminal.state = State::Paused;
                }
            }
        }
    }

    /// The modem would not dial: another line may.
    fn not_dialled(
        &mut self,
        id: TerminalId,
        line: Option<LineIndex>,
        outcome: &Outcome,
        now: Moment,
    ) {
        let until = now.at + self.retry.redials.modem_pause;
        let why = if *outcome == Outcome::RedialLimited {
            Avoidance::NotYet
        } else {
            Avoidance::Refused
        };
        if let Some(line) = line {
            self.avoided.avoid(id, line, why, until);
        }
        if self.has_other_line(id) {
            self.enqueue(id);
        } else if outcome.retry() == Retry::RedialLimit {
            let until = self.avoided.first_end(id).unwrap_or(until);
            self.rest(id, until, Rest::ModemLimit);
        } else {
            // No line dials it: it is the number.
            self.avoided.forget_all(id);
            self.back_off_long(id, now);
        }
    }

    fn back_off_long(&mut self, id: TerminalId, now: Moment) {
        let RetryRules { first, longest, .. } = self.retry;
        let pause = self.pause(id, first.saturating_mul(LONG), longest.saturating_mul(LONG));
        self.rest(id, now.at + pause, Rest::BackingOff);
    }

    /// Doubled with each failure; up to a fifth less, so that terminals that failed together are not called together.
    fn pause(&mut self, id: TerminalId, first: Duration, longest: Duration) -> Duration {
        let series = self.series.entry(id).or_default();
        series.failures = series.failures.saturating_add(1);
        let doubled = first.saturating_mul(1 << (series.failures - 1).min(20));
        let pause = doubled.min(longest);
        pause - pause.mul_f64(0.2 * self.fraction())
    }
}
