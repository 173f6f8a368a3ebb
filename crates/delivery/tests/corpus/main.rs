//! Replays what the fuzzers in `fuzz/` have found worth keeping, on stable and in every test run.

mod bodies;
#[path = "../../../../fuzz/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn the_keys_corpus_replays() {
    replay("keys", bodies::keys);
}

#[test]
fn the_zstd_corpus_replays() {
    replay("zstd", bodies::zstd);
}

#[test]
fn the_items_corpus_replays() {
    replay("items", bodies::items);
}

#[test]
fn the_preamble_corpus_replays() {
    replay("preamble", bodies::preamble);
}
