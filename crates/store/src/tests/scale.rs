//! Much of everything: nobody waits for all of it.

use std::sync::mpsc;

use super::*;

fn terminals(count: u32) -> Vec<Terminal> {
    let numbered = |number: u32| {
        let name = format!("t{number:07}");
        Terminal {
            number: None,
            address: None,
            ..terminal(&name, "1", "10.0.0.1")
        }
    };
    (0..count).map(numbered).collect()
}

/// So many more than are written at once.
fn many(more: u32) -> Vec<Terminal> {
    terminals(u32::try_from(fan_out::WHOLE_MAX).unwrap() + more)
}

async fn open_with(folder: &TempDir, terminals: &[Terminal]) -> Store {
    let store = open(folder);
    for terminal in terminals {
        store.add_terminal(terminal.clone()).await.unwrap();
    }
    store
}

fn ids(terminals: &[Terminal]) -> Vec<TerminalId> {
    terminals.iter().map(|terminal| terminal.id).collect()
}

#[tokio::test]
async fn a_short_question_does_not_wait_for_looks_at_everything() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let mut looks = tokio::task::JoinSet::new();
    let mut ends = Vec::new();
    let (began, has_begun) = mpsc::channel();
    for _ in 0..4 {
        let (store, (end, is_over), began) = (store.clone(), mpsc::channel::<()>(), began.clone());
        ends.push(end);
        looks.spawn(async move {
            let look = store.reader.survey(move |_| {
                let _ = began.send(());
                Ok(is_over
                    .recv_timeout(Duration::from_secs(20))
                    .is_err_and(|error| error == mpsc::RecvTimeoutError::Timeout))
            });
            look.await.unwrap()
        });
    }
    tokio::task::spawn_blocking(move || has_begun.recv().unwrap())
        .await
        .unwrap();
    assert_eq!(
        store
            .find_terminal("terminal:owner-01".parse().unwrap())
            .await
            .unwrap(),
        Some(owner())
    );
    assert_eq!(
        store.urgency(owner().id, Timestamp::now()).await.unwrap(),
        None
    );
    drop(ends);
    while let Some(waited) = looks.join_next().await {
        assert!(!waited.unwrap(), "the short question waited for a long one");
    }
}

#[tokio::test]
async fn of_bulk_the_first_expiry_is_told_whatever_expires_first_of_others() {
    let folder = TempDir::new().unwrap();
    let all = terminals(3);
    let store = open_with(&folder, &all).await;
    let later = |hours: i64| {
        let at = Timestamp::now() + jiff::SignedDuration::from_hours(hours);
        Timestamp::from_millisecond(at.as_millisecond()).unwrap()
    };
    let ends = [later(1), later(2), later(3), later(4)];
    let new = |urgency, expires_at, terminal: usize| {
        let mut new = message(b"x", &[all[terminal].id]);
        new.handling = Handling {
            urgency,
            expires_at,
            ..Handling::default()
        };
        new
    };
    use delivery::Urgency::{Bulk, Normal};
    let bulk = new(Bulk, Some(ends[1]), 0);
    let sent = [
        new(Bulk, None, 0),
        bulk.clone(),
        new(Bulk, Some(ends[2]), 0),
        new(Bulk, Some(ends[1]), 1),
        new(Normal, Some(ends[0]), 1),
        new(Bulk, None, 2),
    ];
    for new in sent {
        store.accept(new, Timestamp::now()).await.unwrap();
    }
    let found = |store: Store| async move {
        let all = store.urgencies(Timestamp::now()).await.unwrap();
        for found in &all {
            assert_eq!(
                store
                    .urgency(found.terminal, Timestamp::now())
                    .await
                    .unwrap(),
                Some(*found),
                "one by one as all together"
            );
        }
        all.into_iter()
            .map(|found| (found.urgency, found.expires_at))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        found(store.clone()).await,
        [(Bulk, Some(ends[1])), (Normal, None), (Bulk, None)]
    );
    store
        .delivered(bulk.head.id, all[0].id, CallId::now(), Timestamp::now())
        .await
        .unwrap();
    assert_eq!(found(store).await[0], (Bulk, Some(ends[2])));
}

#[tokio::test]
async fn a_message_of_many_envelopes_expires_and_is_cleaned_away_in_many_small_steps() {
    let folder = TempDir::new().unwrap();
    let all = terminals(1000);
    let store = open_with(&folder, &all).await;
    let mut new = message(b"x", &ids(&all));
    let expires_at = Timestamp::now() + jiff::SignedDuration::from_hours(1);
    new.handling.expires_at = Some(expires_at);
    store.accept(new.clone(), Timestamp::now()).await.unwrap();
    // Those that are being delivered stay, wherever they stand.
    let call = CallId::now();
    for under_way in [0, 63, 64, 500, 999] {
        let terminal = all[under_way].id;
        store
            .register(terminal, PublicKey::from_octets([1; 32]), Timestamp::now())
            .await
            .unwrap();
        assert!(matches!(
            store
                .begin(new.head.id, terminal, call, Timestamp::now())
                .await
                .unwrap(),
            Claim::Begun(_)
        ));
    }
    assert_eq!(store.expire(expires_at).await.unwrap(), 995);
    assert_eq!(store.expire(expires_at).await.unwrap(), 0);
    for under_way in [0, 63, 64, 500, 999] {
        store
            .delivered(new.head.id, all[under_way].id, call, Timestamp::now())
            .await
            .unwrap();
    }
    let retention = Retention {
        contents: Duration::ZERO,
        rows: Duration::ZERO,
        ..Retention::default()
    };
    let cleaned = store.clean(expires_at, retention).await.unwrap();
    assert_eq!((cleaned.contents, cleaned.messages), (1, 1));
    let findings = store.check().await.unwrap();
    assert_eq!(
        (findings.envelopes, findings.messages, findings.faults),
        (0, 0, vec![])
    );
    assert_eq!(
        store.clean(expires_at, retention).await.unwrap(),
        Cleaned::default(),
        "it is over"
    );
}

/// Runs a fan-out up to the end of its first step of envelopes.
fn steps(
    store: &Store,
    new: NewMessage,
    count: usize,
) -> impl Future<Output = Result<(), StoreError>> {
    let content = octets_of(&new);
    let (quotas, all, now) = (
        store.quotas,
        store.arriving.clone(),
        Timestamp::now().as_millisecond(),
    );
    let mut fan_out = fan_out::FanOut::new(new, Some(content), None, quotas, all, now);
    let writer = store.writer.clone();
    async move {
        for _ in 0..count {
            fan_out = writer
                .run(move |db| {
                    assert!(matches!(fan_out.step(db)?, worker::Step::More));
                    Ok(fan_out)
                })
                .await?;
        }
        Ok(())
    }
}

#[tokio::test]
async fn of_a_message_for_many_nothing_is_seen_before_it_is_accepted_and_a_crash_leaves_nothing_of_it()
 {
    let folder = TempDir::new().unwrap();
    let all = many(1);
    let store = open_with(&folder, &all).await;
    let mut new = message(b"x", &ids(&all));
    new.handling.idempotency_key = Some("1".to_owned());
    new.handling.expires_at = Some(Timestamp::now() + jiff::SignedDuration::from_hours(1));
    // Its row, and no envelope more: whatever a step has written, it is not seen.
    steps(&store, new.clone(), 1).await.unwrap();
    store.writer.run(|db| {
        let sql = "INSERT INTO envelopes (message, terminal, urgency, size) SELECT m.seq, t.id, 1, 1 FROM messages m, terminals t LIMIT 500";
        db.execute(sql, [])?;
        Ok(db.execute("INSERT INTO queues SELECT terminal, 1, 1 FROM envelopes", [])?)
    }).await.unwrap();
    assert_eq!(store.urgencies(Timestamp::now()).await.unwrap(), []);
    for terminal in &all {
        assert_eq!(
            store.urgency(terminal.id, Timestamp::now()).await.unwrap(),
            None
        );
        assert_eq!(store.due(terminal.id, Timestamp::now()).await.unwrap(), []);
    }
    assert_eq!(store.expire(Timestamp::MAX).await.unwrap(), 0);
    assert_eq!(store.check().await.unwrap().faults, Vec::<String>::new());
    drop(store);
    let store = open(&folder);
    let findings = store.check().await.unwrap();
    assert_eq!(
        (findings.messages, findings.envelopes, findings.faults),
        (0, 0, vec![])
    );
    assert_eq!(store.waiting(all[0].id).await.unwrap(), 0);
    // Sent again, as its provider does that had no answer.
    let accepted = store.accept(new.clone(), Timestamp::now()).await.unwrap();
    assert_eq!(
        (accepted.is_repeated, accepted.envelopes),
        (false, all.len() as u64)
    );
    assert_eq!(
        store.due(all[0].id, Timestamp::now()).await.unwrap().len(),
        1
    );
    assert!(
        store
            .accept(new, Timestamp::now())
            .await
            .unwrap()
            .is_repeated
    );
    // What a disk that failed has left goes with the next cleaning; what arrives just now stays.
    steps(&store, message(b"y", &ids(&all)), 1).await.unwrap();
    assert_eq!(store.check().await.unwrap().messages, 2);
    store
        .clean(Timestamp::now(), Retention::default())
        .await
        .unwrap();
    let findings = store.check().await.unwrap();
    assert_eq!((findings.messages, findings.faults), (1, vec![]));
}

#[tokio::test]
async fn a_message_for_many_that_comes_twice_at_once_is_one_message() {
    let folder = TempDir::new().unwrap();
    let all = many(200);
    let store = open_with(&folder, &all).await;
    let twice = || {
        let mut new = message(b"x", &ids(&all));
        new.handling.idempotency_key = Some("1".to_owned());
        store.accept(new, Timestamp::now())
    };
    let (one, other) = tokio::join!(twice(), twice());
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(
        (one.id, one.is_repeated != other.is_repeated),
        (other.id, true)
    );
    let findings = store.check().await.unwrap();
    assert_eq!(
        (findings.messages, findings.envelopes, findings.faults),
        (1, all.len() as u64, vec![])
    );
    assert_eq!(store.waiting(all[0].id).await.unwrap(), 1);
}

#[tokio::test]
async fn a_message_for_many_keeps_no_other_waiting_until_all_of_it_is_written() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    // A long job that has as many steps as it takes until another was answered.
    let (told, answered) = mpsc::channel::<()>();
    let mut steps = 0;
    let long = store.writer.run_steps(move |_| {
        steps += 1;
        let is_over = answered.try_recv().is_ok() || steps == 1_000_000;
        Ok(if is_over {
            worker::Step::Done(steps)
        } else {
            worker::Step::More
        })
    });
    let other = async {
        store
            .accept(message(b"x", &[owner().id]), Timestamp::now())
            .await
            .unwrap();
        told.send(()).unwrap();
    };
    let (steps, ()) = tokio::join!(long, other);
    assert!(steps.unwrap() < 1_000_000);
}

#[tokio::test]
async fn of_many_subscribers_those_over_quota_fail_and_the_others_get_it() {
    let folder = TempDir::new().unwrap();
    let all = many(100);
    let quotas = Quotas {
        terminal: Quota {
            messages: 1,
            ..Quota::default()
        },
        ..Quotas::default()
    };
    let store = open_with(&folder, &all).await.with_quotas(quotas);
    let (full, free) = all.split_at(700);
    store
        .accept(message(b"x", &ids(full)), Timestamp::now())
        .await
        .unwrap();
    let mut new = message(b"y", &[]);
    let subscribers = all.iter().map(|one| model::subscription::Subscriber {
        terminal: one.id,
        calls: model::subscription::Calls::Now,
    });
    new.subscribers = Some(subscribers.collect());
    let accepted = store.accept(new.clone(), Timestamp::now()).await.unwrap();
    assert_eq!(accepted.envelopes, all.len() as u64);
    assert_eq!(
        store.due(full[0].id, Timestamp::now()).await.unwrap().len(),
        1
    );
    assert_eq!(
        store.due(free[0].id, Timestamp::now()).await.unwrap()[0].id,
        new.head.id
    );
    let findings = store.check().await.unwrap();
    assert_eq!(
        (findings.waiting, findings.faults),
        (all.len() as u64, vec![])
    );
}

#[tokio::test]
async fn a_message_for_many_is_cancelled_and_fails_and_a_terminal_with_many_is_removed_while_others_write()
 {
    let folder = TempDir::new().unwrap();
    let all = many(500);
    let store = open_with(&folder, &all).await;
    let news = [b"a", b"b"].map(|content| message(content, &ids(&all)));
    for new in &news {
        store.accept(new.clone(), Timestamp::now()).await.unwrap();
    }
    store
        .register(all[7].id, PublicKey::from_octets([1; 32]), Timestamp::now())
        .await
        .unwrap();
    let held = store
        .begin(news[0].head.id, all[7].id, CallId::now(), Timestamp::now())
        .await
        .unwrap();
    assert!(matches!(held, Claim::Begun(_)), "{held:?}");
    store
        .delivered(news[0].head.id, all[8].id, CallId::now(), Timestamp::now())
        .await
        .unwrap();
    let cancelled = store
        .cancel(news[0].head.id, None, "cancelled", Timestamp::now())
        .await
        .unwrap()
        .unwrap();
    let count = all.len() as u64;
    assert_eq!(
        cancelled,
        Cancelled {
            cancelled: count - 2,
            under_way: 1,
            settled: 1
        }
    );
    let again = store
        .cancel(news[0].head.id, None, "cancelled", Timestamp::now())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        again,
        Cancelled {
            cancelled: 0,
            under_way: 1,
            settled: count - 1
        }
    );
    store
        .quarantine(news[1].head.id, "the content is damaged", Timestamp::now())
        .await
        .unwrap();
    let found = store.message(news[1].head.id).await.unwrap().unwrap();
    assert!(
        found
            .envelopes
            .iter()
            .all(|envelope| envelope.verdict == Some(Verdict::Failed))
    );
    assert_eq!(store.check().await.unwrap().faults, Vec::<String>::new());

    for number in 0..500_u16 {
        store
            .accept(
                message(&number.to_be_bytes(), &[all[9].id]),
                Timestamp::now(),
            )
            .await
            .unwrap();
    }
    assert!(
        store
            .remove_terminal(all[9].name.clone(), Timestamp::now())
            .await
            .unwrap()
    );
    assert_eq!(store.waiting(all[9].id).await.unwrap(), 0);
    assert_eq!(store.check().await.unwrap().faults, Vec::<String>::new());
}

#[tokio::test]
async fn a_message_for_many_replaces_what_waits_for_those_that_it_is_for_and_for_nobody_else() {
    let folder = TempDir::new().unwrap();
    let all = terminals(300);
    let store = open_with(&folder, &all).await;
    let new = |content: &[u8], terminals: &[Terminal]| {
        let mut new = message(content, &ids(terminals));
        new.handling.replace_key = Some("level".to_owned());
        new
    };
    let older = new(b"older", &all);
    store.accept(older.clone(), Timestamp::now()).await.unwrap();
    store
        .delivered(older.head.id, all[7].id, CallId::now(), Timestamp::now())
        .await
        .unwrap();
    for (newer, replaced) in [(&all[..200], 199), (&all[100..250], 150), (&all[..], 300)] {
        assert_eq!(
            store
                .accept(new(b"newer", newer), Timestamp::now())
                .await
                .unwrap()
                .replaced,
            replaced
        );
    }
    let found = store.message(older.head.id).await.unwrap().unwrap();
    let delivered = found
        .envelopes
        .iter()
        .filter(|envelope| envelope.verdict == Some(Verdict::Delivered))
        .count();
    let replaced = found
        .envelopes
        .iter()
        .filter(|envelope| envelope.verdict == Some(Verdict::Replaced))
        .count();
    assert_eq!((delivered, replaced), (1, 299));
    assert_eq!(store.waiting(all[299].id).await.unwrap(), 1);
    assert_eq!(store.check().await.unwrap().faults, Vec::<String>::new());
}

#[tokio::test]
async fn what_waits_for_a_terminal_whose_removal_was_cut_short_gets_its_verdict() {
    let folder = TempDir::new().unwrap();
    let all = terminals(2);
    let store = open_with(&folder, &all).await;
    let new = message(b"x", &ids(&all));
    store.accept(new.clone(), Timestamp::now()).await.unwrap();
    let gone = all[1].id.to_string();
    store
        .writer
        .run(move |db| Ok(db.execute("DELETE FROM terminals WHERE id = ?1", [gone])?))
        .await
        .unwrap();
    store.settle_orphans(Timestamp::now()).await.unwrap();
    let found = store.message(new.head.id).await.unwrap().unwrap();
    let verdicts: Vec<_> = found
        .envelopes
        .iter()
        .map(|envelope| envelope.verdict)
        .collect();
    assert!(
        verdicts.contains(&None) && verdicts.contains(&Some(Verdict::Cancelled)),
        "{verdicts:?}"
    );
    assert_eq!(store.check().await.unwrap().faults, Vec::<String>::new());
}
