//! Alarms that stand or have stood, and what is still to be told of them.

use jiff::Timestamp;
use rusqlite::{Connection as Database, OptionalExtension as _, Params, Row, params};

use super::rows::{parse, time};
use super::{Last, Store, StoreError};
use model::alarm::{Alarm, AlarmPlace, Change, Channel, Event};

/// Something that is to be told on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredNotice {
    /// Its key in the store.
    pub id: i64,
    /// Raised or cleared.
    pub event: Event,
    /// The alarm.
    pub alarm: Alarm,
    /// Tries that failed.
    pub failed: u32,
    /// When to try next.
    pub next_at: Timestamp,
}

const COLUMNS: &str = "a.kind, a.subject, a.detail, a.raised_at, a.cleared_at";

impl Store {
    /// The alarms that stand, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn standing_alarms(&self) -> Result<Vec<Alarm>, StoreError> {
        self.reader
            .run(|db| {
                select(
                    db,
                    "WHERE a.cleared_at IS NULL ORDER BY a.raised_at, a.id",
                    params![],
                )
            })
            .await
    }

    /// All alarms after this one of them, active or cleared, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn alarms_after(
        &self,
        last: Last,
        after: Option<AlarmPlace>,
    ) -> Result<Vec<Alarm>, StoreError> {
        const ORDER: &str = "ORDER BY a.raised_at DESC, a.kind, a.subject LIMIT";
        self.reader
            .survey(move |db| {
                let Some(AlarmPlace { raised_at, kind, subject }) = after else {
                    return select(db, &format!("{ORDER} ?1"), params![last.0]);
                };
                let rest = format!(
                    "WHERE a.raised_at < ?1 OR (a.raised_at = ?1 AND (a.kind > ?2 OR (a.kind = ?2 AND a.subject > ?3))) {ORDER} ?4"
                );
                select(db, &rest, params![raised_at.as_millisecond(), kind, subject, last.0])
            })
            .await
    }

    /// Keeps alarms that were raised or cleared, and has those that were not told yet told on these channels.
    ///
    /// # Errors
    /// [`StoreError`]: nothing of it is kept.
    pub async fn keep_alarms(
        &self,
        changes: Vec<Change>,
        channels: &'static [Channel],
    ) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                changes
                    .iter()
                    .try_for_each(|change| keep(db, change, channels))
            })
            .await
    }

    /// What is to be told next on a channel; it may be for later.
    pub async fn next_notice(&self, channel: Channel) -> Result<Option<StoredNotice>, StoreError> {
        const WHAT: &str = "what is to be told of an alarm";
        self.reader
            .run(move |db| {
                let mut select = db.prepare_cached(&next_notice())?;
                let mut rows = select.query([channel.as_str()])?;
                let Some(row) = rows.next()? else {
                    return Ok(None);
                };
                Ok(Some(StoredNotice {
                    alarm: read(row)?,
                    id: row.get(5)?,
                    event: parse(&row.get::<_, String>(6)?, WHAT)?,
                    failed: row.get(7)?,
                    next_at: time(row.get(8)?, WHAT)?,
                }))
            })
            .await
    }

    /// Notes that something was told, or was given up.
    pub async fn notice_told(&self, id: i64) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                db.prepare_cached("DELETE FROM alarm_notices WHERE id = ?1")?
                    .execute([id])?;
                Ok(())
            })
            .await
    }

    /// Notes that something could not be told, and when to try again.
    pub async fn notice_failed(&self, id: i64, next_at: Timestamp) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                db.prepare_cached(
                    "UPDATE alarm_notices SET failed = failed + 1, next_at = ?2 WHERE id = ?1",
                )?
                .execute(params![id, next_at.as_millisecond()])?;
                Ok(())
            })
            .await
    }

    /// Forgets alarms that were cleared before then.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn clean_alarms(&self, before: Timestamp) -> Result<usize, StoreError> {
        let mut forgotten = 0;
        loop {
            let some = self.writer.run(move |db| {
                Ok(db
                    .prepare_cached(FORGET)?
                    .execute(params![before.as_millisecond(), FORGOTTEN_AT_ONCE])?)
            });
            let some = some.await?;
            forgotten += some;
            if some < FORGOTTEN_AT_ONCE as usize {
                return Ok(forgotten);
            }
        }
    }
}

pub(super) fn next_notice() -> String {
    format!(
        "SELECT {COLUMNS}, n.id, n.event, n.failed, n.next_at FROM alarm_notices n JOIN alarms a ON a.id = n.alarm
         WHERE n.channel = ?1 ORDER BY n.next_at, n.id LIMIT 1"
    )
}

/// Alarms that one transaction forgets.
const FORGOTTEN_AT_ONCE: u32 = 256;

pub(super) const FORGET: &str = "DELETE FROM alarms WHERE id IN
    (SELECT id FROM alarms WHERE cleared_at IS NOT NULL AND cleared_at < ?1 LIMIT ?2)";

fn keep(db: &Database, change: &Change, channels: &[Channel]) -> Result<(), StoreError> {
    let Alarm {
        kind,
        subject,
        detail,
        raised_at,
        cleared_at,
    } = &change.alarm;
    let (kind, raised_at) = (kind.as_str(), raised_at.as_millisecond());
    let cleared_at = cleared_at.map(Timestamp::as_millisecond);
    let standing = db
        .prepare_cached(
            "SELECT id FROM alarms WHERE kind = ?1 AND subject = ?2 AND cleared_at IS NULL",
        )?
        .query_row([kind, subject], |row| row.get::<_, i64>(0))
        .optional()?;
    let alarm = match (standing, cleared_at) {
        (Some(_), None) => return Ok(()), // it stands already
        (Some(alarm), Some(at)) => {
            db.prepare_cached("UPDATE alarms SET cleared_at = ?2 WHERE id = ?1")?
                .execute([alarm, at])?;
            alarm
        }
        // One that is over and was never kept: the store itself was what it was about.
        (None, _) => {
            db.prepare_cached(
                "INSERT INTO alarms (kind, subject, detail, raised_at, cleared_at) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![kind, subject, detail, raised_at, cleared_at])?;
            db.last_insert_rowid()
        }
    };
    if change.is_told {
        return Ok(());
    }
    let mut insert = db.prepare_cached(
        "INSERT INTO alarm_notices (alarm, event, channel, next_at) VALUES (?1, ?2, ?3, ?4)",
    )?;
    let at = cleared_at.unwrap_or(raised_at);
    for channel in channels {
        insert.execute(params![
            alarm,
            change.event().as_str(),
            channel.as_str(),
            at
        ])?;
    }
    Ok(())
}

fn select(db: &Database, rest: &str, values: impl Params) -> Result<Vec<Alarm>, StoreError> {
    let mut select = db.prepare_cached(&format!("SELECT {COLUMNS} FROM alarms a {rest}"))?;
    let mut rows = select.query(values)?;
    let mut alarms = Vec::new();
    while let Some(row) = rows.next()? {
        alarms.push(read(row)?);
    }
    Ok(alarms)
}

fn read(row: &Row<'_>) -> Result<Alarm, StoreError> {
    const WHAT: &str = "an alarm";
    let cleared_at: Option<i64> = row.get(4)?;
    Ok(Alarm {
        kind: parse(&row.get::<_, String>(0)?, WHAT)?,
        subject: row.get(1)?,
        detail: row.get(2)?,
        raised_at: time(row.get(3)?, WHAT)?,
        cleared_at: cleared_at.map(|at| time(at, WHAT)).transpose()?,
    })
}
