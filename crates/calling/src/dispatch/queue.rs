//! The terminals that are due, in the order in which they get lines.

use std::collections::BTreeSet;

use delivery::{TerminalId, Urgency};

use super::rules::Route;

/// Terminals of a route that are checked for one that the free lines can serve; those before it avoid these lines.
/// Terminals further back wait for another line.
const LOOKED_AT_MAX: usize = 100;

/// A place in a queue: most urgent first, then longest due.
pub(super) type Place = (Urgency, u64, TerminalId);

/// One queue for each route: terminals that wait for busy lines do not block terminals of other routes.
#[derive(Debug)]
pub(super) struct Queue {
    routes: Vec<BTreeSet<Place>>,
    next_number: u64,
}

impl Queue {
    pub(super) fn new(routes: usize) -> Self {
        Self {
            routes: vec![BTreeSet::new(); routes],
            next_number: 0,
        }
    }

    /// A sequence number for a due terminal; above all before.
    pub(super) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    pub(super) fn insert(&mut self, route: Route, place: Place) {
        self.of(route).insert(place);
    }

    pub(super) fn remove(&mut self, route: Route, place: &Place) {
        self.of(route).remove(place);
    }

    /// The first terminal in order for whose route `has_line` holds and for which `is_served` holds.
    pub(super) fn first(
        &self,
        has_line: impl Fn(Route, Urgency) -> bool,
        is_served: impl Fn(Route, TerminalId) -> bool,
    ) -> Option<Place> {
        let routes = (0..).map(Route).zip(&self.routes);
        let first_of = |(route, queue): (Route, &BTreeSet<Place>)| {
            let &(urgency, ..) = queue.first()?;
            if !has_line(route, urgency) {
                return None;
            }
            let served = queue
                .iter()
                .take(LOOKED_AT_MAX)
                .find(|(_, _, terminal)| is_served(route, *terminal));
            served
                .filter(|(urgency, ..)| has_line(route, *urgency))
                .copied()
        };
        routes.filter_map(first_of).min()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.routes.iter().all(BTreeSet::is_empty)
    }

    pub(super) fn len(&self) -> usize {
        self.routes.iter().map(BTreeSet::len).sum()
    }

    /// All terminals in the queues, in order.
    pub(super) fn places(&self) -> Vec<Place> {
        let mut places: Vec<_> = self.routes.iter().flatten().copied().collect();
        places.sort_unstable();
        places
    }

    fn of(&mut self, route: Route) -> &mut BTreeSet<Place> {
        let index = usize::from(route.0).min(self.routes.len() - 1);
        &mut self.routes[index]
    }
}
