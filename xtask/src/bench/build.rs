//! How long the README's first command makes a newcomer wait.

use std::time::Instant;

use super::table::verdict;
use crate::step::Step;
use crate::workspace::Workspace;

/// On two cores, from an empty target folder; what has to be downloaded does not count.
const WANTED_SECONDS: f64 = 300.0;

pub(super) fn measure(workspace: &Workspace) -> anyhow::Result<String> {
    Step::cargo("fetch", &["fetch", "--locked"]).run(workspace)?;
    let target = tempfile::tempdir()?;
    let build = Step::cargo("build", &["build", "--release", "--locked"]).env(
        "CARGO_TARGET_DIR",
        target.path().to_string_lossy().into_owned(),
    );
    let began = Instant::now();
    build.run(workspace)?;
    let seconds = began.elapsed().as_secs_f64();
    Ok(format!(
        "### build\n\n`cargo build --release` into an empty target folder, all packages downloaded before.\n
| figure | wanted | measured | |\n|---|---|---|---|
| clean release build | under {WANTED_SECONDS:.0} s on 2 cores | {seconds:.0} s | {} |\n",
        verdict(seconds < WANTED_SECONDS)
    ))
}
