//! `kill -9` at random points, from a seed: what was accepted has one verdict, and is published once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use model::verdict::Verdict;
use rustix::process::{Signal, kill_process};
use store::{Last, MessageEntry, Store};

use crate::mail::{Chance, Letter, Sender};
use crate::process::Process;
use crate::village::{Plan, Village};

/// Set by `cargo xtask soak`, for a run of any length.
const KILLS: &str = "RINGUP_KILLS";
pub(crate) const SEED: &str = "RINGUP_SEED";

/// Letters for each kill.
const LETTERS: usize = 5;

/// Kills of the terminal between two of the server. A third session that breaks with the same message would have the server
/// set it aside as the one that breaks them, which is right and not what is looked for here.
const TERMINAL_KILLS_MAX: u32 = 2;

/// What was killed.
#[derive(Debug, Default)]
struct Killed {
    server: usize,
    /// The starter with all it has started.
    terminal: usize,
    /// The program that answers, alone.
    answer: usize,
    /// The connections between information server and dial-up servers.
    trunks: usize,
    /// A dial-up server.
    pop: usize,
}

pub(crate) fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().expect("a number"))
}

#[test]
fn what_was_accepted_has_one_verdict_and_is_published_once_however_often_everybody_is_killed() {
    let (seed, kills) = (number(SEED, 1), usize::try_from(number(KILLS, 20)).unwrap());
    let (mut village, sender) = founded(Plan::default());
    let letters = kills * LETTERS;
    let (killed, owner) =
        while_letters_are_sent(&mut village, &sender, letters, seed, |village, sender| {
            killing(village, sender, kills, &mut Chance::new(seed))
        });
    finish(&mut village, owner, &sender, letters, seed, &killed);
}

/// A village that tries again soon and for ever, takes all that is sent, and its provider.
fn founded(plan: Plan) -> (Village, Sender) {
    let village = Village::found(Plan {
        no_answer_after: "1s",
        retry_more: "redials_within = \"1s\"\nredials_in_all = 255\nredials_rest = \"1s\"",
        server_more: "[quota]\nprovider_messages = 100000\nterminal_messages = 100000",
        ..plan
    });
    let token = fs::read_to_string(village.path("token")).unwrap();
    let sender = Sender::new(token, village.submission_address());
    (village, sender)
}

/// Does something to the village while so many letters are sent; comes back when both are over.
fn while_letters_are_sent<T>(
    village: &mut Village,
    sender: &Sender,
    letters: usize,
    seed: u64,
    act: impl FnOnce(&mut Village, &Sender) -> T,
) -> T {
    let is_over = AtomicBool::new(false);
    let chronicle = village.chronicle.clone();
    scope(|scope| {
        let sending = scope.spawn(|| {
            let mut chance = Chance::new(seed ^ 0xffff);
            // Whoever acts has failed, and the test with it: nobody waits for what is left.
            for index in (0..letters).take_while(|_| !is_over.load(Ordering::Acquire)) {
                sender.send(&Letter::new(seed, index, &mut chance), &chronicle);
                chronicle.wait_lines(6, Duration::from_millis(chance.below(400)));
            }
        });
        let _over = Over(&is_over);
        let ended = act(village, sender);
        sending.join().unwrap();
        ended
    })
}

#[test]
fn however_often_trunks_are_cut_and_servers_killed_nothing_is_lost_and_nobody_is_dialled_twice() {
    let (seed, cuts) = (number(SEED, 1), usize::try_from(number(KILLS, 8)).unwrap());
    let (mut village, sender) = founded(Plan::at(&["201", "202"]));
    let letters = cuts * LETTERS;
    let (killed, owner) =
        while_letters_are_sent(&mut village, &sender, letters, seed, |village, sender| {
            cutting(village, sender, cuts, &mut Chance::new(seed))
        });
    finish(&mut village, owner, &sender, letters, seed, &killed);
    compare_calls(&village, &["201", "202"]);
}

/// Each call of the exchange's is one of the server's, which knows how it ended, and none met another.
fn compare_calls(village: &Village, pops: &[&str]) {
    let dialled: Vec<_> = village
        .exchange_calls_so_far()
        .into_iter()
        .filter(|call| call["called"] == crate::village::OWNER)
        .collect();
    assert!(!dialled.is_empty());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let (recorded, unsettled) = runtime.block_on(async {
        let store = Store::open(&village.path("server"), Timestamp::now()).unwrap();
        (
            store.calls(Last(u32::MAX)).await.unwrap(),
            store.calls_away().await.unwrap(),
        )
    });
    assert!(
        unsettled.is_empty(),
        "their ends were never learned: {unsettled:#?}"
    );
    let mut taken = BTreeMap::new();
    for call in &dialled {
        assert_ne!(
            call["outcome"], "busy",
            "dialled while another call was there: {call:#}"
        );
        let pop = pops
            .iter()
            .position(|number| call["caller"] == *number)
            .expect("a line of the village");
        let (line, placed) = (
            format!("pop-{}.line-1", pop + 1),
            call["placed"].as_str().unwrap().parse().unwrap(),
        );
        // The last that was recorded before it was dialled: a line has one call at a time.
        let own = recorded
            .iter()
            .filter(|record| record.via.to_string() == line && record.placed_at <= placed);
        let record = own
            .max_by_key(|record| record.placed_at)
            .unwrap_or_else(|| panic!("nobody ordered {call:#}"));
        if let Some(before) = taken.insert(record.id, call) {
            panic!("call {} was dialled twice: {before:#} {call:#}", record.id);
        }
        // What a server says of a call that it had forgotten.
        let outcome = record.outcome.as_deref();
        assert!(
            !matches!(outcome, None | Some("server stopped")),
            "nobody asked what became of {record:?}"
        );
    }
}

/// Cuts trunks, and kills a server now and then.
fn cutting(
    village: &mut Village,
    sender: &Sender,
    cuts: usize,
    chance: &mut Chance,
) -> (Killed, Process) {
    let (mut killed, mut server) = (Killed::default(), "server".to_owned());
    let owner = village.start_owner_again("owner 0");
    for cut in 1..=cuts {
        let lines = usize::try_from(1 + chance.below(30)).expect("it is small");
        village
            .chronicle
            .wait_lines(lines, Duration::from_millis(20 + chance.below(1500)));
        // The third by rule, so that a short run has one.
        match if cut == 3 { 0 } else { chance.below(8) } {
            0 => {
                kill_in_a_call(village, &server);
                killed.server += 1;
                server = format!("server {cut}");
                village.start_server(&server);
                let address = village
                    .chronicle
                    .wait(&server, "taking submissions")
                    .field("address");
                *sender.address.lock().unwrap() = address;
            }
            1 => {
                killed.pop += 1;
                let pop = usize::try_from(chance.below(2)).expect("it is small");
                village.kill_pop(pop);
                village.start_pop(pop, &format!("pop {pop}, {cut}"));
            }
            _ => {
                killed.trunks += 1;
                village.trunks.as_ref().expect("the servers are two").cut();
            }
        }
        let _ = fs::remove_file(village.path("state/budget.json"));
    }
    (killed, owner)
}

/// `kill -9` for the server while one of its calls is under way, if there is one within a second: that is what it has to ask for
/// when it is back.
fn kill_in_a_call(village: &mut Village, server: &str) {
    let said = |message| {
        village
            .chronicle
            .said(server, message)
            .into_iter()
            .map(|entry| entry.field("call"))
    };
    let is_calling = || {
        let over: BTreeSet<_> = said("call ended").collect();
        said("calling").any(|call| !over.contains(&call))
    };
    let give_up = Instant::now() + Duration::from_secs(1);
    while !is_calling() && Instant::now() < give_up {
        village.chronicle.wait_lines(1, Duration::from_millis(20));
    }
    village.kill_server();
}

#[test]
fn a_long_message_is_published_once_however_often_either_end_is_killed_within_its_transfer() {
    let (seed, kills) = (number(SEED, 1), usize::try_from(number(KILLS, 6)).unwrap());
    let (mut village, sender) = founded(Plan::default());
    let (mut chance, mut killed, mut letters) = (Chance::new(seed), Killed::default(), 0);
    let mut owner = village.start_owner_again("owner 0");
    for kill in 1..=kills {
        wait_within_a_transfer(&village, &sender, &mut letters, seed, &mut chance);
        // In turns: three sessions of one server that break with a message would be that message's fault.
        if kill % 2 == 0 {
            killed.server += 1;
            village.kill_server();
            let who = format!("server {kill}");
            village.start_server(&who);
            *sender.address.lock().unwrap() = village
                .chronicle
                .wait(&who, "taking submissions")
                .field("address");
        } else {
            killed.terminal += 1;
            owner.kill();
            owner = village.start_owner_again(&format!("owner {kill}"));
        }
        let _ = fs::remove_file(village.path("state/budget.json"));
    }
    finish(&mut village, owner, &sender, letters, seed, &killed);
}

/// Waits until a message has come to a point within its transfer that it had not come to; sends another if none is on its way.
fn wait_within_a_transfer(
    village: &Village,
    sender: &Sender,
    letters: &mut usize,
    seed: u64,
    chance: &mut Chance,
) {
    let on_its_way = || {
        let parts = fs::read_dir(village.path("inbox/.incoming"))
            .into_iter()
            .flatten()
            .flatten();
        let size = |part: fs::DirEntry| {
            fs::metadata(part.path().join("content")).map_or(0, |content| content.len())
        };
        parts.map(size).max().unwrap_or_default()
    };
    let wanted = on_its_way() + 1 + chance.below(150_000);
    while on_its_way() < wanted {
        if village.inbox().len() == *letters {
            sender.send(&Letter::long(seed, *letters, chance), &village.chronicle);
            *letters += 1;
        }
        if wanted > 290_000 && on_its_way() < 100_000 && village.inbox().len() + 1 == *letters {
            return; // it was nearly there, and is by now: at the beginning of the next is as good
        }
        village.chronicle.wait_lines(1000, Duration::from_millis(2));
    }
}

/// Says so when it is dropped, by a panic too.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Kills so often; gives the terminal that runs in the end.
fn killing(
    village: &mut Village,
    sender: &Sender,
    kills: usize,
    chance: &mut Chance,
) -> (Killed, Process) {
    let mut killed = Killed::default();
    let mut owner = village.start_owner_again("owner 0");
    let mut of_terminal = 0;
    for kill in 1..=kills {
        let lines = usize::try_from(1 + chance.below(30)).expect("it is small");
        village
            .chronicle
            .wait_lines(lines, Duration::from_millis(20 + chance.below(1500)));
        let victim = if of_terminal >= TERMINAL_KILLS_MAX {
            0
        } else {
            chance.below(4)
        };
        let answer = owner.children().first().copied();
        of_terminal = if victim < 2 { 0 } else { of_terminal + 1 };
        match (victim, answer) {
            (0 | 1, _) => {
                killed.server += 1;
                village.kill_server();
                let who = format!("server {kill}");
                village.start_server(&who);
                let address = village
                    .chronicle
                    .wait(&who, "taking submissions")
                    .field("address");
                *sender.address.lock().unwrap() = address;
            }
            (2, Some(answer)) => {
                killed.answer += 1;
                let _ = kill_process(answer, Signal::KILL); // it may be over this moment
            }
            _ => {
                killed.terminal += 1;
                owner.kill();
                owner = village.start_owner_again(&format!("owner {kill}"));
            }
        }
        // A server that dies in the middle of its proof is one that did not prove itself, of which a terminal takes three
        // an hour before it spaces its answers by ten minutes.
        let _ = fs::remove_file(village.path("state/budget.json"));
    }
    (killed, owner)
}

/// Lets everything come to its end and compares.
fn finish(
    village: &mut Village,
    owner: Process,
    sender: &Sender,
    letters: usize,
    seed: u64,
    killed: &Killed,
) {
    // However many wait: it is enough that they become fewer.
    let mut waiting = u64::MAX;
    while waiting > 0 {
        let shown = village.ask_until(&["terminal", "show", "owner"], |owner| {
            let _ = fs::remove_file(village.path("state/budget.json"));
            owner["waiting"].as_u64() < Some(waiting)
        });
        waiting = shown["waiting"].as_u64().unwrap();
    }
    village.ask_until(&["call", "list", "--limit", "10000"], |calls| {
        calls
            .as_array()
            .unwrap()
            .iter()
            .all(|call| call["outcome"].is_string())
    });
    owner.kill();
    village.kill_server();
    let accepted = sender.accepted.lock().unwrap();
    assert_eq!(accepted.len(), letters);
    let kept = kept(village);
    let mut missing: Vec<_> = accepted
        .keys()
        .filter(|id| !kept.contains_key(*id))
        .collect();
    assert!(
        missing.is_empty(),
        "accepted, and not in the store: {missing:?}"
    );
    assert_eq!(
        kept.len(),
        accepted.len(),
        "in the store, and nobody was told"
    );

    let published = village.inbox();
    let stored = village.chronicle.count_by("stored", "message_id");
    let receipts = village.chronicle.count_by("delivered", "message_id");
    let (mut verdicts, mut late) = (BTreeMap::<_, usize>::new(), 0);
    for (id, letter) in accepted.iter() {
        let entry = &kept[id];
        let [envelope] = &entry.envelopes[..] else {
            panic!("{id} has {} envelopes", entry.envelopes.len())
        };
        let verdict = envelope
            .verdict
            .unwrap_or_else(|| panic!("{id} has no verdict"));
        *verdicts.entry(verdict.as_str()).or_default() += 1;
        let is_published = published.binary_search(id).is_ok();
        match verdict {
            Verdict::Delivered => assert!(is_published, "{id} is delivered and not in the inbox"),
            // Its receipt died with somebody, and then it expired or was replaced.
            Verdict::Expired | Verdict::Replaced if !letter.is_lasting => {
                late += usize::from(is_published);
            }
            other => panic!("{id} is {other}, its deliveries {:?}", envelope.deliveries),
        }
        if is_published {
            assert!(
                village.received(id) == letter.content,
                "{id} has changed on its way"
            );
        } else if letter.is_lasting {
            missing.push(id);
        }
        assert!(
            stored.get(id).copied().unwrap_or_default() <= 1,
            "{id} was published twice"
        );
        assert!(
            receipts.get(id).copied().unwrap_or_default() <= 1,
            "{id} was given two verdicts"
        );
        assert_eq!(entry.head.digest.to_string(), letter.sha256());
    }
    assert!(missing.is_empty(), "lost: {missing:?}");
    assert!(
        published.iter().all(|id| accepted.contains_key(id)),
        "published, and never accepted"
    );
    let left: Vec<_> = fs::read_dir(village.path("inbox/.incoming"))
        .unwrap()
        .collect();
    assert!(
        left.len() <= killed.answer + killed.terminal + killed.trunks + killed.pop,
        "{left:?}"
    );
    println!(
        "seed {seed}: {killed:?}, {letters} messages accepted ({} submissions repeated), verdicts {verdicts:?}, \
         {} published, {late} of them came without their receipt and then expired or were replaced; lost 0, \
         double verdicts 0, published twice 0",
        sender.repeated.lock().unwrap(),
        published.len(),
    );
}

/// Everything that the store has, after a check that finds no fault.
fn kept(village: &Village) -> BTreeMap<String, MessageEntry> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = Store::open(&village.path("server"), Timestamp::now()).unwrap();
        let findings = store.check().await.unwrap();
        assert_eq!(findings.faults, [] as [String; 0]);
        let messages = store.messages(Last(u32::MAX)).await.unwrap();
        messages
            .into_iter()
            .map(|message| (message.head.id.to_string(), message))
            .collect()
    })
}
