//! The store reads no clock: each operation is handed the time, so that a test, a simulator or another node can say what time it is.

use super::Breach;
use super::code::Path;
use super::tree::Tree;

const STORE: &str = "crates/store/src/";

/// Measures how long a step takes, which is no time of day.
const STOPWATCH: &str = "crates/store/src/stopwatch.rs";

pub(super) fn check(tree: &Tree) -> Vec<Breach> {
    let is_of_store = |path: &str| path.starts_with(STORE) && path != STOPWATCH;
    let mut breaches = Vec::new();
    for file in tree
        .files
        .iter()
        .filter(|file| !file.is_test && is_of_store(&file.path))
    {
        let paths = file
            .code
            .iter()
            .flat_map(|code| &code.paths)
            .filter(|path| !path.is_test);
        for (path, clock) in paths.filter_map(|path| Some((path, clock(path)?))) {
            let problem = format!(
                "the store uses {clock}: take `now` as an argument, or a Stopwatch for a duration"
            );
            breaches.push(Breach::new(&file.path, path.line, problem));
        }
    }
    breaches
}

fn clock(path: &Path) -> Option<&str> {
    let is_clock = |(at, word): &(usize, &str)| match *word {
        "SystemTime" | "Instant" => true,
        "now" | "now_v7" => *at > 0,
        _ => false,
    };
    path.own().find(is_clock).map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(path: &str, text: &str) -> Vec<String> {
        check(&Tree::of(&[(path, text)]))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_clock_in_the_store_is_refused_but_for_its_stopwatch_and_its_tests() {
        for code in [
            "Timestamp::now()",
            "jiff::Zoned::now()",
            "Instant::now()",
            "std::time::SystemTime::UNIX_EPOCH",
            "CallId::now()",
        ] {
            let text = format!("fn f() {{\n{code};\n}}");
            assert_eq!(
                problems("crates/store/src/calls.rs", &text).len(),
                1,
                "{code}"
            );
            for elsewhere in [
                STOPWATCH,
                "crates/server/src/dialer.rs",
                "crates/store/src/tests/calls.rs",
            ] {
                assert_eq!(problems(elsewhere, &text), [] as [String; 0], "{code}");
            }
        }
        let text =
            "fn f(now: i64) { g(now) }\n#[cfg(test)]\nmod tests { fn t() { Timestamp::now(); } }";
        assert_eq!(
            problems("crates/store/src/calls.rs", text),
            [] as [String; 0]
        );
    }
}
