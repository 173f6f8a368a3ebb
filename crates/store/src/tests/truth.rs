//! A verdict is true: what is on a line, or may be at its terminal, gets none but `delivered`.

use jiff::SignedDuration;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What somebody may want of a message that is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Cancel,
    Replace,
    Expire,
    Fail,
    Damage,
    Remove,
}

const WISHES: [Wish; 6] = [
    Wish::Cancel,
    Wish::Replace,
    Wish::Expire,
    Wish::Fail,
    Wish::Damage,
    Wish::Remove,
];

impl Wish {
    fn verdict(self) -> Verdict {
        match self {
            Self::Cancel | Self::Remove => Verdict::Cancelled,
            Self::Replace => Verdict::Replaced,
            Self::Expire => Verdict::Expired,
            Self::Fail | Self::Damage => Verdict::Failed,
        }
    }

    async fn utter(self, store: &Store, new: &NewMessage) {
        let (id, after) = (
            new.head.id,
            Timestamp::now() + SignedDuration::from_hours(2),
        );
        match self {
            Self::Cancel => {
                let cancelled = store
                    .cancel(id, None, "cancelled by its provider", Timestamp::now())
                    .await
                    .unwrap()
                    .unwrap();
                assert_eq!(
                    cancelled,
                    Cancelled {
                        cancelled: 0,
                        under_way: 1,
                        settled: 0
                    }
                );
            }
            Self::Replace => {
                let newer = NewMessage {
                    head: message(b"newer", &[]).head,
                    ..replaceable(b"newer")
                };
                assert_eq!(
                    store
                        .accept(newer, Timestamp::now())
                        .await
                        .unwrap()
                        .replaced,
                    0
                );
            }
            Self::Expire => {
                assert_eq!(store.expire(after).await.unwrap(), 0);
                assert_eq!(
                    store.next_expiry().await.unwrap(),
                    None,
                    "nobody looks again and again"
                );
            }
            Self::Fail => {
                let reason = "sessions broke".to_owned();
                assert!(
                    !store
                        .settle(id, owner().id, Verdict::Failed, reason, Timestamp::now())
                        .await
                        .unwrap()
                );
            }
            Self::Damage => store
                .quarantine(id, "the content is damaged", Timestamp::now())
                .await
                .unwrap(),
            Self::Remove => assert!(
                store
                    .remove_terminal(owner().name, Timestamp::now())
                    .await
                    .unwrap()
            ),
        }
    }
}

fn replaceable(content: &[u8]) -> NewMessage {
    let mut new = message(content, &[owner().id]);
    new.handling.replace_key = Some("level".to_owned());
    new
}

/// A message that is under way on a call.
async fn under_way() -> (TempDir, Store, NewMessage, CallId) {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let mut new = replaceable(b"on its way");
    new.handling.expires_at = Some(Timestamp::now() + SignedDuration::from_hours(1));
    store.accept(new.clone(), Timestamp::now()).await.unwrap();
    let call = CallId::now();
    assert!(begins(&store, &new, call).await);
    (folder, store, new, call)
}

async fn lose(store: &Store, new: &NewMessage, call: CallId, doubt: Doubt) {
    let how = AttemptEnd::broken("the session was lost", doubt);
    store
        .end_delivery(new.head.id, owner().id, call, how, Timestamp::now())
        .await
        .unwrap();
}

async fn only_doubt(store: &Store) -> Doubtful {
    let doubts = store.doubts(owner().id).await.unwrap();
    assert_eq!(doubts.len(), 1);
    doubts[0]
}

async fn verdict(store: &Store, new: &NewMessage) -> Option<Verdict> {
    store.message(new.head.id).await.unwrap().unwrap().envelopes[0].verdict
}

#[tokio::test]
async fn whatever_is_wished_of_a_message_on_a_line_waits_for_the_receipt_or_the_end_of_the_call() {
    for wish in WISHES {
        let (_folder, store, new, call) = under_way().await;
        wish.utter(&store, &new).await;
        assert_eq!(verdict(&store, &new).await, None, "{wish:?}");
        assert_eq!(
            store
                .delivered(new.head.id, owner().id, call, Timestamp::now())
                .await
                .unwrap(),
            None
        );
        assert_eq!(
            verdict(&store, &new).await,
            Some(Verdict::Delivered),
            "{wish:?}"
        );

        let (_folder, store, new, call) = under_way().await;
        wish.utter(&store, &new).await;
        lose(&store, &new, call, Doubt::Unchanged).await;
        assert_eq!(
            verdict(&store, &new).await,
            Some(wish.verdict()),
            "{wish:?}: not all of it had left"
        );
    }
}

#[tokio::test]
async fn what_a_terminal_may_have_gets_no_other_verdict_before_it_was_asked() {
    for (wish, is_wished_before) in WISHES
        .into_iter()
        .flat_map(|wish| [(wish, false), (wish, true)])
    {
        if wish == Wish::Remove && !is_wished_before {
            continue; // there is nobody to ask: see below
        }
        for is_there in [true, false] {
            let (_folder, store, new, call) = under_way().await;
            if is_wished_before {
                wish.utter(&store, &new).await;
            }
            lose(&store, &new, call, Doubt::Raised).await;
            if !is_wished_before {
                wish.utter(&store, &new).await;
            }
            let what = format!("{wish:?} before the end: {is_wished_before}, there: {is_there}");
            assert_eq!(verdict(&store, &new).await, None, "{what}");
            assert!(
                !due(&store).await.contains(&new.head.id),
                "{what}: it is not sent again"
            );
            assert!(!begins(&store, &new, CallId::now()).await, "{what}");
            let doubt = only_doubt(&store).await;
            assert_eq!((doubt.id, doubt.is_pending), (new.head.id, true), "{what}");
            if is_there {
                assert_eq!(
                    store
                        .found_there(new.head.id, owner().id, CallId::now(), Timestamp::now())
                        .await
                        .unwrap(),
                    None
                );
                assert_eq!(
                    verdict(&store, &new).await,
                    Some(Verdict::Delivered),
                    "{what}"
                );
            } else {
                store
                    .not_there(doubt, owner().id, Timestamp::now())
                    .await
                    .unwrap();
                assert_eq!(verdict(&store, &new).await, Some(wish.verdict()), "{what}");
            }
            assert_eq!(store.doubts(owner().id).await.unwrap(), [], "{what}");
        }
    }
}

#[tokio::test]
async fn what_is_in_doubt_causes_no_call_once_another_verdict_waits_and_is_due_as_ever_otherwise() {
    let (_folder, store, new, call) = under_way().await;
    lose(&store, &new, call, Doubt::Raised).await;
    assert!(
        store
            .urgency(owner().id, Timestamp::now())
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(due(&store).await, [new.head.id]);
    Wish::Cancel.utter(&store, &new).await;
    assert_eq!(
        store.urgency(owner().id, Timestamp::now()).await.unwrap(),
        None
    );
    assert_eq!(store.urgencies(Timestamp::now()).await.unwrap(), []);
}

/// A terminal with a key has a message under way, which is cancelled; `lost_first`: its call is over before another machine is enrolled.
async fn another_machine(lost_first: bool) -> (TempDir, Store, NewMessage) {
    let (folder, store, new, call) = under_way().await;
    let key = |octet| PublicKey::from_octets([octet; 32]);
    let now = Timestamp::now();
    if lost_first {
        lose(&store, &new, call, Doubt::Raised).await;
    }
    Wish::Cancel.utter(&store, &new).await;
    let later = now + SignedDuration::from_secs(5);
    store.register(owner().id, key(2), later).await.unwrap();
    if !lost_first {
        let how = AttemptEnd::broken("cut", Doubt::Raised);
        let at = later + SignedDuration::from_secs(1);
        store
            .end_delivery(new.head.id, owner().id, call, how, at)
            .await
            .unwrap();
    }
    (folder, store, new)
}

#[tokio::test]
async fn what_a_former_machine_may_have_no_other_machine_can_tell() {
    for lost_first in [true, false] {
        let (_folder, store, new) = another_machine(lost_first).await;
        let doubt = only_doubt(&store).await;
        let later = Timestamp::now() + SignedDuration::from_secs(10);
        store.not_there(doubt, owner().id, later).await.unwrap();
        assert_eq!(verdict(&store, &new).await, None, "{lost_first}");
        let month = later + SignedDuration::from_hours(31 * 24);
        assert_eq!(store.forget_doubts(month, 30 * DAY).await.unwrap(), 1);
        assert_eq!(verdict(&store, &new).await, Some(Verdict::Failed));
    }
}

#[tokio::test]
async fn only_a_terminal_that_was_never_heard_of_again_leaves_it_unknown() {
    let (_folder, store, new, call) = under_way().await;
    lose(&store, &new, call, Doubt::Raised).await;
    let (now, hour) = (Timestamp::now(), SignedDuration::from_hours(1));
    let later = now + SignedDuration::from_hours(25);
    assert_eq!(
        store.forget_doubts(later, DAY).await.unwrap(),
        0,
        "nothing else is wished: it waits on"
    );
    Wish::Expire.utter(&store, &new).await;
    assert_eq!(store.forget_doubts(now + hour, DAY).await.unwrap(), 0);
    assert_eq!(store.forget_doubts(later, DAY).await.unwrap(), 1);
    let found = store
        .message(new.head.id)
        .await
        .unwrap()
        .unwrap()
        .envelopes
        .remove(0);
    assert_eq!(found.verdict, Some(Verdict::Failed));
    assert!(found.reason.unwrap().starts_with("unknown"));
    // A terminal that is removed is never heard of again at all.
    let (_folder, store, new, call) = under_way().await;
    lose(&store, &new, call, Doubt::Raised).await;
    Wish::Remove.utter(&store, &new).await;
    assert_eq!(verdict(&store, &new).await, Some(Verdict::Failed));
}

#[tokio::test]
async fn a_receipt_that_meets_another_verdict_is_counted_and_stands_among_the_deliveries() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let new = message(b"x", &[owner().id]);
    store.accept(new.clone(), Timestamp::now()).await.unwrap();
    store
        .settle(
            new.head.id,
            owner().id,
            Verdict::Failed,
            "unknown".into(),
            Timestamp::now(),
        )
        .await
        .unwrap();
    let other = store
        .delivered(new.head.id, owner().id, CallId::now(), Timestamp::now())
        .await
        .unwrap();
    assert_eq!(
        (other, store.counts().conflicts),
        (Some(Verdict::Failed), 1)
    );
    let found = store
        .message(new.head.id)
        .await
        .unwrap()
        .unwrap()
        .envelopes
        .remove(0);
    assert_eq!(
        found.verdict,
        Some(Verdict::Failed),
        "the one verdict stands"
    );
    assert_eq!(
        found.deliveries[0].outcome.as_deref(),
        Some("delivered, in spite of the verdict failed")
    );
}

#[tokio::test]
async fn the_database_itself_refuses_a_verdict_that_may_be_false() {
    let (_folder, store, new, call) = under_way().await;
    let force =
        async |sql: &'static str| store.writer.run(move |db| Ok(db.execute(sql, [])?)).await;
    for verdict in [
        "UPDATE envelopes SET verdict = 'cancelled', verdict_reason = 'x'",
        "UPDATE envelopes SET verdict = 'failed', verdict_reason = 'x'",
    ] {
        assert!(force(verdict).await.is_err(), "{verdict} on a line");
    }
    lose(&store, &new, call, Doubt::Raised).await;
    assert!(
        force("UPDATE envelopes SET verdict = 'expired'")
            .await
            .is_err(),
        "in doubt"
    );
    assert_eq!(
        force("UPDATE envelopes SET verdict = 'failed', verdict_reason = 'unknown: x'")
            .await
            .unwrap(),
        1
    );
}

#[tokio::test]
async fn a_receipt_that_comes_again_is_no_conflict() {
    let (_folder, store, new, call) = under_way().await;
    for _ in 0..2 {
        assert_eq!(
            store
                .delivered(new.head.id, owner().id, call, Timestamp::now())
                .await
                .unwrap(),
            None
        );
    }
    assert_eq!(store.counts().conflicts, 0);
}

#[tokio::test]
async fn a_message_is_under_way_on_one_call_only() {
    let (_folder, store, new, call) = under_way().await;
    let other = store
        .begin(new.head.id, owner().id, CallId::now(), Timestamp::now())
        .await
        .unwrap();
    assert!(matches!(other, Claim::Held), "{other:?}");
    assert!(
        begins(&store, &new, call).await,
        "the second attempt of the call that has it"
    );
    let found = store
        .message(new.head.id)
        .await
        .unwrap()
        .unwrap()
        .envelopes
        .remove(0);
    assert_eq!(
        (found.under_way, found.deliveries.len()),
        (Some(call.to_string()), 1)
    );
    lose(&store, &new, call, Doubt::Unchanged).await;
    assert!(begins(&store, &new, CallId::now()).await);
}

#[tokio::test]
async fn nothing_is_begun_on_a_call_that_is_over() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let new = message(b"x", &[owner().id]);
    store.accept(new.clone(), Timestamp::now()).await.unwrap();
    let record = call_placed();
    store
        .record_call(record.clone(), Timestamp::now())
        .await
        .unwrap();
    let over = CallRecord {
        ended_at: Some(Timestamp::now()),
        outcome: Some("link ended".into()),
        ..record
    };
    store
        .record_call(over.clone(), Timestamp::now())
        .await
        .unwrap();
    assert!(!begins(&store, &new, over.id).await);
    assert_eq!(due(&store).await, [new.head.id]);
}

#[tokio::test]
async fn nothing_is_begun_with_a_terminal_that_has_lost_its_trust_not_even_again_on_the_same_call()
{
    for is_removed in [false, true] {
        let (_folder, store, new, call) = under_way().await;
        let waits = message(b"waits", &[owner().id]);
        store.accept(waits.clone(), Timestamp::now()).await.unwrap();
        if is_removed {
            store
                .remove_terminal(owner().name, Timestamp::now())
                .await
                .unwrap();
        } else {
            store.shut_out(owner().id, Timestamp::now()).await.unwrap();
        }
        let again = store
            .begin(new.head.id, owner().id, call, Timestamp::now())
            .await
            .unwrap();
        assert!(matches!(again, Claim::Distrusted), "{again:?}");
        assert!(!begins(&store, &waits, call).await);
        let found = store
            .message(new.head.id)
            .await
            .unwrap()
            .unwrap()
            .envelopes
            .remove(0);
        assert_eq!(found.under_way, None, "it is free again");
    }
    let folder = TempDir::new().unwrap();
    let store = open(&folder);
    store.add_terminal(owner()).await.unwrap();
    let new = message(b"x", &[owner().id]);
    store.accept(new.clone(), Timestamp::now()).await.unwrap();
    assert!(
        !begins(&store, &new, CallId::now()).await,
        "it has never been enrolled"
    );
}

#[tokio::test]
async fn what_was_marked_on_a_call_that_proved_nobody_is_free_and_not_in_doubt() {
    let (_folder, store, new, call) = under_way().await;
    store.unproved(call, Timestamp::now()).await.unwrap();
    assert_eq!(store.doubts(owner().id).await.unwrap(), []);
    let cancelled = store
        .cancel(new.head.id, None, "cancelled", Timestamp::now())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        cancelled,
        Cancelled {
            cancelled: 1,
            under_way: 0,
            settled: 0
        }
    );
    let found = store
        .message(new.head.id)
        .await
        .unwrap()
        .unwrap()
        .envelopes
        .remove(0);
    assert_eq!(
        found.deliveries[0].outcome.as_deref(),
        Some("the terminal was not proved")
    );
}

#[tokio::test]
async fn a_crash_leaves_what_was_under_way_in_doubt_and_resumable() {
    let (folder, store, new, _) = under_way().await;
    Wish::Cancel.utter(&store, &new).await;
    drop(store);
    let store = open(&folder);
    assert_eq!(
        verdict(&store, &new).await,
        None,
        "the wish is kept, and so is the doubt"
    );
    let doubt = only_doubt(&store).await;
    assert_eq!((doubt.id, doubt.is_pending), (new.head.id, true));
    let again = message(b"again", &[owner().id]);
    store.accept(again.clone(), Timestamp::now()).await.unwrap();
    assert!(begins(&store, &again, CallId::now()).await);
    drop(store);
    let store = open(&folder);
    let Claim::Begun(begun) = store
        .begin(again.head.id, owner().id, CallId::now(), Timestamp::now())
        .await
        .unwrap()
    else {
        panic!()
    };
    assert!(begun.was_brought, "the next attempt asks where to go on");
}

#[tokio::test]
async fn an_answer_says_nothing_of_what_another_session_has_sent_since_the_question() {
    let (_folder, store, new, call) = under_way().await;
    lose(&store, &new, call, Doubt::Raised).await;
    let asked = only_doubt(&store).await;
    // Another session of the terminal brings it, all of it, and is lost, too; it may be published by that.
    let other = CallId::now();
    assert!(begins(&store, &new, other).await);
    store
        .not_there(asked, owner().id, Timestamp::now())
        .await
        .unwrap();
    lose(&store, &new, other, Doubt::Raised).await;
    store
        .not_there(asked, owner().id, Timestamp::now())
        .await
        .unwrap();
    Wish::Cancel.utter(&store, &new).await;
    assert_eq!(
        verdict(&store, &new).await,
        None,
        "the answer was older than what was sent"
    );
    store
        .not_there(only_doubt(&store).await, owner().id, Timestamp::now())
        .await
        .unwrap();
    assert_eq!(verdict(&store, &new).await, Some(Verdict::Cancelled));
}

#[tokio::test]
async fn a_late_receipt_of_one_call_leaves_no_attempt_of_another_open() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let new = message(b"x", &[owner().id]);
    store.accept(new.clone(), Timestamp::now()).await.unwrap();
    let (first, record) = (CallId::now(), call_placed());
    store
        .record_call(record.clone(), Timestamp::now())
        .await
        .unwrap();
    assert!(begins(&store, &new, first).await);
    lose(&store, &new, first, Doubt::Raised).await;
    assert!(begins(&store, &new, record.id).await);
    store
        .delivered(new.head.id, owner().id, first, Timestamp::now())
        .await
        .unwrap();
    let over = CallRecord {
        ended_at: Some(Timestamp::now()),
        outcome: Some("link ended".into()),
        ..record
    };
    store.record_call(over, Timestamp::now()).await.unwrap();
    let found = store
        .message(new.head.id)
        .await
        .unwrap()
        .unwrap()
        .envelopes
        .remove(0);
    assert_eq!(found.verdict, Some(Verdict::Delivered));
    assert!(
        found
            .deliveries
            .iter()
            .all(|delivery| delivery.ended_at.is_some()),
        "{:?}",
        found.deliveries
    );
}

#[tokio::test]
async fn what_waits_in_a_backup_may_have_been_delivered_since_and_its_terminal_is_asked_first() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let [brought, other] = [b"x", b"y"].map(|content| message(content, &[owner().id]));
    for new in [&brought, &other] {
        store.accept(new.clone(), Timestamp::now()).await.unwrap();
    }
    let copy = folder.path().join("copy");
    store.backup(copy.clone()).done().await.unwrap();
    store
        .delivered(brought.head.id, owner().id, CallId::now(), Timestamp::now())
        .await
        .unwrap();
    drop(store);
    let store = Store::open(&copy, Timestamp::now()).unwrap();
    for new in [&brought, &other] {
        Wish::Cancel.utter(&store, new).await;
        assert_eq!(verdict(&store, new).await, None);
    }
    drop(store);
    let store = Store::open(&copy, Timestamp::now()).unwrap();
    for doubt in store.doubts(owner().id).await.unwrap() {
        if doubt.id == brought.head.id {
            store
                .found_there(doubt.id, owner().id, CallId::now(), Timestamp::now())
                .await
                .unwrap();
        } else {
            store
                .not_there(doubt, owner().id, Timestamp::now())
                .await
                .unwrap();
        }
    }
    assert_eq!(verdict(&store, &brought).await, Some(Verdict::Delivered));
    assert_eq!(verdict(&store, &other).await, Some(Verdict::Cancelled));
    let later = message(b"later", &[owner().id]);
    store.accept(later.clone(), Timestamp::now()).await.unwrap();
    drop(store);
    assert_eq!(
        Store::open(&copy, Timestamp::now())
            .unwrap()
            .doubts(owner().id)
            .await
            .unwrap(),
        [],
        "it is a store of its own by now"
    );
}
