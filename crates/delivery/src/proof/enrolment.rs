//! How a terminal's key becomes known: a one-time secret, used once, over a connection on which the server is proved already.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use super::key::PublicKey;
use super::stream::Proved;

/// A one-time secret of 32 octets; it travels in the enrolment bundle, never on a line. Written as 43 base64url characters.
#[derive(Clone, PartialEq, Eq)]
pub struct EnrolmentSecret([u8; 32]);

/// The text is not 43 base64url characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an enrolment secret has 43 characters of A-Z a-z 0-9 - _")]
pub struct EnrolmentSecretError;

/// A terminal's proof that it holds the secret: an HMAC-SHA-256 over what only this connection's two ends know, and its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnrolmentProof([u8; 32]);

impl EnrolmentSecret {
    /// The secret made of these random octets.
    pub fn from_octets(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// The octets, for the store.
    pub fn octets(&self) -> &[u8; 32] {
        &self.0
    }

    /// The text, for the bundle.
    pub fn reveal(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// The proof for the terminal with `key` on a connection.
    pub fn prove(&self, connection: &Proved, key: PublicKey) -> EnrolmentProof {
        let tag = hmac::sign(&self.hmac_key(), &said(connection, key));
        EnrolmentProof(tag.as_ref().try_into().expect("SHA-256 has 32 octets"))
    }

    /// Whether the terminal that is proved to hold `key` knows this secret. Takes the same time whatever it says.
    pub fn admits(&self, proof: EnrolmentProof, connection: &Proved, key: PublicKey) -> bool {
        hmac::verify(&self.hmac_key(), &said(connection, key), &proof.0).is_ok()
    }

    fn hmac_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0)
    }
}

fn said(connection: &Proved, key: PublicKey) -> [u8; 64] {
    let mut said = [0; 64];
    said[..32].copy_from_slice(&connection.exporter);
    said[32..].copy_from_slice(key.octets());
    said
}

impl fmt::Debug for EnrolmentSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnrolmentSecret")
    }
}

impl FromStr for EnrolmentSecret {
    type Err = EnrolmentSecretError;

    fn from_str(text: &str) -> Result<Self, EnrolmentSecretError> {
        let octets = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| EnrolmentSecretError)?;
        octets
            .try_into()
            .map(Self)
            .map_err(|_| EnrolmentSecretError)
    }
}

impl fmt::Display for EnrolmentProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl EnrolmentProof {
    /// Reads what [`fmt::Display`] writes. `None`: something else.
    pub fn read(octets: &[u8]) -> Option<Self> {
        URL_SAFE_NO_PAD
            .decode(octets)
            .ok()?
            .try_into()
            .ok()
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::SecretKey;

    #[test]
    fn a_proof_is_good_for_its_secret_its_connection_and_its_key_only() {
        let (key, other) = (
            SecretKey::generate().unwrap().public(),
            SecretKey::generate().unwrap().public(),
        );
        let connection = Proved {
            peer: other,
            resumed: false,
            exporter: [1; 32],
        };
        let secret = EnrolmentSecret::from_octets([7; 32]);
        let proof =
            EnrolmentProof::read(secret.prove(&connection, key).to_string().as_bytes()).unwrap();
        assert!(secret.admits(proof, &connection, key));
        assert!(!secret.admits(proof, &connection, other));
        assert!(!secret.admits(
            proof,
            &Proved {
                exporter: [2; 32],
                ..connection
            },
            key
        ));
        assert!(!EnrolmentSecret::from_octets([8; 32]).admits(proof, &connection, key));
        assert_eq!(secret.reveal().parse(), Ok(secret));
    }

    #[test]
    fn what_is_no_proof_or_secret_is_refused_and_no_secret_is_shown() {
        assert_eq!(EnrolmentProof::read(b""), None);
        assert_eq!(EnrolmentProof::read(&[b'A'; 44]), None);
        assert!("short".parse::<EnrolmentSecret>().is_err());
        assert_eq!(
            format!("{:?}", EnrolmentSecret::from_octets([7; 32])),
            "EnrolmentSecret"
        );
    }
}
