//! What terminals have registered for, and who has registered for a topic.

use std::collections::BTreeSet;

use delivery::{TerminalId, Topic, TopicFilter, Urgency};
use jiff::{Timestamp, Zoned};
use rusqlite::{Connection as Database, Row, params};

use super::rows::{parse, read_count, read_urgency, time, urgency_rank};
use super::stated::end_rests;
use super::{Constraint, Last, Store, StoreError};
use model::directory::Name;
use model::subscription::{
    Calls, RegisteredBy, SUBSCRIPTIONS_MAX, Subscriber, Subscription, allow_filter, subscribers,
};

/// Envelopes, and words of terminals, that one transaction releases.
const RELEASED_AT_ONCE: usize = 256;

/// How the database writes "never" where it sorts by time.
const NEVER: i64 = i64::MAX;

/// Why a terminal is not registered for a topic.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// Wider than what it may register for.
    #[error("this terminal may not register for {filter}; it may for: {registrable}")]
    TooBroad {
        /// What it asked for.
        filter: TopicFilter,
        /// What it may ask for.
        registrable: String,
    },
    /// It has as many as it may.
    #[error("a terminal has at most {SUBSCRIPTIONS_MAX} subscriptions")]
    TooMany,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A subscription as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionEntry {
    /// What.
    pub subscription: Subscription,
    /// Who registered it.
    pub by: RegisteredBy,
    /// When.
    pub at: Timestamp,
}

impl Store {
    /// Registers a terminal for what a filter means; the same filter again changes the conditions.
    ///
    /// # Errors
    /// [`RegisterError`]: nothing is changed. The rights are those of what the terminal registers by itself.
    pub async fn subscribe(
        &self,
        terminal: TerminalId,
        subscription: Subscription,
        by: RegisteredBy,
        now: Timestamp,
    ) -> Result<(), RegisterError> {
        let now = now.as_millisecond();
        let work = move |db: &Database| {
            let id = terminal.to_string();
            let registrable = select_registrable(db, &id)?;
            if by == RegisteredBy::Terminal
                && let Err(registrable) = allow_filter(&registrable, &subscription.filter)
            {
                return Ok(Err(RegisterError::TooBroad {
                    filter: subscription.filter,
                    registrable,
                }));
            }
            let filter = subscription.filter.to_string();
            let others = db
                .prepare_cached(
                    "SELECT count(*) FROM subscriptions WHERE terminal = ?1 AND filter <> ?2",
                )?
                .query_row([&id, &filter], |row| read_count(row, 0))?;
            if others >= SUBSCRIPTIONS_MAX {
                return Ok(Err(RegisterError::TooMany));
            }
            db.prepare_cached(
                "INSERT INTO subscriptions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (filter, terminal) DO UPDATE
                 SET urgency = excluded.urgency, size_max = excluded.size_max, hours = excluded.hours,
                   registered_by = excluded.registered_by, registered_at = excluded.registered_at",
            )?
            .execute(params![
                filter,
                id,
                urgency_rank(subscription.urgency),
                subscription.size_max.map(|max| i64::try_from(max).unwrap_or(i64::MAX)),
                subscription.hours.to_string(),
                by.as_str(),
                now,
            ])
            .map_err(|error| match error.into() {
                StoreError::Conflict { constraint: Constraint::Reference } => StoreError::NoTerminal(terminal),
                error => error,
            })?;
            Ok(Ok(()))
        };
        self.writer.run(work).await?
    }

    /// Takes a terminal off what a filter means. `false`: it was not registered for exactly that.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn unsubscribe(
        &self,
        terminal: TerminalId,
        filter: TopicFilter,
    ) -> Result<bool, StoreError> {
        self.writer
            .run(move |db| {
                let mut delete = db.prepare_cached(
                    "DELETE FROM subscriptions WHERE terminal = ?1 AND filter = ?2",
                )?;
                Ok(delete.execute([terminal.to_string(), filter.to_string()])? == 1)
            })
            .await
    }

    /// What a terminal has registered for, by filter.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn subscriptions(
        &self,
        terminal: TerminalId,
    ) -> Result<Vec<SubscriptionEntry>, StoreError> {
        self.reader
            .run(move |db| {
                let mut select = db.prepare_cached(
                    "SELECT filter, urgency, size_max, hours, registered_by, registered_at
                     FROM subscriptions WHERE terminal = ?1 ORDER BY filter",
                )?;
                let mut rows = select.query([terminal.to_string()])?;
                let mut found = Vec::new();
                while let Some(row) = rows.next()? {
                    found.push(read_entry(row)?);
                }
                Ok(found)
            })
            .await
    }

    /// The registrations of all terminals, by the terminal's name and by filter, after this one of them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn all_subscriptions(
        &self,
        after: Option<(Name, String)>,
        last: Last,
    ) -> Result<Vec<(Name, SubscriptionEntry)>, StoreError> {
        let (terminal, filter) = after
            .map(|(name, filter)| (name.to_string(), filter))
            .unwrap_or_default();
        self.reader
            .run(move |db| {
                let mut select = db.prepare_cached(
                    "SELECT s.filter, s.urgency, s.size_max, s.hours, s.registered_by, s.registered_at, t.name
                     FROM terminals t JOIN subscriptions s ON s.terminal = t.id
                     WHERE t.name >= ?1 AND (t.name > ?1 OR s.filter > ?2) ORDER BY t.name, s.filter LIMIT ?3",
                )?;
                let mut rows = select.query(params![terminal, filter, last.0])?;
                let mut found = Vec::new();
                while let Some(row) = rows.next()? {
                    found.push((parse(&row.get::<_, String>(6)?, WHAT)?, read_entry(row)?));
                }
                Ok(found)
            })
            .await
    }

    /// What a terminal may register for by itself; nothing: everything.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn registrable(&self, terminal: TerminalId) -> Result<Vec<TopicFilter>, StoreError> {
        self.reader
            .run(move |db| select_registrable(db, &terminal.to_string()))
            .await
    }

    /// Who has registered for a message of this topic, and when each is called for it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn subscribers(
        &self,
        topic: Topic,
        urgency: Urgency,
        size: u64,
        now: Zoned,
    ) -> Result<Vec<Subscriber>, StoreError> {
        self.reader
            .survey(move |db| {
                // There are far fewer filters than subscriptions: most terminals of a service want the same.
                let mut filters = db.prepare_cached("SELECT DISTINCT filter FROM subscriptions")?;
                let mut select = db.prepare_cached(
                    "SELECT filter, urgency, size_max, hours, terminal FROM subscriptions WHERE filter = ?1",
                )?;
                let mut names = filters.query([])?;
                let mut found = Vec::new();
                while let Some(name) = names.next()? {
                    let filter: String = name.get(0)?;
                    if !parse::<TopicFilter>(&filter, WHAT).is_ok_and(|filter| filter.matches(&topic)) {
                        continue;
                    }
                    let mut rows = select.query([filter])?;
                    while let Some(row) = rows.next()? {
                        let terminal = parse(&row.get::<_, String>(4)?, WHAT);
                        match terminal.and_then(|terminal| Ok((terminal, read_subscription(row)?))) {
                            Ok(one) => found.push(one),
                            // One damaged row must not keep the message from the others.
                            Err(error) => tracing::error!(%error, "left out"),
                        }
                    }
                }
                let found = found.iter().map(|(terminal, subscription)| (*terminal, subscription));
                Ok(subscribers(found, &topic, urgency, size, &now))
            })
            .await
    }

    /// When the next envelope that is held, or rests after a refusal, may cause a call, or what a terminal takes for now is over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn next_release(&self) -> Result<Option<Timestamp>, StoreError> {
        self.reader
            .run(|db| {
                let at: Option<i64> = db
                    .prepare_cached(NEXT_HELD)?
                    .query_row([NEVER], |row| row.get(0))?;
                let stated: Option<i64> = db
                    .prepare_cached(NEXT_STATED)?
                    .query_row([], |row| row.get(0))?;
                let rests: Option<i64> = db
                    .prepare_cached(NEXT_RESTED)?
                    .query_row([], |row| row.get(0))?;
                let at = [at, stated, rests].into_iter().flatten().min();
                Ok(at.and_then(|at| Timestamp::from_millisecond(at).ok()))
            })
            .await
    }

    /// Lets envelopes cause calls whose time for that has come, or is farther off than any can be; gives their terminals.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn release(&self, now: Timestamp) -> Result<Vec<TerminalId>, StoreError> {
        let mut terminals = BTreeSet::new();
        let longest_rest = i64::try_from(self.refusals.longest.as_millis()).unwrap_or(i64::MAX);
        loop {
            // In batches: the hour at which all subscribers may be called keeps no submission waiting.
            let some = self
                .writer
                .run(move |db| release_some(db, now.as_millisecond(), longest_rest))
                .await?;
            let is_last = some.len() < RELEASED_AT_ONCE;
            terminals.extend(some);
            if is_last {
                return Ok(terminals.into_iter().collect());
            }
        }
    }
}

pub(super) const NEXT_HELD: &str = "SELECT min(calls_at) FROM envelopes WHERE calls_at IS NOT NULL AND verdict IS NULL AND calls_at < ?1";
pub(super) const NEXT_STATED: &str = "SELECT min(until) FROM stated";
pub(super) const NEXT_RESTED: &str =
    "SELECT min(rests_until) FROM envelopes WHERE rests_until IS NOT NULL AND verdict IS NULL";

/// Envelopes held until then, what terminals have said until then, and envelopes that rest until then; each that is released leaves its
/// index.
pub(super) const RELEASE: [&str; 3] = [
    "UPDATE envelopes SET calls_at = NULL WHERE (message, terminal) IN (SELECT message, terminal FROM envelopes
       WHERE calls_at IS NOT NULL AND verdict IS NULL AND calls_at <= ?1 LIMIT ?2) RETURNING terminal",
    "DELETE FROM stated WHERE terminal IN (SELECT terminal FROM stated WHERE until <= ?1 LIMIT ?2) RETURNING terminal",
    "UPDATE envelopes SET rests_until = NULL WHERE (message, terminal) IN (SELECT message, terminal FROM envelopes
       WHERE rests_until IS NOT NULL AND verdict IS NULL AND rests_until <= ?1 LIMIT ?2) RETURNING terminal",
];

/// Envelopes that wait for longer than any does: the clock was ahead when that was decided, and has been set back.
pub(super) const RELEASE_BEYOND: [&str; 2] = [
    "UPDATE envelopes SET calls_at = NULL WHERE (message, terminal) IN (SELECT message, terminal FROM envelopes
       WHERE calls_at IS NOT NULL AND verdict IS NULL AND calls_at > ?1 AND calls_at < 9223372036854775807 LIMIT ?2) RETURNING terminal",
    "UPDATE envelopes SET rests_until = NULL WHERE (message, terminal) IN (SELECT message, terminal FROM envelopes
       WHERE rests_until IS NOT NULL AND verdict IS NULL AND rests_until > ?1 LIMIT ?2) RETURNING terminal",
];

/// Hours begin again within a week; and a day, for a change of the time zone.
const HELD_MAX: i64 = 8 * 24 * 3600 * 1000;

/// The place of what terminals have said.
const STATED: usize = 1;

/// The terminals of some that are released, one for each.
fn release_some(db: &Database, now: i64, longest_rest: i64) -> Result<Vec<TerminalId>, StoreError> {
    let mut terminals = Vec::new();
    let beyond = RELEASE_BEYOND
        .into_iter()
        .zip([HELD_MAX, longest_rest].map(|longest| now.saturating_add(longest)));
    let over = RELEASE.into_iter().map(|sql| (sql, now.min(NEVER - 1)));
    for (place, (sql, bound)) in over.chain(beyond).enumerate() {
        let mut release = db.prepare_cached(sql)?;
        let left = RELEASED_AT_ONCE - terminals.len();
        let mut rows = release.query(params![bound, i64::try_from(left).unwrap_or(i64::MAX)])?;
        while let Some(row) = rows.next()? {
            let terminal: String = row.get(0)?;
            if place == STATED {
                end_rests(db, &terminal)?;
            }
            terminals.push(parse(&terminal, "the terminal of what is released")?);
        }
    }
    Ok(terminals)
}

const WHAT: &str = "a subscription";

fn select_registrable(db: &Database, terminal: &str) -> Result<Vec<TopicFilter>, StoreError> {
    let mut select =
        db.prepare_cached("SELECT filter FROM registrable WHERE terminal = ?1 ORDER BY filter")?;
    let filters = select.query_map([terminal], |row| row.get::<_, String>(0))?;
    // A filter that cannot be read must not become the right to everything.
    filters
        .map(|filter| parse(&filter?, "a right to register"))
        .collect()
}

/// Reads a subscription, who registered it and when from the first six columns.
fn read_entry(row: &Row<'_>) -> Result<SubscriptionEntry, StoreError> {
    let by = match row.get::<_, String>(4)?.as_str() {
        "terminal" => RegisteredBy::Terminal,
        _ => RegisteredBy::Operator,
    };
    Ok(SubscriptionEntry {
        subscription: read_subscription(row)?,
        by,
        at: time(row.get(5)?, WHAT)?,
    })
}

/// Reads filter, urgency, largest size and hours from the first four columns.
fn read_subscription(row: &Row<'_>) -> Result<Subscription, StoreError> {
    Ok(Subscription {
        filter: parse(&row.get::<_, String>(0)?, WHAT)?,
        urgency: read_urgency(row.get(1)?)?,
        size_max: row
            .get::<_, Option<i64>>(2)?
            .and_then(|max| u64::try_from(max).ok()),
        hours: parse(&row.get::<_, String>(3)?, WHAT)?,
    })
}

/// As the database keeps it.
pub(super) fn calls_at(calls: Calls) -> Option<i64> {
    match calls {
        Calls::Now => None,
        Calls::From(at) => Some(at.as_millisecond()),
        Calls::Never => Some(NEVER),
    }
}

pub(super) fn read_calls(at: Option<i64>) -> Result<Calls, StoreError> {
    Ok(match at {
        None => Calls::Now,
        Some(NEVER) => Calls::Never,
        Some(at) => Calls::From(time(at, "an envelope")?),
    })
}
