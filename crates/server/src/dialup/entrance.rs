//! The places at the delivery port. Before the notice nobody is anybody: whoever is silent longest makes way. After it a
//! far end is one of a network that says to be one terminal: behind one address may be thousands of them.
//!
//! ```text
//!   arrive ──► Arrival ──notice──► Place ──admitted──► no burden
//!                 │ full: the oldest of the network     │ two of one terminal and network: the older makes way
//!                 │ that has most makes way             │ too many: later
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use delivery::{Later, TerminalId};
use tokio_util::sync::CancellationToken;

use crate::door::network_of;
use crate::keys::Admitted;

/// Connections that have not given their notice.
const ARRIVALS_MAX: usize = 256;

/// Connections between notice and proof: of all, of one network, of one network that names one terminal.
const PLACES_MAX: usize = 512;
const PLACES_OF_NETWORK_MAX: usize = 256;
const PLACES_OF_ONE_MAX: usize = 2;

/// When to come again if there is no place: a proof takes a second or two.
const RETRY_IN: Duration = Duration::from_secs(3);

/// The places. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Entrance(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    entered: u64,
    /// In the order in which they came.
    arrivals: BTreeMap<u64, Standing>,
    places: BTreeMap<u64, (Standing, TerminalId)>,
}

#[derive(Debug)]
struct Standing {
    network: IpAddr,
    makes_way: CancellationToken,
}

/// A connection that has not given its notice; forgotten when this is dropped.
#[derive(Debug)]
pub(super) struct Arrival {
    entrance: Entrance,
    number: u64,
    network: IpAddr,
    makes_way: CancellationToken,
}

/// A connection that has given its notice and proves itself; free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    entrance: Entrance,
    number: u64,
    pub(super) network: IpAddr,
    makes_way: CancellationToken,
}

impl Entrance {
    /// There is always room for who comes.
    pub(super) fn arrive(&self, from: IpAddr) -> Arrival {
        let (network, mut table) = (network_of(from), self.table());
        if table.arrivals.len() >= ARRIVALS_MAX {
            table.make_way();
        }
        let (number, makes_way) = table.enter();
        table.arrivals.insert(number, Standing { network, makes_way: makes_way.clone() });
        Arrival { entrance: self.clone(), number, network, makes_way }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn enter(&mut self) -> (u64, CancellationToken) {
        self.entered += 1;
        (self.entered, CancellationToken::new())
    }

    /// The oldest arrival of the network that has most of them makes way.
    fn make_way(&mut self) {
        let mut by_network = BTreeMap::<_, (usize, u64)>::new();
        for (number, standing) in self.arrivals.iter().rev() {
            let (count, oldest) = by_network.entry(standing.network).or_default();
            (*count, *oldest) = (*count + 1, *number);
        }
        // Of networks with as many, the one whose oldest has stood longest.
        let most = by_network.into_values().max_by_key(|(count, oldest)| (*count, std::cmp::Reverse(*oldest)));
        if let Some(standing) = most.and_then(|(_, oldest)| self.arrivals.remove(&oldest)) {
            standing.makes_way.cancel();
        }
    }
}

impl Arrival {
    /// Waits until the connection has to make way for another. May be dropped and called again.
    pub(super) async fn makes_way(&self) {
        self.makes_way.cancelled().await;
    }

    /// The network it comes from.
    pub(super) fn network(&self) -> IpAddr {
        self.network
    }

    /// It has said which terminal it is.
    pub(super) fn names(self, terminal: TerminalId) -> Result<Place, Later> {
        let (network, mut table) = (self.network, self.entrance.table());
        table.arrivals.remove(&self.number);
        let same = |(standing, named): &(Standing, TerminalId)| standing.network == network && *named == terminal;
        let of_one: Vec<_> = table.places.iter().filter(|(_, place)| same(place)).map(|(number, _)| *number).collect();
        // A stranger behind the terminal's own address keeps it from nothing: who came last is heard.
        if of_one.len() >= PLACES_OF_ONE_MAX
            && let Some((oldest, _)) = of_one.first().and_then(|oldest| table.places.remove(oldest))
        {
            oldest.makes_way.cancel();
        }
        let of_network = table.places.values().filter(|(standing, _)| standing.network == network).count();
        if table.places.len() >= PLACES_MAX || of_network >= PLACES_OF_NETWORK_MAX {
            return Err(Later { retry_in: RETRY_IN });
        }
        let (number, makes_way) = table.enter();
        table.places.insert(number, (Standing { network, makes_way: makes_way.clone() }, terminal));
        drop(table);
        Ok(Place { entrance: self.entrance.clone(), number, network, makes_way })
    }
}

impl Place {
    /// Waits until the connection has to make way for another. May be dropped and called again.
    pub(super) async fn makes_way(&self) {
        self.makes_way.cancelled().await;
    }

    /// A terminal is no burden on strangers.
    pub(super) fn admitted(self, _admitted: &Admitted) {}
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.entrance.table().arrivals.remove(&self.number);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.entrance.table().places.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from(number).into()
    }

    fn terminal(number: u64) -> TerminalId {
        TerminalId::from_octets(number.to_be_bytes())
    }

    #[test]
    fn idle_connections_of_any_number_of_addresses_keep_nobody_out_and_the_oldest_makes_way() {
        let entrance = Entrance::default();
        let idle: Vec<_> = (0..256).map(|n| entrance.arrive(address(1 + n / 8))).collect();
        assert!(idle.iter().all(|arrival| !arrival.makes_way.is_cancelled()));
        let new = entrance.arrive(address(1000));
        let gone: Vec<_> = idle.iter().filter(|arrival| arrival.makes_way.is_cancelled()).map(|it| it.number).collect();
        assert_eq!(gone, [1], "the oldest of all, where none has more than others");
        assert!(new.names(terminal(1)).is_ok());
        drop(idle);
        assert!(entrance.table().arrivals.is_empty());
    }

    #[test]
    fn a_flood_from_one_address_makes_way_for_itself_only() {
        let entrance = Entrance::default();
        let slow = entrance.arrive(address(1));
        let flood: Vec<_> = (0..2000).map(|_| entrance.arrive(address(2))).collect();
        assert!(!slow.makes_way.is_cancelled());
        assert_eq!(flood.iter().filter(|arrival| !arrival.makes_way.is_cancelled()).count(), 255);
    }

    #[test]
    fn terminals_behind_one_address_have_a_place_each_until_half_of_all_are_theirs() {
        let entrance = Entrance::default();
        let come = |from, named| entrance.arrive(address(from)).names(terminal(named));
        let places: Vec<_> = (0..256).map(|n| come(1, n).unwrap()).collect();
        assert_eq!(come(1, 256).unwrap_err().retry_in, RETRY_IN);
        let _others: Vec<_> = (0..256).map(|n| come(2, n).unwrap()).collect();
        assert!(come(3, 1).is_err(), "no more in all");
        assert!(places.iter().all(|place| !place.makes_way.is_cancelled()));
        drop(places);
        assert!(come(3, 1).is_ok());
    }

    #[test]
    fn whoever_names_a_terminal_from_its_own_address_makes_way_for_it() {
        let entrance = Entrance::default();
        let come = || entrance.arrive(address(1)).names(terminal(1)).unwrap();
        let (first, second) = (come(), come());
        let third = come();
        assert!(first.makes_way.is_cancelled() && !second.makes_way.is_cancelled() && !third.makes_way.is_cancelled());
        drop(first); // the place that it had is another's by now
        assert_eq!(entrance.table().places.len(), 2);
    }
}
