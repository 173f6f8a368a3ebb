//! How much waits, held against the quotas.

use rusqlite::OptionalExtension as _;

use super::quotas::{Holder, NearQuota, Quota, Quotas, Waits, mark};
use super::rows::{parse, read_count};
use super::{Store, StoreError};
use model::directory::Name;

impl Store {
    /// What waits of a provider.
    pub(super) async fn waits_of(&self, provider: Name) -> Result<Waits, StoreError> {
        self.reader
            .run(move |db| {
                let mut select = db.prepare_cached(
                    "SELECT waiting_messages, waiting_octets FROM providers WHERE name = ?1",
                )?;
                let waits = select.query_row([provider.to_string()], |row| {
                    Ok(Waits {
                        messages: read_count(row, 0)?,
                        octets: read_count(row, 1)?,
                    })
                });
                Ok(waits.optional()?.unwrap_or(Waits {
                    messages: 0,
                    octets: 0,
                }))
            })
            .await
    }

    /// The quotas of which four fifths are used.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn near_quotas(&self) -> Result<Vec<NearQuota>, StoreError> {
        const WHAT: &str = "what waits";
        let Quotas { provider, terminal } = self.quotas;
        let marks = |quota: Quota| {
            [quota.messages, quota.octets].map(|max| i64::try_from(mark(max)).unwrap_or(i64::MAX))
        };
        self.reader
            .survey(move |db| {
                let mut near = Vec::new();
                let mut select = db.prepare_cached(
                    "SELECT name, waiting_messages, waiting_octets FROM providers
                     WHERE waiting_messages >= ?1 OR waiting_octets >= ?2",
                )?;
                let mut rows = select.query(marks(provider))?;
                while let Some(row) = rows.next()? {
                    let waits = Waits { messages: read_count(row, 1)?, octets: read_count(row, 2)? };
                    near.extend(provider.near(waits, &Holder::Provider(parse(&row.get::<_, String>(0)?, WHAT)?)));
                }
                let mut select = db.prepare_cached(
                    "SELECT t.name, q.messages, q.octets FROM queues q JOIN terminals t ON t.id = q.terminal
                     WHERE q.messages >= ?1 OR q.octets >= ?2",
                )?;
                let mut rows = select.query(marks(terminal))?;
                while let Some(row) = rows.next()? {
                    let waits = Waits { messages: read_count(row, 1)?, octets: read_count(row, 2)? };
                    near.extend(terminal.near(waits, &Holder::Terminal(parse(&row.get::<_, String>(0)?, WHAT)?)));
                }
                Ok(near)
            })
            .await
    }
}
