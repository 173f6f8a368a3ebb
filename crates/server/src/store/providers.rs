//! The directory's providers, and what they may do.

use std::sync::PoisonError;

use delivery::TerminalId;
use line::Number;
use rusqlite::params;

use super::rows::select_providers;
use super::terminals::taken;
use super::{Store, StoreError, webhooks};
use crate::directory::{Name, Provider, TokenHash};
use crate::webhooks::Webhook;

impl Store {
    /// Adds a provider.
    ///
    /// # Errors
    /// [`StoreError::Taken`] names the field that another provider has.
    pub async fn add_provider(&self, provider: Provider, token: TokenHash) -> Result<(), StoreError> {
        self.add_provider_with(provider, token, None).await
    }

    /// Adds a provider whose verdicts are told to it.
    ///
    /// # Errors
    /// As [`Store::add_provider`].
    pub async fn add_provider_with(
        &self,
        provider: Provider,
        token: TokenHash,
        webhook: Option<Webhook>,
    ) -> Result<(), StoreError> {
        let told = webhook.is_some().then(|| provider.name.to_string());
        let added = self
            .writer
            .run(move |db| {
                let number = provider.number.as_ref().map(Number::as_str);
                db.execute(
                    "INSERT INTO providers (name, number, token_hash) VALUES (?1, ?2, ?3)",
                    params![provider.name.to_string(), number, token.octets()],
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
