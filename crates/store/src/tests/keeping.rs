//! What becomes of contents and rows: cleaned, damaged, copied, on a full disk.

use jiff::SignedDuration;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);
const RETENTION: Retention = Retention {
    contents: DAY,
    rows: Duration::from_secs(10 * 24 * 3600),
    doubts: DAY,
    calls: DAY,
};

fn large(octet: u8) -> NewMessage {
    message(&[octet; INLINE_OCTETS_MAX + 1], &[owner().id])
}

fn file_of(folder: &TempDir, new: &NewMessage) -> PathBuf {
    folder
        .path()
        .join("contents")
        .join(new.head.digest.to_string())
}

fn days(count: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(24 * count + 1)
}

#[tokio::test]
async fn a_content_goes_a_day_after_its_last_verdict_and_the_rows_later() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let (small, first, second, waiting) =
        (message(b"x", &[owner().id]), large(1), large(1), large(2));
    for new in [&small, &first, &second, &waiting] {
        store.accept(new.clone(), Timestamp::now()).await.unwrap();
    }
    for new in [&small, &first] {
        store
            .delivered(new.head.id, owner().id, CallId::now(), Timestamp::now())
            .await
            .unwrap();
    }
    let cleaned = store.clean(Timestamp::now(), RETENTION).await.unwrap();
    assert_eq!(cleaned, Cleaned::default(), "not yet");
    let cleaned = store.clean(days(1), RETENTION).await.unwrap();
    assert_eq!(
        cleaned,
        Cleaned {
            contents: 2,
            files: 0,
            messages: 0
        },
        "the second message has the same content"
    );
    assert_eq!(
        store.content(second.head.id).await.unwrap().1,
        octets_of(&second)
    );
    assert!(store.content(small.head.id).await.is_err());
    store
        .cancel(second.head.id, None, "cancelled", Timestamp::now())
        .await
        .unwrap();
    assert_eq!(
        store.clean(days(1), RETENTION).await.unwrap(),
        Cleaned {
            contents: 1,
            files: 1,
            messages: 0
        }
    );
    assert!(!file_of(&folder, &second).exists());
    assert_eq!(
        store
            .message(small.head.id)
            .await
            .unwrap()
            .unwrap()
            .envelopes[0]
            .verdict,
        Some(Verdict::Delivered)
    );
    assert_eq!(store.clean(days(10), RETENTION).await.unwrap().messages, 3);
    assert!(store.message(small.head.id).await.unwrap().is_none());
    assert_eq!(
        store.content(waiting.head.id).await.unwrap().1,
        octets_of(&waiting),
        "whatever waits stays for ever"
    );
    assert_eq!(store.check().await.unwrap().faults, Vec::<String>::new());
}

#[tokio::test]
async fn a_content_file_that_nobody_names_goes_and_one_that_is_being_accepted_stays() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let new = large(1);
    store
        .contents
        .put(new.head.digest, &octets_of(&new))
        .unwrap();
    let pin = store.contents.pin(new.head.digest);
    assert_eq!(store.sweep().await.unwrap(), 0);
    drop(pin);
    assert_eq!(store.check().await.unwrap().files_unnamed, 1);
    assert_eq!(store.sweep().await.unwrap(), 1);
    assert!(!file_of(&folder, &new).exists());
}

#[tokio::test]
async fn cleaning_and_accepting_the_same_content_at_once_never_loses_it() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    for _ in 0..30 {
        let (old, new) = (large(1), large(1));
        store.accept(old.clone(), Timestamp::now()).await.unwrap();
        store
            .delivered(old.head.id, owner().id, CallId::now(), Timestamp::now())
            .await
            .unwrap();
        let (cleaned, accepted) = tokio::join!(
            store.clean(days(1), RETENTION),
            store.accept(new.clone(), Timestamp::now())
        );
        cleaned.unwrap();
        accepted.unwrap();
        assert_eq!(store.content(new.head.id).await.unwrap().1, octets_of(&new));
        store
            .delivered(new.head.id, owner().id, CallId::now(), Timestamp::now())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_damaged_content_is_set_aside_and_its_envelopes_have_failed() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let (damaged, sound) = (large(1), large(2));
    for new in [&damaged, &sound] {
        store.accept(new.clone(), Timestamp::now()).await.unwrap();
    }
    let mut octets = fs::read(file_of(&folder, &damaged)).unwrap();
    octets[1000] ^= 1;
    fs::write(file_of(&folder, &damaged), &octets).unwrap();
    let faults = store.check().await.unwrap().faults;
    assert_eq!(
        faults,
        [format!(
            "message {}: its content is damaged",
            damaged.head.id
        )]
    );
    assert!(matches!(
        store.content(damaged.head.id).await,
        Err(StoreError::Damaged { .. })
    ));
    store
        .quarantine(damaged.head.id, "the content is damaged", Timestamp::now())
        .await
        .unwrap();
    let aside = folder
        .path()
        .join("contents/damaged")
        .join(damaged.head.digest.to_string());
    assert_eq!(
        fs::read(aside).unwrap(),
        octets,
        "a person may want to look"
    );
    let entry = store.message(damaged.head.id).await.unwrap().unwrap();
    assert_eq!(entry.envelopes[0].verdict, Some(Verdict::Failed));
    assert_eq!(
        entry.envelopes[0].reason.as_deref(),
        Some("the content is damaged")
    );
    assert_eq!(due(&store).await, [sound.head.id]);
    assert_eq!(
        (
            store.counts().damaged,
            store.check().await.unwrap().quarantined
        ),
        (1, 1)
    );
}

#[tokio::test]
async fn the_same_content_submitted_again_mends_a_damaged_file() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let (first, second) = (large(1), large(1));
    store.accept(first.clone(), Timestamp::now()).await.unwrap();
    let mut octets = fs::read(file_of(&folder, &first)).unwrap();
    octets[1000] ^= 1;
    fs::write(file_of(&folder, &first), octets).unwrap();
    store
        .accept(second.clone(), Timestamp::now())
        .await
        .unwrap();
    for new in [first, second] {
        assert_eq!(store.content(new.head.id).await.unwrap().1, octets_of(&new));
    }
}

#[tokio::test]
async fn a_damaged_row_fails_alone_and_hides_no_other() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let (damaged, sound) = (message(b"x", &[owner().id]), message(b"y", &[owner().id]));
    for new in [&damaged, &sound] {
        store.accept(new.clone(), Timestamp::now()).await.unwrap();
    }
    let id = damaged.head.id.to_string();
    store
        .writer
        .run(move |db| Ok(db.execute("UPDATE messages SET id = '?' WHERE id = ?1", [id])?))
        .await
        .unwrap();
    assert_eq!(due(&store).await, [sound.head.id]);
    assert_eq!(store.messages(Last(10)).await.unwrap().len(), 1);
    assert_eq!(store.counts().damaged, 1);
    assert_eq!(due(&store).await, [sound.head.id]);
    assert_eq!(store.counts().damaged, 1, "it has its verdict");
}

#[tokio::test]
async fn a_backup_is_a_store_with_everything_that_was_accepted_before_it() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let (small, in_file) = (message(b"x", &[owner().id]), large(1));
    store.accept(small.clone(), Timestamp::now()).await.unwrap();
    store
        .accept(in_file.clone(), Timestamp::now())
        .await
        .unwrap();
    let copy = folder.path().join("copy");
    // Others write meanwhile; what they write may be in it or not, but whole.
    let writing = async {
        for octet in 2..20 {
            store.accept(large(octet), Timestamp::now()).await.unwrap();
        }
    };
    let mut backup = store.backup(copy.clone());
    let (made, ()) = tokio::join!(backup.done(), writing);
    let progress = made.unwrap();
    assert!(progress.pages > 0 && progress.pages == progress.pages_done);
    assert!(progress.files >= 1 && progress.files == progress.files_done);
    let again = store.backup(copy.clone()).done().await;
    assert!(matches!(again, Err(BackupError::Exists(path)) if path == copy));

    let copied = Store::open(&copy, Timestamp::now()).unwrap();
    assert_eq!(copied.terminals().await.unwrap(), [owner()]);
    for new in [small, in_file] {
        assert_eq!(
            copied.content(new.head.id).await.unwrap().1,
            octets_of(&new)
        );
    }
    let findings = copied.check().await.unwrap();
    assert_eq!((findings.faults, findings.files_unnamed), (vec![], 0));
}

#[tokio::test]
async fn a_backup_of_a_damaged_content_says_so_and_cannot_be_taken_for_one() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let new = large(1);
    store.accept(new.clone(), Timestamp::now()).await.unwrap();
    fs::write(file_of(&folder, &new), b"something else").unwrap();
    let copy = folder.path().join("copy");
    let made = store.backup(copy.clone()).done().await;
    assert!(matches!(made, Err(BackupError::Damaged(digest)) if digest == new.head.digest));
    assert!(!copy.join("ringup.db").exists());
}

#[tokio::test]
async fn a_full_disk_is_told_as_such_and_the_store_is_well_again_without_a_restart() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    assert!(matches!(
        store.health(Timestamp::now()).await,
        Health::Ready
    ));
    store.limit_pages(Some(2)).await;
    let new = message(&[7; INLINE_OCTETS_MAX], &[owner().id]);
    let refused = store
        .accept(new.clone(), Timestamp::now())
        .await
        .unwrap_err();
    assert!(matches!(refused, StoreError::Full { .. }), "{refused:?}");
    assert_eq!(store.counts().disk_full, 1);
    assert!(due(&store).await.is_empty());
    store.limit_pages(None).await;
    assert!(matches!(
        store.health(Timestamp::now()).await,
        Health::Ready
    ));
    store.accept(new.clone(), Timestamp::now()).await.unwrap();
    assert_eq!(due(&store).await, [new.head.id]);
    assert_eq!(store.check().await.unwrap().faults, Vec::<String>::new());
}

#[tokio::test]
async fn the_record_of_a_call_that_a_full_disk_refuses_is_written_later_and_ends_what_was_under_way()
 {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let new = message(b"x", &[owner().id]);
    store.accept(new.clone(), Timestamp::now()).await.unwrap();
    let record = call_placed();
    store
        .record_call(record.clone(), Timestamp::now())
        .await
        .unwrap();
    assert!(begins(&store, &new, record.id).await);
    store.limit_pages(Some(0)).await;
    // Too long for the page that it is on.
    let outcome = Some("x".repeat(100_000));
    let over = CallRecord {
        ended_at: Some(Timestamp::now()),
        outcome,
        ..record.clone()
    };
    assert!(matches!(
        store.record_call(over, Timestamp::now()).await,
        Err(StoreError::Full { .. })
    ));
    let other = store
        .begin(new.head.id, owner().id, CallId::now(), Timestamp::now())
        .await
        .unwrap();
    assert!(
        matches!(other, Claim::Held),
        "no other call has it before the end of this one is written: {other:?}"
    );
    assert!(
        store.record_again(Timestamp::now()).await.is_err(),
        "it is kept on"
    );
    store.limit_pages(None).await;
    store.record_again(Timestamp::now()).await.unwrap();
    let written = store.calls(Last(1)).await.unwrap().remove(0);
    assert!(written.id == record.id && written.ended_at.is_some());
    let found = store
        .message(new.head.id)
        .await
        .unwrap()
        .unwrap()
        .envelopes
        .remove(0);
    assert_eq!(
        (found.under_way, found.in_doubt_since.is_some()),
        (None, true)
    );
    assert!(begins(&store, &new, CallId::now()).await);
    store.record_again(Timestamp::now()).await.unwrap();
    assert_eq!(store.calls(Last(10)).await.unwrap().len(), 1, "once");
}

#[tokio::test]
async fn old_calls_go_but_for_evidence_the_last_with_each_terminal_and_what_this_month_has_cost() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let new = message(b"x", &[owner().id]);
    store.accept(new.clone(), Timestamp::now()).await.unwrap();
    let now: jiff::Zoned = "2026-11-20T12:00:00[UTC]".parse().unwrap();
    let days_ago = |days: i64| now.timestamp() - SignedDuration::from_hours(24 * days);
    let mut records = Vec::new();
    // Placed so many days ago, came up, is over.
    for (placed, is_up, is_over) in [
        (90, true, true),
        (80, true, true),
        (70, false, true),
        (60, false, false),
        (50, true, true),
        (40, false, true),
        (3, false, true),
    ] {
        let mut record = call_placed();
        record.placed_at = days_ago(placed);
        record.connected_at = is_up.then_some(record.placed_at);
        record.ended_at = is_over.then_some(record.placed_at);
        store
            .record_call(record.clone(), Timestamp::now())
            .await
            .unwrap();
        records.push(record.id);
    }
    store
        .delivered(new.head.id, owner().id, records[1], Timestamp::now())
        .await
        .unwrap();
    for (number, day) in [(1, "2026-10-01"), (2, "2026-11-01")] {
        let accounts = ["owner".parse().unwrap(), "line".parse().unwrap()].map(Account::Terminal);
        let reservation = model::account::Reservation {
            call: CallId::from_octets([number; 16]),
            day: day.parse().unwrap(),
            amount: model::money::Micros(5),
            longest: Duration::ZERO,
            limits: Vec::new(),
            accounts: vec![accounts[0].clone(), Account::Line("line".parse().unwrap())],
        };
        let owner = store.owner.clone();
        let reserve = move |db: &rusqlite::Connection| ledger::reserve(db, &owner, reservation);
        store.writer.run(reserve).await.unwrap();
    }
    assert_eq!(store.clean_calls(&now, 5 * DAY).await.unwrap(), 3);
    let left: Vec<_> = store
        .calls(Last(10))
        .await
        .unwrap()
        .into_iter()
        .map(|call| call.id)
        .collect();
    assert_eq!(left, [6, 4, 3, 1].map(|index: usize| records[index]));
    let spent = async |day: &str| store.spent_on(day.parse().unwrap()).await.unwrap().len();
    assert_eq!(
        (spent("2026-10-01").await, spent("2026-11-01").await),
        (0, 1)
    );
    store
        .remove_terminal(owner().name, Timestamp::now())
        .await
        .unwrap();
    assert_eq!(
        store.clean_calls(&now, 5 * DAY).await.unwrap(),
        1,
        "nobody asks when it was reached last"
    );
}

fn files_in(folder: &TempDir) -> usize {
    fs::read_dir(folder.path().join("contents"))
        .unwrap()
        .count()
}

/// A content that comes in pieces.
async fn taken_in(store: &Store, octets: usize, piece: usize) -> NewContent {
    let content: Vec<u8> = (0..=250).cycle().take(octets).collect();
    let mut draft = store.draft();
    for piece in content.chunks(piece) {
        draft = draft.write(piece).await.unwrap();
    }
    assert_eq!(draft.size(), octets as u64);
    let taken = draft.finish().await.unwrap();
    assert_eq!(
        (taken.size(), taken.digest()),
        (octets as u64, Digest::of(&content))
    );
    taken
}

#[tokio::test]
async fn a_content_that_comes_in_pieces_is_in_memory_up_to_64_kib_and_a_file_above() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    for octets in [
        0,
        1,
        INLINE_OCTETS_MAX,
        INLINE_OCTETS_MAX + 1,
        3 * INLINE_OCTETS_MAX,
        1_000_000,
    ] {
        for piece in [1 + octets / 7, octets.max(1)] {
            let content = taken_in(&store, octets, piece).await;
            assert_eq!(
                content.held().is_some(),
                octets <= INLINE_OCTETS_MAX,
                "{octets}"
            );
            let mut new = message(b"", &[owner().id]);
            (new.head.digest, new.head.size, new.content) =
                (content.digest(), content.size(), content);
            store.accept(new.clone(), Timestamp::now()).await.unwrap();
            let (head, stored) = store.content(new.head.id).await.unwrap();
            assert_eq!((Digest::of(&stored), head), (new.head.digest, new.head));
        }
    }
    assert_eq!(
        files_in(&folder),
        3,
        "one for each large content, whatever was accepted twice"
    );
}

#[tokio::test]
async fn a_content_that_is_given_up_leaves_nothing_and_one_that_a_crash_left_is_removed_at_the_start()
 {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let half = store
        .draft()
        .write(&[7; 2 * INLINE_OCTETS_MAX])
        .await
        .unwrap();
    let whole = taken_in(&store, 1_000_000, 9999).await;
    assert_eq!(files_in(&folder), 2);
    drop((half, whole));
    assert_eq!(files_in(&folder), 0);
    let coming = store
        .draft()
        .write(&[7; 2 * INLINE_OCTETS_MAX])
        .await
        .unwrap();
    assert_eq!(files_in(&folder), 1);
    assert_eq!(
        store.clean(days(1), RETENTION).await.unwrap().files,
        0,
        "it may be coming in just now"
    );
    drop((coming, store));
    fs::write(folder.path().join("contents/left.part"), "by a crash").unwrap();
    open(&folder);
    assert_eq!(files_in(&folder), 0);
}

#[tokio::test]
async fn what_a_content_is_packed_into_has_no_name() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let content = taken_in(&store, 1_000_000, 9999).await;
    let mut new = message(b"", &[owner().id]);
    (new.head.digest, new.head.size, new.content) = (content.digest(), content.size(), content);
    store.accept(new.clone(), Timestamp::now()).await.unwrap();
    let (head, octets) = store.octets(new.head.id).await.unwrap();
    assert!(octets.held().is_none());
    let parcel = delivery::Parcel::new(head, delivery::Manner::default(), octets)
        .pack(|| store.scratch())
        .unwrap();
    assert!(parcel.is_packed() && parcel.octets().held().is_none());
    assert_eq!(files_in(&folder), 1);
}
