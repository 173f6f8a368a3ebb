//! Accepting a message: whole, or in steps where it is for many.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use delivery::TerminalId;
use jiff::Timestamp;
use rusqlite::Connection as Database;

use super::content::INLINE_OCTETS_MAX;
use super::draft::NewContent;
use super::fan_out::{self, FanOut};
use super::messages::{
    Accepted, Envelope, NewMessage, Queues, Row, answer_repeated, fail_over_quota, holder_of,
    insert_row, refuse_expired,
};
use super::quotas::Quotas;
use super::subscriptions::calls_at;
use super::verdicts::give;
use super::{Store, StoreError, run_blocking};
use model::subscription::Calls;
use model::verdict::Verdict;

impl Store {
    /// Stores a message and its envelopes. On return they are on the disk: the provider may be told.
    ///
    /// # Errors
    /// [`StoreError`]: nothing of it is stored (a crash may leave a content file behind that nobody names, until it is
    /// swept). [`StoreError::Quota`], [`StoreError::KeyReused`] and [`StoreError::NoTerminal`] are the provider's.
    pub async fn accept(
        &self,
        mut message: NewMessage,
        now: Timestamp,
    ) -> Result<Accepted, StoreError> {
        let now = now.as_millisecond();
        let digest = message.head.digest;
        let content = std::mem::replace(&mut message.content, NewContent::Held(Bytes::new()));
        let (inline, pin) = match content {
            NewContent::Held(octets) if octets.len() <= INLINE_OCTETS_MAX => (Some(octets), None),
            content => {
                let pin = self.contents.pin(digest);
                let contents = self.contents.clone();
                let put = run_blocking("write", move || match content {
                    NewContent::Held(octets) => contents.put(digest, &octets),
                    NewContent::Filed(filed) => contents.adopt(&filed.part, digest),
                });
                let put = put.await;
                self.vitals.note(&put);
                put?;
                (None, Some(pin))
            }
        };
        let is_filed = pin.is_some();
        let is_held = message
            .subscribers
            .iter()
            .flatten()
            .any(|subscriber| subscriber.calls != Calls::Now);
        let (quotas, has_moment) = (
            self.quotas,
            is_held || message.handling.expires_at.is_some(),
        );
        // What is replaced is undone again if the rest fails; everything else is asked before anything is written.
        let is_sure = message.handling.replace_key.is_none();
        let (dealt_with, expires_at) = (self.expired.clone(), message.handling.expires_at);
        let note_expiry = move || {
            expires_at
                .iter()
                .for_each(|at| dealt_with.comes(at.as_millisecond()));
        };
        let many = message.terminals.len() + message.subscribers.as_ref().map_or(0, Vec::len)
            > fan_out::WHOLE_MAX;
        let inserted = if many && is_sure {
            let mut fan_out = FanOut::new(message, inline, pin, quotas, self.arriving.clone(), now);
            self.writer
                .run_steps(move |db| {
                    note_expiry();
                    fan_out.step(db)
                })
                .await
        } else {
            let work = move |db: &Database| {
                note_expiry();
                let inserted = insert(db, &message, quotas, inline.as_ref(), now);
                drop(pin); // the row names the file now, for whoever comes after us on this thread
                inserted
            };
            if is_sure {
                self.writer.run_without_savepoint(work).await
            } else {
                self.writer.run(work).await
            }
        };
        if is_filed
            && inserted
                .as_ref()
                .map_or(true, |accepted| accepted.is_repeated)
        {
            // No row of ours names the file. What cannot be removed now is swept later.
            let _ = self.remove_files(vec![digest]).await;
        }
        if let Err(StoreError::Quota(over)) = &inserted {
            self.vitals.over_quota.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%over, "submission refused");
        }
        let accepted = inserted?;
        self.vitals
            .quota_warnings
            .fetch_add(accepted.near.len() as u64, Ordering::Relaxed);
        let count = if accepted.is_repeated {
            &self.vitals.repeated
        } else {
            &self.vitals.accepted
        };
        count.fetch_add(1, Ordering::Relaxed);
        if has_moment {
            self.expiring.notify_one();
        }
        Ok(accepted)
    }
}

/// Writes a message, its content and its envelopes.
fn insert(
    db: &Database,
    message: &NewMessage,
    quotas: Quotas,
    inline: Option<&Bytes>,
    now: i64,
) -> Result<Accepted, StoreError> {
    let NewMessage {
        head,
        provider,
        content: _,
        terminals,
        subscribers,
        handling,
    } = message;
    if let Some(accepted) = answer_repeated(db, message)? {
        return Ok(accepted);
    }
    refuse_expired(message, now)?;
    // First, so that what is replaced does not count.
    let named: BTreeSet<_> = terminals.iter().copied().collect();
    let registered: Vec<_> = subscribers
        .iter()
        .flatten()
        .filter(|one| !named.contains(&one.terminal))
        .collect();
    let replaced = match &handling.replace_key {
        Some(key) => {
            let all = terminals
                .iter()
                .copied()
                .chain(registered.iter().map(|one| one.terminal));
            replace(
                db,
                &provider.to_string(),
                key,
                all,
                &head.id.to_string(),
                now,
            )?
        }
        None => 0,
    };
    let mut near = Vec::new();
    let mut queues = Queues::prepare(db)?;
    queues.check_provider(message, quotas, &mut near)?;
    let mut envelopes = Vec::with_capacity(terminals.len() + registered.len());
    for terminal in terminals {
        let terminal = queues.check_named(*terminal, message, quotas, &mut near)?;
        envelopes.push(Envelope {
            terminal,
            calls_at: None,
            over: None,
        });
    }
    for subscriber in registered {
        let id = subscriber.terminal.to_string();
        let Some((name, waits)) = queues.of_terminal(&id)? else {
            continue;
        }; // removed since it was asked for
        // A subscriber for whom too much waits does not keep the news from the others.
        let over = quotas
            .terminal
            .check(waits, head.size, || holder_of(&name, message), &mut near)
            .err();
        envelopes.push(Envelope {
            terminal: id,
            calls_at: calls_at(subscriber.calls),
            over,
        });
    }
    // From here on only the disk can fail.
    let row = Row {
        waiting: i64::try_from(envelopes.len()).unwrap_or(i64::MAX),
        settled_at: envelopes.is_empty().then_some(now), // nobody has registered: it is over at once
        has_key: true,
    };
    let seq = insert_row(db, message, inline, now, &row)?;
    if !envelopes.is_empty() {
        queues.count_message(message)?;
        queues.add(seq, message, &envelopes)?;
        fail_over_quota(db, seq, &envelopes, now)?;
    }
    Ok(Accepted {
        id: head.id,
        is_repeated: false,
        envelopes: envelopes.len() as u64,
        replaced,
        near,
    })
}

/// Gives what waits under this key its verdict: at once, or when a call is over and the terminal has not received it.
fn replace(
    db: &Database,
    provider: &str,
    key: &str,
    terminals: impl Iterator<Item = TerminalId>,
    by: &str,
    now: i64,
) -> Result<usize, StoreError> {
    let reason = format!("replaced by {by}");
    let terminals: Vec<_> = terminals.map(|terminal| terminal.to_string()).collect();
    if terminals.len() > REPLACED_ONE_BY_ONE {
        // One statement: within a savepoint each that has triggers costs as much as the job has written so far.
        db.execute_batch(
            "CREATE TEMP TABLE IF NOT EXISTS replaced_for (terminal TEXT PRIMARY KEY)",
        )?;
        let mut insert =
            db.prepare_cached("INSERT INTO replaced_for VALUES (?1) ON CONFLICT DO NOTHING")?;
        for terminal in terminals {
            insert.execute([terminal])?;
        }
        let of = format!("{OLDER} AND terminal IN (SELECT terminal FROM replaced_for)");
        let replaced = give(
            db,
            Verdict::Replaced,
            Some(&reason),
            now,
            &of,
            &[&provider, &key],
        )?;
        db.execute("DELETE FROM replaced_for", [])?;
        return Ok(replaced);
    }
    let (of, mut replaced) = (format!("{OLDER} AND terminal = ?6"), 0);
    for terminal in &terminals {
        replaced += give(
            db,
            Verdict::Replaced,
            Some(&reason),
            now,
            &of,
            &[&provider, &key, terminal],
        )?;
    }
    Ok(replaced)
}

/// Terminals for which what is replaced is looked for one after the other.
const REPLACED_ONE_BY_ONE: usize = 64;

/// Envelopes of messages that wait under a key.
const OLDER: &str = "message IN
    (SELECT seq FROM messages WHERE provider = ?4 AND replace_key = ?5 AND replace_key IS NOT NULL AND waiting > 0)";
