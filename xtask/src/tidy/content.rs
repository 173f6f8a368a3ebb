//! What no file may hold: leftovers, sleeping tests, paths of one machine, SQL outside its room, too much, and names
//! that say nothing.

use std::collections::BTreeSet;

use super::Breach;
use super::code::{Attribute, Code, Path};
use super::tree::{File, Tree};

/// Past this, look for a second noun.
const LINES_MAX: usize = 800;

/// The only place with SQL.
const STORE: &str = "crates/store/src";

/// But for this: what SQLite does without the store has no method of the store.
const BARE_SQLITE: &str = "crates/server/benches/store/bare.rs";

/// How statements begin. In literals only, in capitals as SQL is written here.
const SQL: &[&str] = &[
    "SELECT ",
    "INSERT INTO ",
    "INSERT OR ",
    "UPDATE ",
    "DELETE FROM ",
    "CREATE TABLE ",
    "CREATE INDEX ",
    "DROP TABLE ",
    "ALTER TABLE ",
    "PRAGMA ",
];

const EMPTY_NAMES: &[&str] = &[
    "util",
    "utils",
    "common",
    "helper",
    "helpers",
    "misc",
    "manager",
    "managers",
    "processor",
    "processors",
];

/// Folders of the machine this was built on: in a file they are a mistake or a leak.
const MACHINE_FOLDERS: &[&str] = &["work", "root", "farm"];

pub(super) fn check(tree: &Tree) -> Vec<Breach> {
    tree.files.iter().flat_map(check_file).collect()
}

fn check_file(file: &File) -> Vec<Breach> {
    let path = file.path.as_str();
    let mut breaches = Vec::new();
    if let Some(name) = path
        .split('/')
        .map(stem)
        .find(|name| EMPTY_NAMES.contains(name))
    {
        let problem = format!(
            "the name `{name}` says nothing: name the noun it owns, or put it where it is used"
        );
        breaches.push(Breach::new(path, 1, problem));
    }
    for (index, text) in file.text.lines().enumerate() {
        if let Some(folder) = machine_path(text) {
            let problem = format!("a path of one machine: /{folder}/");
            breaches.push(Breach::new(path, index + 1, problem));
        }
    }
    let Some(code) = &file.code else {
        return breaches;
    };
    let lines = file.text.lines().count();
    if lines > LINES_MAX {
        let problem =
            format!("{lines} lines, more than {LINES_MAX}: is there a second noun in it?");
        breaches.push(Breach::new(path, LINES_MAX + 1, problem));
    }
    let problems = in_code(path, file.is_test, code);
    breaches.extend(
        problems
            .into_iter()
            .map(|(line, problem)| Breach::new(path, line, problem)),
    );
    breaches
}

/// What is wrong in code, one of a kind in a line.
fn in_code(path: &str, is_test: bool, code: &Code) -> BTreeSet<(usize, String)> {
    let words = code.paths.iter().flat_map(|word| {
        let problems = [
            unfinished(word),
            sleep_in_test(word, is_test),
            empty_module(word),
        ];
        problems
            .into_iter()
            .flatten()
            .map(|problem| (word.line, problem))
    });
    let silenced = code
        .attributes
        .iter()
        .filter_map(|attribute| Some((attribute.line, silenced(attribute)?.to_owned())));
    let sql = code
        .literals
        .iter()
        .filter_map(|(line, literal)| Some((*line, sql(path, literal)?)));
    words.chain(silenced).chain(sql).collect()
}

fn stem(part: &str) -> &str {
    part.split_once('.').map_or(part, |(stem, _)| stem)
}

fn machine_path(text: &str) -> Option<&'static str> {
    MACHINE_FOLDERS.iter().copied().find(|folder| {
        text.match_indices(folder).any(|(at, _)| {
            // The folder at the root of a path, not in the middle of one or of a word.
            let (before, after) = (&text[..at], &text[at + folder.len()..]);
            let is_root = before
                .strip_suffix('/')
                .is_some_and(|before| !before.ends_with(is_of_path));
            is_root
                && after.starts_with('/')
                && after[1..].starts_with(|char: char| char.is_alphanumeric())
        })
    })
}

fn is_of_path(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '.' | '_' | '-' | '/' | '}' | '~')
}

fn unfinished(word: &Path) -> Option<String> {
    let is_macro =
        matches!(word.name(), "todo" | "unimplemented" | "dbg") && word.after == Some('!');
    is_macro.then(|| format!("{}! is not finished code", word.name()))
}

fn silenced(attribute: &Attribute) -> Option<&'static str> {
    let text = attribute.text.as_str();
    if text == "ignore" || text.starts_with("ignore =") {
        return Some("a test that is not run proves nothing: make it run, or remove it");
    }
    // With a reason it is a decision; `expect` in its stead is refused by the compiler when it is not needed.
    let is_silent =
        text.contains("allow") && text.contains("dead_code") && !text.contains("reason =");
    is_silent
        .then_some("dead code is silenced: remove the code, or give the reason in the attribute")
}

fn sleep_in_test(word: &Path, is_test: bool) -> Option<String> {
    let sleeps =
        matches!(word.name(), "sleep" | "sleep_ms" | "sleep_until") && word.after == Some('(');
    (sleeps && word.before != "fn" && (is_test || word.is_test))
        .then(|| "a test sleeps: wait for the event instead".to_owned())
}

fn sql(path: &str, literal: &str) -> Option<String> {
    // This file names the keywords, and is in no program.
    let is_elsewhere =
        path.starts_with("crates/") && !path.starts_with(STORE) && path != BARE_SQLITE;
    let keyword = SQL.iter().find(|keyword| literal.contains(*keyword))?;
    is_elsewhere.then(|| {
        format!(
            "SQL ({}) outside {STORE}: give the store a method with a domain name",
            keyword.trim()
        )
    })
}

fn empty_module(word: &Path) -> Option<String> {
    (word.before == "mod" && EMPTY_NAMES.contains(&word.name())).then(|| {
        format!(
            "the name `{}` says nothing: name the noun it owns",
            word.name()
        )
    })
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

    /// Exactly one breach, on line 2, that has `word` in it.
    #[track_caller]
    fn refused(path: &str, code: &str, word: &str) {
        let found = problems(path, &format!("//\n{code}\n"));
        assert_eq!(found.len(), 1, "{code}: {found:?}");
        assert!(
            found[0].starts_with(&format!("{path}:2: ")) && found[0].contains(word),
            "{found:?}"
        );
    }

    #[track_caller]
    fn accepted(path: &str, code: &str) {
        assert_eq!(problems(path, code), [] as [String; 0], "{code}");
    }

    const ROOM: &str = "crates/line/src/call.rs";

    #[test]
    fn unfinished_and_silenced_code_is_refused() {
        refused(ROOM, "todo!()", "todo!");
        refused(
            ROOM,
            "fn f() { unimplemented!(\"later\") }",
            "unimplemented!",
        );
        refused(ROOM, "let x = dbg!(y);", "dbg!");
        refused(ROOM, "#[ignore]", "not run");
        refused(ROOM, "#[ignore = \"slow\"]", "not run");
        refused(ROOM, "#![allow(dead_code)]", "silenced");
        refused(ROOM, "#[allow(unused, dead_code)]", "silenced");
        accepted(
            ROOM,
            "// todo!() was here\nlet text = \"dbg!(x)\"; todo(); fn ignore() {}",
        );
        accepted(
            ROOM,
            "#![allow(dead_code, reason = \"each test program uses its own part\")]",
        );
    }

    #[test]
    fn tests_do_not_sleep() {
        refused(
            "crates/line/tests/call.rs",
            "thread::sleep(SECOND);",
            "sleeps",
        );
        refused(
            "tests/world/main.rs",
            "tokio::time::sleep(SECOND).await;",
            "sleeps",
        );
        refused(
            ROOM,
            "#[cfg(test)] mod tests { fn t() { sleep(SECOND); } }",
            "sleeps",
        );
        accepted(ROOM, "fn pause() { thread::sleep(SECOND); }");
        accepted("crates/line/tests/call.rs", "fn sleep(steps: u32) {}");
    }

    #[test]
    fn sql_is_in_the_store_only() {
        refused(
            "crates/server/src/intake.rs",
            "db.execute(\"INSERT INTO t VALUES (1)\")",
            "INSERT INTO",
        );
        refused(
            "crates/cli/src/operator.rs",
            "let sql = r#\"SELECT 1\"#;",
            "SELECT",
        );
        accepted("crates/store/src/lib.rs", "\"SELECT 1\"");
        accepted("crates/store/src/queue.rs", "\"DELETE FROM t\"");
        accepted(
            "crates/server/src/intake.rs",
            "// SELECT 1\nlet x = \"select one\";",
        );
    }

    #[test]
    fn long_files_are_refused() {
        assert_eq!(
            problems(ROOM, &"x();\n".repeat(LINES_MAX)),
            [] as [String; 0]
        );
        let found = problems(ROOM, &"x();\n".repeat(LINES_MAX + 1));
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("801 lines"), "{found:?}");
        accepted("docs/rfc/rfc1661.txt", &"x\n".repeat(5000));
    }

    #[test]
    fn names_say_something() {
        for path in [
            "crates/line/src/utils.rs",
            "crates/common/Cargo.toml",
            "crates/server/src/call/manager.rs",
        ] {
            assert_eq!(problems(path, "").len(), 1, "{path}");
        }
        refused(ROOM, "mod helpers { }", "helpers");
        accepted("crates/line/src/commonplace.rs", "let common = 1;");
    }

    #[test]
    fn paths_of_one_machine_are_refused() {
        for folder in MACHINE_FOLDERS {
            let text = format!("see\n/{folder}/main");
            assert_eq!(problems("docs/plan.md", &text).len(), 1, "{text}");
            assert_eq!(
                problems(".ci/run", &format!("cd \"/{folder}/main\"")).len(),
                1
            );
        }
        let (folder, other) = (MACHINE_FOLDERS[0], MACHINE_FOLDERS[1]);
        accepted(
            "docs/plan.md",
            &format!(
                "https://example.org/{folder}/1, docs/{other}/x, /{folder}, a/{folder}/b, ~/{folder}/x"
            ),
        );
    }
}
