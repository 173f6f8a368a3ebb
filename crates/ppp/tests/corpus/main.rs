//! Replays what the fuzzers in `fuzz/` have found worth keeping, on stable and in every test run.

mod bodies;

use std::path::Path;

fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).expect("the corpus is part of the repository") {
        let path = entry.expect("a readable folder").path();
        #[expect(clippy::disallowed_methods, reason = "the crate is pure, its tests have a corpus")]
        let octets = std::fs::read(&path).expect("a readable file");
        // Named before, for the panic says only what went wrong.
        println!("{}", path.display());
        body(&octets);
        count += 1;
    }
    assert!(count > 0, "{count} files in {}", folder.display());
}

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
