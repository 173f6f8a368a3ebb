//! What the disk and SQLite give without us: the same rows in the same schema, in transactions of one or of many.

use std::fs::File;
use std::io::Write as _;
use std::time::Instant;

use delivery::{Digest, MessageId};
use jiff::Timestamp;
use rusqlite::{Connection, params};
use store::Store;

use crate::{CONTENT_OCTETS, measured};

/// `fdatasync` a second, of what a small commit writes.
pub(crate) fn syncs() -> f64 {
    let folder = tempfile::tempdir().expect("a folder");
    let mut file = File::create(folder.path().join("log")).expect("a file");
    let began = Instant::now();
    let mut count = 0;
    while began.elapsed() < measured() {
        file.write_all(&[0; 4096])
            .and_then(|()| file.sync_data())
            .expect("a disk");
        count += 1;
    }
    f64::from(count) / began.elapsed().as_secs_f64()
}

/// Messages a second that are on the disk, `batch` in each transaction.
pub(crate) fn accepts(batch: usize) -> f64 {
    let folder = tempfile::tempdir().expect("a folder");
    drop(Store::open(folder.path(), Timestamp::now()).expect("a store")); // for its schema
    let db = Connection::open(folder.path().join("ringup.db")).expect("a database");
    db.pragma_update(None, "synchronous", "FULL")
        .expect("a pragma");
    db.pragma_update(None, "wal_autocheckpoint", 4000)
        .expect("a pragma");
    db.execute(
        "INSERT INTO providers (name, token_hash) VALUES ('vending', x'00')",
        [],
    )
    .expect("it is new");
    let content = [b'x'; CONTENT_OCTETS];
    let began = Instant::now();
    let mut count = 0_u32;
    while began.elapsed() < measured() {
        db.execute_batch("BEGIN IMMEDIATE").expect("a transaction");
        for _ in 0..batch {
            insert(&db, &content);
            count += 1;
        }
        db.execute_batch("COMMIT").expect("a disk");
    }
    f64::from(count) / began.elapsed().as_secs_f64()
}

fn insert(db: &Connection, content: &[u8]) {
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
        db.prepare_cached(sql)
            .and_then(|mut statement| statement.execute(values))
            .expect("it is taken");
    };
    let (id, digest) = (
        MessageId::now().to_string(),
        Digest::of(content).to_string(),
    );
    run(
        "INSERT INTO messages (id, provider, content_type, digest, size, kept, accepted_at, waiting)
         VALUES (?1, 'vending', 'text/plain', ?2, 1000, 'row', 0, 1)",
        params![id, digest],
    );
    let seq = db.last_insert_rowid();
    run(
        "INSERT INTO contents VALUES (?1, ?2)",
        params![seq, content],
    );
    run(
        "INSERT INTO envelopes (message, terminal, urgency, size) VALUES (?1, 'AAAAAAAAAAA', 1, 1000)",
        params![seq],
    );
    run(
        "INSERT INTO queues VALUES ('AAAAAAAAAAA', 1, 1000)
         ON CONFLICT (terminal) DO UPDATE SET messages = messages + 1, octets = octets + 1000",
        params![],
    );
    run(
        "UPDATE providers SET waiting_messages = waiting_messages + 1, waiting_octets = waiting_octets + 1000
         WHERE name = 'vending'",
        params![],
    );
}
