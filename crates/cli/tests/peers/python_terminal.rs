//! A terminal that is not ours: `examples/terminal.py`, with Python's `ssl` and PyPI's `h2`. It proves that docs/protocol.md
//! is enough to write one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use delivery::proof::{PublicKey, SecretKey};

use crate::process::{Finished, Process};
use crate::village::{Plan, Village, awkward_content};

/// PKCS #8 of version 1 around an Ed25519 seed (RFC 8410 §7), which is all that every OpenSSL reads.
const PKCS8_HEAD: [u8; 16] = [
    0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
];

fn pem(label: &str, der: &[u8]) -> String {
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        STANDARD.encode(der)
    )
}

/// What `openssl req -x509 -newkey ed25519` makes.
fn make_key(village: &Village) -> SecretKey {
    let key = SecretKey::generate().unwrap();
    village.write(
        "meter.key",
        pem(
            "PRIVATE KEY",
            &[&PKCS8_HEAD[..], &key.pkcs8()[16..48]].concat(),
        ),
    );
    village.write("meter.pem", pem("CERTIFICATE", &key.certificate()));
    key
}

fn python(village: &Village, who: &str, arguments: &[&str]) -> Finished {
    let packages = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .unwrap()
        .join("peers/python");
    let packages = ["h2-4.4.1", "hpack-4.2.0", "hyperframe-6.1.0"].map(|name| packages.join(name));
    let missing: Vec<&PathBuf> = packages
        .iter()
        .filter(|package| !package.is_dir())
        .collect();
    assert!(
        missing.is_empty(),
        "there is no {missing:?}: run cargo xtask peers"
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/terminal.py");
    let mut command = Command::new("python3");
    command
        .args(["-B", "-s"])
        .arg(script)
        .args(arguments)
        .current_dir(village.path(""));
    command.env("PYTHONPATH", std::env::join_paths(packages).unwrap());
    Process::start(who, command, &village.chronicle).finish()
}

/// Adds the terminal; gives its id.
fn add(village: &Village) -> String {
    let added = village.ask(&[
        "terminal",
        "add",
        "meter",
        "--address",
        "10.77.0.9",
        "--trust",
        "certificate",
    ]);
    let certificate = village.run(&["server-key", "certificate", "--config", "server.toml"]);
    village.write("server.pem", certificate.stdout);
    added["id"].as_str().unwrap().to_owned()
}

fn take(village: &Village, who: &str, id: &str) -> Finished {
    let address = village.delivery_address();
    python(
        village,
        who,
        &[
            "take",
            &address,
            id,
            "meter.key",
            "meter.pem",
            "server.pem",
            "taken",
        ],
    )
}

fn register(village: &Village, key: &str) {
    let registered = village.run(&[
        "terminal",
        "register",
        "meter",
        "--key",
        key,
        "--config",
        "server.toml",
    ]);
    assert_eq!(registered.code, Some(0), "{}", registered.stderr);
}

#[test]
fn a_terminal_written_from_the_protocol_document_takes_what_waits() {
    let village = Village::found(Plan::default());
    let (key, id) = (make_key(&village), add(&village));
    let shown = python(&village, "key", &["key", "meter.pem"]);
    assert_eq!(
        shown.stdout.trim(),
        key.public().to_string(),
        "{}",
        shown.stderr
    );
    register(&village, shown.stdout.trim());
    let contents = [awkward_content(300_000), b"second".to_vec(), Vec::new()];
    let messages = contents
        .each_ref()
        .map(|content| village.send("terminal:meter", &village.write("report", content)));
    let taken = take(&village, "meter", &id);
    assert_eq!(taken.code, Some(0), "{}", taken.stderr);
    for (message, content) in messages.iter().zip(&contents) {
        village.wait_delivered(message);
        assert_eq!(
            fs::read(village.path("taken").join(message)).unwrap(),
            *content
        );
    }
    assert_eq!(
        fs::read_dir(village.path("taken")).unwrap().count(),
        3,
        "no parts are left"
    );
    assert_eq!(village.server_calls(1)[0]["outcome"], "completed");
    // Nothing waits: it is told so, and goes.
    assert_eq!(take(&village, "meter, again", &id).code, Some(0));
}

#[test]
fn it_takes_nothing_from_another_server_and_one_with_another_key_is_told_nothing() {
    let village = Village::found(Plan::default());
    let (key, id) = (make_key(&village), add(&village));
    let message = village.send("terminal:meter", &village.write("report", "coin box full"));
    let fails = |who: &str| {
        assert_ne!(take(&village, who, &id).code, Some(0), "{who}");
        assert_eq!(
            village.ask(&["message", "show", &message])["envelopes"][0]["state"],
            "waiting",
            "{who}"
        );
    };
    fails("not enrolled");
    // Its text begins with a hyphen.
    register(&village, &PublicKey::from_octets([0xf9; 32]).to_string());
    fails("another key is registered");
    register(&village, &key.public().to_string());
    let real = fs::read(village.path("server.pem")).unwrap();
    village.write(
        "server.pem",
        pem("CERTIFICATE", &SecretKey::generate().unwrap().certificate()),
    );
    fails("another server is pinned");
    village.write("server.pem", real);
    assert_eq!(take(&village, "all is well", &id).code, Some(0));
    village.wait_delivered(&message);
}
