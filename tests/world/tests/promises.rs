//! The tables of variants, promises and bad input in the book of tests name tests that there are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The names of all functions in Rust files below a folder.
fn functions(folder: &Path, into: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            functions(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(path).expect("UTF-8");
            let names = text.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
            into.extend(names.map(str::to_owned));
        }
    }
}

/// All functions below these folders of the repository.
fn known(folders: &[&str]) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    folders.iter().for_each(|folder| functions(&root().join(folder), &mut known));
    known
}

/// The rows of a chapter's table in the book of tests, each with the names in its second column.
fn rows(chapter: &str) -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(root().join("docs/testing.md")).expect("it is in the repository");
    let (_, table) = text.split_once(&format!("\n## {chapter}\n")).expect("the book has the chapter");
    let table = table.split("\n## ").next().expect("there is one part at least");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    let named = |tests: &str| tests.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    rows.map(|(what, tests)| (what.to_owned(), named(tests))).skip(1).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn every_promise_has_tests_and_every_test_that_is_named_is_there() {
    let (known, rows) = (known(&["crates", "tests"]), rows("Promises"));
    for promise in 1..=9 {
        let row = rows.iter().find(|(what, _)| what.starts_with(&format!("{promise}. ")));
        let (_, named) = row.expect("a row for each promise");
        assert!(named.len() >= 2, "promise {promise} has {named:?}");
        for name in named {
            assert!(known.contains(name), "promise {promise} names {name}, which is no test");
        }
    }
}

#[test]
fn every_variant_of_the_two_flows_has_a_test_that_is_there() {
    let (known, rows) = (known(&["crates/cli/tests"]), rows("Variants"));
    assert!(rows.len() >= 13, "{rows:#?}");
    for (what, named) in rows {
        assert!(!named.is_empty(), "{what}");
        for name in named {
            assert!(known.contains(&name), "{what} names {name}, which is no test of real processes");
        }
    }
}

#[test]
fn every_kind_of_bad_input_has_a_test_that_is_there() {
    let (known, rows) = (known(&["crates"]), rows("Bad input"));
    assert!(rows.len() >= 9, "{rows:#?}");
    for (what, named) in rows {
        assert!(!named.is_empty(), "{what}");
        for name in named {
            assert!(known.contains(&name), "{what} names {name}, which is no test");
        }
    }
}

#[test]
fn every_bad_input_has_a_test_of_real_processes_that_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (mut known, mut of_processes) = (BTreeSet::new(), BTreeSet::new());
    functions(&root.join("crates"), &mut known);
    functions(&root.join("crates/cli/tests/ringup"), &mut of_processes);
    let text = fs::read_to_string(root.join("docs/testing.md")).expect("it is in the repository");
    let (_, table) = text.split_once("## Bad input").expect("the book has the table");
    let (table, _) = table.split_once("## ").expect("it is not the last chapter");
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert_eq!(rows.len(), 13, "{rows:#?}");
    for row in rows {
        let tests = |text: &str| -> Vec<String> {
            text.split('`').skip(1).step_by(2).filter(|word| word.contains('_')).map(str::to_owned).collect()
        };
        let [_, input, both, besides, _] = row.split('|').collect::<Vec<_>>()[..] else {
            panic!("three columns: {row}")
        };
        assert!(!tests(both).is_empty(), "{input} has no test of real processes");
        for name in tests(both) {
            assert!(of_processes.contains(&name), "{input} names {name}, which is no test of real processes");
        }
        for name in tests(besides) {
            assert!(known.contains(&name), "{input} names {name}, which is no test");
        }
    }
}
