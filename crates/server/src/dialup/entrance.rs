//! The places at the delivery port. Before the notice nobody is anybody: whoever is silent longest makes way. After it a
//! far end is one of a network that says to be one terminal: behind one address may be thousands of them.
//!
//! ```text
//!   arrive ──► Arrival ──notice──► Place ──admitted──► no burden
//!                 │ full: the oldest of the network     │ sixteen of one terminal and network: the oldest makes way
//!                 │ that has most makes way             │ too many: who stands longer than a proof takes makes way, else later
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use delivery::{Later, TerminalId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::door::network_of;
use crate::keys::Admitted;

/// Connections that have not given their notice; a quarter of the seats, where those are few: strangers never hold all.
const ARRIVALS_MAX: usize = 256;

/// Connections between notice and proof, half of the seats where those are few: of all, of one network (half of them), of one
/// network that names one terminal.
const PLACES_MAX: usize = 512;
const PLACES_OF_ONE_MAX: usize = 16;

/// What a proof takes as a rule: who stands longer makes way where there are too many.
const PROOF_USUALLY: Duration = Duration::from_secs(3);

/// When to come again if there is no place: a proof takes a second or two.
pub(super) const RETRY_IN: Duration = Duration::from_secs(3);

/// The places. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Entrance(Arc<Mutex<Table>>);

#[derive(Debug)]
struct Table {
    arrivals_max: usize,
    places_max: usize,
    entered: u64,
    /// In the order in which they came.
    arrivals: BTreeMap<u64, Standing>,
    places: BTreeMap<u64, (Standing, TerminalId)>,
}

#[derive(Debug)]
struct Standing {
    network: IpAddr,
    since: Instant,
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
    /// The places of a port with this number of seats.
    pub(super) fn new(seats: usize) -> Self {
        Self(Arc::new(Mutex::new(Table {
            arrivals_max: ARRIVALS_MAX.min(seats / 4).max(1),
            places_max: PLACES_MAX.min(seats / 2).max(1),
            entered: 0,
            arrivals: BTreeMap::new(),
            places: BTreeMap::new(),
        })))
    }

    /// There is always room for who comes.
    pub(super) fn arrive(&self, from: IpAddr) -> Arrival {
        let (network, mut table) = (network_of(from), self.table());
        if table.arrivals.len() >= table.arrivals_max {
            table.make_way();
        }
        let (number, makes_way) = table.enter();
        table.arrivals.insert(
            number,
            Standing {
                network,
                since: Instant::now(),
                makes_way: makes_way.clone(),
            },
        );
        Arrival {
            entrance: self.clone(),
            number,
            network,
            makes_way,
        }
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

    /// The connection with this place makes way.
    fn vacate(&mut self, number: u64) {
        if let Some((standing, _)) = self.places.remove(&number) {
            standing.makes_way.cancel();
        }
    }

    /// The oldest arrival of the network that has most of them makes way.
    fn make_way(&mut self) {
        let mut by_network = BTreeMap::<_, (usize, u64)>::new();
        for (number, standing) in self.arrivals.iter().rev() {
            let (count, oldest) = by_network.entry(standing.network).or_default();
            (*count, *oldest) = (*count + 1, *number);
        }
        // Of networks with as many, the one whose oldest has stood longest.
        let most = by_network
            .into_values()
            .max_by_key(|(count, oldest)| (*count, std::cmp::Reverse(*oldest)));
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
        let same = |(standing, named): &(Standing, TerminalId)| {
            standing.network == network && *named == terminal
        };
        let of_one: Vec<_> = table
            .places
            .iter()
            .filter(|(_, place)| same(place))
            .map(|(number, _)| *number)
            .collect();
        // A stranger behind the terminal's own address keeps it from nothing: who came last is heard.
        if of_one.len() >= PLACES_OF_ONE_MAX.min(table.places_max / 3).max(1)
            && let Some(oldest) = of_one.first()
        {
            table.vacate(*oldest);
        }
        let of_network = table
            .places
            .values()
            .filter(|(standing, _)| standing.network == network)
            .count();
        let is_network_full = of_network >= table.places_max.div_ceil(2);
        if is_network_full || table.places.len() >= table.places_max {
            let mut places = table.places.iter();
            let oldest =
                places.find(|(_, (standing, _))| !is_network_full || standing.network == network);
            let stalls =
                oldest.filter(|(_, (standing, _))| standing.since.elapsed() >= PROOF_USUALLY);
            match stalls.map(|(number, _)| *number) {
                Some(stalls) => table.vacate(stalls),
                None => return Err(Later { retry_in: RETRY_IN }),
            }
        }
        let (number, makes_way) = table.enter();
        let standing = Standing {
            network,
            since: Instant::now(),
            makes_way: makes_way.clone(),
        };
        table.places.insert(number, (standing, terminal));
        drop(table);
        Ok(Place {
            entrance: self.entrance.clone(),
            number,
            network,
            makes_way,
        })
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
        let entrance = Entrance::new(10_000);
        let idle: Vec<_> = (0..256)
            .map(|n| entrance.arrive(address(1 + n / 8)))
            .collect();
        assert!(idle.iter().all(|arrival| !arrival.makes_way.is_cancelled()));
        let new = entrance.arrive(address(1000));
        let gone: Vec<_> = idle
            .iter()
            .filter(|arrival| arrival.makes_way.is_cancelled())
            .map(|it| it.number)
            .collect();
        assert_eq!(
            gone,
            [1],
            "the oldest of all, where none has more than others"
        );
        assert!(new.names(terminal(1)).is_ok());
        drop(idle);
        assert!(entrance.table().arrivals.is_empty());
    }

    #[test]
    fn a_flood_from_one_address_makes_way_for_itself_only() {
        let entrance = Entrance::new(10_000);
        let slow = entrance.arrive(address(1));
        let flood: Vec<_> = (0..2000).map(|_| entrance.arrive(address(2))).collect();
        assert!(!slow.makes_way.is_cancelled());
        assert_eq!(
            flood
                .iter()
                .filter(|arrival| !arrival.makes_way.is_cancelled())
                .count(),
            255
        );
    }

    #[test]
    fn where_seats_are_few_strangers_never_hold_all_of_them() {
        let entrance = Entrance::new(12);
        let idle: Vec<_> = (0..100)
            .map(|n| entrance.arrive(address(1 + n / 8)))
            .collect();
        assert_eq!(
            idle.iter()
                .filter(|arrival| !arrival.makes_way.is_cancelled())
                .count(),
            3
        );
        drop(idle);
        let places: Vec<_> = (0..100)
            .filter_map(|n| entrance.arrive(address(n)).names(terminal(1)).ok())
            .collect();
        assert_eq!(places.len(), 6);
        drop(places);
        let of_one: Vec<_> = (0..100)
            .filter_map(|_| entrance.arrive(address(1)).names(terminal(1)).ok())
            .collect();
        assert_eq!(
            of_one
                .iter()
                .filter(|place| !place.makes_way.is_cancelled())
                .count(),
            2
        );
    }

    #[test]
    fn terminals_behind_one_address_have_a_place_each_until_half_of_all_are_theirs() {
        let entrance = Entrance::new(10_000);
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
        let entrance = Entrance::new(10_000);
        let come = || entrance.arrive(address(1)).names(terminal(1)).unwrap();
        let mut strangers: Vec<_> = (0..16).map(|_| come()).collect();
        let last = come();
        assert!(strangers[0].makes_way.is_cancelled() && !last.makes_way.is_cancelled());
        assert!(
            strangers[1..]
                .iter()
                .all(|place| !place.makes_way.is_cancelled())
        );
        drop(strangers.remove(0)); // the place that it had is another's by now
        assert_eq!(entrance.table().places.len(), 16);
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_who_stall_on_all_places_make_way_as_soon_as_a_proof_would_have_come() {
        let entrance = Entrance::new(10_000);
        let come = |from| entrance.arrive(address(from)).names(terminal(1));
        let stalling: Vec<_> = (0..512).map(|n| come(n / 8).unwrap()).collect();
        assert!(come(1000).is_err(), "they may be terminals");
        tokio::time::advance(PROOF_USUALLY).await;
        let place = come(1000).unwrap();
        assert!(!place.makes_way.is_cancelled());
        assert_eq!(
            stalling
                .iter()
                .filter(|place| place.makes_way.is_cancelled())
                .count(),
            1
        );
        assert!(stalling[0].makes_way.is_cancelled(), "the oldest");
    }
}
