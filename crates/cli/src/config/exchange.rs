//! `exchange.toml`: what `ringup exchange` reads. The exchange checks it by itself; its faults are shown as all others.

use std::path::Path;

use super::{ConfigError, Fault, read_text};

/// Reads and checks an exchange's config.
pub(crate) fn read(path: &Path) -> Result<exchange::Config, ConfigError> {
    let config = read_text(path)?
        .parse::<exchange::Config>()
        .map_err(|error| {
            let faults = error
                .faults
                .into_iter()
                .map(|fault| Fault::new(fault.key, fault.problem));
            ConfigError {
                path: path.to_owned(),
                faults: faults.collect(),
                unread: None,
            }
        })?;
    Ok(config.relative_to(path.parent().unwrap_or(Path::new(""))))
}
