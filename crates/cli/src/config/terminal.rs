//! `terminal.toml`: what `ringup answer` and `ringup dial-in` read. A machine may be a terminal (`[terminal]`), a provider
//! (`[provider]`), or both.

use std::path::{Path, PathBuf};
use std::time::Duration;

use client::answer::TerminalConfig;
use client::session::{LinkSettings, SILENCE_MAX};
use delivery::TerminalId;
use line::{Number, PortAddress, Screening};
use link::HAS_TUN;
use modem::{DialString, Profile, Setup};

use super::{ConfigError, Section, load, modem_setup, tun};

/// One way; a terrestrial line has 30 to 100 ms, most of it in the modems.
const LINE_DELAY: Duration = Duration::from_millis(60);

/// A machine at the end of a line.
#[derive(Debug)]
pub(crate) struct Machine {
    /// Where its modem is, if it is to dial.
    pub(crate) port: Option<PortAddress>,
    /// What that is, and is told.
    pub(crate) setup: Setup,
    /// What it dials to reach the server.
    pub(crate) server: Option<DialString>,
    /// Its link to the server.
    pub(crate) link: LinkSettings,
    /// What makes it a terminal.
    pub(crate) terminal: Option<TerminalConfig>,
    /// What makes it a provider: where its token is.
    pub(crate) token_file: Option<PathBuf>,
}

/// Reads and checks a machine's config.
pub(crate) fn read(path: &Path) -> Result<Machine, ConfigError> {
    load(path, |top| {
        let folder = top.folder();
        let (port, setup, prefix, delay, address) = top.section("line", |section| {
            let port = section.parsed::<PortAddress>("port").map(|port| port.relative_to(&folder));
            let prefix = section.parsed::<String>("dial_prefix").unwrap_or_default();
            (port, modem_setup(section), prefix, section.time("delay", LINE_DELAY), section.parsed("address"))
        });
        let tun = tun::read(top, HAS_TUN);
        if tun.is_some() && !top.has("terminal") {
            top.fault("tun", "is for a [terminal]: nothing proves a server to a machine that only submits");
        }
        let link = LinkSettings { address, delay, capture: None, tun };
        let server = if top.has("server") { top.section("server", |section| server(section, &prefix)) } else { None };
        // What is wrong with one section is no reason not to read the next.
        let is_either = top.has("terminal") || top.has("provider");
        let terminal = if top.has("terminal") {
            top.section("terminal", |section| terminal(section, link.clone(), setup.profile))
        } else {
            None
        };
        let token_file = if top.has("provider") { top.section("provider", token_file) } else { None };
        if !is_either {
            top.fault("terminal", "is missing, and so is [provider]: the machine has nothing to do");
        }
        Some(Machine { port, setup, server, link, terminal, token_file })
    })
}

fn server(section: &mut Section<'_>, prefix: &str) -> Option<DialString> {
    let number = section.required::<Number>("number", "the number that reaches the server")?;
    match number.dial_string(prefix) {
        Ok(dial_string) => Some(dial_string),
        Err(error) => {
            section.fault("number", format!("cannot be dialled with line.dial_prefix {prefix:?}: {error}"));
            None
        }
    }
}

fn token_file(section: &mut Section<'_>) -> Option<PathBuf> {
    if !section.has("token_file") {
        section.fault("token_file", "is missing; the file with the token that `ringup provider add` printed");
    }
    section.path("token_file")
}

fn terminal(section: &mut Section<'_>, link: LinkSettings, profile: Profile) -> Option<TerminalConfig> {
    let id = section.required::<TerminalId>("id", "the id that `ringup terminal add` printed");
    let callers = section.list::<Number>("callers");
    let inbox = section.path("inbox").unwrap_or_else(|| section.folder().join("inbox"));
    let linger = section.time("linger", Duration::ZERO);
    if linger >= SILENCE_MAX {
        section.fault(
            "linger",
            format!("must be less than {} s: a line on which nothing comes is then hung up", SILENCE_MAX.as_secs()),
        );
    }
    Some(TerminalConfig { id: id?, callers: Screening::new(callers), inbox, linger, link, profile })
}
