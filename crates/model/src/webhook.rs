//! Where a provider's verdicts are sent, and what they are signed with.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::url::HttpUrl;

/// Where a provider's verdicts are sent.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Where to.
    pub url: HttpUrl,
    /// What they are signed with.
    pub secret: WebhookSecret,
    /// It may be an address that only this machine or its network reaches.
    pub may_be_private: bool,
}

/// What a provider's webhooks are signed with: 32 random octets, shown once as `whsec_` and base64.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret([u8; 32]);

impl WebhookSecret {
    /// A secret of these random octets.
    pub fn from_octets(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// The octets, to sign with and to keep.
    pub fn octets(&self) -> &[u8; 32] {
        &self.0
    }

    /// The text, to be shown once.
    pub fn reveal(&self) -> String {
        format!("whsec_{}", STANDARD.encode(self.0))
    }
}

/// The text is no [`WebhookSecret`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a webhook's secret is whsec_ and 32 octets in base64")]
pub struct WebhookSecretError;

impl FromStr for WebhookSecret {
    type Err = WebhookSecretError;

    fn from_str(text: &str) -> Result<Self, WebhookSecretError> {
        let octets = text
            .strip_prefix("whsec_")
            .and_then(|text| STANDARD.decode(text).ok());
        octets
            .and_then(|octets| octets.try_into().ok())
            .map(Self)
            .ok_or(WebhookSecretError)
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_as_it_was_shown() {
        let secret = WebhookSecret::from_octets([7; 32]);
        assert!(secret.reveal().parse() == Ok(secret));
        for text in ["", "whsec_", "whsec_AAAA", "whsec_!", "AAAA"] {
            assert!(text.parse::<WebhookSecret>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_secret_hides_itself() {
        assert_eq!(
            format!("{:?}", WebhookSecret::from_octets([7; 32])),
            "WebhookSecret(..)"
        );
    }
}
