//! The control socket as a script uses it, and as one that means harm does.

use ringup_exchange::{Config, ExchangeError, Running};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    time::timeout,
};

/// Far more than anything here takes; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

const STATIONS: &str = "control = \"control\"\nrate = 1000000\ntraining = \"20ms\"\n\
    [[station]]\nnumber = \"201\"\nmemory = true\n[[station]]\nnumber = \"202\"\nmemory = true\n";

async fn start(folder: &Path) -> Running {
    let config: Config = STATIONS
        .parse()
        .expect("the configuration of the test is right");
    Running::start(config.relative_to(folder))
        .await
        .expect("it starts")
}

struct Script(BufReader<UnixStream>);

impl Script {
    async fn connect(folder: &Path) -> Self {
        Self(BufReader::new(
            UnixStream::connect(folder.join("control"))
                .await
                .expect("somebody listens"),
        ))
    }

    async fn hear(&mut self) -> Value {
        let mut line = String::new();
        timeout(PATIENCE, self.0.read_line(&mut line))
            .await
            .expect("an answer")
            .expect("a connection");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}"))
    }

    async fn ask(&mut self, request: &str) -> Value {
        self.0
            .get_mut()
            .write_all(format!("{request}\n").as_bytes())
            .await
            .expect("a connection");
        self.hear().await
    }
}

async fn read_to(dte: &mut (impl AsyncReadExt + Unpin), wanted: &str) {
    let mut heard = Vec::new();
    let read = async {
        while !heard.ends_with(wanted.as_bytes()) {
            heard.push(dte.read_u8().await.expect("the port is open"));
        }
    };
    assert!(
        timeout(PATIENCE, read).await.is_ok(),
        "waited for {wanted:?}, heard {:?}",
        String::from_utf8_lossy(&heard)
    );
}

#[tokio::test]
async fn a_script_changes_a_station_cuts_a_line_and_follows_calls_and_records() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path()).await;
    let mode = fs::metadata(folder.path().join("control"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600, "for its owner alone");
    let mut script = Script::connect(folder.path()).await;
    let mut follower = Script::connect(folder.path()).await;
    assert_eq!(
        follower.ask(r#"{"do":"records"}"#).await,
        json!({"ok": true})
    );
    let busy = r#"{"do":"set","station":"202","settings":{"busy":true}}"#;
    assert_eq!(script.ask(busy).await, json!({"ok": true}));
    let (mut caller, mut called) = (
        running.station_stream("201").unwrap(),
        running.station_stream("202").unwrap(),
    );
    caller.write_all(b"ATD202\r").await.unwrap();
    read_to(&mut caller, "\r\nBUSY\r\n").await;
    assert_eq!(follower.hear().await["record"]["outcome"], "busy");

    let free = r#"{"do":"set","station":"202","settings":{"busy":false,"rate_to":9600}}"#;
    assert_eq!(script.ask(free).await, json!({"ok": true}));
    called.write_all(b"ATS0=1\r").await.unwrap();
    read_to(&mut called, "\r\nOK\r\n").await;
    caller.write_all(b"ATD202\r").await.unwrap();
    read_to(&mut called, "\r\nCONNECT 9600\r\n").await;
    let calls = script.ask(r#"{"do":"calls"}"#).await;
    let call = json!({
        "id": 2, "caller": "201", "called": "202", "state": "connected", "rings": 1,
        "flights": 0, "octets_from_caller": 0, "octets_from_called": 0,
    });
    assert_eq!(calls["calls"], json!([call]));
    assert_eq!(
        script.ask(r#"{"do":"bills"}"#).await,
        json!({"ok": true, "bills": []}),
        "nobody has a tariff"
    );
    let stations = script.ask(r#"{"do":"stations"}"#).await;
    let station = json!({"number": "201", "state": "in_call", "open": true, "dtr": true, "carrier": true, "ring": false});
    assert_eq!(stations["stations"][0], station);
    assert_eq!(
        script.ask(r#"{"do":"cut","station":"202"}"#).await,
        json!({"ok": true})
    );
    read_to(&mut caller, "\r\nNO CARRIER\r\n").await;
    assert_eq!(follower.hear().await["record"]["outcome"], "cut");
    running.stop().await.unwrap();
    assert!(
        !folder.path().join("control").exists(),
        "the socket is gone with the exchange"
    );
}

#[tokio::test]
async fn what_is_wrong_is_answered_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let _running = start(folder.path()).await;
    let mut script = Script::connect(folder.path()).await;
    for (request, word) in [
        ("", "EOF"),
        ("null", "expected"),
        ("[[[[[[[[", "invalid"),
        (r#"{"do":"destroy"}"#, "destroy"),
        (r#"{"do":"cut"}"#, "station"),
        (r#"{"do":"cut","station":"999"}"#, "999"),
        (r#"{"do":"calls","of":"201"}"#, "of"),
        (
            r#"{"do":"set","station":"201","settings":{"busy":1}}"#,
            "busy: must be true or false",
        ),
        (
            r#"{"do":"set","station":"201","settings":{"number":"7"}}"#,
            "number: unknown key",
        ),
        (
            r#"{"do":"set","station":"201","settings":{"busy":true,"rate_to":1}}"#,
            "rate_to: 1 is not from",
        ),
        (
            r#"{"do":"set","station":"201","settings":{"busy":null}}"#,
            "",
        ),
        ("\u{0}\u{7f}", ""),
    ] {
        let answer = script.ask(request).await;
        assert_eq!(answer["ok"], json!(false), "{request}");
        assert!(
            answer["error"].as_str().unwrap().contains(word),
            "{request}: {answer}"
        );
    }
    let mut script = Script::connect(folder.path()).await;
    script.0.get_mut().write_all(&[0xff, b'\n']).await.unwrap();
    assert_eq!(script.hear().await["ok"], json!(false));
    assert_eq!(
        script.ask(r#"{"do":"calls"}"#).await["ok"],
        json!(true),
        "it still answers"
    );
}

#[tokio::test]
async fn a_line_without_end_ends_the_connection_and_not_the_exchange() {
    let folder = tempfile::tempdir().unwrap();
    let _running = start(folder.path()).await;
    let mut script = Script::connect(folder.path()).await;
    // It stops reading, so at some point this fails.
    let _ = script.0.get_mut().write_all(&vec![b'{'; 1_000_000]).await;
    let mut rest = Vec::new();
    let ended = timeout(PATIENCE, script.0.read_to_end(&mut rest))
        .await
        .expect("it ends");
    assert!(
        ended.is_err() || String::from_utf8_lossy(&rest).contains("longer than 4096"),
        "{rest:?}"
    );
    assert_eq!(
        Script::connect(folder.path())
            .await
            .ask(r#"{"do":"calls"}"#)
            .await["ok"],
        json!(true)
    );
}

#[tokio::test]
async fn a_dead_socket_is_replaced_and_a_living_one_or_a_file_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let running = start(folder.path()).await;
    let config: Config = STATIONS.parse().unwrap();
    let second = Running::start(config.clone().relative_to(folder.path())).await;
    assert!(matches!(second, Err(ExchangeError::Control { .. })));
    running.stop().await.unwrap();
    fs::write(&path, "precious").unwrap();
    let third = Running::start(config.relative_to(folder.path())).await;
    assert!(matches!(third, Err(ExchangeError::Control { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}
