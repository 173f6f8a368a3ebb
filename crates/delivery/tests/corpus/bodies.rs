//! What a fuzz target does with its octets. Shared by `fuzz/`, which invents them, and by the test that replays what
//! it has found.

use std::io::{self, Write};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use ringup_delivery::proof::{PublicKey, ServerKeyList};
use ringup_delivery::{
    Digest, ItemHead, PREAMBLE_OCTETS_MAX, Preamble, UNPACKED_OCTETS_MAX, read_item_head, unpack,
    write_item_head,
};

/// What a peer presents as its key, raw or in a certificate, and keys as text: no key is made up.
pub(crate) fn keys(octets: &[u8]) {
    if let Some(key) = PublicKey::from_presented(octets) {
        assert!(
            octets.windows(32).any(|window| window == key.octets()),
            "{key}"
        );
        assert_eq!(key.to_string().parse(), Ok(key));
    }
    let Ok(text) = std::str::from_utf8(octets) else {
        return;
    };
    if let Ok(key) = text.parse::<PublicKey>() {
        assert_eq!(key.to_string(), text);
    }
    if let Ok(list) = text.parse::<ServerKeyList>() {
        assert!((1..=4).contains(&list.keys().len()));
        assert_eq!(
            list.to_string()
                .parse::<ServerKeyList>()
                .map(|again| again.keys().to_vec()),
            Ok(list.keys().to_vec())
        );
    }
}

/// Counts what comes to it and keeps it, as far as that is little.
#[derive(Default)]
struct Unpacked {
    octets: u64,
    kept: Vec<u8>,
}

impl Write for Unpacked {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.octets += octets.len() as u64;
        if self.octets <= 1 << 16 {
            self.kept.extend_from_slice(octets);
        }
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A packed content: whatever it is, no more is written than its length allows, and what is taken is what it said.
pub(crate) fn zstd(octets: &[u8]) {
    let (packed, mut unpacked) = (octets.len() as u64, Unpacked::default());
    let result = unpack(octets, packed, &mut unpacked);
    assert!(
        unpacked.octets <= UNPACKED_OCTETS_MAX.min((1 << 20).max(250 * packed)),
        "{} octets",
        unpacked.octets
    );
    if let Ok((size, digest)) = result {
        assert_eq!(size, unpacked.octets);
        assert!(size > 1 << 16 || digest == Digest::of(&unpacked.kept));
    }
}

/// The head of an item of an outbox: what is understood is said again in the same way.
pub(crate) fn items(octets: &[u8]) {
    let Some((ItemHead { id, size, says }, at)) = read_item_head(octets) else {
        return;
    };
    assert!(at <= octets.len());
    let Ok(said) = says else { return };
    // Written out, characters that JSON escapes may make it too long.
    let Ok(again) = write_item_head(id, size, &said) else {
        return;
    };
    assert_eq!(
        read_item_head(&again),
        Some((
            ItemHead {
                id,
                size,
                says: Ok(said)
            },
            again.len()
        ))
    );
}

/// What comes first on a connection: a notice is taken as it was said, up to its line feed and no further.
pub(crate) fn preamble(octets: &[u8]) {
    let mut left = octets;
    let read = {
        let reading = pin!(Preamble::read(&mut left));
        let Poll::Ready(read) = reading.poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("octets do not wait")
        };
        read
    };
    let taken = &octets[..octets.len() - left.len()];
    assert!(taken.len() <= PREAMBLE_OCTETS_MAX);
    if let Ok(preamble) = read {
        assert_eq!(format!("{preamble}\n").as_bytes(), taken);
    }
}
