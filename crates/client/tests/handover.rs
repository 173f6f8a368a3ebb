//! Handing over: done only when it was taken, again until it is, and no message holds up another.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::ffi::OsString;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use delivery::{Digest, MessageId};
use ringup_client::handover::{Handed, Pace, hand_over};
use ringup_client::inbox::{Entry, Handover, Note, Rule, Rules};
use tempfile::TempDir;

/// Each message once, one after the other.
const ONCE: Pace<'_> = Pace {
    pauses: &[],
    turn: Duration::from_secs(600),
};

/// A message as the inbox publishes it.
fn published(inbox: &Path, content: &str, content_type: &str) -> MessageId {
    let id = MessageId::now();
    let note = Note {
        id: id.to_string(),
        content_type: content_type.to_owned(),
        topic: Some("news/weather".to_owned()),
        urgency: None,
        expires_at: None,
        size: content.len() as u64,
        sha256: Digest::of(content.as_bytes()).to_string(),
        received_at: jiff::Timestamp::now(),
    };
    let folder = inbox.join(id.to_string());
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("content"), content).unwrap();
    fs::write(folder.join("message.toml"), toml::to_string(&note).unwrap()).unwrap();
    id
}

fn to(handover: Handover) -> Rules {
    Rules(vec![Rule {
        handover: Some(handover),
        ..Rule::default()
    }])
}

fn shell(script: &str) -> Rules {
    to(Handover::Command(
        ["/bin/sh", "-c", script].map(OsString::from).to_vec(),
    ))
}

fn is_done(inbox: &Path, id: MessageId) -> bool {
    Entry::find(inbox, id).unwrap().done_at.is_some()
}

/// Hands over. The child of another test has a copy of this inbox's lock from its fork to its exec.
async fn alone(inbox: &Path, rules: &Rules, pace: Pace<'_>) -> Handed {
    loop {
        let handed = hand_over(inbox, rules, pace).await.unwrap();
        if !handed.is_with_another {
            return handed;
        }
        tokio::task::yield_now().await;
    }
}

/// The program puts something in the place of the mark that no mark can be removed from.
#[test]
fn a_mark_that_cannot_be_removed_ends_handing_over() {
    let inbox = TempDir::new().unwrap();
    let id = published(inbox.path(), "rain", "text/plain");
    let mark = inbox.path().join(".hand-over.again");
    let rules = shell(&format!("mkdir -p {}/in", mark.display()));
    let (folder, (sender, ended)) = (inbox.path().to_owned(), std::sync::mpsc::channel());
    // Beside this thread: before, it never ended.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        sender.send(runtime.block_on(hand_over(&folder, &rules, ONCE)))
    });
    let error = ended
        .recv_timeout(Duration::from_secs(60))
        .expect("it ends")
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains(".hand-over.again cannot be removed"),
        "{error}"
    );
    assert!(is_done(inbox.path(), id), "what was taken is noted");
}

#[tokio::test]
async fn a_folder_gets_a_file_under_the_id_once() {
    let (inbox, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let id = published(inbox.path(), "rain", "text/plain");
    let rules = to(Handover::Directory(out.path().join("news")));
    let handed = alone(inbox.path(), &rules, ONCE).await;
    assert_eq!(
        handed,
        Handed {
            taken: 1,
            left: 0,
            removed: 0,
            is_with_another: false
        }
    );
    assert_eq!(
        fs::read_to_string(out.path().join("news").join(id.to_string())).unwrap(),
        "rain"
    );
    assert_eq!(
        fs::read_dir(out.path().join("news")).unwrap().count(),
        1,
        "nothing half written is left"
    );
    fs::remove_dir_all(out.path().join("news")).unwrap();
    assert_eq!(alone(inbox.path(), &rules, ONCE).await, Handed::default());
}

#[tokio::test]
async fn mail_is_new_in_its_maildir_and_what_is_no_mail_is_left_alone() {
    let (inbox, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let id = published(
        inbox.path(),
        "Subject: rain\r\n\r\nAgain.\r\n",
        "message/rfc822",
    );
    let other = published(inbox.path(), "rain", "text/plain");
    let types = vec!["message/rfc822".parse().unwrap()];
    let rule = Rule {
        types,
        handover: Some(Handover::Maildir(out.path().join("Mail"))),
        ..Rule::default()
    };
    alone(inbox.path(), &Rules(vec![rule]), ONCE).await;
    let mails: Vec<_> = fs::read_dir(out.path().join("Mail/new"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .collect();
    let [mail] = mails.as_slice() else {
        panic!("{mails:?}")
    };
    assert!(mail.file_name().to_str().unwrap().contains(&id.to_string()));
    assert!(
        fs::read_to_string(mail.path())
            .unwrap()
            .starts_with("Subject: rain")
    );
    assert!(
        out.path().join("Mail/cur").is_dir()
            && fs::read_dir(out.path().join("Mail/tmp"))
                .unwrap()
                .next()
                .is_none()
    );
    assert_eq!(
        [is_done(inbox.path(), id), is_done(inbox.path(), other)],
        [true, false]
    );
}

#[tokio::test]
async fn a_program_gets_the_content_and_what_is_known_and_no_word_of_the_sender_is_a_command() {
    let (inbox, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let id = published(
        inbox.path(),
        "$(touch stolen); `touch stolen`",
        "text/plain",
    );
    let file = out.path().join("taken");
    let script = format!(
        "cd {}; (env | grep ^RINGUP_ | sort; cat) > taken",
        out.path().display()
    );
    alone(inbox.path(), &shell(&script), ONCE).await;
    let taken = fs::read_to_string(&file).unwrap();
    for line in [
        format!("RINGUP_ID={id}"),
        "RINGUP_TOPIC=news/weather".into(),
        "RINGUP_CONTENT_TYPE=text/plain".into(),
    ] {
        assert!(taken.contains(&line), "{taken}");
    }
    assert!(
        taken.ends_with("$(touch stolen); `touch stolen`") && !out.path().join("stolen").exists()
    );
    assert!(is_done(inbox.path(), id));
}

#[tokio::test]
async fn what_is_not_taken_comes_again_with_its_id_and_holds_up_no_other() {
    let (inbox, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let [bad, good] = ["bad", "good"].map(|content| published(inbox.path(), content, "text/plain"));
    // Takes what is bad at the second try only.
    let script = format!(
        "cd {}; read word; echo $word $RINGUP_ID >> tries; [ $word = good ] || [ $(grep -c bad tries) = 2 ]",
        out.path().display()
    );
    let first = alone(inbox.path(), &shell(&script), ONCE).await;
    assert_eq!(
        first,
        Handed {
            taken: 1,
            left: 1,
            removed: 0,
            is_with_another: false
        }
    );
    assert_eq!(
        [is_done(inbox.path(), bad), is_done(inbox.path(), good)],
        [false, true]
    );
    let second = alone(inbox.path(), &shell(&script), ONCE).await;
    assert_eq!(
        second,
        Handed {
            taken: 1,
            left: 0,
            removed: 0,
            is_with_another: false
        }
    );
    let tries = fs::read_to_string(out.path().join("tries")).unwrap();
    assert_eq!(tries, format!("bad {bad}\ngood {good}\nbad {bad}\n"));
    let missing = to(Handover::Command(vec!["/nonexistent/program".into()]));
    published(inbox.path(), "third", "text/plain");
    assert_eq!(alone(inbox.path(), &missing, ONCE).await.left, 1);
}

#[tokio::test]
async fn what_is_not_taken_is_tried_again_after_each_pause() {
    let (inbox, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    published(inbox.path(), "x", "text/plain");
    let script = format!(
        "echo >> {0}; [ $(grep -c '' {0}) = 3 ]",
        out.path().join("tries").display()
    );
    let handed = alone(
        inbox.path(),
        &shell(&script),
        Pace {
            pauses: &[Duration::ZERO; 3],
            ..ONCE
        },
    )
    .await;
    assert_eq!(
        handed,
        Handed {
            taken: 1,
            left: 0,
            removed: 0,
            is_with_another: false
        }
    );
}

#[tokio::test]
async fn one_process_hands_over_and_takes_what_comes_meanwhile() {
    let (inbox, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let first = published(inbox.path(), "first", "text/plain");
    let gate = out.path().join("gate");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&gate)
            .status()
            .unwrap()
            .success()
    );
    let rules = shell(&format!(
        "read word; [ $word != first ] || read go < {}",
        gate.display()
    ));
    let holding = hand_over(inbox.path(), &rules, ONCE);
    let others = async {
        // The first one holds the lock as soon as its program has opened the gate to read.
        let mut opened = tokio::fs::OpenOptions::new()
            .write(true)
            .open(&gate)
            .await
            .unwrap();
        let second = published(inbox.path(), "second", "text/plain");
        for _ in 0..5 {
            let other = hand_over(inbox.path(), &rules, ONCE).await.unwrap();
            assert_eq!(
                other,
                Handed {
                    taken: 0,
                    left: 0,
                    removed: 0,
                    is_with_another: true
                }
            );
        }
        assert!(!is_done(inbox.path(), second));
        tokio::io::AsyncWriteExt::write_all(&mut opened, b"go\n")
            .await
            .unwrap();
        second
    };
    let (handed, second) = tokio::join!(holding, others);
    assert_eq!(
        handed.unwrap(),
        Handed {
            taken: 2,
            left: 0,
            removed: 0,
            is_with_another: false
        }
    );
    assert_eq!(
        [first, second].map(|id| is_done(inbox.path(), id)),
        [true; 2]
    );
}

#[tokio::test]
async fn a_program_that_hangs_has_its_turn_and_the_others_theirs() {
    let (inbox, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let hung: Vec<_> = (0..3)
        .map(|_| published(inbox.path(), "hang", "text/plain"))
        .collect();
    published(inbox.path(), "good", "text/plain");
    let [gate, said] = ["gate", "said"].map(|name| out.path().join(name));
    assert!(
        std::process::Command::new("mkfifo")
            .args([&gate, &said])
            .status()
            .unwrap()
            .success()
    );
    let (gate, say) = (gate.display(), said.display().to_string());
    let rules = shell(&format!(
        "read word; if [ $word = good ]; then echo $word > {say}; else read go < {gate}; fi"
    ));
    let handing = hand_over(
        inbox.path(),
        &rules,
        Pace {
            turn: Duration::ZERO,
            ..ONCE
        },
    );
    let mut said = tokio::net::unix::pipe::OpenOptions::new()
        .read_write(true)
        .open_receiver(&said)
        .unwrap();
    let watching = async {
        let mut word = [0; 5];
        tokio::io::AsyncReadExt::read_exact(&mut said, &mut word)
            .await
            .unwrap();
        assert_eq!(&word, b"good\n");
        assert!(hung.iter().all(|id| !is_done(inbox.path(), *id)));
    };
    let mut handing = std::pin::pin!(handing);
    tokio::select! {
        handed = &mut handing => panic!("{handed:?}: before the good one was taken"),
        () = watching => {}
    }
}

#[tokio::test]
async fn what_cannot_be_written_whole_leaves_no_fragment_and_no_link_is_followed() {
    let (inbox, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let id = published(inbox.path(), "rain", "message/rfc822");
    let mail = out.path().join("Mail");
    // Not even renaming works where a folder has the name.
    let name = |id: MessageId| {
        let note = Entry::find(inbox.path(), id).unwrap().note;
        format!("{}.{id}.ringup", note.received_at.as_second())
    };
    fs::create_dir_all(mail.join("new").join(name(id)).join("x")).unwrap();
    let precious = out.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    fs::create_dir(mail.join("tmp")).unwrap();
    std::os::unix::fs::symlink(&precious, mail.join("tmp").join(name(id))).unwrap();
    let handed = alone(inbox.path(), &to(Handover::Maildir(mail.clone())), ONCE).await;
    assert_eq!((handed.taken, handed.left), (0, 1));
    assert_eq!(fs::read_dir(mail.join("tmp")).unwrap().count(), 0);
    assert_eq!(fs::read(&precious).unwrap(), b"precious");
}

/// Answers one request after the other with these statuses; gives the requests.
fn application(
    listener: TcpListener,
    statuses: &'static [&'static str],
) -> std::thread::JoinHandle<Vec<String>> {
    std::thread::spawn(move || {
        let answered = statuses.iter().map(|status| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 1000];
            while !request.ends_with(b"rain") {
                let count = stream.read(&mut buffer).unwrap();
                request.extend(&buffer[..count]);
            }
            stream
                .write_all(
                    format!("HTTP/1.1 {status}\r\nlocation: http://192.0.2.1/\r\ncontent-length: 0\r\n\r\n").as_bytes(),
                )
                .unwrap();
            String::from_utf8(request).unwrap()
        });
        answered.collect()
    })
}

#[tokio::test]
async fn an_application_is_asked_until_it_says_2xx_and_a_redirect_is_a_no() {
    let inbox = TempDir::new().unwrap();
    let id = published(inbox.path(), "rain", "text/plain");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/inbox", listener.local_addr().unwrap());
    let application = application(listener, &["500 Oops", "307 Elsewhere", "204 Taken"]);
    let rules = to(Handover::Url(url.parse().unwrap()));
    for (left, taken) in [(1, 0), (1, 0), (0, 1)] {
        assert_eq!(
            alone(inbox.path(), &rules, ONCE).await,
            Handed {
                taken,
                left,
                removed: 0,
                is_with_another: false
            }
        );
        assert_eq!(is_done(inbox.path(), id), taken == 1);
    }
    for request in application.join().unwrap() {
        assert!(request.starts_with("POST /inbox HTTP/1.1\r\n"), "{request}");
        assert!(
            request.contains(&format!("idempotency-key: \"{id}\""))
                && request.contains("topic: news/weather"),
            "{request}"
        );
    }
}

/// Whether a process is there, and not only waiting for its parent to look.
fn is_alive(process: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[tokio::test]
async fn a_program_that_hangs_is_ended_with_all_that_it_has_started() {
    let (inbox, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let id = published(inbox.path(), "rain", "text/plain");
    let started = out.path().join("started");
    let rules = shell(&format!(
        "sleep 600 & echo $! >{0}.part; mv {0}.part {0}; wait",
        started.display()
    ));
    let hangs = async {
        while !started.exists() {
            tokio::task::yield_now().await;
        }
        // From here on nothing but the clock can end it, and that stands before its end at once.
        tokio::time::pause();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        handed = alone(inbox.path(), &rules, ONCE) => assert_eq!((handed.taken, handed.left), (0, 1)),
        () = hangs => {}
    }
    let child = fs::read_to_string(&started).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while is_alive(child.trim()) {
        assert!(std::time::Instant::now() < deadline, "{child} goes on");
        std::thread::yield_now();
    }
    assert!(!is_done(inbox.path(), id));
}
