//! What is asked again and again makes progress by an index: it looks at what it is about, however much else there is.

use rusqlite::types::Null;

use super::*;
use crate::sqlite::open_to_read;
use crate::{subscriptions, verdicts};

/// The steps of SQLite's plan for a statement.
fn plan(db: &Database, sql: &str) -> Vec<String> {
    let mut explain = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let nothing = vec![Null; explain.parameter_count()];
    let steps = explain
        .query_map(rusqlite::params_from_iter(nothing), |row| {
            row.get::<_, String>("detail")
        })
        .unwrap();
    steps.collect::<Result<_, _>>().unwrap()
}

/// Steps that look at a whole table, or sort, in the statement's plan.
fn walks(db: &Database, sql: &str) -> Vec<String> {
    let is_empty = |step: &String| step.contains("INDEX messages_unfinished");
    let is_walk =
        |step: &String| step.starts_with("SCAN") && !is_empty(step) || step.contains("TEMP B-TREE");
    plan(db, sql).into_iter().filter(is_walk).collect()
}

#[test]
fn what_is_asked_again_and_again_looks_at_no_table_as_a_whole() {
    let folder = TempDir::new().unwrap();
    drop(open(&folder));
    let db = open_to_read(&folder.path().join("ringup.db")).unwrap();
    let once = [
        ("contents to drop", cleaning::WITH_CONTENT),
        ("rows to remove", cleaning::WITHOUT_CONTENT),
        ("envelopes to remove", cleaning::ENVELOPES_OF),
        ("whether a file is named", cleaning::NAMED),
        ("alarms to forget", alarms::FORGET),
        ("an alarm to tell of", &alarms::next_notice()),
        ("verdicts to tell", webhooks::DUE),
        ("the oldest of them", webhooks::OLDEST),
        ("the oldest mail to answer", bounces::OLDEST),
        ("mails to answer", bounces::DUE),
        ("the next expiry", verdicts::NEXT_EXPIRY),
        ("what has expired", verdicts::EXPIRED),
        ("envelopes that have", verdicts::EXPIRED_ENVELOPES),
        ("the next that is held", subscriptions::NEXT_HELD),
        ("held envelopes to release", subscriptions::RELEASE[0]),
        ("words to release", subscriptions::RELEASE[1]),
        ("the next rest that is over", subscriptions::NEXT_RESTED),
        ("rests to end", subscriptions::RELEASE[2]),
        ("a terminal's urgency", &deliveries::first_urgency("?1")),
        ("its first deadline", &deliveries::first_deadline_sql()),
        ("who pays for a call", &deliveries::first_provider()),
        ("calls since then", ledger::CALLS_SINCE),
        ("calls to forget", cleaning::CALLS_BEFORE),
        ("what they came to", cleaning::SPENT_BEFORE),
        ("mails that wait for too long", clock::AHEAD[1]),
        ("alarms that do", clock::AHEAD[2]),
        ("attempts to end", deliveries::END_ATTEMPTS),
        ("envelopes to give a verdict", verdicts::ENVELOPES_AFTER),
        (
            "what is held for too long",
            subscriptions::RELEASE_BEYOND[0],
        ),
        ("rests that are too long", subscriptions::RELEASE_BEYOND[1]),
        ("what is left for a terminal", terminals::LEFT_FOR),
        ("what it may have", terminals::NOBODY_TO_ASK),
    ];
    for (what, sql) in once {
        assert_eq!(
            walks(&db, sql),
            Vec::<String>::new(),
            "{what}: {:#?}",
            plan(&db, sql)
        );
    }
    // Out of the index alone: its rows and their messages lie all over the database.
    let first = plan(&db, &deliveries::first_urgency("?1"));
    assert!(
        first[0].starts_with("SEARCH e USING COVERING INDEX envelopes_due"),
        "{first:#?}"
    );
    let may_have = plan(&db, terminals::NOBODY_TO_ASK);
    assert!(
        may_have[0].contains("INDEX envelopes_in_doubt"),
        "{may_have:#?}"
    );
    // An index that is empty but for what was cut short.
    let unfinished = plan(&db, fan_out::UNFINISHED);
    assert!(
        unfinished[0].contains("INDEX messages_unfinished"),
        "{unfinished:#?}"
    );
    // Looks at everything, at a start: once at each terminal, and not at what waits for it.
    for (what, sql, walk) in [
        (
            "urgencies",
            deliveries::first_urgencies().as_str(),
            "SCAN q",
        ),
        ("last calls", ledger::LAST_CONNECTED, "SCAN terminals"),
    ] {
        let walks = walks(&db, sql);
        assert!(
            walks.len() == 1 && walks[0].starts_with(walk),
            "{what}: {:#?}",
            plan(&db, sql)
        );
    }
}
