//! An exchange between two stations, and what it has seen of their call.

use std::fmt;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Deserialize;
use tempfile::TempDir;

use crate::Case;

pub(crate) const CALLER: &str = "201";
pub(crate) const CALLED: &str = "301";

/// Beyond what the slowest of them needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// Between two looks at what has no event.
const LOOK: Duration = Duration::from_millis(2);

/// An exchange that runs. It ends when this is dropped.
pub(crate) struct Exchange {
    process: Child,
    folder: TempDir,
}

/// What the exchange's record says of a call.
#[derive(Debug, Deserialize)]
pub(crate) struct Record {
    connected: Timestamp,
    ended: Timestamp,
    octets_from_caller: u64,
    octets_from_called: u64,
    flights: u64,
}

/// What had crossed the line at some moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    at: Timestamp,
    octets: u64,
    flights: u64,
}

/// Part of a call.
#[derive(Debug)]
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    pub(crate) time: Duration,
    pub(crate) octets: u64,
    pub(crate) flights: u64,
}

/// How a message was carried.
#[derive(Debug)]
pub(crate) struct Carried {
    /// From CONNECT until it is at the other end.
    pub(crate) there: Duration,
    pub(crate) record: Record,
    pub(crate) phases: Vec<Phase>,
}

impl Exchange {
    pub(crate) fn open(case: Case) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = format!(
            "rate = {}\ndelay = \"{}ms\"\nring_cycle = \"1s\"\ntraining = \"100ms\"\nrecords = \"calls.jsonl\"\n",
            case.rate_bps,
            case.delay.as_millis()
        );
        for number in [CALLER, CALLED] {
            config += &format!("[[station]]\nnumber = \"{number}\"\npty = \"{number}\"\n");
        }
        fs::write(folder.path().join("exchange.toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringup"));
        command
            .args([
                "exchange",
                "--config",
                "exchange.toml",
                "--control",
                "control",
            ])
            .current_dir(folder.path());
        let mut process = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap())
            .lines()
            .map_while(Result::ok);
        assert!(
            log.any(|line| line.contains("exchange ready")),
            "the exchange does not start"
        );
        thread::spawn(move || log.for_each(drop)); // or its pipe were full some day
        Self { process, folder }
    }

    pub(crate) fn port(&self, number: &str) -> PathBuf {
        self.folder.path().join(number)
    }

    /// What has crossed the line by now.
    pub(crate) fn mark(&self) -> Mark {
        #[derive(Deserialize)]
        struct Answer {
            calls: Vec<Call>,
        }
        #[derive(Deserialize)]
        struct Call {
            octets_from_caller: u64,
            octets_from_called: u64,
            flights: u64,
        }
        let at = Timestamp::now();
        let mut control = UnixStream::connect(self.folder.path().join("control")).unwrap();
        control.write_all(b"{\"do\":\"calls\"}\n").unwrap();
        let mut line = String::new();
        BufReader::new(control).read_line(&mut line).unwrap();
        let Answer { calls } = serde_json::from_str(&line).unwrap();
        let [
            Call {
                octets_from_caller,
                octets_from_called,
                flights,
            },
        ] = &calls[..]
        else {
            panic!("not one call: {line}")
        };
        Mark {
            at,
            octets: octets_from_caller + octets_from_called,
            flights: *flights,
        }
    }

    /// The record of the only call, once it is over.
    pub(crate) fn record(&self) -> Record {
        wait_for("the end of the call", || records(self.folder.path()).pop())
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let _ = self.process.kill(); // ended already is as good
        let _ = self.process.wait();
    }
}

/// The records in an exchange's folder.
pub(crate) fn records(folder: &Path) -> Vec<Record> {
    let text = fs::read_to_string(folder.join("calls.jsonl")).unwrap_or_default();
    let whole = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    whole
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Looks until something is there.
pub(crate) fn wait_for<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(LOOK);
    }
}

impl Carried {
    /// From marks at the end of each phase but the last, at the end of the content, and the record.
    pub(crate) fn new(names: [&'static str; 2], set_up: Mark, there: Mark, record: Record) -> Self {
        let [first, second] = names;
        let since = |from: Timestamp, to: Timestamp| {
            Duration::try_from(to.duration_since(from)).unwrap_or_default()
        };
        let phases = vec![
            Phase {
                name: first,
                time: since(record.connected, set_up.at),
                octets: set_up.octets,
                flights: set_up.flights,
            },
            Phase {
                name: second,
                time: since(set_up.at, there.at),
                octets: there.octets - set_up.octets,
                flights: there.flights - set_up.flights,
            },
        ];
        Self {
            there: since(record.connected, there.at),
            record,
            phases,
        }
    }
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            there,
            record,
            phases,
        } = self;
        let Record {
            connected,
            ended,
            octets_from_caller,
            octets_from_called,
            flights,
        } = record;
        let over = ended.duration_since(*connected).as_secs_f64();
        write!(
            f,
            "{:.2} s | {over:.2} s | {octets_from_caller} + {octets_from_called} | {flights} | ",
            there.as_secs_f64()
        )?;
        for (
            index,
            Phase {
                name,
                time,
                octets,
                flights,
            },
        ) in phases.iter().enumerate()
        {
            let comma = if index == 0 { "" } else { "; " };
            write!(
                f,
                "{comma}{name} {:.2} s, {octets} octets, {flights} flights",
                time.as_secs_f64()
            )?;
        }
        Ok(())
    }
}
