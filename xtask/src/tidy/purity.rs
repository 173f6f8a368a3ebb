//! What is pure never reads a clock, a file, a socket, the environment or a random source.
//!
//! A module says so itself: its documentation begins with the word. Clippy refuses single functions and types in the crates
//! that are pure as a whole; this covers the modules in crates that are not, and what a list of functions cannot name (all
//! of `std::fs`, of tokio).

use super::Breach;
use super::code::Path;
use super::tree::{File, Tree};

/// What a module's documentation begins with that is one of them, with all modules below it.
const PURE: &str = "Pure";

/// The standard library's way to a hasher that is the same in every run.
const HASHER: &str = "BuildHasherDefault";

const ARCHITECTURE: &str = "ARCHITECTURE.md";

/// Before these words ARCHITECTURE.md names pure modules.
const NAMED_BEFORE: &str = "read no clock";

pub(super) fn check(tree: &Tree) -> Vec<Breach> {
    let pure: Vec<&str> = tree
        .files
        .iter()
        .filter(|file| is_pure(file))
        .map(|file| file.path.as_str())
        .collect();
    let is_in = |path: &str, pure: &str| path == pure || path.starts_with(&folder(pure));
    let mut breaches = misplaced(tree);
    for file in tree
        .files
        .iter()
        .filter(|file| !file.is_test && pure.iter().any(|pure| is_in(&file.path, pure)))
    {
        let paths = || {
            let paths = file.code.iter().flat_map(|code| &code.paths);
            paths.filter(|path| !path.is_test)
        };
        // A map whose hasher the file names has no random key.
        let has_hasher = paths().any(|path| path.words.iter().any(|word| word == HASHER));
        for path in paths() {
            if let Some(impurity) = impurity(path)
                && !(has_hasher && impurity.starts_with("Hash"))
            {
                let problem =
                    format!("a pure module uses {impurity}: let the caller hand in what it gives");
                breaches.push(Breach::new(&file.path, path.line, problem));
            }
        }
    }
    breaches.dedup_by(|next, first| (&next.path, next.line) == (&first.path, first.line));
    for (line, name) in named(tree) {
        let [file, module] = files(&name);
        if !pure
            .iter()
            .any(|pure| is_in(&file, pure) || is_in(&module, pure))
        {
            let problem = format!(
                "`{name}` is pure by this, but no {file} has documentation that begins with {PURE}"
            );
            breaches.push(Breach::new(ARCHITECTURE, line, problem));
        }
    }
    breaches
}

fn is_pure(file: &File) -> bool {
    file.code
        .as_ref()
        .and_then(|code| code.doc.first())
        .is_some_and(|doc| words(doc).next() == Some(PURE))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|char: char| !char.is_alphanumeric())
        .filter(|word| !word.is_empty())
}

/// Modules whose documentation says it where it is not looked for.
fn misplaced(tree: &Tree) -> Vec<Breach> {
    let says = |file: &&File| {
        file.code
            .iter()
            .flat_map(|code| &code.doc)
            .flat_map(|doc| words(doc))
            .any(|word| word == PURE)
    };
    let files = tree.files.iter().filter(|file| !is_pure(file)).filter(says);
    let problem =
        format!("the documentation has the word {PURE}, and is checked only if it begins with it");
    files
        .map(|file| Breach::new(&file.path, 1, problem.as_str()))
        .collect()
}

/// Where the modules below one are.
fn folder(path: &str) -> String {
    let stem = path.trim_end_matches(".rs");
    let of_all = ["/lib", "/main", "/mod"]
        .iter()
        .find_map(|root| stem.strip_suffix(root));
    format!("{}/", of_all.unwrap_or(stem))
}

/// The modules that ARCHITECTURE.md calls pure, each with its line.
fn named(tree: &Tree) -> Vec<(usize, String)> {
    let text = tree.file(ARCHITECTURE).map_or("", |file| &file.text);
    let Some((before, _)) = text.split_once(NAMED_BEFORE) else {
        return vec![(1, format!("what stands before \"{NAMED_BEFORE}\""))];
    };
    let begin = before.rfind("\n\n").map_or(0, |at| at + 2);
    let first = text[..begin].lines().count() + 1;
    let lines = before[begin..].lines().enumerate();
    lines
        .flat_map(|(at, line)| {
            line.split('`')
                .skip(1)
                .step_by(2)
                .map(move |name| (first + at, name.to_owned()))
        })
        .collect()
}

/// The two files that a module like `server::trunk::figures` can be.
fn files(name: &str) -> [String; 2] {
    let path = match name.split_once("::") {
        Some((room, module)) => format!("crates/{room}/src/{}", module.replace("::", "/")),
        None => {
            return [
                format!("crates/{name}/src/lib.rs"),
                format!("crates/{name}/src/main.rs"),
            ];
        }
    };
    [format!("{path}.rs"), format!("{path}/mod.rs")]
}

/// What a path has that a pure module may not have.
fn impurity(path: &Path) -> Option<&str> {
    path.own()
        .find(|(at, word)| is_impure(path, *at, word))
        .map(|(_, word)| word)
}

fn is_impure(path: &Path, at: usize, word: &str) -> bool {
    let is_of = |owner| at > 0 && path.words[at - 1] == owner;
    match word {
        "SystemTime" | "HashMap" | "HashSet" | "RandomState" | "SystemRandom" | "getrandom"
        | "rand" => true,
        "tokio" | "rusqlite" | "rustix" | "serial2" | "fs" | "stdin" => true,
        "TcpStream" | "TcpListener" | "UdpSocket" | "UnixStream" | "UnixListener"
        | "UnixDatagram" => true,
        // `env!` is read when the program is built.
        "env" => path.after != Some('!'),
        // `Instant::now`, jiff's `Timestamp::now` and `Zoned::now`: a type's, not a value's.
        "now" | "now_v7" | "new_v4" => at > 0,
        "system" => is_of("TimeZone"),
        "elapsed" => path.before == ".",
        "thread" | "process" => is_of("std"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "crates/server/src/dispatch.rs";

    fn problems(text: &str) -> Vec<String> {
        let tree = Tree::of(&[
            (PATH, &format!("//! Pure. A room.\n{text}")),
            (ARCHITECTURE, "`server::dispatch` read no clock"),
        ]);
        check(&tree).iter().map(ToString::to_string).collect()
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
            "Timestamp::now()",
            "let zone = TimeZone::system();",
            "Uuid::now_v7()",
            "std::process::Command::new(x)",
            "rusqlite::Connection::open(x)",
            "std::thread::spawn(x)",
            "use std::{io, thread};",
        ] {
            assert_eq!(
                problems(&format!("fn f() {{\n{code}\n}}")).len(),
                1,
                "{code}"
            );
        }
    }

    #[test]
    fn a_hash_map_with_a_hasher_that_is_the_same_in_every_run_is_pure() {
        let alias = "type Ids = std::collections::HashMap<u8, u8, H>;";
        assert_eq!(problems(alias).len(), 1);
        let with_hasher = format!("use std::hash::BuildHasherDefault;\n{alias}");
        assert_eq!(problems(&with_hasher), [""; 0]);
    }

    #[test]
    fn a_breach_says_where() {
        let found = problems("fn f() { Instant::now(); }");
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("crates/server/src/dispatch.rs:2: a pure module uses now"),
            "{found:?}"
        );
    }

    #[test]
    fn what_only_looks_like_it_is_let_be() {
        let text =
            "// Instant::now() is the caller's\nfn f(now: Instant) { random(now); rands(\"std::fs\"); env!(\"X\") }
#[cfg(test)]
mod tests { fn t() { Instant::now(); } }";
        assert_eq!(problems(text), [] as [String; 0]);
    }

    /// The lines of breaches, by file, with ARCHITECTURE.md left out.
    fn lines(files: &[(&str, &str)]) -> Vec<(String, usize)> {
        let breaches = check(&Tree::of(files))
            .into_iter()
            .filter(|breach| breach.path != ARCHITECTURE);
        breaches.map(|breach| (breach.path, breach.line)).collect()
    }

    #[test]
    fn what_is_below_a_pure_module_is_pure_as_well() {
        let pure = "//! Pure. Something.";
        let impure = "use rand::Rng;";
        for (root, below) in [
            ("a.rs", "a/b/c.rs"),
            ("a/mod.rs", "a/b.rs"),
            ("lib.rs", "a/b.rs"),
            ("a.rs", "a/mod.rs"),
        ] {
            let [root, below] = [root, below].map(|path| format!("crates/x/src/{path}"));
            assert_eq!(
                lines(&[(&root, pure), (&below, impure)]),
                [(below.clone(), 1)],
                "{root}"
            );
        }
        assert_eq!(
            lines(&[("crates/x/src/a.rs", pure), ("crates/x/src/ab.rs", impure)]),
            []
        );
        assert_eq!(
            lines(&[
                ("crates/x/src/a.rs", "//! Something."),
                ("crates/x/src/a/b.rs", impure)
            ]),
            []
        );
        assert_eq!(
            lines(&[
                ("crates/x/src/a.rs", pure),
                ("crates/x/src/a/tests.rs", impure)
            ]),
            []
        );
    }

    #[test]
    fn a_module_that_calls_itself_pure_in_passing_is_told() {
        assert_eq!(
            lines(&[("crates/x/src/a.rs", "//! Something. Pure.")]),
            [("crates/x/src/a.rs".to_owned(), 1)]
        );
        assert_eq!(
            lines(&[(
                "crates/x/src/a.rs",
                "//! Uses a pure core.\n/// Pure.\nfn f() {}"
            )]),
            []
        );
    }

    #[test]
    fn what_the_architecture_calls_pure_is_checked() {
        let problems = |text: &str| {
            let pure = "//! Pure: so it is.";
            let files = [
                ("crates/a/src/lib.rs", pure),
                ("crates/b/src/c.rs", pure),
                ("crates/b/src/d.rs", ""),
                (ARCHITECTURE, text),
            ];
            check(&Tree::of(&files))
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            problems(
                "`b::d` is a room.\n\n`a`, `a::x` and\n`b::c::y` read no clock. Nor does `z`."
            ),
            [] as [String; 0]
        );
        let found = problems("# One\n\n`a` and\n`b::d` read no clock.");
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("ARCHITECTURE.md:4: `b::d` is pure by this"),
            "{found:?}"
        );
        assert_eq!(problems("nothing").len(), 1);
    }
}
