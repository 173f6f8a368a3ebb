//! Where providers are told of verdicts, and what is still to be told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use jiff::Timestamp;
use rusqlite::{Connection as Database, Row, params};

use super::rows::{parse, read_count, time};
use super::{Store, StoreError};
use model::verdict::Verdict;
use model::webhook::{Webhook, WebhookSecret};

/// A verdict that is to be told, and where.
#[derive(Debug, Clone)]
pub struct Telling {
    /// Its key in the store.
    pub id: i64,
    /// The message's id.
    pub message: String,
    /// The terminal's id.
    pub terminal_id: String,
    /// Its name, or its id if it has been removed.
    pub terminal: String,
    /// How the message ended for the terminal.
    pub verdict: Verdict,
    /// Why, in words.
    pub reason: Option<String>,
    /// The call that is its evidence.
    pub call: Option<String>,
    /// When it was given.
    pub at: Timestamp,
    /// How often the message was brought.
    pub deliveries: u64,
    /// Tries that failed.
    pub failed: u32,
    /// Since when it is tried.
    pub since: Timestamp,
    /// Where it goes.
    pub webhook: Webhook,
}

impl Store {
    /// The providers with a webhook.
    pub fn webhook_providers(&self) -> Vec<String> {
        self.webhooks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }

    /// So many of a provider's verdicts that are to be told by `now`, the longest due first, without these.
    pub async fn due_tellings(
        &self,
        provider: String,
        without: BTreeSet<i64>,
        places: usize,
        now: Timestamp,
    ) -> Result<Vec<Telling>, StoreError> {
        let (due, stale) = self
            .reader
            .run(move |db| {
                let mut select = db.prepare_cached(DUE)?;
                let limit = i64::try_from(places + without.len()).unwrap_or(i64::MAX);
                let mut rows = select.query(params![provider, now.as_millisecond(), limit])?;
                let (mut due, mut stale) = (Vec::new(), Vec::new());
                while let Some(row) = rows.next()? {
                    let id = row.get(0)?;
                    if without.contains(&id) || due.len() == places {
                        continue;
                    }
                    match read(row) {
                        Ok(telling) => due.push(telling),
                        // Cleaned away since, or damaged: nothing can be told of it.
                        Err(_) => stale.push(id),
                    }
                }
                Ok((due, stale))
            })
            .await?;
        if !stale.is_empty() {
            tracing::warn!(verdicts = stale.len(), "verdicts can no longer be told");
            self.tellings_ended(stale.into_iter().map(|id| (id, None)).collect())
                .await?;
        }
        Ok(due)
    }

    /// Notes which verdicts were told or given up, and which are tried again and when.
    pub async fn tellings_ended(
        &self,
        ended: Vec<(i64, Option<Timestamp>)>,
    ) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                let mut delete = db.prepare_cached("DELETE FROM webhook_outbox WHERE id = ?1")?;
                let mut update = db.prepare_cached(
                    "UPDATE webhook_outbox SET failed = failed + 1, next_at = ?2 WHERE id = ?1",
                )?;
                for (id, next_at) in ended {
                    match next_at {
                        None => delete.execute([id])?,
                        Some(at) => update.execute(params![id, at.as_millisecond()])?,
                    };
                }
                Ok(())
            })
            .await
    }

    /// Since when the oldest verdict of each provider waits to be told.
    pub async fn oldest_tellings(&self) -> Result<BTreeMap<String, Timestamp>, StoreError> {
        let providers = self.webhook_providers();
        self.reader
            .run(move |db| {
                let mut select = db.prepare_cached(OLDEST)?;
                let mut oldest = BTreeMap::new();
                for provider in providers {
                    if let Some(since) =
                        select.query_row([&provider], |row| row.get::<_, Option<i64>>(0))?
                    {
                        oldest.insert(provider, time(since, "a verdict that is to be told")?);
                    }
                }
                Ok(oldest)
            })
            .await
    }
}

pub(super) const OLDEST: &str = "SELECT min(since) FROM webhook_outbox WHERE provider = ?1";

pub(super) const DUE: &str =
    "SELECT o.id, o.failed, o.since, m.id, o.terminal, coalesce(t.name, o.terminal), e.verdict, e.verdict_reason,
       e.verdict_call, e.verdict_at, w.url, w.secret, w.may_be_private,
       (SELECT count(*) FROM deliveries d WHERE d.message = o.message AND d.terminal = o.terminal)
     FROM webhook_outbox o JOIN webhooks w ON w.provider = o.provider
       LEFT JOIN messages m ON m.seq = o.message
       LEFT JOIN envelopes e ON e.message = o.message AND e.terminal = o.terminal
       LEFT JOIN terminals t ON t.id = o.terminal
     WHERE o.provider = ?1 AND o.next_at <= ?2 ORDER BY o.next_at, o.id LIMIT ?3";

/// Keeps a provider's webhook.
pub(super) fn insert(db: &Database, provider: &str, webhook: &Webhook) -> Result<(), StoreError> {
    let Webhook {
        url,
        secret,
        may_be_private,
    } = webhook;
    db.prepare_cached(
        "INSERT INTO webhooks VALUES (?1, ?2, ?3, ?4) ON CONFLICT (provider) DO UPDATE
         SET url = excluded.url, secret = excluded.secret, may_be_private = excluded.may_be_private",
    )?
    .execute(params![provider, url.to_string(), secret.octets(), may_be_private])?;
    Ok(())
}

/// The providers that have one.
pub(super) fn providers(db: &Database) -> Result<BTreeSet<String>, StoreError> {
    let mut select = db.prepare("SELECT provider FROM webhooks")?;
    Ok(select
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?)
}

fn read(row: &Row<'_>) -> Result<Telling, StoreError> {
    const WHAT: &str = "a verdict that is to be told";
    let secret: [u8; 32] = row.get(11)?;
    Ok(Telling {
        id: row.get(0)?,
        failed: row.get(1)?,
        since: time(row.get(2)?, WHAT)?,
        message: row.get(3)?,
        terminal_id: row.get(4)?,
        terminal: row.get(5)?,
        verdict: parse(&row.get::<_, String>(6)?, WHAT)?,
        reason: row.get(7)?,
        call: row.get(8)?,
        at: time(row.get(9)?, WHAT)?,
        webhook: Webhook {
            url: parse(&row.get::<_, String>(10)?, WHAT)?,
            secret: WebhookSecret::from_octets(secret),
            may_be_private: row.get(12)?,
        },
        deliveries: read_count(row, 13)?,
    })
}
