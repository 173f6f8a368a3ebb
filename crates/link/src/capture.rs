//! What crosses links, written to a file that Wireshark and tcpdump open.
//!
//! The octets of both directions are read by decoders of the capture's own, so that what is written does not depend on
//! what the session makes of them. Frames that are damaged are not in the file: [`Counters`](crate::Counters) has them.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ppp::Decoder;

/// Classic pcap, times in microseconds, in the byte order of whoever reads: this is its first field.
const MAGIC: u32 = 0xa1b2_c3d4;
const VERSION: (u16, u16) = (2, 4);
/// Frames are never cut: PPP's largest has 1506 octets.
const SNAP_OCTETS: u32 = 65_535;
/// LINKTYPE_PPP_WITH_DIR: a direction octet, then the frame.
const LINK_TYPE: u32 = 204;

/// RFC 1662 §3.1: the address and control fields that every frame has when nothing is compressed.
const ADDRESS_AND_CONTROL: [u8; 2] = [0xff, 0x03];

/// A capture file, for any number of links at once. Cheap to clone.
///
/// It holds everything that crosses, content and PAP passwords included; only its owner may read it. A disk that fails
/// ends the capture with one warning and harms no link. (One that hangs would hold the links up: capture to a local one.)
#[derive(Clone)]
pub struct Capture(Arc<Mutex<State>>);

struct State {
    path: PathBuf,
    /// `None` once writing has failed.
    file: Option<File>,
    /// Octets of whole records.
    whole: u64,
}

/// The file could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// There is one already, and it may be the only record of something.
    #[error(
        "{0} is there already, and a capture never overwrites: name another file, or remove it"
    )]
    Exists(PathBuf),
    /// The disk.
    #[error("could not create the capture {path}")]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Which way a frame went.
#[derive(Debug, Clone, Copy)]
enum Way {
    Received = 0,
    Sent = 1,
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Capture").field(&self.state().path).finish()
    }
}

impl Capture {
    /// Creates the file, readable by its owner only.
    ///
    /// # Errors
    /// [`CaptureError`], also if the file exists.
    pub fn create(path: &Path) -> Result<Self, CaptureError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => CaptureError::Exists(path.to_owned()),
            _ => CaptureError::Create {
                path: path.to_owned(),
                source,
            },
        };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        let header = header();
        file.write_all(&header).map_err(failed)?;
        Ok(Self(Arc::new(Mutex::new(State {
            path: path.to_owned(),
            file: Some(file),
            whole: header.len() as u64,
        }))))
    }

    /// For one link.
    pub(crate) fn tap(&self) -> Tap {
        Tap {
            capture: self.clone(),
            received: decoder(),
            sent: decoder(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Appends whole records, or none and never again.
    fn append(&mut self, records: &[u8]) {
        let Some(file) = &mut self.file else { return };
        match file.write_all(records) {
            Ok(()) => self.whole += records.len() as u64,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "capture ended: the file cannot be written");
                // What was written of a record is taken back, as far as such a disk still does anything.
                let _ = file
                    .set_len(self.whole)
                    .and_then(|()| file.seek(SeekFrom::Start(self.whole)));
                self.file = None;
            }
        }
    }
}

/// One link's end of a capture.
#[derive(Debug)]
pub(crate) struct Tap {
    capture: Capture,
    received: Decoder,
    sent: Decoder,
}

impl Tap {
    /// Octets came from the line.
    pub(crate) fn received(&mut self, octets: &[u8]) {
        record(&mut self.received, octets, Way::Received, &self.capture);
    }

    /// Octets went to the line.
    pub(crate) fn sent(&mut self, octets: &[u8]) {
        record(&mut self.sent, octets, Way::Sent, &self.capture);
    }
}

fn decoder() -> Decoder {
    let mut decoder = Decoder::new();
    // No character is taken for one that the line put in: links ask for none to be escaped.
    decoder.set_accm(0);
    decoder
}

fn record(decoder: &mut Decoder, mut octets: &[u8], way: Way, capture: &Capture) {
    let mut records = Vec::new();
    let time = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    while let Some(frame) = decoder.next_frame(&mut octets) {
        push_record(&mut records, time, way, frame.protocol, frame.information);
    }
    if !records.is_empty() {
        capture.state().append(&records);
    }
}

fn header() -> Vec<u8> {
    let mut header = Vec::new();
    header.extend_from_slice(&MAGIC.to_ne_bytes());
    header.extend_from_slice(&VERSION.0.to_ne_bytes());
    header.extend_from_slice(&VERSION.1.to_ne_bytes());
    for field in [0, 0, SNAP_OCTETS, LINK_TYPE] {
        header.extend_from_slice(&field.to_ne_bytes());
    }
    header
}

fn push_record(records: &mut Vec<u8>, time: Duration, way: Way, protocol: u16, information: &[u8]) {
    let octets = u32::try_from(1 + ADDRESS_AND_CONTROL.len() + 2 + information.len())
        .expect("frames are small");
    // Seconds are 32 bits in this format, until 2106.
    let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    for field in [seconds, time.subsec_micros(), octets, octets] {
        records.extend_from_slice(&field.to_ne_bytes());
    }
    records.push(way as u8);
    records.extend_from_slice(&ADDRESS_AND_CONTROL);
    records.extend_from_slice(&protocol.to_be_bytes());
    records.extend_from_slice(information);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const IPCP: u16 = 0x8021;

    fn frame(information: &[u8]) -> Vec<u8> {
        let mut line = bytes::BytesMut::new();
        ppp::Encoder::new().encode(&mut line, IPCP, &[information]);
        line.to_vec()
    }

    #[test]
    fn a_capture_is_for_its_owner_and_overwrites_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pcap");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(
            Capture::create(&path),
            Err(CaptureError::Exists(_))
        ));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        let path = folder.path().join("y.pcap");
        let _capture = Capture::create(&path).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn a_record_has_direction_header_protocol_and_information() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pcap");
        let capture = Capture::create(&path).unwrap();
        let (mut one, mut other) = (capture.tap(), capture.tap());
        let octets = frame(&[1, 1, 0, 4]);
        // In pieces, with a frame of another link between them.
        one.sent(&octets[..5]);
        other.received(&frame(&[3, 7, 0, 4]));
        one.sent(&octets[5..]);
        let file = std::fs::read(&path).unwrap();
        assert_eq!(file[..24], header()[..]);
        let bodies: Vec<_> = file[24..]
            .chunks(16 + 9)
            .map(|record| &record[16..])
            .collect();
        assert_eq!(
            bodies,
            [
                [0, 0xff, 3, 0x80, 0x21, 3, 7, 0, 4],
                [1, 0xff, 3, 0x80, 0x21, 1, 1, 0, 4]
            ]
        );
        assert_eq!(
            file[24 + 8..24 + 16],
            [9_u32.to_ne_bytes(), 9_u32.to_ne_bytes()].concat()
        );
    }

    #[test]
    fn damaged_frames_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pcap");
        let mut tap = Capture::create(&path).unwrap().tap();
        let mut octets = frame(&[1, 1, 0, 4]);
        octets[6] ^= 0x01;
        tap.received(&octets);
        assert_eq!(std::fs::read(&path).unwrap().len(), 24);
    }

    #[test]
    fn a_full_disk_ends_the_capture_and_nothing_else() {
        // Every write to this device fails with "no space left".
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let capture = Capture(Arc::new(Mutex::new(State {
            path: "/dev/full".into(),
            file: Some(full),
            whole: 24,
        })));
        let mut tap = capture.tap();
        tap.sent(&frame(&[1, 1, 0, 4]));
        assert!(capture.state().file.is_none());
        tap.sent(&frame(&[1, 1, 0, 4]));
    }
}
