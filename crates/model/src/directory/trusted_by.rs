//! How a terminal is proved, and how it takes messages: by its key in a Ringup session, or, if it runs no Ringup, by CHAP on
//! the link or by its number alone, as a web server.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use delivery::proof::KeyForm;
use http::uri::PathAndQuery;
use lettre::Address;

/// What proves a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustedBy {
    /// Its key, in a Ringup session.
    Key(KeyForm),
    /// It is a stock terminal: a machine without keys, that runs no Ringup.
    Stock(Stock),
}

/// A machine that runs no Ringup: pppd, or the like, and a web server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stock {
    /// What proves it.
    pub trust: StockTrust,
    /// Where messages are posted.
    pub inbox: InboxUrl,
}

/// What proves a stock terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StockTrust {
    /// It passes CHAP with us as authenticator, by the terminal's name and this secret.
    Chap(ChapSecret),
    /// Nothing: whoever answers its number is it. Not believed of a caller, whose number may be forged.
    NumberOnly,
}

impl Default for TrustedBy {
    fn default() -> Self {
        Self::Key(KeyForm::Raw)
    }
}

impl TrustedBy {
    /// The word for it in the store, on screens and in options.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Key(KeyForm::Raw) => "key",
            Self::Key(KeyForm::Certificate) => "certificate",
            Self::Stock(Stock { trust, .. }) => trust.as_str(),
        }
    }

    /// How keys are presented in its sessions; a stock terminal has none.
    pub fn key_form(&self) -> KeyForm {
        match self {
            Self::Key(form) => *form,
            Self::Stock(_) => KeyForm::Raw,
        }
    }

    /// The stock terminal, if it is one.
    pub fn stock(&self) -> Option<&Stock> {
        match self {
            Self::Key(_) => None,
            Self::Stock(stock) => Some(stock),
        }
    }

    /// Whether nothing but its number proves it.
    pub fn is_number_only(&self) -> bool {
        self.stock()
            .is_some_and(|stock| stock.trust == StockTrust::NumberOnly)
    }
}

impl StockTrust {
    /// See [`TrustedBy::as_str`].
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Chap(_) => "chap",
            Self::NumberOnly => "number-only",
        }
    }

    /// What stands in a verdict about who took the message.
    pub fn evidence(&self) -> &'static str {
        match self {
            Self::Chap(_) => {
                "trust chap: a stock terminal took it, which had passed CHAP on the link"
            }
            Self::NumberOnly => {
                "trust number-only: taken by the machine that answered the terminal's number"
            }
        }
    }
}

/// Shortest and longest secret, in octets: what CHAP carries (RFC 1994 §4.1), and not less than can be guessed.
const SECRET_OCTETS: std::ops::RangeInclusive<usize> = 16..=255;

/// The secret of a stock terminal: what pppd calls a secret in `chap-secrets`. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct ChapSecret(Box<str>);

/// The text is no [`ChapSecret`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a CHAP secret has 16 to 255 visible ASCII characters, without blanks, quotes, # and backslashes"
)]
pub struct ChapSecretError;

impl ChapSecret {
    /// A secret made of these random octets.
    pub fn from_octets(octets: [u8; 24]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(octets).into())
    }

    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for ChapSecret {
    type Err = ChapSecretError;

    fn from_str(text: &str) -> Result<Self, ChapSecretError> {
        // What pppd's secrets files give a meaning of their own would be another secret there.
        let is_plain = |c: char| c.is_ascii_graphic() && !"\"'\\#".contains(c);
        let is_secret = SECRET_OCTETS.contains(&text.len()) && text.chars().all(is_plain);
        if is_secret {
            Ok(Self(text.into()))
        } else {
            Err(ChapSecretError)
        }
    }
}

impl fmt::Debug for ChapSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChapSecret(..)")
    }
}

/// Octets of an inbox's address.
const URL_OCTETS_MAX: usize = 1000;

/// Where a stock terminal takes messages: a port at its own address on the link. It names no host: a message for a terminal
/// never goes to another machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InboxUrl {
    /// `http://:8080/inbox`: each message is a POST there.
    Web {
        /// The TCP port.
        port: u16,
        /// Path and query.
        path: PathAndQuery,
    },
    /// `smtp://:25/owner@owner.example`: each mail goes to its mail server, for this mailbox.
    Mail {
        /// The TCP port.
        port: u16,
        /// Whose.
        mailbox: Address,
    },
}

/// The text is no [`InboxUrl`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a stock terminal's inbox is http://:PORT/PATH or smtp://:PORT/MAILBOX@DOMAIN, at the terminal's own address: without a host, at most 1000 octets"
)]
pub struct InboxUrlError;

impl InboxUrl {
    /// The TCP port.
    pub fn port(&self) -> u16 {
        match self {
            Self::Web { port, .. } | Self::Mail { port, .. } => *port,
        }
    }
}

impl FromStr for InboxUrl {
    type Err = InboxUrlError;

    fn from_str(text: &str) -> Result<Self, InboxUrlError> {
        let (scheme, rest) = text
            .split_once("://")
            .filter(|_| text.len() <= URL_OCTETS_MAX)
            .ok_or(InboxUrlError)?;
        let (authority, path) = rest.split_at(rest.find('/').ok_or(InboxUrlError)?);
        let digits = authority.strip_prefix(':').ok_or(InboxUrlError)?;
        // `parse` would take a sign.
        let port = digits
            .parse::<u16>()
            .ok()
            .filter(|port| *port != 0 && digits.starts_with(|c: char| c.is_ascii_digit()));
        let port = port.ok_or(InboxUrlError)?;
        match scheme {
            "http" => {
                let path = path
                    .parse::<PathAndQuery>()
                    .ok()
                    .filter(|_| path.is_ascii() && !path.contains('#'));
                Ok(Self::Web {
                    port,
                    path: path.ok_or(InboxUrlError)?,
                })
            }
            "smtp" => Ok(Self::Mail {
                port,
                mailbox: path[1..].parse().map_err(|_| InboxUrlError)?,
            }),
            _ => Err(InboxUrlError),
        }
    }
}

impl fmt::Display for InboxUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Web { port, path } => write!(f, "http://:{port}{path}"),
            Self::Mail { port, mailbox } => write!(f, "smtp://:{port}/{mailbox}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inbox_is_a_port_and_a_path_and_never_another_host() {
        for text in [
            "http://:8080/inbox",
            "http://:80/",
            "http://:1/cgi-bin/take?from=ringup",
            "smtp://:25/owner@owner.example",
        ] {
            assert_eq!(text.parse::<InboxUrl>().unwrap().to_string(), text);
        }
        let long = format!("http://:80/{}", "a".repeat(1000));
        for text in [
            "",
            "http://",
            "http://:8080",
            "http:///inbox",
            "http://example.org:80/inbox",
            "http://10.77.0.9:80/",
            "http://user@:80/",
            "https://:443/",
            "http://:0/",
            "http://:+80/",
            "http://:99999/",
            "http://:80/#x",
            "http://:80/a b",
            "http://:80/\r\nx: y",
            "smtp://:25/",
            "smtp://:25/owner",
            "smtp://mail.example:25/owner@owner.example",
            "smtp://:25/a@b.example\r\nRCPT TO:<c@d.example>",
            &long,
        ] {
            assert_eq!(text.parse::<InboxUrl>(), Err(InboxUrlError), "{text:?}");
        }
    }

    #[test]
    fn a_secret_is_long_enough_means_the_same_to_pppd_and_is_not_shown() {
        let made = ChapSecret::from_octets([7; 24]);
        assert_eq!(made.reveal().parse(), Ok(made.clone()));
        assert_eq!(format!("{made:?}"), "ChapSecret(..)");
        let long = "a".repeat(256);
        for text in [
            "",
            "short",
            "sixteen letters with blanks",
            "has\"quotes\"has\"quotes",
            "comment#comment#comment",
            &long,
        ] {
            assert_eq!(text.parse::<ChapSecret>(), Err(ChapSecretError), "{text:?}");
        }
    }
}
