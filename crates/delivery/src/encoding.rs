//! zstd (RFC 8878) for one content at a time, where it pays; and the limits within which a terminal unpacks it.

use std::fs::File;
use std::io::{self, Cursor, Read, Write};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use zstd::bulk::Compressor;
use zstd::stream::read::Decoder;
use zstd::stream::write::Encoder;
use zstd::zstd_safe::{CParameter, get_frame_content_size};

use crate::message::{ContentType, Digest};
use crate::octets::Octets;

/// The word for it in `content-encoding` and `accept-encoding` (RFC 9659).
pub(crate) const ZSTD: &str = "zstd";

/// Octets of content that are not worth packing.
const PACKED_ABOVE: u64 = 100;

/// A packed content must save a tenth.
const SAVED_MIN: u64 = 10;

/// Octets up to which packing may take its time: what it saves of a slow line is seconds.
const THOROUGH_UP_TO: u64 = 256 * 1024;

/// Octets that a content may have unpacked.
pub const UNPACKED_OCTETS_MAX: u64 = 64 * 1024 * 1024;

/// How many times as large as on the line a content may be unpacked, above a mebibyte. Readings of a meter come to 30.
const RATIO_MAX: u64 = 250;
const RATIO_FREE_OCTETS: u64 = 1024 * 1024;

/// The window that a terminal has memory for: 8 MiB (RFC 9659 §3).
const WINDOW_LOG_MAX: u32 = 23;

/// Octets of the largest frame header (RFC 8878 §3.1.1.1), magic number included.
const FRAME_HEADER_OCTETS_MAX: u64 = 18;

/// What is packed at once.
const PACKED_AT_ONCE: usize = 64 * 1024;

/// What is unpacked at once.
const CHUNK_OCTETS: usize = 16 * 1024;

/// What is wrong with a packed content. The far end's fault: packed again it will be the same.
#[derive(Debug, thiserror::Error)]
pub enum EncodingError {
    /// The frame does not say how large its content is.
    #[error("the zstd frame does not declare its content's size")]
    Undeclared,
    /// It is too large, as a number or for what it has on the line.
    #[error("the content would unpack to {declared} octets; at most {limit} are taken")]
    TooLarge {
        /// What the frame says.
        declared: u64,
        /// Limit for the number of octets that came over the line.
        limit: u64,
    },
    /// It unpacks to something else than it said.
    #[error("the content does not unpack to the size that it declares")]
    Size,
    /// It is not zstd, is damaged, wants more memory than 8 MiB, or a dictionary.
    #[error("the content is no zstd frame that this terminal unpacks")]
    Frame(#[source] io::Error),
}

/// Why a content was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The content.
    #[error(transparent)]
    Content(#[from] EncodingError),
    /// Where it was to be written.
    #[error("could not write what was unpacked")]
    Write(#[source] io::Error),
}

/// Packs a content. `None`: it does not pay.
pub(crate) fn pack(content_type: &ContentType, content: &[u8]) -> Option<Bytes> {
    if !may_pay(content_type, content.len() as u64) {
        return None;
    }
    let packed = Compressor::new(level(content.len() as u64)).and_then(|mut compressor| {
        // Four octets, for it is what tells a mistake of ours: the digest is that of what is on the line.
        compressor.set_parameter(CParameter::ChecksumFlag(true))?;
        compressor.compress(content)
    });
    let packed = packed
        .inspect_err(|error| tracing::warn!(%error, "a content could not be packed"))
        .ok()?;
    pays(content.len() as u64, packed.len() as u64).then(|| packed.into())
}

/// Packs a content that is in a file, piece by piece into another. `None`: it does not pay.
///
/// # Errors
/// If a file cannot be made, read or written.
pub(crate) fn pack_stream(
    content_type: &ContentType,
    content: &Octets,
    scratch: impl FnOnce() -> io::Result<File>,
) -> io::Result<Option<(Digest, Octets)>> {
    let size = content.size();
    if !may_pay(content_type, size) {
        return Ok(None);
    }
    let mut encoder = Encoder::new(Hashed::new(scratch()?), level(size))?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(size))?; // the frame declares it
    let (mut reader, mut chunk, mut left) = (content.reader(), vec![0; PACKED_AT_ONCE], size);
    while left > 0 {
        let read = reader.read(&mut chunk)?;
        left -= read as u64;
        encoder.write_all(&chunk[..read])?;
        // What does not pay is not worth its time either.
        if !saves(size, encoder.get_ref().size) {
            return Ok(None);
        }
    }
    let Hashed {
        to,
        hash,
        size: packed,
    } = encoder.finish()?;
    Ok(pays(size, packed).then(|| (Digest::from_hash(hash), Octets::in_file(to, packed))))
}

/// Where packed octets go: counted and hashed.
struct Hashed<W> {
    to: W,
    hash: Sha256,
    size: u64,
}

impl<W> Hashed<W> {
    fn new(to: W) -> Self {
        Self {
            to,
            hash: Sha256::new(),
            size: 0,
        }
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let written = self.to.write(octets)?;
        self.hash.update(&octets[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn level(size: u64) -> i32 {
    if size <= THOROUGH_UP_TO { 19 } else { 9 }
}

/// Whether it is worth trying.
fn may_pay(content_type: &ContentType, size: u64) -> bool {
    (PACKED_ABOVE + 1..=UNPACKED_OCTETS_MAX).contains(&size) && !is_packed(content_type)
}

/// Whether what came of it is worth it, and no terminal takes it for a bomb.
fn pays(size: u64, packed: u64) -> bool {
    saves(size, packed) && size <= limit(packed)
}

fn saves(size: u64, packed: u64) -> bool {
    packed <= size - size / SAVED_MIN
}

/// Whether contents of this type are packed already.
fn is_packed(content_type: &ContentType) -> bool {
    let text = content_type.as_str().to_ascii_lowercase();
    let essence = text.split(';').next().unwrap_or_default().trim();
    match essence.split_once('/') {
        Some(("video" | "audio", _)) => true,
        Some(("image", subtype)) => !matches!(subtype, "svg+xml" | "bmp" | "x-ms-bmp"),
        Some(("application", subtype)) => {
            [
                "zip",
                "gzip",
                "zstd",
                "x-7z-compressed",
                "x-xz",
                "x-bzip2",
                "x-rar-compressed",
                "java-archive",
            ]
            .contains(&subtype)
                || subtype.ends_with("+zip")
                || subtype.ends_with("+gzip")
        }
        _ => false,
    }
}

/// Largest unpacked size of a content with this many octets on the line.
fn limit(packed: u64) -> u64 {
    packed
        .saturating_mul(RATIO_MAX)
        .clamp(RATIO_FREE_OCTETS, UNPACKED_OCTETS_MAX)
}

/// Unpacks a content that had `packed` octets on the line, in pieces: what it declares is looked at before anything is
/// written, and not passed. Gives its size and digest.
///
/// # Errors
/// [`UnpackError`]: what was written by then is of no use.
pub fn unpack(
    mut content: impl Read,
    packed: u64,
    mut to: impl Write,
) -> Result<(u64, Digest), UnpackError> {
    let mut header = Vec::new();
    content
        .by_ref()
        .take(FRAME_HEADER_OCTETS_MAX)
        .read_to_end(&mut header)
        .map_err(EncodingError::Frame)?;
    let declared = get_frame_content_size(&header)
        .ok()
        .flatten()
        .ok_or(EncodingError::Undeclared)?;
    let limit = limit(packed);
    if declared > limit {
        return Err(EncodingError::TooLarge { declared, limit }.into());
    }
    let mut decoder = Decoder::new(Cursor::new(header).chain(content))
        .map_err(EncodingError::Frame)?
        .single_frame();
    decoder
        .window_log_max(WINDOW_LOG_MAX)
        .map_err(EncodingError::Frame)?;
    let (mut size, mut hash) = (0, Sha256::new());
    let mut chunk = vec![0; CHUNK_OCTETS];
    loop {
        let read = decoder.read(&mut chunk).map_err(EncodingError::Frame)?;
        if read == 0 {
            break;
        }
        size += read as u64;
        if size > declared {
            return Err(EncodingError::Size.into());
        }
        hash.update(&chunk[..read]);
        to.write_all(&chunk[..read]).map_err(UnpackError::Write)?;
    }
    let behind = decoder
        .finish()
        .read(&mut chunk)
        .map_err(EncodingError::Frame)?;
    if size != declared || behind > 0 {
        return Err(EncodingError::Size.into());
    }
    Ok((size, Digest::from_hash(hash)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json() -> ContentType {
        "application/json".parse().unwrap()
    }

    fn readings() -> Vec<u8> {
        let readings: Vec<_> = (0..1000)
            .map(|n| format!("{{\"meter\":{},\"kwh\":{}}}", n % 7, n * 13 % 997))
            .collect();
        readings.join(",").into_bytes()
    }

    #[test]
    fn a_content_survives_packing_and_its_digest_is_that_of_the_content() {
        let content = readings();
        let packed = pack(&json(), &content).unwrap();
        assert!(
            packed.len() * 3 < content.len(),
            "{} of {}",
            packed.len(),
            content.len()
        );
        let mut unpacked = Vec::new();
        let (size, digest) = unpack(&*packed, packed.len() as u64, &mut unpacked).unwrap();
        assert_eq!((size, digest), (content.len() as u64, Digest::of(&content)));
        assert_eq!(unpacked, content);
    }

    fn in_file(content: &[u8]) -> Octets {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        Octets::in_file(file, content.len() as u64)
    }

    #[test]
    fn a_content_in_a_file_is_packed_into_another_and_unpacks_to_what_it_was() {
        let content = readings().repeat(20);
        let (digest, packed) = pack_stream(&json(), &in_file(&content), tempfile::tempfile)
            .unwrap()
            .unwrap();
        let packed = packed.read().unwrap();
        assert_eq!(digest, Digest::of(&packed));
        let mut unpacked = Vec::new();
        unpack(&*packed, packed.len() as u64, &mut unpacked).unwrap();
        assert_eq!(unpacked, content);
        // Again the same, or a part of it could not be gone on with.
        let (again, _) = pack_stream(&json(), &in_file(&content), tempfile::tempfile)
            .unwrap()
            .unwrap();
        assert_eq!(again, digest);
    }

    #[test]
    fn a_content_in_a_file_that_does_not_pay_is_left_as_it_is() {
        let random: Vec<u8> = (0..10_000_u64)
            .flat_map(|n| Digest::of(&n.to_le_bytes()).octets())
            .collect();
        assert!(
            pack_stream(&json(), &in_file(&random), tempfile::tempfile)
                .unwrap()
                .is_none(),
            "random octets"
        );
        let zeros = vec![0; 2 << 20];
        assert!(
            pack_stream(&json(), &in_file(&zeros), tempfile::tempfile)
                .unwrap()
                .is_none(),
            "a terminal takes it for a bomb"
        );
        let image = "image/jpeg".parse().unwrap();
        let no_file = || -> io::Result<File> { unreachable!("nothing is tried") };
        assert!(
            pack_stream(&image, &in_file(&readings()), no_file)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn what_does_not_pay_is_left_as_it_is() {
        let random: Vec<u8> = (0..32_u64)
            .flat_map(|n| Digest::of(&n.to_le_bytes()).octets())
            .collect();
        assert!(pack(&json(), &random).is_none(), "random octets");
        assert!(
            pack(&json(), &vec![b'a'; usize::try_from(PACKED_ABOVE).unwrap()]).is_none(),
            "too short"
        );
        for packed in [
            "image/jpeg",
            "IMAGE/PNG",
            "video/mp4",
            "application/zip",
            "application/epub+zip; a=b",
        ] {
            assert!(
                pack(&packed.parse().unwrap(), &readings()).is_none(),
                "{packed}"
            );
        }
        for plain in [
            "image/svg+xml",
            "text/plain; charset=utf-8",
            "application/octet-stream",
        ] {
            assert!(
                pack(&plain.parse().unwrap(), &readings()).is_some(),
                "{plain}"
            );
        }
    }

    #[test]
    fn a_bomb_is_refused_before_anything_is_written() {
        let bomb = zstd::bulk::compress(&vec![0; 2 << 20], 3).unwrap();
        let mut written = Vec::new();
        let refused = unpack(&*bomb, bomb.len() as u64, &mut written).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the content would unpack to 2097152 octets; at most 1048576 are taken"
        );
        assert!(written.is_empty());
        let said = 100 * (1 << 20);
        let refused = unpack(
            &*zstd::bulk::compress(&vec![0; said], 1).unwrap(),
            u64::MAX,
            io::sink(),
        )
        .unwrap_err();
        assert!(
            refused.to_string().ends_with("at most 67108864 are taken"),
            "{refused}"
        );
    }

    #[test]
    fn a_window_for_which_there_is_no_memory_is_refused() {
        let mut compressor = Compressor::new(1).unwrap();
        compressor.set_parameter(CParameter::WindowLog(24)).unwrap();
        let wide = compressor.compress(&vec![7; (16 << 20) + 1]).unwrap();
        let refused = unpack(&*wide, u64::MAX, io::sink()).unwrap_err();
        assert!(
            matches!(refused, UnpackError::Content(EncodingError::Frame(_))),
            "{refused}"
        );
    }

    #[test]
    fn whatever_is_no_whole_frame_is_refused() {
        let packed = pack(&json(), &readings()).unwrap();
        let length = packed.len() as u64;
        let mut undeclared = Encoder::new(Vec::new(), 1).unwrap();
        undeclared.include_contentsize(false).unwrap();
        undeclared.write_all(b"how much is this?").unwrap();
        let mut flipped = packed.to_vec();
        flipped[packed.len() / 2] ^= 1;
        for (what, octets) in [
            ("nothing", vec![]),
            ("no zstd", b"GET / HTTP/1.1".to_vec()),
            ("undeclared", undeclared.finish().unwrap()),
            ("cut", packed[..packed.len() - 5].to_vec()),
            ("flipped", flipped),
            ("followed by more", [&packed[..], b"x"].concat()),
            ("twice", packed.repeat(2)),
        ] {
            let refused = unpack(&*octets, length, io::sink());
            assert!(
                matches!(refused, Err(UnpackError::Content(_))),
                "{what}: {refused:?}"
            );
        }
    }
}
