//! The database's versions, and the way from each to the next.

use rusqlite::Connection;

use super::error::StoreError;

/// What makes each version out of the one before; the first out of nothing. A step is never changed once it is on main: there are
/// databases that have taken it.
const STEPS: &[&str] = &[
    include_str!("schema/the-call.sql"),
    include_str!("schema/messages.sql"),
    include_str!("schema/keys.sql"),
    include_str!("schema/ledger.sql"),
    include_str!("schema/alarms.sql"),
    include_str!("schema/telling.sql"),
    include_str!("schema/subscriptions.sql"),
    include_str!("schema/feeds.sql"),
    include_str!("schema/trust.sql"),
    include_str!("schema/bounces.sql"),
    include_str!("schema/senders.sql"),
    include_str!("schema/away.sql"),
    include_str!("schema/callers.sql"),
    include_str!("schema/taken-back.sql"),
    include_str!("schema/scale.sql"),
    include_str!("schema/doubts.sql"),
    include_str!("schema/via.sql"),
    include_str!("schema/evidence.sql"),
    include_str!("schema/topics.sql"),
    include_str!("schema/attempts.sql"),
    include_str!("schema/owners.sql"),
    include_str!("schema/portable.sql"),
    include_str!("schema/disabled.sql"),
];

/// The version that this program works with: one for each step.
pub(super) fn version() -> i64 {
    i64::try_from(STEPS.len()).expect("a handful of steps")
}

/// Brings a database to [`version`], each step with its number in one transaction: a crash leaves a version, never half of one.
pub(super) fn migrate(db: &Connection) -> Result<(), StoreError> {
    let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let taken = usize::try_from(found)
        .ok()
        .filter(|taken| *taken <= STEPS.len());
    let taken = taken.ok_or(StoreError::Version {
        found,
        known: version(),
    })?;
    for (number, step) in (1..).zip(STEPS).skip(taken) {
        db.execute_batch(&format!(
            "BEGIN; {step} PRAGMA user_version = {number}; COMMIT"
        ))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tables, indexes and their text, as SQLite keeps them.
    fn schema(db: &Connection) -> Vec<String> {
        let mut select = db
            .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
            .unwrap();
        select
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap()
    }

    #[test]
    fn a_database_of_every_earlier_version_comes_to_the_schema_of_a_new_one() {
        let fresh = Connection::open_in_memory().unwrap();
        migrate(&fresh).unwrap();
        for taken in 1..=STEPS.len() {
            let db = Connection::open_in_memory().unwrap();
            for step in &STEPS[..taken] {
                db.execute_batch(step).unwrap();
            }
            db.pragma_update(None, "user_version", i64::try_from(taken).unwrap())
                .unwrap();
            migrate(&db).unwrap();
            assert_eq!(schema(&db), schema(&fresh), "from version {taken}");
        }
    }

    #[test]
    fn a_database_of_a_later_version_is_refused_and_left_alone() {
        for found in [version() + 1, -1] {
            let db = Connection::open_in_memory().unwrap();
            db.pragma_update(None, "user_version", found).unwrap();
            assert!(
                matches!(migrate(&db), Err(StoreError::Version { found: seen, .. }) if seen == found)
            );
            assert!(schema(&db).is_empty());
        }
    }

    #[test]
    fn what_was_under_way_and_spent_before_servers_had_ids_is_of_the_one_server() {
        let db = Connection::open_in_memory().unwrap();
        let owners = STEPS
            .iter()
            .position(|step| step.contains("CREATE TABLE servers"))
            .unwrap();
        for step in &STEPS[..owners] {
            db.execute_batch(step).unwrap();
        }
        db.pragma_update(None, "user_version", i64::try_from(owners).unwrap())
            .unwrap();
        db.execute_batch(
            "INSERT INTO terminals (id, name, connection, connection_call) VALUES ('t', 'owner', 'calling', 'c'), ('u', 'other', 'down', NULL);
             INSERT INTO calls (id, direction, line, number, party, placed_at, ended_at) VALUES
               ('c', 'outgoing', 'l', '1', 'owner', 1, NULL), ('d', 'outgoing', 'l', '1', 'owner', 1, 2);
             INSERT INTO reservations VALUES
               ('c', '2026-11-24', 'owner', 'maker', 'l', 100, NULL), ('d', '2026-11-24', 'owner', NULL, 'l', 100, 30);",
        )
        .unwrap();
        migrate(&db).unwrap();
        let read = |sql: &str| {
            db.query_row(sql, [], |row| row.get::<_, String>(0))
                .unwrap()
        };
        assert_eq!(
            read(
                "SELECT group_concat(id || ' ' || owner || ' ' || epoch) FROM terminals WHERE owner IS NOT NULL"
            ),
            "t server 0"
        );
        assert_eq!(
            read(
                "SELECT group_concat(id || ' ' || owner || ' ' || epoch) FROM calls WHERE owner IS NOT NULL"
            ),
            "c server 0"
        );
        let spending = "SELECT group_concat(account || ' ' || amount, ', ' ORDER BY account) FROM spending WHERE day = '2026-11-24'";
        assert_eq!(
            read(spending),
            "line l 130, provider maker 100, server 130, terminal owner 130"
        );
    }
}
