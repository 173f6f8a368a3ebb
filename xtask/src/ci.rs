//! What CI runs, in the order of what is cheapest to know.

use crate::step::{Step, timed};
use crate::tidy;
use crate::workspace::Workspace;

/// Runs every step up to the first that fails. The tests are last, so that their closing lines are the last to be read.
///
/// # Errors
/// The first failure.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    // As in `test`: what is compiled differently with the feature, and all that is between it and the program.
    let with_tun = "clippy --package ringup --package ringup-link --features ringup/tun,ringup-link/tun --all-targets \
                    --locked -- -D warnings";
    let with_tun: Vec<_> = with_tun.split_whitespace().collect();
    let terminal_alone = "clippy --package ringup --no-default-features --features answer --locked -- -D warnings";
    let terminal_alone: Vec<_> = terminal_alone.split(' ').collect();
    let before = [
        Step::cargo("fmt", &["fmt", "--all", "--check"]),
        Step::cargo("clippy", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
        Step::cargo("clippy with tun", &with_tun),
        Step::cargo("clippy of the terminal alone", &terminal_alone),
        Step::cargo("doc", &["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-D warnings"),
    ];
    for step in before {
        timed(step.name, || step.run(workspace))?;
    }
    timed("tidy", || tidy::run(workspace))?;
    timed("test", || crate::Test { arguments: vec![] }.run(workspace))
}
