//! What CI runs, in the order of what is cheapest to know.

use std::process::Command;

use anyhow::Context as _;

use crate::peers;
use crate::step::{Step, timed};
use crate::tidy::Tidy;
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
    // The parts that Debian packages are built of.
    let part = |part: &'static str| {
        let clippy = [
            "clippy",
            "--package",
            "ringup",
            "--no-default-features",
            "--features",
            part,
        ];
        Step::cargo(
            "clippy of a part alone",
            &[&clippy[..], &["--locked", "--", "-D", "warnings"]].concat(),
        )
    };
    let before = [
        Step::cargo("fmt", &["fmt", "--all", "--check"]),
        Step::cargo(
            "clippy",
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--locked",
                "--",
                "-D",
                "warnings",
            ],
        ),
        Step::cargo("clippy with tun", &with_tun),
        part("answer"),
        part("serve"),
        part("exchange"),
        Step::cargo("doc", &["doc", "--workspace", "--no-deps", "--locked"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    ];
    for step in before {
        timed(step.name, || step.run(workspace))?;
    }
    timed("deny", || deny(workspace))?;
    timed("tidy", || Tidy::default().run(workspace))?;
    timed("benches", || crate::bench::Bench::shortest().run(workspace))?;
    crate::test::Test::default().run(workspace)
}

/// Holds what we depend on to `deny.toml`. Advisories are not asked: their database is fetched from elsewhere each time.
fn deny(workspace: &Workspace) -> anyhow::Result<()> {
    check(workspace, &["bans", "licenses", "sources"])
}

/// Asks the RustSec database of what we depend on; what is known and stays is in `deny.toml`.
///
/// # Errors
/// An advisory, or no way to the database.
pub(crate) fn advisories(workspace: &Workspace) -> anyhow::Result<()> {
    check(workspace, &["advisories"])
        .context("there is an advisory, or its database could not be fetched from GitHub")
}

fn check(workspace: &Workspace, what: &[&str]) -> anyhow::Result<()> {
    peers::fetch(workspace)?;
    let mut deny = Command::new(peers::cargo_deny(workspace)?);
    deny.arg("check").args(what);
    workspace.output(deny).map(drop)
}
