//! A call's beginning is one transaction.

use super::*;
use model::account::{Account, Reservation};
use model::money::Micros;

fn record(terminal: &Terminal) -> CallRecord {
    let line = "line-1".parse::<Name>().unwrap();
    let (number, party) = (terminal.number.clone(), terminal.name.clone());
    CallRecord::begin(
        CallId::now(),
        Timestamp::now(),
        Direction::Outgoing,
        line,
        number,
        party,
    )
}

fn reservation(record: &CallRecord) -> Reservation {
    Reservation {
        call: record.id,
        day: jiff::civil::date(2026, 11, 24),
        amount: Micros(100),
        longest: Duration::from_secs(60),
        limits: Vec::new(),
        accounts: vec![
            Account::Server,
            Account::Terminal(record.party.clone()),
            Account::Line("line-1".parse().unwrap()),
        ],
    }
}

#[tokio::test]
async fn a_call_that_cannot_begin_leaves_nothing_whatever_kept_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Timestamp::now()).unwrap();
    store.add_terminal(owner()).await.unwrap();
    let day = jiff::civil::date(2026, 11, 24);
    for table in ["terminals", "calls", "reservations"] {
        store.refuse_writes(table, true).await;
        let record = record(&owner());
        let reserved = Some(reservation(&record));
        store
            .begin_call(record, owner().id, reserved)
            .await
            .unwrap_err();
        store.refuse_writes(table, false).await;
        assert_eq!(store.spent_on(day).await.unwrap(), [], "{table}");
        assert!(store.calls(Last(10)).await.unwrap().is_empty(), "{table}");
        assert_eq!(
            store
                .terminal(owner().id)
                .await
                .unwrap()
                .unwrap()
                .connection,
            Connection::Down,
            "{table}"
        );
    }
    let record = record(&owner());
    let reserved = Some(reservation(&record));
    store
        .begin_call(record.clone(), owner().id, reserved)
        .await
        .unwrap();
    assert_eq!(store.spent_on(day).await.unwrap().len(), 1);
    assert_eq!(
        store
            .terminal(owner().id)
            .await
            .unwrap()
            .unwrap()
            .connection,
        Connection::Calling(record.id)
    );
}

#[tokio::test]
async fn a_call_neither_begins_nor_ends_the_connection_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Timestamp::now()).unwrap();
    store.add_terminal(owner()).await.unwrap();
    let connection = async || {
        store
            .terminal(owner().id)
            .await
            .unwrap()
            .unwrap()
            .connection
    };
    let (ours, own) = (record(&owner()), CallId::now());
    // The terminal calls by itself, and ours finds it busy.
    store
        .claim_connection(owner().id, Connection::Connected(own))
        .await
        .unwrap();
    store
        .begin_call(ours.clone(), owner().id, None)
        .await
        .unwrap();
    store.end_connection(owner().id, ours.id).await.unwrap();
    assert_eq!(connection().await, Connection::Connected(own));
    store.end_connection(owner().id, own).await.unwrap();
    assert_eq!(connection().await, Connection::Down);
}
