//! A refused message rests by itself, is tried again, and fails in the end.

use super::*;

const RULES: RefusalRules = RefusalRules {
    tries_max: 3,
    first: Duration::from_secs(60),
    longest: Duration::from_secs(600),
};

async fn scene() -> (TempDir, Store, NewMessage) {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await.with_refusals(RULES);
    let new = message(b"too much", &[owner().id]);
    store.accept(new.clone(), Timestamp::now()).await.unwrap();
    (folder, store, new)
}

async fn refuse(store: &Store, new: &NewMessage, refusal: Refusal) -> Refused {
    let call = CallId::now();
    assert!(begins(store, new, call).await);
    let how = AttemptEnd::refused("refused with status 507", Doubt::Dispelled);
    store
        .refused(
            new.head.id,
            owner().id,
            call,
            how,
            refusal,
            Timestamp::now(),
        )
        .await
        .unwrap()
}

async fn envelope(store: &Store, new: &NewMessage) -> EnvelopeEntry {
    store
        .message(new.head.id)
        .await
        .unwrap()
        .unwrap()
        .envelopes
        .remove(0)
}

/// The end of the rest that an envelope has.
async fn rested(store: &Store, new: &NewMessage) -> Timestamp {
    envelope(store, new).await.rests_until.expect("it rests")
}

#[tokio::test]
async fn a_refused_message_rests_and_keeps_no_other_waiting() {
    let (_folder, store, new) = scene().await;
    assert_eq!(
        refuse(&store, &new, Refusal::Again).await,
        Refused {
            refusals: 1,
            is_given_up: false
        }
    );
    let other = NewMessage {
        provider: "other".parse().unwrap(),
        ..message(b"small", &[owner().id])
    };
    store.accept(other.clone(), Timestamp::now()).await.unwrap();
    let payer = store
        .first_provider(owner().id, Timestamp::now())
        .await
        .unwrap();
    assert_eq!(
        payer,
        Some(other.provider.clone()),
        "a call is not booked on who sent what rests"
    );
    assert_eq!(due(&store).await, [other.head.id]);
    store
        .delivered(other.head.id, owner().id, CallId::now(), Timestamp::now())
        .await
        .unwrap();
    assert_eq!(
        store.urgency(owner().id, Timestamp::now()).await.unwrap(),
        None,
        "it causes no call while it rests"
    );
    let until = rested(&store, &new).await;
    let retries: Vec<_> = store
        .retries(owner().id, Timestamp::now())
        .await
        .unwrap()
        .iter()
        .map(|due| due.id)
        .collect();
    assert_eq!(
        retries,
        [new.head.id],
        "it goes behind all others on a session that there is"
    );
    assert_eq!(
        refuse(&store, &new, Refusal::Again).await.refusals,
        1,
        "which is no try"
    );
    assert_eq!(store.next_release().await.unwrap(), Some(until));
    assert_eq!(store.resting().await.unwrap().len(), 1);
    assert_eq!(store.release(until).await.unwrap(), [owner().id]);
    assert_eq!(due(&store).await, [new.head.id], "then it is tried again");
    assert_eq!(store.next_release().await.unwrap(), None);
}

#[tokio::test]
async fn pauses_grow_and_the_last_try_fails_the_message_over_a_restart() {
    let (folder, store, new) = scene().await;
    let mut pauses = Vec::new();
    for tries in 1..3 {
        assert_eq!(
            refuse(&store, &new, Refusal::Again).await,
            Refused {
                refusals: tries,
                is_given_up: false
            }
        );
        let until = rested(&store, &new).await;
        pauses.push(
            until
                .duration_since(Timestamp::now())
                .as_secs()
                .unsigned_abs()
                .div_ceil(60),
        );
        store.release(until).await.unwrap();
    }
    assert_eq!(pauses, [1, 2], "minutes");
    drop(store);
    let store = open(&folder).with_refusals(RULES);
    assert_eq!(
        refuse(&store, &new, Refusal::Again).await,
        Refused {
            refusals: 3,
            is_given_up: true
        }
    );
    let found = envelope(&store, &new).await;
    assert_eq!(found.verdict, Some(Verdict::Failed));
    assert_eq!(
        found.reason.as_deref(),
        Some("the terminal refused it 3 times, the last: refused with status 507")
    );
    assert_eq!(found.deliveries.len(), 3);
}

#[tokio::test]
async fn what_is_refused_for_good_fails_at_once_and_what_is_not_wanted_now_does_not() {
    let (_folder, store, new) = scene().await;
    assert!(refuse(&store, &new, Refusal::ForGood).await.is_given_up);
    assert_eq!(envelope(&store, &new).await.verdict, Some(Verdict::Failed));
    let (_folder, store, new) = scene().await;
    for _ in 0..5 {
        assert!(!refuse(&store, &new, Refusal::NotNow).await.is_given_up);
        store.release(rested(&store, &new).await).await.unwrap();
    }
}

#[tokio::test]
async fn a_refusal_says_that_the_message_is_not_there() {
    let (_folder, store, new) = scene().await;
    let call = CallId::now();
    assert!(begins(&store, &new, call).await);
    let lost = AttemptEnd::broken("lost", Doubt::Raised);
    store
        .end_delivery(new.head.id, owner().id, call, lost, Timestamp::now())
        .await
        .unwrap();
    let call = CallId::now();
    assert!(begins(&store, &new, call).await);
    store
        .cancel(new.head.id, None, "cancelled", Timestamp::now())
        .await
        .unwrap();
    let how = AttemptEnd::refused("refused", Doubt::Dispelled);
    store
        .refused(
            new.head.id,
            owner().id,
            call,
            how,
            Refusal::Again,
            Timestamp::now(),
        )
        .await
        .unwrap();
    assert_eq!(
        envelope(&store, &new).await.verdict,
        Some(Verdict::Cancelled)
    );
}

#[tokio::test]
async fn a_refusal_that_does_not_say_so_leaves_the_doubt_and_the_last_one_waits_for_it() {
    let (_folder, store, new) = scene().await;
    let lost = CallId::now();
    assert!(begins(&store, &new, lost).await);
    let how = AttemptEnd::broken("lost", Doubt::Raised);
    store
        .end_delivery(new.head.id, owner().id, lost, how, Timestamp::now())
        .await
        .unwrap();
    let again = CallId::now();
    assert!(begins(&store, &new, again).await);
    let how = AttemptEnd::refused("refused with status 409", Doubt::Unchanged);
    let refused = store
        .refused(
            new.head.id,
            owner().id,
            again,
            how,
            Refusal::ForGood,
            Timestamp::now(),
        )
        .await
        .unwrap();
    assert!(refused.is_given_up);
    let found = envelope(&store, &new).await;
    assert_eq!(
        (found.verdict, found.in_doubt_since.is_some()),
        (None, true)
    );
    assert_eq!(
        store.urgency(owner().id, Timestamp::now()).await.unwrap(),
        None,
        "it is sent no more"
    );
    let late = store
        .delivered(new.head.id, owner().id, lost, Timestamp::now())
        .await
        .unwrap();
    assert_eq!(
        (late, envelope(&store, &new).await.verdict),
        (None, Some(Verdict::Delivered))
    );
}

#[tokio::test]
async fn a_message_that_was_cancelled_while_it_was_refused_was_not_given_up_for_the_refusal() {
    let (_folder, store, new) = scene().await;
    let call = CallId::now();
    assert!(begins(&store, &new, call).await);
    store
        .cancel(new.head.id, None, "cancelled", Timestamp::now())
        .await
        .unwrap();
    let how = AttemptEnd::refused("refused with status 413", Doubt::Dispelled);
    let refused = store
        .refused(
            new.head.id,
            owner().id,
            call,
            how,
            Refusal::ForGood,
            Timestamp::now(),
        )
        .await
        .unwrap();
    assert!(
        !refused.is_given_up,
        "it is cancelled, and no alarm says that it has failed"
    );
    assert_eq!(
        envelope(&store, &new).await.verdict,
        Some(Verdict::Cancelled)
    );
}

#[tokio::test]
async fn a_rest_that_a_wrong_clock_has_made_ends_when_the_clock_is_right() {
    let (_folder, store, new) = scene().await;
    refuse(&store, &new, Refusal::Again).await;
    let held = message(b"held", &[owner().id]);
    store.accept(held.clone(), Timestamp::now()).await.unwrap();
    let [rests, holds] = [
        Duration::from_secs(3600),
        Duration::from_secs(9 * 24 * 3600),
    ]
    .map(|off| Timestamp::now() + off);
    store
        .writer
        .run(move |db| {
            db.execute(
                "UPDATE envelopes SET calls_at = ?1 WHERE rests_until IS NULL",
                [holds.as_millisecond()],
            )?;
            db.execute(
                "UPDATE envelopes SET rests_until = ?1 WHERE rests_until IS NOT NULL",
                [rests.as_millisecond()],
            )?;
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(
        store.release(Timestamp::now()).await.unwrap(),
        [owner().id],
        "no rest is so long, nor are hours so far off"
    );
    assert_eq!(store.next_release().await.unwrap(), None);
    assert_eq!(due(&store).await, [new.head.id, held.head.id]);
}

#[tokio::test]
async fn what_was_to_be_told_by_a_clock_that_was_ahead_is_told_when_it_is_right() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let provider = Provider {
        name: "vending-1".parse().unwrap(),
        number: None,
        may_send: Vec::new(),
        is_disabled: false,
    };
    let webhook = model::webhook::Webhook {
        url: "https://provider.example/verdicts".parse().unwrap(),
        secret: model::webhook::WebhookSecret::from_octets([7; 32]),
        may_be_private: false,
    };
    store
        .add_provider_with(
            provider.clone(),
            TokenHash::of("token"),
            Some(webhook),
            None,
        )
        .await
        .unwrap();
    let mut new = message(b"x", &[owner().id]);
    new.handling.return_path = Some(ReturnPath {
        sender: "sender@mail.example".into(),
        recipients: vec![(owner().id, "owner@mail.example".into())],
    });
    store.accept(new.clone(), Timestamp::now()).await.unwrap();
    store
        .cancel(new.head.id, None, "cancelled", Timestamp::now())
        .await
        .unwrap();
    let later = Timestamp::now() + Duration::from_secs(2 * 24 * 3600);
    let ahead = async |table: &'static str| {
        let sql = format!(
            "UPDATE {table} SET next_at = {0}, since = {0}",
            later.as_millisecond()
        );
        assert_eq!(
            store
                .writer
                .run(move |db| Ok(db.execute(&sql, [])?))
                .await
                .unwrap(),
            1,
            "{table}"
        );
    };
    ahead("webhook_outbox").await;
    ahead("bounces").await;
    store.heed_clock(Timestamp::now()).await.unwrap();
    let told = store
        .due_tellings(
            provider.name.to_string(),
            BTreeSet::new(),
            10,
            Timestamp::now(),
        )
        .await
        .unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!(
        store.due_bounces(Timestamp::now(), 10).await.unwrap().len(),
        1
    );
}
