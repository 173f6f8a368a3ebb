//! An information service with many lines: the exchange and the terminals in this process, the servers beside it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use exchange::Running;
use serde_json::Value;
use tempfile::TempDir;

use crate::chronicle::Chronicle;
use crate::process::{Finished, Process};
use crate::subscribers::{self, TOPIC};

/// Of every line, one way.
pub(crate) const DELAY: Duration = Duration::from_millis(60);

pub(crate) struct Service {
    pub(crate) exchange: Arc<Running>,
    pub(crate) chronicle: Arc<Chronicle>,
    pub(crate) folder: TempDir,
}

impl Service {
    /// An exchange that is as `pace` says, with so many lines of the server's and as many terminals, all in its store.
    pub(crate) async fn found(pace: &str, lines: u32, terminals: u32) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("ringup-bench-")
            .tempdir()
            .unwrap();
        fs::create_dir(folder.path().join("lines")).unwrap();
        eprintln!("== {terminals} terminals are enrolled");
        subscribers::enrol(folder.path(), terminals).await;
        let mut text = format!("{pace}\ndelay = \"{}ms\"\n", DELAY.as_millis());
        for line in 0..lines {
            text += &format!(
                "[[station]]\nnumber = \"{}\"\npty = \"{}\"\n",
                line_number(line),
                line_port(line)
            );
        }
        for terminal in 0..terminals {
            text += &format!(
                "[[station]]\nnumber = \"{}\"\nmemory = true\n",
                subscribers::number(terminal)
            );
        }
        let config = text
            .parse::<exchange::Config>()
            .unwrap()
            .relative_to(folder.path());
        let exchange = Arc::new(Running::start(config).await.unwrap());
        Self {
            exchange,
            chronicle: Arc::default(),
            folder,
        }
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    pub(crate) fn start(&self, who: &str, arguments: &[&str]) -> Process {
        Process::start(who, ringup(self.folder.path(), arguments), &self.chronicle)
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        let finished = self.start(&arguments.join(" "), arguments).finish();
        assert_eq!(
            finished.code,
            Some(0),
            "ringup {arguments:?}: {}",
            finished.stderr
        );
        finished
    }

    /// One item of so many octets for all who are registered.
    pub(crate) fn publish(&self, octets: usize) {
        let added = self.run(&[
            "provider",
            "add",
            "press",
            "--json",
            "--config",
            "server.toml",
        ]);
        let added: Value = serde_json::from_str(&added.stdout).unwrap();
        self.write("token", added["token"].as_str().unwrap());
        self.publish_again(octets);
    }

    /// Another message of the same provider.
    pub(crate) fn publish_again(&self, octets: usize) {
        fs::write(self.folder.path().join("item"), content(octets)).unwrap();
        let address = self
            .chronicle
            .wait("server", "taking submissions")
            .field("address");
        let to = format!("topic:{TOPIC}");
        self.run(&[
            "send",
            "--server",
            &address,
            "--token-file",
            "token",
            "--to",
            &to,
            "item",
        ]);
    }

    /// What the server at this address counts, by name and labels.
    pub(crate) fn metrics(&self, address: &str) -> BTreeMap<String, f64> {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let lines = answer.lines().filter_map(|line| line.rsplit_once(' '));
        lines
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let told = self.chronicle.tell();
            let last = told.len().saturating_sub(20_000);
            eprintln!(
                "the last that was said:\n{}",
                told.get(last..).unwrap_or(&told)
            );
        }
    }
}

fn ringup(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringup"));
    command.args(arguments).current_dir(folder);
    command
}

pub(crate) fn line_number(line: u32) -> String {
    (200_000 + line).to_string()
}

pub(crate) fn line_name(line: u32) -> String {
    format!("line-{line}")
}

fn line_port(line: u32) -> String {
    format!("lines/{line}")
}

/// `[[line]]` of so many lines.
pub(crate) fn line_sections(lines: u32) -> String {
    let line = |line| {
        let delay = DELAY.as_millis();
        format!(
            "[[line]]\nname = \"{}\"\nport = \"{}\"\ndelay = \"{delay}ms\"\n",
            line_name(line),
            line_port(line)
        )
    };
    (0..lines).map(line).collect()
}

/// Nothing that packing makes smaller (xorshift64, Marsaglia 2003).
fn content(octets: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[7]
    };
    std::iter::repeat_with(next).take(octets).collect()
}
