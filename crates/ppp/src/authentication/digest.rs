//! What is made of MD5: Responses, Challenges, and comparisons that do not tell where two things differ.

use std::hint::black_box;

use md5::{Digest as _, Md5};

pub(crate) type Md5Octets = [u8; 16];

/// RFC 1994 §4.1: identifier, secret, challenge.
pub(crate) fn response(id: u8, secret: &[u8], challenge: &[u8]) -> Md5Octets {
    Md5::new()
        .chain_update([id])
        .chain_update(secret)
        .chain_update(challenge)
        .finalize()
        .into()
}

/// Takes the same time wherever they differ.
pub(crate) fn is_same(a: &Md5Octets, b: &Md5Octets) -> bool {
    black_box(
        a.iter()
            .zip(b)
            .fold(0, |difference, (a, b)| black_box(difference | (a ^ b))),
    ) == 0
}

/// Takes the same time wherever they differ, and does not tell their lengths from each other's.
pub(crate) fn is_same_secret(a: &[u8], b: &[u8]) -> bool {
    is_same(&Md5::digest(a).into(), &Md5::digest(b).into())
}

/// A seed for what is shown on the line, from which the session's seed cannot be computed back: whoever knew that
/// would know the next Challenges.
pub(crate) fn hidden_seed(seed: u64) -> u64 {
    let digest = Md5::new()
        .chain_update(b"ringup-ppp shown")
        .chain_update(seed.to_be_bytes())
        .finalize();
    digest
        .iter()
        .take(8)
        .fold(0, |value, octet| value << 8 | u64::from(*octet))
}

/// The Challenges of one session, as unpredictable as its seed and each different (RFC 1994 §2.3).
#[derive(Debug)]
pub(crate) struct Challenges {
    seed: u64,
    issued: u32,
}

impl Challenges {
    pub(crate) fn new(seed: u64) -> Challenges {
        Challenges { seed, issued: 0 }
    }

    pub(crate) fn issue(&mut self) -> Md5Octets {
        self.issued += 1;
        self.nth(self.issued)
    }

    /// Whether this end has issued it. There are as many as LCP may open in a call.
    pub(crate) fn is_own(&self, challenge: &[u8]) -> bool {
        (1..=self.issued).any(|n| self.nth(n) == challenge)
    }

    fn nth(&self, n: u32) -> Md5Octets {
        let md5 = Md5::new()
            .chain_update(b"ringup-ppp challenge")
            .chain_update(self.seed.to_be_bytes());
        md5.chain_update(n.to_be_bytes()).finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_md5_of_identifier_secret_and_challenge() {
        // RFC 1321 §A.5: MD5("abc"), and MD5("message digest").
        assert_eq!(response(b'a', b"b", b"c")[..4], [0x90, 0x01, 0x50, 0x98]);
        assert_eq!(
            response(b'm', b"essage ", b"digest")[..4],
            [0xf9, 0x6b, 0x69, 0x7d]
        );
    }

    #[test]
    fn digests_are_the_same_only_when_every_bit_is() {
        let digest = response(1, b"secret", b"challenge");
        assert!(is_same(&digest, &digest));
        for bit in 0..128 {
            let mut other = digest;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_same(&digest, &other), "bit {bit}");
        }
    }

    #[test]
    fn challenges_differ_within_a_session_and_between_seeds() {
        let mut challenges = Challenges::new(7);
        let (first, second) = (challenges.issue(), challenges.issue());
        assert_ne!(first, second);
        assert!(challenges.is_own(&first) && challenges.is_own(&second));
        let other = Challenges::new(8).issue();
        assert!(!challenges.is_own(&other));
    }
}
