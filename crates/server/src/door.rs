//! How many strangers a listener lets stand before it: of all, and of one address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// A door with a number of places in all, and for one address.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    standing: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
    max: usize,
    of_one_max: usize,
    /// Of this machine's own addresses: a reverse proxy has all its clients' connections.
    local_max: usize,
}

/// A taken place; free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    door: Door,
    pub(crate) from: IpAddr,
}

impl Door {
    pub(crate) fn new(max: usize, of_one_max: usize) -> Self {
        Self {
            standing: Arc::default(),
            max,
            of_one_max,
            local_max: of_one_max,
        }
    }

    /// A door with this number of seats behind it; one address gets half at most, however few they are.
    pub(crate) fn shared(seats: usize, of_one_max: usize) -> Self {
        Self::new(seats, of_one_max.min(seats.div_ceil(2)))
    }

    /// The same door with another limit for this machine's own addresses.
    #[must_use]
    pub(crate) fn with_local_max(self, local_max: usize) -> Self {
        Self { local_max, ..self }
    }

    /// More than half of its places are taken.
    pub(crate) fn is_crowded(&self) -> bool {
        let standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        standing.values().sum::<usize>() > self.max / 2
    }

    /// `None`: there are too many already.
    pub(crate) fn enter(&self, from: IpAddr) -> Option<Place> {
        let of_one_max = if from.to_canonical().is_loopback() {
            self.local_max
        } else {
            self.of_one_max
        };
        let from = network_of(from);
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if standing.values().sum::<usize>() >= self.max {
            return None;
        }
        let of_one = standing.entry(from).or_default();
        if *of_one >= of_one_max {
            return None;
        }
        *of_one += 1;
        Some(Place {
            door: self.clone(),
            from,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut standing = self
            .door
            .standing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(of_one) = standing.get_mut(&self.from) {
            *of_one -= 1;
            if *of_one == 0 {
                standing.remove(&self.from);
            }
        }
    }
}

/// An IPv4 address, or the /64 that one customer has all of.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_takes_eight_places_and_leaves_the_rest_to_others() {
        let door = Door::new(256, 8);
        let mut places: Vec<_> = (0..8)
            .map(|_| door.enter(address("192.0.2.1")).unwrap())
            .collect();
        assert!(door.enter(address("192.0.2.1")).is_none());
        assert!(
            door.enter(address("::ffff:192.0.2.1")).is_none(),
            "the same address in other clothes"
        );
        assert!(door.enter(address("192.0.2.2")).is_some());
        places.pop();
        assert!(door.enter(address("192.0.2.1")).is_some());
    }

    #[test]
    fn one_address_never_has_all_seats_where_they_are_few() {
        for (seats, of_one) in [(6, 3), (7, 4), (512, 128)] {
            let door = Door::shared(seats, 128);
            let places: Vec<_> = (0..600)
                .filter_map(|_| door.enter(address("192.0.2.1")))
                .collect();
            assert_eq!(places.len(), of_one, "of {seats}");
            assert!(door.enter(address("192.0.2.2")).is_some());
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let door = Door::new(256, 8);
        let _places: Vec<_> = (0..8)
            .map(|n| door.enter(address(&format!("2001:db8::{n}"))).unwrap())
            .collect();
        assert!(door.enter(address("2001:db8::ffff")).is_none());
        assert!(door.enter(address("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn the_door_holds_256_and_forgets_who_has_gone() {
        let door = Door::new(256, 8);
        let places: Vec<_> = (0..=255)
            .map(|n| door.enter(IpAddr::from([10, 0, 0, n])).unwrap())
            .collect();
        assert!(door.enter(address("192.0.2.1")).is_none());
        drop(places);
        assert!(door.standing.lock().unwrap().is_empty());
    }
}
