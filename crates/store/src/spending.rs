//! What calls have cost: one by one, and by whom.

use std::collections::BTreeMap;

use jiff::civil::Date;
use line::CallId;
use rusqlite::{OptionalExtension as _, params};

use super::rows::{parse, read_count};
use super::{Store, StoreError};
use model::directory::Name;
use model::money::Micros;

/// What a call cost, or may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallCost {
    /// The most that it could cost.
    pub reserved: Micros,
    /// What it came to; `None`: not known (yet).
    pub spent: Option<Micros>,
}

/// By whom amounts are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpentBy {
    /// The provider whose message a call was for.
    Provider,
    /// The terminal that was called.
    Terminal,
    /// The line.
    Line,
}

/// What one of them spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spending {
    /// Its name; `None`: calls that were for no provider's message.
    pub name: Option<Name>,
    /// Calls that could cost something.
    pub calls: u64,
    /// What they cost; what was reserved, where that is not known.
    pub amount: Micros,
}

impl SpentBy {
    fn sql(self) -> &'static str {
        match self {
            Self::Provider => PROVIDERS,
            Self::Terminal => TERMINALS,
            Self::Line => LINES,
        }
    }
}

const PROVIDERS: &str =
    "SELECT provider, count(*), sum(coalesce(spent, reserved)) FROM reservations
    WHERE day >= ?1 GROUP BY provider ORDER BY 3 DESC, 1";
const TERMINALS: &str =
    "SELECT terminal, count(*), sum(coalesce(spent, reserved)) FROM reservations
    WHERE day >= ?1 GROUP BY terminal ORDER BY 3 DESC, 1";
const LINES: &str = "SELECT line, count(*), sum(coalesce(spent, reserved)) FROM reservations
    WHERE day >= ?1 GROUP BY line ORDER BY 3 DESC, 1";

impl Store {
    /// What was spent from this day on, the dearest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn spent_since(&self, since: Date, by: SpentBy) -> Result<Vec<Spending>, StoreError> {
        self.reader
            .survey(move |db| {
                let mut select = db.prepare_cached(by.sql())?;
                let mut rows = select.query([since.to_string()])?;
                let mut spent = Vec::new();
                while let Some(row) = rows.next()? {
                    let name: Option<String> = row.get(0)?;
                    let name = name.map(|name| parse(&name, "a reservation")).transpose()?;
                    spent.push(Spending {
                        name,
                        calls: read_count(row, 1)?,
                        amount: Micros(row.get(2)?),
                    });
                }
                Ok(spent)
            })
            .await
    }

    /// What these calls cost, of those that could cost something.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn costs(
        &self,
        calls: Vec<CallId>,
    ) -> Result<BTreeMap<CallId, CallCost>, StoreError> {
        self.reader
            .survey(move |db| {
                let mut select =
                    db.prepare_cached("SELECT reserved, spent FROM reservations WHERE call = ?1")?;
                let mut costs = BTreeMap::new();
                for call in calls {
                    let cost = select.query_row(params![call.to_string()], |row| {
                        Ok(CallCost {
                            reserved: Micros(row.get(0)?),
                            spent: row.get::<_, Option<i64>>(1)?.map(Micros),
                        })
                    });
                    costs.extend(cost.optional()?.map(|cost| (call, cost)));
                }
                Ok(costs)
            })
            .await
    }
}
