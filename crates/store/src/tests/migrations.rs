//! What an earlier version has accepted is there for this one.

use super::*;

#[tokio::test]
async fn what_waited_under_version_1_waits_and_what_was_delivered_stays_delivered() {
    let folder = TempDir::new().unwrap();
    let (waiting, done) = (
        message(b"waits", &[owner().id]),
        message(b"done", &[owner().id]),
    );
    {
        let db = Database::open(folder.path().join("ringup.db")).unwrap();
        db.execute_batch(include_str!("../schema/the-call.sql"))
            .unwrap();
        db.pragma_update(None, "user_version", 1).unwrap();
        let sql = "INSERT INTO terminals (id, name, number, address) VALUES (?1, ?2, ?3, ?4)";
        db.execute(
            sql,
            params![
                owner().id.to_string(),
                owner().name.to_string(),
                "301",
                "10.77.0.2"
            ],
        )
        .unwrap();
        db.execute(
            "INSERT INTO providers VALUES ('vending-1', NULL, ?1)",
            [TokenHash::of("rup_x").octets()],
        )
        .unwrap();
        for (new, verdict) in [(&waiting, None), (&done, Some("delivered"))] {
            let (id, digest) = (new.head.id.to_string(), new.head.digest.to_string());
            let sql =
                "INSERT INTO messages VALUES (?1, 'vending-1', 'text/plain', ?2, ?3, ?4, 1000)";
            db.execute(
                sql,
                params![
                    id,
                    digest,
                    i64::try_from(new.head.size).unwrap(),
                    &octets_of(new)[..]
                ],
            )
            .unwrap();
            let call = verdict.map(|_| CallId::now().to_string());
            let sql = "INSERT INTO envelopes VALUES (?1, ?2, ?3, ?4, ?5)";
            let at = verdict.map(|_| 2000);
            db.execute(sql, params![id, owner().id.to_string(), verdict, call, at])
                .unwrap();
        }
    }
    let store = open(&folder);
    assert_eq!(due(&store).await, [waiting.head.id]);
    assert_eq!(store.terminals_due().await.unwrap(), [owner()]);
    assert_eq!(
        store.content(waiting.head.id).await.unwrap().1,
        octets_of(&waiting)
    );
    let entry = store.message(done.head.id).await.unwrap().unwrap();
    assert_eq!(entry.envelopes[0].verdict, Some(Verdict::Delivered));
    assert!(entry.envelopes[0].call.is_some());
    assert_eq!(store.check().await.unwrap().faults, Vec::<String>::new());
    let provider = store
        .provider_with_token(TokenHash::of("rup_x"), Timestamp::now())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(provider.may_send, vec![], "nobody has limited it");
    let retention = Retention {
        contents: Duration::ZERO,
        rows: Duration::ZERO,
        ..Retention::default()
    };
    assert_eq!(
        store
            .clean(Timestamp::now(), retention)
            .await
            .unwrap()
            .messages,
        1
    );
}

#[tokio::test]
async fn a_message_that_was_taken_under_an_unreadable_topic_is_delivered_without_one() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let new = message(b"level", &[owner().id]);
    store.accept(new.clone(), Timestamp::now()).await.unwrap();
    drop(store);
    {
        let db = Database::open(folder.path().join("ringup.db")).unwrap();
        db.execute(
            "UPDATE messages SET topic = 'level/' || char(0x202e) || 'hgih'",
            [],
        )
        .unwrap();
        db.execute_batch(include_str!("../schema/topics.sql"))
            .unwrap();
    }
    let store = open(&folder);
    assert_eq!(
        store
            .message(new.head.id)
            .await
            .unwrap()
            .unwrap()
            .handling
            .topic,
        None
    );
    assert!(begins(&store, &new, CallId::now()).await);
}
