//! An image's seal: a last block, behind the volume, with the number of octets before it, their digest, and a signature of both.
//!
//! `SHA256SUMS` covers the files of one tree. An image has more that is mounted or read: a partition table, the partition's own tree,
//! names for Windows. The seal covers every octet, so nothing of an image is outside of what was signed.
//!
//! ```text
//!   octets of the volume   statement, 1984 octets    signature, 64 octets
//!                          filled up with line feeds  of the statement
//! ```

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};

use anyhow::{Context as _, bail};
use delivery::proof::PublicKey;
use sha2::{Digest as _, Sha256};

/// One block of ISO 9660: CDs have whole ones.
const BLOCK_OCTETS: usize = 2048;
const SIGNATURE_OCTETS: usize = 64;
const STATEMENT_OCTETS: usize = BLOCK_OCTETS - SIGNATURE_OCTETS;

/// Where ISO 9660 has the volume's size in blocks (ECMA-119 §8.4.8): the primary descriptor is in block 16.
const VOLUME_SIZE_AT: u64 = 16 * BLOCK_OCTETS as u64 + 80;

/// Adds the seal behind the volume in `image`. Gives the image's octets.
pub(super) fn add(
    image: &mut File,
    sign: impl FnOnce(&[u8]) -> anyhow::Result<(PublicKey, [u8; SIGNATURE_OCTETS])>,
) -> anyhow::Result<u64> {
    let octets = image.seek(SeekFrom::End(0))?;
    anyhow::ensure!(
        octets == volume_octets(image)?,
        "xorriso wrote an image that is not as long as it says"
    );
    let statement = statement(image, octets)?;
    let (_, signature) = sign(&statement)?;
    image.seek(SeekFrom::Start(octets))?;
    image.write_all(&statement)?;
    image.write_all(&signature)?;
    Ok(octets + BLOCK_OCTETS as u64)
}

/// Whether every octet of an image is what `key` has sealed. `octets` is how many there are; a drive may have more than the image.
///
/// # Errors
/// It is not, or cannot be read.
pub(super) fn check(
    image: &mut File,
    octets: u64,
    is_drive: bool,
    key: PublicKey,
) -> anyhow::Result<()> {
    let volume = volume_octets(image).context("it is no ISO 9660 image")?;
    let whole = volume.saturating_add(BLOCK_OCTETS as u64);
    if octets < whole {
        bail!("it has no seal behind its volume, or is cut off");
    }
    if octets > whole && !is_drive {
        bail!("{} octets were added to it", octets - whole);
    }
    let mut block = [0; BLOCK_OCTETS];
    image.seek(SeekFrom::Start(volume))?;
    image.read_exact(&mut block)?;
    let (said, signature) = block.split_at(STATEMENT_OCTETS);
    if !key.has_signed(said, signature) {
        bail!("its seal is not of the server with the key {key}");
    }
    if said != statement(image, volume)? {
        bail!("octets of it were changed, outside of its files or in them");
    }
    Ok(())
}

/// How long the volume says that it is.
fn volume_octets(image: &mut File) -> io::Result<u64> {
    let mut blocks = [0; 4];
    image.seek(SeekFrom::Start(VOLUME_SIZE_AT))?;
    image.read_exact(&mut blocks)?;
    Ok(u64::from(u32::from_le_bytes(blocks)) * BLOCK_OCTETS as u64)
}

fn statement(image: &mut File, octets: u64) -> anyhow::Result<Vec<u8>> {
    image.seek(SeekFrom::Start(0))?;
    let (mut hash, mut left, mut portion) = (Sha256::new(), image.take(octets), vec![0; 64 * 1024]);
    loop {
        match left.read(&mut portion)? {
            0 => break,
            read => hash.update(&portion[..read]),
        }
    }
    anyhow::ensure!(left.limit() == 0, "the image ends early");
    let digest: String = hash
        .finalize()
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect();
    // Not what else the server's key signs: `SHA256SUMS` begins with a digest.
    let mut text = format!("RINGUP IMAGE\noctets {octets}\nsha256 {digest}\n").into_bytes();
    text.resize(STATEMENT_OCTETS, b'\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use delivery::proof::SecretKey;

    use super::*;

    const BLOCKS: u32 = 20;

    fn size_at() -> usize {
        usize::try_from(VOLUME_SIZE_AT).unwrap()
    }

    /// Not ISO 9660 but for its size.
    fn volume() -> Vec<u8> {
        let mut octets: Vec<u8> = (0..BLOCKS as usize * BLOCK_OCTETS)
            .map(|at| u8::try_from(at % 251).unwrap())
            .collect();
        octets[size_at()..][..4].copy_from_slice(&BLOCKS.to_le_bytes());
        octets
    }

    fn file(octets: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(octets).unwrap();
        file
    }

    fn sealed(key: &SecretKey) -> Vec<u8> {
        let mut image = file(&volume());
        let octets = add(&mut image, |statement| {
            Ok((key.public(), key.sign(statement)))
        })
        .unwrap();
        let mut sealed = Vec::new();
        image.seek(SeekFrom::Start(0)).unwrap();
        image.read_to_end(&mut sealed).unwrap();
        assert_eq!(sealed.len() as u64, octets);
        sealed
    }

    fn checked(octets: &[u8], is_drive: bool, key: &SecretKey) -> Result<(), String> {
        check(
            &mut file(octets),
            octets.len() as u64,
            is_drive,
            key.public(),
        )
        .map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn every_octet_of_an_image_is_sealed_and_none_can_be_added() {
        let key = SecretKey::generate().unwrap();
        let good = sealed(&key);
        assert_eq!(checked(&good, false, &key), Ok(()));
        assert!(
            checked(&good, false, &SecretKey::generate().unwrap())
                .unwrap_err()
                .contains("is not of the server")
        );
        // The partition table, the volume's size, the last octet, the statement and the signature.
        for at in [
            0,
            454,
            458,
            size_at(),
            size_at() + 1,
            good.len() - BLOCK_OCTETS - 1,
            good.len() - 100,
            good.len() - 1,
        ] {
            let mut changed = good.clone();
            changed[at] ^= 1;
            assert!(checked(&changed, false, &key).is_err(), "octet {at}");
            assert!(checked(&changed, true, &key).is_err(), "octet {at}");
        }
        let longer = [&good[..], &[0; 512]].concat();
        assert!(
            checked(&longer, false, &key)
                .unwrap_err()
                .contains("512 octets were added")
        );
        assert_eq!(
            checked(&longer, true, &key),
            Ok(()),
            "a stick is longer than the image on it"
        );
        for length in [0, 100, good.len() - BLOCK_OCTETS, good.len() - 1] {
            assert!(checked(&good[..length], false, &key).is_err(), "{length}");
        }
    }
}
