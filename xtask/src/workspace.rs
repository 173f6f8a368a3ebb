//! The folder all this works on, and the cargo that works on it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

/// The workspace this program belongs to.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// # Errors
    /// If this program was not started by cargo.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let own = std::env::var_os("CARGO_MANIFEST_DIR").context("start this as: cargo xtask")?;
        let root = Path::new(&own)
            .parent()
            .context("xtask has no folder above it")?;
        Ok(Self {
            root: root.to_owned(),
        })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A cargo command in the workspace, with the environment of a cargo that was started by hand.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // What `cargo run` sets for us would reach build scripts, and each change of it would build their crates anew.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["CARGO_PKG_", "CARGO_MANIFEST_"]
                .iter()
                .any(|set| text.starts_with(set))
            {
                command.env_remove(&name);
            }
        }
        command.args(arguments).current_dir(&self.root);
        command
    }

    /// Where cargo puts what it makes.
    pub(crate) fn target(&self) -> anyhow::Result<PathBuf> {
        let json = self.output(self.cargo(&[
            "metadata",
            "--no-deps",
            "--locked",
            "--format-version",
            "1",
        ]))?;
        let metadata: serde_json::Value = serde_json::from_str(&json)?;
        let target = metadata["target_directory"]
            .as_str()
            .context("cargo metadata names no target folder")?;
        Ok(target.into())
    }

    /// What a program prints, which has to succeed.
    pub(crate) fn output(&self, command: Command) -> anyhow::Result<String> {
        self.output_in(command, &self.root)
    }

    /// The same, run in another folder.
    pub(crate) fn output_in(&self, mut command: Command, folder: &Path) -> anyhow::Result<String> {
        let shown = shown(&command);
        let output = command
            .current_dir(folder)
            .output()
            .with_context(|| format!("could not start `{shown}`"))?;
        if !output.status.success() {
            bail!(
                "`{shown}` failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        String::from_utf8(output.stdout).with_context(|| format!("`{shown}` did not print UTF-8"))
    }
}

/// A command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
