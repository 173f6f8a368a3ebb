//! Changes to terminals and providers that there are.

use std::net::Ipv4Addr;

use delivery::{TerminalId, TopicFilter};
use jiff::Timestamp;
use line::Number;
use rusqlite::params;

use super::terminals::taken;
use super::{Store, StoreError};
use model::directory::Name;
use model::rights::Right;

/// What is written over what a terminal has.
#[derive(Debug, Clone)]
pub struct TerminalUpdate {
    /// The number that is dialled.
    pub number: Option<Number>,
    /// Its address on a link.
    pub address: Option<Ipv4Addr>,
    /// The topics that it may subscribe to by itself, empty: all; `None`: those that it has.
    pub registrable: Option<Vec<TopicFilter>>,
}

/// What is written over what a provider has.
#[derive(Debug, Clone)]
pub struct ProviderUpdate {
    /// The number that it dials in from.
    pub number: Option<Number>,
    /// To whom and under which topics it may send; `None`: as before.
    pub may_send: Option<Vec<Right>>,
    /// Whether its submissions are refused; `None`: as before.
    pub is_disabled: Option<bool>,
}

impl Store {
    /// Changes a terminal, in one transaction. `false`: the directory has none with this id.
    ///
    /// # Errors
    /// [`StoreError::Taken`] names the field that another terminal has.
    pub async fn update_terminal(
        &self,
        id: TerminalId,
        update: TerminalUpdate,
    ) -> Result<bool, StoreError> {
        let updated = self
            .writer
            .run(move |db| {
                let id = id.to_string();
                let number = update.number.as_ref().map(Number::as_str);
                let address = update.address.map(|address| address.to_string());
                let changed = db
                    .prepare_cached("UPDATE terminals SET number = ?2, address = ?3 WHERE id = ?1")?
                    .execute(params![id, number, address])
                    .map_err(|error| {
                        let values = [("number", number), ("address", address.as_deref())];
                        taken(db, "terminals", &values, error.into())
                    })?;
                if let Some(registrable) = update.registrable.filter(|_| changed == 1) {
                    db.prepare_cached("DELETE FROM registrable WHERE terminal = ?1")?
                        .execute([&id])?;
                    let mut insert = db.prepare_cached(
                        "INSERT INTO registrable VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                    )?;
                    for filter in registrable {
                        insert.execute([&id, &filter.to_string()])?;
                    }
                }
                Ok(changed == 1)
            })
            .await;
        self.known.forget_terminals();
        updated
    }

    /// Changes a provider, in one transaction. `false`: there is none of this name.
    ///
    /// # Errors
    /// [`StoreError::Taken`]: another provider has the number.
    pub async fn update_provider(
        &self,
        provider: Name,
        update: ProviderUpdate,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let updated = self
            .writer
            .run(move |db| {
                let name = provider.to_string();
                let number = update.number.as_ref().map(Number::as_str);
                let changed = db
                    .prepare_cached("UPDATE providers SET number = ?2 WHERE name = ?1")?
                    .execute(params![name, number])
                    .map_err(|error| taken(db, "providers", &[("number", number)], error.into()))?;
                if changed == 0 {
                    return Ok(false);
                }
                if let Some(may_send) = update.may_send {
                    db.prepare_cached("DELETE FROM rights WHERE provider = ?1")?
                        .execute([&name])?;
                    let mut insert = db.prepare_cached(
                        "INSERT INTO rights VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                    )?;
                    for right in may_send {
                        insert.execute([&name, &right.to_string()])?;
                    }
                }
                let disable =
                    "UPDATE providers SET disabled_at = coalesce(disabled_at, ?2) WHERE name = ?1";
                match update.is_disabled {
                    None => {}
                    Some(true) => {
                        db.prepare_cached(disable)?
                            .execute(params![name, now.as_millisecond()])?;
                    }
                    Some(false) => {
                        db.prepare_cached(
                            "UPDATE providers SET disabled_at = NULL WHERE name = ?1",
                        )?
                        .execute([&name])?;
                    }
                }
                Ok(true)
            })
            .await;
        self.known.forget_providers();
        updated
    }
}
