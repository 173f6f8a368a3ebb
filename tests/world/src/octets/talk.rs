//! What the two ends say on a connection here: the real connected notice, then messages and receipts in a plain framing.
//!
//! It stands for TLS and HTTP/2, whose keys and ciphertext are random: octets that PPP escapes or not, and so times,
//! would differ from run to run. What is said, in which order, and what has to be on a disk before, is the same.

use delivery::{Digest, MessageId};

const KIND_OCTETS: usize = 1 + 22;
const HEAD_OCTETS: usize = KIND_OCTETS + 4;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word {
    Message {
        id: MessageId,
        content: Vec<u8>,
    },
    NothingMore,
    /// On the disk.
    Receipt(MessageId),
    /// No room for it.
    Refused(MessageId),
    /// Is it there?
    Question(MessageId),
    /// It is, and was published.
    IsThere(MessageId),
    IsNotThere(MessageId),
}

impl Word {
    pub(super) fn to_octets(&self) -> Vec<u8> {
        let head = |kind: u8, id: &MessageId| {
            let mut octets = vec![kind];
            octets.extend(id.to_string().bytes());
            octets
        };
        match self {
            Self::Message { id, content } => {
                let mut octets = head(b'M', id);
                octets.extend(
                    u32::try_from(content.len())
                        .expect("contents here are small")
                        .to_be_bytes(),
                );
                octets.extend(content);
                octets.extend(Digest::of(content).to_string().bytes());
                octets
            }
            Self::NothingMore => vec![b'.'],
            Self::Receipt(id) => head(b'R', id),
            Self::Refused(id) => head(b'X', id),
            Self::Question(id) => head(b'?', id),
            Self::IsThere(id) => head(b'Y', id),
            Self::IsNotThere(id) => head(b'N', id),
        }
    }

    /// Takes the first whole word; none: more has to come. What is no word, or has another digest, is an error.
    pub(super) fn take(heard: &mut Vec<u8>) -> Result<Option<Self>, &'static str> {
        let Some(kind) = heard.first().copied() else {
            return Ok(None);
        };
        if kind == b'.' {
            heard.remove(0);
            return Ok(Some(Self::NothingMore));
        }
        if !matches!(kind, b'M' | b'R' | b'X' | b'?' | b'Y' | b'N') {
            return Err("not a word");
        }
        let Some(id) = heard.get(1..KIND_OCTETS) else {
            return Ok(None);
        };
        let id = std::str::from_utf8(id)
            .ok()
            .and_then(|id| id.parse().ok())
            .ok_or("no message has this id")?;
        if kind != b'M' {
            heard.drain(..KIND_OCTETS);
            return Ok(Some(match kind {
                b'R' => Self::Receipt(id),
                b'X' => Self::Refused(id),
                b'?' => Self::Question(id),
                b'Y' => Self::IsThere(id),
                _ => Self::IsNotThere(id),
            }));
        }
        let Some(size) = heard.get(KIND_OCTETS..HEAD_OCTETS) else {
            return Ok(None);
        };
        let size = u32::from_be_bytes(size.try_into().expect("four octets")) as usize;
        let end = HEAD_OCTETS + size;
        let Some(digest) = heard.get(end..end + 64) else {
            return Ok(None);
        };
        let content = heard[HEAD_OCTETS..end].to_vec();
        let is_whole = Digest::of(&content).to_string().as_bytes() == digest;
        heard.drain(..end + 64);
        if is_whole {
            Ok(Some(Self::Message { id, content }))
        } else {
            Err("a damaged message")
        }
    }
}
