//! What an operator takes back: tokens, providers, calls to a terminal.

use jiff::SignedDuration;

use super::*;

fn vending(number: Option<&str>) -> Provider {
    let number = number.map(|number| number.parse().unwrap());
    Provider {
        name: "vending-1".parse().unwrap(),
        number,
        may_send: vec!["tel:".parse().unwrap()],
        is_disabled: false,
    }
}

async fn with_provider(folder: &TempDir) -> Store {
    let store = open_with_owner(folder).await;
    store
        .add_provider(vending(Some("401")), TokenHash::of("first"))
        .await
        .unwrap();
    store
}

/// Whether a token is somebody's, asked twice: the second answer may come from memory.
async fn works(store: &Store, token: &str) -> bool {
    let mut answers = Vec::new();
    for _ in 0..2 {
        answers.push(
            store
                .provider_with_token(TokenHash::of(token), Timestamp::now())
                .await
                .unwrap()
                .is_some(),
        );
    }
    assert_eq!(answers[0], answers[1], "{token}");
    answers[0]
}

#[tokio::test]
async fn a_new_token_stops_the_one_before_it_at_once() {
    let folder = TempDir::new().unwrap();
    let store = with_provider(&folder).await;
    assert!(works(&store, "first").await);
    assert!(
        store
            .renew_token(vending(None).name, TokenHash::of("second"), None)
            .await
            .unwrap()
    );
    assert!(!works(&store, "first").await && works(&store, "second").await);
    drop(store);
    let store = open(&folder);
    assert!(
        !works(&store, "first").await && works(&store, "second").await,
        "after a restart, too"
    );
    assert!(
        !store
            .renew_token("nobody".parse().unwrap(), TokenHash::of("x"), None)
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn a_former_token_works_until_its_time_is_over_and_one_only_works_beside_the_new() {
    let folder = TempDir::new().unwrap();
    let store = with_provider(&folder).await;
    let (name, hour) = (
        vending(None).name,
        Timestamp::now() + SignedDuration::from_hours(1),
    );
    store
        .renew_token(name.clone(), TokenHash::of("second"), Some(hour))
        .await
        .unwrap();
    assert!(works(&store, "first").await && works(&store, "second").await);
    store
        .renew_token(name.clone(), TokenHash::of("third"), Some(hour))
        .await
        .unwrap();
    assert!(
        !works(&store, "first").await
            && works(&store, "second").await
            && works(&store, "third").await
    );
    let past = Timestamp::now() - SignedDuration::from_secs(1);
    store
        .renew_token(name, TokenHash::of("fourth"), Some(past))
        .await
        .unwrap();
    assert!(
        !works(&store, "second").await
            && !works(&store, "third").await
            && works(&store, "fourth").await
    );
}

#[tokio::test]
async fn a_removed_providers_token_stops_its_number_is_free_and_what_waits_of_it_goes_on_waiting() {
    let folder = TempDir::new().unwrap();
    let store = with_provider(&folder).await;
    let hour = Timestamp::now() + SignedDuration::from_hours(1);
    store
        .renew_token(vending(None).name, TokenHash::of("second"), Some(hour))
        .await
        .unwrap();
    let (first, second) = (message(b"1", &[owner().id]), message(b"2", &[owner().id]));
    store.accept(first.clone(), Timestamp::now()).await.unwrap();
    store
        .accept(second.clone(), Timestamp::now())
        .await
        .unwrap();
    assert_eq!(store.waiting_of(vending(None).name).await.unwrap(), 2);
    assert_eq!(
        store.remove_provider(vending(None).name).await.unwrap(),
        ProviderRemoved::Done
    );
    assert!(!works(&store, "first").await && !works(&store, "second").await);
    assert_eq!(due(&store).await, [first.head.id, second.head.id]);
    assert_eq!(
        store.remove_provider(vending(None).name).await.unwrap(),
        ProviderRemoved::Unknown
    );

    let other = Provider {
        name: "vending-2".parse().unwrap(),
        ..vending(Some("401"))
    };
    store
        .add_provider(other, TokenHash::of("other"))
        .await
        .unwrap();
    // One of the same name takes over what waits, so that its count is never less than nothing.
    store
        .add_provider(vending(None), TokenHash::of("third"))
        .await
        .unwrap();
    assert_eq!(store.waiting_of(vending(None).name).await.unwrap(), 2);
    store
        .delivered(first.head.id, owner().id, CallId::now(), Timestamp::now())
        .await
        .unwrap();
    assert_eq!(store.waiting_of(vending(None).name).await.unwrap(), 1);
    assert_eq!(store.check().await.unwrap().faults, Vec::<String>::new());
}

#[tokio::test]
async fn all_that_waits_of_a_provider_is_cancelled_but_what_is_being_delivered_and_what_is_of_others()
 {
    let folder = TempDir::new().unwrap();
    let store = with_provider(&folder).await;
    let other = Provider {
        name: "vending-2".parse().unwrap(),
        ..vending(None)
    };
    store
        .add_provider(other.clone(), TokenHash::of("other"))
        .await
        .unwrap();
    let of_other = NewMessage {
        provider: other.name,
        ..message(b"x", &[owner().id])
    };
    store
        .accept(of_other.clone(), Timestamp::now())
        .await
        .unwrap();
    let under_way = message(b"y", &[owner().id]);
    store
        .accept(under_way.clone(), Timestamp::now())
        .await
        .unwrap();
    assert!(begins(&store, &under_way, CallId::now()).await);
    for number in 0..250_u32 {
        store
            .accept(
                message(&number.to_le_bytes(), &[owner().id]),
                Timestamp::now(),
            )
            .await
            .unwrap();
    }
    assert_eq!(
        store
            .cancel_all_of(vending(None).name, "gone", Timestamp::now())
            .await
            .unwrap(),
        250
    );
    assert_eq!(store.waiting(owner().id).await.unwrap(), 2);
    assert_eq!(store.check().await.unwrap().faults, Vec::<String>::new());
}

#[tokio::test]
async fn a_provider_that_terminals_send_as_stays() {
    let folder = TempDir::new().unwrap();
    let store = with_provider(&folder).await;
    store
        .set_sender(owner().id, Some(vending(None).name))
        .await
        .unwrap();
    let removed = store.remove_provider(vending(None).name).await.unwrap();
    assert_eq!(removed, ProviderRemoved::HasSenders(vec![owner().name]));
    assert!(works(&store, "first").await);
    store.set_sender(owner().id, None).await.unwrap();
    assert_eq!(
        store.remove_provider(vending(None).name).await.unwrap(),
        ProviderRemoved::Done
    );
}

#[tokio::test]
async fn a_pause_outlives_the_process_and_ends_when_it_is_ended() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    assert!(
        store.pause(owner().id, Timestamp::now()).await.unwrap()
            && !store.pause(owner().id, Timestamp::now()).await.unwrap()
    );
    drop(store);
    let store = open(&folder);
    assert!(store.paused_at(owner().id).await.unwrap().is_some());
    assert_eq!(store.paused().await.unwrap().len(), 1);
    store
        .accept(message(b"x", &[owner().id]), Timestamp::now())
        .await
        .unwrap();
    let counted = |why: &str| {
        vec![NotCalled {
            why: why.to_owned(),
            terminals: 1,
            messages: 1,
        }]
    };
    assert_eq!(
        store.not_called(Timestamp::now()).await.unwrap(),
        counted("paused")
    );
    let entries = store
        .terminal_entries(None, Last(10), Timestamp::now())
        .await
        .unwrap();
    assert!(
        entries[0].paused_at.is_some()
            && entries[0].standing == Standing::Enrolled
            && entries[0].waiting == 1
    );
    assert!(
        store
            .terminal_entries(Some(owner().name), Last(10), Timestamp::now())
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        store.end_pause(owner().id).await.unwrap() && !store.end_pause(owner().id).await.unwrap()
    );
    assert_eq!(store.not_called(Timestamp::now()).await.unwrap(), vec![]);
}

#[tokio::test]
async fn a_long_list_is_read_page_by_page_each_entry_once() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let (mut messages, mut calls) = (Vec::new(), Vec::new());
    for number in 0..7_u32 {
        let new = message(&number.to_le_bytes(), &[owner().id]);
        messages.insert(0, new.head.id);
        store.accept(new, Timestamp::now()).await.unwrap();
        let call = call_placed();
        calls.insert(0, call.id);
        store.record_call(call, Timestamp::now()).await.unwrap();
    }
    let (mut of_messages, mut of_calls) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let page = store
            .messages_after(Last(3), of_messages.last().copied())
            .await
            .unwrap();
        of_messages.extend(page.into_iter().map(|message| message.head.id));
        let page = store
            .calls_after(Last(3), of_calls.last().copied())
            .await
            .unwrap();
        of_calls.extend(page.into_iter().map(|call| call.id));
    }
    assert_eq!((of_messages, of_calls), (messages, calls));
}

#[tokio::test]
async fn a_provider_asked_for_by_name_is_as_it_was_changed_last() {
    let folder = TempDir::new().unwrap();
    let store = with_provider(&folder).await;
    let name = vending(None).name;
    let asked = async || store.provider_named(name.clone()).await.unwrap();
    assert!(asked().await.is_some_and(|found| !found.is_disabled));

    let update = ProviderUpdate {
        is_disabled: Some(true),
        number: None,
        may_send: None,
    };
    let now = Timestamp::now();
    assert!(
        store
            .update_provider(name.clone(), update, now)
            .await
            .unwrap()
    );
    assert!(asked().await.is_some_and(|found| found.is_disabled));

    store.remove_provider(name.clone()).await.unwrap();
    assert_eq!(asked().await, None);
}
