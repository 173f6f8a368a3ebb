//! What the fuzz target `feeds` does with its octets, and the replay of what it has found. `fuzz/` takes this file and the readers alone,
//! without the store and all else that would have to be built.

use super::item::{ITEMS_READ_MAX, Item};

/// Octets of a message about the item that its feed did not say: its id if it has none, names of fields, and the base of its link.
const OVERHEAD_MAX: usize = 3000;

/// A feed is read within its bounds or refused with a reason; read again it gives the same items.
pub(crate) fn feed(octets: &[u8]) {
    let read = || Item::read_all(octets, None, "http://feed.example/a/feed.xml");
    match read() {
        Ok(items) => {
            assert!(items.len() <= ITEMS_READ_MAX);
            let names: Vec<_> = items.iter().map(Item::name).collect();
            let sum: usize = items.iter().map(|item| item.to_json().len()).sum();
            // An octet becomes three in a charset, and six in JSON.
            assert!(
                sum <= 18 * octets.len() + items.len() * OVERHEAD_MAX,
                "{sum} of {}",
                octets.len()
            );
            assert_eq!(
                read()
                    .expect("it was read")
                    .iter()
                    .map(Item::name)
                    .collect::<Vec<_>>(),
                names
            );
        }
        Err(reason) => assert!(!reason.is_empty() && reason.len() < 500, "{reason}"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_feeds_corpus_replays() {
        crate::replay::replay("feeds", super::feed);
    }
}
