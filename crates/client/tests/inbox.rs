//! The inbox at the end of a delivery session, on a real disk.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use delivery::proof::{CourierCredentials, Pin, SecretKey, Secured, TerminalCredentials};
use delivery::{
    ContentType, Courier, DeliveryError, Digest, Manner, MessageHead, MessageId, Parcel, Progress,
    Receipt, TerminalId, Urgency, receive,
};
use jiff::{SignedDuration, Timestamp};
use ringup_client::inbox::{Entry, Inbox, InboxConfig, Rule, Rules, clean};
use tempfile::TempDir;
use tokio::io::{DuplexStream, duplex};
use tokio::task::JoinSet;

/// A session with the inbox in `folder`. The terminal's end runs as a task of the set.
async fn session(folder: &Path) -> (Courier, JoinSet<()>) {
    session_with(folder, Rule::default()).await
}

/// The same with a rule for what comes.
async fn session_with(folder: &Path, rule: Rule) -> (Courier, JoinSet<()>) {
    let (near, terminal) = ends_with(folder, rule);
    (Courier::start(near, None).await.unwrap(), terminal)
}

/// The server's end of a stream to a terminal with the inbox in `folder`.
fn ends(folder: &Path) -> (Secured<DuplexStream>, JoinSet<()>) {
    ends_with(folder, Rule::default())
}

fn ends_with(folder: &Path, rule: Rule) -> (Secured<DuplexStream>, JoinSet<()>) {
    let (server, terminal) = (
        SecretKey::generate().unwrap(),
        SecretKey::generate().unwrap(),
    );
    let (stream, far) = duplex(4096);
    let pin = Pin::Keys(vec![terminal.public()]);
    let near = CourierCredentials::new(&server).unwrap();
    let near = near
        .secure(stream, TerminalId::from_octets([1; 8]), pin, 33_600)
        .unwrap();
    let far = TerminalCredentials::new(&terminal, vec![server.public()], None)
        .unwrap()
        .secure(far, 33_600)
        .unwrap();
    let config = InboxConfig {
        folder: folder.to_owned(),
        rules: Rules(vec![rule]),
        hand_over: Vec::new(),
    };
    let inbox = Arc::new(config.open().unwrap());
    let mut terminal = JoinSet::new();
    terminal.spawn(async move {
        let _ = receive(far, inbox, None, Duration::ZERO).await; // how a test ends the session is its own business
    });
    (near, terminal)
}

/// Contents in memory are packed in memory.
fn no_file() -> std::io::Result<fs::File> {
    Err(std::io::ErrorKind::Unsupported.into())
}

fn message(content: &'static [u8]) -> Parcel {
    with_manner(Manner::default(), content)
}

fn with_manner(manner: Manner, content: &'static [u8]) -> Parcel {
    let head = MessageHead {
        id: MessageId::now(),
        content_type: "text/plain".parse::<ContentType>().unwrap(),
        digest: Digest::of(content),
        size: content.len() as u64,
    };
    Parcel::new(head, manner, Bytes::from_static(content))
}

/// Everything below a folder, as relative paths.
fn all_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.strip_prefix(folder).unwrap().display().to_string());
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_message_is_published_with_what_was_said_of_it_when_its_receipt_comes() {
    let folder = TempDir::new().unwrap();
    let (mut courier, _terminal) = session(folder.path()).await;
    let parcel = message(b"coin box full");
    assert_eq!(
        courier.deliver(&parcel, 0, false).await.unwrap(),
        Receipt::Stored
    );
    let id = parcel.head().id.to_string();
    assert_eq!(
        fs::read(Inbox::content_path(folder.path(), &id)).unwrap(),
        b"coin box full"
    );
    let note = fs::read_to_string(folder.path().join(&id).join("message.toml")).unwrap();
    for line in [
        format!("id = \"{id}\""),
        "content_type = \"text/plain\"".into(),
        "size = 13".into(),
    ] {
        assert!(note.contains(&line), "{note}");
    }
    assert!(note.contains(&parcel.head().digest.to_string()));
}

#[tokio::test]
async fn the_note_beside_a_content_says_topic_urgency_and_expiry_if_the_provider_did() {
    let folder = TempDir::new().unwrap();
    let (mut courier, _terminal) = session(folder.path()).await;
    let said = Manner {
        urgency: Urgency::Urgent,
        topic: Some("news/sm\u{f8}rrebr\u{f8}d".parse().unwrap()),
        expires_at: Some("2030-01-01T00:00:00Z".parse().unwrap()),
    };
    let lines = [
        "topic = \"news/sm\u{f8}rrebr\u{f8}d\"",
        "urgency = \"urgent\"",
        "expires_at = \"2030-01-01T00:00:00Z\"",
    ];
    for (manner, are_there) in [(said, true), (Manner::default(), false)] {
        let parcel = with_manner(manner, b"x");
        courier.deliver(&parcel, 0, false).await.unwrap();
        let path = folder
            .path()
            .join(parcel.head().id.to_string())
            .join("message.toml");
        let note = fs::read_to_string(path).unwrap();
        assert!(
            lines.iter().all(|line| note.contains(line) == are_there),
            "{note}"
        );
    }
}

#[tokio::test]
async fn a_packed_message_is_published_as_it_was_submitted() {
    let folder = TempDir::new().unwrap();
    let readings = (0..5_000)
        .map(|n| format!("{{\"meter\":{},\"kwh\":{}}}\n", n % 7, n * n % 9973))
        .collect::<String>();
    let content: &'static [u8] = Box::leak(readings.into_bytes().into_boxed_slice());
    let parcel = message(content).pack(no_file).unwrap();
    assert!(parcel.is_packed());
    let (mut courier, _terminal) = session(folder.path()).await;
    assert_eq!(
        courier.deliver(&parcel, 0, false).await.unwrap(),
        Receipt::Stored
    );
    assert!(courier.takes_zstd(), "it has said so by now");
    let id = parcel.head().id.to_string();
    assert_eq!(
        fs::read(Inbox::content_path(folder.path(), &id)).unwrap(),
        content
    );
    assert_eq!(
        all_below(&folder.path().join(&id)),
        ["content", "message.toml"]
    );
    let note = fs::read_to_string(folder.path().join(&id).join("message.toml")).unwrap();
    assert!(
        note.contains(&format!("size = {}\n", content.len())),
        "{note}"
    );
    assert!(note.contains(&parcel.head().digest.to_string()), "{note}");
}

#[tokio::test]
async fn a_packed_message_is_gone_on_with_in_the_form_in_which_it_began() {
    let folder = TempDir::new().unwrap();
    // Hexadecimal digits of noise: half of it can be saved, and there is enough of it.
    let digits = (0..5_000_u32)
        .map(|n| Digest::of(&n.to_le_bytes()).to_string())
        .collect::<String>();
    let content: &'static [u8] = Box::leak(digits.into_bytes().into_boxed_slice());
    let parcel = message(content).pack(no_file).unwrap();
    assert!(parcel.is_packed() && parcel.octets().size() > 100_000);
    let part = folder
        .path()
        .join(".incoming")
        .join(parcel.head().id.to_string());
    let (mut courier, mut terminal) = session(folder.path()).await;
    let gone = async {
        while fs::metadata(part.join("content")).map_or(0, |found| found.len()) < 50_000 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        delivered = courier.deliver(&parcel, 0, false) => panic!("not cut: {delivered:?}"),
        () = gone => drop(courier),
    }
    terminal.join_next().await;
    let (mut courier, _terminal) = session(folder.path()).await;
    let progress = courier.progress(parcel.head().id).await.unwrap();
    let Progress::Part { offset, digest } = progress else {
        panic!("nothing kept")
    };
    assert_eq!(
        digest,
        Some(Digest::of(parcel.octets().held().unwrap())),
        "that of what was on the line"
    );
    let plain = Parcel::new(
        parcel.head().clone(),
        Manner::default(),
        Bytes::from_static(content),
    );
    assert!(
        courier.deliver(&plain, offset, false).await.is_err(),
        "as it is, behind a packed beginning"
    );
    assert_eq!(
        courier.deliver(&parcel, offset, false).await.unwrap(),
        Receipt::Stored
    );
    assert_eq!(
        fs::read(Inbox::content_path(
            folder.path(),
            &parcel.head().id.to_string()
        ))
        .unwrap(),
        content
    );
}

#[test]
fn a_part_that_nobody_sends_any_more_does_not_fill_the_disk() {
    let folder = TempDir::new().unwrap();
    let days = |days: u64| SystemTime::now() - Duration::from_secs(days * 24 * 3600);
    let part = |name: &str, written: SystemTime| {
        let part = folder.path().join(".incoming").join(name);
        fs::create_dir_all(&part).unwrap();
        let content = fs::File::create(part.join("content")).unwrap();
        content.set_modified(written).unwrap();
        part
    };
    let [expired, fresh] = [31, 29].map(|age| part(&MessageId::now().to_string(), days(age)));
    let by_a_wrong_clock = part(
        &MessageId::now().to_string(),
        SystemTime::UNIX_EPOCH + Duration::from_secs(60),
    );
    let broken_off = part(&format!("{}.removed", MessageId::now()), days(0));
    let held = part(&MessageId::now().to_string(), days(31));
    let session = fs::File::open(&held).unwrap();
    session.lock().unwrap();
    for _ in 0..2 {
        Inbox::open(folder.path()).unwrap();
        let there =
            [&expired, &broken_off, &fresh, &by_a_wrong_clock, &held].map(|part| part.exists());
        assert_eq!(there, [false, false, true, true, true]);
    }
}

#[tokio::test]
async fn what_cannot_be_unpacked_is_refused_in_words_and_leaves_nothing_behind() {
    let bomb = zstd::bulk::compress(&vec![0; 2 << 20], 3).unwrap();
    let whole = zstd::bulk::compress(&[7; 1000], 3).unwrap();
    let cut = whole[..whole.len() - 1].to_vec();
    for (encoding, content, why) in [
        ("zstd", bomb, "would unpack to 2097152 octets"),
        ("zstd", cut, "no zstd frame"),
        ("zstd", b"plain".to_vec(), "does not declare"),
        ("gzip", b"plain".to_vec(), "only zstd"),
    ] {
        let folder = TempDir::new().unwrap();
        let (near, _terminal) = ends(folder.path());
        let io = hyper_util::rt::TokioIo::new(near);
        let (mut requests, connection) =
            hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io)
                .await
                .unwrap();
        let _connection = JoinSet::from_iter([connection]);
        let request = http::Request::put(format!("http://terminal/m/{}", MessageId::now()))
            .header("content-length", content.len())
            .header("content-encoding", encoding);
        let request = request
            .body(http_body_util::Full::new(Bytes::from(content)))
            .unwrap();
        let answer = requests.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 415);
        let text = http_body_util::BodyExt::collect(answer.into_body())
            .await
            .unwrap()
            .to_bytes();
        let text = String::from_utf8(text.to_vec()).unwrap();
        assert!(text.contains(why), "{text}");
        assert_eq!(all_below(folder.path()), [".incoming"], "{why}");
    }
}

#[tokio::test]
async fn a_repeated_delivery_publishes_nothing_even_after_the_content_was_taken_away() {
    let folder = TempDir::new().unwrap();
    let parcel = message(b"coin box full");
    let path = Inbox::content_path(folder.path(), &parcel.head().id.to_string());
    for expected in [Receipt::Stored, Receipt::StoredBefore] {
        let (mut courier, _terminal) = session(folder.path()).await;
        assert_eq!(courier.deliver(&parcel, 0, false).await.unwrap(), expected);
        let _ = fs::remove_file(&path); // the reader has it
    }
    assert!(!path.exists(), "published twice");
}

#[tokio::test]
async fn what_does_not_match_its_digest_leaves_nothing_behind_and_the_next_message_is_taken() {
    let folder = TempDir::new().unwrap();
    let (mut courier, _terminal) = session(folder.path()).await;
    let mut head = message(&[7; 20_000]).head().clone(); // with less TLS vouches for it
    head.digest = Digest::of(b"coin box empty");
    let parcel = Parcel::new(head, Manner::default(), Bytes::from_static(&[7; 20_000]));
    let refused = courier.deliver(&parcel, 0, false).await;
    assert!(
        matches!(refused, Err(DeliveryError::Refused { .. })),
        "{refused:?}"
    );
    assert_eq!(all_below(folder.path()), [".incoming"]);
    let parcel = message(b"second");
    assert_eq!(
        courier.deliver(&parcel, 0, false).await.unwrap(),
        Receipt::Stored
    );
}

#[tokio::test]
async fn a_delivery_that_is_cut_publishes_nothing_and_starts_over() {
    let folder = TempDir::new().unwrap();
    let long: &'static [u8] = Box::leak(vec![7; 300_000].into_boxed_slice());
    let parcel = message(long);
    {
        let (mut courier, terminal) = session(folder.path()).await;
        let cut = async {
            // The content has begun to arrive when the part exists; then the line goes.
            let part = folder
                .path()
                .join(".incoming")
                .join(parcel.head().id.to_string());
            while !part.exists() {
                tokio::task::yield_now().await;
            }
            drop(terminal);
        };
        let (delivered, ()) = tokio::join!(courier.deliver(&parcel, 0, false), cut);
        assert!(
            matches!(delivered, Err(DeliveryError::Lost(_))),
            "{delivered:?}"
        );
    }
    assert!(!folder.path().join(parcel.head().id.to_string()).exists());
    let (mut courier, _terminal) = session(folder.path()).await;
    assert_eq!(
        courier.deliver(&parcel, 0, false).await.unwrap(),
        Receipt::Stored
    );
    assert_eq!(
        fs::read(Inbox::content_path(
            folder.path(),
            &parcel.head().id.to_string()
        ))
        .unwrap(),
        long
    );
}

#[tokio::test]
async fn what_has_come_of_a_long_message_is_admitted_to_and_gone_on_with() {
    let folder = TempDir::new().unwrap();
    let long: &'static [u8] = Box::leak((0..300_000_u32).map(|n| n.to_le_bytes()[1]).collect());
    let parcel = message(long);
    let part = folder
        .path()
        .join(".incoming")
        .join(parcel.head().id.to_string());
    // The server's end goes in the middle; the terminal brings to the disk what it has.
    let (mut courier, mut terminal) = session(folder.path()).await;
    let gone = async {
        while fs::metadata(part.join("content")).map_or(0, |found| found.len()) < 50_000 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        delivered = courier.deliver(&parcel, 0, false) => panic!("not cut: {delivered:?}"),
        () = gone => drop(courier),
    }
    terminal.join_next().await;
    // Longer than what was synced, as after a power cut.
    let mut torn = fs::OpenOptions::new()
        .append(true)
        .open(part.join("content"))
        .unwrap();
    std::io::Write::write_all(&mut torn, &[0xff; 1000]).unwrap();

    let (mut courier, _terminal) = session(folder.path()).await;
    let progress = courier.progress(parcel.head().id).await.unwrap();
    let Progress::Part { offset, digest } = progress else {
        panic!("nothing kept")
    };
    assert!((50_000..300_000).contains(&offset), "{offset}");
    assert_eq!(digest, Some(parcel.head().digest));
    for wrong in [offset + 1, offset - 1] {
        let refused = courier.deliver(&parcel, wrong, false).await;
        assert!(
            matches!(refused, Err(DeliveryError::Refused { .. })),
            "{refused:?}"
        );
    }
    let head = MessageHead {
        digest: Digest::of(b"another content"),
        ..parcel.head().clone()
    };
    let other = Parcel::new(head, Manner::default(), parcel.octets().clone());
    assert!(
        courier.deliver(&other, offset, false).await.is_err(),
        "the id with another content"
    );
    assert_eq!(
        courier.deliver(&parcel, offset, false).await.unwrap(),
        Receipt::Stored
    );
    assert_eq!(
        fs::read(Inbox::content_path(
            folder.path(),
            &parcel.head().id.to_string()
        ))
        .unwrap(),
        long
    );
    assert_eq!(
        courier.progress(parcel.head().id).await.unwrap(),
        Progress::Whole
    );
}

#[tokio::test]
async fn two_sessions_do_not_write_one_part() {
    let folder = TempDir::new().unwrap();
    let long: &'static [u8] = Box::leak(vec![7; 300_000].into_boxed_slice());
    let parcel = message(long);
    let part = folder
        .path()
        .join(".incoming")
        .join(parcel.head().id.to_string());
    let (mut one, _terminal) = session(folder.path()).await;
    let (mut two, _terminal) = session(folder.path()).await;
    let second = async {
        while !part.join("content").exists() {
            tokio::task::yield_now().await;
        }
        two.deliver(&parcel, 0, false).await
    };
    let (first, second) = tokio::join!(one.deliver(&parcel, 0, false), second);
    assert_eq!(first.unwrap(), Receipt::Stored);
    assert!(second.is_err() || second.is_ok_and(|receipt| receipt == Receipt::StoredBefore));
    assert_eq!(
        fs::read(Inbox::content_path(
            folder.path(),
            &parcel.head().id.to_string()
        ))
        .unwrap(),
        long
    );
}

#[tokio::test]
async fn an_inbox_that_cannot_be_made_says_where() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Inbox::open(&file.join("inbox")).unwrap_err();
    assert!(error.to_string().contains("file/inbox"), "{error}");
}

#[tokio::test]
async fn what_was_done_with_long_enough_is_removed_and_never_published_again() {
    let folder = TempDir::new().unwrap();
    let rule = Rule {
        keep: Some(Duration::from_secs(3600)),
        ..Rule::default()
    };
    let (first, second) = (message(b"first"), message(b"second"));
    {
        let (mut courier, _terminal) = session(folder.path()).await;
        for parcel in [&first, &second] {
            courier.deliver(parcel, 0, false).await.unwrap();
        }
    }
    Entry::find(folder.path(), first.head().id)
        .unwrap()
        .done()
        .unwrap();
    let rules = Rules(vec![rule]);
    let at = |hours| Timestamp::now() + SignedDuration::from_hours(hours);
    assert_eq!(clean(folder.path(), &rules, at(0)).unwrap(), 0);
    assert_eq!(clean(folder.path(), &rules, at(2)).unwrap(), 1);
    let left: Vec<_> = Entry::list(folder.path())
        .unwrap()
        .iter()
        .map(|entry| entry.id)
        .collect();
    assert_eq!(left, [second.head().id], "who is not done with it keeps it");
    let (mut courier, _terminal) = session(folder.path()).await;
    assert_eq!(
        courier.deliver(&first, 0, false).await.unwrap(),
        Receipt::StoredBefore
    );
    assert_eq!(
        courier.progress(first.head().id).await.unwrap(),
        Progress::Whole
    );
    assert!(Entry::find(folder.path(), first.head().id).is_none());
}

#[tokio::test]
async fn beyond_the_quota_what_is_done_with_goes_and_then_no_more_is_taken() {
    let folder = TempDir::new().unwrap();
    let (mut courier, _terminal) = session_with(
        folder.path(),
        Rule {
            quota: Some(20),
            ..Rule::default()
        },
    )
    .await;
    let [first, second, third] =
        [b"0123456789", b"abcdefghij", b"ABCDEFGHIJ"].map(|content| message(content));
    for parcel in [&first, &second] {
        courier.deliver(parcel, 0, false).await.unwrap();
    }
    let refused = courier.deliver(&third, 0, false).await;
    let Err(DeliveryError::Refused { status, reason }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(status, 507);
    assert!(reason.contains("[[inbox]] quota"), "{reason}");
    Entry::find(folder.path(), second.head().id)
        .unwrap()
        .done()
        .unwrap();
    assert_eq!(
        courier.deliver(&third, 0, false).await.unwrap(),
        Receipt::Stored
    );
    let left: Vec<_> = Entry::list(folder.path())
        .unwrap()
        .iter()
        .map(|entry| entry.id)
        .collect();
    assert_eq!(left, [first.head().id, third.head().id]);
}

#[tokio::test]
async fn what_is_larger_than_the_whole_quota_is_refused_for_good_packed_or_not() {
    let folder = TempDir::new().unwrap();
    let (mut courier, _terminal) = session_with(
        folder.path(),
        Rule {
            quota: Some(2000),
            ..Rule::default()
        },
    )
    .await;
    let plain = message(&[7; 2001]);
    let packed = message(&[8; 2001]).pack(no_file).unwrap();
    assert!(packed.is_packed() && packed.octets().size() < 2000);
    for parcel in [&plain, &packed] {
        let refused = courier.deliver(parcel, 0, false).await;
        let Err(DeliveryError::Refused { status, reason }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(status, 413, "{reason}");
        assert_eq!(all_below(folder.path()), [".incoming"]);
    }
}

#[tokio::test]
async fn a_message_that_another_session_is_about_to_publish_is_not_said_to_be_missing() {
    let folder = TempDir::new().unwrap();
    let (mut courier, _terminal) = session(folder.path()).await;
    let id = MessageId::now();
    let (part, published) = (
        folder.path().join(".incoming").join(id.to_string()),
        folder.path().join(id.to_string()),
    );
    fs::create_dir(&part).unwrap();
    let lock = fs::File::open(&part).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let mut progress = Box::pin(courier.progress(id));
    let early = tokio::time::timeout(Duration::from_millis(100), &mut progress).await;
    assert!(early.is_err(), "{early:?} while another session has it");
    fs::rename(&part, &published).unwrap();
    drop(lock);
    assert_eq!(progress.await.unwrap(), Progress::Whole);
}
