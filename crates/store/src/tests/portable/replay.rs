//! The same operations leave the same rows: what they have the writer do in SQLite is done again in PostgreSQL.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Mutex, PoisonError};

use jiff::SignedDuration;
use model::account::Reservation;
use model::money::Micros;
use model::subscription::{RegisteredBy, Subscription};
use rusqlite::trace::{TraceEvent, TraceEventCodes};

use super::super::*;
use super::dialect;
use super::postgres::Postgres;

/// What the store's writer was told, values and all. One test alone has its store traced.
static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn trace(event: TraceEvent<'_>) {
    // What a trigger does begins as a comment.
    if let TraceEvent::Stmt(statement, sql) = event
        && !sql.starts_with("--")
    {
        TOLD.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(statement.expanded_sql());
    }
}

/// Accepting, marking under way, settling, quotas, reserving, feeds, subscriptions, expiry, cleaning.
async fn operate(store: &Store, now: Timestamp) {
    store.add_terminal(owner()).await.unwrap();
    store
        .register(owner().id, PublicKey::from_octets([1; 32]), now)
        .await
        .unwrap();
    let provider = Provider {
        name: "vending-1".parse().unwrap(),
        number: None,
        may_send: vec![],
        is_disabled: false,
    };
    store
        .add_provider(provider, TokenHash::of("rup_x"))
        .await
        .unwrap();
    let [plain, first, second, expiring] =
        [b"plain", b"first", b"secon", b"expir"].map(|text| message(text, &[owner().id]));
    let keyed = |mut new: NewMessage| {
        (new.handling.replace_key, new.handling.idempotency_key) =
            (Some("level".to_owned()), Some(new.head.id.to_string()));
        new
    };
    let (first, second, mut expiring) = (keyed(first), keyed(second), expiring);
    let later = now + SignedDuration::from_hours(1);
    expiring.handling.expires_at = Some(later);
    for new in [&plain, &first, &second, &expiring] {
        store.accept(new.clone(), now).await.unwrap();
    }
    assert!(store.accept(second.clone(), now).await.unwrap().is_repeated);
    let full = Quotas {
        terminal: Quota {
            messages: 3,
            octets: 1000,
        },
        ..Quotas::default()
    };
    let over = store
        .clone()
        .with_quotas(full)
        .accept(message(b"more", &[owner().id]), now)
        .await;
    assert!(matches!(over, Err(StoreError::Quota(_))));

    let record = CallRecord {
        placed_at: now,
        ..call_placed()
    };
    let accounts = vec![
        Account::Server,
        Account::Terminal(owner().name),
        Account::Line("line-1".parse().unwrap()),
    ];
    let reservation = |call, amount| Reservation {
        call,
        day: jiff::civil::date(2026, 11, 24),
        amount: Micros(amount),
        longest: Duration::from_secs(60),
        accounts: accounts.clone(),
        limits: vec![(Account::Server, Micros(100))],
    };
    store
        .begin_call(record.clone(), owner().id, Some(reservation(record.id, 60)))
        .await
        .unwrap();
    let other = CallRecord {
        id: CallId::from_octets([7; 16]),
        ..record.clone()
    };
    let spent = store
        .begin_call(other.clone(), owner().id, Some(reservation(other.id, 60)))
        .await;
    assert!(matches!(spent, Err(StoreError::BudgetSpent(_))));
    store
        .claim_connection(owner().id, Connection::Connected(record.id))
        .await
        .unwrap();
    for new in [&plain, &second] {
        assert!(matches!(
            store
                .begin(new.head.id, owner().id, record.id, now)
                .await
                .unwrap(),
            Claim::Begun(_)
        ));
    }
    store
        .delivered(plain.head.id, owner().id, record.id, now)
        .await
        .unwrap();
    store
        .cancel(second.head.id, None, "cancelled", now)
        .await
        .unwrap();
    store
        .end_delivery(
            second.head.id,
            owner().id,
            record.id,
            AttemptEnd::broken("lost", Doubt::Raised),
            now,
        )
        .await
        .unwrap();
    let doubt = store.doubts(owner().id).await.unwrap().pop().unwrap();
    store.not_there(doubt, owner().id, now).await.unwrap();
    store
        .record_call(
            CallRecord {
                ended_at: Some(later),
                octets_out: 9,
                ..record.clone()
            },
            now,
        )
        .await
        .unwrap();
    store.end_connection(owner().id, record.id).await.unwrap();
    store.settle_call(record.id, Micros(20)).await.unwrap();
    let number: line::Number = "301".parse().unwrap();
    for failed in [1, 2] {
        let dial_loop = model::dial_loop::Loop {
            since: now,
            failed,
            is_broken: failed == 2,
        };
        store
            .set_dial_loop(number.clone(), Some(dial_loop))
            .await
            .unwrap();
    }
    for size_max in [None, Some(10)] {
        let (filter, hours) = ("news/#".parse().unwrap(), Hours::default());
        let subscription = Subscription {
            filter,
            urgency: delivery::Urgency::Normal,
            size_max,
            hours,
        };
        store
            .subscribe(owner().id, subscription, RegisteredBy::Operator, now)
            .await
            .unwrap();
    }
    for failed in [0, 1] {
        let state = FeedState {
            etag: Some("a".to_owned()),
            last_modified: None,
            next_at: later,
            failed,
        };
        store
            .feed_read("http://feed".to_owned(), state, vec![[1; 32], [2; 32]], now)
            .await
            .unwrap();
    }
    store.pause(owner().id, now).await.unwrap();
    assert_eq!(store.expire(later).await.unwrap(), 1);
    let day = now + SignedDuration::from_hours(24);
    let retention = Retention {
        contents: Duration::ZERO,
        rows: Duration::ZERO,
        ..Retention::default()
    };
    assert_eq!(store.clean(day, retention).await.unwrap().messages, 4);
}

/// The tables, each with its columns and whether they hold octets.
fn tables(db: &Database) -> BTreeMap<String, Vec<(String, bool)>> {
    let sql = "SELECT m.name, c.name, c.type = 'BLOB' FROM sqlite_master m JOIN pragma_table_info(m.name) c
               WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' ORDER BY m.name, c.cid";
    let mut select = db.prepare(sql).unwrap();
    let mut tables = BTreeMap::<String, Vec<_>>::new();
    for row in select
        .query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))
        .unwrap()
    {
        let (table, column) = row.unwrap();
        tables.entry(table).or_default().push(column);
    }
    tables
}

/// All rows, each as SQL would write it.
fn rows(db: &Database, table: &str, columns: &[(String, bool)]) -> Vec<String> {
    let value = |(column, is_octets): &(String, bool)| match is_octets {
        true => {
            format!("quote(CASE WHEN {column} IS NULL THEN NULL ELSE lower(hex({column})) END)")
        }
        false => format!("quote(CAST({column} AS TEXT))"),
    };
    let sql = format!(
        "SELECT {} FROM {table}",
        columns
            .iter()
            .map(value)
            .collect::<Vec<_>>()
            .join(" || ',' || ")
    );
    let mut select = db.prepare(&sql).unwrap();
    let mut rows: Vec<String> = select
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    rows.sort();
    rows
}

/// Has PostgreSQL write its rows into a file, in the same form.
fn dump(table: &str, columns: &[(String, bool)], file: &str) -> String {
    let value = |(column, is_octets): &(String, bool)| match is_octets {
        true => format!("quote_nullable(encode({column}, 'hex'))"),
        false => format!("quote_nullable({column}::text)"),
    };
    let values = columns
        .iter()
        .map(value)
        .collect::<Vec<_>>()
        .join(" || ',' || ");
    format!("COPY (SELECT {values} FROM {table}) TO '{file}'")
}

#[tokio::test]
async fn ten_operations_leave_the_same_rows_in_both_engines() {
    let folder = TempDir::new().unwrap();
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let store = Store::open(folder.path(), now).unwrap();
    let beside = Database::open(folder.path().join("ringup.db")).unwrap();
    let (schema, tables) = (dialect::schema(&beside), tables(&beside));
    let mut lines = schema;
    for (table, columns) in &tables {
        for row in rows(&beside, table, columns) {
            let names: Vec<_> = columns.iter().map(|(column, _)| column.as_str()).collect();
            lines.push(format!(
                "INSERT INTO {table} ({}) VALUES ({row})",
                names.join(", ")
            ));
        }
    }
    lines.extend(include_str!("triggers.sql").lines().map(str::to_owned));

    let trace_all = |db: &Database| {
        db.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(trace));
        Ok(())
    };
    store.writer.run(trace_all).await.unwrap();
    operate(&store, now).await;
    drop(store);
    let told = std::mem::take(&mut *TOLD.lock().unwrap_or_else(PoisonError::into_inner));
    let told: Vec<_> = told
        .iter()
        .filter(|sql| !sql.starts_with("PRAGMA"))
        .map(|sql| dialect::with_values(sql))
        .collect();
    // The transaction in which it began to be traced.
    let first = told
        .iter()
        .position(|sql| sql.starts_with("BEGIN"))
        .unwrap();
    lines.extend(told[first..].iter().cloned());
    let postgres = Postgres::new();
    let file = |table: &str| postgres.data().join(format!("{table}.rows"));
    lines.extend(
        tables
            .iter()
            .map(|(table, columns)| dump(table, columns, file(table).to_str().unwrap())),
    );
    let refused: Vec<_> = postgres
        .run(lines)
        .into_iter()
        .map(|refused| format!("{}: {}", refused.statement, refused.why))
        .collect();
    assert_eq!(refused, Vec::<String>::new());
    for (table, columns) in &tables {
        let text = fs::read_to_string(file(table)).unwrap();
        let mut theirs: Vec<_> = text.lines().map(str::to_owned).collect();
        theirs.sort();
        assert_eq!(theirs, rows(&beside, table, columns), "{table}");
    }
    let has = |table: &str| !rows(&beside, table, &tables[table]).is_empty();
    assert!(
        [
            "calls",
            "reservations",
            "spending",
            "feed_items",
            "subscriptions",
            "verdict_counts"
        ]
        .into_iter()
        .all(has)
    );
}
