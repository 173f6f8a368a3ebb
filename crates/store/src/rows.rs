//! Rows and what they mean. A row that cannot be read was not written by us: it is damage, and named.

use std::net::Ipv4Addr;

use delivery::proof::KeyForm;
use delivery::{ContentType, MessageHead, Urgency};
use jiff::Timestamp;
use rusqlite::{Connection as Database, Row};

use super::error::StoreError;
use model::call::{CallRecord, Direction, Via};
use model::directory::{Connection, Stock, StockTrust, Terminal, TrustedBy};
use model::provider::Provider;

pub(super) fn parse<T: std::str::FromStr>(text: &str, what: &'static str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::damaged(what))
}

pub(super) fn time(millis: i64, what: &'static str) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(millis).map_err(|_| StoreError::damaged(what))
}

pub(super) fn select_terminals(
    db: &Database,
    rest: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<Terminal>, StoreError> {
    const WHAT: &str = "a terminal";
    let sql = format!(
        "SELECT id, name, number, address, connection, connection_call, trust, inbox, chap_secret FROM terminals {rest}"
    );
    let mut select = db.prepare_cached(&sql)?;
    let mut rows = select.query(values)?;
    let mut terminals = Vec::new();
    while let Some(row) = rows.next()? {
        let number: Option<String> = row.get(2)?;
        let address: Option<String> = row.get(3)?;
        let state: String = row.get(4)?;
        let call: Option<String> = row.get(5)?;
        let call = call.map(|call| parse(&call, WHAT)).transpose()?;
        terminals.push(Terminal {
            id: parse(&row.get::<_, String>(0)?, WHAT)?,
            name: parse(&row.get::<_, String>(1)?, WHAT)?,
            number: number.map(|number| parse(&number, WHAT)).transpose()?,
            address: address
                .map(|address| parse::<Ipv4Addr>(&address, WHAT))
                .transpose()?,
            connection: match (state.as_str(), call) {
                ("calling", Some(call)) => Connection::Calling(call),
                ("connected", Some(call)) => Connection::Connected(call),
                _ => Connection::Down,
            },
            trusted_by: read_trusted_by(row)?,
        });
    }
    Ok(terminals)
}

/// Trust that cannot be read must not become another.
fn read_trusted_by(row: &Row<'_>) -> Result<TrustedBy, StoreError> {
    const WHAT: &str = "a terminal's trust";
    let text = |index| {
        row.get::<_, Option<String>>(index)?
            .ok_or(StoreError::damaged(WHAT))
    };
    let trust = match text(6)?.as_str() {
        "key" => return Ok(TrustedBy::Key(KeyForm::Raw)),
        "certificate" => return Ok(TrustedBy::Key(KeyForm::Certificate)),
        "chap" => StockTrust::Chap(parse(&text(8)?, WHAT)?),
        "number-only" => StockTrust::NumberOnly,
        _ => return Err(StoreError::damaged(WHAT)),
    };
    Ok(TrustedBy::Stock(Stock {
        trust,
        inbox: parse(&text(7)?, WHAT)?,
    }))
}

pub(super) fn select_providers(
    db: &Database,
    rest: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<Provider>, StoreError> {
    const WHAT: &str = "a provider";
    let mut select = db.prepare_cached(&format!(
        "SELECT name, number, disabled_at IS NOT NULL FROM providers {rest}"
    ))?;
    let mut rights =
        db.prepare_cached("SELECT may_send FROM rights WHERE provider = ?1 ORDER BY may_send")?;
    let mut rows = select.query(values)?;
    let mut providers = Vec::new();
    while let Some(row) = rows.next()? {
        let number: Option<String> = row.get(1)?;
        let name: String = row.get(0)?;
        let may_send = rights.query_map([&name], |row| row.get::<_, String>(0))?;
        // A right that cannot be read must not become the right to everything.
        let may_send = may_send
            .map(|right| parse(&right?, "a right"))
            .collect::<Result<_, StoreError>>()?;
        providers.push(Provider {
            name: parse(&name, WHAT)?,
            number: number.map(|number| parse(&number, WHAT)).transpose()?,
            may_send,
            is_disabled: row.get(2)?,
        });
    }
    Ok(providers)
}

/// Reads id, content type, digest and size from the first four columns.
pub(super) fn read_head(row: &Row<'_>) -> Result<MessageHead, StoreError> {
    const WHAT: &str = "a message";
    Ok(MessageHead {
        id: parse(&row.get::<_, String>(0)?, WHAT)?,
        content_type: parse::<ContentType>(&row.get::<_, String>(1)?, WHAT)?,
        digest: parse(&row.get::<_, String>(2)?, WHAT)?,
        size: u64::try_from(row.get::<_, i64>(3)?).map_err(|_| StoreError::damaged(WHAT))?,
    })
}

/// A count; the database has no unsigned numbers, and a negative one counts nothing.
pub(super) fn read_count(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(index)?).unwrap_or_default())
}

/// The urgencies as the database sorts them.
pub(super) fn urgency_rank(urgency: Urgency) -> i64 {
    match urgency {
        Urgency::Urgent => 0,
        Urgency::Normal => 1,
        Urgency::Bulk => 2,
    }
}

pub(super) fn read_urgency(rank: i64) -> Result<Urgency, StoreError> {
    let urgency = Urgency::ALL
        .into_iter()
        .find(|urgency| urgency_rank(*urgency) == rank);
    urgency.ok_or(StoreError::damaged("the urgency of a message"))
}

pub(super) fn read_call(row: &Row<'_>) -> Result<CallRecord, StoreError> {
    const WHAT: &str = "a call";
    let optional_time = |index| -> Result<Option<Timestamp>, StoreError> {
        row.get::<_, Option<i64>>(index)?
            .map(|at| time(at, WHAT))
            .transpose()
    };
    let count = |index| -> Result<u64, StoreError> {
        u64::try_from(row.get::<_, i64>(index)?).map_err(|_| StoreError::damaged(WHAT))
    };
    Ok(CallRecord {
        id: parse(&row.get::<_, String>(0)?, WHAT)?,
        direction: match row.get::<_, String>(1)?.as_str() {
            "outgoing" => Direction::Outgoing,
            _ => Direction::Incoming,
        },
        via: match row.get::<_, String>(2)?.as_str() {
            "" => Via::Internet,
            line => Via::Line(parse(line, WHAT)?),
        },
        number: match row.get::<_, String>(3)?.as_str() {
            "" => None,
            number => Some(parse(number, WHAT)?),
        },
        party: parse(&row.get::<_, String>(4)?, WHAT)?,
        placed_at: time(row.get(5)?, WHAT)?,
        connected_at: optional_time(6)?,
        ended_at: optional_time(7)?,
        outcome: row.get(8)?,
        octets_out: count(9)?,
        octets_in: count(10)?,
        // A later version may have more.
        kind: row
            .get::<_, Option<String>>(11)?
            .and_then(|kind| kind.parse().ok()),
    })
}
