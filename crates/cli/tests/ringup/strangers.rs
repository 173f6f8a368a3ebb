//! Strangers at the doors: however many come, the operator is answered, and what prints ends in order.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};

use crate::online::write_config;
use crate::process::Process;
use crate::village::{Plan, Village};

const MORE: &str = "[mail]\nlisten = \"127.0.0.1:0\"\ndomains = [\"mail.example\"]\nprovider = \"vending\"\n\
                    [metrics]\nlisten = \"127.0.0.1:0\"\n";

/// Those that are held open: the others have been refused, and closed.
fn visit(address: &str, count: usize, words: &[u8]) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..count {
        let Ok(mut stream) = TcpStream::connect(address) else {
            continue;
        };
        if stream.write_all(words).is_ok() {
            held.push(stream);
        }
    }
    held
}

#[test]
fn with_64_descriptors_and_100_idle_strangers_at_each_door_the_operator_is_answered_and_all_is_well_after_them()
 {
    let mut village = Village::found(Plan {
        server_more: MORE,
        ..Plan::default()
    });
    village.kill_server();
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "ulimit -n 64 && exec \"$0\" serve --config server.toml",
        env!("CARGO_BIN_EXE_ringup"),
    ]);
    command.current_dir(village.path("."));
    let _server = Process::start("limited", command, &village.chronicle);
    village.chronicle.wait("limited", "server ready");
    village.chronicle.wait("limited", "line ready");
    let address = |message: &str| village.chronicle.wait("limited", message).field("address");
    let doors = [
        "taking submissions",
        "taking mail",
        "taking terminals",
        "telling metrics",
    ]
    .map(address);
    let strangers: Vec<_> = doors
        .iter()
        .flat_map(|door| visit(door, 100, b""))
        .collect();
    let token = fs::read_to_string(village.path("token")).unwrap();
    for _ in 0..3 {
        assert_eq!(village.ask(&["message", "list"]), serde_json::json!([]));
        assert_eq!(
            village.ask(&["terminal", "list"]).as_array().unwrap().len(),
            1
        );
    }
    let backup = village.path("backup");
    village.ask(&["store", "backup", backup.to_str().unwrap()]);
    assert!(backup.join("ringup.db").exists());
    // A terminal has its seat beside them.
    write_config(&village, "");
    let config = fs::read_to_string(village.path("owner.toml")).unwrap();
    village.write(
        "owner.toml",
        config.replace(&village.delivery_address(), &doors[2]),
    );
    let visit = village.run(&["connect", "--config", "owner.toml"]);
    assert_eq!(visit.code, Some(0), "{}", visit.stderr);
    drop(strangers);
    // Their seats are free once the server has seen them go.
    let content = village.write("content", vec![7; 200_000]);
    let sent = loop {
        let arguments = [
            "send",
            "--server",
            &doors[0],
            "--token-file",
            "token",
            "--to",
            "tel:301",
        ];
        let sent = village.run(&[&arguments[..], &[content.to_str().unwrap()]].concat());
        if sent.code == Some(0) {
            break sent;
        }
    };
    assert!(sent.stdout.contains("accepted as"), "{}", sent.stdout);
    assert!(!token.is_empty());
    assert_eq!(
        village
            .chronicle
            .said("limited", "cannot accept connections; trying again")
            .len(),
        0
    );
}

/// Heads that do not end, at both HTTP ports, of 15 KiB each: more connections than there is room for.
#[test]
fn a_thousand_unfinished_heads_take_a_bounded_memory_and_the_server_goes_on() {
    let village = Village::found(Plan {
        server_more: MORE,
        ..Plan::default()
    });
    let address = |message: &str| village.chronicle.wait("server", message).field("address");
    let doors = ["taking submissions", "telling metrics"].map(address);
    let before = village.server_memory_peak();
    let head = format!("POST /v1/messages HTTP/1.1\r\nx: {}", "y".repeat(15_000));
    let strangers: Vec<_> = doors
        .iter()
        .flat_map(|door| visit(door, 500, head.as_bytes()))
        .collect();
    assert_eq!(village.ask(&["message", "list"]), serde_json::json!([]));
    let grown = village.server_memory_peak() - before;
    assert!(
        grown < 64 << 20,
        "{grown} octets for {} strangers",
        strangers.len()
    );
    for mut stranger in strangers {
        let _ = stranger.shutdown(Shutdown::Write);
        let _ = stranger.read(&mut [0; 100]); // a refusal, or the end
    }
    let content = village.write("content", "x");
    village.send("tel:301", &content);
}

#[test]
fn a_reader_that_has_gone_is_no_fault_and_a_full_disk_is_one() {
    let folder = tempfile::TempDir::new().unwrap();
    let config = folder.path().join("server.toml");
    fs::write(&config, "state = \"server\"\n").unwrap();
    let run = |stdout: Stdio, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringup"));
        command
            .args(arguments)
            .arg(&config)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped());
        let output = command.output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    for arguments in [
        &["check-config", "server"][..],
        &["server-key", "public", "--config"],
        &["server-key", "public", "--json", "--config"],
    ] {
        assert_eq!(
            run(closed(), arguments),
            (Some(0), String::new()),
            "{arguments:?}"
        );
        let (code, said) = run(full(), arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {said}");
        assert!(
            said.starts_with("ringup: could not write to standard output: No space left"),
            "{said}"
        );
    }
}
