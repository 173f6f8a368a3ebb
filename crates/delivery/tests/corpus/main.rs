//! Replays what the fuzzers in `fuzz/` have found worth keeping, on stable and in every test run.

mod bodies;

use std::path::Path;

fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).expect("the corpus is part of the repository") {
        let path = entry.expect("a readable folder").path();
        let octets = std::fs::read(&path).expect("a readable file");
        // Named before, for the panic says only what went wrong.
        println!("{}", path.display());
        body(&octets);
        count += 1;
    }
    assert!(count > 0, "{count} files in {}", folder.display());
}

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
