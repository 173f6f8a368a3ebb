//! What a terminal does with what has come: handed over while the call goes on, listed, read, watched, acknowledged.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::village::{Plan, Village};

impl Village {
    /// Adds to the owner's config.
    fn owner_also(&self, text: &str) {
        let config = fs::read_to_string(self.path("owner.toml")).expect("the village has one");
        self.write("owner.toml", config + text);
    }

    fn inbox_verb(&self, verb: &[&str]) -> crate::process::Finished {
        self.run(&[&["inbox", "--config", "owner.toml"], verb].concat())
    }
}

#[test]
fn what_comes_is_handed_over_by_its_rule_and_the_call_waits_for_nobody() {
    let village = Village::found(Plan::default());
    village.owner_also(
        "[[inbox]]\ntypes = [\"message/rfc822\"]\nmaildir = \"Mail\"\n\
         [[inbox]]\ncommand = [\"/bin/sh\", \"-c\", \"read go < gate; cat > taken.$RINGUP_ID\"]\n",
    );
    let fifo = Command::new("mkfifo")
        .arg(village.path("gate"))
        .status()
        .unwrap();
    assert!(fifo.success());
    let _owner = village.start_owner();
    let note = village.send("tel:301", &village.write("report", "coin box full"));
    village.wait_delivered(&note);
    // The call is over although the program has not begun to read.
    village.server_calls(1);
    assert!(!village.path(&format!("taken.{note}")).exists());
    fs::write(village.path("gate"), "go\n").unwrap();
    village
        .chronicle
        .wait_field("owner", "handed over", "message_id", &note);
    assert_eq!(
        fs::read_to_string(village.path(&format!("taken.{note}"))).unwrap(),
        "coin box full"
    );

    let mail = village.write("mail", "Subject: sold out\r\n\r\nCola.\r\n");
    let address = village.submission_address();
    let send = [
        "send",
        "--json",
        "--server",
        &address,
        "--token-file",
        "token",
        "--to",
        "tel:301",
    ];
    let sent = village.run(
        &[
            &send[..],
            &["--content-type", "message/rfc822", mail.to_str().unwrap()],
        ]
        .concat(),
    );
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    let mail: Value = serde_json::from_str(&sent.stdout).unwrap();
    village.chronicle.wait_field(
        "owner",
        "handed over",
        "message_id",
        mail["id"].as_str().unwrap(),
    );
    let new: Vec<_> = fs::read_dir(village.path("Mail/new"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(new.len(), 1);
    assert!(
        fs::read_to_string(&new[0])
            .unwrap()
            .starts_with("Subject: sold out")
    );
    let listed: Value =
        serde_json::from_str(&village.inbox_verb(&["list", "--json"]).stdout).unwrap();
    assert!(
        listed
            .as_array()
            .unwrap()
            .iter()
            .all(|entry| !entry["done_at"].is_null()),
        "{listed:#}"
    );
}

#[test]
fn a_message_is_listed_read_and_acknowledged_and_whoever_watches_hears_of_it() {
    let village = Village::found(Plan::default());
    let none = village.inbox_verb(&["list"]);
    assert!(
        none.code == Some(1) && none.stderr.contains("nothing has come"),
        "{}",
        none.stderr
    );
    let mut watch = Command::new(env!("CARGO_BIN_EXE_ringup"));
    watch
        .args(["inbox", "watch", "--json", "--config", "owner.toml"])
        .current_dir(village.path("."));
    let mut watch = watch.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let _owner = village.start_owner();
    for content in ["rain", "sun"] {
        let message = village.send("tel:301", &village.write("report", content));
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(line["id"], message.as_str());
        assert_eq!(village.inbox_verb(&["read", &message]).stdout, content);
        assert_eq!(
            fs::read_to_string(
                line["content"]
                    .as_str()
                    .map(|path| village.path(path))
                    .unwrap()
            )
            .unwrap(),
            content
        );
        assert_eq!(village.inbox_verb(&["ack", &message]).code, Some(0));
    }
    watch.kill().unwrap();
    watch.wait().unwrap();
    let new: Value =
        serde_json::from_str(&village.inbox_verb(&["list", "--new", "--json"]).stdout).unwrap();
    assert_eq!(new, serde_json::json!([]));
    let table = village.inbox_verb(&["list"]).stdout;
    assert!(
        table.starts_with("ID ") && table.lines().count() == 3,
        "{table}"
    );
    let stranger = village.inbox_verb(&["ack", "AaIHE1Sgc2ypVgGTAI8zgw"]);
    assert!(
        stranger
            .stderr
            .contains("no message AaIHE1Sgc2ypVgGTAI8zgw is here"),
        "{}",
        stranger.stderr
    );
}

#[test]
fn rules_that_cannot_be_are_refused_with_their_place() {
    let village = Village::found(Plan::default());
    village.owner_also(
        "[[inbox]]\ntopics = [\"a/#/b\"]\ndirectory = \"x\"\nurl = \"http://example.com/\"\nkeep = \"soon\"\n",
    );
    let refused = village.run(&["check-config", "terminal", "owner.toml"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stdout);
    for says in ["inbox[0].topics", "inbox[0].url", "inbox[0].keep"] {
        assert!(refused.stderr.contains(says), "{says}: {}", refused.stderr);
    }
}
