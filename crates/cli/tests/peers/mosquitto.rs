//! An MQTT topic as a source: `examples/mqtt-source.sh` between Debian's mosquitto and our server.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::chronicle::PATIENCE;
use crate::process::Process;
use crate::unpacked;
use crate::village::{Plan, Village};

/// What it says when it listens, and when another process took its port in between.
const WORDS: [&str; 2] = ["running", "Error: Address already in use"];

struct Broker {
    who: String,
    port: u16,
    _process: Process,
}

impl Broker {
    /// It wants to be told its port: one that the system has just given, and another if that was taken.
    fn start(village: &Village) -> Self {
        for attempt in 1.. {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            drop(listener);
            // Whoever tests stays who he is: as root it would become a user that this machine may not have.
            let user = if fs::metadata("/proc/self").unwrap().uid() == 0 {
                "user root\n"
            } else {
                ""
            };
            let log = "log_timestamp false\nlog_dest stderr\n";
            let config = format!("listener {port} 127.0.0.1\nallow_anonymous true\n{user}{log}");
            let config = village.write("mosquitto.conf", config);
            let mut command = unpacked::command("usr/sbin/mosquitto");
            command.arg("-c").arg(config);
            let who = format!("mosquitto, attempt {attempt}");
            let process = Process::start(&who, command, &village.chronicle);
            if wait_word(village, &who, &WORDS) == WORDS[0] {
                return Self {
                    who,
                    port,
                    _process: process,
                };
            }
        }
        unreachable!("it is tried for ever")
    }

    /// Publishes with a receipt: when this is over the broker has it.
    fn publish(&self, village: &Village, topic: &str, text: &str) {
        let mut command = unpacked::command("usr/bin/mosquitto_pub");
        command.args([
            "-p",
            &self.port.to_string(),
            "-q",
            "1",
            "-t",
            topic,
            "-m",
            text,
        ]);
        let published = Process::start(
            &format!("publishes {topic} {text}"),
            command,
            &village.chronicle,
        )
        .finish();
        assert_eq!(published.code, Some(0), "{}", published.stderr);
    }

    /// The example, with both programs on its path.
    fn example(&self, village: &Village, who: &str, server: &str, to: &str) -> Process {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/mqtt-source.sh");
        let mut command = Command::new("sh");
        command.arg(script).args([
            "alarm/#",
            "--json",
            "--token-file",
            "token",
            "--to",
            to,
            "--server",
            server,
        ]);
        let path = format!(
            "{}:{}",
            village.path("bin").display(),
            std::env::var("PATH").unwrap()
        );
        command
            .env("PATH", path)
            .env("MQTT_PORT", self.port.to_string());
        command
            .env("MQTT_HOST", "127.0.0.1")
            .current_dir(village.path(""));
        Process::start(who, command, &village.chronicle)
    }
}

/// Waits until `who` has said one of `words`, whatever stands around it.
fn wait_word<'a>(village: &Village, who: &str, words: &[&'a str]) -> &'a str {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = village.chronicle.plain_text(who);
        if let Some(word) = words.iter().find(|word| text.contains(**word)) {
            return word;
        }
        assert!(
            Instant::now() < deadline,
            "{who} said none of {words:?}: {text}"
        );
        village.chronicle.wait_lines(1, Duration::from_millis(100));
    }
}

/// `ringup`, and `mosquitto_sub` as it was unpacked.
fn make_path(village: &Village) {
    let bin = village.path("bin");
    fs::create_dir(&bin).unwrap();
    symlink(env!("CARGO_BIN_EXE_ringup"), bin.join("ringup")).unwrap();
    let command = unpacked::command("usr/bin/mosquitto_sub");
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .collect();
    let words = words
        .iter()
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect::<Vec<_>>()
        .join(" ");
    let wrapper = bin.join("mosquitto_sub");
    fs::write(&wrapper, format!("#!/bin/sh\nexec {words} \"$@\"\n")).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Waits until the terminal has as many messages; gives their contents in the order in which they were published.
fn arrived(village: &Village, count: usize) -> Vec<String> {
    village.chronicle.wait_nth("owner", "stored", count);
    let mut texts: Vec<_> = village
        .inbox()
        .iter()
        .map(|id| String::from_utf8(village.received(id)).unwrap())
        .collect();
    texts.sort();
    texts
}

#[test]
fn each_alarm_of_a_broker_is_a_message_once_also_of_those_that_come_while_the_source_is_away() {
    let village = Village::found(Plan::default());
    make_path(&village);
    let broker = Broker::start(&village);
    let _owner = village.start_owner();
    let server = village.submission_address();
    let source = broker.example(&village, "source", &server, "tel:301");
    wait_word(&village, &broker.who, &["as ringup"]);
    broker.publish(&village, "alarm/pump", "1 pump stands");
    broker.publish(&village, "weather", "nobody asked for it");
    assert_eq!(arrived(&village, 1), ["1 pump stands"]);

    source.kill();
    let many: Vec<_> = (2..8).map(|number| format!("{number} flood")).collect();
    many.iter()
        .for_each(|text| broker.publish(&village, "alarm/gauge", text));
    let _source = broker.example(&village, "source, again", &server, "tel:301");
    let mut wanted = vec!["1 pump stands".to_owned()];
    wanted.extend(many);
    assert_eq!(arrived(&village, wanted.len()), wanted);
}

#[test]
fn what_the_server_refuses_for_good_is_set_aside_with_a_word_and_the_next_is_sent() {
    let village = Village::found(Plan {
        size_max: 100,
        ..Plan::default()
    });
    make_path(&village);
    let broker = Broker::start(&village);
    let _owner = village.start_owner();
    let _source = broker.example(&village, "source", &village.submission_address(), "tel:301");
    wait_word(&village, &broker.who, &["as ringup"]);
    let long = "far too long ".repeat(20);
    broker.publish(&village, "alarm/pump", &long);
    broker.publish(&village, "alarm/pump", "1 pump stands");
    assert_eq!(arrived(&village, 1), ["1 pump stands"]);
    wait_word(&village, "source", &["given up, kept as "]);
    assert!(
        village.chronicle.plain_text("source").contains("413"),
        "{}",
        village.chronicle.plain_text("source")
    );
    let spool = fs::read_dir(village.path("mqtt-spool"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let kept: Vec<_> = spool
        .filter(|path| path.extension().is_some_and(|ending| ending == "refused"))
        .collect();
    let [kept] = kept.as_slice() else {
        panic!("{kept:?}")
    };
    assert_eq!(fs::read_to_string(kept).unwrap(), long);
}
