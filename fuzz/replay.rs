//! Replays what the fuzzers have found worth keeping, on stable and in every test run. A file that tests take, not a crate.

use std::path::Path;

/// Gives each file of a fuzz target's corpus to what the target does with its octets.
#[allow(
    clippy::disallowed_methods,
    reason = "some of the crates are pure, their tests have a corpus"
)]
pub(crate) fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
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
