mod begun;
mod folder;
mod keeping;
mod migrations;
mod owners;
mod plans;
mod portable;
mod quotas;
mod refusals;
mod scale;
mod subscriptions;
mod taken_back;
mod truth;
mod verdicts;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use delivery::proof::PublicKey;
use delivery::{ContentType, Digest, MessageHead, MessageId, TerminalId};
use jiff::Timestamp;
use line::{CallId, Hours};
use tempfile::TempDir;

use super::content::INLINE_OCTETS_MAX;
use super::*;
use model::account::Account;
use model::call::{CallRecord, Direction, Via};
use model::directory::{Connection, Name, Terminal, TrustedBy};
use model::outcome::Outcome;
use model::provider::{Provider, TokenHash};
use model::verdict::Verdict;

fn terminal(name: &str, number: &str, address: &str) -> Terminal {
    Terminal {
        id: TerminalId::from_octets(*name.as_bytes().first_chunk().expect("eight letters")),
        name: name.parse().unwrap(),
        number: Some(number.parse().unwrap()),
        address: Some(address.parse().unwrap()),
        connection: Connection::Down,
        trusted_by: TrustedBy::default(),
    }
}

fn owner() -> Terminal {
    terminal("owner-01", "301", "10.77.0.2")
}

fn message(content: &[u8], terminals: &[TerminalId]) -> NewMessage {
    let content = Bytes::copy_from_slice(content);
    let head = MessageHead {
        id: MessageId::now(),
        content_type: ContentType::octets(),
        digest: Digest::of(&content),
        size: content.len() as u64,
    };
    let handling = Handling::default();
    NewMessage {
        head,
        provider: "vending-1".parse().unwrap(),
        content: content.into(),
        terminals: terminals.to_vec(),
        subscribers: None,
        handling,
    }
}

fn octets_of(new: &NewMessage) -> Bytes {
    new.content
        .held()
        .expect("tests hand them in whole")
        .clone()
}

fn call_placed() -> CallRecord {
    let [line, number, party] = ["line-1", "301", "owner-01"];
    CallRecord::begin(
        CallId::now(),
        Timestamp::now(),
        Direction::Outgoing,
        line.parse::<Name>().unwrap(),
        Some(number.parse().unwrap()),
        party.parse().unwrap(),
    )
}

fn open(folder: &TempDir) -> Store {
    Store::open(folder.path(), Timestamp::now()).unwrap()
}

/// A store that knows the owner.
async fn open_with_owner(folder: &TempDir) -> Store {
    let store = open(folder);
    store.add_terminal(owner()).await.unwrap();
    store
        .register(
            owner().id,
            PublicKey::from_octets([1; 32]),
            Timestamp::now(),
        )
        .await
        .unwrap();
    store
}

/// Marks a message under way on a call. `false`: it is not to be sent.
async fn begins(store: &Store, new: &NewMessage, call: CallId) -> bool {
    matches!(
        store
            .begin(new.head.id, owner().id, call, Timestamp::now())
            .await
            .unwrap(),
        Claim::Begun(_)
    )
}

/// The ids of what waits for the owner.
async fn due(store: &Store) -> Vec<MessageId> {
    store
        .due(owner().id, Timestamp::now())
        .await
        .unwrap()
        .into_iter()
        .map(|due| due.id)
        .collect()
}

#[tokio::test]
async fn a_terminal_is_found_by_number_address_and_name() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder);
    store.add_terminal(owner()).await.unwrap();
    for text in ["tel:301", "ip:10.77.0.2", "terminal:owner-01"] {
        let found = store.find_terminal(text.parse().unwrap()).await.unwrap();
        assert_eq!(found, Some(owner()), "{text}");
    }
    assert_eq!(
        store
            .find_terminal("tel:30".parse().unwrap())
            .await
            .unwrap(),
        None
    );
}

#[tokio::test]
async fn a_second_terminal_with_the_same_value_is_told_which() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder);
    store.add_terminal(owner()).await.unwrap();
    for (other, expected) in [
        (terminal("owner-02", "301", "10.77.0.3"), "number"),
        (terminal("owner-02", "302", "10.77.0.2"), "address"),
    ] {
        let Err(StoreError::Taken { field, by }) = store.add_terminal(other).await else {
            panic!("{expected} taken twice")
        };
        assert_eq!(by, "owner-01");
        assert_eq!(field, expected);
    }
    assert_eq!(store.terminals().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_was_accepted_is_due_after_the_process_has_ended() {
    let folder = TempDir::new().unwrap();
    let small = message(b"coin box full", &[owner().id]);
    let large = message(&[7; INLINE_OCTETS_MAX + 1], &[owner().id]);
    {
        let store = open(&folder);
        store.add_terminal(owner()).await.unwrap();
        store
            .claim_connection(owner().id, Connection::Calling(CallId::now()))
            .await
            .unwrap();
        store.accept(small.clone(), Timestamp::now()).await.unwrap();
        store.accept(large.clone(), Timestamp::now()).await.unwrap();
    }
    let store = open(&folder);
    assert_eq!(due(&store).await, [small.head.id, large.head.id]);
    assert_eq!(
        store.terminals_due().await.unwrap(),
        [owner()],
        "and its line is down: calls do not survive"
    );
    for new in [small, large] {
        assert_eq!(
            store.content(new.head.id).await.unwrap(),
            (new.head.clone(), octets_of(&new))
        );
    }
}

#[tokio::test]
async fn an_envelope_gets_one_verdict_and_keeps_it() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder);
    store.add_terminal(owner()).await.unwrap();
    let new = message(b"x", &[owner().id]);
    store.accept(new.clone(), Timestamp::now()).await.unwrap();
    let [first, second] = [CallId::now(), CallId::now()];
    store
        .delivered(new.head.id, owner().id, first, Timestamp::now())
        .await
        .unwrap();
    store
        .delivered(new.head.id, owner().id, second, Timestamp::now())
        .await
        .unwrap();
    assert!(
        store
            .remove_terminal(owner().name, Timestamp::now())
            .await
            .unwrap()
    );
    let entry = store.message(new.head.id).await.unwrap().unwrap();
    assert_eq!(entry.envelopes[0].verdict, Some(Verdict::Delivered));
    assert_eq!(entry.envelopes[0].call, Some(first.to_string()));
    assert!(due(&store).await.is_empty());
}

#[tokio::test]
async fn removing_a_terminal_cancels_what_waits_for_it() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder);
    store.add_terminal(owner()).await.unwrap();
    let new = message(b"x", &[owner().id]);
    store.accept(new.clone(), Timestamp::now()).await.unwrap();
    assert!(
        store
            .remove_terminal(owner().name, Timestamp::now())
            .await
            .unwrap()
    );
    assert!(
        !store
            .remove_terminal(owner().name, Timestamp::now())
            .await
            .unwrap()
    );
    let entry = store.message(new.head.id).await.unwrap().unwrap();
    assert_eq!(entry.envelopes[0].verdict, Some(Verdict::Cancelled));
    assert!(store.terminals_due().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_damaged_content_is_never_given_out() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let new = message(&[7; INLINE_OCTETS_MAX + 1], &[owner().id]);
    store.accept(new.clone(), Timestamp::now()).await.unwrap();
    let path = folder
        .path()
        .join("contents")
        .join(new.head.digest.to_string());
    let mut content = fs::read(&path).unwrap();
    content[1000] ^= 1;
    fs::write(&path, content).unwrap();
    assert!(matches!(
        store.content(new.head.id).await,
        Err(StoreError::Damaged {
            what: "the content",
            ..
        })
    ));
}

#[tokio::test]
async fn a_job_that_fails_takes_no_other_of_its_group_with_it() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let new = message(b"x", &[owner().id]);
    // All are waiting before the writer takes the first: they share a transaction, or a few.
    let twice = [new.clone(), new.clone(), message(b"y", &[owner().id])]
        .map(|new| store.accept(new, Timestamp::now()));
    let [first, repeated, other] = twice;
    let (first, repeated, other) = tokio::join!(first, repeated, other);
    assert!(first.is_ok() && repeated.is_err() && other.is_ok());
    assert_eq!(due(&store).await.len(), 2);
}

#[tokio::test]
async fn work_that_was_sure_of_itself_and_fails_halfway_leaves_nothing_and_those_with_it_are_told()
{
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let halfway = store
        .writer
        .run_without_savepoint(|db| -> Result<(), StoreError> {
            db.execute("DELETE FROM terminals", [])?;
            Err(StoreError::damaged("the disk"))
        });
    let new = message(b"x", &[owner().id]);
    let (halfway, accepted) = tokio::join!(halfway, store.accept(new.clone(), Timestamp::now()));
    assert!(halfway.is_err());
    assert!(
        matches!(accepted, Ok(_) | Err(StoreError::Unavailable { .. })),
        "its own is not damaged: {accepted:?}"
    );
    assert_eq!(store.terminals().await.unwrap(), [owner()]);
    assert_eq!(due(&store).await.contains(&new.head.id), accepted.is_ok());
    store
        .accept(message(b"y", &[owner().id]), Timestamp::now())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_call_has_one_record_and_a_stopped_server_ends_it() {
    let folder = TempDir::new().unwrap();
    let record = call_placed();
    let id = record.id;
    {
        let store = open(&folder);
        store
            .record_call(record.clone(), Timestamp::now())
            .await
            .unwrap();
        store
            .record_call(
                CallRecord {
                    connected_at: Some(Timestamp::now()),
                    octets_in: 9,
                    ..record
                },
                Timestamp::now(),
            )
            .await
            .unwrap();
    }
    let calls = open(&folder).calls(Last(10)).await.unwrap();
    assert_eq!(calls.len(), 1);
    assert_eq!((calls[0].id, calls[0].octets_in), (id, 9));
    assert_eq!(calls[0].outcome.as_deref(), Some("server stopped"));
}

#[tokio::test]
async fn a_ring_that_failed_changes_no_record_but_its_own() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder);
    let rung = || {
        let mut record = call_placed();
        record.end(&Outcome::Rung, Duration::from_secs(20));
        record
    };
    let (worked, vain) = (rung(), rung());
    for record in [&worked, &vain] {
        store
            .record_call(record.clone(), Timestamp::now())
            .await
            .unwrap();
    }
    store.note_no_session(vain.id).await.unwrap();
    let outcome = async |id| store.call(id).await.unwrap().unwrap().outcome;
    assert_eq!(outcome(worked.id).await, Some(Outcome::Rung.to_string()));
    assert_eq!(outcome(vain.id).await, Some(Outcome::NoSession.to_string()));
}

#[tokio::test]
async fn a_session_without_a_line_and_a_line_named_internet_are_two_things() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder);
    let line: Name = "internet".parse().unwrap();
    for via in [Via::Internet, Via::Line(line)] {
        let record = CallRecord {
            via: via.clone(),
            ..call_placed()
        };
        store
            .record_call(record.clone(), Timestamp::now())
            .await
            .unwrap();
        assert_eq!(store.call(record.id).await.unwrap().unwrap().via, via);
    }
}

#[tokio::test]
async fn whose_call_has_just_ended_is_known_after_a_start() {
    let folder = TempDir::new().unwrap();
    let record = call_placed();
    open(&folder)
        .record_call(record.clone(), Timestamp::now())
        .await
        .unwrap();
    // The last process did not see its end.
    let (store, ago) = (open(&folder), |seconds| {
        Timestamp::now() - jiff::SignedDuration::from_secs(seconds)
    });
    assert_eq!(
        store.ended_since(ago(5)).await.unwrap(),
        std::slice::from_ref(&record.party)
    );
    let ended_at = Some(ago(60));
    store
        .record_call(
            CallRecord {
                placed_at: ago(90),
                ended_at,
                ..record
            },
            Timestamp::now(),
        )
        .await
        .unwrap();
    assert_eq!(store.ended_since(ago(5)).await.unwrap(), []);
}

#[tokio::test]
async fn a_database_of_a_later_version_is_left_alone() {
    let folder = TempDir::new().unwrap();
    drop(open(&folder));
    let db = Database::open(folder.path().join("ringup.db")).unwrap();
    db.pragma_update(None, "user_version", migration::version() + 1)
        .unwrap();
    drop(db);
    let found = Store::open(folder.path(), Timestamp::now()).unwrap_err();
    assert!(matches!(found, StoreError::Version { found, known } if found == known + 1));
}

#[tokio::test]
async fn a_provider_is_known_by_its_token() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder);
    let provider = Provider {
        name: "vending-1".parse().unwrap(),
        number: None,
        may_send: vec!["tel:".parse().unwrap()],
        is_disabled: false,
    };
    store
        .add_provider(provider.clone(), TokenHash::of("rup_x"))
        .await
        .unwrap();
    assert_eq!(
        store
            .provider_with_token(TokenHash::of("rup_x"), Timestamp::now())
            .await
            .unwrap(),
        Some(provider.clone())
    );
    assert_eq!(
        store
            .provider_with_token(TokenHash::of("rup_y"), Timestamp::now())
            .await
            .unwrap(),
        None
    );
    let again = store.add_provider(provider, TokenHash::of("rup_z")).await;
    assert!(matches!(
        again,
        Err(StoreError::Taken { field: "name", .. })
    ));
}

#[tokio::test]
async fn what_is_due_and_what_is_listed_is_in_the_order_of_time_not_of_base64url() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    // Ascending as ids, not as texts.
    let ids = ["Z", "a", "0", "-", "_"].map(|first| format!("{first}{}", "A".repeat(21)));
    for (second, id) in (0..).zip(&ids) {
        let mut new = message(b"x", &[owner().id]);
        new.head.id = id.parse().unwrap();
        store.accept(new, Timestamp::now()).await.unwrap();
        let placed_at = Timestamp::from_second(second).unwrap();
        store
            .record_call(
                CallRecord {
                    id: id.parse().unwrap(),
                    placed_at,
                    ..call_placed()
                },
                Timestamp::now(),
            )
            .await
            .unwrap();
    }
    let due = due(&store).await;
    assert_eq!(due.iter().map(ToString::to_string).collect::<Vec<_>>(), ids);
    let newest_first = [4, 3, 2].map(|index: usize| ids[index].clone());
    let messages = store.messages(Last(3)).await.unwrap();
    assert_eq!(
        messages
            .iter()
            .map(|message| message.head.id.to_string())
            .collect::<Vec<_>>(),
        newest_first
    );
    let calls = store.calls(Last(3)).await.unwrap();
    assert_eq!(
        calls
            .iter()
            .map(|call| call.id.to_string())
            .collect::<Vec<_>>(),
        newest_first
    );
}

#[tokio::test]
async fn on_a_full_disk_what_is_refused_is_not_kept_and_what_is_accepted_is() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    // A content of 64 KiB needs sixteen.
    store.limit_pages(Some(12)).await;
    let large = [7; INLINE_OCTETS_MAX];
    let new: Vec<_> = [&b"a"[..], &large, b"b", &large, b"c"]
        .map(|content| message(content, &[owner().id]))
        .into();
    let [a, b, c, d, e] =
        [0, 1, 2, 3, 4].map(|index: usize| store.accept(new[index].clone(), Timestamp::now()));
    let (a, b, c, d, e) = tokio::join!(a, b, c, d, e);
    let accepted = [a.is_ok(), b.is_ok(), c.is_ok(), d.is_ok(), e.is_ok()];
    assert!(!accepted[1] && !accepted[3], "{accepted:?}");
    let due = due(&store).await;
    for (new, is_accepted) in new.iter().zip(accepted) {
        assert_eq!(due.contains(&new.head.id), is_accepted, "{accepted:?}");
    }

    store.limit_pages(Some(1000)).await;
    store
        .accept(new[1].clone(), Timestamp::now())
        .await
        .unwrap();
}
