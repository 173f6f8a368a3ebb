//! `ringup demo`.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustix::process::Signal;

use crate::chronicle::Chronicle;
use crate::process::{Finished, Process};
use crate::village::awkward_content;

/// The demo ends its own processes only when it is asked to end.
struct Asked(Option<Process>);

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(demo) = self.0.take() {
            demo.signal(Signal::TERM);
            demo.finish();
        }
    }
}

fn demo(folder: &Path, file: &str) -> Finished {
    let chronicle = Arc::new(Chronicle::default());
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringup"));
    command
        .args([
            "demo", "--once", "--rate", "1000000", "--delay", "1ms", "--file", file, "--folder",
        ])
        .arg(folder);
    let mut demo = Asked(Some(Process::start("demo", command, &chronicle)));
    chronicle.wait_end("demo");
    demo.0.take().expect("taken here first").finish()
}

#[test]
fn the_demo_delivers_a_file_and_says_where_it_is_and_what_its_digest_is() {
    let folder = tempfile::tempdir().unwrap();
    let content = awkward_content(70_000);
    let file = folder.path().join("photo.jpg");
    std::fs::write(&file, &content).unwrap();
    let Finished {
        code,
        stdout,
        stderr,
    } = demo(&folder.path().join("demo"), file.to_str().unwrap());
    assert_eq!(code, Some(0), "{stdout}\n{stderr}");
    let arrived = stdout
        .lines()
        .find_map(|line| line.split_once("arrived at "))
        .expect(&stdout)
        .1;
    assert!(std::fs::read(arrived).unwrap() == content, "{arrived}");
    let sha256 = Command::new("sha256sum")
        .arg(&file)
        .output()
        .unwrap()
        .stdout;
    let sha256 = String::from_utf8(sha256)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned();
    assert!(
        stdout.contains("70000 octets take 0.7 s of each call at 1000000 bit/s"),
        "{stdout}"
    );
    assert!(stdout.contains(&sha256), "{sha256} is not in {stdout}");
}

#[test]
fn the_demo_of_an_information_service_brings_news_and_mail_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let chronicle = Arc::new(Chronicle::default());
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringup"));
    command
        .args([
            "demo", "--isp", "--once", "--rate", "1000000", "--delay", "1ms", "--folder",
        ])
        .arg(folder.path().join("demo"));
    let mut demo = Asked(Some(Process::start("demo", command, &chronicle)));
    chronicle.wait_end("demo");
    let Finished {
        code,
        stdout,
        stderr,
    } = demo.0.take().expect("as above").finish();
    assert_eq!(code, Some(0), "{stdout}\n{stderr}");
    for says in [
        "anna      reads: River rises",
        "bert      reads: River rises",
        "and Anna has her mail",
    ] {
        assert!(stdout.contains(says), "{says}: {stdout}");
    }
    let calls = std::fs::read_to_string(folder.path().join("demo/calls.jsonl")).unwrap();
    assert!(
        calls.contains("\"201\"") && calls.contains("\"202\""),
        "each dial-up server placed a call: {calls}"
    );
}

#[test]
fn the_demo_says_which_file_it_cannot_read() {
    let folder = tempfile::tempdir().unwrap();
    let Finished {
        code,
        stdout,
        stderr,
    } = demo(folder.path(), "/nonexistent");
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stderr.contains("could not read /nonexistent"), "{stderr}");
}
