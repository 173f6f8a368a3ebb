//! Configs: all faults at once, each with its key; and those in the examples are good.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn ringup(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringup"))
        .args(arguments)
        .output()
        .unwrap()
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// Checks `text` as a config of this kind. It must be refused with exactly these keys.
fn assert_faults(kind: &str, text: &str, keys: &[&str]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, text).unwrap();
    let path = file.path().to_str().unwrap();
    let mut starters = vec![vec!["check-config", kind, path]];
    match kind {
        "server" => starters.push(vec!["serve", "--config", path]),
        "terminal" => starters.push(vec!["dial-in", "--config", path]),
        _ => starters.push(vec!["exchange", "--config", path]),
    }
    for arguments in starters {
        let Output {
            status,
            stdout,
            stderr,
        } = ringup(&arguments);
        let (said, printed) = (
            String::from_utf8(stderr).unwrap(),
            String::from_utf8(stdout).unwrap(),
        );
        assert_eq!(
            (status.code(), printed.as_str()),
            (Some(2), ""),
            "{arguments:?}: {said}"
        );
        let told = said
            .lines()
            .filter_map(|line| line.trim_start().split_once(": "))
            .map(|(key, _)| key);
        let told: Vec<_> = told
            .map(|key| key.rsplit(' ').next().unwrap())
            .filter(|key| *key != "ringup")
            .collect();
        let missing: Vec<_> = keys.iter().filter(|key| !told.contains(key)).collect();
        let needless: Vec<_> = told.iter().filter(|key| !keys.contains(key)).collect();
        assert!(
            missing.is_empty() && needless.is_empty(),
            "{missing:?} not told, {needless:?} told for nothing: {said}"
        );
    }
}

#[test]
fn all_faults_of_a_servers_config_are_told_at_once_each_with_its_key() {
    let text = r#"
        stat = "server"
        [submission]
        listen = "everywhere"
        size_max = 0
        [quota]
        terminal_messages = 0
        provider_octets = "many"
        [store]
        keep_rows = "1h"
        [link]
        address = "224.0.0.1"
        pool_first = "10.77.0.9"
        pool_last = "10.77.0.3"
        [retry]
        first = "soon"
        longest = "1s"
        [[line]]
        name = "Line 1"
        [[line]]
        name = "line-2"
        port = "tcp://modems"
        speed = 9600
    "#;
    let keys = [
        "stat",
        "submission.listen",
        "quota.terminal_messages",
        "quota.provider_octets",
        "store.keep_rows",
        "submission.size_max",
        "link.address",
        "link.pool_last",
        "retry.first",
        "retry.longest",
        "line[0].name",
        "line[0].port",
        "line[1].port",
        "line[1].speed",
    ];
    assert_faults("server", text, &keys);
}

#[test]
fn faults_of_money_and_of_when_to_call_are_told_with_their_keys() {
    let text = r#"
        [retry]
        redials_in_all = "many"
        [dispatch]
        calls_per_minute = 0
        reserve_urgent = 1
        [[conditions]]
        hours = ["always"]
        closed = ["christmas"]
        lines = ["line-9"]
        [budget]
        server = "lots"
        longest_call = "1s"
        linger = "yes"
        [[budget.of]]
        day = "1"
        [[tariff]]
        name = "minutes"
        [[tariff.window]]
        unit_ms = 5
        price = "1"
        [[line]]
        name = "line-1"
        port = "/dev/ttyUSB0"
        tariff = "hours"
    "#;
    let keys = [
        "retry.redials_in_all",
        "dispatch.calls_per_minute",
        "dispatch.reserve_urgent",
        "conditions[0].hours[0]",
        "conditions[0].closed[0]",
        "conditions[0].lines",
        "budget.server",
        "budget.longest_call",
        "budget.linger",
        "budget.of[0].terminal",
        "tariff[0]",
        "line[0].tariff",
    ];
    assert_faults("server", text, &keys);
}

#[test]
fn faults_of_two_servers_are_told_with_their_keys() {
    let information = r#"
        [[dialup_server]]
        name = "berlin"
        key = "short"
        lines = [{ name = "line-1", tariff = "none" }]
        [[dialup_server]]
        name = "berlin"
        key = "3xk3Xf0VsTCzO_yKDB_buGEWkAvIwgwKwoG-lLqdh5U"
        lines = [{ name = "line-1", tariff = "none" }, { name = "line-1", port = "/dev/ttyUSB0" }]
        [[dialup_server]]
        name = "berlin"
        key = "3xk3Xf0VsTCzO_yKDB_buGEWkAvIwgwKwoG-lLqdh5U"
    "#;
    let keys = [
        "information.listen",
        "dialup_server[0].key",
        "dialup_server[0].lines[1].name",
        "dialup_server[0].lines[0].tariff",
        "dialup_server[1].lines[1].port",
        "dialup_server[1].name",
        "dialup_server[1].key",
        "dialup_server[2].lines",
    ];
    assert_faults("server", information, &keys);
    let dialup = r#"
        [dialup]
        name = "Berlin"
        information = "here"
        [submission]
        listen = "none"
        [[line]]
        name = "line-1"
        port = "/dev/ttyUSB0"
        tariff = "local"
    "#;
    let keys = [
        "dialup.name",
        "dialup.information",
        "dialup.keys",
        "line[0].tariff",
        "submission",
    ];
    assert_faults("server", dialup, &keys);
}

#[test]
fn every_config_in_the_guide_to_two_servers_is_good() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides/two-servers.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let blocks: Vec<_> = guide
        .split("```toml")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, block).unwrap();
        let Output { status, stderr, .. } =
            ringup(&["check-config", "server", file.path().to_str().unwrap()]);
        assert!(
            status.success(),
            "{block}: {}",
            String::from_utf8_lossy(&stderr)
        );
    }
}

#[test]
fn every_config_in_the_guide_to_money_is_good() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides/money.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let blocks: Vec<_> = guide
        .split("```toml")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert_eq!(blocks.len(), 3);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, blocks.concat()).unwrap();
    let Output { status, stderr, .. } =
        ringup(&["check-config", "server", file.path().to_str().unwrap()]);
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
}

#[test]
fn conditions_that_say_nothing_or_are_for_nobody_are_refused_and_those_in_the_guide_are_good() {
    let terminal = "[terminal]\ncallers = [\"201\"]\n";
    assert_faults(
        "terminal",
        &format!("{terminal}[conditions]\nreason = \"roaming\""),
        &["conditions.urgency"],
    );
    assert_faults(
        "terminal",
        &format!("{terminal}[conditions]\nurgency = \"soon\""),
        &["conditions.urgency"],
    );
    let provider = "[provider]\ntoken_file = \"token\"\n";
    assert_faults(
        "terminal",
        &format!("{provider}[conditions]\nsize_max = 5000"),
        &["conditions"],
    );
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides/outbox.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let block = guide
        .split("```toml")
        .map(|rest| rest.split("```").next().unwrap());
    let block = block
        .last()
        .filter(|block| block.contains("[conditions]"))
        .unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, format!("{terminal}{block}")).unwrap();
    let Output { status, stderr, .. } =
        ringup(&["check-config", "terminal", file.path().to_str().unwrap()]);
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
}

#[test]
fn all_faults_of_a_terminals_config_are_told_at_once_each_with_its_key() {
    let text = r#"
        [line]
        port = ""
        delay = 60
        address = "10.77"
        [server]
        number = "2x1"
        [terminal]
        callers = ["201", "+0201", 201]
        linger = "61s"
        inbix = "inbox"
        [provider]
        token = "rup_AAAA"
    "#;
    let keys = [
        "line.port",
        "line.delay",
        "line.address",
        "server.number",
        "terminal.callers[1]",
        "terminal.callers[2]",
        "terminal.linger",
        "terminal.inbix",
        "provider.token_file",
        "provider.token",
    ];
    assert_faults("terminal", text, &keys);
}

#[test]
fn all_faults_of_an_exchanges_config_are_told_at_once_each_with_its_key() {
    let text = r#"
        rate = 1
        delay = "later"
        [[station]]
        number = "201"
        pty = "a"
        [[station]]
        number = "201"
        presents = "nobody"
    "#;
    let keys = [
        "rate",
        "delay",
        "station[1].number",
        "station[1].presents",
        "station[1]",
    ];
    assert_faults("exchange", text, &keys);
}

#[test]
fn a_config_that_is_not_there_or_is_no_toml_has_exit_code_2_too() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "rate = = 1\n").unwrap();
    for kind in ["server", "terminal", "exchange"] {
        for path in ["/nonexistent.toml", file.path().to_str().unwrap()] {
            let Output { status, stderr, .. } = ringup(&["check-config", kind, path]);
            let said = String::from_utf8(stderr).unwrap();
            assert_eq!(status.code(), Some(2), "{kind} {path}: {said}");
            assert!(said.contains(path), "{kind} {path}: {said}");
        }
    }
}

#[test]
fn every_config_in_the_examples_is_good() {
    let mut checked = 0;
    let files = std::fs::read_dir(examples())
        .unwrap_or_else(|error| panic!("{}: {error}", examples().display()));
    for file in files {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let kind = match path.file_stem().unwrap().to_str().unwrap() {
            "server" | "information" | "dialup" => "server",
            "exchange" => "exchange",
            _ => "terminal",
        };
        let Output { status, stderr, .. } = ringup(&["check-config", kind, path.to_str().unwrap()]);
        assert!(
            status.success(),
            "{}: {}",
            path.display(),
            String::from_utf8_lossy(&stderr)
        );
        checked += 1;
    }
    assert!(
        checked > 0,
        "there is no example in {}",
        examples().display()
    );
}

/// Runs `ringup` on a file with this text, in its folder; gives exit code, standard output and standard error.
fn on_file(text: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x.toml"), text).unwrap();
    std::fs::write(folder.path().join("note"), "x").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ringup"))
        .args(arguments)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn a_check_says_in_json_what_it_says_in_words() {
    let check = ["check-config", "terminal", "x.toml", "--json"];
    let (code, stdout, _) = on_file("[terminal]\ncallers = [\"201\"]\nlingr = \"1s\"\n", &check);
    let told: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &told["good"]), (Some(2), &false.into()));
    assert_eq!(
        (&told["faults"][0]["key"], &told["faults"][0]["line"]),
        (&"terminal.lingr".into(), &3.into())
    );
    let (code, stdout, _) = on_file("[terminal]\ncallers = [\"201\"]\n", &check);
    let told: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (code, &told["good"], &told["warnings"]),
        (Some(0), &true.into(), &serde_json::json!([]))
    );
}

#[test]
fn the_check_warns_of_a_submission_port_that_the_network_reaches_in_clear() {
    let check = |listen: &str| {
        let text =
            format!("[submission]\nlisten = \"{listen}\"\n[[line]]\nname = \"a\"\nport = \"x\"\n");
        on_file(&text, &["check-config", "server", "x.toml"])
    };
    let (code, _, stderr) = check("0.0.0.0:7480");
    assert_eq!(code, Some(0));
    assert!(
        stderr.contains("submission.listen") && stderr.contains("in clear"),
        "{stderr}"
    );
    for loopback in ["127.0.0.1:7480", "[::1]:7480", "none"] {
        assert_eq!(
            check(loopback),
            (Some(0), "x.toml is good\n".to_owned(), String::new()),
            "{loopback}"
        );
    }
}

#[test]
fn what_can_never_work_is_said_by_the_check() {
    let check = ["check-config", "terminal", "x.toml"];
    let (code, _, stderr) = on_file("[terminal]\ncallers = []\n", &check);
    assert_eq!(code, Some(0));
    assert!(
        stderr.contains("terminal.callers is empty") && stderr.contains("nothing ever reaches it"),
        "{stderr}"
    );
    let outbox = "[server]\nnumber = \"201\"\n[outbox]\nstarter = \"line.sock\"\n[terminal]\ncallers = [\"201\"]\n";
    let (_, _, stderr) = on_file(outbox, &check);
    assert!(stderr.contains("line.port"), "{stderr}");
    let add = [
        "outbox",
        "add",
        "--config",
        "x.toml",
        "--to",
        "tel:301",
        "--urgency",
        "urgent",
        "note",
    ];
    let (code, stdout, stderr) = on_file(outbox, &add);
    assert_eq!(code, Some(0), "it is on the disk: {stderr}");
    assert!(
        stdout.contains("kept in the outbox as") && stderr.contains("line.port"),
        "{stdout}{stderr}"
    );
    let (_, _, stderr) = on_file("[[inbox]]\ndirectory = \"in\"\n", &check);
    assert!(stderr.contains("inbox: is for a [terminal]"), "{stderr}");
}

#[test]
fn what_is_wrong_to_send_whenever_it_is_sent_has_exit_code_2() {
    for (arguments, says) in [
        (
            &[
                "send",
                "--token-file",
                "note",
                "--to",
                "tel:301",
                "nofile.txt",
            ][..],
            "could not read nofile.txt",
        ),
        (
            &["send", "--token-file", "notoken", "--to", "tel:301", "note"],
            "notoken",
        ),
        (&["send", "--token-file", "note", "note"], "no recipient"),
        (
            &[
                "send",
                "--token-file",
                "note",
                "--server",
                "https://centre.example",
                "--to",
                "tel:301",
                "note",
            ],
            "no TLS",
        ),
    ] {
        let (code, _, stderr) = on_file("", arguments);
        assert!(
            code == Some(2) && stderr.contains(says),
            "{arguments:?}: {code:?} {stderr}"
        );
    }
}
