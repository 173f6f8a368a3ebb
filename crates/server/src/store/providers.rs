//! The directory's providers, and what they may do.

use std::sync::PoisonError;

use delivery::TerminalId;
use line::Number;
use rusqlite::{OptionalExtension as _, params};

use super::rows::{parse, select_providers};
use super::terminals::taken;
use super::{Store, StoreError, webhooks};
use crate::directory::{ChapSecret, Name, Provider, TokenHash};
use crate::webhooks::Webhook;

impl Store {
    /// Adds a provider.
    ///
    /// # Errors
    /// [`StoreError::Taken`] names the field that another provider has.
    pub async fn add_provider(&self, provider: Provider, token: TokenHash) -> Result<(), StoreError> {
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
                .map_err(taken)?;
                let mut insert = db.prepare_cached("INSERT OR IGNORE INTO rights VALUES (?1, ?2)")?;
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
            self.webhooks.lock().unwrap_or_else(PoisonError::into_inner).extend(told);
        }
        self.known.forget_providers();
        added
    }

    /// All providers, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn providers(&self) -> Result<Vec<Provider>, StoreError> {
        self.reader.run(|db| select_providers(db, "ORDER BY name", params![])).await
    }

    /// What a provider has to pass CHAP with when it dials in; `None`: nothing is demanded.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn caller_secret(&self, provider: Name) -> Result<Option<ChapSecret>, StoreError> {
        self.reader
            .run(move |db| {
                let select = "SELECT chap_secret FROM providers WHERE name = ?1";
                let found: Option<Option<String>> =
                    db.prepare_cached(select)?.query_row([provider.to_string()], |row| row.get(0)).optional()?;
                found.flatten().map(|secret| parse(&secret, "a provider's secret")).transpose()
            })
            .await
    }

    /// The provider of this name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn provider_named(&self, name: Name) -> Result<Option<Provider>, StoreError> {
        self.reader.run(move |db| Ok(select_providers(db, "WHERE name = ?1", params![name.to_string()])?.pop())).await
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
    pub async fn set_sender(&self, terminal: TerminalId, provider: Option<Name>) -> Result<bool, StoreError> {
        self.writer
            .run(move |db| {
                let terminal = terminal.to_string();
                let Some(provider) = provider else {
                    db.execute("DELETE FROM senders WHERE terminal = ?1", [terminal])?;
                    return Ok(true);
                };
                let set = "INSERT OR REPLACE INTO senders SELECT ?1, name FROM providers WHERE name = ?2";
                Ok(db.execute(set, [terminal, provider.to_string()])? == 1)
            })
            .await
    }

    /// The provider that a token belongs to.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn provider_with_token(&self, token: TokenHash) -> Result<Option<Provider>, StoreError> {
        if let Some(found) = self.known.provider(token.octets()) {
            return Ok(Some(found));
        }
        let before = self.known.generation();
        let found = self
            .reader
            .run(move |db| Ok(select_providers(db, "WHERE token_hash = ?1", params![token.octets()])?.pop()))
            .await?;
        if let Some(provider) = &found {
            self.known.learn_provider(before, *token.octets(), provider.clone());
        }
        Ok(found)
    }
}
