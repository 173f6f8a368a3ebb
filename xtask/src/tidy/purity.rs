//! Pure modules never read a clock, a file, a socket, the environment or a random source.
//!
//! Clippy refuses single functions and types in the crates that are pure as a whole; this covers the modules in crates
//! that are not, and what a list of functions cannot name (all of `std::fs`, of tokio).

use super::Breach;
use super::code::Path;
use super::tree::Tree;

/// Files, or folders with all their files. One that is not there is a breach: it was renamed, and nobody checks it.
const PURE: &[&str] = &[
    "crates/ppp/src/",
    "crates/modem/src/",
    "crates/line/src/hours.rs",
    "crates/line/src/ring.rs",
    "crates/line/src/screening.rs",
    "crates/delivery/src/plan.rs",
    "crates/link/src/gate.rs",
    "crates/server/src/dispatch.rs",
    "crates/server/src/ingest/feeds/date.rs",
    "crates/server/src/ingest/feeds/item.rs",
    "crates/server/src/ingest/feeds/json.rs",
    "crates/server/src/ingest/feeds/markup.rs",
    "crates/server/src/ingest/feeds/reference.rs",
    "crates/server/src/ingest/feeds/references.rs",
    "crates/server/src/ingest/feeds/text.rs",
    "crates/server/src/ingest/feeds/xml.rs",
    "crates/server/src/ledger.rs",
    "crates/server/src/outcome.rs",
    "crates/server/src/routing.rs",
    "crates/server/src/subscription.rs",
    "crates/server/src/trunk/figures.rs",
];

pub(super) fn check(tree: &Tree) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for pure in PURE {
        let mut is_there = false;
        // `dispatch.rs` may become `dispatch/`: then both are it.
        let folder = pure.strip_suffix(".rs").map_or_else(|| (*pure).to_owned(), |stem| format!("{stem}/"));
        for file in &tree.files {
            let Some(code) = file.code.as_ref().filter(|_| file.path == *pure || file.path.starts_with(&folder)) else {
                continue;
            };
            is_there = true;
            for path in code.paths.iter().filter(|path| !file.is_test && !path.is_test) {
                if let Some(impurity) = impurity(path) {
                    let problem = format!("a pure module uses {impurity}: let the caller hand in what it gives");
                    breaches.push(Breach::new(&file.path, path.line, problem));
                }
            }
        }
        breaches.dedup_by(|next, first| (&next.path, next.line) == (&first.path, first.line));
        if !is_there {
            let problem = "no such file, but it is to be checked for purity: name its successor in PURE in xtask";
            breaches.push(Breach::new(pure, 1, problem));
        }
    }
    breaches
}

/// What a path has that a pure module may not have.
fn impurity(path: &Path) -> Option<&str> {
    path.own().find(|(at, word)| is_impure(path, *at, word)).map(|(_, word)| word)
}

fn is_impure(path: &Path, at: usize, word: &str) -> bool {
    let is_of = |owner| at > 0 && path.words[at - 1] == owner;
    match word {
        "SystemTime" | "HashMap" | "HashSet" | "tokio" | "getrandom" | "rand" | "fs" => true,
        "TcpStream" | "TcpListener" | "UdpSocket" | "UnixStream" | "UnixListener" | "UnixDatagram" => true,
        // `env!` is read when the program is built.
        "env" => path.after != Some('!'),
        "now" => is_of("Instant"),
        "elapsed" => path.before == ".",
        "thread" => is_of("std"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "crates/server/src/dispatch.rs";

    fn problems(text: &str) -> Vec<String> {
        let breaches = check(&Tree::of(&[(PATH, text)]));
        breaches.into_iter().filter(|breach| breach.path == PATH).map(|breach| breach.to_string()).collect()
    }

    #[test]
    fn every_way_out_of_a_pure_module_is_seen() {
        for code in [
            "let now = Instant::now();",
            "let age = since.elapsed();",
            "use std::time::{Duration, SystemTime};",
            "use std::{collections::HashMap, fmt};",
            "let seen = HashSet::new();",
            "use std::{fs, io};",
            "std::fs::read(path)",
            "std::env::var(name)",
            "use std::net::{TcpListener, TcpStream};",
            "UdpSocket::bind(x)",
            "rand::random()",
            "getrandom::fill(x)",
            "tokio::spawn(x)",
            "std::thread::spawn(x)",
            "use std::{io, thread};",
        ] {
            assert_eq!(problems(&format!("fn f() {{\n{code}\n}}")).len(), 1, "{code}");
        }
    }

    #[test]
    fn a_breach_says_where() {
        let found = problems("//! Pure.\nfn f() { Instant::now(); }");
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("crates/server/src/dispatch.rs:2: a pure module uses now"), "{found:?}");
    }

    #[test]
    fn what_only_looks_like_it_is_let_be() {
        let text =
            "// Instant::now() is the caller's\nfn f(now: Instant) { random(now); rands(\"std::fs\"); env!(\"X\") }
#[cfg(test)]
mod tests { fn t() { Instant::now(); } }";
        assert_eq!(problems(text), [] as [String; 0]);
    }

    #[test]
    fn a_folder_beside_the_file_is_pure_as_well() {
        let tree = Tree::of(&[("crates/server/src/dispatch/jitter.rs", "use rand::Rng;")]);
        assert!(check(&tree).iter().any(|breach| breach.path.ends_with("jitter.rs")));
    }

    #[test]
    fn a_pure_module_that_is_gone_is_told() {
        assert_eq!(check(&Tree::of(&[])).len(), PURE.len());
    }
}
