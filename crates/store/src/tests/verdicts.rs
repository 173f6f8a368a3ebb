//! One verdict for each envelope, whatever races for it.

use delivery::{Due, Urgency};
use jiff::SignedDuration;

use super::*;

fn replacing(content: &[u8], key: &str) -> NewMessage {
    let mut new = message(content, &[owner().id]);
    new.handling.replace_key = Some(key.to_owned());
    new
}

fn expiring(content: &[u8], at: Timestamp) -> NewMessage {
    let mut new = message(content, &[owner().id]);
    new.handling.expires_at = Some(at);
    new
}

fn soon() -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(1)
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

async fn verdict(store: &Store, new: &NewMessage) -> Option<Verdict> {
    envelope(store, new).await.verdict
}

#[tokio::test]
async fn the_database_itself_refuses_a_second_verdict() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let new = message(b"x", &[owner().id]);
    store.accept(new.clone(), Timestamp::now()).await.unwrap();
    assert!(
        store
            .settle(
                new.head.id,
                owner().id,
                Verdict::Failed,
                "poison".into(),
                Timestamp::now()
            )
            .await
            .unwrap()
    );
    assert!(
        !store
            .settle(
                new.head.id,
                owner().id,
                Verdict::Cancelled,
                "late".into(),
                Timestamp::now()
            )
            .await
            .unwrap()
    );
    let forced = store
        .writer
        .run(|db| Ok(db.execute("UPDATE envelopes SET verdict = 'delivered'", [])?))
        .await;
    assert!(forced.unwrap_err().to_string().contains("database"));
    let found = envelope(&store, &new).await;
    assert_eq!(
        (found.verdict, found.reason.as_deref()),
        (Some(Verdict::Failed), Some("poison"))
    );
}

#[tokio::test]
async fn of_all_verdicts_that_race_for_an_envelope_one_stands_and_the_counts_agree() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let provider = Provider {
        name: "vending-1".parse().unwrap(),
        number: None,
        may_send: vec![],
        is_disabled: false,
    };
    store
        .add_provider(provider, TokenHash::of("rup_x"))
        .await
        .unwrap();
    for round in 0..20 {
        let new = NewMessage {
            handling: replacing(b"x", "level").handling,
            ..expiring(b"x", soon())
        };
        store.accept(new.clone(), Timestamp::now()).await.unwrap();
        let (id, terminal, call) = (new.head.id, owner().id, CallId::now());
        let (_, newer) = tokio::join!(
            async {
                tokio::join!(
                    store.delivered(id, terminal, call, Timestamp::now()),
                    store.cancel(id, None, "cancelled", Timestamp::now()),
                    store.expire(soon() + SignedDuration::from_hours(1)),
                    store.quarantine(id, "damaged", Timestamp::now()),
                )
            },
            store.accept(replacing(b"y", "level"), Timestamp::now()),
        );
        newer.unwrap();
        let found = envelope(&store, &new).await;
        assert!(found.verdict.is_some(), "round {round}");
        assert_eq!(
            found.call.is_some(),
            found.verdict == Some(Verdict::Delivered),
            "round {round}"
        );
    }
    assert_eq!(store.check().await.unwrap().faults, Vec::<String>::new());
}

#[tokio::test]
async fn a_newer_message_replaces_what_waits_under_its_key_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let mut stranger = replacing(b"theirs", "level");
    stranger.provider = "vending-2".parse().unwrap();
    let other = replacing(b"other", "temperature");
    let plain = message(b"plain", &[owner().id]);
    let older = replacing(b"older", "level");
    for new in [&stranger, &other, &plain, &older] {
        store.accept(new.clone(), Timestamp::now()).await.unwrap();
    }
    let newer = replacing(b"newer", "level");
    assert_eq!(
        store
            .accept(newer.clone(), Timestamp::now())
            .await
            .unwrap()
            .replaced,
        1
    );
    let found = envelope(&store, &older).await;
    assert_eq!(found.verdict, Some(Verdict::Replaced));
    assert!(found.reason.unwrap().contains(&newer.head.id.to_string()));
    assert_eq!(
        due(&store).await,
        [&stranger, &other, &plain, &newer].map(|new| new.head.id)
    );
}

#[tokio::test]
async fn what_is_being_delivered_is_neither_replaced_nor_cancelled_nor_expired_until_the_call_is_over()
 {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let new = NewMessage {
        handling: replacing(b"x", "level").handling,
        ..message(b"x", &[owner().id])
    };
    let mut new = new;
    new.handling.expires_at = Some(soon());
    store.accept(new.clone(), Timestamp::now()).await.unwrap();
    let record = call_placed();
    store
        .record_call(record.clone(), Timestamp::now())
        .await
        .unwrap();
    assert!(begins(&store, &new, record.id).await);
    store
        .accept(replacing(b"newer", "level"), Timestamp::now())
        .await
        .unwrap();
    let cancelled = store
        .cancel(new.head.id, None, "cancelled", Timestamp::now())
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
    assert_eq!(
        store
            .expire(soon() + SignedDuration::from_hours(1))
            .await
            .unwrap(),
        0
    );
    assert_eq!(verdict(&store, &new).await, None);
    // The task that delivered is gone with its link; the call's record is what is left of it. How much has left nobody knows.
    let record = CallRecord {
        ended_at: Some(Timestamp::now()),
        outcome: Some("link ended".into()),
        ..record
    };
    store.record_call(record, Timestamp::now()).await.unwrap();
    let found = envelope(&store, &new).await;
    assert_eq!(
        (
            found.verdict,
            found.under_way,
            found.in_doubt_since.is_some()
        ),
        (None, None, true)
    );
    let doubt = store.doubts(owner().id).await.unwrap()[0];
    store
        .not_there(doubt, owner().id, Timestamp::now())
        .await
        .unwrap();
    let found = envelope(&store, &new).await;
    assert_eq!(
        found.verdict,
        Some(Verdict::Replaced),
        "the first wish that was kept"
    );
    assert_eq!(
        found.deliveries[0].outcome.as_deref(),
        Some("the call ended")
    );
}

#[tokio::test]
async fn every_time_that_a_message_was_brought_is_evidence() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let new = message(b"12345", &[owner().id]);
    store.accept(new.clone(), Timestamp::now()).await.unwrap();
    let [first, second] = [CallId::now(), CallId::now()];
    assert!(begins(&store, &new, first).await);
    let lost = AttemptEnd::broken("the session was lost", Doubt::Unchanged);
    store
        .end_delivery(new.head.id, owner().id, first, lost, Timestamp::now())
        .await
        .unwrap();
    assert!(begins(&store, &new, second).await);
    store
        .delivered(new.head.id, owner().id, second, Timestamp::now())
        .await
        .unwrap();
    assert!(!begins(&store, &new, second).await, "it has its verdict");
    let found = envelope(&store, &new).await;
    let told: Vec<_> = found
        .deliveries
        .iter()
        .map(|delivery| (delivery.outcome.as_deref().unwrap(), delivery.octets))
        .collect();
    assert_eq!(told, [("the session was lost", 0), ("delivered", 5)]);
    assert_eq!(found.call, Some(second.to_string()));
}

#[tokio::test]
async fn what_was_under_way_when_the_process_ended_waits_again_and_is_in_doubt() {
    let folder = TempDir::new().unwrap();
    let new = message(b"x", &[owner().id]);
    {
        let store = open_with_owner(&folder).await;
        store.accept(new.clone(), Timestamp::now()).await.unwrap();
        assert!(begins(&store, &new, CallId::now()).await);
    }
    let store = open(&folder);
    let found = envelope(&store, &new).await;
    assert_eq!(
        (
            found.verdict,
            found.under_way,
            found.in_doubt_since.is_some()
        ),
        (None, None, true)
    );
    assert_eq!(
        found.deliveries[0].outcome.as_deref(),
        Some("server stopped")
    );
    let doubts = store.doubts(owner().id).await.unwrap();
    assert_eq!(
        doubts
            .iter()
            .map(|doubt| (doubt.id, doubt.is_pending))
            .collect::<Vec<_>>(),
        [(new.head.id, false)]
    );
    assert_eq!(due(&store).await, [new.head.id]);
}

#[tokio::test]
async fn what_expires_next_is_known_and_gets_its_verdict_then_and_not_before() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    assert_eq!(store.next_expiry().await.unwrap(), None);
    let at = Timestamp::from_millisecond(soon().as_millisecond()).unwrap();
    let new = expiring(b"x", at);
    store.accept(new.clone(), Timestamp::now()).await.unwrap();
    store
        .accept(
            expiring(b"y", at + SignedDuration::from_hours(1)),
            Timestamp::now(),
        )
        .await
        .unwrap();
    store
        .accept(message(b"z", &[owner().id]), Timestamp::now())
        .await
        .unwrap();
    assert_eq!(store.next_expiry().await.unwrap(), Some(at));
    assert_eq!(
        store
            .expire(at - SignedDuration::from_millis(1))
            .await
            .unwrap(),
        0
    );
    assert_eq!(store.expire(at).await.unwrap(), 1);
    assert_eq!(verdict(&store, &new).await, Some(Verdict::Expired));
    assert_eq!(due(&store).await.len(), 2);
    assert_eq!(
        store.next_expiry().await.unwrap(),
        Some(at + SignedDuration::from_hours(1))
    );
    assert_eq!(store.counts().expired, 1);
}

#[tokio::test]
async fn what_has_expired_is_looked_at_once_whatever_still_waits_of_it_and_what_comes_late_is_not_missed()
 {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let (at, hour) = (soon(), SignedDuration::from_hours(1));
    let held = expiring(b"x", at);
    store.accept(held.clone(), Timestamp::now()).await.unwrap();
    assert!(begins(&store, &held, CallId::now()).await);
    assert_eq!(
        store.expire(at + hour).await.unwrap(),
        0,
        "its verdict is pending"
    );
    assert_eq!(
        store.next_expiry().await.unwrap(),
        None,
        "nobody walks over it again"
    );
    // The clock has been set back, or it was accepted while the look went on: it expires before what was looked at.
    let late = expiring(b"y", at);
    store.accept(late.clone(), Timestamp::now()).await.unwrap();
    assert!(
        store
            .next_expiry()
            .await
            .unwrap()
            .is_some_and(|next| next <= at)
    );
    assert_eq!(store.expire(at + hour).await.unwrap(), 1);
    assert_eq!(verdict(&store, &late).await, Some(Verdict::Expired));
}

#[tokio::test]
async fn what_has_expired_is_not_brought_even_if_nobody_has_swept() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let new = expiring(b"x", Timestamp::now() - SignedDuration::from_secs(1));
    store.accept(new.clone(), Timestamp::now()).await.unwrap();
    assert!(!begins(&store, &new, CallId::now()).await);
    assert_eq!(verdict(&store, &new).await, Some(Verdict::Expired));
}

#[tokio::test]
async fn what_is_urgent_is_due_first_and_bulk_last() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let mut expected = Vec::new();
    for urgency in [
        Urgency::Bulk,
        Urgency::Normal,
        Urgency::Urgent,
        Urgency::Normal,
    ] {
        let mut new = message(b"x", &[owner().id]);
        new.handling.urgency = urgency;
        expected.push(Due {
            urgency,
            id: new.head.id,
            size: new.head.size,
        });
        store.accept(new, Timestamp::now()).await.unwrap();
    }
    let due = store.due(owner().id, Timestamp::now()).await.unwrap();
    assert_eq!(due, [2, 1, 3, 0].map(|index: usize| expected[index]));
}

#[tokio::test]
async fn a_message_is_cancelled_by_its_own_provider_only() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let new = message(b"x", &[owner().id]);
    store.accept(new.clone(), Timestamp::now()).await.unwrap();
    let stranger = Some("vending-2".parse().unwrap());
    assert_eq!(
        store
            .cancel(new.head.id, stranger, "cancelled", Timestamp::now())
            .await
            .unwrap(),
        None
    );
    assert_eq!(verdict(&store, &new).await, None);
    let cancelled = store
        .cancel(
            new.head.id,
            Some(new.provider.clone()),
            "cancelled",
            Timestamp::now(),
        )
        .await
        .unwrap();
    assert_eq!(
        cancelled,
        Some(Cancelled {
            cancelled: 1,
            under_way: 0,
            settled: 0
        })
    );
    assert_eq!(verdict(&store, &new).await, Some(Verdict::Cancelled));
    assert_eq!(
        store
            .cancel(MessageId::now(), None, "cancelled", Timestamp::now())
            .await
            .unwrap(),
        None
    );
}
