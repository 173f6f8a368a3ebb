//! One command of several: shown, run, timed.

use std::time::Instant;

use anyhow::{Context as _, bail};

use crate::workspace::{Workspace, shown};

/// A cargo command that has to succeed.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Step {
    pub(crate) fn cargo(name: &'static str, arguments: &[&str]) -> Self {
        Self {
            name,
            arguments: arguments.iter().map(ToString::to_string).collect(),
            environment: vec![],
        }
    }

    #[must_use]
    pub(crate) fn arguments(mut self, more: &[String]) -> Self {
        self.arguments.extend_from_slice(more);
        self
    }

    #[must_use]
    pub(crate) fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Runs it with its output as it comes.
    ///
    /// # Errors
    /// If it cannot be started or does not succeed.
    pub(crate) fn run(&self, workspace: &Workspace) -> anyhow::Result<()> {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let mut command = workspace.cargo(&arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let shown = self
            .environment
            .iter()
            .map(|(name, value)| format!("{name}=\"{value}\" "))
            .collect::<String>()
            + &shown(&command);
        eprintln!("== {}: {shown}", self.name);
        let status = command
            .status()
            .with_context(|| format!("could not start `{shown}`"))?;
        if !status.success() {
            bail!("{}: `{shown}` failed", self.name);
        }
        Ok(())
    }
}

/// Runs something and says how long it took, also if it failed.
pub(crate) fn timed(name: &str, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let began = Instant::now();
    let result = work();
    let word = if result.is_ok() { "done" } else { "FAILED" };
    eprintln!(
        "== {name}: {word} after {:.1} s",
        began.elapsed().as_secs_f64()
    );
    result
}
