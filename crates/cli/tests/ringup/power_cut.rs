//! The power fails: what was told before is true of what is on the disk after it.
//!
//! Server and terminal run under one strace, which writes down in one order all that both do to their files and all that
//! they say. [`disk`] does it again, up to any moment, and forgets what was not synced. What is left is opened by the
//! store and compared with what had been said by then: each 202, each message stored, each receipt.

mod disk;
mod trace;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;
use model::verdict::Verdict;
use serde_json::Value;
use store::{Last, Store};

use crate::mail::{Chance, Letter, Sender};
use crate::village::{OWNER, Plan, Village};
use disk::{Disk, Leaves};
use trace::{Call, Step};

/// The folders that a cut strikes: the server's, and the terminal's two.
const FOLDERS: [&str; 3] = ["server", "inbox", "state"];

const LETTERS: usize = 30;

/// Cuts at moments of chance; more are made right after each 202, each message stored, each receipt.
const CUTS: usize = 40;

/// Told of one run.
const BREACHES_MAX: usize = 100;

/// What had been said up to some step: each with the step after which it was.
#[derive(Debug, Default)]
struct Said {
    accepted: BTreeMap<String, usize>,
    stored: BTreeMap<String, usize>,
    delivered: BTreeMap<String, usize>,
}

#[test]
fn what_was_told_before_a_power_cut_is_true_after_it() {
    let seed = crate::kills::number(crate::kills::SEED, 1);
    let mut chance = Chance::new(seed);
    let mut village = Village::found(Plan {
        no_answer_after: "1s",
        ..Plan::default()
    });
    // One message before: the folders are there, and older than what is cut.
    let owner = village.start_owner();
    let before = village.send("tel:301", &village.write("report", "before"));
    village.wait_delivered(&before);
    village.chronicle.wait_nth("owner", "waiting for calls", 2);
    owner.kill();
    village.kill_server();

    let safe = Disk::of(&fs::canonicalize(village.path("")).unwrap(), &FOLDERS);
    let letters = traced(&village, seed, &mut chance);
    let steps = trace::read(&fs::read_to_string(village.path("trace")).unwrap());
    let said = said(&steps);
    assert_eq!(
        said.accepted.keys().collect::<Vec<_>>(),
        letters.keys().collect::<Vec<_>>(),
        "as the provider heard it"
    );

    let told = [&said.accepted, &said.stored, &said.delivered]
        .into_iter()
        .flat_map(BTreeMap::values)
        .copied();
    let told: BTreeSet<usize> = told.collect();
    let at_random =
        (0..CUTS).map(|_| usize::try_from(chance.below(1 + steps.len() as u64)).unwrap());
    let cuts = at_random.chain(told.iter().copied()).collect();
    let all_ways = [Leaves::Nothing, Leaves::Everything, Leaves::Some];
    let (tried, breaches) = Trial {
        disk: safe.clone(),
        steps: &steps,
        said: &said,
        letters: &letters,
    }
    .run(&cuts, &all_ways, &mut chance, |_| true, BREACHES_MAX);
    assert_eq!(breaches, [] as [String; 0]);

    // Each of the syncs is needed: a disk on which it does nothing loses what was told.
    for (what, is_done) in SYNCS {
        let trial = Trial {
            disk: safe.clone(),
            steps: &steps,
            said: &said,
            letters: &letters,
        };
        let (_, breaches) = trial.run(
            &told,
            &[Leaves::Nothing],
            &mut chance,
            |path| !is_done(path),
            1,
        );
        assert!(!breaches.is_empty(), "nobody misses the sync of {what}");
    }

    // In the middle, the whole programs.
    let mut by_time: Vec<usize> = said.delivered.values().copied().collect();
    by_time.sort_unstable();
    let (mut disk, cut) = (safe, by_time[by_time.len() / 3]);
    steps[..cut].iter().for_each(|step| disk.step(step));
    let left = tempfile::tempdir().unwrap();
    disk.cut(Leaves::Nothing, &mut chance, left.path());
    go_on(&mut village, left.path(), cut, &said, &letters);
    println!(
        "seed {seed}: {} steps, {tried} power cuts; {} messages accepted, {} published, {} receipts; lost 0, double verdicts 0",
        steps.len(),
        said.accepted.len(),
        said.stored.len(),
        said.delivered.len(),
    );
}

/// The syncs that promises hang on, by what they are of.
type IsSync = fn(&Path) -> bool;
const SYNCS: [(&str, IsSync); 6] = [
    ("the store's log", |path| {
        path.ends_with("server/ringup.db-wal")
    }),
    ("a content file", |path| {
        path.parent()
            .is_some_and(|folder| folder.ends_with("server/contents"))
    }),
    ("the folder of contents", |path| {
        path.ends_with("server/contents")
    }),
    ("a message's content in the inbox", |path| {
        path.ends_with("content")
    }),
    ("a message's folder in the inbox", |path| {
        path.parent()
            .is_some_and(|folder| folder.ends_with(".incoming"))
    }),
    ("the inbox", |path| path.ends_with("inbox")),
];

/// What was done and said, on one disk.
struct Trial<'a> {
    disk: Disk,
    steps: &'a [Step],
    said: &'a Said,
    letters: &'a BTreeMap<String, Letter>,
}

impl Trial<'_> {
    /// Cuts the power after so many steps, each time in these ways; syncs do something where `is_synced`. How many cuts there
    /// were, and what was told and is not so, until it is enough.
    fn run(
        self,
        cuts: &BTreeSet<usize>,
        ways: &[Leaves],
        chance: &mut Chance,
        is_synced: impl Fn(&Path) -> bool,
        breaches_max: usize,
    ) -> (usize, Vec<String>) {
        let Self {
            mut disk,
            steps,
            said,
            letters,
        } = self;
        let (mut tried, mut done, mut breaches) = (0, 0, Vec::new());
        for cut in cuts {
            if breaches.len() >= breaches_max {
                break;
            }
            for step in &steps[done..*cut] {
                match &step.call {
                    Call::Sync { path } if !is_synced(path) => disk.pass(),
                    _ => disk.step(step),
                }
            }
            done = *cut;
            for leaves in ways {
                let place = tempfile::tempdir().unwrap();
                disk.cut(*leaves, chance, place.path());
                let found = compare(place.path(), *cut, said, letters);
                breaches.extend(
                    found.iter().map(|what| {
                        format!("cut after {cut} steps that leaves {leaves:?}: {what}")
                    }),
                );
                tried += 1;
            }
        }
        (tried, breaches)
    }
}

/// Runs server and terminal under strace while letters are sent; gives the letters by message id.
fn traced(village: &Village, seed: u64, chance: &mut Chance) -> BTreeMap<String, Letter> {
    let peers = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .unwrap()
        .join("peers/root");
    let strace = peers.join("usr/bin/strace");
    assert!(
        strace.is_file(),
        "this test needs Debian's strace, which is not here: run `cargo xtask peers`"
    );
    let libraries =
        ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"].map(|folder| peers.join(folder));
    let libraries = libraries
        .map(|folder| folder.display().to_string())
        .join(":");
    let both = format!(
        "\"$0\" wait --line lines/{OWNER} --config owner.toml & exec \"$0\" serve --config server.toml"
    );
    let mut command = Command::new(peers.join("lib64/ld-linux-x86-64.so.2"));
    command.arg("--library-path").arg(libraries).arg(strace);
    command.args([
        "-f",
        "-y",
        "-xx",
        "-s",
        "1000000",
        "-o",
        "trace",
        "-e",
        trace::CALLS,
    ]);
    command
        .args(["sh", "-c", &both, env!("CARGO_BIN_EXE_ringup")])
        .current_dir(village.path(""));
    let who = "server and owner";
    let process = crate::process::Process::start(who, command, &village.chronicle);
    for word in ["line ready", "waiting for calls"] {
        village.chronicle.wait(who, word);
    }
    let address = village
        .chronicle
        .wait(who, "taking submissions")
        .field("address");
    let sender = Sender::new(fs::read_to_string(village.path("token")).unwrap(), address);
    for index in 0..LETTERS {
        sender.send(&Letter::new(seed, index, chance), &village.chronicle);
        village
            .chronicle
            .wait_lines(4, Duration::from_millis(chance.below(300)));
    }
    village.ask_until(&["terminal", "show", "owner"], |owner| {
        owner["waiting"] == 0
    });
    process.kill();
    sender.accepted.into_inner().unwrap()
}

fn said(steps: &[Step]) -> Said {
    let mut said = Said::default();
    for (index, step) in steps.iter().enumerate() {
        let Call::Write { octets, .. } = &step.call else {
            continue;
        };
        let text = String::from_utf8_lossy(octets);
        // Before the write: the reader may have it before the writer knows.
        let index = step.began.min(index);
        if let Some(id) = text
            .strip_prefix("HTTP/1.1 202")
            .and_then(|text| text.split("\"id\":\"").nth(1))
        {
            said.accepted.entry(id[..22].to_owned()).or_insert(index);
        }
        for entry in text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        {
            let kind = match entry["message"].as_str() {
                Some("stored") => &mut said.stored,
                Some("delivered") => &mut said.delivered,
                _ => continue,
            };
            kind.entry(entry["message_id"].as_str().unwrap().to_owned())
                .or_insert(index);
        }
    }
    said
}

/// Holds what a cut has left in `place` against what had been said; gives what is not so.
fn compare(
    place: &Path,
    cut: usize,
    said: &Said,
    letters: &BTreeMap<String, Letter>,
) -> Vec<String> {
    let mut breaches = Vec::new();
    let by_then = |told: &BTreeMap<String, usize>| -> Vec<String> {
        told.iter()
            .filter(|(_, at)| **at <= cut)
            .map(|(id, _)| id.clone())
            .collect()
    };
    let inbox = place.join("inbox");
    let has = |id: &str| {
        let note = fs::read_to_string(inbox.join(id).join("message.toml")).unwrap_or_default();
        let content = fs::read(inbox.join(id).join("content"));
        content.is_ok_and(|content| content == letters[id].content)
            && note.contains(&letters[id].sha256())
    };
    let stored = by_then(&said.stored);
    breaches.extend(
        stored
            .iter()
            .filter(|id| !has(id))
            .map(|id| format!("{id} was stored and is not in the inbox")),
    );
    let published = fs::read_dir(&inbox).into_iter().flatten();
    // Not the one from before.
    let published = published.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let published = published.filter(|id| letters.contains_key(id));
    breaches.extend(
        published
            .filter(|id| !has(id))
            .map(|id| format!("{id} is published and not whole")),
    );

    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let opened = runtime.block_on(async {
        let store = Store::open(&place.join("server"), Timestamp::now())
            .map_err(|error| format!("the store: {error:?}"))?;
        let findings = store
            .check()
            .await
            .map_err(|error| format!("the check: {error:?}"))?;
        let messages = store
            .messages(Last(u32::MAX))
            .await
            .map_err(|error| format!("the list: {error:?}"))?;
        Ok::<_, String>((findings.faults, messages))
    });
    let (faults, messages) = match opened {
        Ok(opened) => opened,
        Err(why) => return [breaches, vec![why]].concat(),
    };
    breaches.extend(faults);
    let kept: BTreeMap<String, Vec<Option<Verdict>>> = messages
        .into_iter()
        .map(|message| {
            (
                message.head.id.to_string(),
                message
                    .envelopes
                    .iter()
                    .map(|envelope| envelope.verdict)
                    .collect(),
            )
        })
        .collect();
    for id in by_then(&said.accepted) {
        if kept.get(&id).map(Vec::len) != Some(1) {
            breaches.push(format!(
                "{id} was accepted, and the store has {:?}",
                kept.get(&id)
            ));
        }
    }
    let delivered = vec![Some(Verdict::Delivered)];
    for id in by_then(&said.delivered) {
        if kept.get(&id) != Some(&delivered) {
            breaches.push(format!(
                "the receipt of {id} was written down, and the store has {:?}",
                kept.get(&id)
            ));
        }
    }
    // Whoever is cut first: the server must not have a receipt for what the terminal loses in the same moment.
    for (id, _) in kept
        .iter()
        .filter(|(id, verdicts)| letters.contains_key(*id) && **verdicts == delivered)
    {
        if !has(id) {
            breaches.push(format!(
                "the server has a receipt for {id}, and the inbox has it not"
            ));
        }
    }
    breaches
}

/// Starts the programs on what a cut in the middle has left, and lets them finish.
fn go_on(
    village: &mut Village,
    left: &Path,
    cut: usize,
    said: &Said,
    letters: &BTreeMap<String, Letter>,
) {
    for folder in FOLDERS {
        fs::remove_dir_all(village.path(folder)).unwrap();
        fs::rename(left.join(folder), village.path(folder)).unwrap();
    }
    village.start_server("server after the cut");
    let _owner = village.start_owner_again("owner after the cut");
    village.ask_until(&["terminal", "show", "owner"], |owner| {
        owner["waiting"] == 0
    });
    let published = village.inbox();
    let again: BTreeSet<String> = village
        .chronicle
        .said("owner after the cut, attempt 1", "stored")
        .iter()
        .map(|entry| entry.field("message_id"))
        .collect();
    for (id, _) in said.accepted.iter().filter(|(_, at)| **at <= cut) {
        let shown = village.ask(&["message", "show", id]);
        let state = shown["envelopes"][0]["state"].as_str().unwrap();
        assert!(
            state == "delivered" || !letters[id].is_lasting,
            "{id} is {state}"
        );
        assert!(
            state != "delivered" || published.contains(id),
            "{id} is not published"
        );
    }
    for (id, _) in said.stored.iter().filter(|(_, at)| **at <= cut) {
        assert!(!again.contains(id), "{id} was published a second time");
    }
}
