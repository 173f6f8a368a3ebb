//! Refusals: what a terminal does not take is the message's fault. The message rests, is tried again, and fails in the end;
//! nothing else waits for that.
//!
//! A message that rests causes no call. On a session that there is for another reason it is tried again behind all others, which
//! counts as no try.

use std::time::Duration;

use delivery::{Due, MessageId, TerminalId};
use jiff::{SignedDuration, Timestamp};
use line::CallId;
use rusqlite::{OptionalExtension as _, params};

use super::deliveries::{AttemptEnd, end};
use super::rows::{parse, read_count, read_urgency, time};
use super::stated::NOT_TAKEN;
use super::verdicts::give;
use super::{Store, StoreError};
use model::verdict::Verdict;

/// Characters of a refusal that are kept of its words.
const REASON_CHARS_MAX: usize = 300;

/// How often, and with which pauses, a message is tried again that its terminal refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusalRules {
    /// Tries, the first included; then the message has failed.
    pub tries_max: u32,
    /// The pause after the first refusal; doubled with each.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl Default for RefusalRules {
    /// Eight tries within a day.
    fn default() -> Self {
        Self {
            tries_max: 8,
            first: Duration::from_secs(600),
            longest: Duration::from_secs(24 * 3600),
        }
    }
}

/// What a terminal, or this server, had against a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It may take it another time.
    Again,
    /// It will never take it.
    ForGood,
    /// The fault is not the message's: it rests, with the same pauses, and does not fail for it.
    NotNow,
}

/// What came of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Tries that were refused so far.
    pub refusals: u32,
    /// The message has failed for it.
    pub is_given_up: bool,
}

/// What a terminal has refused, and what rests for that.
#[derive(Debug, Clone, Copy)]
pub struct Resting {
    /// The terminal.
    pub terminal: TerminalId,
    /// Messages that rest.
    pub messages: u64,
    /// When the first of them is tried again.
    pub until: Timestamp,
}

/// Terminals of which [`Store::resting`] tells, and messages of one that are tried again on one session.
const RESTING_MAX: u32 = 1000;

const IS_OVER: &str = "SELECT verdict IS NOT NULL OR pending_verdict IS NOT NULL FROM envelopes WHERE message = ?1 AND terminal = ?2";

impl RefusalRules {
    fn pause(&self, refusals: u32) -> Duration {
        self.first
            .saturating_mul(1 << refusals.saturating_sub(1).min(20))
            .min(self.longest)
    }
}

impl Store {
    /// Notes that a terminal did not take a message on this call, and what that says of whether it has it. The message rests, or
    /// fails after the last try.
    ///
    /// # Errors
    /// [`StoreError`]: the attempt is ended with the call, and tried again at once.
    pub async fn refused(
        &self,
        id: MessageId,
        terminal: TerminalId,
        call: CallId,
        how: AttemptEnd,
        refusal: Refusal,
        now: Timestamp,
    ) -> Result<Refused, StoreError> {
        let now = now.as_millisecond();
        let rules = self.refusals;
        let refused = self
            .writer
            .run(move |db| {
                let terminal = terminal.to_string();
                let found = db
                    .prepare_cached(
                        "SELECT m.seq, e.refusals, e.rests_until FROM messages m JOIN envelopes e ON e.message = m.seq
                         WHERE m.id = ?1 AND e.terminal = ?2 AND e.verdict IS NULL",
                    )?
                    .query_row(params![id.to_string(), terminal], |row| {
                        Ok((row.get::<_, i64>(0)?, row.get::<_, u32>(1)?, row.get::<_, Option<i64>>(2)?))
                    })
                    .optional()?;
                let Some((seq, before, rests_until)) = found else {
                    return Ok(Refused { refusals: 0, is_given_up: false });
                };
                end(db, seq, &terminal, &call.to_string(), &how, now)?;
                // The verdict that waited for the end of this attempt, or waits for the end of a doubt, has nothing to do with the refusal.
                let is_over: bool = db.prepare_cached(IS_OVER)?.query_row(params![seq, terminal], |row| row.get(0))?;
                if is_over {
                    return Ok(Refused { refusals: before, is_given_up: false });
                }
                // Tried on a session that there was anyway: that costs no try, and its rest goes on.
                if refusal != Refusal::ForGood && rests_until.is_some_and(|until| until > now) {
                    return Ok(Refused { refusals: before, is_given_up: false });
                }
                let refusals = before.saturating_add(1);
                let is_given_up =
                    refusal == Refusal::ForGood || (refusal == Refusal::Again && refusals >= rules.tries_max);
                let pause = SignedDuration::try_from(rules.pause(refusals)).unwrap_or(SignedDuration::MAX);
                let until = Timestamp::from_millisecond(now).ok().and_then(|now| now.checked_add(pause).ok());
                let until = until.map_or(i64::MAX, Timestamp::as_millisecond);
                db.prepare_cached(
                    "UPDATE envelopes SET refusals = ?3, rests_until = ?4
                     WHERE message = ?1 AND terminal = ?2 AND verdict IS NULL",
                )?
                .execute(params![seq, terminal, refusals, until])?;
                if is_given_up {
                    let outcome: String = how.words.chars().take(REASON_CHARS_MAX).collect();
                    let reason = match refusals {
                        1 => format!("the terminal refused it: {outcome}"),
                        _ => format!("the terminal refused it {refusals} times, the last: {outcome}"),
                    };
                    give(
                        db,
                        Verdict::Failed,
                        Some(&reason),
                        now,
                        "message = ?4 AND terminal = ?5",
                        &[&seq, &terminal],
                    )?;
                }
                Ok(Refused { refusals, is_given_up })
            })
            .await?;
        self.expiring.notify_one(); // its rest ends at a time of its own
        Ok(refused)
    }

    /// The messages for a terminal that rest, as they are to be tried again behind all others on a session that there is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn retries(
        &self,
        terminal: TerminalId,
        now: Timestamp,
    ) -> Result<Vec<Due>, StoreError> {
        let now = now.as_millisecond();
        self.reader
            .run(move |db| {
                let mut select = db.prepare_cached(&format!(
                    "SELECT m.id, e.urgency, m.size FROM envelopes e JOIN messages m ON m.seq = e.message
                     WHERE e.terminal = ?1 AND e.rests_until IS NOT NULL AND e.rests_until > ?2 AND e.verdict IS NULL
                       AND e.pending_verdict IS NULL AND NOT {NOT_TAKEN} ORDER BY e.urgency, e.message LIMIT ?3"
                ))?;
                let mut rows = select.query(params![terminal.to_string(), now, RESTING_MAX])?;
                let mut due = Vec::new();
                while let Some(row) = rows.next()? {
                    let id = parse(&row.get::<_, String>(0)?, "the id of a message")?;
                    due.push(Due { urgency: read_urgency(row.get(1)?)?, id, size: read_count(row, 2)? });
                }
                Ok(due)
            })
            .await
    }

    /// The terminals for which messages rest, by when the first of them is tried again; at most 1000.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn resting(&self) -> Result<Vec<Resting>, StoreError> {
        self.reader
            .run(|db| {
                let mut select = db.prepare_cached(
                    "SELECT terminal, count(*), min(rests_until) FROM envelopes
                     WHERE rests_until IS NOT NULL AND verdict IS NULL AND pending_verdict IS NULL
                     GROUP BY terminal ORDER BY 3, 1 LIMIT ?1",
                )?;
                let mut rows = select.query([RESTING_MAX])?;
                let mut resting = Vec::new();
                while let Some(row) = rows.next()? {
                    let terminal = parse(&row.get::<_, String>(0)?, "an envelope")?;
                    let until = time(row.get(2)?, "an envelope")?;
                    resting.push(Resting {
                        terminal,
                        messages: read_count(row, 1)?,
                        until,
                    });
                }
                Ok(resting)
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let rules = RefusalRules {
            tries_max: 9,
            first: Duration::from_secs(10),
            longest: Duration::from_secs(60),
        };
        let pauses: Vec<_> = (1..6)
            .map(|refusals| rules.pause(refusals).as_secs())
            .collect();
        assert_eq!(pauses, [10, 20, 40, 60, 60]);
    }
}
