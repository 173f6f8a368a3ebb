//! Bad input on a delivery session: what both sides log of it, and what the operator sees.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use delivery::proof::{CourierCredentials, Pin, SecretKey, TerminalCredentials};
use delivery::{
    Arrival, Digest, Inbox, MessageId, Preamble, Progress, Reason, StoreError, Stored, TerminalId,
    receive,
};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::chronicle::PATIENCE;
use crate::online::write_config;
use crate::process::{Finished, Process};
use crate::village::{CENTRE, Plan, Village, awkward_content};

const CONNECT: [&str; 3] = ["connect", "--config", "owner.toml"];

fn found(size_max: u32) -> Village {
    let village = Village::found(Plan {
        size_max,
        no_answer_after: "30s",
        ..Plan::default()
    });
    write_config(&village, "");
    village
}

/// The owner connects by itself.
fn visit(village: &Village, who: &str) -> Finished {
    village.start(who, &CONNECT).finish()
}

/// From here on the owner finds its server there.
fn lead_to(village: &Village, address: &str) {
    let text = fs::read_to_string(village.path("owner.toml")).unwrap();
    let (before, rest) = text.split_once("\naddress = \"127.").unwrap();
    let (_, after) = rest.split_once('\n').unwrap();
    village.write(
        "owner.toml",
        format!("{before}\naddress = \"{address}\"\n{after}"),
    );
}

fn explain(village: &Village, message: &str) -> String {
    village
        .run(&["message", "explain", message, "--config", "server.toml"])
        .stdout
}

/// The sessions over the Internet that the operator sees.
fn sessions(village: &Village) -> usize {
    let calls = village.ask(&["call", "list"]);
    calls
        .as_array()
        .unwrap()
        .iter()
        .filter(|call| call["line"] == "internet")
        .count()
}

fn state_of(village: &Village, message: &str) -> String {
    village.ask(&["message", "show", message])["envelopes"][0]["state"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// What both have logged of a message that the terminal refused, and what the operator hears of it.
fn refused_by(
    village: &Village,
    terminal: &str,
    server: &str,
    message: &str,
    status: &str,
    reason: &str,
) {
    let at_terminal =
        village
            .chronicle
            .wait_field(terminal, "refused", "path", &format!("/m/{message}"));
    assert!(
        at_terminal.field("reason").contains(reason),
        "{at_terminal:?}"
    );
    let at_server = village
        .chronicle
        .wait_field(server, "refused", "message_id", message);
    assert!(
        at_server.field("status").starts_with(status) && at_server.field("reason").contains(reason),
        "{at_server:?}"
    );
    let told = explain(village, message);
    assert!(
        told.contains(&format!("refused with status {status}")) && told.contains(reason),
        "{told}"
    );
}

#[test]
fn a_part_that_was_damaged_is_refused_at_its_end_and_the_message_comes_anew() {
    let mut village = found(50_000_000);
    let content = awkward_content(40_000_000);
    let message = village.send("tel:301", &village.write("large", &content));
    let part = village
        .path("inbox/.incoming")
        .join(&message)
        .join("content");
    let first = village.start("first", &CONNECT);
    let deadline = Instant::now() + PATIENCE;
    while !fs::metadata(&part).is_ok_and(|part| part.len() > 2_000_000) {
        assert!(Instant::now() < deadline, "it does not begin to come");
        thread::yield_now();
    }
    village.kill_server();
    assert_ne!(first.finish().code, Some(0));
    let mut kept = fs::read(&part).unwrap();
    kept[1_000_000] ^= 1;
    fs::write(&part, kept).unwrap();

    village.start_server("server again");
    lead_to(
        &village,
        &village
            .chronicle
            .wait("server again", "taking terminals")
            .field("address"),
    );
    visit(&village, "second");
    village.chronicle.wait("server again", "resuming");
    refused_by(
        &village,
        "second",
        "server again",
        &message,
        "400",
        "does not match its digest",
    );
    assert_eq!(
        (village.inbox().len(), state_of(&village, &message).as_str()),
        (0, "waiting")
    );

    assert_eq!(visit(&village, "third").code, Some(0));
    village
        .chronicle
        .wait_field("server again", "delivered", "message_id", &message);
    assert!(village.received(&message) == content);
}

#[test]
fn a_full_disk_at_the_terminal_is_told_to_both_operators_and_the_message_waits() {
    let village = found(2_000_000);
    let content = awkward_content(1_500_000);
    let message = village.send("tel:301", &village.write("large", &content));
    fs::create_dir(village.path("inbox")).unwrap();
    // A disk of its own, of 500 KB.
    let on_a_small_disk =
        "mount -t tmpfs -o size=500k none inbox && exec \"$0\" connect --config owner.toml";
    let mut command = Command::new("unshare");
    command.args([
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        on_a_small_disk,
        env!("CARGO_BIN_EXE_ringup"),
    ]);
    command.current_dir(village.path(""));
    Process::start("on a small disk", command, &village.chronicle).finish();
    refused_by(
        &village,
        "on a small disk",
        "server",
        &message,
        "507",
        "could not",
    );
    let told = village.chronicle.wait("on a small disk", "refused");
    assert!(
        told.field("reason").contains("No space left on device"),
        "{told:?}"
    );
    assert_eq!(state_of(&village, &message), "waiting");

    assert_eq!(visit(&village, "with room").code, Some(0));
    village.wait_delivered(&message);
    assert!(village.received(&message) == content);
}

#[test]
fn another_content_under_an_id_that_was_published_is_refused_and_both_operators_hear_of_it() {
    let mut village = found(1_000_000);
    let first = village.send("tel:301", &village.write("report", "coin box full"));
    assert_eq!(visit(&village, "first").code, Some(0));
    village.wait_delivered(&first);
    let message = village.send("tel:301", &village.write("report", "cooling broken"));
    village.ask(&["store", "backup", "copy"]);
    assert_eq!(visit(&village, "second").code, Some(0));
    village.wait_delivered(&message);

    // A server that does not know that it has brought it, and a terminal that remembers something else.
    village.kill_server();
    let config = fs::read_to_string(village.path("server.toml")).unwrap();
    village.write(
        "server.toml",
        config.replace("state = \"server\"", "state = \"copy\""),
    );
    village.start_server("copy");
    lead_to(
        &village,
        &village
            .chronicle
            .wait("copy", "taking terminals")
            .field("address"),
    );
    let note = village.path("inbox").join(&message).join("message.toml");
    let (ours, other) = (
        Digest::of(b"cooling broken").to_string(),
        Digest::of(b"other").to_string(),
    );
    let text = fs::read_to_string(&note).unwrap();
    assert!(text.contains(&ours), "{text}");
    fs::write(&note, text.replace(&ours, &other)).unwrap();
    visit(&village, "third");
    refused_by(
        &village,
        "third",
        "copy",
        &message,
        "409",
        "another message was published here under this id",
    );
    assert_eq!(
        village.received(&message),
        b"cooling broken",
        "what was published stays"
    );
}

/// Takes one connection and carries it to the server; gives what the server said on it.
fn overheard(listener: &TcpListener, server: &str) -> Vec<u8> {
    let (near, _) = listener.accept().unwrap();
    let far = TcpStream::connect(server).unwrap();
    let (mut from, mut to) = (near.try_clone().unwrap(), far.try_clone().unwrap());
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to); // either end has gone
        let _ = to.shutdown(Shutdown::Both);
    });
    let (mut far, mut near, mut said, mut buffer) = (far, near, Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = far.read(&mut buffer) {
        said.extend_from_slice(&buffer[..count]);
        let _ = near.write_all(&buffer[..count]); // it may have gone with the last word
    }
    let _ = near.shutdown(Shutdown::Both);
    said
}

#[test]
fn a_session_that_was_overheard_and_is_said_again_publishes_nothing_and_the_real_server_gets_through()
 {
    let village = found(1_000_000);
    let (listener, server) = (
        TcpListener::bind("127.0.0.1:0").unwrap(),
        village.delivery_address(),
    );
    lead_to(&village, &listener.local_addr().unwrap().to_string());
    let mut said = Vec::new();
    for (content, resumed) in [("first", "false"), ("second", "true")] {
        let message = village.send("tel:301", &village.write("report", content));
        said = thread::scope(|scope| {
            let carried = scope.spawn(|| overheard(&listener, &server));
            assert_eq!(visit(&village, content).code, Some(0));
            carried.join().unwrap()
        });
        village.wait_delivered(&message);
        assert_eq!(
            village
                .chronicle
                .wait(content, "server proved")
                .field("resumed"),
            resumed
        );
    }
    let received = village.inbox();
    assert_eq!(received.len(), 2);
    // The server's early data holds a whole message: the same octets to the same terminal, once more.
    let replayed = thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut notice = String::new();
            BufReader::new(stream.try_clone().unwrap())
                .read_line(&mut notice)
                .unwrap();
            let _ = stream.write_all(&said); // it may hang up in the middle
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        });
        visit(&village, "replayed")
    });
    assert_ne!(replayed.code, Some(0));
    assert!(
        replayed.stderr.contains("the server did not prove itself"),
        "{}",
        replayed.stderr
    );
    assert!(village.chronicle.said("replayed", "stored").is_empty());
    assert!(
        village
            .chronicle
            .said("replayed", "server proved")
            .is_empty()
    );
    assert_eq!(village.inbox(), received);
    assert_eq!(sessions(&village), 2, "the server had no part in it");

    lead_to(&village, &server);
    let message = village.send("tel:301", &village.write("report", "third"));
    assert_eq!(visit(&village, "the real one").code, Some(0));
    village.wait_delivered(&message);
}

#[test]
fn a_bundle_that_has_expired_or_was_put_off_by_another_lets_nobody_in_and_both_say_so() {
    let village = found(1_000_000);
    let message = village.send("tel:301", &village.write("report", "coin box full"));
    // Taken in time by a machine that comes when another bundle has been made.
    let made = village.ask(&["terminal", "invite", "owner", "--caller", CENTRE]);
    assert!(made["bundle"].is_string());
    let late = visit(&village, "late");
    assert_ne!(late.code, Some(0));
    assert!(
        late.stderr.contains("the server closed the session"),
        "{}",
        late.stderr
    );
    let why = village
        .chronicle
        .wait("server", "not admitted")
        .field("why");
    assert!(
        why.starts_with("not proved: the terminal was not enrolled"),
        "{why}"
    );
    let calls = village.ask(&["call", "list"]);
    assert!(
        calls
            .as_array()
            .unwrap()
            .iter()
            .all(|call| call["line"] != "internet"),
        "it was never the terminal"
    );
    assert_eq!(state_of(&village, &message), "waiting");
    assert_eq!(
        village.ask(&["terminal", "show", "owner"])["trust"],
        "invited"
    );

    let lines = made["bundle"].as_str().unwrap().lines();
    let over = lines.map(|line| {
        if line.starts_with("expires_at") {
            "expires_at = \"2026-01-01T00:00:00Z\""
        } else {
            line
        }
    });
    village.write("over.bundle", over.collect::<Vec<_>>().join("\n"));
    let taken = village.run(&["enrol", "over.bundle", "--config", "owner.toml"]);
    assert!(
        taken.code == Some(1)
            && taken
                .stderr
                .contains("the bundle expired at 2026-01-01T00:00:00Z"),
        "{}",
        taken.stderr
    );
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// The owner is enrolled, and its key and the server's are known to whoever plays one of them.
fn stolen_keys(village: &Village) -> (TerminalId, SecretKey, SecretKey) {
    let message = village.send("tel:301", &village.write("report", "the first"));
    assert_eq!(visit(village, "enrols").code, Some(0));
    village.wait_delivered(&message);
    let id = village.ask(&["terminal", "show", "owner"])["id"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let key = |path: &str| SecretKey::read(&village.path(path)).unwrap().unwrap();
    (id, key("state/terminal.key"), key("server/server.key"))
}

fn request(
    method: Method,
    path: &str,
    fields: &[(&str, &str)],
    content: &[u8],
) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("http://terminal{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request
        .body(Full::new(Bytes::copy_from_slice(content)))
        .unwrap()
}

#[test]
fn a_server_that_means_ill_gets_nothing_into_the_inbox_and_its_terminal_says_why() {
    let village = found(1_000_000);
    let (id, terminal, server) = stolen_keys(&village);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    lead_to(&village, &listener.local_addr().unwrap().to_string());
    let owner = village.start("owner", &CONNECT);
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let bomb = zstd_of_zeros();
    let attack = async {
        let mut stream = tokio::net::TcpStream::from_std(stream).unwrap();
        Preamble::read(&mut stream).await.unwrap();
        let courier = CourierCredentials::new(&server).unwrap();
        let stream = courier
            .secure(stream, id, Pin::Keys(vec![terminal.public()]), 1_000_000)
            .unwrap();
        let (mut requests, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        let connection = tokio::spawn(connection);
        let offset = [
            ("upload-offset", "9"),
            ("upload-length", "8"),
            ("upload-complete", "?1"),
            (
                "content-digest",
                "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
            ),
        ];
        let new = || format!("/m/{}", MessageId::now());
        let attempts = [
            (
                400,
                request(Method::PUT, "/m/..%2f..%2fetc%2fpasswd", &[], b"path"),
            ),
            (404, request(Method::PUT, "/stolen", &[], b"path")),
            (
                415,
                request(Method::PUT, &new(), &[("content-encoding", "zstd")], &bomb),
            ),
            (
                400,
                request(
                    Method::PUT,
                    &new(),
                    &[("content-digest", offset[3].1)],
                    b"another content",
                ),
            ),
            (400, request(Method::PATCH, &new(), &offset, b"x")),
            (
                431,
                request(Method::PUT, &new(), &[("topic", &"x".repeat(6_000))], b"x"),
            ),
        ];
        for (status, attempt) in attempts {
            let what = attempt.uri().clone();
            let answer = requests.send_request(attempt).await.unwrap();
            assert_eq!(answer.status(), status, "{what}");
            answer.into_body().collect().await.unwrap();
        }
        for _ in 0..200 {
            requests.ready().await.unwrap();
            let answer = requests
                .send_request(request(Method::PUT, "/m/flood", &[], b"flood"))
                .await
                .unwrap();
            assert_eq!(answer.status(), 400);
        }
        let endless = request(
            Method::PUT,
            &new(),
            &[("topic", &"x".repeat(100_000))],
            b"x",
        );
        assert!(requests.send_request(endless).await.is_err());
        let _ = connection.await; // ended by the terminal
    };
    runtime().block_on(attack);
    let ended = owner.finish();
    assert_ne!(ended.code, Some(0));
    assert!(
        ended.stderr.contains("the session was lost"),
        "{}",
        ended.stderr
    );
    let refused = village.chronicle.said("owner", "refused");
    let reasons: Vec<_> = refused.iter().map(|entry| entry.field("reason")).collect();
    for reason in [
        "only /m/{id}",
        "would unpack to",
        "does not match its digest",
        "upload",
    ] {
        assert!(
            reasons.iter().any(|said| said.contains(reason)),
            "{reason}: {reasons:?}"
        );
    }
    assert!(refused.len() < 20, "the flood fills the log");
    village
        .chronicle
        .wait("owner", "refused; more of this session are not logged");
    let listed = village
        .run(&["inbox", "list", "--json", "--config", "owner.toml"])
        .stdout;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        listed.as_array().unwrap().len(),
        1,
        "what the real server brought: {listed:#}"
    );
}

/// 100 MB in some 3 KB.
fn zstd_of_zeros() -> Vec<u8> {
    // One frame of the same octet again and again (RFC 8878 §3.1.1.2): a window of 100 MB, then run-length blocks of 128 KB.
    let size = 100_u32 * 1024 * 1024;
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1010_0000];
    frame.extend_from_slice(&size.to_le_bytes());
    for block in (0..800_u32).rev() {
        let header = (128 * 1024) << 3 | 1 << 1 | u32::from(block == 0);
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

/// A terminal that says that it has more of a message than there is.
#[derive(Default)]
struct Liar {
    has_refused: Mutex<bool>,
    offsets: Mutex<Vec<u64>>,
}

impl Inbox for Liar {
    async fn store(&self, arrival: Arrival, content: Incoming) -> Result<Stored, StoreError> {
        let _ = content.collect().await;
        self.offsets.lock().unwrap().push(arrival.offset);
        if std::mem::replace(&mut *self.has_refused.lock().unwrap(), true) {
            return Ok(Stored::Now);
        }
        Err(StoreError::Damaged)
    }

    async fn progress(&self, _: MessageId) -> Progress {
        Progress::Part {
            offset: u64::MAX,
            digest: Some(Digest::of(b"")),
        }
    }
}

#[test]
fn a_terminal_that_says_that_it_has_more_than_there_is_gets_the_message_from_the_beginning() {
    let village = found(1_000_000);
    let (id, terminal, server) = stolen_keys(&village);
    let message = village.send("tel:301", &village.write("large", awkward_content(100_000)));
    let (address, liar) = (village.delivery_address(), Arc::new(Liar::default()));
    let session = async || {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let notice = format!(
            "{}\n",
            Preamble {
                terminal: id,
                reason: Reason::Online
            }
        );
        tokio::io::AsyncWriteExt::write_all(&mut stream, notice.as_bytes())
            .await
            .unwrap();
        let credentials = TerminalCredentials::new(&terminal, vec![server.public()], None).unwrap();
        let stream = credentials.secure(stream, 1_000_000).unwrap();
        let _ = receive(stream, liar.clone(), None, Duration::ZERO).await; // how it ends is seen at the server
    };
    let runtime = runtime();
    runtime.block_on(session());
    village
        .chronicle
        .wait_field("server", "refused", "message_id", &message);
    runtime.block_on(session());
    village.wait_delivered(&message);
    let told = village.chronicle.wait(
        "server",
        "no offset to resume from: sent from the beginning",
    );
    assert_eq!(
        (told.field("offset"), told.field("size")),
        (u64::MAX.to_string(), "100000".to_owned())
    );
    assert_eq!(*liar.offsets.lock().unwrap(), [0, 0]);
}

#[test]
fn who_is_slow_or_silent_at_the_delivery_port_is_closed_and_keeps_no_terminal_waiting() {
    let village = found(1_000_000);
    let (id, ..) = stolen_keys(&village);
    let slow = ["", "ringup/1 ", &format!("ringup/1 {id} online\n")].map(|said| {
        let mut stream = TcpStream::connect(village.delivery_address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(said.as_bytes()).unwrap();
        stream
    });
    let message = village.send("tel:301", &village.write("report", "coin box full"));
    assert_eq!(visit(&village, "in between").code, Some(0));
    village.wait_delivered(&message);
    for mut stream in slow {
        let _ = stream.read_to_end(&mut Vec::new()).unwrap();
    }
    let refused = village.chronicle.wait("server", "not admitted");
    assert_eq!(
        (refused.field("says"), refused.field("why")),
        (id.to_string(), "not proved: not in time".to_owned())
    );
    assert_eq!(sessions(&village), 2, "no record for strangers");
}
