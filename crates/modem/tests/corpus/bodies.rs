//! What a fuzz target does with its octets. Shared by `fuzz/`, which invents them, and by the test that replays what
//! it has found.

use std::time::{Duration, Instant};

use ringup_modem::{
    CallerId, CallerIdField, CarrierWatch, Dialogue, Event, Failure, HangUp, HangUpStep, Input,
    LINE_OCTETS_MAX, Output, Profile, Reader, Setup, Signals,
};

#[expect(
    clippy::disallowed_methods,
    reason = "an Instant has no other source; all else is computed from this one"
)]
fn origin() -> Instant {
    Instant::now()
}

/// A caller that came out of anything: ASCII digits, perhaps behind a `+`, and not many.
fn assert_sound(caller: &CallerId) {
    if let CallerId::Digits(digits) = caller {
        let bare = digits.strip_prefix('+').unwrap_or(digits);
        assert!(
            (1..=32).contains(&bare.len()) && bare.bytes().all(|octet| octet.is_ascii_digit()),
            "{digits}"
        );
    }
}

/// Any line as caller ID: what is read as a number is one, and stands in the line.
pub(crate) fn caller_id(octets: &[u8]) {
    let mut reader = Reader::default();
    let mut octets = octets;
    while let Some(line) = reader.next_line(&mut octets) {
        assert!(
            line.len() <= LINE_OCTETS_MAX
                && line
                    .bytes()
                    .all(|octet| matches!(octet, 0x10 | 0x20..=0x7e))
        );
        let field = CallerIdField::parse(&line);
        let Some(CallerIdField::Caller(caller) | CallerIdField::RingingCaller(caller)) = field
        else {
            continue;
        };
        assert_sound(&caller);
        if let CallerId::Digits(digits) = &caller {
            // Separators may be left out, hex and UCS2 are other spellings: but no digit is made up.
            let digits = digits.trim_start_matches('+');
            let is_separator = |c: &char| matches!(c, '-' | '(' | ')' | '.' | ' ' | '"');
            let plain: String = line.chars().filter(|c| !is_separator(c)).collect();
            let hex: String = digits.bytes().map(|octet| format!("{octet:02x}")).collect();
            let ucs2: String = digits.bytes().map(|octet| format!("{octet:04x}")).collect();
            let is_there = [digits, &hex, &ucs2]
                .iter()
                .any(|spelt| plain.to_ascii_lowercase().contains(*spelt));
            let has_plus = line.to_ascii_lowercase().contains("2b");
            assert!(is_there || has_plus, "{digits} from {line:?}");
        }
    }
}

/// A modem that says anything, whatever it is told: the dialogue always knows what to do next, never says more than it
/// was asked to, and ends in a state from which it can be used or is known to be dead.
pub(crate) fn at(octets: &[u8]) {
    let Some((&first, mut script)) = octets.split_first() else {
        return;
    };
    let mut now = origin();
    let profile = Profile::ALL[usize::from(first & 7)];
    let signals = if first & 8 == 0 {
        Signals::Wires
    } else {
        Signals::OctetsOnly
    };
    let mut dialogue = if first & 16 == 0 {
        Dialogue::new(Setup::from(profile), signals, now)
    } else {
        Dialogue::attached(profile, first & 32 != 0)
    };
    let mut is_over = false;
    let number = "201".parse().expect("a dial string");
    while let Some((&operation, rest)) = script.split_first() {
        script = rest;
        let mut said = 0;
        let deadline = loop {
            match dialogue.poll_output() {
                Output::Transmit(octets) => {
                    assert!((octets.ends_with(b"\r") || octets == b"+++") && octets.len() <= 80);
                    said += 1;
                }
                Output::Event(event) => {
                    // What it is still asked for it refuses.
                    let is_refusal = event == Event::NoCall(Failure::NotReady);
                    assert!(!is_over || is_refusal, "after its end: {event:?}");
                    if let Event::CallerId(caller) = &event {
                        assert_sound(caller);
                    }
                    is_over |= matches!(event, Event::Connected { .. } | Event::Fault(_));
                }
                Output::Timeout { at, .. } => break at,
            }
        };
        // One answer leads to one command.
        assert!(said <= 64, "{said} commands at once");
        match operation % 8 {
            0 => dialogue.handle(
                Input::Dial {
                    number: &number,
                    timeout: Duration::from_secs(60),
                },
                now,
            ),
            1 => dialogue.handle(
                Input::RingOnly {
                    number: &number,
                    duration: Duration::from_secs(10),
                },
                now,
            ),
            2 => dialogue.handle(Input::Answer, now),
            3 => dialogue.handle(Input::Refuse, now),
            4 => dialogue.handle(Input::Probe, now),
            5 => {
                now = deadline.map_or(now, |at| at.max(now));
                dialogue.handle(Input::Deadline, now);
            }
            _ => {
                let length = usize::from(operation >> 3).min(script.len());
                let (piece, rest) = script.split_at(length);
                script = rest;
                dialogue.handle(Input::Octets(piece), now);
            }
        }
    }
    hang_up(octets, now);
}

/// The same octets on a line that is being hung up: it comes to an end, in bounded time, saying two things at most.
fn hang_up(octets: &[u8], began: Instant) {
    let mut now = began;
    let (mut hang_up, mut carrier) = (
        HangUp::new(octets.len().is_multiple_of(2), now),
        CarrierWatch::new(33_600),
    );
    let mut said = 0;
    let mut pieces = octets.chunks(7);
    loop {
        match hang_up.step(now) {
            HangUpStep::Transmit(_) => said += 1,
            HangUpStep::Wait(until) => match pieces.next() {
                Some(piece) => {
                    hang_up.hear(piece, now);
                    carrier.handle(piece, now);
                    let _ = carrier.is_lost(now);
                }
                None => now = until,
            },
            HangUpStep::Done { .. } => break,
        }
    }
    assert!(said <= 2 && now - began < Duration::from_secs(10));
}
