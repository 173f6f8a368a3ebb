//! The rules of this project that no compiler knows, each a function from what is in the tree to its breaches.

mod code;
mod content;
mod manifest;
mod purity;
mod rooms;
mod tree;

use std::fmt;

use anyhow::bail;

use crate::workspace::Workspace;
use tree::Tree;

/// One breach of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Breach {
    path: String,
    /// Counted from 1.
    line: usize,
    problem: String,
}

impl Breach {
    fn new(path: &str, line: usize, problem: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, problem: problem.into() }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.problem)
    }
}

/// Checks everything; prints every breach on standard output.
///
/// # Errors
/// If there is a breach, or the tree cannot be read.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    let tree = Tree::read(workspace)?;
    let mut breaches = [
        purity::check(&tree),
        content::check(&tree),
        manifest::check(&tree),
        rooms::check(&rooms::Room::read_all(workspace)?),
    ]
    .concat();
    breaches.sort();
    for breach in &breaches {
        println!("{breach}");
    }
    match breaches.len() {
        0 => {
            eprintln!("tidy: {} files, nothing to mend", tree.files.len());
            Ok(())
        }
        count => bail!("{count} to mend"),
    }
}
