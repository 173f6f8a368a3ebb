//! Ed25519 keys (RFC 8032).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use super::certificate::{certificate, key_in};

/// What stands before the key's octets in a SubjectPublicKeyInfo (RFC 8410 §4): the whole of a raw public key on the wire.
const SPKI_HEAD: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// The public half of a key: 32 octets, written as 43 base64url characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

/// How an end presents its key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeyForm {
    /// As it is (RFC 7250).
    #[default]
    Raw,
    /// In a self-signed X.509 certificate, to and from those whose TLS knows nothing else. Its names and dates say nothing.
    Certificate,
}

/// The text is not 43 base64url characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a public key has 43 characters of A-Z a-z 0-9 - _")]
pub struct PublicKeyError;

impl PublicKey {
    /// The 32 octets.
    pub fn octets(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key made of these octets. Whether they are a point of the curve shows when a signature is checked.
    pub fn from_octets(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// As other software reads it: a SubjectPublicKeyInfo in PEM (RFC 7468 §13).
    pub fn to_pem(self) -> String {
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(self.to_spki())
        )
    }

    /// Whether these octets were signed by the holder of this key, as [`SecretKey::sign`] does.
    pub fn has_signed(&self, octets: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0)
            .verify(octets, signature)
            .is_ok()
    }

    /// As it stands on the wire (RFC 7250 §3).
    pub(super) fn to_spki(self) -> Vec<u8> {
        [SPKI_HEAD.as_slice(), &self.0].concat()
    }

    /// Reads what a peer presents, raw or in a certificate. Which of them TLS has settled; it is the key that counts. `None`: no
    /// Ed25519 key.
    pub fn from_presented(octets: &[u8]) -> Option<Self> {
        Self::from_spki(octets).or_else(|| key_in(octets))
    }

    /// Reads a SubjectPublicKeyInfo. `None`: no Ed25519 key.
    pub(super) fn from_spki(spki: &[u8]) -> Option<Self> {
        Some(Self(spki.strip_prefix(&SPKI_HEAD)?.try_into().ok()?))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for PublicKey {
    type Err = PublicKeyError;

    fn from_str(text: &str) -> Result<Self, PublicKeyError> {
        let octets = URL_SAFE_NO_PAD.decode(text).map_err(|_| PublicKeyError)?;
        octets.try_into().map(Self).map_err(|_| PublicKeyError)
    }
}

/// A whole key. Its text is never shown; [`SecretKey::pkcs8`] is for the file that keeps it.
pub struct SecretKey {
    pkcs8: Vec<u8>,
    public: PublicKey,
}

/// There is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretKeyError {
    /// The operating system gave no random octets.
    #[error("no random octets for a key")]
    NoRandom,
    /// The octets are no PKCS #8 Ed25519 key, or one whose halves do not belong together.
    #[error("not an Ed25519 key in PKCS #8 form (RFC 8410)")]
    Malformed,
}

impl SecretKey {
    /// A new key.
    ///
    /// # Errors
    /// [`SecretKeyError::NoRandom`].
    pub fn generate() -> Result<Self, SecretKeyError> {
        let document = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new());
        Self::from_pkcs8(document.map_err(|_| SecretKeyError::NoRandom)?.as_ref())
    }

    /// Reads a key as [`SecretKey::pkcs8`] gives it.
    ///
    /// # Errors
    /// [`SecretKeyError::Malformed`].
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, SecretKeyError> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8)
            .map_err(|_| SecretKeyError::Malformed)?;
        let public = pair
            .public_key()
            .as_ref()
            .try_into()
            .map_err(|_| SecretKeyError::Malformed)?;
        Ok(Self {
            pkcs8: pkcs8.to_owned(),
            public: PublicKey(public),
        })
    }

    /// The key as PKCS #8, DER: secret.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// A self-signed X.509 certificate around the key, DER: always the same.
    pub fn certificate(&self) -> Vec<u8> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&self.pkcs8)
            .expect("checked by SecretKey::from_pkcs8");
        certificate(&pair, self.public)
    }

    /// Signs octets (RFC 8032 §5.1.6): the same octets, the same signature.
    ///
    /// The key signs handshakes of TLS, too; what those sign begins with 64 blanks (RFC 8446 §4.4.3), and nothing else that
    /// is signed may.
    pub fn sign(&self, octets: &[u8]) -> [u8; 64] {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&self.pkcs8)
            .expect("checked by SecretKey::from_pkcs8");
        pair.sign(octets)
            .as_ref()
            .try_into()
            .expect("an Ed25519 signature has 64 octets")
    }

    /// The half that may be shown.
    pub fn public(&self) -> PublicKey {
        self.public
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.public)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_file_and_its_public_half_its_text() {
        let key = SecretKey::generate().unwrap();
        let again = SecretKey::from_pkcs8(key.pkcs8()).unwrap();
        assert_eq!(again.public(), key.public());
        assert_eq!(key.public().to_string().parse(), Ok(key.public()));
        assert_eq!(
            PublicKey::from_spki(&key.public().to_spki()),
            Some(key.public())
        );
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let key = SecretKey::generate().unwrap();
        let pkcs8 = key.pkcs8();
        for octets in [&[][..], b"key", &pkcs8[..pkcs8.len() - 1]] {
            assert_eq!(
                SecretKey::from_pkcs8(octets).unwrap_err(),
                SecretKeyError::Malformed
            );
        }
        for text in ["", "AAAA", &"A".repeat(44), &"é".repeat(43)] {
            assert_eq!(text.parse::<PublicKey>(), Err(PublicKeyError), "{text:?}");
        }
        let spki = key.public().to_spki();
        assert_eq!(PublicKey::from_spki(&spki[..43]), None);
        assert_eq!(PublicKey::from_spki(&[&spki[..], b"x"].concat()), None);
    }

    #[test]
    fn a_signature_is_good_for_its_octets_and_its_key_only() {
        let (key, other) = (
            SecretKey::generate().unwrap(),
            SecretKey::generate().unwrap(),
        );
        let signature = key.sign(b"sums");
        assert_eq!(signature, key.sign(b"sums"));
        assert!(key.public().has_signed(b"sums", &signature));
        assert!(!key.public().has_signed(b"sumz", &signature));
        assert!(!other.public().has_signed(b"sums", &signature));
        assert!(!key.public().has_signed(b"sums", &signature[..63]));
        assert!(!key.public().has_signed(b"sums", b""));
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let key = SecretKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), format!("SecretKey({})", key.public()));
    }
}
