//! The octets of a content: in memory, or in a file from which they are read as the line takes them.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::{JoinHandle, spawn_blocking};

/// What is read of a file at once: a few times what its reader takes. Of each content under way twice as much is in memory, however
/// large it is.
const BLOCK_OCTETS_MIN: usize = 16 * 1024;
const BLOCK_OCTETS: usize = 64 * 1024;

/// Octets of a block for a reader that takes this many at once.
fn block_for(wanted: usize) -> usize {
    (4 * wanted).clamp(BLOCK_OCTETS_MIN, BLOCK_OCTETS)
}

/// A content's octets. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Octets(Kept);

#[derive(Debug, Clone)]
enum Kept {
    Held(Bytes),
    Filed { file: Arc<File>, size: u64 },
}

impl From<Bytes> for Octets {
    fn from(octets: Bytes) -> Self {
        Self(Kept::Held(octets))
    }
}

impl Octets {
    /// The first `size` octets of a file, whatever happens to its name.
    pub fn in_file(file: File, size: u64) -> Self {
        Self(Kept::Filed {
            file: Arc::new(file),
            size,
        })
    }

    /// How many they are.
    pub fn size(&self) -> u64 {
        match &self.0 {
            Kept::Held(octets) => octets.len() as u64,
            Kept::Filed { size, .. } => *size,
        }
    }

    /// Those that are in memory; `None`: they are in a file.
    pub fn held(&self) -> Option<&Bytes> {
        match &self.0 {
            Kept::Held(octets) => Some(octets),
            Kept::Filed { .. } => None,
        }
    }

    /// All of them in memory. Waits for the disk.
    ///
    /// # Errors
    /// If the file cannot be read, or has become shorter.
    pub fn read(&self) -> io::Result<Bytes> {
        let mut all = Vec::new();
        match &self.0 {
            Kept::Held(octets) => return Ok(octets.clone()),
            Kept::Filed { .. } => self.reader().read_to_end(&mut all)?,
        };
        Ok(all.into())
    }

    /// Reads them from the first on. Waits for the disk.
    pub fn reader(&self) -> OctetReader<'_> {
        OctetReader {
            octets: self,
            at: 0,
        }
    }

    /// Takes them from `offset` on, without waiting for the disk.
    pub fn unread(&self, offset: u64) -> Unread {
        let departure = Departure::default();
        let unread = match &self.0 {
            Kept::Held(octets) => {
                let at = usize::try_from(offset).map_or(octets.len(), |at| at.min(octets.len()));
                Unread {
                    at_hand: octets.slice(at..),
                    file: None,
                    departure,
                }
            }
            Kept::Filed { file, size } => {
                let file = Filed {
                    file: file.clone(),
                    at: offset.min(*size),
                    end: *size,
                    reading: None,
                };
                Unread {
                    at_hand: Bytes::new(),
                    file: Some(file),
                    departure,
                }
            }
        };
        if unread.left() == 0 {
            unread.departure.note(WHOLE);
        }
        unread
    }
}

/// [`Octets`] as `std` reads.
#[derive(Debug)]
pub struct OctetReader<'a> {
    octets: &'a Octets,
    at: u64,
}

impl io::Read for OctetReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.octets.size().saturating_sub(self.at);
        let wanted = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let buffer = &mut buffer[..wanted];
        let read = match &self.octets.0 {
            Kept::Held(octets) => {
                let at = usize::try_from(self.at).expect("within what is in memory");
                buffer.copy_from_slice(&octets[at..at + wanted]);
                wanted
            }
            Kept::Filed { file, .. } => file.read_at(buffer, self.at)?,
        };
        if read == 0 && wanted > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += read as u64;
        Ok(read)
    }
}

/// How much of a content has been taken, by whom it was given to. What was not taken cannot have left. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Departure(Arc<AtomicU8>);

/// Values of a [`Departure`]; 0: nothing has been taken.
const BEGUN: u8 = 1;
const WHOLE: u8 = 2;

impl Departure {
    /// Whether the first octet has been taken.
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire) >= BEGUN
    }

    /// Whether the last octet has been taken, so that the far end may have all of it.
    pub fn is_whole(&self) -> bool {
        self.0.load(Ordering::Acquire) == WHOLE
    }

    fn note(&self, state: u8) {
        self.0.fetch_max(state, Ordering::Release);
    }
}

/// Octets that are still to be taken. A block is read ahead, on a thread that may wait.
#[derive(Debug, Default)]
pub struct Unread {
    at_hand: Bytes,
    file: Option<Filed>,
    departure: Departure,
}

/// What a file has beyond what is at hand.
#[derive(Debug)]
struct Filed {
    file: Arc<File>,
    at: u64,
    end: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Unread {
    /// How many are left.
    pub fn left(&self) -> u64 {
        self.at_hand.len() as u64 + self.file.as_ref().map_or(0, |file| file.end - file.at)
    }

    /// Tells how much has been taken, now and later.
    pub fn departure(&self) -> Departure {
        self.departure.clone()
    }

    /// Waits for this many octets, or for the end; returns the number available.
    ///
    /// # Errors
    /// If the file cannot be read, or has become shorter.
    pub fn poll_at_hand(&mut self, wanted: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while let Some(file) = self.file.as_mut().filter(|file| file.at < file.end) {
            if self.at_hand.len() >= wanted.max(block_for(wanted) / 2) {
                break;
            }
            let block = match file.poll_block(block_for(wanted), cx) {
                // What is here is enough; the block comes meanwhile.
                Poll::Pending if self.at_hand.len() >= wanted => break,
                block => ready!(block)?,
            };
            if self.at_hand.is_empty() {
                self.at_hand = block;
            } else {
                let mut joined = BytesMut::with_capacity(self.at_hand.len() + block.len());
                joined.extend_from_slice(&self.at_hand);
                joined.extend_from_slice(&block);
                self.at_hand = joined.freeze();
            }
        }
        Poll::Ready(Ok(self.at_hand.len()))
    }

    /// Takes this many of the available octets.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn take(&mut self, count: usize) -> Bytes {
        let taken = self.at_hand.split_to(count);
        self.departure
            .note(if self.left() == 0 { WHOLE } else { BEGUN });
        taken
    }
}

impl Filed {
    fn poll_block(&mut self, octets: usize, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let reading = self.reading.get_or_insert_with(|| {
            let (file, at, left) = (self.file.clone(), self.at, self.end - self.at);
            let wanted = usize::try_from(left).map_or(octets, |left| left.min(octets));
            spawn_blocking(move || {
                let mut block = vec![0; wanted];
                file.read_exact_at(&mut block, at)?;
                Ok(Bytes::from(block))
            })
        });
        let read = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        let block = read.map_err(io::Error::other)??;
        self.at += block.len() as u64;
        Poll::Ready(Ok(block))
    }
}

/// As the body of a request, for who does not mind in what portions.
impl Body for Unread {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let count = ready!(self.poll_at_hand(BLOCK_OCTETS / 4, cx))?;
        Poll::Ready((count > 0).then(|| Ok(Frame::data(self.take(count)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use http_body_util::BodyExt as _;

    use super::*;

    /// Three blocks and a bit, no two of which are the same.
    fn content() -> Vec<u8> {
        (0..100_000_u32).flat_map(u32::to_be_bytes).collect()
    }

    fn in_file(content: &[u8], size: u64) -> Octets {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        Octets::in_file(file, size)
    }

    #[tokio::test]
    async fn what_is_in_a_file_is_taken_as_what_is_in_memory_from_any_offset() {
        let content = content();
        let filed = in_file(&content, content.len() as u64);
        let held = Octets::from(Bytes::from(content.clone()));
        assert_eq!(filed.read().unwrap(), content);
        for offset in [
            0,
            1,
            BLOCK_OCTETS,
            BLOCK_OCTETS + 7,
            content.len() - 1,
            content.len(),
            content.len() + 9,
        ] {
            for octets in [&filed, &held] {
                let unread = octets.unread(offset as u64);
                let expected = &content[offset.min(content.len())..];
                assert_eq!(unread.left(), expected.len() as u64);
                assert_eq!(
                    unread.collect().await.unwrap().to_bytes(),
                    expected,
                    "from {offset}"
                );
            }
        }
    }

    #[tokio::test]
    async fn no_more_than_two_blocks_of_a_file_are_at_hand_and_never_fewer_than_are_asked_for() {
        let content = content();
        let mut unread = in_file(&content, content.len() as u64).unread(0);
        let mut taken = Vec::new();
        while unread.left() > 0 {
            let wanted = 1700.min(content.len() - taken.len());
            let at_hand = std::future::poll_fn(|cx| unread.poll_at_hand(wanted, cx))
                .await
                .unwrap();
            assert!(
                (wanted..=2 * BLOCK_OCTETS_MIN).contains(&at_hand),
                "{at_hand}"
            );
            taken.extend_from_slice(&unread.take(wanted));
        }
        assert_eq!(taken, content);
    }

    #[tokio::test]
    async fn a_departure_tells_that_the_first_and_that_the_last_octet_was_taken() {
        let content = content();
        for octets in [
            in_file(&content, content.len() as u64),
            Octets::from(Bytes::from(content.clone())),
        ] {
            let mut unread = octets.unread(0);
            let departure = unread.departure();
            let told = || (departure.has_begun(), departure.is_whole());
            std::future::poll_fn(|cx| unread.poll_at_hand(10, cx))
                .await
                .unwrap();
            assert_eq!(told(), (false, false), "read ahead is not taken");
            unread.take(10);
            assert_eq!(told(), (true, false));
            unread.collect().await.unwrap();
            assert_eq!(told(), (true, true));
            assert!(
                octets.unread(content.len() as u64).departure().is_whole(),
                "nothing is left"
            );
        }
    }

    #[tokio::test]
    async fn a_file_that_has_become_shorter_is_an_error_and_not_a_shorter_content() {
        let content = content();
        let octets = in_file(&content, content.len() as u64 + 1);
        let fault = octets.unread(0).collect().await.unwrap_err();
        assert_eq!(fault.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(
            octets.read().unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
