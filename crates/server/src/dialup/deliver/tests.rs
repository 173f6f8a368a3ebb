mod scene;

use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;
use delivery::proof::{EnrolmentSecret, KeyForm, SecretKey, TerminalCredentials};
use delivery::{
    Arrival, Digest, EncodingError, Inbox, ItemAnswer, MessageHead, ReceiveError,
    StoreError as InboxError, Stored, TerminalId, Urgency, receive,
};
use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use jiff::{Timestamp, ToSpan as _};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use scene::{Habit, Scene};

use super::*;
use crate::alarms::{AlarmConfig, Alarms};
use crate::keys::{OpenSession, Whose};
use model::alarm::AlarmKind;
use model::directory::{Connection, TrustedBy};
use model::provider::{Provider, TokenHash};
use model::verdict::Verdict;
use store::{Handling, Last, NewMessage};

#[tokio::test]
async fn many_messages_end_the_call_with_the_last_receipt_and_both_ends_know() {
    let scene = Scene::new(Habit::Stores).await;
    for n in 0..200 {
        scene
            .accept(Urgency::ALL[n % 3], format!("message {n}"))
            .await;
    }
    let (session, mut terminal) = scene.session(vec![]).await;
    assert_eq!(
        session.await.unwrap(),
        Tally {
            delivered: 200,
            hang_up: true,
            ..Tally::default()
        }
    );
    assert_eq!(scene.waiting().await, []);
    assert!(
        terminal.join_next().await.unwrap().unwrap().is_ok(),
        "the terminal knows that it was the last"
    );
    assert!(scene.shelf.is_complete.load(Ordering::Relaxed));
    assert_eq!(scene.shelf.stored.lock().unwrap().len(), 200);
}

#[tokio::test]
async fn what_another_call_has_still_is_no_good_end_that_would_be_called_again_for_at_once() {
    let scene = Scene::new(Habit::Stores).await;
    let id = scene.accept(Urgency::Normal, "coin box full").await;
    let (session, _terminal) = scene.session(vec![]).await;
    let other = scene
        .store
        .begin(id, scene.terminal.id, CallId::now(), Timestamp::now())
        .await
        .unwrap();
    assert!(matches!(other, store::Claim::Begun(_)));
    tokio::time::pause();
    let ended = session.await.unwrap();
    assert_eq!(
        ended,
        Tally {
            held: 1,
            hang_up: ended.hang_up,
            ..Tally::default()
        }
    );
    let outcome =
        super::super::session::outcome(Some(Ok(Ok(ended))), model::outcome::Outcome::Completed);
    assert_eq!(outcome.retry(), model::outcome::Retry::BackOff, "{outcome}");
    assert_eq!(scene.waiting().await, [id]);
}

#[tokio::test]
async fn a_content_that_the_disk_does_not_give_rests_alone_and_is_an_alarm() {
    let scene = Scene::new(Habit::Stores).await;
    let content = Bytes::from(vec![7; 100_000]);
    let unreadable = scene.accept(Urgency::Normal, content.clone()).await;
    let other = scene.accept(Urgency::Normal, "coin box full").await;
    let file = scene
        ._folder
        .path()
        .join("contents")
        .join(Digest::of(&content).to_string());
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap(); // is there, and cannot be read
    let (session, _terminal) = scene.session(vec![]).await;
    let tally = session.await.unwrap();
    assert_eq!((tally.delivered, tally.unreadable), (1, 1));
    assert_eq!(scene.verdict(other).await, Some(Verdict::Delivered));
    assert_eq!(scene.verdict(unreadable).await, None);
    assert_eq!(
        scene
            .store
            .urgency(scene.terminal.id, Timestamp::now())
            .await
            .unwrap(),
        None,
        "no call is placed for it alone"
    );
    let standing = scene.alarms.standing().await;
    assert!(
        standing
            .iter()
            .any(|alarm| alarm.kind == AlarmKind::MessageRefused),
        "{standing:?}"
    );
}

#[tokio::test]
async fn a_refusal_dispels_no_doubt_unless_the_terminal_had_the_part_in_hand() {
    for (status, wanted) in [
        (StatusCode::BAD_REQUEST, Doubt::Dispelled),
        (StatusCode::PAYLOAD_TOO_LARGE, Doubt::Dispelled),
        (StatusCode::CONFLICT, Doubt::Unchanged),
        (StatusCode::SERVICE_UNAVAILABLE, Doubt::Unchanged),
        (StatusCode::INSUFFICIENT_STORAGE, Doubt::Unchanged),
        (StatusCode::INTERNAL_SERVER_ERROR, Doubt::Raised),
    ] {
        assert_eq!(super::super::attempt::doubt_of(status), wanted, "{status}");
    }
}

#[tokio::test]
async fn what_a_terminal_does_not_unpack_goes_as_it_is_in_the_same_session() {
    let scene = Scene::new(Habit::CannotUnpack).await;
    scene.takes_zstd.store(true, Ordering::Relaxed);
    let content = Bytes::from("{\"meter\":17,\"kwh\":4711}\n".repeat(100));
    let id = scene.accept(Urgency::Normal, content.clone()).await;
    let (session, _terminal) = scene.session(vec![]).await;
    let Tally {
        delivered, refused, ..
    } = session.await.unwrap();
    assert_eq!((delivered, refused), (1, 0));
    assert_eq!(
        *scene.shelf.began.lock().unwrap(),
        [id, id],
        "packed, then not"
    );
    assert_eq!(*scene.shelf.stored.lock().unwrap(), [(id, content)]);
}

#[tokio::test]
async fn a_terminal_that_says_that_it_unpacks_is_packed_for_from_its_second_message_on() {
    let scene = Scene::new(Habit::Stores).await;
    let content = "{\"meter\":17,\"kwh\":4711}\n".repeat(100);
    for is_known in [false, true] {
        assert_eq!(scene.takes_zstd.load(Ordering::Relaxed), is_known);
        let id = scene.accept(Urgency::Normal, content.clone()).await;
        let (session, _terminal) = scene.session(vec![]).await;
        session.await.unwrap();
        let stored = scene.shelf.stored.lock().unwrap().last().cloned().unwrap();
        assert_eq!((stored.0, stored.1.len() < content.len()), (id, is_known));
    }
}

#[tokio::test]
async fn a_session_that_breaks_names_what_was_under_way_and_not_what_was_received() {
    let scene = Scene::new(Habit::StoresOnly(1)).await;
    let mut accepted = Vec::new();
    for n in 0..4 {
        accepted.push(scene.accept(Urgency::Normal, format!("message {n}")).await);
    }
    let (session, terminal) = scene.session(vec![]).await;
    let cut = async {
        while scene.shelf.began.lock().unwrap().len() < 4 || scene.waiting().await.len() == 4 {
            tokio::task::yield_now().await;
        }
        drop(terminal);
    };
    let (ended, ()) = tokio::join!(session, cut);
    let Err(Broken::Session {
        under_way:
            Some(UnderWay {
                mut messages,
                received_before,
                ..
            }),
        ..
    }) = ended
    else {
        panic!("{ended:?}");
    };
    messages.sort_unstable();
    assert_eq!((messages, received_before), (scene.waiting().await, 1));
    assert_eq!(scene.waiting().await.len(), 3);
}

#[tokio::test]
async fn suspects_come_one_at_a_time_behind_all_others() {
    let scene = Scene::new(Habit::StoresOnly(4)).await;
    let mut accepted = Vec::new();
    for n in 0..6 {
        accepted.push(scene.accept(Urgency::Normal, format!("message {n}")).await);
    }
    let suspects = vec![accepted[1], accepted[0], accepted[2]];
    let (session, terminal) = scene.session(suspects.clone()).await;
    let cut = async {
        while scene.shelf.began.lock().unwrap().len() < 5 {
            scene.shelf.news.notified().await;
        }
        drop(terminal);
    };
    let (ended, ()) = tokio::join!(session, cut);
    let Err(Broken::Session {
        under_way:
            Some(UnderWay {
                messages,
                received_before,
                ..
            }),
        ..
    }) = ended
    else {
        panic!("{ended:?}");
    };
    assert_eq!(
        (messages, received_before),
        (vec![accepted[0]], 4),
        "it was alone"
    );
    let mut first: Vec<_> = scene
        .shelf
        .stored
        .lock()
        .unwrap()
        .iter()
        .map(|(id, _)| *id)
        .collect();
    first[..3].sort_unstable();
    assert_eq!(first, [&accepted[3..], &suspects[..1]].concat());
}

/// An item with this head.
fn item(head: &str, content: &[u8]) -> Vec<u8> {
    [
        &u16::try_from(head.len()).unwrap().to_be_bytes(),
        head.as_bytes(),
        content,
    ]
    .concat()
}

#[tokio::test]
async fn whatever_a_terminal_says_is_answered_or_heard_no_further_and_the_session_goes_on() {
    let id = MessageId::now();
    let head = |rest: &str| format!(r#"{{"id":"{id}",{rest}}}"#);
    let message = r#""message":{"to":["terminal:owner"]}"#;
    for (said, status) in [
        (vec![], None),
        (vec![0], None),
        (vec![0xff; 70_000], None),
        (item("{}", b""), None),
        (
            item(&head(&format!(r#""size":500,{message}"#)), b"cut"),
            None,
        ),
        (
            item(&head(&format!(r#""size":{},{message}"#, u64::MAX)), b"x"),
            Some(413),
        ),
        (
            item(&head(&format!(r#""size":1001,{message}"#)), &[7; 1001]),
            Some(413),
        ),
        (item(&head(r#""dance":{}"#), b""), Some(501)),
        (
            item(
                &head(r#""subscribe":{"filter":"a/#","hours":"25:00"}"#),
                b"",
            ),
            Some(400),
        ),
        (
            item(&head(r#""conditions":{"until":253402207200}"#), b""),
            Some(400),
        ),
        (item(&head(message), b""), Some(403)),
    ] {
        let scene = Scene::new(Habit::Stores).await;
        scene.accept(Urgency::Normal, "brought all the same").await;
        scene.shelf.says.lock().unwrap().push_back(said.clone());
        let (session, mut terminal) = scene.session(vec![]).await;
        let said = String::from_utf8_lossy(&said[..said.len().min(100)]).into_owned();
        assert_eq!(session.await.unwrap().delivered, 1, "{said}");
        assert!(
            terminal.join_next().await.unwrap().unwrap().is_ok(),
            "{said}"
        );
        let answered = scene.shelf.answered.lock().unwrap().clone();
        let statuses: Vec<_> = answered
            .iter()
            .map(|(of, answer)| match answer {
                ItemAnswer::Refused { status, .. } if *of == id => *status,
                other => panic!("{said}: {other:?}"),
            })
            .collect();
        assert_eq!(statuses, Vec::from_iter(status), "{said}");
        assert_eq!(scene.waiting().await, [], "{said}");
    }
}

#[tokio::test]
async fn many_items_are_answered_one_by_one_and_what_a_terminal_takes_counts_at_once() {
    let scene = Scene::new(Habit::Stores).await;
    let ids: Vec<_> = (0..200).map(|_| MessageId::now()).collect();
    let items = ids.iter().map(|id| {
        item(
            &format!(r#"{{"id":"{id}","unsubscribe":{{"filter":"news"}}}}"#),
            b"",
        )
    });
    let until = Timestamp::now().as_second() + 1000;
    let conditions = format!(
        r#"{{"id":"{}","conditions":{{"until":{until},"urgency":"urgent"}}}}"#,
        ids[0]
    );
    let said = items
        .chain([item(&conditions, b"")])
        .collect::<Vec<_>>()
        .concat();
    scene.shelf.says.lock().unwrap().push_back(said);
    let (session, _terminal) = scene.session(vec![]).await;
    session.await.unwrap();
    let answered = scene.shelf.answered.lock().unwrap().clone();
    assert!(
        answered
            .iter()
            .all(|(_, answer)| *answer == ItemAnswer::Accepted)
            && answered.len() == 201
    );
    scene.accept(Urgency::Normal, "not now").await;
    let urgent = scene.accept(Urgency::Urgent, "now").await;
    assert_eq!(scene.waiting().await, [urgent]);
}

#[tokio::test]
async fn an_item_whose_acknowledgement_was_lost_comes_again_and_is_one_message() {
    let scene = Scene::new(Habit::Stores).await;
    let sender = Provider {
        name: "gauges".parse().unwrap(),
        number: None,
        may_send: vec![],
        is_disabled: false,
    };
    scene
        .store
        .add_provider(sender.clone(), TokenHash::of("x"))
        .await
        .unwrap();
    assert!(
        scene
            .store
            .set_sender(scene.terminal.id, Some(sender.name))
            .await
            .unwrap()
    );
    assert!(
        !scene
            .store
            .set_sender(scene.terminal.id, Some("nobody".parse().unwrap()))
            .await
            .unwrap()
    );
    let id = MessageId::now();
    let said = item(
        &format!(r#"{{"id":"{id}","size":5,"message":{{"to":["topic:level"]}}}}"#),
        b"3.20m",
    );
    for _ in 0..2 {
        scene.shelf.says.lock().unwrap().push_back(said.clone());
        let (session, _terminal) = scene.session(vec![]).await;
        session.await.unwrap();
    }
    assert_eq!(
        *scene.shelf.answered.lock().unwrap(),
        vec![(id, ItemAnswer::Accepted); 2]
    );
    assert_eq!(scene.store.messages(Last(10)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_first_message_of_a_session_is_under_way_before_its_first_octet_leaves() {
    let scene = Scene::new(Habit::GivesNoReceipts).await;
    let id = scene
        .accept(Urgency::Normal, "published, whatever is wished meanwhile")
        .await;
    let cancels = async || {
        let cancelled = scene
            .store
            .cancel(id, None, "cancelled by its provider", Timestamp::now())
            .await
            .unwrap()
            .unwrap();
        assert_eq!((cancelled.cancelled, cancelled.under_way), (0, 1));
    };
    scene.lose_receipts(1, cancels).await;
    assert_eq!(scene.verdict(id).await, None, "the terminal may have it");
    // The next session asks, without a call for it and without sending it again.
    scene.shelf.is_mended.store(true, Ordering::Relaxed);
    let (session, _terminal) = scene.session(vec![]).await;
    assert_eq!(session.await.unwrap().delivered, 1);
    assert_eq!(scene.verdict(id).await, Some(Verdict::Delivered));
    assert_eq!(
        (
            scene.shelf.began.lock().unwrap().len(),
            &scene.shelf.asked.lock().unwrap()[..]
        ),
        (1, &[id][..])
    );
}

#[tokio::test]
async fn what_the_terminal_does_not_have_is_cancelled_by_the_next_session_and_not_sent() {
    let scene = Scene::new(Habit::GivesNoReceipts).await;
    let id = scene.accept(Urgency::Normal, "not wanted any more").await;
    let cancels = async || {
        assert!(
            scene
                .store
                .cancel(id, None, "cancelled", Timestamp::now())
                .await
                .unwrap()
                .is_some()
        );
    };
    scene.lose_receipts(1, cancels).await;
    scene.shelf.stored.lock().unwrap().clear();
    scene.shelf.is_mended.store(true, Ordering::Relaxed);
    let other = scene.accept(Urgency::Normal, "another").await;
    let (session, _terminal) = scene.session(vec![]).await;
    assert_eq!(session.await.unwrap().delivered, 1);
    assert_eq!(
        (scene.verdict(id).await, scene.verdict(other).await),
        (Some(Verdict::Cancelled), Some(Verdict::Delivered))
    );
}

#[tokio::test]
async fn suspects_that_the_terminal_has_are_no_suspects_and_are_asked_before_any_is_sent() {
    let scene = Scene::new(Habit::GivesNoReceipts).await;
    let mut accepted = Vec::new();
    for n in 0..4 {
        accepted.push(scene.accept(Urgency::Normal, format!("message {n}")).await);
    }
    scene.lose_receipts(4, async || {}).await;
    scene.shelf.is_mended.store(true, Ordering::Relaxed);
    let (session, _terminal) = scene.session(accepted.clone()).await;
    assert_eq!(session.await.unwrap().delivered, 4);
    assert_eq!(
        scene.shelf.began.lock().unwrap().len(),
        4,
        "none was sent again"
    );
    assert_eq!(scene.waiting().await, []);
}

#[tokio::test]
async fn a_far_end_that_proves_nothing_leaves_what_waited_free_and_in_no_doubt() {
    let scene = Scene::new(Habit::Stores).await;
    let id = scene
        .accept(Urgency::Normal, "for the true terminal only")
        .await;
    let (session, terminal) = scene.session(vec![]).await;
    drop(terminal); // before it has said a word
    assert!(session.await.is_err());
    let found = scene
        .store
        .message(id)
        .await
        .unwrap()
        .unwrap()
        .envelopes
        .remove(0);
    assert_eq!((found.under_way, found.in_doubt_since), (None, None));
    assert_eq!(
        found.deliveries.len(),
        1,
        "it was marked all the same, and left a trace"
    );
}

#[tokio::test]
async fn a_refused_message_rests_and_one_that_is_too_large_has_failed() {
    for (status, verdict) in [
        (StatusCode::INSUFFICIENT_STORAGE, None),
        (StatusCode::PAYLOAD_TOO_LARGE, Some(Verdict::Failed)),
    ] {
        let scene = Scene::new(Habit::RefusesAbove(10, status)).await;
        let refused = scene.accept(Urgency::Urgent, "more than ten octets").await;
        let taken = scene.accept(Urgency::Normal, "ten octets").await;
        let (session, _terminal) = scene.session(vec![]).await;
        let tally = session.await.unwrap();
        assert_eq!((tally.delivered, tally.refused), (1, 1));
        assert_eq!(
            (scene.verdict(refused).await, scene.verdict(taken).await),
            (verdict, Some(Verdict::Delivered))
        );
        assert_eq!(
            scene
                .store
                .urgency(scene.terminal.id, Timestamp::now())
                .await
                .unwrap(),
            None,
            "nothing causes a call"
        );
        let told = scene.alarms.standing().await;
        assert_eq!(
            told.iter()
                .any(|alarm| alarm.kind == AlarmKind::MessageRefused),
            verdict.is_some()
        );
        if verdict.is_none() {
            // On a session that there is for another message it is tried again, behind it, and that is no try of its own.
            let other = scene.accept(Urgency::Bulk, "also ten").await;
            let (session, _terminal) = scene.session(vec![]).await;
            let tally = session.await.unwrap();
            assert_eq!((tally.delivered, tally.refused), (1, 1));
            assert_eq!(
                *scene.shelf.began.lock().unwrap(),
                [refused, taken, other, refused]
            );
            let found = scene
                .store
                .message(refused)
                .await
                .unwrap()
                .unwrap()
                .envelopes
                .remove(0);
            assert_eq!((found.refusals, found.deliveries.len()), (1, 2));
        }
    }
}

#[tokio::test]
async fn an_operator_sees_a_receipt_that_meets_another_verdict() {
    let scene = Scene::new(Habit::Stores).await;
    let id = scene
        .accept(
            Urgency::Normal,
            "given up as unknown, and there all the same",
        )
        .await;
    let context = Envelopes {
        store: scene.store.clone(),
        alarms: scene.alarms.clone(),
        terminal: scene.terminal.id,
        name: scene.terminal.name.clone(),
        call: CallId::now(),
    };
    scene
        .store
        .settle(
            id,
            scene.terminal.id,
            Verdict::Failed,
            "unknown".to_owned(),
            Timestamp::now(),
        )
        .await
        .unwrap();
    context.received(id, None).await.unwrap();
    let told = scene.alarms.standing().await;
    assert!(
        told.iter()
            .any(|alarm| alarm.kind == AlarmKind::VerdictConflict
                && alarm.subject.contains(&id.to_string()))
    );
}
