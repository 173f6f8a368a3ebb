//! Who is calling, in every modem's words: our dialogue on the corpus on which mgetty is heard, too.

mod corpus;

use std::time::Instant;

use ringup_modem::{CallerId, Dialogue, Event, Input, Output, Profile};

use corpus::Case;

/// The caller in the words of the corpus: what is said first of the caller decides, as in `line::RingWatch`.
fn heard(octets: &[u8], pieces: usize) -> String {
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    let now = Instant::now();
    let mut dialogue = Dialogue::attached(Profile::GENERIC, false);
    for piece in octets.chunks(pieces) {
        dialogue.handle(Input::Octets(piece), now);
        loop {
            match dialogue.poll_output() {
                Output::Event(Event::CallerId(caller)) => return in_words(&caller),
                Output::Timeout { .. } => break,
                _ => {}
            }
        }
    }
    "-".to_owned()
}

fn in_words(caller: &CallerId) -> String {
    match caller {
        CallerId::Digits(digits) => digits,
        CallerId::Withheld => "withheld",
        CallerId::Unavailable => "unavailable",
        CallerId::PayPhone => "pay phone",
        CallerId::ServiceConflict => "service conflict",
    }
    .to_owned()
}

#[test]
fn the_caller_of_every_case_is_who_the_corpus_says_however_the_octets_are_divided() {
    let cases = Case::all();
    assert!(cases.len() > 40, "{}", cases.len());
    for case in cases {
        for pieces in [usize::MAX, 1, 7] {
            assert_eq!(
                heard(&case.octets(), pieces),
                case.caller,
                "{} in pieces of {pieces}",
                case.name
            );
        }
    }
}
