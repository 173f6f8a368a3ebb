//! The small resident binary: its command line, and what it does when it rings.

#![expect(
    clippy::unwrap_used,
    reason = "clippy takes the helpers of a test for no test"
)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread::spawn;
use std::time::Duration;

use exchange::{Config, Outcome, Running};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::timeout;

const RINGUP_WAIT: &str = env!("CARGO_BIN_EXE_ringup-wait");

/// Far more than anything here takes; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

fn ringup_wait(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(RINGUP_WAIT).args(arguments).output().unwrap();
    (
        status.code(),
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}

#[test]
fn it_tells_its_use_and_version_on_standard_output() {
    for (arguments, says) in [
        (
            ["--help"],
            "ringup-wait --line /dev/serial/by-id/usb-MODEM --config",
        ),
        (["-h"], "--answer PROGRAM"),
        (["--version"], env!("CARGO_PKG_VERSION")),
        (["-V"], "ringup-wait "),
    ] {
        let (code, stdout, stderr) = ringup_wait(&arguments);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(stdout.contains(says), "{arguments:?}: {stdout}");
    }
}

#[test]
fn it_refuses_bad_arguments_with_exit_code_2_and_says_which() {
    let cases: [(&[&str], &str); 7] = [
        (&[], "--config is missing"),
        (&["--config", "terminal.toml"], "--line is missing"),
        (&["--line", "lines/owner"], "--config is missing"),
        (
            &["--line", "tcp://nowhere", "--config", "terminal.toml"],
            "tcp://HOST:PORT",
        ),
        (&["--line", "lines/owner", "--config"], "--config"),
        (
            &[
                "--line",
                "lines/owner",
                "--config",
                "terminal.toml",
                "--linger",
                "1s",
            ],
            "--linger",
        ),
        (
            &["--line", "lines/owner", "--config", "terminal.toml", "more"],
            "more",
        ),
    ];
    for (arguments, says) in cases {
        let (code, stdout, stderr) = ringup_wait(arguments);
        assert_eq!(
            (code, stdout.as_str()),
            (Some(2), ""),
            "{arguments:?}: {stderr}"
        );
        assert!(
            stderr.contains(says) && stderr.contains("ringup-wait --help"),
            "{arguments:?}: {stderr}"
        );
    }
}

/// A starter, ended with all it has started.
struct Starter {
    child: Child,
    log: mpsc::Receiver<String>,
}

impl Starter {
    fn start(line: &Path, answer: &Path, notify: &Path) -> Self {
        Self::start_by(Command::new(RINGUP_WAIT), line, answer, notify)
    }

    fn start_by(mut command: Command, line: &Path, answer: &Path, notify: &Path) -> Self {
        command
            .arg("--line")
            .arg(line)
            .arg("--config")
            .arg("the config")
            .arg("--answer")
            .arg(answer);
        command.env("NOTIFY_SOCKET", notify);
        let mut child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, log) = mpsc::channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        spawn(move || {
            lines
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Self { child, log }
    }

    /// Waits for a line of its log.
    fn wait(&self, wanted: &str) -> String {
        let mut heard = String::new();
        while !heard.contains(wanted) {
            let line = self.log.recv_timeout(PATIENCE);
            heard += &line
                .unwrap_or_else(|error| panic!("waited for {wanted:?}: {error}; heard {heard}"));
            heard.push('\n');
        }
        heard
    }
}

impl Drop for Starter {
    fn drop(&mut self) {
        // Not reaped yet: the id is still the group's.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Reads until the text ends with `wanted`.
async fn hear(dte: &mut DuplexStream, wanted: &str) {
    let mut heard = Vec::new();
    let read = async {
        while !heard.ends_with(wanted.as_bytes()) {
            heard.push(dte.read_u8().await.unwrap());
        }
    };
    let in_time = timeout(PATIENCE, read).await.is_ok();
    assert!(
        in_time,
        "waited for {wanted:?}, heard {:?}",
        String::from_utf8_lossy(&heard)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_ring_it_starts_the_answer_program_with_the_line_as_standard_input_and_waits_again_when_that_ends()
 {
    let folder = tempfile::tempdir().unwrap();
    let line = folder.path().join("owner");
    // Notes what it was given, answers, and stays until the file `go` is there.
    let answer = folder.path().join("answer");
    let script = "#!/bin/sh\n[ \"$4\" = --check ] && exit 0\ncd \"${0%/*}\" && printf '%s\\n' \"$@\" >given && printf 'ATA\\r' >&0\n\
                  while [ ! -e go ]; do sleep 0.02; done\nrm go; exit 0\n";
    fs::write(&answer, script).unwrap();
    fs::set_permissions(&answer, fs::Permissions::from_mode(0o700)).unwrap();
    let config: Config = format!(
        "rate = 1000000\nring_cycle = \"300ms\"\ncaller_id_delay = \"50ms\"\ntraining = \"10ms\"\n\
         [[station]]\nnumber = \"201\"\nmemory = true\n[[station]]\nnumber = \"301\"\npty = {line:?}\n"
    )
    .parse()
    .unwrap();
    let exchange = Running::start(config).await.unwrap();
    let mut records = exchange.records();
    let notify = folder.path().join("notify");
    let manager = UnixDatagram::bind(&notify).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let starter = Starter::start(&line, &answer, &notify);
    let mut told = [0; 64];
    let count = tokio::task::block_in_place(|| manager.recv(&mut told)).unwrap();
    assert_eq!(&told[..count], b"READY=1\nSTATUS=waiting for calls");
    let mut caller = exchange.station_stream("201").unwrap();
    caller.write_all(b"ATE0V1X4\r").await.unwrap();
    hear(&mut caller, "OK\r\n").await;
    for _ in 0..2 {
        tokio::task::block_in_place(|| starter.wait("waiting for calls"));
        caller.write_all(b"ATDT301\r").await.unwrap();
        hear(&mut caller, "CONNECT 1000000\r\n").await;
        let given = fs::read_to_string(folder.path().join("given")).unwrap();
        let [command, option, config, heard, hex] = given.lines().collect::<Vec<_>>()[..] else {
            panic!("{given}")
        };
        assert_eq!(
            [command, option, config, heard],
            ["answer", "--config", "the config", "--heard"]
        );
        let heard = ringup_client::starter::from_hex(hex).unwrap();
        assert!(String::from_utf8_lossy(&heard).contains("RING"), "{given}");

        fs::write(folder.path().join("go"), "").unwrap();
        hear(&mut caller, "NO CARRIER\r\n").await; // the end of the program is the end of the call
        let record = timeout(PATIENCE, records.recv()).await.unwrap().unwrap();
        assert_eq!(record.outcome, Outcome::Completed);
        let log = tokio::task::block_in_place(|| starter.wait("waiting again"));
        assert!(log.contains("outcome=\"completed\""), "{log}");
    }
    drop(starter);
    exchange.stop().await.unwrap();
}

/// A program in a folder.
fn script(folder: &Path, text: &str) -> std::path::PathBuf {
    let program = folder.join("answer");
    fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    program
}

#[test]
fn a_config_by_which_no_call_is_answered_is_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let answer = script(folder.path(), "[ \"$4\" = --check ] && exit 2");
    let starter = Starter::start(
        &folder.path().join("no-line"),
        &answer,
        &folder.path().join("no-manager"),
    );
    starter.wait("calls will not be answered");
    drop(starter);
    let starter = Starter::start(
        &folder.path().join("no-line"),
        Path::new("/no/program"),
        &folder.path().join("none"),
    );
    starter.wait("no decision program");
}

#[test]
fn its_log_is_json_where_that_is_asked_for_and_what_stands_in_it_ends_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let line = folder.path().join("no \"line\"\\\u{1b}[2J\n\u{202e}");
    let mut command = Command::new(RINGUP_WAIT);
    command.env("RINGUP_LOG_FORMAT", "json");
    let starter = Starter::start_by(
        command,
        &line,
        Path::new("/no/program"),
        &folder.path().join("no-manager"),
    );
    let heard = starter.wait("line not usable");
    let last: serde_json::Value = serde_json::from_str(heard.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["level"], &last["message"]),
        (&"ERROR".into(), &"line not usable".into()),
        "{last}"
    );
    assert_eq!(last["port"], line.to_str().unwrap());
    let at: jiff::Timestamp = last["timestamp"].as_str().unwrap().parse().unwrap();
    assert!(at <= jiff::Timestamp::now());
    for line in heard.lines() {
        let _: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(!line.contains(modem::shown::is_harmful), "{line:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_modem_is_what_the_config_says_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let answer = script(folder.path(), "printf 'profile gsm\\ninit ATS153=6\\n'");
    let modem = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let line = format!("tcp://{}", modem.local_addr().unwrap());
    let _starter = Starter::start(Path::new(&line), &answer, &folder.path().join("no-manager"));
    let (mut stream, _) = modem.accept().await.unwrap();
    let (mut said, mut command) = (Vec::new(), Vec::new());
    let asked = async {
        while said.last().is_none_or(|last| last != "ATS153=6") {
            match stream.read_u8().await.unwrap() {
                b'\r' => {
                    said.push(String::from_utf8(std::mem::take(&mut command)).unwrap());
                    stream.write_all(b"\r\nOK\r\n").await.unwrap();
                }
                octet => command.push(octet),
            }
        }
    };
    let is_in_time = timeout(PATIENCE, asked).await.is_ok();
    assert!(
        is_in_time && said.contains(&"AT+CLIP=1".to_owned()),
        "{said:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_modem_that_is_unplugged_and_comes_back_as_another_device_under_its_link_is_waited_on_again()
 {
    let folder = tempfile::tempdir().unwrap();
    let answer = script(folder.path(), "exit 0");
    let (link, notify) = (folder.path().join("by-id"), folder.path().join("notify"));
    let mut starter = None;
    for device in ["ttyUSB0", "ttyUSB1"] {
        let pty = folder.path().join(device);
        let config: Config = format!(
            "ring_cycle = \"300ms\"\ncaller_id_delay = \"50ms\"\nno_answer_after = \"5m\"\n\
             [[station]]\nnumber = \"201\"\nmemory = true\n[[station]]\nnumber = \"301\"\npty = {pty:?}\n"
        )
        .parse()
        .unwrap();
        let exchange = Running::start(config).await.unwrap();
        let _ = fs::remove_file(&link); // none yet
        std::os::unix::fs::symlink(&pty, &link).unwrap();
        let starter = starter.get_or_insert_with(|| Starter::start(&link, &answer, &notify));
        let mut caller = exchange.station_stream("201").unwrap();
        caller.write_all(b"ATE0V1X4\r").await.unwrap();
        hear(&mut caller, "OK\r\n").await;
        tokio::task::block_in_place(|| starter.wait("waiting for calls"));
        // It rings until the starter hears it.
        caller.write_all(b"ATDT301\r").await.unwrap();
        tokio::task::block_in_place(|| starter.wait("ringing: starting the decision program"));
        drop(caller);
        drop(exchange); // and the device with it
    }
}
