//! `SHA256SUMS`: a digest for each file, as `sha256sum` writes and checks it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The file of the digests.
pub(super) const SUMS: &str = "SHA256SUMS";
/// That of their Ed25519 signature: 64 octets.
pub(super) const SIGNATURE: &str = "SHA256SUMS.sig";

pub(super) type Digest = [u8; 32];

/// Files by their names from the medium's root, in the order in which they are written.
pub(super) type Sums = BTreeMap<String, Digest>;

pub(super) fn write(sums: &Sums) -> String {
    let mut text = String::new();
    for (name, digest) in sums {
        for octet in digest {
            write!(text, "{octet:02x}").expect("a string takes all");
        }
        writeln!(text, "  {name}").expect("a string takes all");
    }
    text
}

/// `None`: not exactly what [`fn@write`] writes.
pub(super) fn read(text: &[u8]) -> Option<Sums> {
    let text = std::str::from_utf8(text).ok()?;
    let sums: Option<Sums> = text.lines().map(line).collect();
    sums.filter(|sums| write(sums) == text)
}

fn line(line: &str) -> Option<(String, Digest)> {
    let (hex, name) = line.split_once("  ")?;
    if hex.len() != 64 || !hex.is_ascii() || !is_name(name) {
        return None;
    }
    let mut digest = Digest::default();
    for (index, octet) in digest.iter_mut().enumerate() {
        *octet = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).ok()?;
    }
    Some((name.to_owned(), digest))
}

/// Whether a file may have this name: the same in ISO 9660, in a shell and in `sha256sum`'s output, and below the root.
pub(super) fn is_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._@-".contains(c);
    name.len() <= 200
        && name.split('/').all(|part| {
            !part.is_empty() && !part.starts_with(['.', '-']) && part.chars().all(is_plain)
        })
}

/// The folders that a file is in.
pub(super) fn folders(name: &str) -> impl Iterator<Item = String> {
    name.match_indices('/').map(|(at, _)| name[..at].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_read_as_they_are_written_and_in_no_other_form() {
        let sums = Sums::from([
            ("install.sh".to_owned(), [0xab; 32]),
            ("a/b@.service".to_owned(), [1; 32]),
        ]);
        let text = write(&sums);
        assert!(
            text.starts_with("0101") && text.ends_with("abab  install.sh\n"),
            "{text}"
        );
        assert_eq!(read(text.as_bytes()), Some(sums));
        let one = "ab".repeat(32);
        for wrong in [
            format!("{one}  a"),
            format!("{one} a\n"),
            format!("{}  a\n", one.to_uppercase()),
            format!("{one}  b\n{one}  a\n"),
            format!("{one}  a\n{one}  a\n"),
            format!("{one}  ../a\n"),
            format!("{one}  /a\n"),
            format!("{one}  a b\n"),
            format!("+{}  a\n", &one[1..]),
            format!("{one}  a\r\n"),
        ] {
            assert_eq!(read(wrong.as_bytes()), None, "{wrong:?}");
        }
        assert_eq!(read(&[0xff, b'\n']), None);
    }
}
