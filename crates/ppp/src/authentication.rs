//! Who the ends are: CHAP with MD5 (RFC 1994) and PAP (RFC 1334), each in both roles, both roles at once if wanted.
//!
//! ```text
//!   we ask      Verifier ── Challenge ──►  ◄── Response ──  Success ──►      (CHAP)
//!                        ◄── Authenticate-Request ──  Authenticate-Ack ──►   (PAP)
//!   we are      Prover   ◄── Challenge ──  Response ──►  ◄── Success ──      (CHAP)
//!   asked                ── Authenticate-Request ──►  ◄── Authenticate-Ack ──
//! ```
//!
//! The secrets of the peers are given with the configuration, not asked for by an event: the answer to a Response
//! then leaves in the same write as the first request of IPCP, no state waits for the caller, and no secret ever
//! leaves a session. The table is shared, so a thousand sessions hold it once. A caller that must ask somebody else
//! (RADIUS) reads the table in before the call.
//!
//! Both directions at once: use two different secrets. A peer that can talk to this end on a second line could
//! otherwise have its Challenges answered there. Within one session a reflected Challenge is never
//! answered, and nobody is believed who says it has our own name.

mod digest;
mod prover;
mod verifier;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub(crate) use digest::hidden_seed;
pub(crate) use prover::Prover;
pub(crate) use verifier::Verifier;

use crate::protocol::ControlProtocol;

/// RFC 1994 §4.
pub(crate) mod chap {
    pub(crate) const CHALLENGE: u8 = 1;
    pub(crate) const RESPONSE: u8 = 2;
    pub(crate) const SUCCESS: u8 = 3;
    pub(crate) const FAILURE: u8 = 4;
}

/// RFC 1334 §2.2.
pub(crate) mod pap {
    pub(crate) const REQUEST: u8 = 1;
    pub(crate) const ACK: u8 = 2;
    pub(crate) const NAK: u8 = 3;
}

/// What this end wants proved, and what it proves itself with. The default wants nothing and proves nothing.
#[derive(Clone, Debug, Default)]
pub struct Authentication {
    /// What the peer must do before IPv4 comes up.
    pub demand: Demand,
    /// The peers there are, and their secrets. One that is not in it has no proof.
    pub peers: Secrets,
    /// Our name and secret, if we have one to prove ourselves with. Without it a demand is rejected.
    pub own: Option<Credentials>,
    /// What we may be asked to prove ourselves with.
    pub willing: Willing,
}

/// What the peer must prove itself with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Demand {
    /// Nothing.
    #[default]
    Nothing,
    /// CHAP with MD5, or there is no link.
    Chap,
    /// CHAP with MD5; PAP, where the secret crosses the line in the clear, if the peer asks for that.
    ChapThenPap,
    /// PAP.
    Pap,
}

/// What this end proves itself with when it is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Willing {
    /// CHAP with MD5. Any other demand is answered with this wish (RFC 1994 §3).
    #[default]
    Chap,
    /// PAP as well: whoever answers the call is told the secret.
    ChapOrPap,
}

/// A name and the secret that proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub name: Name,
    /// The secret.
    pub secret: Secret,
}

/// The name an end goes by: 1 to 255 octets, of any kind (RFC 1994 §4.1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

/// A secret: 1 to 255 octets. `Debug` does not show it.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

/// What cannot be a [`Name`] or a [`Secret`]. An empty one of either would prove nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{octets} octets where 1 to 255 are needed")]
pub struct CredentialError {
    octets: usize,
}

/// The peers' secrets, by name. Cheap to clone.
#[derive(Clone, Default)]
pub struct Secrets(Arc<BTreeMap<Name, Secret>>);

fn checked(octets: &[u8]) -> Result<Box<[u8]>, CredentialError> {
    if (1..=255).contains(&octets.len()) {
        Ok(octets.into())
    } else {
        Err(CredentialError {
            octets: octets.len(),
        })
    }
}

impl Name {
    /// Checks the bounds.
    ///
    /// # Errors
    /// When there is nothing, or more than 255 octets.
    pub fn new(name: impl AsRef<[u8]>) -> Result<Name, CredentialError> {
        checked(name.as_ref()).map(Name)
    }

    /// The octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Name({self})")
    }
}

impl Secret {
    /// Checks the bounds.
    ///
    /// # Errors
    /// When there is nothing, or more than 255 octets.
    pub fn new(secret: impl AsRef<[u8]>) -> Result<Secret, CredentialError> {
        checked(secret.as_ref()).map(Secret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

/// Takes the same time wherever the two differ.
impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        digest::is_same_secret(&self.0, &other.0)
    }
}

impl Eq for Secret {}

impl FromIterator<(Name, Secret)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (Name, Secret)>>(secrets: I) -> Secrets {
        Secrets(Arc::new(secrets.into_iter().collect()))
    }
}

/// How many there are, and neither names nor secrets.
impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Secrets({})", self.0.len())
    }
}

/// A way to prove oneself, as LCP option 3 names it (RFC 1661 §6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    Chap,
    Pap,
}

impl Proof {
    /// The option's data: the protocol, and for CHAP the algorithm, 5 for MD5 (RFC 1994 §3, RFC 1334 §2.1).
    pub(crate) fn option(self) -> &'static [u8] {
        match self {
            Proof::Chap => &[0xc2, 0x23, 5],
            Proof::Pap => &[0xc0, 0x23],
        }
    }

    pub(crate) fn from_option(data: &[u8]) -> Option<Proof> {
        [Proof::Chap, Proof::Pap]
            .into_iter()
            .find(|proof| proof.option() == data)
    }

    pub(crate) fn protocol(self) -> ControlProtocol {
        match self {
            Proof::Chap => ControlProtocol::Chap,
            Proof::Pap => ControlProtocol::Pap,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_name_or_secret_is_refused_and_so_is_a_long_one() {
        assert!(Name::new("t").is_ok() && Secret::new([0; 255]).is_ok());
        assert_eq!(
            Name::new("").unwrap_err().to_string(),
            "0 octets where 1 to 255 are needed"
        );
        assert!(
            Secret::new("").is_err()
                && Secret::new([0; 256]).is_err()
                && Name::new([0; 256]).is_err()
        );
    }

    #[test]
    fn no_secret_is_shown() {
        let own = Credentials {
            name: Name::new("t-17").unwrap(),
            secret: Secret::new("opensesame").unwrap(),
        };
        let peers = Secrets::from_iter([(own.name.clone(), own.secret.clone())]);
        let shown = format!(
            "{:?}",
            Authentication {
                own: Some(own),
                peers,
                ..Authentication::default()
            }
        );
        assert!(
            shown.contains("t-17") && shown.contains("Secrets(1)"),
            "{shown}"
        );
        assert!(!shown.contains("opensesame"), "{shown}");
    }

    #[test]
    fn secrets_are_equal_only_when_all_of_them_is() {
        let secret = |text: &str| Secret::new(text).unwrap();
        assert_eq!(secret("abc"), secret("abc"));
        assert_ne!(secret("abc"), secret("abcd"));
        assert_ne!(secret("abc"), secret("abd"));
    }
}
