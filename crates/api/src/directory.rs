//! Pure. Terminals and providers.

use serde::{Deserialize, Serialize};

use crate::Change;

/// What is to be another from now on with a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TerminalChange {
    /// The number that is dialled.
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    pub number: Change<String>,
    /// Its IPv4 address on a link.
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    pub address: Change<String>,
    /// The topics that it may subscribe to by itself, as MQTT filters; empty: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub may_subscribe: Option<Vec<String>>,
}

/// What is to be another from now on with a provider.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderChange {
    /// The number that it dials in from.
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    pub number: Change<String>,
    /// To whom and under which topics it may send; empty: everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub may_send: Option<Vec<String>>,
    /// Whether its submissions are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_disabled: Option<bool>,
}

/// A provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    /// Its name.
    pub name: String,
    /// The number that it dials in from.
    pub number: Option<String>,
    /// To whom and under which topics it may send.
    pub may_send: Vec<String>,
    /// Whether its submissions are refused.
    pub is_disabled: bool,
}
