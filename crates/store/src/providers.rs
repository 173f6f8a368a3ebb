//! The directory's providers, and what they may do.

use std::sync::PoisonError;

use delivery::TerminalId;
use jiff::Timestamp;
use line::Number;
use rusqlite::{OptionalExtension as _, params};

use super::rows::{parse, read_count, select_providers};
use super::stopwatch::Stopwatch;
use super::terminals::taken;
use super::verdicts::Giving;
use super::worker::{STEP_TIME, Step};
use super::{Last, Store, StoreError, webhooks};
use model::directory::{ChapSecret, Name};
use model::provider::{Provider, TokenHash};
use model::verdict::Verdict;
use model::webhook::Webhook;

/// Messages that are looked for at once.
const CANCELLED_AT_ONCE: u32 = 100;

/// What came of removing a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderRemoved {
    /// It is gone.
    Done,
    /// There is none of this name.
    Unknown,
    /// These terminals send as it, a hundred of them at most. Nothing was changed.
    HasSenders(Vec<Name>),
}

impl Store {
    /// Adds a provider.
    ///
    /// # Errors
    /// [`StoreError::Taken`] names the field that another provider has.
    pub async fn add_provider(
        &self,
        provider: Provider,
        token: TokenHash,
    ) -> Result<(), StoreError> {
        self.add_provider_with(provider, token, None, None).await
    }

    /// Adds a provider whose verdicts are told to it, or that has to pass CHAP when it dials in.
    ///
    /// # Errors
    /// As [`Store::add_provider`].
    pub async fn add_provider_with(
        &self,
        provider: Provider,
        token: TokenHash,
        webhook: Option<Webhook>,
        chap: Option<ChapSecret>,
    ) -> Result<(), StoreError> {
        let told = webhook.is_some().then(|| provider.name.to_string());
        let added = self
            .writer
            .run(move |db| {
                let number = provider.number.as_ref().map(Number::as_str);
                db.execute(
                    "INSERT INTO providers (name, number, token_hash, chap_secret) VALUES (?1, ?2, ?3, ?4)",
                    params![provider.name.to_string(), number, token.octets(), chap.as_ref().map(ChapSecret::reveal)],
                )
                .map_err(|error| {
                    let name = provider.name.to_string();
                    taken(db, "providers", &[("number", number), ("name", Some(&name))], error.into())
                })?;
                let name = provider.name.to_string();
                if db.execute("DELETE FROM former_providers WHERE name = ?1", [&name])? > 0 {
                    db.execute(
                        "UPDATE providers SET
                           waiting_messages = (SELECT count(*) FROM messages WHERE provider = ?1 AND waiting > 0),
                           waiting_octets = (SELECT coalesce(sum(size), 0) FROM messages WHERE provider = ?1 AND waiting > 0)
                         WHERE name = ?1",
                        [&name],
                    )?;
                }
                let mut insert = db.prepare_cached("INSERT INTO rights VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
                for right in &provider.may_send {
                    insert.execute(params![provider.name.to_string(), right.to_string()])?;
                }
                match webhook {
                    Some(webhook) => webhooks::insert(db, &provider.name.to_string(), &webhook),
                    None => Ok(()),
                }
            })
            .await;
        if added.is_ok() {
            self.webhooks
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(told);
        }
        self.known.forget_providers();
        added
    }

    /// All providers, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn providers(&self) -> Result<Vec<Provider>, StoreError> {
        self.reader
            .run(|db| select_providers(db, "ORDER BY name", params![]))
            .await
    }

    /// The providers after this name, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn providers_after(
        &self,
        after: Option<Name>,
        last: Last,
    ) -> Result<Vec<Provider>, StoreError> {
        let after = after.map(|name| name.to_string()).unwrap_or_default();
        self.reader
            .run(move |db| {
                select_providers(
                    db,
                    "WHERE name > ?1 ORDER BY name LIMIT ?2",
                    params![after, last.0],
                )
            })
            .await
    }

    /// What a provider has to pass CHAP with when it dials in; `None`: nothing is demanded.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn caller_secret(&self, provider: Name) -> Result<Option<ChapSecret>, StoreError> {
        self.reader
            .run(move |db| {
                let select = "SELECT chap_secret FROM providers WHERE name = ?1";
                let found: Option<Option<String>> = db
                    .prepare_cached(select)?
                    .query_row([provider.to_string()], |row| row.get(0))
                    .optional()?;
                found
                    .flatten()
                    .map(|secret| parse(&secret, "a provider's secret"))
                    .transpose()
            })
            .await
    }

    /// The provider of this name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn provider_named(&self, name: Name) -> Result<Option<Provider>, StoreError> {
        if let Some(found) = self.known.provider_named(&name) {
            return Ok(Some(found));
        }
        let before = self.known.generation();
        let found = self
            .reader
            .run(move |db| {
                Ok(select_providers(db, "WHERE name = ?1", params![name.to_string()])?.pop())
            })
            .await?;
        if let Some(provider) = &found {
            self.known.learn_provider_named(before, provider.clone());
        }
        Ok(found)
    }

    /// As which provider a terminal submits. `None`: it may send nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sender(&self, terminal: TerminalId) -> Result<Option<Provider>, StoreError> {
        self.reader
            .run(move |db| {
                let is_its = "WHERE name = (SELECT provider FROM senders WHERE terminal = ?1)";
                Ok(select_providers(db, is_its, params![terminal.to_string()])?.pop())
            })
            .await
    }

    /// Has a terminal submit as a provider; `None`: it may send nothing. `false`: there is no provider of this name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_sender(
        &self,
        terminal: TerminalId,
        provider: Option<Name>,
    ) -> Result<bool, StoreError> {
        self.writer
            .run(move |db| {
                let terminal = terminal.to_string();
                let Some(provider) = provider else {
                    db.execute("DELETE FROM senders WHERE terminal = ?1", [terminal])?;
                    return Ok(true);
                };
                let set = "INSERT INTO senders SELECT ?1, name FROM providers WHERE name = ?2
                    ON CONFLICT (terminal) DO UPDATE SET provider = excluded.provider";
                Ok(db.execute(set, [terminal, provider.to_string()])? == 1)
            })
            .await
    }

    /// Gives a provider another token. The one that it had works until then; without a time no longer. One from before that
    /// stops in any case. `false`: there is no provider of this name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn renew_token(
        &self,
        provider: Name,
        token: TokenHash,
        until: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let renewed = self
            .writer
            .run(move |db| {
                let name = provider.to_string();
                db.execute("DELETE FROM former_tokens WHERE provider = ?1", [&name])?;
                if let Some(until) = until {
                    db.execute(
                        "INSERT INTO former_tokens SELECT token_hash, name, ?2 FROM providers WHERE name = ?1",
                        params![name, until.as_millisecond()],
                    )?;
                }
                let renew = "UPDATE providers SET token_hash = ?2 WHERE name = ?1";
                Ok(db.execute(renew, params![name, token.octets()])? == 1)
            })
            .await;
        self.known.forget_providers();
        renewed
    }

    /// Removes a provider: its tokens, its rights, its webhook with what is still to be told there. Its number is free then.
    /// What waits of it goes on waiting.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn remove_provider(&self, provider: Name) -> Result<ProviderRemoved, StoreError> {
        let (name, told) = (provider.to_string(), provider.to_string());
        let removed = self
            .writer
            .run(move |db| {
                let mut senders = db.prepare_cached(
                    "SELECT t.name FROM senders s JOIN terminals t ON t.id = s.terminal WHERE s.provider = ?1
                     ORDER BY t.name LIMIT 100",
                )?;
                let senders = senders.query_map([&name], |row| row.get::<_, String>(0))?;
                let senders =
                    senders.map(|name| parse(&name?, "a terminal")).collect::<Result<Vec<Name>, StoreError>>()?;
                if !senders.is_empty() {
                    return Ok(ProviderRemoved::HasSenders(senders));
                }
                for table in ["former_tokens", "rights", "webhooks", "webhook_outbox"] {
                    db.execute(&format!("DELETE FROM {table} WHERE provider = ?1"), [&name])?;
                }
                db.execute(
                    "INSERT INTO former_providers SELECT name FROM providers WHERE name = ?1 AND waiting_messages > 0
                     ON CONFLICT DO NOTHING",
                    [&name],
                )?;
                match db.execute("DELETE FROM providers WHERE name = ?1", [&name])? {
                    0 => Ok(ProviderRemoved::Unknown),
                    _ => Ok(ProviderRemoved::Done),
                }
            })
            .await;
        if matches!(removed, Ok(ProviderRemoved::Done)) {
            self.webhooks
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&told);
        }
        self.known.forget_providers();
        removed
    }

    /// Cancels everything that waits of a provider and is not being delivered just now; tells how many envelopes. Others
    /// may write in between.
    ///
    /// # Errors
    /// [`StoreError`]: a part may be cancelled.
    pub async fn cancel_all_of(
        &self,
        provider: Name,
        reason: &'static str,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let now = now.as_millisecond();
        let (mut all, mut after) = (0, 0);
        loop {
            let name = provider.to_string();
            // Looked for on the reader's thread: submissions do not wait for the search.
            let waiting = self
                .reader
                .run(move |db| {
                    let mut select = db.prepare_cached(
                        "SELECT seq FROM messages WHERE provider = ?1 AND waiting > 0 AND seq > ?2 ORDER BY seq LIMIT ?3",
                    )?;
                    let waiting = select.query_map(params![name, after, CANCELLED_AT_ONCE], |row| row.get(0))?;
                    Ok(waiting.collect::<Result<Vec<i64>, _>>()?)
                })
                .await?;
            let Some(&last) = waiting.last() else {
                return Ok(all);
            };
            after = last;
            let mut left = waiting
                .into_iter()
                .rev()
                .map(|seq| Giving::new(seq, Verdict::Cancelled, reason, now))
                .collect::<Vec<_>>();
            let mut cancelled = 0;
            all += self
                .writer
                .run_steps(move |db| {
                    let began = Stopwatch::start();
                    while let Some(giving) = left.last_mut() {
                        if giving.step(db)? {
                            cancelled += giving.given;
                            left.pop();
                        }
                        if began.elapsed() >= STEP_TIME && !left.is_empty() {
                            return Ok(Step::More);
                        }
                    }
                    Ok(Step::Done(cancelled))
                })
                .await?;
        }
    }

    /// Messages of a provider that wait.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn waiting_of(&self, provider: Name) -> Result<u64, StoreError> {
        self.reader
            .run(move |db| {
                let select =
                    "SELECT coalesce((SELECT waiting_messages FROM providers WHERE name = ?1), 0)";
                Ok(db
                    .prepare_cached(select)?
                    .query_row([provider.to_string()], |row| read_count(row, 0))?)
            })
            .await
    }

    /// The provider that a token belongs to: its own, or one that works beside it for a time.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn provider_with_token(
        &self,
        token: TokenHash,
        now: Timestamp,
    ) -> Result<Option<Provider>, StoreError> {
        let now = now.as_millisecond();
        if let Some(found) = self.known.provider(token.octets()) {
            return Ok(Some(found));
        }
        let before = self.known.generation();
        let (found, is_former) = self
            .reader
            .run(move |db| {
                if let Some(found) = select_providers(db, "WHERE token_hash = ?1", params![token.octets()])?.pop() {
                    return Ok((Some(found), false));
                }
                let is_former =
                    "WHERE name = (SELECT provider FROM former_tokens WHERE token_hash = ?1 AND until > ?2)";
                Ok((select_providers(db, is_former, params![token.octets(), now])?.pop(), true))
            })
            .await?;
        // A former token is not learned: it ends by the clock.
        if let Some(provider) = found.as_ref().filter(|_| !is_former) {
            self.known
                .learn_provider(before, *token.octets(), provider.clone());
        }
        Ok(found)
    }
}
