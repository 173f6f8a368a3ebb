//! Replays what the fuzzers in `fuzz/` have found worth keeping, on stable and in every test run.

mod bodies;
#[path = "../../../../fuzz/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn the_framing_corpus_replays() {
    replay("framing", bodies::framing);
}

#[test]
fn the_session_corpus_replays() {
    replay("session", bodies::session);
}

#[test]
fn the_headers_corpus_replays() {
    replay("headers", bodies::headers);
}

#[test]
fn the_lcp_corpus_replays() {
    replay("lcp", bodies::lcp);
}

#[test]
fn the_ipcp_corpus_replays() {
    replay("ipcp", bodies::ipcp);
}

#[test]
fn the_chap_corpus_replays() {
    replay("chap", bodies::chap);
}
