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
            let names = text
                .split("fn ")
                .skip(1)
                .filter_map(|rest| rest.split(['(', '<']).next());
            into.extend(names.map(str::to_owned));
        }
    }
}

/// All functions below these folders of the repository.
fn known(folders: &[&str]) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    folders
        .iter()
        .for_each(|folder| functions(&root().join(folder), &mut known));
    known
}

/// The rows of a chapter's table in the book of tests, each with the names of functions in its other columns.
fn rows(chapter: &str) -> Vec<(String, Vec<Vec<String>>)> {
    let text =
        fs::read_to_string(root().join("docs/what-is-tested.md")).expect("it is in the repository");
    let (_, table) = text
        .split_once(&format!("\n## {chapter}\n"))
        .expect("the book has the chapter");
    let table = table
        .split("\n## ")
        .next()
        .expect("there is one part at least");
    let rows = table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix('|')?.split_once(" |"));
    let is_name = |word: &&str| word.contains('_');
    let named = |column: &str| {
        column
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(is_name)
            .map(str::to_owned)
            .collect()
    };
    rows.map(|(what, rest)| (what.to_owned(), rest.split(" |").map(named).collect()))
        .skip(1)
        .collect()
}

/// Every row names something in its first column after the input's, and nothing that is not known.
fn hold(chapter: &str, least: usize, first: &BTreeSet<String>, all: &BTreeSet<String>) {
    let rows = rows(chapter);
    assert!(rows.len() >= least, "{chapter}: {rows:#?}");
    for (what, columns) in rows {
        assert!(
            columns.first().is_some_and(|names| !names.is_empty()),
            "{chapter}: {what} has no test"
        );
        for (known, names) in [first, all].iter().zip(&columns) {
            for name in names {
                assert!(
                    known.contains(name),
                    "{chapter}: {what} names {name}, which is no such test"
                );
            }
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn every_promise_has_tests_and_every_test_that_is_named_is_there() {
    let known = known(&["crates", "tests"]);
    hold("Promises", 9, &known, &known);
    let rows = rows("Promises");
    for promise in 1..=9 {
        let row = rows
            .iter()
            .find(|(what, _)| what.starts_with(&format!("{promise}. ")));
        let (_, columns) = row.expect("a row for each promise");
        assert!(
            columns.concat().len() >= 2,
            "promise {promise} has {columns:?}"
        );
    }
}

#[test]
fn every_variant_of_the_two_flows_has_a_test_of_real_processes_that_is_there() {
    let known = known(&["crates/cli/tests"]);
    hold("Variants", 13, &known, &known);
}

#[test]
fn every_bad_input_has_a_test_that_is_there_and_of_real_processes_on_a_delivery_session() {
    let (all, of_processes) = (known(&["crates"]), known(&["crates/cli/tests/ringup"]));
    hold("Bad input on a delivery session", 13, &of_processes, &all);
    hold("Bad input at the information service", 9, &all, &all);
}
