use delivery::Urgency;
use jiff::Timestamp;

use super::*;
use model::subscription::{Calls, RegisteredBy, SUBSCRIPTIONS_MAX, Subscriber, Subscription};

fn subscription(filter: &str) -> Subscription {
    Subscription {
        filter: filter.parse().unwrap(),
        urgency: Urgency::Bulk,
        size_max: None,
        hours: Hours::default(),
    }
}

/// A message for these, none of them by name.
fn published(subscribers: &[(TerminalId, Calls)]) -> NewMessage {
    let subscribers = subscribers
        .iter()
        .map(|&(terminal, calls)| Subscriber { terminal, calls })
        .collect();
    NewMessage {
        subscribers: Some(subscribers),
        ..message(b"news", &[])
    }
}

fn second() -> Terminal {
    terminal("owner-02", "302", "10.77.0.3")
}

async fn subscribers(store: &Store, topic: &str) -> Vec<(TerminalId, Calls)> {
    let found = store
        .subscribers(
            topic.parse().unwrap(),
            Urgency::Normal,
            1,
            jiff::Zoned::now(),
        )
        .await
        .unwrap();
    found
        .into_iter()
        .map(|found| (found.terminal, found.calls))
        .collect()
}

#[tokio::test]
async fn who_has_registered_is_found_by_topic_until_it_is_taken_off_or_removed() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    store.add_terminal(second()).await.unwrap();
    for (terminal, filter) in [
        (owner(), "news/#"),
        (owner(), "+/weather"),
        (second(), "news/weather"),
    ] {
        store
            .subscribe(
                terminal.id,
                subscription(filter),
                RegisteredBy::Operator,
                Timestamp::now(),
            )
            .await
            .unwrap();
    }
    let both = [(owner().id, Calls::Now), (second().id, Calls::Now)];
    assert_eq!(subscribers(&store, "news/weather").await, both);
    assert_eq!(subscribers(&store, "news/sport").await, both[..1]);
    assert!(
        store
            .unsubscribe(owner().id, "news/#".parse().unwrap())
            .await
            .unwrap()
    );
    assert!(
        !store
            .unsubscribe(owner().id, "news/#".parse().unwrap())
            .await
            .unwrap()
    );
    assert_eq!(subscribers(&store, "news/sport").await, []);
    store
        .remove_terminal(second().name, Timestamp::now())
        .await
        .unwrap();
    assert_eq!(subscribers(&store, "news/weather").await, both[..1]);
}

#[tokio::test]
async fn the_same_filter_again_changes_the_conditions() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    store
        .subscribe(
            owner().id,
            subscription("news/#"),
            RegisteredBy::Operator,
            Timestamp::now(),
        )
        .await
        .unwrap();
    let hours = "mon-fri 06:00-22:00, sat-sat 08:00-12:00".parse().unwrap();
    let stricter = Subscription {
        urgency: Urgency::Urgent,
        size_max: Some(50_000),
        hours,
        ..subscription("news/#")
    };
    store
        .subscribe(
            owner().id,
            stricter.clone(),
            RegisteredBy::Terminal,
            Timestamp::now(),
        )
        .await
        .unwrap();
    let found = store.subscriptions(owner().id).await.unwrap();
    let [one] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(
        (&one.subscription, one.by),
        (&stricter, RegisteredBy::Terminal)
    );
    assert_eq!(
        subscribers(&store, "news").await,
        [(owner().id, Calls::Never)]
    );
}

#[tokio::test]
async fn a_terminal_registers_for_what_it_may_and_the_operator_for_everything() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder);
    store
        .add_terminal_with(owner(), vec!["news/#".parse().unwrap()])
        .await
        .unwrap();
    let register = async |filter: &str, by| {
        store
            .subscribe(owner().id, subscription(filter), by, Timestamp::now())
            .await
    };
    register("news/+/today", RegisteredBy::Terminal)
        .await
        .unwrap();
    for filter in ["#", "+/weather", "mail"] {
        let refused = register(filter, RegisteredBy::Terminal).await;
        assert!(
            matches!(refused, Err(RegisterError::TooBroad { .. })),
            "{filter}"
        );
    }
    register("#", RegisteredBy::Operator).await.unwrap();
    assert_eq!(store.subscriptions(owner().id).await.unwrap().len(), 2);
    let stranger = store
        .subscribe(
            second().id,
            subscription("#"),
            RegisteredBy::Operator,
            Timestamp::now(),
        )
        .await;
    assert!(matches!(
        stranger,
        Err(RegisterError::Store(StoreError::NoTerminal(_)))
    ));
}

#[tokio::test]
async fn a_terminal_has_at_most_so_many_subscriptions_and_may_change_those() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let register = async |filter: &str| {
        store
            .subscribe(
                owner().id,
                subscription(filter),
                RegisteredBy::Terminal,
                Timestamp::now(),
            )
            .await
    };
    for number in 0..SUBSCRIPTIONS_MAX {
        register(&format!("news/{number}")).await.unwrap();
    }
    assert!(matches!(
        register("mail").await,
        Err(RegisterError::TooMany)
    ));
    register("news/0").await.unwrap();
}

#[tokio::test]
async fn what_is_held_back_waits_without_causing_a_call_until_its_time() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    store.add_terminal(second()).await.unwrap();
    let at = Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let at = Timestamp::from_millisecond(at.as_millisecond()).unwrap();
    store
        .accept(
            published(&[(owner().id, Calls::From(at)), (second().id, Calls::Never)]),
            Timestamp::now(),
        )
        .await
        .unwrap();
    assert_eq!(due(&store).await.len(), 1, "on any call");
    assert_eq!(store.urgencies(Timestamp::now()).await.unwrap(), []);
    assert_eq!(
        store.urgency(owner().id, Timestamp::now()).await.unwrap(),
        None
    );
    assert_eq!(store.next_release().await.unwrap(), Some(at));
    assert_eq!(
        store
            .release(at - jiff::SignedDuration::from_millis(1))
            .await
            .unwrap(),
        []
    );
    assert_eq!(store.release(at).await.unwrap(), [owner().id]);
    let asking: Vec<_> = store
        .urgencies(Timestamp::now())
        .await
        .unwrap()
        .into_iter()
        .map(|found| found.terminal)
        .collect();
    assert_eq!(asking, [owner().id]);
    assert_eq!(
        store
            .urgency(owner().id, Timestamp::now())
            .await
            .unwrap()
            .map(|found| found.urgency),
        Some(Urgency::Normal)
    );
    assert_eq!(store.next_release().await.unwrap(), None);
}

#[tokio::test]
async fn a_subscriber_for_whom_too_much_waits_fails_alone_and_says_why() {
    let folder = TempDir::new().unwrap();
    let quota = Quota {
        messages: 1,
        octets: 1000,
    };
    let quotas = Quotas {
        terminal: quota,
        provider: Quota {
            messages: 9,
            octets: 9000,
        },
    };
    let store = open_with_owner(&folder).await.with_quotas(quotas);
    store.add_terminal(second()).await.unwrap();
    let provider = Provider {
        name: "vending-1".parse().unwrap(),
        number: None,
        may_send: vec![],
        is_disabled: false,
    };
    store
        .add_provider(provider, TokenHash::of("x"))
        .await
        .unwrap();
    store
        .accept(message(b"first", &[owner().id]), Timestamp::now())
        .await
        .unwrap();
    let accepted = store
        .accept(
            published(&[(owner().id, Calls::Now), (second().id, Calls::Now)]),
            Timestamp::now(),
        )
        .await
        .unwrap();
    assert_eq!(accepted.envelopes, 2);
    let shown = store.message(accepted.id).await.unwrap().unwrap();
    let verdicts: Vec<_> = shown
        .envelopes
        .iter()
        .map(|one| (one.terminal.as_str(), one.verdict))
        .collect();
    assert_eq!(
        verdicts,
        [("owner-02", None), ("owner-01", Some(Verdict::Failed))]
    );
    assert_eq!(
        shown.envelopes[1].reason.as_deref(),
        Some("1 messages waited for the terminal already, which is as many as may")
    );
    assert_eq!(store.waiting(owner().id).await.unwrap(), 1);
}

#[tokio::test]
async fn a_topic_that_nobody_has_registered_for_is_accepted_and_over_at_once() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let accepted = store
        .accept(published(&[]), Timestamp::now())
        .await
        .unwrap();
    assert_eq!(accepted.envelopes, 0);
    let long_after = Timestamp::now() + jiff::SignedDuration::from_hours(24 * 400);
    assert_eq!(
        store
            .clean(long_after, Retention::default())
            .await
            .unwrap()
            .messages,
        1
    );
}

#[tokio::test]
async fn a_terminal_named_and_registered_gets_one_envelope_and_is_called() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let new = NewMessage {
        terminals: vec![owner().id],
        ..published(&[(owner().id, Calls::Never)])
    };
    assert_eq!(
        store.accept(new, Timestamp::now()).await.unwrap().envelopes,
        1
    );
    assert_eq!(store.urgencies(Timestamp::now()).await.unwrap().len(), 1);
}
