//! CloudEvents in binary mode (CloudEvents 1.0 HTTP binding §3.1): the content is the body, the attributes are `ce-` fields.

use axum::http::HeaderMap;
use percent_encoding::percent_decode_str;
use sha2::{Digest as _, Sha256};

use super::Problem;
use super::query::field;
use crate::intake::KEY_OCTETS_MAX;

/// What of an event matters here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CloudEvent {
    source: String,
    id: String,
    /// Its type: the topic, unless the submission names its destinations.
    pub(super) kind: String,
}

impl CloudEvent {
    /// The event in a request's head; `None`: it is none.
    pub(super) fn read(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let Some(version) = field(headers, "ce-specversion")? else {
            return Ok(None);
        };
        if !version.starts_with("1.") {
            return Err(Problem::new(
                "ce-specversion",
                format!("version {version:?}; version 1.0 is known here"),
            ));
        }
        let attribute = |name: &'static str| {
            let value = field(headers, name)?.filter(|value| !value.is_empty());
            let value = value.ok_or_else(|| Problem::new(name, format!("an event has {name}")))?;
            // §3.1.3.2: what is not plain ASCII is percent-encoded.
            let value = percent_decode_str(value).decode_utf8();
            value
                .map(|value| value.into_owned())
                .map_err(|_| Problem::new(name, format!("{name} is not UTF-8")))
        };
        Ok(Some(Self {
            source: attribute("ce-source")?,
            id: attribute("ce-id")?,
            kind: attribute("ce-type")?,
        }))
    }

    /// An event is told apart from others by source and id (§3.1.1): sent again it is the same submission.
    pub(super) fn key(&self) -> String {
        let plain = format!("{} {}", self.source, self.id);
        if plain.len() <= KEY_OCTETS_MAX && !plain.chars().any(char::is_control) {
            return plain;
        }
        let digest = Sha256::digest(plain.as_bytes());
        digest.iter().map(|octet| format!("{octet:02x}")).collect()
    }
}
