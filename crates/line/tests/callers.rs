//! Who is answered: what a modem says while it rings, through the dialogue, the ring watch and the screening.

#[path = "../../modem/tests/caller_id/corpus.rs"]
mod corpus;

use std::time::{Duration, Instant};

use corpus::Case;
use modem::{Dialogue, Event, Input, Output, Profile, RingKind};
use ringup_line::{
    CALLER_ID_WAIT, Caller, Decision, Home, Number, QUIET_AFTER, Ring, RingInput, RingWatch,
    Screening, WeekMinute,
};

/// The rings that come of octets that a modem says, each at its time, and of the silence behind them.
fn rings(profile: Profile, said: &[(Duration, Vec<u8>)]) -> Vec<Ring> {
    let began = Instant::now();
    let (mut dialogue, mut watch) = (Dialogue::attached(profile, false), RingWatch::default());
    let mut rings = Vec::new();
    let silence = (CALLER_ID_WAIT + QUIET_AFTER, Vec::new());
    for (at, octets) in said.iter().chain([&silence]) {
        let now = began + *at;
        while let Some(deadline) = watch.deadline().filter(|deadline| *deadline <= now) {
            rings.extend(watch.handle(&RingInput::Deadline, deadline));
        }
        dialogue.handle(Input::Octets(octets), now);
        loop {
            let event = match dialogue.poll_output() {
                Output::Event(event) => event,
                Output::Transmit(octets) => panic!("{octets:?} is said to a line that rings"),
                Output::Timeout { .. } => break,
            };
            let input = match &event {
                Event::Ring(RingKind::SbdAlert) => continue,
                Event::Ring(kind) => RingInput::Ring(*kind),
                Event::CallerId(id) => RingInput::CallerId(id),
                _ => continue,
            };
            rings.extend(watch.handle(&input, now));
        }
    }
    rings
}

#[test]
fn the_caller_of_every_conversation_of_the_corpus_rings_at_once_and_at_a_lines_rhythm() {
    for case in Case::all() {
        let at_once = vec![(Duration::ZERO, case.octets())];
        // Each RING three seconds after the one before; the rest right behind it.
        let mut at = Duration::ZERO;
        let in_time = case.lines.iter().enumerate().map(|(index, line)| {
            let is_ring = ["RING", "FM:", "+CRING"]
                .iter()
                .any(|begins| line.starts_with(begins));
            // One ring in two words.
            let is_same_ring = index == 0 || case.lines[index - 1].starts_with("+CRING");
            at += Duration::from_secs(if is_ring && !is_same_ring { 3 } else { 0 });
            (at, format!("\r\n{line}\r\n").into_bytes())
        });
        for said in [at_once, in_time.collect()] {
            let ring = rings(Profile::GENERIC, &said).into_iter().next();
            let heard = match ring.map(|ring| ring.caller) {
                Some(Caller::Number(number)) => number.to_string(),
                Some(Caller::Withheld) => "withheld".to_owned(),
                Some(Caller::Absent) => "absent".to_owned(),
                None => "never".to_owned(),
            };
            let is_absence = ["unavailable", "pay phone", "service conflict", "-"]
                .contains(&case.caller.as_str());
            let expected = if is_absence { "absent" } else { &case.caller };
            assert_eq!(heard, expected, "{}: {said:?}", case.name);
        }
    }
}

/// One case of `callers.txt`.
#[derive(Debug, Default)]
struct Conversation {
    name: String,
    callers: Vec<Number>,
    profile: Profile,
    home: Option<Home>,
    said: Vec<(Duration, Vec<u8>)>,
    end: String,
}

fn octets(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let escaped = rest.strip_prefix('\\').map(|rest| rest.split_at(1));
        rest = match escaped {
            Some(("r", behind)) => {
                octets.push(b'\r');
                behind
            }
            Some(("n", behind)) => {
                octets.push(b'\n');
                behind
            }
            Some(("x", behind)) => {
                octets.push(u8::from_str_radix(&behind[..2], 16).expect("two hex digits"));
                &behind[2..]
            }
            _ => {
                octets.push(u8::try_from(first).expect("ASCII"));
                &rest[1..]
            }
        };
    }
    octets
}

fn conversations() -> Vec<Conversation> {
    let mut all: Vec<Conversation> = Vec::new();
    for line in include_str!("callers.txt")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        if let Some(name) = line.strip_prefix("= ") {
            all.push(Conversation {
                name: name.to_owned(),
                ..Conversation::default()
            });
            continue;
        }
        let case = all.last_mut().expect("a case begins with its name");
        let (key, value) = line.split_once(' ').expect("a key and a value");
        match key {
            "callers" => {
                case.callers = value
                    .split(' ')
                    .map(|number| number.parse().expect("a number"))
                    .collect();
            }
            "profile" => case.profile = value.parse().expect("a profile"),
            "country" => case.home = Some(value.parse().expect("a country")),
            ":" => case.end = value.to_owned(),
            at => {
                let seconds: f64 = at
                    .strip_prefix('@')
                    .and_then(|at| at.parse().ok())
                    .expect("a time");
                case.said
                    .push((Duration::from_secs_f64(seconds), octets(value)));
            }
        }
    }
    all
}

#[test]
fn a_ring_ends_as_the_conversation_says() {
    let cases = conversations();
    assert!(cases.len() > 25, "{}", cases.len());
    let ends: Vec<_> = cases
        .iter()
        .map(|case| {
            let screening = Screening::new(
                case.callers
                    .iter()
                    .map(|number| number.clone().at(case.home)),
            );
            let ring = rings(case.profile, &case.said).into_iter().next();
            let decision = ring
                .map(|ring| screening.decide(&ring.at(case.home), WeekMinute::new(0, 0, 0), |_| 0));
            match decision {
                Some(Decision::Answer(_)) => "answered".to_owned(),
                Some(Decision::Refuse(reason)) => reason.to_string(),
                other => format!("{other:?}"),
            }
        })
        .collect();
    let wrong = cases
        .iter()
        .zip(&ends)
        .filter(|(case, end)| case.end != **end);
    let wrong: Vec<_> = wrong
        .map(|(case, end)| format!("{}: {end} instead of {}", case.name, case.end))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
