//! Messages as the operator and their providers see them: with every envelope, its verdict and the evidence.

use delivery::{MessageHead, MessageId, Topic};
use jiff::Timestamp;
use rusqlite::{Connection as Database, Row, params};

use super::rows::{parse, read_count, read_head, read_urgency, time};
use super::subscriptions::read_calls;
use super::{Handling, Last, Store, StoreError};
use model::attempt::AttemptKind;
use model::directory::Name;
use model::subscription::Calls;
use model::verdict::Verdict;

/// Envelopes that are shown of one message; those that wait come first.
const ENVELOPES_SHOWN: u32 = 1000;

/// Envelopes that are shown of a message in a list.
const ENVELOPES_LISTED: u32 = 10;

/// Deliveries that are shown of one envelope: the last.
const DELIVERIES_SHOWN: u32 = 20;

/// A message as the operator and its provider see it.
#[derive(Debug, Clone)]
pub struct MessageEntry {
    /// Name, type, digest, size.
    pub head: MessageHead,
    /// Who submitted it.
    pub provider: Name,
    /// When it was accepted: it has been on the disk since.
    pub accepted_at: Timestamp,
    /// How it is to be treated.
    pub handling: Handling,
    /// Terminals that it is for.
    pub envelopes_count: u64,
    /// One for each terminal; of very many only the first.
    pub envelopes: Vec<EnvelopeEntry>,
}

/// One message for one terminal.
#[derive(Debug, Clone)]
pub struct EnvelopeEntry {
    /// The terminal's name, or its id if it has been removed.
    pub terminal: String,
    /// The call on which it is being delivered just now.
    pub under_way: Option<String>,
    /// Since when the terminal may have it: the last octet left, and no receipt came.
    pub in_doubt_since: Option<Timestamp>,
    /// The verdict that is pending while it is under way or in doubt, with its reason.
    pub pending: Option<(Verdict, Option<String>)>,
    /// How often the terminal has refused it.
    pub refusals: u64,
    /// Until when it rests for that.
    pub rests_until: Option<Timestamp>,
    /// When it may cause a call.
    pub calls: Calls,
    /// How it ended; `None` while it waits.
    pub verdict: Option<Verdict>,
    /// Why, where the verdict does not say it.
    pub reason: Option<String>,
    /// The call that is the evidence.
    pub call: Option<String>,
    /// When the verdict was written.
    pub at: Option<Timestamp>,
    /// What came of each time that it was brought, oldest first.
    pub deliveries: Vec<DeliveryEntry>,
}

/// One time that a message was brought.
#[derive(Debug, Clone)]
pub struct DeliveryEntry {
    /// On which call.
    pub call: String,
    /// When it was begun.
    pub began_at: Timestamp,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// What came of it, in words for people; `None` while it is under way.
    pub outcome: Option<String>,
    /// What came of it, for programs; `None` while it is under way.
    pub kind: Option<AttemptKind>,
    /// Octets of content that the terminal has given a receipt for.
    pub octets: u64,
}

impl Store {
    /// The last messages, newest first, each with a few of its envelopes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn messages(&self, last: Last) -> Result<Vec<MessageEntry>, StoreError> {
        self.messages_after(last, None).await
    }

    /// So many messages, newest first, from the first that is older than `after` on, each with a few of its envelopes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn messages_after(
        &self,
        last: Last,
        after: Option<MessageId>,
    ) -> Result<Vec<MessageEntry>, StoreError> {
        self.reader
            .survey(move |db| {
                let from = match after {
                    None => "ORDER BY seq DESC LIMIT ?1",
                    Some(_) => "WHERE seq < (SELECT seq FROM messages WHERE id = ?2) ORDER BY seq DESC LIMIT ?1",
                };
                let mut select = db.prepare_cached(&select_sql(from))?;
                let mut rows = match after {
                    None => select.query(params![last.0])?,
                    Some(after) => select.query(params![last.0, after.to_string()])?,
                };
                let mut messages = Vec::new();
                while let Some(row) = rows.next()? {
                    match read_message(db, row, ENVELOPES_LISTED) {
                        Ok(message) => messages.push(message),
                        // One damaged row must not hide the others.
                        Err(error) => tracing::error!(%error, "a message cannot be listed"),
                    }
                }
                Ok(messages)
            })
            .await
    }

    /// Who submitted a message, and under which topic.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn origin(&self, id: MessageId) -> Result<Option<(Name, Option<Topic>)>, StoreError> {
        const WHAT: &str = "the row of a message";
        self.reader
            .run(move |db| {
                let mut select =
                    db.prepare_cached("SELECT provider, topic FROM messages WHERE id = ?1")?;
                let mut rows = select.query([id.to_string()])?;
                let Some(row) = rows.next()? else {
                    return Ok(None);
                };
                let topic: Option<String> = row.get(1)?;
                let topic = topic.map(|topic| parse(&topic, WHAT)).transpose()?;
                Ok(Some((parse(&row.get::<_, String>(0)?, WHAT)?, topic)))
            })
            .await
    }

    /// One message.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn message(&self, id: MessageId) -> Result<Option<MessageEntry>, StoreError> {
        self.reader
            .run(move |db| {
                let mut select = db.prepare_cached(&select_sql("WHERE id = ?1"))?;
                let mut rows = select.query([id.to_string()])?;
                rows.next()?
                    .map(|row| read_message(db, row, ENVELOPES_SHOWN))
                    .transpose()
            })
            .await
    }
}

fn select_sql(rest: &str) -> String {
    format!(
        "SELECT id, content_type, digest, size, seq, provider, accepted_at, urgency, topic, expires_at, replace_key,
           idempotency_key, (SELECT count(*) FROM envelopes WHERE message = seq) FROM messages {rest}"
    )
}

fn read_message(
    db: &Database,
    row: &Row<'_>,
    envelopes_max: u32,
) -> Result<MessageEntry, StoreError> {
    const WHAT: &str = "the row of a message";
    let topic: Option<String> = row.get(8)?;
    let expires_at: Option<i64> = row.get(9)?;
    Ok(MessageEntry {
        head: read_head(row)?,
        provider: parse(&row.get::<_, String>(5)?, WHAT)?,
        accepted_at: time(row.get(6)?, WHAT)?,
        handling: Handling {
            urgency: read_urgency(row.get(7)?)?,
            topic: topic.map(|topic| parse(&topic, WHAT)).transpose()?,
            expires_at: expires_at.map(|at| time(at, WHAT)).transpose()?,
            replace_key: row.get(10)?,
            idempotency_key: row.get(11)?,
            return_path: None, // nobody asks
        },
        envelopes_count: read_count(row, 12)?,
        envelopes: select_envelopes(db, row.get(4)?, envelopes_max)?,
    })
}

fn select_envelopes(db: &Database, seq: i64, max: u32) -> Result<Vec<EnvelopeEntry>, StoreError> {
    const WHAT: &str = "the row of an envelope";
    let mut select = db.prepare_cached(
        "SELECT coalesce(t.name, e.terminal), e.terminal, under_way, verdict, verdict_reason, verdict_call, verdict_at, calls_at,
           in_doubt_since, pending_verdict, pending_reason, refusals, rests_until
         FROM envelopes e LEFT JOIN terminals t ON t.id = e.terminal
         WHERE message = ?1 ORDER BY verdict IS NOT NULL, 1 LIMIT ?2",
    )?;
    let mut rows = select.query(params![seq, max])?;
    let mut envelopes = Vec::new();
    while let Some(row) = rows.next()? {
        let verdict: Option<String> = row.get(3)?;
        let pending: Option<String> = row.get(9)?;
        let pending = pending.map(|verdict| parse(&verdict, WHAT)).transpose()?;
        let reason: Option<String> = row.get(10)?;
        let read_time = |index| {
            row.get::<_, Option<i64>>(index)?
                .map(|at| time(at, WHAT))
                .transpose()
        };
        envelopes.push(EnvelopeEntry {
            terminal: row.get(0)?,
            under_way: row.get(2)?,
            in_doubt_since: read_time(8)?,
            pending: pending.map(|verdict| (verdict, reason)),
            refusals: read_count(row, 11)?,
            rests_until: read_time(12)?,
            calls: read_calls(row.get(7)?)?,
            verdict: verdict.map(|verdict| parse(&verdict, WHAT)).transpose()?,
            reason: row.get(4)?,
            call: row.get(5)?,
            at: read_time(6)?,
            deliveries: select_deliveries(db, seq, &row.get::<_, String>(1)?)?,
        });
    }
    Ok(envelopes)
}

fn select_deliveries(
    db: &Database,
    seq: i64,
    terminal: &str,
) -> Result<Vec<DeliveryEntry>, StoreError> {
    const WHAT: &str = "the row of a delivery";
    let mut select = db.prepare_cached(
        "SELECT call, began_at, ended_at, outcome, octets, kind FROM deliveries
         WHERE message = ?1 AND terminal = ?2 ORDER BY rowid DESC LIMIT ?3",
    )?;
    let mut rows = select.query(params![seq, terminal, DELIVERIES_SHOWN])?;
    let mut deliveries = Vec::new();
    while let Some(row) = rows.next()? {
        let ended_at: Option<i64> = row.get(2)?;
        deliveries.push(DeliveryEntry {
            call: row.get(0)?,
            began_at: time(row.get(1)?, WHAT)?,
            ended_at: ended_at.map(|at| time(at, WHAT)).transpose()?,
            outcome: row.get(3)?,
            octets: read_count(row, 4)?,
            kind: row
                .get::<_, Option<String>>(5)?
                .and_then(|kind| kind.parse().ok()),
        });
    }
    deliveries.reverse();
    Ok(deliveries)
}
