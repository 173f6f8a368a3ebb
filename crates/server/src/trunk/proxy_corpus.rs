//! What the fuzz target `proxy` does with its octets, and the replay of what it has found. `fuzz/` takes this file and `proxy` alone,
//! without the store and all else that would have to be built.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::proxy::{ProxyHeader, REST_OCTETS_MAX};

/// A header is taken within its bound, and written anew says the same.
pub(crate) fn proxy(octets: &[u8]) {
    let (header, taken) = read(octets);
    assert!(taken <= 16 + usize::from(REST_OCTETS_MAX));
    if let Some(header) = header {
        let again = header.encode();
        assert_eq!(read(&again), (Some(header), again.len()));
    }
}

/// The header, and how many octets were taken for it.
fn read(octets: &[u8]) -> (Option<ProxyHeader>, usize) {
    let mut left = octets;
    let header =
        match pin!(ProxyHeader::read(&mut left)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(header) => header.ok(),
            Poll::Pending => panic!("octets do not wait"),
        };
    (header, octets.len() - left.len())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_proxy_corpus_replays() {
        crate::replay::replay("proxy", super::proxy);
    }
}
