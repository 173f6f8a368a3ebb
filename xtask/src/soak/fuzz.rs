//! The fuzz targets as steps of a soak.

use std::fs;

use anyhow::{Context as _, bail};

use crate::step::Step;
use crate::workspace::Workspace;

/// What most frames are longer than is more of the same.
const INPUT_OCTETS_MAX: u32 = 512;

/// A run of each target.
///
/// # Errors
/// If cargo-fuzz is not installed.
pub(super) fn steps(workspace: &Workspace, seconds: u32) -> anyhow::Result<Vec<Step>> {
    if workspace
        .output(workspace.cargo(&["fuzz", "--version"]))
        .is_err()
    {
        bail!(
            "cargo-fuzz is not installed, and the soak has a share of fuzzing: \
             `cargo install cargo-fuzz`, or leave that share out with --fuzz-seconds 0"
        );
    }
    let manifest = workspace.root().join("fuzz/Cargo.toml");
    let manifest = fs::read_to_string(&manifest)
        .with_context(|| format!("could not read {}", manifest.display()))?;
    let found = workspace.target()?.join("fuzz");
    targets(&manifest)?
        .iter()
        .map(|target| {
            let own = found.join(target);
            fs::create_dir_all(&own)
                .with_context(|| format!("could not make {}", own.display()))?;
            // New inputs go to the first folder, those of the repository are only read.
            let folders = [
                own.to_string_lossy().into_owned(),
                format!("fuzz/corpus/{target}"),
            ];
            let limits = [
                format!("-max_total_time={seconds}"),
                format!("-max_len={INPUT_OCTETS_MAX}"),
            ];
            // Without a sanitizer, as there is no unsafe code to watch, and without a look at every comparison: ten times
            // as many executions. libFuzzer needs flags that stable rustc keeps to itself.
            let run = [
                "fuzz",
                "run",
                "--sanitizer",
                "none",
                "--no-trace-compares",
                target,
            ];
            let step = Step::cargo("fuzz", &run)
                .arguments(&folders)
                .arguments(&["--".to_owned()])
                .arguments(&limits);
            Ok(step.env("RUSTC_BOOTSTRAP", "1"))
        })
        .collect()
}

/// The names in the manifest of `fuzz/`.
fn targets(manifest: &str) -> anyhow::Result<Vec<String>> {
    let manifest: toml::Table = manifest.parse()?;
    let programs = manifest
        .get("bin")
        .and_then(toml::Value::as_array)
        .context("fuzz/Cargo.toml names no target")?;
    let name = |program: &toml::Value| Some(program.get("name")?.as_str()?.to_owned());
    Ok(programs.iter().filter_map(name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_of_the_manifest_is_a_target() {
        let manifest = "[package]\nname = \"fuzz\"\n[[bin]]\nname = \"framing\"\npath = \"a.rs\"\n[[bin]]\nname = \"lcp\"\n";
        assert_eq!(targets(manifest).unwrap(), ["framing", "lcp"]);
        assert!(targets("[package]\nname = \"fuzz\"\n").is_err());
    }
}
