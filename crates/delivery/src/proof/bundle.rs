//! The enrolment bundle: what a terminal must be handed, by hand or on a medium, before its first call.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::enrolment::EnrolmentSecret;
use super::key::PublicKey;
use crate::terminal_id::TerminalId;

/// Longest bundle taken, in octets.
pub const BUNDLE_OCTETS_MAX: usize = 16 * 1024;

/// Everything a terminal needs to know of its server, and a secret that lets it in once. It holds no private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The terminal that it is for.
    pub terminal: TerminalId,
    /// The operator's name for the terminal.
    pub name: String,
    /// The server's keys: one, or two while a new one takes over. Never empty.
    pub servers: Vec<PublicKey>,
    /// The numbers that the server calls from, as its operator wrote them.
    pub callers: Vec<String>,
    /// The terminal's own number, if it has one.
    pub number: Option<String>,
    /// The terminal's address on a link, if it has one of its own.
    pub address: Option<String>,
    /// Proves the terminal once. Gone from the terminal's copy when that has happened.
    pub secret: Option<EnrolmentSecret>,
    /// Until when the secret is good.
    pub expires_at: Timestamp,
}

/// A text that is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Too long to be one.
    #[error("an enrolment bundle has at most {BUNDLE_OCTETS_MAX} octets")]
    TooLong,
    /// Not the right TOML: the text says which key.
    #[error("not an enrolment bundle: {0}")]
    Malformed(String),
    /// A later version's.
    #[error("the bundle is of version {0}; this program knows version 1")]
    Version(u32),
}

/// As it stands in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    bundle: u32,
    terminal: String,
    name: String,
    server_keys: Vec<String>,
    callers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    expires_at: Timestamp,
}

impl fmt::Display for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = File {
            bundle: 1,
            terminal: self.terminal.to_string(),
            name: self.name.clone(),
            server_keys: self.servers.iter().map(PublicKey::to_string).collect(),
            callers: self.callers.clone(),
            number: self.number.clone(),
            address: self.address.clone(),
            secret: self.secret.as_ref().map(EnrolmentSecret::reveal),
            expires_at: self.expires_at,
        };
        if self.secret.is_some() {
            writeln!(
                f,
                "# A Ringup enrolment bundle. Whoever holds its secret can enrol as this terminal, once."
            )?;
        }
        f.write_str(&toml::to_string(&file).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Bundle {
    type Err = BundleError;

    fn from_str(text: &str) -> Result<Self, BundleError> {
        if text.len() > BUNDLE_OCTETS_MAX {
            return Err(BundleError::TooLong);
        }
        let file: File =
            toml::from_str(text).map_err(|error| BundleError::Malformed(error.to_string()))?;
        if file.bundle != 1 {
            return Err(BundleError::Version(file.bundle));
        }
        let malformed =
            |key: &str, error: &dyn fmt::Display| BundleError::Malformed(format!("{key}: {error}"));
        let servers = file
            .server_keys
            .iter()
            .map(|key| key.parse())
            .collect::<Result<Vec<_>, _>>();
        let servers = servers.map_err(|error| malformed("server_keys", &error))?;
        if servers.is_empty() {
            return Err(malformed("server_keys", &"names no key"));
        }
        let secret = file.secret.map(|secret| secret.parse()).transpose();
        Ok(Self {
            terminal: file
                .terminal
                .parse()
                .map_err(|error| malformed("terminal", &error))?,
            name: file.name,
            servers,
            callers: file.callers,
            number: file.number,
            address: file.address,
            secret: secret.map_err(|error| malformed("secret", &error))?,
            expires_at: file.expires_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> Bundle {
        Bundle {
            terminal: TerminalId::from_octets([9; 8]),
            name: "owner".into(),
            servers: vec![PublicKey::from_octets([1; 32])],
            callers: vec!["201".into()],
            number: Some("301".into()),
            address: None,
            secret: Some(EnrolmentSecret::from_octets([7; 32])),
            expires_at: "2026-12-01T00:00:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn a_bundle_survives_its_file() {
        let bundle = bundle();
        assert_eq!(bundle.to_string().parse::<Bundle>().unwrap(), bundle);
        let burnt = Bundle {
            secret: None,
            ..bundle
        };
        assert_eq!(burnt.to_string().parse::<Bundle>().unwrap(), burnt);
    }

    #[test]
    fn what_is_no_bundle_is_refused_by_the_name_of_its_fault() {
        let good = bundle().to_string();
        for (from, to, fault) in [
            ("bundle = 1", "bundle = 2", "version 2"),
            ("server_keys = [", "server_keys = [\"x\", ", "server_keys"),
            ("expires_at", "expires", "expires"),
            ("secret = \"", "secret = \"x", "secret"),
            ("name", "more = 1\nname", "more"),
        ] {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good);
            let error = text.parse::<Bundle>().unwrap_err().to_string();
            assert!(error.contains(fault), "{error}");
        }
        assert!(matches!(
            "x".repeat(20_000).parse::<Bundle>(),
            Err(BundleError::TooLong)
        ));
        let none = Bundle {
            servers: vec![],
            ..bundle()
        }
        .to_string();
        assert!(
            none.parse::<Bundle>()
                .unwrap_err()
                .to_string()
                .contains("names no key")
        );
    }
}
