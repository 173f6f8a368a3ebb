//! What is kept of money, and of numbers whose calls fail.

use std::collections::BTreeMap;

use delivery::TerminalId;
use jiff::Timestamp;
use jiff::civil::Date;
use line::{CallId, Number};
use rusqlite::{Connection as Database, OptionalExtension as _, params};

use super::deliveries;
use super::rows::{parse, time};
use super::{Owner, Store, StoreError};
use model::account::{Account, Reservation};
use model::dial_loop::Loop;
use model::directory::Name;
use model::money::Micros;

/// What one reservation of a day came to, or still is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// Whom it counts for.
    pub accounts: Vec<Account>,
    /// What was paid; what was reserved, if that is not known.
    pub amount: Micros,
}

impl Store {
    /// Keeps what a call came to.
    ///
    /// # Errors
    /// [`StoreError`]: it counts as what was reserved.
    pub async fn settle_call(&self, call: CallId, amount: Micros) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                let before = db
                    .prepare_cached(
                        "SELECT day, terminal, provider, line, coalesce(spent, reserved) FROM reservations WHERE call = ?1",
                    )?
                    .query_row([call.to_string()], |row| {
                        let whose: (String, String, Option<String>, String) =
                            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
                        Ok((whose, row.get::<_, i64>(4)?))
                    })
                    .optional()?;
                let Some(((day, terminal, provider, line), before)) = before else { return Ok(()) };
                db.prepare_cached("UPDATE reservations SET spent = ?2 WHERE call = ?1")?
                    .execute(params![call.to_string(), amount.0])?;
                let more = "UPDATE spending SET amount = amount + ?3 WHERE day = ?1 AND account = ?2";
                for account in accounts(&terminal, provider.as_deref(), &line)? {
                    db.prepare_cached(more)?.execute(params![day, key(&account), amount.0 - before])?;
                }
                Ok(())
            })
            .await
    }

    /// What was spent on a day, call by call.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn spent_on(&self, day: Date) -> Result<Vec<Spent>, StoreError> {
        self.reader
            .run(move |db| {
                let mut select = db.prepare_cached(
                    "SELECT terminal, provider, line, coalesce(spent, reserved) FROM reservations WHERE day = ?1",
                )?;
                let mut rows = select.query([day.to_string()])?;
                let mut spent = Vec::new();
                while let Some(row) = rows.next()? {
                    let whose: (String, Option<String>, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
                    let accounts = accounts(&whose.0, whose.1.as_deref(), &whose.2)?;
                    spent.push(Spent { accounts, amount: Micros(row.get(3)?) });
                }
                Ok(spent)
            })
            .await
    }

    /// Keeps how often a number's calls failed; `None`: the last did not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_dial_loop(
        &self,
        number: Number,
        dial_loop: Option<Loop>,
    ) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                match dial_loop {
                    Some(Loop { since, failed, is_broken }) => db
                        .prepare_cached(
                            "INSERT INTO dial_loops VALUES (?1, ?2, ?3, ?4) ON CONFLICT (number) DO UPDATE
                             SET since = excluded.since, failed = excluded.failed, is_broken = excluded.is_broken",
                        )?
                        .execute(params![number.as_str(), since.as_millisecond(), failed, is_broken])?,
                    None => {
                        db.prepare_cached("DELETE FROM dial_loops WHERE number = ?1")?.execute([number.as_str()])?
                    }
                };
                Ok(())
            })
            .await
    }

    /// All numbers whose last call failed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn dial_loops(&self) -> Result<Vec<(Number, Loop)>, StoreError> {
        const WHAT: &str = "a dial loop";
        self.reader
            .run(move |db| {
                let mut select =
                    db.prepare_cached("SELECT number, since, failed, is_broken FROM dial_loops")?;
                let mut rows = select.query([])?;
                let mut loops = Vec::new();
                while let Some(row) = rows.next()? {
                    let since = Timestamp::from_millisecond(row.get(1)?)
                        .map_err(|_| StoreError::damaged(WHAT))?;
                    let found = Loop {
                        since,
                        failed: row.get(2)?,
                        is_broken: row.get(3)?,
                    };
                    loops.push((parse(&row.get::<_, String>(0)?, WHAT)?, found));
                }
                Ok(loops)
            })
            .await
    }

    /// The provider of the most urgent message that may cause a call to a terminal, the oldest of them: the call is for that one. One
    /// that its terminal has refused, and that rests, causes none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn first_provider(
        &self,
        terminal: TerminalId,
        now: Timestamp,
    ) -> Result<Option<Name>, StoreError> {
        let now = now.as_millisecond();
        self.reader
            .run(move |db| {
                let name: Option<String> = db
                    .prepare_cached(&deliveries::first_provider())?
                    .query_row(params![terminal.to_string(), now], |row| row.get(0))
                    .optional()?;
                name.map(|name| parse(&name, "a message")).transpose()
            })
            .await
    }

    /// When a call with each terminal last came up.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn last_connected(&self) -> Result<BTreeMap<Name, Timestamp>, StoreError> {
        const WHAT: &str = "a call";
        self.reader
            .survey(move |db| {
                let mut select = db.prepare_cached(LAST_CONNECTED)?;
                let mut rows = select.query([])?;
                let mut last = BTreeMap::new();
                while let Some(row) = rows.next()? {
                    let Some(at) = row.get(1)? else { continue };
                    last.insert(parse(&row.get::<_, String>(0)?, WHAT)?, time(at, WHAT)?);
                }
                Ok(last)
            })
            .await
    }

    /// The calls we placed since then that were not answered: the number and when it was dialled, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn unanswered_since(
        &self,
        since: Timestamp,
    ) -> Result<Vec<(Number, Timestamp)>, StoreError> {
        const WHAT: &str = "a call";
        self.reader
            .survey(move |db| {
                let mut select = db.prepare_cached(CALLS_SINCE)?;
                let mut rows = select.query([since.as_millisecond()])?;
                let mut unanswered = BTreeMap::<String, Vec<Timestamp>>::new();
                while let Some(row) = rows.next()? {
                    let (number, at) = (row.get::<_, String>(0)?, time(row.get(1)?, WHAT)?);
                    match (row.get(2)?, row.get(3)?) {
                        // Answered, or it has called: what went before does not count any more.
                        (true, _) => drop(unanswered.remove(&number)),
                        (false, true) => unanswered.entry(number).or_default().push(at),
                        (false, false) => {}
                    }
                }
                let mut calls = Vec::new();
                for (number, times) in unanswered {
                    let number: Number = parse(&number, WHAT)?;
                    calls.extend(times.into_iter().map(|at| (number.clone(), at)));
                }
                calls.sort_by_key(|(_, at)| *at);
                Ok(calls)
            })
            .await
    }
}

/// Keeps a reservation if it fits into the budgets, in one transaction with what has been spent by all servers.
pub(super) fn reserve(
    db: &Database,
    owner: &Owner,
    reservation: Reservation,
) -> Result<(), StoreError> {
    let Reservation {
        call,
        day,
        amount,
        longest: _,
        accounts,
        limits,
    } = reservation;
    let day = day.to_string();
    let mut spend = db.prepare_cached(
        "INSERT INTO spending (day, account, amount) VALUES (?1, ?2, ?3)
         ON CONFLICT (day, account) DO UPDATE SET amount = spending.amount + excluded.amount
         WHERE spending.amount + excluded.amount <= ?4",
    )?;
    for account in &accounts {
        let limit = limits
            .iter()
            .find(|(of, _)| of == account)
            .map_or(Micros(i64::MAX), |(_, limit)| *limit);
        if amount > limit || spend.execute(params![day, key(account), amount.0, limit.0])? == 0 {
            return Err(StoreError::BudgetSpent(account.clone()));
        }
    }
    let (mut terminal, mut provider, mut line) = (String::new(), None, String::new());
    for account in accounts {
        match account {
            Account::Server => {}
            Account::Terminal(name) => terminal = name.to_string(),
            Account::Provider(name) => provider = Some(name.to_string()),
            Account::Line(name) => line = name.to_string(),
        }
    }
    db.prepare_cached(
        "INSERT INTO reservations (call, day, terminal, provider, line, reserved, owner, epoch)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        call.to_string(),
        day,
        terminal,
        provider,
        line,
        amount.0,
        owner.id,
        owner.epoch
    ])?;
    Ok(())
}

/// An account's name in the database.
fn key(account: &Account) -> String {
    match account {
        Account::Server => "server".to_owned(),
        Account::Terminal(name) => format!("terminal {name}"),
        Account::Provider(name) => format!("provider {name}"),
        Account::Line(name) => format!("line {name}"),
    }
}

/// Whom a reservation counts for.
fn accounts(
    terminal: &str,
    provider: Option<&str>,
    line: &str,
) -> Result<Vec<Account>, StoreError> {
    const WHAT: &str = "a reservation";
    let mut accounts = vec![
        Account::Server,
        Account::Terminal(parse(terminal, WHAT)?),
        Account::Line(parse(line, WHAT)?),
    ];
    accounts.extend(
        provider
            .map(|name| parse(name, WHAT))
            .transpose()?
            .map(Account::Provider),
    );
    Ok(accounts)
}

/// Calls with one terminal follow each other: the last that was placed, of those that came up, is the last that came up.
pub(super) const LAST_CONNECTED: &str = "SELECT name, (SELECT connected_at FROM calls
      WHERE party = name AND connected_at IS NOT NULL ORDER BY placed_at DESC LIMIT 1) FROM terminals";

pub(super) const CALLS_SINCE: &str =
    "SELECT number, placed_at, connected_at IS NOT NULL, direction = 'outgoing' FROM calls
    WHERE placed_at >= ?1 ORDER BY placed_at";

#[cfg(test)]
mod tests {
    use super::*;
    use model::call::{CallRecord, Direction};
    use model::directory::{Connection, Terminal, TrustedBy};

    fn reservation(number: u8, amount: i64) -> Reservation {
        Reservation {
            call: CallId::from_octets([number; 16]),
            day: jiff::civil::date(2026, 11, 24),
            amount: Micros(amount),
            longest: std::time::Duration::ZERO,
            limits: Vec::new(),
            accounts: vec![
                Account::Server,
                Account::Terminal("owner".parse().unwrap()),
                Account::Line("line-1".parse().unwrap()),
                Account::Provider("maker".parse().unwrap()),
            ],
        }
    }

    #[tokio::test]
    async fn what_was_reserved_and_never_settled_counts_as_spent_after_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Timestamp::now()).unwrap();
        for number in [1, 2] {
            let record = CallRecord {
                id: CallId::from_octets([number; 16]),
                ..call(0, None)
            };
            let reservation = Some(reservation(number, 100));
            store
                .begin_call(record, TerminalId::from_octets([1; 8]), reservation)
                .await
                .unwrap();
        }
        store
            .settle_call(CallId::from_octets([1; 16]), Micros(30))
            .await
            .unwrap();
        drop(store);
        let store = Store::open(folder.path(), Timestamp::now()).unwrap();
        let spent = store
            .spent_on(jiff::civil::date(2026, 11, 24))
            .await
            .unwrap();
        assert_eq!(
            spent.iter().map(|spent| spent.amount.0).collect::<Vec<_>>(),
            [30, 100]
        );
        assert!(
            spent
                .iter()
                .all(|spent| spent.accounts == reservation(1, 0).accounts)
        );
        assert_eq!(
            store
                .spent_on(jiff::civil::date(2026, 11, 25))
                .await
                .unwrap(),
            []
        );
    }

    #[tokio::test]
    async fn a_dial_loop_is_remembered_until_it_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Timestamp::now()).unwrap();
        let number: Number = "201".parse().unwrap();
        let kept = Loop {
            since: Timestamp::from_second(1_000_000_000).unwrap(),
            failed: 7,
            is_broken: true,
        };
        store
            .set_dial_loop(number.clone(), Some(kept))
            .await
            .unwrap();
        assert_eq!(store.dial_loops().await.unwrap(), [(number.clone(), kept)]);
        store.set_dial_loop(number, None).await.unwrap();
        assert_eq!(store.dial_loops().await.unwrap(), []);
    }

    fn call(placed: i64, connected: Option<i64>) -> CallRecord {
        let (line, number) = (
            "line-1".parse::<Name>().unwrap(),
            "201".parse::<Number>().unwrap(),
        );
        let at = |second: i64| Timestamp::from_second(1_000_000_000 + second).unwrap();
        let record = CallRecord::begin(
            CallId::now(),
            Timestamp::now(),
            Direction::Outgoing,
            line,
            Some(number),
            "owner".parse().unwrap(),
        );
        CallRecord {
            placed_at: at(placed),
            connected_at: connected.map(at),
            ..record
        }
    }

    #[tokio::test]
    async fn calls_count_as_redials_until_one_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Timestamp::now()).unwrap();
        let (id, name, connection) = (
            TerminalId::from_octets([1; 8]),
            "owner".parse().unwrap(),
            Connection::Down,
        );
        let trusted_by = TrustedBy::default();
        let owner = Terminal {
            id,
            name,
            number: None,
            address: None,
            trusted_by,
            connection,
        };
        store.add_terminal(owner).await.unwrap();
        for record in [
            call(0, None),
            call(10, Some(12)),
            call(20, None),
            call(30, None),
        ] {
            store.record_call(record, Timestamp::now()).await.unwrap();
        }
        let at = |second: i64| Timestamp::from_second(1_000_000_000 + second).unwrap();
        let unanswered = store.unanswered_since(at(0)).await.unwrap();
        assert_eq!(
            unanswered.iter().map(|(_, at)| *at).collect::<Vec<_>>(),
            [at(20), at(30)]
        );
        assert_eq!(store.unanswered_since(at(25)).await.unwrap().len(), 1);
        assert_eq!(
            store.last_connected().await.unwrap(),
            BTreeMap::from([("owner".parse().unwrap(), at(12))])
        );
    }
}
