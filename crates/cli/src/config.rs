//! The programs' configuration files: one TOML file each, checked whole before anything starts.
//!
//! A key that is missing, unknown, of the wrong type or out of bounds is a [`Fault`]; all faults of a file are reported
//! together. Relative paths are relative to the folder of the file.

#[cfg(feature = "exchange")]
pub(crate) mod exchange;
#[cfg(any(feature = "answer", feature = "serve"))]
mod section;
#[cfg(feature = "serve")]
pub(crate) mod server;
#[cfg(feature = "answer")]
pub(crate) mod terminal;
#[cfg(any(feature = "answer", feature = "serve"))]
mod tun;

use std::fmt;
use std::path::{Path, PathBuf};

#[cfg(any(feature = "answer", feature = "serve"))]
use section::{Section, load, modem_setup};

/// What is wrong with a file, all of it.
#[derive(Debug)]
pub(crate) struct ConfigError {
    path: PathBuf,
    faults: Vec<Fault>,
}

/// One thing that is wrong: where, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    key: String,
    problem: String,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.faults.len();
        write!(f, "{} has {count} fault{}:", self.path.display(), if count == 1 { "" } else { "s" })?;
        self.faults.iter().try_for_each(|Fault { key, problem }| {
            // TOML's own errors show the place on lines of their own.
            let problem = problem.trim_end().replace('\n', "\n  ");
            match key.as_str() {
                "" => write!(f, "\n  {problem}"),
                key => write!(f, "\n  {key}: {problem}"),
            }
        })
    }
}

impl ConfigError {
    /// A fault of the file as a whole.
    fn whole(path: &Path, problem: String) -> Self {
        Self { path: path.to_owned(), faults: vec![Fault { key: String::new(), problem }] }
    }
}

fn read_text(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError::whole(path, error.to_string()))
}
