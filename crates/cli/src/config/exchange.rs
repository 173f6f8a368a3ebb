//! `exchange.toml`: what `ringup exchange` reads. The exchange checks it by itself; its faults are shown as all others.

use std::path::Path;

use super::{ConfigError, read_text};

/// Reads and checks an exchange's config.
pub(crate) fn read(path: &Path) -> Result<exchange::Config, ConfigError> {
    let text = read_text(path)?;
    let config = text.parse::<exchange::Config>().map_err(|error| {
        let mut faults = error.faults;
        settings::locate(&text, &mut faults);
        ConfigError {
            path: path.to_owned(),
            faults,
            unread: None,
        }
    })?;
    Ok(config.relative_to(path.parent().unwrap_or(Path::new(""))))
}
