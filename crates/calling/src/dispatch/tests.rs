use std::sync::Arc;

use jiff::Timestamp;

use super::*;
use model::outcome::UnderWay;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Both clocks from a Tuesday's noon on.
#[derive(Clone, Copy)]
struct Clock {
    start: Instant,
    passed: Duration,
    /// How far the wall clock is off.
    jumped: SignedDuration,
}

impl Clock {
    fn now(self) -> Moment {
        let noon: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let passed = SignedDuration::try_from(self.passed).unwrap() + self.jumped;
        Moment { at: self.start + self.passed, wall: noon + passed }
    }
}

struct Desk {
    dispatch: Dispatch,
    clock: Clock,
    wake: Option<Instant>,
}

fn rules() -> Rules {
    let redials = RedialRules { within: Duration::ZERO, in_all: 200, ..RedialRules::default() };
    Rules::new(RetryRules { first: 60 * SECOND, longest: 600 * SECOND, redials, session_wait: 120 * SECOND })
}

fn terminal(number: u8) -> TerminalId {
    TerminalId::from_octets([number; 8])
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A line by name, and `@` for no line.
fn via(text: &str) -> Via {
    if text == "@" { Via::Internet } else { Via::Line(name(text)) }
}

fn message(number: u8) -> MessageId {
    MessageId::from_octets([number; 16])
}

fn demand(number: u8, urgency: Urgency) -> Demand {
    Demand { terminal: terminal(number), conditions: Some(Arc::default()), urgency, deadline: None }
}

fn call(number: u8, line: &str) -> Output {
    Output::PlaceCall { terminal: terminal(number), line: name(line) }
}

impl Desk {
    fn new(rules: Rules, lines: &[&str]) -> Self {
        let clock = Clock { start: Instant::now() + 1000 * HOUR, passed: Duration::ZERO, jumped: SignedDuration::ZERO };
        let mut desk = Self { dispatch: Dispatch::new(rules, 1), clock, wake: None };
        for line in lines {
            assert_eq!(desk.feed(Input::LineFree(name(line))), []);
        }
        desk
    }

    fn feed(&mut self, input: Input) -> Vec<Output> {
        self.dispatch.handle(input, self.clock.now());
        let mut wanted = Vec::new();
        loop {
            match self.dispatch.poll_output() {
                Output::Timeout { at } => {
                    self.wake = at;
                    return wanted;
                }
                output => wanted.push(output),
            }
        }
    }

    fn due(&mut self, number: u8) -> Vec<Output> {
        self.feed(Input::Due(demand(number, Urgency::Normal)))
    }

    fn ended(&mut self, number: u8, line: &str, outcome: Outcome) -> Vec<Output> {
        self.feed(Input::Ended { terminal: terminal(number), via: via(line), outcome })
    }

    fn free(&mut self, line: &str) -> Vec<Output> {
        self.feed(Input::LineFree(name(line)))
    }

    fn connected(&mut self, number: u8, line: &str) -> Vec<Output> {
        self.feed(Input::Connected { terminal: terminal(number), via: via(line) })
    }

    fn pass(&mut self, time: Duration) -> Vec<Output> {
        self.clock.passed += time;
        self.feed(Input::Deadline)
    }

    /// Sleeps until dispatch wants to be woken; how long that was, and what it wants then.
    fn until_woken(&mut self) -> (Duration, Vec<Output>) {
        let time = self.wake.expect("it wants to be woken") - self.clock.now().at;
        (time, self.pass(time))
    }

    fn why(&self, number: u8) -> Why {
        self.dispatch.explain(terminal(number), self.clock.now()).why
    }
}

fn lost(number: u8, received_before: u32) -> Outcome {
    Outcome::SessionLost {
        why: "lost".into(),
        delivering: Some(UnderWay { messages: vec![message(number)], received_before, ..UnderWay::default() }),
    }
}

#[test]
fn a_terminal_that_was_rung_is_left_alone_until_it_comes_or_its_time_is_over() {
    let ringer = LineTerms { name: name("r"), tariff: None, is_ring_only: true };
    let only = Rules { lines: vec![ringer], routes: vec![BTreeSet::from([name("r")])], ..rules() };
    let mut desk = Desk::new(only, &["r"]);
    assert_eq!(desk.due(1), [], "a line that only rings is for those who name it");
    let conditions = Conditions { route: Route(1), ..Conditions::default() };
    let named = Demand { conditions: Some(Arc::new(conditions)), ..demand(2, Urgency::Normal) };
    assert_eq!(desk.feed(Input::Due(named)), [call(2, "r")]);
    assert_eq!(desk.ended(2, "r", Outcome::Rung), []);
    assert_eq!(desk.free("r"), []);
    assert_eq!(desk.why(2), Why::Rest(Rest::Session));
    assert_eq!(desk.pass(119 * SECOND), []);
    assert_eq!(desk.pass(SECOND), [Output::NoSession(terminal(2))]);
    assert_eq!(desk.why(2), Why::Rest(Rest::BackingOff));
    assert_eq!(desk.until_woken().1, [call(2, "r")]);
    desk.ended(2, "r", Outcome::Rung);
    assert_eq!(desk.connected(2, "@"), [Output::Deliver(terminal(2))]);
    assert_eq!(desk.ended(2, "@", Outcome::Completed), []);
    assert_eq!(desk.pass(HOUR), [], "it has come");
}

#[test]
fn fifty_messages_for_a_terminal_are_one_call_and_none_if_it_is_connected() {
    let mut desk = Desk::new(rules(), &["a", "b"]);
    let calls: Vec<_> = (0..50).flat_map(|_| desk.due(1)).collect();
    assert_eq!(calls, [call(1, "a")]);
    desk.connected(2, "b");
    let wanted: Vec<_> = (0..50).flat_map(|_| desk.due(2)).collect();
    assert_eq!(wanted, vec![Output::Deliver(terminal(2)); 50]);
}

#[test]
fn what_is_told_just_before_the_connected_notice_is_delivered_on_that_call() {
    for lines in [&["a"][..], &[]] {
        let mut desk = Desk::new(rules(), lines);
        desk.due(1);
        assert_eq!(desk.connected(1, "a"), [Output::Deliver(terminal(1))]);
    }
}

#[test]
fn terminals_wait_for_a_line_and_a_line_takes_one_call() {
    let mut desk = Desk::new(rules(), &["a"]);
    assert_eq!(desk.due(1), [call(1, "a")]);
    assert_eq!(desk.due(2), []);
    assert_eq!(desk.why(2), Why::Line { before: 0 });
    assert_eq!(desk.ended(1, "a", Outcome::Completed), []);
    assert_eq!(desk.free("a"), [call(2, "a")]);
}

#[test]
fn a_line_that_was_taken_is_not_handed_out() {
    let mut desk = Desk::new(rules(), &["a"]);
    desk.feed(Input::LineTaken(name("a")));
    assert_eq!(desk.due(1), []);
}

#[test]
fn a_failed_call_is_retried_after_a_pause_that_doubles_up_to_the_longest() {
    let mut desk = Desk::new(rules(), &["a"]);
    assert_eq!(desk.due(1), [call(1, "a")]);
    for longest in [60, 120, 240, 480, 600, 600] {
        assert_eq!(desk.ended(1, "a", Outcome::NoAnswer), []);
        desk.free("a");
        assert_eq!(desk.due(1), [], "due again does not hurry a retry");
        assert_eq!(desk.feed(Input::Due(demand(1, Urgency::Urgent))), [], "nor does urgency");
        let (pause, wanted) = desk.until_woken();
        assert!(pause <= longest * SECOND && pause >= longest * SECOND * 4 / 5, "{pause:?} for {longest}");
        assert_eq!(wanted, [call(1, "a")]);
    }
}

#[test]
fn each_class_of_outcome_has_its_pause() {
    let pause = |outcome: Outcome| {
        let mut desk = Desk::new(rules(), &["a"]);
        desk.due(1);
        desk.ended(1, "a", outcome);
        desk.free("a");
        let mut slept = Duration::ZERO;
        while desk.why(1) != Why::Calling {
            slept += desk.until_woken().0; // the clocks are compared meanwhile
        }
        slept
    };
    for outcome in [Outcome::Busy, Outcome::NoAnswer, Outcome::NoCarrier, Outcome::LinkFailed("x".into()), lost(1, 0)] {
        assert!(pause(outcome.clone()) <= 60 * SECOND, "{outcome}");
    }
    for outcome in [Outcome::NotProved("x".into()), Outcome::DialRefused, Outcome::NotData] {
        assert!(pause(outcome.clone()) >= 480 * SECOND, "{outcome}");
    }
    assert_eq!(pause(Outcome::RedialLimited), RedialRules::default().modem_pause);
    let budget = Outcome::BudgetSpent { budget: "x".into(), wait: HOUR };
    assert!(pause(budget.clone()) >= HOUR && pause(budget) <= HOUR + 60 * SECOND);
}

#[test]
fn a_delivered_terminal_starts_from_the_first_pause_again() {
    let mut desk = Desk::new(rules(), &["a"]);
    for outcome in [Outcome::Busy, Outcome::Busy, Outcome::Completed, Outcome::Busy] {
        desk.due(1);
        while desk.why(1) != Why::Calling {
            desk.until_woken();
        }
        desk.ended(1, "a", outcome);
        desk.free("a");
    }
    assert!(desk.until_woken().0 <= 60 * SECOND);
}

#[test]
fn a_call_that_was_not_placed_goes_to_the_next_line_without_a_pause() {
    for outcome in [Outcome::LineTaken, Outcome::NoDialTone, Outcome::LineFailed("gone".into())] {
        let mut desk = Desk::new(rules(), &["a", "b"]);
        assert_eq!(desk.due(1), [call(1, "a")]);
        assert_eq!(desk.ended(1, "a", outcome), [call(1, "b")]);
    }
}

#[test]
fn a_terminal_without_a_number_waits_until_it_connects_by_itself() {
    let mut desk = Desk::new(rules(), &["a"]);
    assert_eq!(desk.feed(Input::Due(Demand { conditions: None, ..demand(1, Urgency::Urgent) })), []);
    assert_eq!(desk.wake, None);
    desk.connected(1, "b");
    desk.ended(1, "b", lost(1, 0));
    assert_eq!(desk.until_woken().1, [], "it is not called after a connection of its own that broke");
    assert_eq!(desk.why(1), Why::Nothing);
}

#[test]
fn a_terminal_that_connects_while_backing_off_is_not_called() {
    let mut desk = Desk::new(rules(), &["a"]);
    desk.due(1);
    desk.ended(1, "a", Outcome::Busy);
    desk.free("a");
    desk.connected(1, "b");
    assert_eq!(desk.pass(HOUR), []);
}

#[test]
fn when_both_call_each_other_our_busy_call_does_not_end_the_connection() {
    let mut desk = Desk::new(rules(), &["a"]);
    desk.due(1);
    desk.connected(1, "b");
    assert_eq!(desk.ended(1, "a", Outcome::Busy), []);
    assert_eq!(desk.why(1), Why::Connected);
    assert_eq!(desk.due(1), [Output::Deliver(terminal(1))]);
    desk.ended(1, "b", Outcome::Completed);
    assert_eq!(desk.why(1), Why::Nothing);
}

#[test]
fn while_our_call_is_still_ending_the_terminal_is_not_called_again() {
    let mut desk = Desk::new(rules(), &["a", "c"]);
    desk.due(1);
    desk.connected(1, "b");
    desk.ended(1, "b", Outcome::Completed);
    assert_eq!(desk.due(1), [], "the call on line a is not over");
    desk.ended(1, "a", Outcome::Busy);
    assert_eq!(desk.until_woken().1, [call(1, "c")]);
}

#[test]
fn urgent_goes_first_for_lines_and_a_queue_is_served_in_order() {
    let mut desk = Desk::new(rules(), &[]);
    desk.feed(Input::Due(demand(5, Urgency::Bulk)));
    for number in [3, 1, 2] {
        desk.due(number);
    }
    desk.feed(Input::Due(demand(4, Urgency::Urgent)));
    desk.feed(Input::Due(demand(2, Urgency::Urgent)));
    let order: Vec<_> = ["a", "b", "c", "d", "e"].iter().flat_map(|line| desk.free(line)).collect();
    assert_eq!(order, [call(2, "a"), call(4, "b"), call(3, "c"), call(1, "d"), call(5, "e")]);
}

fn with_night_tariff() -> Rules {
    let tariff = "name = \"t\"\n[[window]]\nfrom = \"08:00\"\nto = \"23:00\"\nunit_ms = 60000\nprice = \"10\"\n\
                  [[window]]\nunit_ms = 60000\nprice = \"5\"";
    let tariff = Arc::new(toml::from_str(tariff).unwrap());
    Rules { lines: vec![LineTerms { name: name("a"), tariff: Some(tariff), is_ring_only: false }], ..rules() }
}

#[test]
fn bulk_waits_for_the_cheap_window_and_is_called_when_it_opens() {
    let mut desk = Desk::new(with_night_tariff(), &["a"]);
    assert_eq!(desk.feed(Input::Due(demand(1, Urgency::Bulk))), []);
    assert_eq!(desk.why(1), Why::Rest(Rest::Price));
    let mut slept = Duration::ZERO;
    loop {
        let (time, wanted) = desk.until_woken();
        slept += time;
        if !wanted.is_empty() {
            break assert_eq!(wanted, [call(1, "a")]);
        }
    }
    assert_eq!(slept, 11 * HOUR);
}

#[test]
fn bulk_rides_along_on_a_call_for_something_else_and_waits_no_longer_than_its_deadline() {
    let mut desk = Desk::new(with_night_tariff(), &["a"]);
    desk.feed(Input::Due(demand(1, Urgency::Bulk)));
    assert_eq!(desk.due(1), [call(1, "a")], "one call for both");
    desk.ended(1, "a", Outcome::Completed);
    desk.free("a");
    let deadline = Some(desk.clock.now().wall + SignedDuration::from_hours(1));
    desk.feed(Input::Due(Demand { deadline, ..demand(2, Urgency::Bulk) }));
    assert_eq!(desk.pass(HOUR - DEADLINE_MARGIN), [call(2, "a")]);
}

#[test]
fn bulk_at_a_price_that_never_changes_waits_for_a_ride_no_longer_than_is_set() {
    let tariff: crate::ledger::Tariff = toml::from_str("name = \"t\"\nsetup_fee = \"1\"").unwrap();
    let lines = vec![LineTerms { name: name("a"), tariff: Some(Arc::new(tariff)), is_ring_only: false }];
    let mut desk = Desk::new(Rules { lines, ..rules() }, &["a"]);
    assert_eq!(desk.feed(Input::Due(demand(1, Urgency::Bulk))), []);
    assert_eq!(desk.pass(24 * HOUR - SECOND), []);
    assert_eq!(desk.feed(Input::Due(demand(1, Urgency::Bulk))), [], "and a second one rides with it");
    assert_eq!(desk.pass(SECOND), [call(1, "a")]);
}

#[test]
fn nobody_is_called_outside_the_hours_however_urgent() {
    let mut desk = Desk::new(rules(), &["a"]);
    let hours = line::Hours(vec!["mon-fri 08:00-11:00".parse().unwrap()]);
    let closed = ["2026-11-25".parse().unwrap()].into();
    let conditions = Some(Arc::new(Conditions { hours, closed, route: Route::ALL }));
    assert_eq!(desk.feed(Input::Due(Demand { conditions, ..demand(1, Urgency::Urgent) })), []);
    assert_eq!(desk.why(1), Why::Rest(Rest::Hours));
    let next = desk.dispatch.explain(terminal(1), desk.clock.now()).next.unwrap();
    assert_eq!(next - desk.clock.now().at, 44 * HOUR, "over the closed day");
    let mut slept = Duration::ZERO;
    while desk.why(1) != Why::Calling {
        slept += desk.until_woken().0;
    }
    assert_eq!(slept, 44 * HOUR);
}

#[test]
fn a_wall_clock_that_jumps_is_seen_and_brings_no_call_outside_the_hours() {
    let open_at = |window: &str, jump: i64| {
        let mut desk = Desk::new(rules(), &["a"]);
        let hours = line::Hours(vec![window.parse().unwrap()]);
        let conditions = Some(Arc::new(Conditions { hours, ..Conditions::default() }));
        desk.feed(Input::Due(Demand { conditions, ..demand(1, Urgency::Normal) }));
        desk.clock.jumped = SignedDuration::from_hours(jump);
        let mut slept = Duration::ZERO;
        while desk.why(1) != Why::Calling {
            slept += desk.until_woken().0;
        }
        let local = desk.clock.now().wall.to_zoned(TimeZone::UTC);
        assert!(local.hour() >= 14 && local.hour() < 16, "{local}");
        slept
    };
    assert!(open_at("14:00-16:00", 3) <= LOOK_INTERVAL, "its hours have begun");
    assert_eq!(open_at("14:00-16:00", -1), 3 * HOUR);
}

#[test]
fn who_waits_for_a_new_budget_is_called_within_a_minute_of_a_jump_of_the_wall_clock() {
    for jump in [6, -6, 24 * 3650] {
        let mut desk = Desk::new(rules(), &["a"]);
        desk.due(1);
        let budget = Outcome::BudgetSpent { budget: "the server".into(), wait: 12 * HOUR };
        desk.ended(1, "a", budget);
        desk.free("a");
        assert_eq!(desk.why(1), Why::Rest(Rest::Budget));
        assert_eq!(desk.until_woken(), (LOOK_INTERVAL, vec![]), "nothing has jumped");
        desk.clock.jumped = SignedDuration::from_hours(jump);
        assert_eq!(desk.until_woken(), (LOOK_INTERVAL, vec![call(1, "a")]), "the ledger says whether there is one");
    }
}

#[test]
fn a_clock_that_is_set_a_little_again_and_again_is_seen_once_it_is_a_minute_off() {
    let mut desk = Desk::new(rules(), &["a"]);
    desk.due(1);
    desk.ended(1, "a", Outcome::BudgetSpent { budget: "the server".into(), wait: 12 * HOUR });
    desk.free("a");
    let mut wanted = Vec::new();
    for step in 1..=4 {
        desk.clock.jumped = SignedDuration::from_secs(-20 * step);
        wanted.push(desk.pass(10 * SECOND));
    }
    assert_eq!(wanted, [vec![], vec![], vec![], vec![call(1, "a")]]);
}

#[test]
fn hours_open_by_the_clock_on_the_wall_on_the_night_on_which_it_is_set() {
    let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    let noon: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
    for (now, window, opens) in [
        ("2027-03-28T01:59:45+01:00", "mon-sun 02:00-03:00", "2027-03-28T01:00:00Z"),
        ("2027-03-28T01:59:30+01:00", "sun 03:01-03:20", "2027-03-28T01:01:00Z"),
        ("2027-10-31T02:59:45+02:00", "mon-sun 03:00-04:00", "2027-10-31T02:00:00Z"),
    ] {
        let mut desk = Desk::new(Rules { zone: zone.clone(), ..rules() }, &[]);
        desk.clock.jumped = now.parse::<Timestamp>().unwrap().duration_since(noon);
        let begin = desk.clock.now();
        desk.free("a");
        let hours = line::Hours(vec![window.parse().unwrap()]);
        let conditions = Some(Arc::new(Conditions { hours, ..Conditions::default() }));
        desk.feed(Input::Due(Demand { conditions, ..demand(1, Urgency::Normal) }));
        let planned = desk.dispatch.explain(terminal(1), begin).next.unwrap();
        let opens = Duration::try_from(opens.parse::<Timestamp>().unwrap().duration_since(begin.wall)).unwrap();
        assert_eq!(planned - begin.at, opens, "planned: {now} {window}");
        while desk.why(1) != Why::Calling {
            desk.until_woken();
        }
        assert_eq!(desk.clock.now().at - begin.at, opens, "called: {now} {window}");
    }
}

#[test]
fn a_backlog_is_called_at_the_rate_that_is_set() {
    let storm = StormRules { calls_per_minute: 30, burst: 5, calls_at_once: 40 };
    let lines: Vec<String> = (0..100).map(|line| format!("l{line}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let mut desk = Desk::new(Rules { storm, ..rules() }, &lines);
    let mut calls: Vec<Duration> = (0..200).flat_map(|number| desk.due(number)).map(|_| Duration::ZERO).collect();
    assert_eq!(calls.len(), 5);
    assert_eq!(desk.why(199), Why::Storm);
    while desk.wake.is_some() {
        let (_, wanted) = desk.until_woken();
        calls.extend(wanted.iter().map(|_| desk.clock.passed));
    }
    assert_eq!(calls.len(), 40, "no more at once");
    assert_eq!(*calls.last().unwrap(), 35 * 2 * SECOND);
}

#[test]
fn a_number_that_does_not_answer_is_redialled_as_the_strictest_rule_allows() {
    let redials = RedialRules::default();
    let retry = RetryRules { first: SECOND, longest: SECOND, redials, session_wait: SECOND };
    let mut desk = Desk::new(Rules { retry, ..rules() }, &["a"]);
    let mut calls: Vec<Duration> = vec![];
    desk.due(1);
    while calls.len() < 20 {
        if desk.why(1) == Why::Calling {
            calls.push(desk.clock.passed);
            desk.ended(1, "a", Outcome::NoAnswer);
            desk.free("a");
        } else {
            desk.until_woken();
        }
    }
    for four in calls.windows(4) {
        assert!(four[3] - four[0] >= redials.within, "{four:?}");
    }
    assert!(calls[16] - calls[15] >= redials.rest, "16 calls are the first and 15 redials");
}

#[test]
fn calls_from_before_the_start_count_for_the_redial_rule() {
    let mut desk =
        Desk::new(Rules { retry: RetryRules { redials: RedialRules::default(), ..rules().retry }, ..rules() }, &["a"]);
    for ago in [100, 60, 20] {
        desk.feed(Input::CalledBefore { terminal: terminal(1), ago: ago * SECOND });
    }
    assert_eq!(desk.due(1), []);
    assert_eq!(desk.why(1), Why::Rest(Rest::Redials));
    assert_eq!(desk.until_woken(), (80 * SECOND, vec![call(1, "a")]));
}

#[test]
fn a_message_that_breaks_sessions_is_left_out_and_the_others_wait_one_try() {
    let mut desk = Desk::new(rules(), &["a"]);
    desk.due(1);
    let mut wanted = desk.ended(1, "a", lost(7, 1));
    assert_eq!(desk.dispatch.suspects(terminal(1)), [message(7)], "it is delivered last from now on");
    for _ in 0..2 {
        assert_eq!(wanted, []);
        desk.free("a");
        desk.until_woken();
        wanted = desk.ended(1, "a", lost(7, 1));
    }
    assert_eq!(wanted, [Output::Quarantine { terminal: terminal(1), message: message(7) }]);
    assert_eq!(desk.dispatch.suspects(terminal(1)), []);
}

#[test]
fn a_silent_terminal_raises_one_alarm_that_its_next_connection_clears() {
    let mut desk = Desk::new(rules(), &[]);
    let silent = |is_raised| Output::Silent { terminal: terminal(1), is_raised };
    desk.feed(Input::Watch { terminal: terminal(1), after: Some(2 * HOUR), silent_for: HOUR });
    assert_eq!(desk.until_woken(), (HOUR, vec![silent(true)]));
    assert_eq!(desk.pass(10 * HOUR), []);
    assert_eq!(desk.connected(1, "a"), [silent(false), Output::Deliver(terminal(1))]);
}

#[test]
fn a_terminal_whose_calls_failed_for_days_waits_for_the_operator() {
    let mut desk = Desk::new(rules(), &["a"]);
    desk.due(1);
    desk.ended(1, "a", Outcome::LoopBroken);
    desk.free("a");
    assert_eq!((desk.why(1), desk.pass(1000 * HOUR)), (Why::Paused, vec![]));
    assert_eq!(desk.due(1), []);
    assert_eq!(desk.feed(Input::Resume(terminal(1))), [call(1, "a")]);
}

#[test]
fn a_terminal_whose_failures_were_mended_is_called_at_once_and_no_oftener_than_it_may() {
    let mut desk = Desk::new(rules(), &["a"]);
    assert_eq!(desk.feed(Input::Mended(terminal(1))), []);
    desk.free("a");
    for _ in 0..3 {
        desk.due(1);
        desk.ended(1, "a", Outcome::NotProved("a new key".into()));
        desk.free("a");
        assert_eq!(desk.why(1), Why::Rest(Rest::BackingOff));
        assert_eq!(desk.pass(HANG_UP_GUARD), []);
        assert_eq!(desk.feed(Input::Mended(terminal(1))), [call(1, "a")], "it answered: that is no redial");
    }
    let retry = RetryRules { redials: RedialRules::default(), ..rules().retry };
    let mut busy = Desk::new(Rules { retry, ..rules() }, &["a"]);
    busy.free("a");
    busy.due(1);
    for _ in 0..2 {
        busy.ended(1, "a", Outcome::Busy);
        busy.free("a");
        busy.feed(Input::Mended(terminal(1)));
    }
    busy.ended(1, "a", Outcome::Busy);
    busy.free("a");
    assert_eq!((busy.feed(Input::Mended(terminal(1))), busy.why(1)), (vec![], Why::Rest(Rest::Redials)));
}

#[test]
fn a_terminal_is_called_on_its_own_lines_and_keeps_nobody_waiting_for_others() {
    let routes = vec![[name("b")].into()];
    let mut desk = Desk::new(Rules { routes, ..rules() }, &[]);
    desk.feed(Input::LineTaken(name("b")));
    let conditions = Some(Arc::new(Conditions { route: Route(1), ..Conditions::default() }));
    desk.feed(Input::Due(Demand { conditions, ..demand(1, Urgency::Urgent) }));
    desk.due(2);
    assert_eq!(desk.free("a"), [call(2, "a")]);
    assert_eq!(desk.free("b"), [call(1, "b")]);
}

#[test]
fn the_same_seed_and_inputs_give_the_same_outputs() {
    let run = || {
        let mut desk = Desk::new(rules(), &["a", "b"]);
        let mut seen: Vec<Output> = (0..9).flat_map(|number| desk.due(number)).collect();
        for number in 0..9 {
            for line in ["a", "b"] {
                seen.extend(desk.ended(number, line, Outcome::Busy));
                seen.extend(desk.free(line));
            }
            seen.extend(desk.pass(37 * SECOND));
        }
        seen
    };
    assert_eq!(run(), run());
}

#[test]
fn a_paused_terminal_is_not_called_whatever_it_waited_for_and_is_called_again_when_it_is_resumed() {
    // In the queue, for it has no line; backing off; and while it is being called.
    let mut desk = Desk::new(rules(), &[]);
    desk.due(1);
    desk.feed(Input::Pause(terminal(1)));
    assert_eq!(desk.free("a"), []);
    assert_eq!(desk.due(1), [call(1, "a")], "resumed: what waits is due");

    let mut desk = Desk::new(rules(), &["a"]);
    desk.due(1);
    desk.ended(1, "a", Outcome::Busy);
    desk.free("a");
    desk.feed(Input::Pause(terminal(1)));
    assert_eq!(desk.pass(HOUR), []);

    let mut desk = Desk::new(rules(), &["a"]);
    desk.due(1);
    desk.feed(Input::Pause(terminal(1)));
    assert_eq!(desk.ended(1, "a", Outcome::Busy), []);
    desk.free("a");
    desk.feed(Input::Due(Demand { conditions: None, ..demand(1, Urgency::Urgent) }));
    assert_eq!(desk.pass(HOUR), [], "and what comes for it causes no call");
    assert_eq!(desk.why(1), Why::Nothing);
}

#[test]
fn a_call_that_the_operator_ended_is_followed_by_the_first_pause_and_counts_as_no_failure() {
    let mut desk = Desk::new(rules(), &["a"]);
    desk.due(1);
    desk.ended(1, "a", Outcome::EndedByOperator);
    desk.free("a");
    assert_eq!(desk.until_woken(), (60 * SECOND, vec![call(1, "a")]));
    assert_eq!(desk.dispatch.explain(terminal(1), desk.clock.now()).failures, 0);
}

#[test]
fn calls_that_only_have_to_enrol_a_terminal_are_spaced_up_to_a_day_and_a_new_invitation_ends_the_pause() {
    let mut desk = Desk::new(rules(), &["a"]);
    desk.due(1);
    let mut pauses = Vec::new();
    for _ in 0..12 {
        desk.ended(1, "a", Outcome::NotEnrolled("x".into()));
        desk.free("a");
        let (pause, wanted) = desk.until_woken();
        assert_eq!(wanted, [call(1, "a")]);
        pauses.push(pause);
    }
    let longest = 24 * HOUR;
    assert!(pauses[0] >= 480 * SECOND && pauses.iter().all(|pause| *pause <= longest), "{pauses:?}");
    assert!(pauses[8..].iter().all(|pause| *pause >= longest.mul_f64(0.8)), "{pauses:?}");
    desk.ended(1, "a", Outcome::NotEnrolled("x".into()));
    desk.free("a");
    desk.pass(HANG_UP_GUARD);
    assert_eq!(desk.feed(Input::Mended(terminal(1))), [call(1, "a")]);
    desk.ended(1, "a", Outcome::NotEnrolled("x".into()));
    desk.free("a");
    assert!(desk.until_woken().0 <= 600 * SECOND, "counted anew");
}

#[test]
fn a_pool_with_one_bad_modem_goes_on_with_the_others_at_once_and_suspects_it() {
    for (outcome, is_convicted) in [
        (Outcome::DialRefused, true),
        (Outcome::Blacklisted, true),
        (Outcome::RedialLimited, false),
        (Outcome::LineInUse, false),
        (Outcome::NoDialTone, false),
        (Outcome::LineFailed("the modem does not answer ATD".into()), false),
    ] {
        let mut desk = Desk::new(rules(), &["a", "b"]);
        assert_eq!(desk.due(1), [call(1, "a")]);
        assert_eq!(desk.ended(1, "a", outcome.clone()), [call(1, "b")], "{outcome}");
        desk.free("a");
        let told = desk.ended(1, "b", Outcome::Completed);
        let is_suspect = matches!(&told[..], [Output::LineSuspect { line, why: Some(_) }] if *line == name("a"));
        assert_eq!(is_suspect, is_convicted, "{outcome}: {told:?}");
        desk.free("b");
        // The terminal is not to blame, and its next call begins on the good line.
        desk.pass(HANG_UP_GUARD);
        assert_eq!(desk.due(1), [call(1, "b")], "{outcome}");
        assert_eq!(desk.dispatch.explain(terminal(1), desk.clock.now()).failures, 0, "{outcome}");
    }
}

#[test]
fn a_line_that_fails_again_when_it_is_tried_again_is_suspect_until_a_good_call() {
    let mut desk = Desk::new(rules(), &["a"]);
    desk.due(1);
    assert_eq!(desk.ended(1, "a", Outcome::LineInUse), []);
    desk.free("a");
    assert_eq!(desk.until_woken().1, [call(1, "a")]);
    let told = desk.ended(1, "a", Outcome::LineInUse);
    assert!(matches!(&told[..], [Output::LineSuspect { why: Some(_), .. }]), "{told:?}");
    desk.free("a");
    assert_eq!(desk.until_woken().1, [call(1, "a")]);
    let good = Output::LineSuspect { line: name("a"), why: None };
    assert_eq!(desk.ended(1, "a", Outcome::Completed), [good]);
}

#[test]
fn a_number_that_no_line_dials_is_its_own_fault_and_keeps_nobody_waiting() {
    let mut desk = Desk::new(rules(), &["a", "b"]);
    assert_eq!(desk.due(1), [call(1, "a")]);
    assert_eq!(desk.ended(1, "a", Outcome::DialRefused), [call(1, "b")]);
    desk.free("a");
    assert_eq!(desk.ended(1, "b", Outcome::DialRefused), []);
    desk.free("b");
    assert_eq!(desk.why(1), Why::Rest(Rest::BackingOff));
    assert_eq!(desk.due(2).len(), 1, "the lines are there for the others");

    // While the only free line is one that the first in the queue avoids, the next has it.
    let mut desk = Desk::new(rules(), &["a"]);
    desk.feed(Input::LineFree(name("b")));
    desk.feed(Input::LineTaken(name("b")));
    assert_eq!(desk.due(1), [call(1, "a")]);
    assert_eq!(desk.ended(1, "a", Outcome::RedialLimited), []);
    desk.due(2);
    assert_eq!(desk.free("a"), [call(2, "a")]);
    assert_eq!(desk.free("b"), [call(1, "b")]);
}

#[test]
fn a_terminal_that_does_not_come_when_it_is_rung_is_called_on_its_other_lines() {
    let terms = |line, is_ring_only| LineTerms { name: name(line), tariff: None, is_ring_only };
    let routes = vec![BTreeSet::from([name("r"), name("a")])];
    let mut desk =
        Desk::new(Rules { lines: vec![terms("r", true), terms("a", false)], routes, ..rules() }, &["r", "a"]);
    let conditions = Arc::new(Conditions { route: Route(1), ..Conditions::default() });
    let due = Input::Due(Demand { conditions: Some(conditions), ..demand(1, Urgency::Normal) });
    assert_eq!(desk.feed(due.clone()), [call(1, "r")]);
    assert_eq!(desk.ended(1, "r", Outcome::Rung), []);
    desk.free("r");
    assert_eq!(desk.pass(120 * SECOND), [Output::NoSession(terminal(1)), call(1, "a")]);
    assert_eq!(desk.ended(1, "a", Outcome::Completed), []);
    desk.free("a");

    // A wake that did not work is remembered, for a while.
    desk.pass(HANG_UP_GUARD);
    assert_eq!(desk.feed(due.clone()), [call(1, "a")]);
    desk.ended(1, "a", Outcome::Completed);
    desk.free("a");
    desk.pass(HOUR);
    assert_eq!(desk.feed(due.clone()), [call(1, "r")]);

    // One that worked is what is done next time.
    desk.ended(1, "r", Outcome::Rung);
    desk.free("r");
    desk.connected(1, "@");
    desk.ended(1, "@", Outcome::Completed);
    assert_eq!(desk.feed(due), [call(1, "r")]);
}

#[test]
fn a_session_over_the_internet_has_no_line_and_no_price() {
    let mut desk = Desk::new(with_night_tariff(), &["a"]);
    desk.connected(9, "@");
    desk.ended(9, "@", Outcome::Completed);
    assert_eq!(desk.feed(Input::Due(demand(1, Urgency::Bulk))), []);
    assert_eq!(desk.why(1), Why::Rest(Rest::Price));
    assert_eq!(desk.dispatch.likely_line(terminal(1)), Some(&name("a")));
    // A line of that name is a line like any other.
    let mut desk = Desk::new(rules(), &["internet"]);
    desk.connected(9, "@");
    assert_eq!(desk.due(1), [call(1, "internet")]);
    desk.ended(9, "@", Outcome::Completed);
    assert_eq!(desk.why(1), Why::Calling);
}

#[test]
fn a_terminal_that_has_just_hung_up_is_left_alone_until_its_modem_is_ready() {
    let mut desk = Desk::new(rules(), &["a"]);
    desk.due(1);
    desk.ended(1, "a", Outcome::Completed);
    desk.free("a");
    assert_eq!(desk.due(1), []);
    assert_eq!(desk.why(1), Why::Rest(Rest::HangingUp));
    assert_eq!(desk.until_woken(), (HANG_UP_GUARD, vec![call(1, "a")]));

    // So is one whose call the last process did not see end.
    let mut desk = Desk::new(rules(), &["a"]);
    desk.feed(Input::HungUp { terminal: terminal(1), guard: 5 * SECOND });
    assert_eq!(desk.due(1), []);
    assert_eq!(desk.until_woken(), (5 * SECOND, vec![call(1, "a")]));
}
