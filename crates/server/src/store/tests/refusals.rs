//! A refused message rests by itself, is tried again, and fails in the end.

use super::*;

const RULES: RefusalRules =
    RefusalRules { tries_max: 3, first: Duration::from_secs(60), longest: Duration::from_secs(600) };

async fn scene() -> (TempDir, Store, NewMessage) {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await.with_refusals(RULES);
    let new = message(b"too much", &[owner().id]);
    store.accept(new.clone()).await.unwrap();
    (folder, store, new)
}

async fn refuse(store: &Store, new: &NewMessage, refusal: Refusal) -> Refused {
    let call = CallId::now();
    assert!(begins(store, new, call).await);
    store.refused(new.head.id, owner().id, call, "refused with status 507".into(), refusal).await.unwrap()
}

async fn envelope(store: &Store, new: &NewMessage) -> EnvelopeEntry {
    store.message(new.head.id).await.unwrap().unwrap().envelopes.remove(0)
}

/// The end of the rest that an envelope has.
async fn rested(store: &Store, new: &NewMessage) -> Timestamp {
    envelope(store, new).await.rests_until.expect("it rests")
}

#[tokio::test]
async fn a_refused_message_rests_and_keeps_no_other_waiting() {
    let (_folder, store, new) = scene().await;
    assert_eq!(refuse(&store, &new, Refusal::Again).await, Refused { refusals: 1, is_given_up: false });
    let other = NewMessage { provider: "other".parse().unwrap(), ..message(b"small", &[owner().id]) };
    store.accept(other.clone()).await.unwrap();
    let payer = store.first_provider(owner().id).await.unwrap();
    assert_eq!(payer, Some(other.provider.clone()), "a call is not booked on who sent what rests");
    assert_eq!(due(&store).await, [other.head.id]);
    store.delivered(other.head.id, owner().id, CallId::now()).await.unwrap();
    assert_eq!(store.urgency(owner().id).await.unwrap(), None, "it causes no call while it rests");
    let until = rested(&store, &new).await;
    let retries: Vec<_> = store.retries(owner().id).await.unwrap().iter().map(|due| due.id).collect();
    assert_eq!(retries, [new.head.id], "it goes behind all others on a session that there is");
    assert_eq!(refuse(&store, &new, Refusal::Again).await.refusals, 1, "which is no try");
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
        assert_eq!(refuse(&store, &new, Refusal::Again).await, Refused { refusals: tries, is_given_up: false });
        let until = rested(&store, &new).await;
        pauses.push(until.duration_since(Timestamp::now()).as_secs().unsigned_abs().div_ceil(60));
        store.release(until).await.unwrap();
    }
    assert_eq!(pauses, [1, 2], "minutes");
    drop(store);
    let store = open(&folder).with_refusals(RULES);
    assert_eq!(refuse(&store, &new, Refusal::Again).await, Refused { refusals: 3, is_given_up: true });
    let found = envelope(&store, &new).await;
    assert_eq!(found.verdict, Some(Verdict::Failed));
    assert_eq!(found.reason.as_deref(), Some("the terminal refused it 3 times, the last: refused with status 507"));
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
    store.end_delivery(new.head.id, owner().id, call, "lost".into(), Doubt::Raised).await.unwrap();
    let call = CallId::now();
    assert!(begins(&store, &new, call).await);
    store.cancel(new.head.id, None, "cancelled").await.unwrap();
    store.refused(new.head.id, owner().id, call, "refused".into(), Refusal::Again).await.unwrap();
    assert_eq!(envelope(&store, &new).await.verdict, Some(Verdict::Cancelled));
}
