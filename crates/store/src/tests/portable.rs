//! Every statement of the store is accepted by SQLite and by PostgreSQL, so that nothing is written that the second engine cannot run.
//!
//! Statements are the product's: the string literals of its sources that are SQL, and what its functions put together. PostgreSQL's
//! tables are made from those that SQLite has after all migrations. What only one engine takes is listed, and the list may only shrink.

mod dialect;
mod postgres;
mod replay;
mod sources;

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// Statements that SQLite alone takes, by what begins them, and why.
const ONLY_SQLITE: &[(&str, &str)] = &[
    (
        "SELECT call, began_at, ended_at, outcome, octets, kind FROM deliveries WHERE message = ?1 AND terminal = ?2 ORDER BY rowid",
        "two attempts may begin in one millisecond, and have no number",
    ),
    (
        "UPDATE envelopes SET pending_verdict = ?1, pending_reason = ?2 WHERE verdict IS NULL",
        "it has no ?3, which the statement beside it has: PostgreSQL cannot tell its type",
    ),
];

/// Those whose functions are not read, but asked.
fn composed() -> [String; 5] {
    [
        deliveries::first_urgency("?1"),
        deliveries::first_provider(),
        deliveries::first_urgencies(),
        deliveries::first_deadline_sql(),
        alarms::next_notice(),
    ]
}

#[test]
fn every_statement_is_accepted_by_both_engines() {
    let folder = TempDir::new().unwrap();
    drop(open(&folder));
    let db = Database::open(folder.path().join("ringup.db")).unwrap();
    const OF_A_SESSION: &str = "CREATE TEMP TABLE replaced_for (terminal TEXT PRIMARY KEY)";
    db.execute_batch(OF_A_SESSION).unwrap();
    let statements: BTreeSet<String> = sources::statements()
        .into_iter()
        .chain(composed())
        .collect();
    let in_one_line = |sql: &String| sql.split_whitespace().collect::<Vec<_>>().join(" ");
    let statements: BTreeSet<String> = statements.iter().map(in_one_line).collect();
    assert!(
        statements.len() > 150,
        "{} statements: are the sources read?",
        statements.len()
    );
    let refused: Vec<_> = statements
        .iter()
        .filter_map(|sql| Some(format!("{sql}: {}", db.prepare(sql).err()?)))
        .collect();
    assert_eq!(refused, Vec::<String>::new(), "SQLite refuses");

    let schema: Vec<_> = dialect::schema(&db)
        .into_iter()
        .chain([OF_A_SESSION.to_owned()])
        .collect();
    let prepared = statements
        .iter()
        .enumerate()
        .map(|(at, sql)| format!("PREPARE s{at} AS {}", dialect::statement(sql)));
    let lines = schema.into_iter().chain(prepared).collect();
    let refused: BTreeMap<usize, String> = postgres::Postgres::new()
        .run(lines)
        .into_iter()
        .map(of_statement)
        .collect();
    let statements: Vec<_> = statements.into_iter().collect();
    let known = |sql: &str| ONLY_SQLITE.iter().any(|(begin, _)| sql.starts_with(begin));
    let new: Vec<_> = refused
        .iter()
        .filter(|(at, _)| !known(&statements[**at]))
        .collect();
    let new: Vec<_> = new
        .into_iter()
        .map(|(at, why)| format!("{}\n    {why}", statements[*at]))
        .collect();
    assert!(
        new.is_empty(),
        "PostgreSQL refuses {} of {}:\n{}",
        new.len(),
        statements.len(),
        new.join("\n")
    );
    for (begin, why) in ONLY_SQLITE {
        let is_refused = refused.keys().any(|at| statements[*at].starts_with(begin));
        assert!(
            is_refused,
            "PostgreSQL takes it now, so remove it from ONLY_SQLITE: {begin} ({why})"
        );
    }
}

/// Which of the statements was refused, and why.
fn of_statement(refused: postgres::Refused) -> (usize, String) {
    let name = refused
        .statement
        .strip_prefix("PREPARE s")
        .and_then(|rest| rest.split(' ').next());
    let at = name.and_then(|name| name.parse().ok());
    (
        at.unwrap_or_else(|| {
            panic!(
                "the schema is refused: {} {}",
                refused.why, refused.statement
            )
        }),
        refused.why,
    )
}
