//! Signatures of what is told: HMAC-SHA-256 over id, time and body, as Standard Webhooks have it.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use ring::hmac;

/// What a provider's webhooks are signed with: 32 random octets, shown once as `whsec_` and base64.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret([u8; 32]);

impl WebhookSecret {
    /// A secret of these random octets.
    pub fn from_octets(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    pub(crate) fn octets(&self) -> &[u8; 32] {
        &self.0
    }

    /// The text, to be shown once.
    pub fn reveal(&self) -> String {
        format!("whsec_{}", STANDARD.encode(self.0))
    }

    /// What the field `webhook-signature` says.
    pub(super) fn sign(&self, id: &str, at: Timestamp, body: &str) -> String {
        sign(&self.0, id, at, body)
    }
}

/// The text is no [`WebhookSecret`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a webhook's secret is whsec_ and 32 octets in base64")]
pub struct WebhookSecretError;

impl FromStr for WebhookSecret {
    type Err = WebhookSecretError;

    fn from_str(text: &str) -> Result<Self, WebhookSecretError> {
        let octets = text.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
        octets.and_then(|octets| octets.try_into().ok()).map(Self).ok_or(WebhookSecretError)
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(..)")
    }
}

fn sign(secret: &[u8], id: &str, at: Timestamp, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, format!("{id}.{}.{body}", at.as_second()).as_bytes());
    format!("v1,{}", STANDARD.encode(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_other_programs_make_of_the_same() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let at = Timestamp::from_second(1_614_265_330).unwrap();
        let signed = sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, "{\"test\": 2432232314}");
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let other = sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, "{\"test\": 2432232315}");
        assert_ne!(signed, other);
    }

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
        assert_eq!(format!("{:?}", WebhookSecret::from_octets([7; 32])), "WebhookSecret(..)");
    }
}
