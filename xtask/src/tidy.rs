//! The rules of this project that no compiler knows, each a function from what is in the tree to its breaches.

mod bounds;
mod circles;
mod clocks;
mod code;
mod content;
mod functions;
mod manifest;
mod modules;
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
        Self {
            path: path.to_owned(),
            line,
            problem: problem.into(),
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.problem)
    }
}

/// Checks the rules that no compiler knows: purity, clocks, rooms, circles, names, sizes, leftovers. Lists each breach as file:line
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Tidy {
    /// Shows the circles between modules instead, with every use in them and the fewest uses to cut
    #[arg(long)]
    circles: bool,
    /// With `--circles`: as if this module did not use that one, such as `store:alarms`. As often as wanted
    #[arg(long, value_name = "FROM:TO", requires = "circles")]
    without: Vec<String>,
}

impl Tidy {
    /// Does what its options say.
    ///
    /// # Errors
    /// If there is a breach, or the tree cannot be read.
    pub(crate) fn run(self, workspace: &Workspace) -> anyhow::Result<()> {
        let tree = Tree::read(workspace)?;
        if self.circles {
            return circles::print(&tree, &self.without);
        }
        check(workspace, &tree)
    }
}

/// Checks everything; prints every breach on standard output.
fn check(workspace: &Workspace, tree: &Tree) -> anyhow::Result<()> {
    let mut breaches = [
        bounds::check(tree),
        purity::check(tree),
        circles::check(tree),
        clocks::check(tree),
        content::check(tree),
        functions::check(tree),
        manifest::check(tree),
        rooms::check(tree, &rooms::Room::read_all(workspace)?),
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
