//! The terminals that are due, in the order in which they get lines.

use std::collections::BTreeSet;

use delivery::{TerminalId, Urgency};

use super::rules::Route;

/// Terminals of a route that are looked at for one that can be served on the lines that are free: those before it avoid
/// these lines. Whoever stands behind so many waits for another line.
const LOOKED_AT_MAX: usize = 100;

/// A place in a queue: the most urgent first, then who has been due for longest.
pub(super) type Place = (Urgency, u64, TerminalId);

/// One queue for each route, so that who waits for lines that are taken keeps nobody waiting who does not.
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

    /// A number to be due with, higher than all before.
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

    /// The first of all that are on a route of which `has_line` says that it can be served, and of whom `is_served` says so.
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

    /// Everybody in the queue, in order.
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
