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

use settings::Fault;

#[cfg(any(feature = "answer", feature = "serve"))]
use section::{Section, load, modem_setup};

/// What is wrong with a file, all of it.
#[derive(Debug)]
pub(crate) struct ConfigError {
    path: PathBuf,
    faults: Vec<Fault>,
    /// Why the file could not be read at all.
    unread: Option<String>,
}

impl std::error::Error for ConfigError {}

/// What was asked for cannot be done whenever it is asked: exit code 2. Nothing was sent or changed.
#[derive(Debug)]
pub(crate) struct WrongArgument(pub(crate) String);

impl std::error::Error for WrongArgument {}

impl fmt::Display for WrongArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.faults.len();
        if let Some(why) = &self.unread {
            return write!(f, "could not read {}: {why}", self.path.display());
        }
        write!(
            f,
            "{} has {count} fault{}:",
            self.path.display(),
            if count == 1 { "" } else { "s" }
        )?;
        self.faults.iter().try_for_each(|fault| {
            // TOML's own errors show the place on lines of their own.
            write!(f, "\n  {}", fault.to_string().replace('\n', "\n  "))?;
            let Some(place) = &fault.place else {
                return Ok(());
            };
            let (line, column) = (place.line, place.column);
            write!(f, "\n    --> {}:{line}:{column}", self.path.display())?;
            let shown = place.to_string();
            shown.lines().try_for_each(|line| write!(f, "\n    {line}"))
        })
    }
}

impl ConfigError {
    /// A fault of the file as a whole.
    #[cfg(any(feature = "answer", feature = "serve"))]
    fn whole(path: &Path, problem: String) -> Self {
        Self {
            path: path.to_owned(),
            faults: vec![Fault::new("", problem)],
            unread: None,
        }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        let fault = |fault: &Fault| {
            let place = fault.place.as_ref();
            serde_json::json!({ "key": fault.key, "problem": fault.problem,
                "line": place.map(|place| place.line), "column": place.map(|place| place.column) })
        };
        let faults: Vec<_> = self.faults.iter().map(fault).collect();
        serde_json::json!({ "file": self.path, "good": false, "faults": faults, "unread": self.unread })
    }
}

/// What `check-config --json` says of a good file.
pub(crate) fn good_json(path: &Path, warnings: &[String]) -> serde_json::Value {
    serde_json::json!({ "file": path, "good": true, "warnings": warnings })
}

fn read_text(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError {
        path: path.to_owned(),
        faults: Vec::new(),
        unread: Some(error.to_string()),
    })
}

/// Where the packages have their configs.
#[cfg(any(feature = "answer", feature = "serve"))]
const SYSTEM_FOLDER: &str = "/etc/ringup";

/// The config that a command reads without `--config`: the one in the working folder or else that of the packages.
#[cfg(any(feature = "answer", feature = "serve"))]
pub(crate) fn default_path(name: &str) -> PathBuf {
    default_in(Path::new(""), Path::new(SYSTEM_FOLDER), name)
}

#[cfg(any(feature = "answer", feature = "serve"))]
fn default_in(here: &Path, system: &Path, name: &str) -> PathBuf {
    let (here, system) = (here.join(name), system.join(name));
    if !here.exists() && system.exists() {
        system
    } else {
        here
    }
}

#[cfg(all(test, any(feature = "answer", feature = "serve")))]
mod tests {
    use super::*;

    #[test]
    fn a_config_of_the_working_folder_goes_before_that_of_the_packages() {
        let folder = tempfile::tempdir().unwrap();
        let (here, system) = (folder.path().join("here"), folder.path().join("etc"));
        for folder in [&here, &system] {
            std::fs::create_dir(folder).unwrap();
        }
        let default = || default_in(&here, &system, "server.toml");
        assert_eq!(default(), here.join("server.toml"), "neither is there");
        std::fs::write(system.join("server.toml"), "").unwrap();
        assert_eq!(default(), system.join("server.toml"));
        std::fs::write(here.join("server.toml"), "").unwrap();
        assert_eq!(default(), here.join("server.toml"));
    }
}
