//! A key in a self-signed X.509 certificate, for a TLS that knows no raw public keys (RFC 7250). Only the key in it counts:
//! names and dates are what the form asks for, and nobody here looks at them.

use ring::signature::Ed25519KeyPair;

use super::key::PublicKey;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0] EXPLICIT`, around the version.
const VERSION: u8 = 0xa0;

/// id-Ed25519 (RFC 8410 §3), as an AlgorithmIdentifier.
const ED25519: [u8; 7] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
/// commonName (RFC 5280 §4.1.2.4).
const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];

const NOT_BEFORE: &[u8] = b"700101000000Z";
/// No well-defined expiration (RFC 5280 §4.1.2.5).
const NOT_AFTER: &[u8] = b"99991231235959Z";

/// The certificate of a key: always the same for the same key, since Ed25519 signs the same alike.
pub(super) fn certificate(pair: &Ed25519KeyPair, key: PublicKey) -> Vec<u8> {
    let common_name = [
        &COMMON_NAME[..],
        &element(UTF8_STRING, key.to_string().as_bytes()),
    ]
    .concat();
    // Its own issuer. The key's text as its name keeps apart the two keys of a server that is replacing one.
    let name = element(SEQUENCE, &element(SET, &element(SEQUENCE, &common_name)));
    let validity = [
        element(UTC_TIME, NOT_BEFORE),
        element(GENERALIZED_TIME, NOT_AFTER),
    ]
    .concat();
    let to_be_signed = element(
        SEQUENCE,
        &[
            element(VERSION, &element(INTEGER, &[2])), // version 3
            element(INTEGER, &[1]),
            ED25519.to_vec(),
            name.clone(),
            element(SEQUENCE, &validity),
            name,
            key.to_spki(),
        ]
        .concat(),
    );
    let signature = pair.sign(&to_be_signed);
    // No unused bits in its last octet.
    let signature = element(BIT_STRING, &[&[0], signature.as_ref()].concat());
    element(
        SEQUENCE,
        &[&to_be_signed[..], &ED25519, &signature].concat(),
    )
}

/// The key in somebody's certificate (RFC 5280 §4.1). `None`: it is no certificate, or the key is no Ed25519 key.
pub(super) fn key_in(certificate: &[u8]) -> Option<PublicKey> {
    let (certificate, _) = take(certificate, SEQUENCE)?;
    let (mut fields, _) = take(certificate.content, SEQUENCE)?;
    let mut rest = fields.content;
    if rest.first() == Some(&VERSION) {
        rest = take(rest, VERSION)?.1;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE] {
        rest = take(rest, tag)?.1; // serial number, signature, issuer, validity, subject
    }
    (fields, _) = take(rest, SEQUENCE)?;
    PublicKey::from_spki(fields.whole)
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let [high, low] = u16::try_from(length)
        .expect("a certificate of ours has 286 octets")
        .to_be_bytes();
    let head = match length {
        0..=0x7f => vec![tag, low],
        0x80..=0xff => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [&head, content].concat()
}

/// One element of DER.
struct Element<'a> {
    /// With tag and length.
    whole: &'a [u8],
    content: &'a [u8],
}

/// Takes an element with this tag off the front; gives what follows it, too.
fn take(octets: &[u8], tag: u8) -> Option<(Element<'_>, &[u8])> {
    let (&found, rest) = octets.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => (
            usize::from(u16::from_be_bytes(*rest.first_chunk()?)),
            &rest[2..],
        ),
        _ => return None, // 64 KiB and more, or no length that DER knows
    };
    let (content, rest) = rest.split_at_checked(length)?;
    let whole = &octets[..octets.len() - rest.len()];
    (found == tag).then_some((Element { whole, content }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::SecretKey;

    #[test]
    fn a_certificate_holds_its_key_and_is_the_same_each_time() {
        let key = SecretKey::generate().unwrap();
        let certificate = key.certificate();
        assert_eq!(certificate.len(), 286);
        assert_eq!(key_in(&certificate), Some(key.public()));
        assert_eq!(
            SecretKey::from_pkcs8(key.pkcs8()).unwrap().certificate(),
            certificate
        );
    }

    #[test]
    fn what_is_cut_or_is_no_certificate_holds_no_key() {
        let key = SecretKey::generate().unwrap();
        let certificate = key.certificate();
        for end in 0..certificate.len() {
            assert_eq!(key_in(&certificate[..end]), None, "{end} octets of it");
        }
        assert_eq!(key_in(&key.public().to_spki()), None);
        for octets in [
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff][..],
            &[0x30, 0x82, 0xff],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x81],
        ] {
            assert_eq!(key_in(octets), None);
        }
    }

    #[test]
    fn no_octet_of_a_certificate_that_is_another_makes_anything_panic() {
        let certificate = SecretKey::generate().unwrap().certificate();
        for place in 0..certificate.len() {
            for value in [0, 1, 0x30, 0x7f, 0x80, 0x81, 0x82, 0xff] {
                let mut other = certificate.clone();
                other[place] = value;
                let _ = key_in(&other);
            }
        }
    }
}
