//! Pure. What an operator asks for, besides changes: [`TerminalChange`](crate::TerminalChange), [`ProviderChange`](crate::ProviderChange).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A terminal that is to be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTerminal {
    /// Its name.
    pub name: String,
    /// The number that is dialled.
    pub number: Option<String>,
    /// Its IPv4 address on a link.
    pub address: Option<String>,
    /// The topics that it may subscribe to by itself, as MQTT filters; empty: all.
    #[serde(default)]
    pub may_subscribe: Vec<String>,
    /// `key` (the default), `certificate`, `chap` or `number-only`.
    pub trust: Option<String>,
    /// Where a stock terminal takes messages.
    pub deliver: Option<String>,
    /// Its secret, if trust is `chap`; the server makes one if it is left out.
    pub chap_secret: Option<String>,
}

/// A bundle that is to enrol a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invitation {
    /// The numbers that the server calls from.
    pub callers: Vec<String>,
    /// How long the bundle is good, s.
    pub seconds: u32,
    /// It names no callers on purpose: the terminal only connects by itself.
    #[serde(default)]
    pub no_callers: bool,
}

/// The bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invited {
    /// Its text: a secret.
    pub bundle: String,
    /// RFC 3339.
    pub expires_at: String,
}

/// The key of a terminal that takes no bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// 43 base64url characters.
    pub key: String,
}

/// The provider as which a terminal submits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewSender {
    /// `None`: it may submit nothing.
    pub provider: Option<String>,
}

/// A provider that is to be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewProvider {
    /// Its name.
    pub name: String,
    /// The number that it dials in from.
    pub number: Option<String>,
    /// To whom and under which topics it may send; empty: everything.
    #[serde(default)]
    pub may_send: Vec<String>,
    /// The URL that its verdicts are posted to.
    pub webhook: Option<String>,
    /// That may be an address that only this machine or its network reaches.
    #[serde(default)]
    pub webhook_allow_private: bool,
    /// It has to pass CHAP when it dials in.
    #[serde(default)]
    pub chap: bool,
    /// With this; the server makes a secret if it is left out.
    pub chap_secret: Option<String>,
}

/// Another token for a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// How long the present token works beside the new one, s.
    #[serde(default)]
    pub overlap_seconds: u32,
}

/// The end of the server's old key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retirement {
    /// Also if terminals do not know the new key yet.
    #[serde(default)]
    pub force: bool,
}

/// A backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewBackup {
    /// An absolute path at the server.
    pub folder: PathBuf,
}

/// A feed that is to be read now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadFeed {
    /// As in the config.
    pub url: String,
}

/// An alarm that the operator acknowledges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClearAlarm {
    /// Its kind.
    pub kind: String,
    /// What it is about.
    pub subject: String,
}

/// A terminal's registration for topics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewSubscription {
    /// An MQTT filter.
    pub filter: String,
    /// The least urgency of messages that cause a call; `bulk` if left out.
    pub urgency: Option<String>,
    /// Octets of the largest content.
    pub size_max: Option<u64>,
    /// When; empty: always.
    #[serde(default)]
    pub hours: String,
}

/// A registration that is to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OldSubscription {
    /// Its filter.
    pub filter: String,
}
