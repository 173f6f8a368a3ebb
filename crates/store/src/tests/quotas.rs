//! What is not taken: over a quota, under a used key, for nobody.

use super::*;

fn keyed(content: &[u8], key: &str) -> NewMessage {
    let mut new = message(content, &[owner().id]);
    new.handling.idempotency_key = Some(key.to_owned());
    new
}

async fn limited(folder: &TempDir, quotas: Quotas) -> Store {
    let store = open_with_owner(folder).await.with_quotas(quotas);
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
    store
}

#[tokio::test]
async fn a_terminals_quota_refuses_what_is_too_much_warns_before_and_frees_with_each_verdict() {
    let folder = TempDir::new().unwrap();
    let quotas = Quotas {
        terminal: Quota {
            messages: 5,
            octets: u64::MAX,
        },
        ..Quotas::default()
    };
    let store = limited(&folder, quotas).await;
    let new: Vec<_> = (0..6).map(|_| message(b"x", &[owner().id])).collect();
    for new in &new[..5] {
        store.accept(new.clone(), Timestamp::now()).await.unwrap();
    }
    assert_eq!(store.counts().quota_warnings, 1, "at four of five");
    let Err(StoreError::Quota(over)) = store.accept(new[5].clone(), Timestamp::now()).await else {
        panic!("a sixth of five")
    };
    assert_eq!(
        over,
        OverQuota {
            holder: Holder::Terminal(owner().name),
            unit: "messages",
            max: 5
        }
    );
    assert_eq!(store.counts().over_quota, 1);
    assert_eq!(store.waiting(owner().id).await.unwrap(), 5);
    assert_eq!(
        due(&store).await,
        new[..5].iter().map(|new| new.head.id).collect::<Vec<_>>(),
        "what was accepted stays"
    );
    store
        .delivered(new[0].head.id, owner().id, CallId::now(), Timestamp::now())
        .await
        .unwrap();
    store
        .accept(new[5].clone(), Timestamp::now())
        .await
        .unwrap();
    assert_eq!(store.check().await.unwrap().faults, Vec::<String>::new());
}

#[tokio::test]
async fn a_providers_quota_counts_a_message_once_however_many_terminals_it_is_for() {
    let folder = TempDir::new().unwrap();
    let quotas = Quotas {
        provider: Quota {
            messages: 2,
            octets: 100,
        },
        ..Quotas::default()
    };
    let store = limited(&folder, quotas).await;
    let other = terminal("owner-02", "302", "10.77.0.3");
    store.add_terminal(other.clone()).await.unwrap();
    let both = [owner().id, other.id];
    let first = message(&[0; 50], &both);
    store.accept(first.clone(), Timestamp::now()).await.unwrap();
    let refused = |result: Result<_, _>| match result {
        Err(StoreError::Quota(OverQuota {
            unit,
            holder: Holder::Provider(_),
            ..
        })) => unit,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        refused(
            store
                .accept(message(&[0; 51], &both), Timestamp::now())
                .await
        ),
        "octets"
    );
    store
        .accept(message(&[0; 50], &both), Timestamp::now())
        .await
        .unwrap();
    assert_eq!(
        refused(store.accept(message(b"", &both), Timestamp::now()).await),
        "messages"
    );
    store
        .delivered(first.head.id, owner().id, CallId::now(), Timestamp::now())
        .await
        .unwrap();
    assert_eq!(
        refused(store.accept(message(b"", &both), Timestamp::now()).await),
        "messages",
        "it still waits for the other terminal"
    );
    store
        .cancel(first.head.id, None, "cancelled", Timestamp::now())
        .await
        .unwrap();
    store
        .accept(message(b"", &both), Timestamp::now())
        .await
        .unwrap();
    assert_eq!(store.check().await.unwrap().faults, Vec::<String>::new());
}

#[tokio::test]
async fn what_takes_the_place_of_another_needs_no_place_of_its_own() {
    let folder = TempDir::new().unwrap();
    let quotas = Quotas {
        terminal: Quota {
            messages: 1,
            octets: u64::MAX,
        },
        ..Quotas::default()
    };
    let store = limited(&folder, quotas).await;
    for _ in 0..3 {
        let mut new = message(b"x", &[owner().id]);
        new.handling.replace_key = Some("level".into());
        store.accept(new, Timestamp::now()).await.unwrap();
    }
    assert_eq!(due(&store).await.len(), 1);
}

#[tokio::test]
async fn the_same_submission_under_the_same_key_is_the_same_message_and_another_is_refused() {
    let folder = TempDir::new().unwrap();
    let store = limited(&folder, Quotas::default()).await;
    let first = store
        .accept(keyed(b"sale 17", "17"), Timestamp::now())
        .await
        .unwrap();
    let again = store
        .accept(keyed(b"sale 17", "17"), Timestamp::now())
        .await
        .unwrap();
    assert_eq!((again.id, again.is_repeated), (first.id, true));
    let mut urgent = keyed(b"sale 17", "17");
    urgent.handling.urgency = delivery::Urgency::Urgent;
    for other in [keyed(b"sale 18", "17"), urgent] {
        assert!(matches!(
            store.accept(other, Timestamp::now()).await,
            Err(StoreError::KeyReused)
        ));
    }
    let mut stranger = keyed(b"another's sale", "17");
    stranger.provider = "vending-2".parse().unwrap();
    assert!(
        !store
            .accept(stranger, Timestamp::now())
            .await
            .unwrap()
            .is_repeated,
        "keys are each provider's own"
    );
    assert_eq!(due(&store).await.len(), 2);
}

#[tokio::test]
async fn a_repetition_that_comes_after_its_expiry_is_answered_and_a_first_that_does_is_refused() {
    let folder = TempDir::new().unwrap();
    let store = limited(&folder, Quotas::default()).await;
    let first = store
        .accept(keyed(b"x", "17"), Timestamp::now())
        .await
        .unwrap();
    let past = Timestamp::now() - jiff::SignedDuration::from_secs(1);
    let late = |key| {
        let mut late = keyed(b"x", key);
        late.handling.expires_at = Some(past);
        late
    };
    assert_eq!(
        store.accept(late("17"), Timestamp::now()).await.unwrap().id,
        first.id
    );
    assert!(
        matches!(store.accept(late("18"), Timestamp::now()).await, Err(StoreError::Expired(at)) if at == past)
    );
    assert_eq!(due(&store).await.len(), 1);
}

#[tokio::test]
async fn of_two_submissions_under_one_key_at_the_same_time_one_is_the_message() {
    let folder = TempDir::new().unwrap();
    let store = limited(&folder, Quotas::default()).await;
    let (first, second) = tokio::join!(
        store.accept(keyed(b"x", "17"), Timestamp::now()),
        store.accept(keyed(b"x", "17"), Timestamp::now())
    );
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.id, second.id);
    assert!(first.is_repeated != second.is_repeated);
    assert_eq!(due(&store).await.len(), 1);
}

#[tokio::test]
async fn nothing_is_stored_for_a_terminal_that_is_not_there_or_for_the_others_with_it() {
    let folder = TempDir::new().unwrap();
    let store = limited(&folder, Quotas::default()).await;
    let gone = TerminalId::from_octets([9; 8]);
    let refused = store
        .accept(message(b"x", &[owner().id, gone]), Timestamp::now())
        .await;
    assert!(matches!(refused, Err(StoreError::NoTerminal(id)) if id == gone));
    assert!(due(&store).await.is_empty());
    assert!(store.messages(Last(1)).await.unwrap().is_empty());
    assert_eq!(store.check().await.unwrap().faults, Vec::<String>::new());
}
