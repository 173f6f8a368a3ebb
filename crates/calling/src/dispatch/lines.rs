//! The lines: which are free, and which terminal has which line.
//!
//! ```text
//!   away ──freed──► free ──hand_out──► in a call ──ended, then freed──► free
//!    ▲               │ ▲                  │ ended, the line was to blame
//!    └──taken────────┘ └──rest over── resting ◄──┘
//! ```
//!
//! A terminal gets the least faulty free line; among equals the cheapest; among those the one that worked for it last.
//!
//! A line with a fault of its own is used last until its retry time, which is later after each fault. Two faults in a
//! row make it suspect; so does a fault that does not recur on another line. A good call clears all faults.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use delivery::{TerminalId, Urgency};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::avoided::Avoided;
use super::rules::{LineTerms, Reserve, Route};
use model::directory::Name;
use model::money::Micros;

use crate::ledger::Tariff;
use model::outcome::{Outcome, Retry};

/// Weight of a fault of the line itself. A call that did not come up weighs a tenth of it (mgetty's rule of
/// experience: two faults of the first kind make a modem suspect).
const BAD_BY_FAULT: u32 = 10;
const BAD_BY_NO_CALL: u32 = 1;
const BADNESS_MAX: u32 = 100;

/// Rest of a line after its first fault; doubled with each further fault in a row.
const REST_FIRST: Duration = Duration::from_secs(30);
const REST_LONGEST: Duration = Duration::from_secs(15 * 60);

/// A faulty line is used last for this many times its rest; then one call tries it.
const TRIAL_AFTER_RESTS: u32 = 10;

/// Faults in a row that make a line suspect.
const FAULTS_OF_A_SUSPECT: u32 = 2;

/// Index of a line in the list of all lines.
pub(super) type LineIndex = u16;

#[derive(Debug)]
struct Line {
    name: Name,
    tariff: Option<Arc<Tariff>>,
    routes: Vec<u16>,
    is_there: bool,
    call: Option<TerminalId>,
    rests_until: Option<Instant>,
    faults: u32,
    badness: u32,
    /// End of the time during which the line is used last.
    tried_at: Option<Instant>,
    /// The terminal whose number its modem refused to dial, since the line's last good call.
    refused: Option<TerminalId>,
    is_suspect: bool,
    /// Current price of a usual call.
    price: Micros,
    /// When the price next reaches its minimum; `None` if the price is constant and above zero.
    cheap_at: Timestamp,
}

impl Line {
    fn rank(&self, index: LineIndex) -> (u32, Micros, LineIndex) {
        (self.badness, self.price, index)
    }

    fn is_free(&self) -> bool {
        self.is_there && self.call.is_none() && self.rests_until.is_none()
    }
}

/// All lines.
#[derive(Debug)]
pub(super) struct Lines {
    lines: Vec<Line>,
    by_name: BTreeMap<Name, LineIndex>,
    routes: Vec<BTreeSet<Name>>,
    /// The free lines of each route, the best first.
    free: Vec<BTreeSet<(u32, Micros, LineIndex)>>,
    free_count: u32,
    resting: BTreeSet<(Instant, LineIndex)>,
    trials: BTreeSet<(Instant, LineIndex)>,
    /// Lines that became suspect, with the reason, or are no longer suspect.
    changed: Vec<(LineIndex, Option<String>)>,
    /// Wall-clock interval in which no price changes.
    priced: Option<(Timestamp, Timestamp)>,
    /// The time zone of all prices.
    zone: TimeZone,
}

impl Lines {
    pub(super) fn new(terms: Vec<LineTerms>, routes: Vec<BTreeSet<Name>>, zone: TimeZone) -> Self {
        let mut lines = Self {
            lines: Vec::new(),
            by_name: BTreeMap::new(),
            free: vec![BTreeSet::new(); routes.len() + 1],
            routes,
            free_count: 0,
            resting: BTreeSet::new(),
            trials: BTreeSet::new(),
            changed: Vec::new(),
            priced: None,
            zone,
        };
        for LineTerms {
            name,
            tariff,
            is_ring_only,
        } in terms
        {
            lines.add(name, tariff, is_ring_only);
        }
        lines
    }

    /// A line without an entry in the rules has no price, and belongs only to the route of all lines.
    pub(super) fn index(&mut self, name: &Name) -> LineIndex {
        match self.by_name.get(name) {
            Some(index) => *index,
            None => self.add(name.clone(), None, false),
        }
    }

    pub(super) fn name(&self, index: LineIndex) -> &Name {
        &self.lines[usize::from(index)].name
    }

    pub(super) fn freed(&mut self, index: LineIndex) {
        self.change(index, |line| line.is_there = true);
    }

    pub(super) fn taken(&mut self, index: LineIndex) {
        self.change(index, |line| line.is_there = false);
    }

    /// Takes the best line for a terminal. `before`: the line that worked for it last.
    pub(super) fn hand_out(
        &mut self,
        wish: Wish,
        terminal: TerminalId,
        avoided: &Avoided,
    ) -> Option<LineIndex> {
        let index = self.best(wish, |line| avoided.is_avoided(terminal, line))?;
        self.change(index, |line| {
            line.call = Some(terminal);
            // The line is not free until it reports so.
            line.is_there = false;
        });
        Some(index)
    }

    /// Whether a call of this urgency can be placed on this route.
    pub(super) fn has_free(&self, route: Route, urgency: Urgency, reserve: Reserve) -> bool {
        self.is_beyond_reserve(urgency, reserve) && !self.free[self.route_index(route)].is_empty()
    }

    /// Whether this route has a free line that the terminal does not avoid.
    pub(super) fn has_free_for(
        &self,
        route: Route,
        terminal: TerminalId,
        avoided: &Avoided,
    ) -> bool {
        let free = &self.free[self.route_index(route)];
        !avoided.has_any(terminal)
            || free
                .iter()
                .any(|(.., line)| !avoided.is_avoided(terminal, *line))
    }

    /// Whether this route has a line that the terminal does not avoid, free or not.
    pub(super) fn has_other(&self, route: Route, terminal: TerminalId, avoided: &Avoided) -> bool {
        let route = u16::try_from(self.route_index(route)).unwrap_or_default();
        let on_route = (0..)
            .zip(&self.lines)
            .filter(|(_, line)| line.routes.contains(&route));
        on_route
            .map(|(index, _)| index)
            .any(|line| !avoided.is_avoided(terminal, line))
    }

    pub(super) fn has_any_free(&self) -> bool {
        self.free_count > 0
    }

    /// Ends a call on a line. Returns whether it was one of our calls to this terminal.
    pub(super) fn ended(
        &mut self,
        index: LineIndex,
        terminal: TerminalId,
        outcome: &Outcome,
        now: Instant,
    ) -> bool {
        if self.lines[usize::from(index)].call != Some(terminal) {
            return false;
        }
        self.change(index, |line| line.call = None);
        match outcome {
            _ if outcome.retry() == Retry::LineRests => {
                self.fault(index, outcome, FAULTS_OF_A_SUSPECT, now);
            }
            Outcome::DialRefused | Outcome::Blacklisted => {
                let before = self.lines[usize::from(index)].refused;
                if before.is_some_and(|before| before != terminal) {
                    // The number is not the cause.
                    self.fault(index, outcome, 1, now);
                } else {
                    self.change(index, |line| {
                        line.refused = Some(terminal);
                        line.badness = (line.badness + BAD_BY_FAULT).min(BADNESS_MAX);
                    });
                    self.try_after(index, REST_FIRST * TRIAL_AFTER_RESTS, now);
                }
            }
            Outcome::NoCarrier | Outcome::LinkFailed(_) => {
                self.change(index, |line| {
                    line.badness = (line.badness + BAD_BY_NO_CALL).min(BADNESS_MAX);
                });
            }
            _ if is_good_call(outcome) => {
                self.change(index, |line| {
                    (line.faults, line.badness, line.refused) = (0, 0, None);
                });
                if std::mem::take(&mut self.lines[usize::from(index)].is_suspect) {
                    self.changed.push((index, None));
                }
            }
            _ => {}
        }
        true
    }

    /// Notes that a line's modem refused a number that another line has dialled.
    pub(super) fn convict(&mut self, index: LineIndex, now: Instant) {
        self.fault(index, &Outcome::DialRefused, 1, now);
    }

    /// Returns the lines that became suspect since the last call of this function, with the reason, and those that are
    /// no longer suspect.
    pub(super) fn take_changed(&mut self) -> Vec<(LineIndex, Option<String>)> {
        std::mem::take(&mut self.changed)
    }

    /// Notes a fault of the line: it rests, and is used last after that. At the given number of faults in a row it is
    /// suspect.
    fn fault(&mut self, index: LineIndex, outcome: &Outcome, suspect_at: u32, now: Instant) {
        let faults = self.lines[usize::from(index)].faults;
        let rest = REST_FIRST
            .saturating_mul(1 << faults.min(10))
            .min(REST_LONGEST);
        self.change(index, |line| {
            line.rests_until = Some(now + rest);
            line.faults += 1;
            line.badness = (line.badness + BAD_BY_FAULT).min(BADNESS_MAX);
        });
        self.resting.insert((now + rest, index));
        self.try_after(index, rest * TRIAL_AFTER_RESTS, now);
        let line = &mut self.lines[usize::from(index)];
        if line.faults >= suspect_at && !std::mem::replace(&mut line.is_suspect, true) {
            let why = format!("calls fail on it for a fault of its own, the last: {outcome}");
            self.changed.push((index, Some(why)));
        }
    }

    fn try_after(&mut self, index: LineIndex, after: Duration, now: Instant) {
        let line = &mut self.lines[usize::from(index)];
        if let Some(before) = line.tried_at.replace(now + after) {
            self.trials.remove(&(before, index));
        }
        self.trials.insert((now + after, index));
    }

    /// Ends elapsed rests, and updates the prices.
    pub(super) fn wake(&mut self, now: Instant, wall: Timestamp) {
        while let Some(&(at, index)) = self.resting.first()
            && at <= now
        {
            self.resting.pop_first();
            // A later fault has extended the rest.
            self.change(index, |line| {
                line.rests_until = line.rests_until.filter(|until| *until > now);
            });
        }
        while let Some(&(at, index)) = self.trials.first()
            && at <= now
        {
            self.trials.pop_first();
            self.change(index, |line| (line.tried_at, line.badness) = (None, 0));
        }
        if !self
            .priced
            .is_some_and(|(from, to)| from <= wall && wall < to)
        {
            self.reprice(wall);
        }
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.resting
            .first()
            .into_iter()
            .chain(self.trials.first())
            .map(|(at, _)| *at)
            .min()
    }

    /// Time until a call on this route has its lowest price. A bulk message waits for that; where the price never
    /// changes, it waits for another call to the terminal.
    pub(super) fn until_cheap(&self, route: Route, wall: Timestamp) -> Duration {
        let wait = |line: &Line| {
            Duration::try_from(line.cheap_at.duration_since(wall)).unwrap_or_default()
        };
        let route = u16::try_from(self.route_index(route)).unwrap_or_default();
        let on_route = self
            .lines
            .iter()
            .filter(|line| line.routes.contains(&route));
        on_route.map(wait).min().unwrap_or_default()
    }

    /// The line that a terminal would get if all lines were free.
    pub(super) fn likely(&self, route: Route, before: Option<LineIndex>) -> Option<LineIndex> {
        let route = u16::try_from(self.route_index(route)).unwrap_or_default();
        let on_route = (0..)
            .zip(&self.lines)
            .filter(|(_, line)| line.routes.contains(&route));
        let rank = |index: LineIndex, line: &Line| {
            (line.badness, line.price, before != Some(index), index)
        };
        on_route
            .map(|(index, line)| rank(index, line))
            .min()
            .map(|(.., index)| index)
    }

    /// The lines of a route.
    pub(super) fn on(&self, route: Route) -> Vec<&Name> {
        let route = u16::try_from(self.route_index(route)).unwrap_or_default();
        self.lines
            .iter()
            .filter(|line| line.routes.contains(&route))
            .map(|line| &line.name)
            .collect()
    }

    fn best(&self, wish: Wish, is_avoided: impl Fn(LineIndex) -> bool) -> Option<LineIndex> {
        if !self.is_beyond_reserve(wish.urgency, wish.reserve) {
            return None;
        }
        let free = &self.free[self.route_index(wish.route)];
        let &(badness, price, index) = free.iter().find(|(.., index)| !is_avoided(*index))?;
        let as_good = wish
            .before
            .filter(|before| free.contains(&(badness, price, *before)) && !is_avoided(*before));
        Some(as_good.unwrap_or(index))
    }

    fn is_beyond_reserve(&self, urgency: Urgency, reserve: Reserve) -> bool {
        let kept = if urgency == Urgency::Urgent {
            0
        } else {
            reserve.urgent
        };
        self.free_count > kept + reserve.incoming
    }

    fn route_index(&self, route: Route) -> usize {
        usize::from(route.0).min(self.free.len() - 1)
    }

    fn add(&mut self, name: Name, tariff: Option<Arc<Tariff>>, is_ring_only: bool) -> LineIndex {
        let index = u16::try_from(self.lines.len()).expect("fewer than 65,536 lines");
        let routes = (1..)
            .zip(&self.routes)
            .filter(|(_, names)| names.contains(&name))
            .map(|(route, _)| route);
        self.lines.push(Line {
            routes: (!is_ring_only)
                .then_some(Route::ALL.0)
                .into_iter()
                .chain(routes)
                .collect(),
            name: name.clone(),
            tariff,
            is_there: false,
            call: None,
            rests_until: None,
            faults: 0,
            badness: 0,
            tried_at: None,
            refused: None,
            is_suspect: false,
            price: Micros::ZERO,
            cheap_at: Timestamp::MIN,
        });
        self.by_name.insert(name, index);
        self.priced = None;
        index
    }

    /// Changes a line and updates its place among the free lines.
    fn change(&mut self, index: LineIndex, change: impl FnOnce(&mut Line)) {
        let line = &mut self.lines[usize::from(index)];
        let (was_free, rank) = (line.is_free(), line.rank(index));
        change(line);
        let (is_free, new_rank) = (line.is_free(), line.rank(index));
        for route in &line.routes {
            let free = &mut self.free[usize::from(*route)];
            if was_free {
                free.remove(&rank);
            }
            if is_free {
                free.insert(new_rank);
            }
        }
        self.free_count = self.free_count + u32::from(is_free) - u32::from(was_free);
    }

    fn reprice(&mut self, wall: Timestamp) {
        let (now, mut until) = (wall.to_zoned(self.zone.clone()), Timestamp::MAX);
        for index in 0..u16::try_from(self.lines.len()).unwrap_or(u16::MAX) {
            let Some(tariff) = self.lines[usize::from(index)].tariff.clone() else {
                continue;
            };
            until = until.min(tariff.next_change(&now));
            let price = tariff.usual_price(&now);
            let cheap_at = match tariff.until_cheapest(&now) {
                Some(wait) => {
                    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
                    wall.checked_add(wait).unwrap_or(Timestamp::MAX)
                }
                None if price == Micros::ZERO => wall,
                None => Timestamp::MAX,
            };
            self.change(index, |line| {
                (line.price, line.cheap_at) = (price, cheap_at);
            });
        }
        self.priced = Some((wall, until));
    }
}

/// Whether a call shows that a line works.
fn is_good_call(outcome: &Outcome) -> bool {
    let is_connected = matches!(
        outcome,
        Outcome::Completed
            | Outcome::MessagesRefused { .. }
            | Outcome::PutOff { .. }
            | Outcome::Idle(_)
            | Outcome::Replaced
            | Outcome::AllowanceSpent
    );
    // A ring-only line gives no further evidence.
    is_connected || *outcome == Outcome::Rung
}

/// What a terminal requires of a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) route: Route,
    pub(super) urgency: Urgency,
    pub(super) reserve: Reserve,
    pub(super) before: Option<LineIndex>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMINAL: TerminalId = TerminalId::from_octets([1; 8]);

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn noon() -> Timestamp {
        "2026-11-24T12:00:00Z".parse().unwrap()
    }

    fn terms(text: &str, price: &str) -> LineTerms {
        let tariff = format!("name = \"t\"\n[[window]]\nunit_ms = 60000\nprice = \"{price}\"");
        LineTerms {
            name: name(text),
            tariff: Some(Arc::new(toml::from_str(&tariff).unwrap())),
            is_ring_only: false,
        }
    }

    fn wish(route: u16) -> Wish {
        Wish {
            route: Route(route),
            urgency: Urgency::Normal,
            reserve: Reserve::default(),
            before: None,
        }
    }

    fn free(terms: Vec<LineTerms>, routes: Vec<BTreeSet<Name>>) -> (Lines, Instant) {
        let now = Instant::now();
        let mut lines = Lines::new(terms, routes, TimeZone::UTC);
        lines.wake(now, noon());
        for index in 0..u16::try_from(lines.lines.len()).unwrap() {
            lines.freed(index);
        }
        (lines, now)
    }

    #[test]
    fn the_cheapest_line_goes_first_and_a_bad_one_last() {
        let (mut lines, now) = free(vec![terms("dear", "10"), terms("cheap", "2")], vec![]);
        assert_eq!(
            lines.hand_out(wish(0), TERMINAL, &Avoided::default()),
            Some(1)
        );
        lines.ended(1, TERMINAL, &Outcome::NoCarrier, now);
        lines.freed(1);
        assert_eq!(
            lines.hand_out(wish(0), TERMINAL, &Avoided::default()),
            Some(0),
            "the cheap one brought no call"
        );
    }

    #[test]
    fn of_lines_as_good_the_one_that_worked_before_is_taken() {
        let (mut lines, _) = free(
            vec![terms("a", "2"), terms("b", "2"), terms("c", "9")],
            vec![],
        );
        assert_eq!(
            lines.best(
                Wish {
                    before: Some(1),
                    ..wish(0)
                },
                |_| false
            ),
            Some(1)
        );
        assert_eq!(
            lines.best(
                Wish {
                    before: Some(2),
                    ..wish(0)
                },
                |_| false
            ),
            Some(0),
            "not a dearer one"
        );
        lines.taken(1);
        assert_eq!(
            lines.best(
                Wish {
                    before: Some(1),
                    ..wish(0)
                },
                |_| false
            ),
            Some(0)
        );
    }

    #[test]
    fn a_line_without_dial_tone_rests_longer_each_time() {
        let (mut lines, mut now) = free(vec![terms("a", "2")], vec![]);
        for rest in [30, 60, 120, 240, 480, 900, 900] {
            assert_eq!(
                lines.hand_out(wish(0), TERMINAL, &Avoided::default()),
                Some(0)
            );
            lines.ended(0, TERMINAL, &Outcome::NoDialTone, now);
            lines.freed(0);
            assert_eq!(lines.hand_out(wish(0), TERMINAL, &Avoided::default()), None);
            assert_eq!(lines.next_wake(), Some(now + Duration::from_secs(rest)));
            now += Duration::from_secs(rest);
            lines.wake(now, noon());
        }
    }

    #[test]
    fn a_line_with_a_fault_is_kept_for_last_tried_again_and_good_again_after_a_good_call() {
        let (mut lines, start) = free(vec![terms("a", "2"), terms("b", "2")], vec![]);
        let first = |lines: &Lines| lines.best(wish(0), |_| false);
        let fail = |lines: &mut Lines, now| {
            lines.change(0, |line| line.call = Some(TERMINAL));
            lines.ended(0, TERMINAL, &Outcome::LineInUse, now);
            lines.freed(0);
            lines.take_changed()
        };
        assert_eq!(fail(&mut lines, start), [], "once is a glitch");
        assert_eq!(first(&lines), Some(1));
        lines.wake(start + REST_FIRST, noon());
        assert_eq!(first(&lines), Some(1), "it is free, and the last");
        lines.taken(1);
        assert_eq!(
            first(&lines),
            Some(0),
            "but it is used where there is no other"
        );
        lines.freed(1);
        let tried = start + REST_FIRST * TRIAL_AFTER_RESTS;
        lines.wake(tried, noon());
        assert_eq!(first(&lines), Some(0), "it is tried again");
        let changed = fail(&mut lines, tried);
        assert!(
            matches!(&changed[..], [(0, Some(why))] if why.ends_with("line in use")),
            "{changed:?}"
        );
        lines.wake(tried + REST_LONGEST * TRIAL_AFTER_RESTS, noon());
        lines.change(0, |line| line.call = Some(TERMINAL));
        lines.ended(0, TERMINAL, &Outcome::Completed, tried);
        assert_eq!(lines.take_changed(), [(0, None)]);
    }

    #[test]
    fn a_modem_that_refuses_two_terminals_numbers_is_suspect_and_one_number_is_not_the_lines_fault()
    {
        let (mut lines, now) = free(vec![terms("a", "2")], vec![]);
        let other = TerminalId::from_octets([2; 8]);
        for (terminal, suspects) in [(TERMINAL, 0), (TERMINAL, 0), (other, 1)] {
            lines.change(0, |line| line.call = Some(terminal));
            lines.ended(0, terminal, &Outcome::DialRefused, now);
            assert_eq!(lines.take_changed().len(), suspects);
        }
    }

    #[test]
    fn a_route_has_its_own_lines_only() {
        let routes = vec![BTreeSet::from([name("b")])];
        let (mut lines, _) = free(vec![terms("a", "2"), terms("b", "9")], routes);
        assert_eq!(
            lines.hand_out(wish(1), TERMINAL, &Avoided::default()),
            Some(1)
        );
        assert_eq!(lines.hand_out(wish(1), TERMINAL, &Avoided::default()), None);
        assert_eq!(
            lines.hand_out(wish(0), TERMINAL, &Avoided::default()),
            Some(0)
        );
    }

    #[test]
    fn reserved_lines_are_kept_for_urgent_and_for_incoming_calls() {
        let (mut lines, _) = free(
            vec![terms("a", "2"), terms("b", "2"), terms("c", "2")],
            vec![],
        );
        let normal = Wish {
            reserve: Reserve {
                urgent: 1,
                incoming: 1,
            },
            ..wish(0)
        };
        let urgent = Wish {
            urgency: Urgency::Urgent,
            ..normal
        };
        assert!(
            lines
                .hand_out(normal, TERMINAL, &Avoided::default())
                .is_some()
        );
        assert!(
            lines
                .hand_out(normal, TERMINAL, &Avoided::default())
                .is_none()
        );
        assert!(
            lines
                .hand_out(urgent, TERMINAL, &Avoided::default())
                .is_some()
        );
        assert!(
            lines
                .hand_out(urgent, TERMINAL, &Avoided::default())
                .is_none(),
            "the last is for who calls"
        );
    }
    #[test]
    fn a_cheap_hour_is_waited_for_by_the_clock_on_the_wall_on_the_night_on_which_it_is_set() {
        let tariff = "name = \"t\"\n[[window]]\nfrom = \"03:00\"\nto = \"05:00\"\nunit_ms = 60000\nprice = \"1\"
            [[window]]\nunit_ms = 60000\nprice = \"9\"";
        let terms = LineTerms {
            name: name("l"),
            tariff: Some(Arc::new(toml::from_str(tariff).unwrap())),
            is_ring_only: false,
        };
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let mut lines = Lines::new(vec![terms], vec![], zone);
        for (now, cheap) in [
            ("2027-03-28T00:30:00+01:00", "2027-03-28T03:00:00+02:00"),
            ("2027-03-28T04:59:59+02:00", "2027-03-28T04:59:59+02:00"),
            ("2027-03-28T05:00:00+02:00", "2027-03-29T03:00:00+02:00"),
            ("2027-10-31T00:30:00+02:00", "2027-10-31T03:00:00+01:00"),
            ("2027-10-30T12:00:00+02:00", "2027-10-31T03:00:00+01:00"),
        ] {
            let (now, cheap): (Timestamp, Timestamp) =
                (now.parse().unwrap(), cheap.parse().unwrap());
            lines.wake(Instant::now(), now);
            let wait = SignedDuration::try_from(lines.until_cheap(Route::ALL, now)).unwrap();
            assert_eq!(now + wait, cheap, "{now}");
        }
    }
}
