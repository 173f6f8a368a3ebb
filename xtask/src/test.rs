//! The tests: all of them, or those that need no programs of others.

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;

use crate::packages;
use crate::peers;
use crate::programs;
use crate::step::{Step, timed};
use crate::workspace::Workspace;

/// Runs every test of the workspace, with plain `cargo test`, after it has fetched the peers they talk to; then those of
/// the feature `tun`.
#[derive(Debug, Default, Args)]
#[command(after_help = "\
Examples:
  cargo xtask test
  cargo xtask test --core                  without programs of others: fetches nothing but crates
  cargo xtask test screening               only tests with this in their names
  cargo xtask test -- --nocapture          what is after -- goes to the test programs

Goes on after a test program has failed, and fails at the end. The first run fetches
Debian's pppd, mgetty, ser2net and more, and a kernel for them, with apt-get, and pyserial from PyPI,
into target/peers; nothing is installed. It says first what it fetches.")]
pub(crate) struct Test {
    /// Only tests that need no programs of others: nothing is fetched, no guest boots
    #[arg(long)]
    core: bool,

    /// Handed to `cargo test`
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENT"
    )]
    arguments: Vec<String>,
}

/// Test programs that talk to programs of others, or take what a distribution may forbid (`tun`: user namespaces).
const WITH_PEERS: [&str; 4] = ["peers", "pppd", "capture", "pyserial"];

/// Tests of other programs that need one of the peers: the power cuts have their witness in strace.
const TESTS_WITH_PEERS: [&str; 1] = ["power_cut::"];

impl Test {
    /// # Errors
    /// The first part that fails.
    pub(crate) fn run(&self, workspace: &Workspace) -> anyhow::Result<()> {
        if self.core {
            return timed("test --core", || self.run_core(workspace));
        }
        peers::announce(workspace)?;
        timed("fetch", || peers::fetch(workspace))?;
        timed("programs and packages", || {
            // What the tests of the recording medium put on one, and run emulated.
            for arch in [programs::Arch::X86_64, programs::Arch::Aarch64] {
                programs::build(workspace, arch)?;
            }
            packages::build_for_tests(workspace)
        })?;
        let all = ["test", "--workspace", "--locked", "--no-fail-fast"];
        let all = timed("test", || {
            Step::cargo("test", &all)
                .arguments(&self.arguments)
                .run(workspace)
        });
        // What the feature adds is in one room; the others only hand its settings on, and clippy compiles them with it.
        let with_tun =
            "test --package ringup-link --features tun --lib --test tun --locked --no-fail-fast";
        let with_tun: Vec<_> = with_tun.split(' ').collect();
        let with_tun = timed("test with tun", || {
            Step::cargo("test with tun", &with_tun)
                .arguments(&self.arguments)
                .run(workspace)
        });
        all.and(with_tun)
    }

    fn run_core(&self, workspace: &Workspace) -> anyhow::Result<()> {
        let metadata = workspace.output(workspace.cargo(&[
            "metadata",
            "--no-deps",
            "--locked",
            "--format-version",
            "1",
        ]))?;
        let mut step = vec![
            "test",
            "--workspace",
            "--locked",
            "--no-fail-fast",
            "--lib",
            "--bins",
            "--examples",
        ];
        let programs = core_programs(&metadata)?;
        step.extend(programs.iter().flat_map(|program| ["--test", program]));
        let mut arguments = self.arguments.clone();
        if !arguments.iter().any(|argument| argument == "--") {
            arguments.push("--".to_owned());
        }
        arguments.extend(
            TESTS_WITH_PEERS
                .iter()
                .flat_map(|name| ["--skip".to_owned(), (*name).to_owned()]),
        );
        Step::cargo("test --core", &step)
            .arguments(&arguments)
            .run(workspace)
    }
}

/// The test programs of the workspace that need no peers and no feature, in the order of their names.
fn core_programs(metadata: &str) -> anyhow::Result<Vec<String>> {
    let metadata: Metadata =
        serde_json::from_str(metadata).context("could not read what cargo metadata printed")?;
    let targets = metadata
        .packages
        .into_iter()
        .flat_map(|package| package.targets);
    let mut names: Vec<_> = targets
        .filter(|target| target.kind.iter().any(|kind| kind == "test"))
        .filter(|target| !target.features.iter().any(|feature| feature == "tun"))
        .map(|target| target.name)
        .filter(|name| !WITH_PEERS.contains(&name.as_str()))
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
    #[serde(rename = "required-features", default)]
    features: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_has_all_test_programs_but_those_with_peers_and_of_tun() {
        let target = |name: &str, kind: &str, features: &str| {
            format!(r#"{{"name":"{name}","kind":["{kind}"],"required-features":[{features}]}}"#)
        };
        let targets = [
            target("two_ends", "test", ""),
            target("pppd", "test", ""),
            target("tun", "test", r#""tun""#),
            target("ringup", "test", r#""demo""#),
            target("links", "bench", ""),
        ];
        let metadata = format!(r#"{{"packages":[{{"targets":[{}]}}]}}"#, targets.join(","));
        assert_eq!(core_programs(&metadata).unwrap(), ["ringup", "two_ends"]);
    }
}
