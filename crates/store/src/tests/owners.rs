//! Two servers on one store: neither takes, ends or spends what the other has.

use super::*;
use crate::opening::{self, SERVER};
use model::account::Reservation;
use model::money::Micros;

/// The same store as another server has it, from now on.
async fn of_server(store: &Store, id: &'static str) -> Store {
    let now = Timestamp::now().as_millisecond();
    let owner = store
        .writer
        .run(move |db| opening::start(db, id, now))
        .await
        .unwrap();
    Store {
        owner,
        ..store.clone()
    }
}

fn record(number: u8) -> CallRecord {
    CallRecord {
        id: CallId::from_octets([number; 16]),
        ..call_placed()
    }
}

fn reservation(call: CallId, amount: i64, limit: i64) -> Reservation {
    let line = Account::Line("line-1".parse().unwrap());
    Reservation {
        call,
        day: jiff::civil::date(2026, 11, 24),
        amount: Micros(amount),
        longest: Duration::from_secs(60),
        accounts: vec![Account::Server, Account::Terminal(owner().name), line],
        limits: vec![(Account::Server, Micros(limit))],
    }
}

async fn connection(store: &Store) -> Connection {
    store
        .terminal(owner().id)
        .await
        .unwrap()
        .unwrap()
        .connection
}

#[tokio::test]
async fn a_terminal_that_another_server_has_is_neither_called_nor_connected() {
    let folder = TempDir::new().unwrap();
    let first = open_with_owner(&folder).await;
    let second = of_server(&first, "second").await;
    let (ours, theirs) = (record(1), record(2));
    first
        .begin_call(ours.clone(), owner().id, None)
        .await
        .unwrap();
    let refused = second.begin_call(theirs.clone(), owner().id, None).await;
    assert!(
        matches!(&refused, Err(StoreError::HeldBy { by }) if by == SERVER),
        "{refused:?}"
    );
    assert!(
        second.call(theirs.id).await.unwrap().is_none(),
        "nothing of it was written"
    );
    let refused = second
        .claim_connection(owner().id, Connection::Connected(theirs.id))
        .await;
    assert!(
        matches!(refused, Err(StoreError::HeldBy { .. })),
        "{refused:?}"
    );
    second.end_connection(owner().id, theirs.id).await.unwrap();
    assert_eq!(connection(&first).await, Connection::Calling(ours.id));
    let refused = second
        .record_call(
            CallRecord {
                octets_in: 9,
                ..ours.clone()
            },
            Timestamp::now(),
        )
        .await;
    assert!(
        matches!(refused, Err(StoreError::HeldBy { .. })),
        "the record is the other's: {refused:?}"
    );
    first.end_connection(owner().id, ours.id).await.unwrap();
    second
        .begin_call(theirs.clone(), owner().id, None)
        .await
        .unwrap();
    assert_eq!(connection(&first).await, Connection::Calling(theirs.id));
}

#[tokio::test]
async fn a_start_ends_what_this_server_had_and_nothing_of_another() {
    let folder = TempDir::new().unwrap();
    let first = open_with_owner(&folder).await;
    let second = of_server(&first, "second").await;
    let other = Terminal {
        number: None,
        address: None,
        ..terminal("neighbour", "202", "10.0.0.3")
    };
    first.add_terminal(other.clone()).await.unwrap();
    first
        .register(other.id, PublicKey::from_octets([2; 32]), Timestamp::now())
        .await
        .unwrap();
    let new = message(b"x", &[owner().id, other.id]);
    first.accept(new.clone(), Timestamp::now()).await.unwrap();
    let (ours, theirs) = (record(1), record(2));
    first
        .begin_call(ours.clone(), owner().id, None)
        .await
        .unwrap();
    second
        .begin_call(theirs.clone(), other.id, None)
        .await
        .unwrap();
    assert!(begins(&first, &new, ours.id).await);
    let begun = second
        .begin(new.head.id, other.id, theirs.id, Timestamp::now())
        .await
        .unwrap();
    assert!(matches!(begun, Claim::Begun(_)), "{begun:?}");

    let again = of_server(&second, SERVER).await;
    let left = |store: Store| async move {
        let entry = store.message(new.head.id).await.unwrap().unwrap();
        let under_way: Vec<_> = entry
            .envelopes
            .iter()
            .filter_map(|envelope| envelope.under_way.clone())
            .collect();
        let ended = async |id| store.call(id).await.unwrap().unwrap().ended_at.is_some();
        (under_way, ended(ours.id).await, ended(theirs.id).await)
    };
    assert_eq!(
        left(again.clone()).await,
        (vec![theirs.id.to_string()], true, false)
    );
    again.known.forget_terminals();
    assert_eq!(connection(&again).await, Connection::Down);
    let held = again.terminal(other.id).await.unwrap().unwrap().connection;
    assert_eq!(held, Connection::Calling(theirs.id));

    // The earlier run of the first server is one too many now.
    let late = first
        .begin(new.head.id, owner().id, record(3).id, Timestamp::now())
        .await;
    assert!(matches!(late, Err(StoreError::Superseded(_))), "{late:?}");
    let late = first.begin_call(record(4), owner().id, None).await;
    assert!(matches!(late, Err(StoreError::Superseded(_))), "{late:?}");
    let late = first.record_call(record(1), Timestamp::now()).await;
    assert!(matches!(late, Err(StoreError::Superseded(_))), "{late:?}");
}

#[tokio::test]
async fn two_servers_do_not_spend_a_budget_twice() {
    let folder = TempDir::new().unwrap();
    let first = open_with_owner(&folder).await;
    let second = of_server(&first, "second").await;
    let calls = [record(1), record(2), record(3)];
    let reserves = async |store: &Store, record: &CallRecord, amount| {
        let begun = store
            .begin_call(
                record.clone(),
                owner().id,
                Some(reservation(record.id, amount, 100)),
            )
            .await;
        store.end_connection(owner().id, record.id).await.unwrap();
        begun
    };
    reserves(&first, &calls[0], 60).await.unwrap();
    let refused = reserves(&second, &calls[1], 41).await;
    assert!(
        matches!(refused, Err(StoreError::BudgetSpent(Account::Server))),
        "{refused:?}"
    );
    assert!(
        second.call(calls[1].id).await.unwrap().is_none(),
        "there is neither a reservation nor a record"
    );
    // What was paid is less than what was reserved: there is room again.
    first.settle_call(calls[0].id, Micros(20)).await.unwrap();
    reserves(&second, &calls[1], 41).await.unwrap();
    assert!(matches!(
        reserves(&first, &calls[2], 40).await,
        Err(StoreError::BudgetSpent(_))
    ));
    reserves(&first, &calls[2], 39).await.unwrap();
    let over = first
        .begin_call(
            record(9),
            owner().id,
            Some(reservation(record(9).id, 101, 100)),
        )
        .await;
    assert!(
        matches!(over, Err(StoreError::BudgetSpent(_))),
        "the first of a day, too: {over:?}"
    );
}

#[tokio::test]
async fn a_call_leaves_what_is_known_of_other_terminals() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let other = Terminal {
        number: None,
        address: None,
        ..terminal("neighbour", "202", "10.0.0.3")
    };
    store.add_terminal(other.clone()).await.unwrap();
    store.terminal(other.id).await.unwrap();
    let call = record(1);
    store
        .begin_call(call.clone(), owner().id, None)
        .await
        .unwrap();
    store
        .claim_connection(owner().id, Connection::Connected(call.id))
        .await
        .unwrap();
    store.end_connection(owner().id, call.id).await.unwrap();
    assert_eq!(store.known.terminal(other.id), Some(other));
}
