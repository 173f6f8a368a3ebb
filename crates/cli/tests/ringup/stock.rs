//! Stock terminals: machines that run no Ringup. These are PPP and a web server of a few lines; pppd is among the peers.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use line::{Call, ModemLine, PortAddress};
use link::{
    Authentication, Credentials, Link, LinkConfig, LocalAddress, Name, PeerAddress, Secret, Stream,
    Terms,
};
use modem::Profile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Builder;

use crate::village::{CENTRE, Plan, Village};

const STOCK: &str = "501";
const STATIONS: &[(&str, &str)] = &[(STOCK, ""), ("601", "")];
const SECRET: &str = "sesame-sesame-sesame";

/// Answers this many calls; returns the requests to its web server: heads and bodies.
fn answer_calls(
    village: &Village,
    calls: usize,
    secret: Option<&'static str>,
    says: &'static str,
) -> JoinHandle<Vec<String>> {
    let port = village.path("lines").join(STOCK);
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut heard = Vec::new();
            for _ in 0..calls {
                heard.extend(answer_one(port.clone(), secret, says).await);
            }
            heard
        })
    })
}

async fn answer_one(port: PathBuf, secret: Option<&str>, says: &str) -> Vec<String> {
    let mut modem = ModemLine::open(&PortAddress::Device(port), Profile::GENERIC.into())
        .await
        .unwrap();
    modem.ring().await.unwrap();
    let call = modem.answer().await.unwrap();
    serve(call, secret, says, || usize::MAX).await
}

/// PPP and the web server, until the call is over. `on_up` is called when the link is up, and says after how many messages to
/// hang up.
async fn serve(
    call: Call,
    secret: Option<&str>,
    says: &str,
    on_up: impl FnOnce() -> usize,
) -> Vec<String> {
    let own = secret.map(|secret| Credentials {
        name: Name::new("stock").unwrap(),
        secret: Secret::new(secret).unwrap(),
    });
    let local = LocalAddress::Ask(None);
    let config = LinkConfig {
        ports: &[8080],
        terms: Terms {
            authentication: Authentication {
                own,
                ..Authentication::default()
            },
            ..Terms::default()
        },
        ..LinkConfig::new(
            local,
            PeerAddress::Any,
            call.rate_bps(),
            Duration::from_millis(1),
        )
    };
    let Ok(link) = Link::establish(call, config).await else {
        return Vec::new();
    };
    assert_eq!(link.local(), Ipv4Addr::new(10, 77, 0, 5));
    let mut listener = link.listen(8080).unwrap();
    let (heard_max, mut heard) = (on_up(), Vec::new());
    loop {
        if heard.len() >= heard_max {
            link.close();
        }
        tokio::select! {
            _ = link.closed() => return heard,
            Ok(stream) = listener.accept() => heard.extend(take(stream, says).await),
        }
    }
}

/// One request, and the answer, if there is one; then the connection is closed.
async fn take(mut stream: Stream, says: &str) -> Option<String> {
    let (mut said, mut octets) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&said);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))?
                .parse::<usize>()
                .ok()?;
            if body.len() == length {
                break;
            }
        }
        let read = stream
            .read(&mut octets)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        said.extend_from_slice(&octets[..read]);
    }
    if says.is_empty() {
        std::future::pending::<()>().await;
    }
    stream.write_all(says.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()?;
    Some(String::from_utf8(said).unwrap())
}

fn add(village: &Village, trust: &[&str]) {
    let stock = [
        "terminal",
        "add",
        "stock",
        "--number",
        STOCK,
        "--address",
        "10.77.0.5",
    ];
    village.ask(&[&stock[..], &["--deliver", "http://:8080/inbox"], trust].concat());
}

fn add_with_chap(village: &Village, secret: &str) {
    let file = village.write("chap.secret", format!("{secret}\n"));
    add(
        village,
        &[
            "--trust",
            "chap",
            "--chap-secret-file",
            file.to_str().unwrap(),
        ],
    );
}

#[test]
fn a_stock_terminal_that_passes_chap_is_posted_what_waits_and_hung_up_on() {
    posted_and_hung_up_on(Plan {
        strangers: STATIONS,
        ..Plan::default()
    });
}

#[test]
fn a_stock_terminal_that_a_separate_dial_up_server_calls_is_posted_what_waits_over_the_trunk() {
    posted_and_hung_up_on(Plan {
        strangers: STATIONS,
        ..Plan::at(&["201"])
    });
}

fn posted_and_hung_up_on(plan: Plan) {
    let village = Village::found(plan);
    add_with_chap(&village, SECRET);
    assert_eq!(village.ask(&["terminal", "show", "stock"])["trust"], "chap");
    let terminal = answer_calls(&village, 1, Some(SECRET), "HTTP/1.1 204 No Content\r\n\r\n");
    let message = village.send("tel:501", &village.write("report", "coin box full"));
    village.wait_delivered(&message);
    let heard = terminal.join().unwrap();
    assert!(
        heard[0].starts_with("POST /inbox HTTP/1.1\r\nhost: 10.77.0.5:8080\r\n"),
        "{heard:?}"
    );
    assert!(
        heard[0].contains(&format!("idempotency-key: \"{message}\""))
            && heard[0].ends_with("\r\n\r\ncoin box full")
    );
    assert_eq!(village.server_calls(1)[0]["outcome"], "completed");
    let told = village
        .run(&["message", "explain", &message, "--config", "server.toml"])
        .stdout;
    assert!(told.contains("delivered: trust chap"), "{told}");
    let shown = village
        .run(&["terminal", "show", "stock", "--config", "server.toml"])
        .stdout;
    assert!(!shown.contains("sesame"), "{shown}");
}

/// The stock terminal calls the centre; when its link is up something comes for it. It hangs up after so many messages.
fn dial_in(village: &Village, secret: Option<&str>, heard_max: usize) -> (String, Vec<String>) {
    let mut message = String::new();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let heard = runtime.block_on(async {
        let port = PortAddress::Device(village.path("lines").join(STOCK));
        let line = ModemLine::open(&port, Profile::GENERIC.into())
            .await
            .unwrap();
        let call = line
            .dial(&CENTRE.parse().unwrap(), Duration::from_secs(60))
            .await
            .unwrap();
        let submit = || {
            message = village.send("tel:501", &village.write("report", "coin box full"));
            village
                .chronicle
                .wait_field("server", "connection state checked", "terminal", "stock");
            heard_max
        };
        serve(
            call,
            secret,
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            submit,
        )
        .await
    });
    (message, heard)
}

#[test]
fn on_its_own_call_a_stock_terminal_is_brought_what_comes_if_it_passes_chap_and_nothing_on_its_number_alone()
 {
    let village = Village::found(Plan {
        strangers: STATIONS,
        ..Plan::default()
    });
    add_with_chap(&village, SECRET);
    let (message, heard) = dial_in(&village, Some(SECRET), 1);
    village.wait_delivered(&message);
    assert!(heard[0].ends_with("coin box full"), "{heard:?}");
    assert_eq!(village.server_calls(1)[0]["direction"], "incoming");

    let plan = Plan {
        strangers: STATIONS,
        server_more: "[stock]\nnumber_only = true",
        ..Plan::default()
    };
    let village = Village::found(plan);
    add(&village, &["--trust", "number-only"]);
    let (message, heard) = dial_in(&village, None, 0);
    village.chronicle.wait("server", "call ended");
    assert!(
        heard.is_empty(),
        "a caller's number may be forged: {heard:?}"
    );
    assert!(
        village
            .chronicle
            .said("server", "stock terminal connected")
            .is_empty()
    );
    assert_eq!(
        village.ask(&["message", "show", &message])["envelopes"][0]["state"],
        "waiting"
    );
}

#[test]
fn whoever_does_not_know_the_secret_is_told_nothing() {
    for secret in [Some("another-another-another"), None] {
        let village = Village::found(Plan {
            strangers: STATIONS,
            ..Plan::default()
        });
        add_with_chap(&village, SECRET);
        let terminal = answer_calls(&village, 1, secret, "HTTP/1.1 200 OK\r\n\r\n");
        let message = village.send("tel:501", &village.write("report", "coin box full"));
        assert_eq!(terminal.join().unwrap(), Vec::<String>::new());
        let calls = village.server_calls(1);
        assert!(
            calls[0]["outcome"]
                .as_str()
                .unwrap()
                .starts_with("not proved"),
            "{calls:#?}"
        );
        assert_eq!(
            village.ask(&["message", "show", &message])["envelopes"][0]["state"],
            "waiting"
        );
    }
}

#[test]
fn a_stock_terminal_that_says_later_is_left_alone_until_then_and_explain_says_so() {
    let village = Village::found(Plan {
        strangers: STATIONS,
        ..Plan::default()
    });
    add_with_chap(&village, SECRET);
    let says = "HTTP/1.1 503 Busy\r\nretry-after: 7200\r\ncontent-length: 9\r\n\r\ntray full";
    let terminal = answer_calls(&village, 1, Some(SECRET), says);
    let message = village.send("tel:501", &village.write("report", "coin box full"));
    assert_eq!(terminal.join().unwrap().len(), 1);
    let calls = village.server_calls(1);
    assert_eq!(calls[0]["outcome"], "put off with status 503: tray full");
    let plan = village.ask_until(&["plan"], |plan| {
        plan["entries"][0]["why"] == "backing off after a failed call"
    });
    let at = plan["entries"][0]["at"]
        .as_str()
        .unwrap()
        .parse::<jiff::Timestamp>()
        .unwrap();
    assert!(
        at.duration_since(jiff::Timestamp::now()).as_secs() > 7000,
        "{plan:#}"
    );
    let told = village
        .run(&["message", "explain", &message, "--config", "server.toml"])
        .stdout;
    assert!(
        told.contains("put off with status 503: tray full"),
        "{told}"
    );
}

#[test]
fn a_number_alone_is_trusted_only_where_the_config_says_so() {
    let village = Village::found(Plan {
        strangers: STATIONS,
        ..Plan::default()
    });
    let refused = village.run(
        &[
            "terminal",
            "add",
            "stock",
            "--number",
            STOCK,
            "--trust",
            "number-only",
            "--deliver",
            "http://:8080/inbox",
        ]
        .into_iter()
        .chain(["--config", "server.toml"])
        .collect::<Vec<_>>(),
    );
    assert!(
        refused.code == Some(1) && refused.stderr.contains("number_only = true"),
        "{}",
        refused.stderr
    );

    let mut village = Village::found(Plan {
        strangers: STATIONS,
        server_more: "[stock]\nnumber_only = true",
        ..Plan::default()
    });
    let checked = village.run(&["check-config", "server", "server.toml"]);
    assert!(
        checked.code == Some(0) && checked.stderr.contains("warning: stock.number_only"),
        "{}",
        checked.stderr
    );
    add(&village, &["--trust", "number-only"]);
    let terminal = answer_calls(
        &village,
        1,
        None,
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    );
    let message = village.send("tel:501", &village.write("report", "coin box full"));
    village.wait_delivered(&message);
    assert!(terminal.join().unwrap()[0].ends_with("coin box full"));
    let shown = village.ask(&["message", "show", &message]);
    let reason = shown["envelopes"][0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("trust number-only"), "{shown:#}");

    // What was allowed is not any more.
    village.kill_server();
    let config = std::fs::read_to_string(village.path("server.toml")).unwrap();
    village.write(
        "server.toml",
        config.replace("number_only = true", "number_only = false"),
    );
    village.start_server("strict");
    let address = village
        .chronicle
        .wait("strict", "taking submissions")
        .field("address");
    let sent = village.run(&[
        "send",
        "--json",
        "--server",
        &address,
        "--token-file",
        "token",
        "--to",
        "tel:501",
        "report",
    ]);
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    let second = serde_json::from_str::<serde_json::Value>(&sent.stdout).unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    village
        .chronicle
        .wait_field("strict", "connection state checked", "terminal", "stock");
    let told = village
        .run(&["message", "explain", &second, "--config", "server.toml"])
        .stdout;
    assert!(
        told.contains("nothing but its number proves the terminal"),
        "{told}"
    );
    assert_eq!(
        village.server_calls(1).len(),
        1,
        "the number was not called again"
    );
}

#[test]
fn a_terminal_that_nobody_can_be_is_not_called_until_it_is_invited() {
    let village = Village::found(Plan {
        strangers: STATIONS,
        ..Plan::default()
    });
    let _owner = village.start_owner();
    village.ask(&["terminal", "add", "ghost", "--number", "601"]);
    let ghosts = village.send("tel:601", &village.write("report", "for nobody"));
    village
        .chronicle
        .wait_field("server", "connection state checked", "terminal", "ghost");
    // Were it to be called, it would be before the owner, who waits behind it.
    let owners = village.send("tel:301", &village.write("report", "coin box full"));
    village.wait_delivered(&owners);
    assert!(
        village
            .server_calls(1)
            .iter()
            .all(|call| call["party"] == "owner"),
        "nobody pays for nothing"
    );
    let told = village
        .run(&["message", "explain", &ghosts, "--config", "server.toml"])
        .stdout;
    assert!(
        told.contains("not enrolled") && told.contains("ringup terminal invite ghost"),
        "{told}"
    );
    village.ask(&["terminal", "invite", "ghost", "--caller", "201"]);
    village
        .chronicle
        .wait_field("server", "calling", "terminal", "ghost");
}

#[test]
fn a_number_that_is_all_the_proof_there_is_ends_its_session_when_it_is_changed() {
    let plan = Plan {
        strangers: STATIONS,
        server_more: "[stock]\nnumber_only = true",
        ..Plan::default()
    };
    let village = Village::found(plan);
    add(&village, &["--trust", "number-only"]);
    // It takes the message and never answers.
    let _terminal = answer_calls(&village, 1, None, "");
    village.send("tel:501", &village.write("report", "coin box full"));
    village.chronicle.wait("server", "stock terminal connected");
    while village.ask(&["terminal", "show", "stock"])["connection"] != "connected" {}
    village.ask(&["terminal", "set", "stock", "--number", "601"]);
    let ended = village.chronicle.wait("server", "call ended");
    assert_eq!(
        ended.field("outcome"),
        "ended by the operator: its number was changed"
    );
}
