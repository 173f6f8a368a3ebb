//! The folders and files that the programs keep: used by one server at a time, closed to other users, and still there.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::Mode;
use rustix::process::{Signal, umask};
use serde_json::Value;

use crate::process::{Finished, Process};
use crate::village::{FOR_EVER, Plan, Village, awkward_content};

/// What most machines are set to: all may read what is made.
fn work_with_the_usual_umask() {
    umask(Mode::from_raw_mode(0o022));
}

/// Files and folders below these that other users have rights to, and what they are.
fn open_to_others(places: &[PathBuf]) -> Vec<(PathBuf, u32)> {
    let mut found = Vec::new();
    let mut places = places.to_vec();
    while let Some(place) = places.pop() {
        let kept = fs::symlink_metadata(&place).unwrap();
        if kept.is_dir() {
            places.extend(
                fs::read_dir(&place)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
        if kept.mode() & 0o077 != 0 && !kept.is_symlink() {
            found.push((place, kept.mode() & 0o7777));
        }
    }
    found
}

impl Village {
    /// Has a shell do something in the village's folder, as `ringup`.
    fn shell(&self, who: &str, script: &str) -> Process {
        let mut command = Command::new("/bin/sh");
        command.args([
            "-c",
            &script.replace("ringup ", &format!("{} ", env!("CARGO_BIN_EXE_ringup"))),
        ]);
        command.current_dir(self.path("."));
        Process::start(who, command, &self.chronicle)
    }

    /// A second server with this config, which has to be refused.
    fn second_server_is_refused(&self, who: &str, config: &str) -> Finished {
        let second = self.start(who, &["serve", "--config", config]).finish();
        assert_eq!(second.code, Some(1), "{}", second.stderr);
        let lines: Vec<_> = second.stderr.lines().collect();
        assert!(
            matches!(lines[..], [line] if line.contains("is in use by process ")),
            "{lines:?}"
        );
        second
    }
}

#[test]
fn a_second_server_on_the_folder_changes_nothing_that_the_first_is_at() {
    let village = Village::found(Plan {
        linger: FOR_EVER,
        ..Plan::default()
    });
    let _owner = village.start_owner();
    let first = village.send("tel:301", &village.write("report", "first"));
    village.wait_delivered(&first);
    village.second_server_is_refused("second", "server.toml");
    // The socket is what the operator's commands ask at; the folder is locked without it, too.
    fs::rename(village.path("server/operator.sock"), village.path("socket")).unwrap();
    village.second_server_is_refused("third", "server.toml");
    fs::rename(village.path("socket"), village.path("server/operator.sock")).unwrap();

    let calls = village.ask(&["call", "list"]);
    assert_eq!(
        (calls.as_array().unwrap().len(), &calls[0]["outcome"]),
        (1, &Value::Null),
        "{calls:#}"
    );
    assert_eq!(
        village.ask(&["terminal", "show", "owner"])["connection"],
        "connected"
    );
    let second = village.send("tel:301", &village.write("report", "second"));
    village.wait_delivered(&second);
    assert_eq!(village.received(&second), b"second");
    let key = village.run(&["server-key", "public", "--config", "server.toml"]);
    assert_eq!(key.code, Some(0), "{}", key.stderr);
}

#[test]
fn a_second_dial_up_server_on_the_folder_leaves_the_first_ones_calls_alone() {
    let village = Village::found(Plan {
        linger: FOR_EVER,
        ..Plan::at(&["201"])
    });
    let _owner = village.start_owner();
    let message = village.send("tel:301", &village.write("report", "first"));
    village.wait_delivered(&message);
    village.second_server_is_refused("second", "pop-1.toml");
    let calls = village.ask(&["call", "list"]);
    assert_eq!(calls[0]["outcome"], Value::Null, "{calls:#}");
}

#[test]
fn no_file_of_server_or_terminal_is_for_other_users_whoever_made_the_folder() {
    work_with_the_usual_umask();
    // The information server's state is made by `server-key public`, as in the guide to two servers.
    let village = Village::found(Plan::at(&["201"]));
    let owner = village.start_owner();
    for content in [b"small".to_vec(), awkward_content(100_000)] {
        let message = village.send("tel:301", &village.write("report", content));
        village.wait_delivered(&message);
    }
    let backup = village.path("backup");
    village.ask(&["store", "backup", backup.to_str().unwrap()]);
    let kept = ["server", "pop-1", "state", "inbox", "backup"].map(|name| village.path(name));
    assert_eq!(open_to_others(&kept), []);

    // As they were left by an earlier version, or by another program.
    drop(owner);
    for name in ["pop-1", "state", "inbox"] {
        fs::set_permissions(village.path(name), Permissions::from_mode(0o755)).unwrap();
    }
    let _owner = village.start_owner_again("owner again");
    let message = village.send("tel:301", &village.write("report", "again"));
    village.wait_delivered(&message);
    assert_eq!(
        fs::metadata(village.path("state")).unwrap().mode() & 0o777,
        0o700
    );
    assert_eq!(
        fs::metadata(village.path("inbox")).unwrap().mode() & 0o777,
        0o750
    );
}

#[test]
fn a_umask_that_leaves_reading_to_the_group_holds_for_the_inbox_and_not_for_the_state() {
    let village = Village::found(Plan::default());
    let wait = "umask 027; exec ringup wait --line lines/301 --config owner.toml";
    let _owner = village.shell("owner", wait);
    village.chronicle.wait("owner", "waiting for calls");
    let message = village.send("tel:301", &village.write("report", "rain"));
    village.wait_delivered(&message);
    let mode = |name: &str| fs::metadata(village.path(name)).unwrap().mode() & 0o777;
    assert_eq!(
        [mode("inbox"), mode(&format!("inbox/{message}"))],
        [0o750; 2]
    );
    for name in ["content", "message.toml"] {
        assert_eq!(mode(&format!("inbox/{message}/{name}")), 0o640, "{name}");
    }
    assert_eq!(mode("state"), 0o700);
}

#[test]
fn a_server_whose_folder_is_removed_accepts_nothing_and_raises_an_alarm() {
    let village = Village::found(Plan::default());
    village.send("tel:301", &village.write("report", "before"));
    fs::remove_dir_all(village.path("server")).unwrap();
    let address = village.submission_address();
    let send = [
        "send",
        "--server",
        &address,
        "--token-file",
        "token",
        "--to",
        "tel:301",
        "report",
    ];
    let refused = village.run(&send);
    assert_eq!(
        refused.code,
        Some(1),
        "{}{}",
        refused.stdout,
        refused.stderr
    );
    assert!(
        refused.stderr.contains("the store could not take it"),
        "{}",
        refused.stderr
    );
    let alarm = village
        .chronicle
        .wait_field("server", "alarm raised", "kind", "store");
    assert!(alarm.field("detail").contains("was removed or replaced"));
}

#[test]
fn a_server_that_was_stopped_leaves_all_in_one_database_file() {
    let village = Village::found(Plan::default());
    let message = village.send("tel:301", &village.write("report", "before"));
    assert!(!message.is_empty());
    assert!(
        village
            .path("server/ringup.db-wal")
            .metadata()
            .unwrap()
            .len()
            > 0
    );
    village.signal_server(Signal::TERM);
    village.chronicle.wait_end("server");
    let left: Vec<_> = fs::read_dir(village.path("server"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        !left
            .iter()
            .any(|name| name == "ringup.db-wal" || name == "ringup.db-shm"),
        "{left:?}"
    );
}

#[test]
fn a_file_that_may_not_grow_is_an_error_and_not_the_end_of_the_server() {
    let mut village = Village::found(Plan::default());
    village.signal_server(Signal::TERM);
    village.chronicle.wait_end("server");
    village.kill_server();
    // In blocks of 512 octets: 600 KB.
    let server = village.shell(
        "limited",
        "ulimit -f 1200; exec ringup serve --config server.toml",
    );
    let address = village
        .chronicle
        .wait("limited", "taking submissions")
        .field("address");
    let send = |file: &Path| {
        let file = file.to_str().unwrap();
        village.run(&[
            "send",
            "--server",
            &address,
            "--token-file",
            "token",
            "--to",
            "tel:301",
            file,
        ])
    };
    let refused = send(&village.write("large", awkward_content(900_000)));
    assert_eq!(
        refused.code,
        Some(1),
        "{}{}",
        refused.stdout,
        refused.stderr
    );
    let accepted = send(&village.write("small", "still here"));
    assert_eq!(accepted.code, Some(0), "{}", accepted.stderr);
    drop(server);
}

#[test]
fn nobody_enrols_anew_while_a_session_runs() {
    let village = Village::found(Plan {
        linger: FOR_EVER,
        ..Plan::default()
    });
    let _owner = village.start_owner();
    let message = village.send("tel:301", &village.write("report", "x"));
    village.wait_delivered(&message);
    let kept = fs::read(village.path("state/enrolment.toml")).unwrap();
    let made = village.ask(&["terminal", "invite", "owner", "--caller", "201"]);
    village.write("new.bundle", made["bundle"].as_str().unwrap());
    let refused = village.run(&["enrol", "new.bundle", "--config", "owner.toml"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    assert!(
        refused.stderr.contains("is in use by process "),
        "{}",
        refused.stderr
    );
    assert_eq!(
        fs::read(village.path("state/enrolment.toml")).unwrap(),
        kept
    );
    // What needs no identity goes on beside the session.
    let added = village.run(&[
        "outbox",
        "add",
        "--keep",
        "--to",
        "tel:999",
        "--config",
        "owner.toml",
        "report",
    ]);
    assert_eq!(added.code, Some(0), "{}", added.stderr);
    assert_eq!(
        village
            .run(&["inbox", "list", "--config", "owner.toml"])
            .code,
        Some(0)
    );
}

#[test]
fn a_bundle_or_a_token_that_is_printed_to_a_file_is_for_its_owner_alone() {
    work_with_the_usual_umask();
    let village = Village::found(Plan::default());
    for (file, verb) in [
        ("printed.bundle", "terminal invite owner --caller 201"),
        ("printed.json", "terminal invite owner --caller 201 --json"),
        ("printed.token", "provider add gauge"),
    ] {
        let made = village
            .shell(
                file,
                &format!("ringup {verb} --config server.toml > {file}"),
            )
            .finish();
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        assert_eq!(
            fs::metadata(village.path(file)).unwrap().mode() & 0o777,
            0o600,
            "{file}"
        );
        assert_eq!(
            made.stderr.contains("now it is its owner's alone"),
            !file.ends_with("json"),
            "{}",
            made.stderr
        );
    }
    let piped = village
        .shell(
            "piped",
            "ringup terminal invite owner --caller 201 --config server.toml | cat",
        )
        .finish();
    assert!(
        piped.stderr.contains("can enrol as owner, once"),
        "{}",
        piped.stderr
    );
    assert!(piped.stderr.contains("-o FILE"), "{}", piped.stderr);
    let enrolled = village
        .shell(
            "stdin",
            "ringup enrol - --config owner.toml < printed.bundle",
        )
        .finish();
    assert_eq!(enrolled.code, Some(0), "{}", enrolled.stderr);
    assert!(
        enrolled.stdout.contains("the bundle is void after that"),
        "{}",
        enrolled.stdout
    );
}
