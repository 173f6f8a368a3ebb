mod clocks;
mod lines;

use std::sync::Arc;

use jiff::Timestamp;

use super::*;
use model::directory::Name;
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
        Moment {
            at: self.start + self.passed,
            wall: noon + passed,
        }
    }
}

struct Scene {
    dispatch: Dispatch,
    clock: Clock,
    wake: Option<Instant>,
}

fn rules() -> Rules {
    let redials = RedialRules {
        within: Duration::ZERO,
        in_all: 200,
        ..RedialRules::default()
    };
    Rules::new(RetryRules {
        first: 60 * SECOND,
        longest: 600 * SECOND,
        redials,
        session_wait: 120 * SECOND,
    })
}

fn terminal(number: u8) -> TerminalId {
    TerminalId::from_octets([number; 8])
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A line by name, and `@` for no line.
fn via(text: &str) -> Via {
    if text == "@" {
        Via::Internet
    } else {
        Via::Line(name(text))
    }
}

fn message(number: u8) -> MessageId {
    MessageId::from_octets([number; 16])
}

fn demand(number: u8, urgency: Urgency) -> Demand {
    Demand {
        terminal: terminal(number),
        conditions: Some(Arc::default()),
        urgency,
        deadline: None,
    }
}

fn call(number: u8, line: &str) -> Output {
    Output::PlaceCall {
        terminal: terminal(number),
        line: name(line),
    }
}

impl Scene {
    fn new(rules: Rules, lines: &[&str]) -> Self {
        let clock = Clock {
            start: Instant::now() + 1000 * HOUR,
            passed: Duration::ZERO,
            jumped: SignedDuration::ZERO,
        };
        let mut scene = Self {
            dispatch: Dispatch::new(rules, 1),
            clock,
            wake: None,
        };
        for line in lines {
            assert_eq!(scene.feed(Input::LineFree(name(line))), []);
        }
        scene
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
        self.feed(Input::Ended {
            terminal: terminal(number),
            via: via(line),
            outcome,
        })
    }

    fn free(&mut self, line: &str) -> Vec<Output> {
        self.feed(Input::LineFree(name(line)))
    }

    fn connected(&mut self, number: u8, line: &str) -> Vec<Output> {
        self.feed(Input::Connected {
            terminal: terminal(number),
            via: via(line),
        })
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
        self.dispatch
            .explain(terminal(number), self.clock.now())
            .why
    }
}

fn lost(number: u8, received_before: u32) -> Outcome {
    Outcome::SessionLost {
        why: "lost".into(),
        delivering: Some(UnderWay {
            messages: vec![message(number)],
            received_before,
            ..UnderWay::default()
        }),
    }
}

#[test]
fn a_terminal_that_was_rung_is_left_alone_until_it_comes_or_its_time_is_over() {
    let ringer = LineTerms {
        name: name("r"),
        tariff: None,
        is_ring_only: true,
    };
    let only = Rules {
        lines: vec![ringer],
        routes: vec![BTreeSet::from([name("r")])],
        ..rules()
    };
    let mut scene = Scene::new(only, &["r"]);
    assert_eq!(
        scene.due(1),
        [],
        "a line that only rings is for those who name it"
    );
    let conditions = Conditions {
        route: Route(1),
        ..Conditions::default()
    };
    let named = Demand {
        conditions: Some(Arc::new(conditions)),
        ..demand(2, Urgency::Normal)
    };
    assert_eq!(scene.feed(Input::Due(named)), [call(2, "r")]);
    assert_eq!(scene.ended(2, "r", Outcome::Rung), []);
    assert_eq!(scene.free("r"), []);
    assert_eq!(scene.why(2), Why::Rest(Rest::Session));
    assert_eq!(scene.pass(119 * SECOND), []);
    assert_eq!(scene.pass(SECOND), [Output::NoSession(terminal(2))]);
    assert_eq!(scene.why(2), Why::Rest(Rest::BackingOff));
    assert_eq!(scene.until_woken().1, [call(2, "r")]);
    scene.ended(2, "r", Outcome::Rung);
    assert_eq!(scene.connected(2, "@"), [Output::Deliver(terminal(2))]);
    assert_eq!(scene.ended(2, "@", Outcome::Completed), []);
    assert_eq!(scene.pass(HOUR), [], "it has come");
}

#[test]
fn fifty_messages_for_a_terminal_are_one_call_and_none_if_it_is_connected() {
    let mut scene = Scene::new(rules(), &["a", "b"]);
    let calls: Vec<_> = (0..50).flat_map(|_| scene.due(1)).collect();
    assert_eq!(calls, [call(1, "a")]);
    scene.connected(2, "b");
    let wanted: Vec<_> = (0..50).flat_map(|_| scene.due(2)).collect();
    assert_eq!(wanted, vec![Output::Deliver(terminal(2)); 50]);
}

#[test]
fn what_is_told_just_before_the_connected_notice_is_delivered_on_that_call() {
    for lines in [&["a"][..], &[]] {
        let mut scene = Scene::new(rules(), lines);
        scene.due(1);
        assert_eq!(scene.connected(1, "a"), [Output::Deliver(terminal(1))]);
    }
}

#[test]
fn terminals_wait_for_a_line_and_a_line_takes_one_call() {
    let mut scene = Scene::new(rules(), &["a"]);
    assert_eq!(scene.due(1), [call(1, "a")]);
    assert_eq!(scene.due(2), []);
    assert_eq!(scene.why(2), Why::Line { before: 0 });
    assert_eq!(scene.ended(1, "a", Outcome::Completed), []);
    assert_eq!(scene.free("a"), [call(2, "a")]);
}

#[test]
fn a_line_that_was_taken_is_not_handed_out() {
    let mut scene = Scene::new(rules(), &["a"]);
    scene.feed(Input::LineTaken(name("a")));
    assert_eq!(scene.due(1), []);
}

#[test]
fn a_failed_call_is_retried_after_a_pause_that_doubles_up_to_the_longest() {
    let mut scene = Scene::new(rules(), &["a"]);
    assert_eq!(scene.due(1), [call(1, "a")]);
    for longest in [60, 120, 240, 480, 600, 600] {
        assert_eq!(scene.ended(1, "a", Outcome::NoAnswer), []);
        scene.free("a");
        assert_eq!(scene.due(1), [], "due again does not hurry a retry");
        assert_eq!(
            scene.feed(Input::Due(demand(1, Urgency::Urgent))),
            [],
            "nor does urgency"
        );
        let (pause, wanted) = scene.until_woken();
        assert!(
            pause <= longest * SECOND && pause >= longest * SECOND * 4 / 5,
            "{pause:?} for {longest}"
        );
        assert_eq!(wanted, [call(1, "a")]);
    }
}

#[test]
fn each_class_of_outcome_has_its_pause() {
    let pause = |outcome: Outcome| {
        let mut scene = Scene::new(rules(), &["a"]);
        scene.due(1);
        scene.ended(1, "a", outcome);
        scene.free("a");
        let mut slept = Duration::ZERO;
        while scene.why(1) != Why::Calling {
            slept += scene.until_woken().0; // the clocks are compared meanwhile
        }
        slept
    };
    for outcome in [
        Outcome::Busy,
        Outcome::NoAnswer,
        Outcome::NoCarrier,
        Outcome::LinkFailed("x".into()),
        lost(1, 0),
    ] {
        assert!(pause(outcome.clone()) <= 60 * SECOND, "{outcome}");
    }
    for outcome in [
        Outcome::NotProved("x".into()),
        Outcome::DialRefused,
        Outcome::NotData,
    ] {
        assert!(pause(outcome.clone()) >= 480 * SECOND, "{outcome}");
    }
    assert_eq!(
        pause(Outcome::RedialLimited),
        RedialRules::default().modem_pause
    );
    let budget = Outcome::BudgetSpent {
        budget: "x".into(),
        wait: HOUR,
    };
    assert!(pause(budget.clone()) >= HOUR && pause(budget) <= HOUR + 60 * SECOND);
}

#[test]
fn a_delivered_terminal_starts_from_the_first_pause_again() {
    let mut scene = Scene::new(rules(), &["a"]);
    for outcome in [
        Outcome::Busy,
        Outcome::Busy,
        Outcome::Completed,
        Outcome::Busy,
    ] {
        scene.due(1);
        while scene.why(1) != Why::Calling {
            scene.until_woken();
        }
        scene.ended(1, "a", outcome);
        scene.free("a");
    }
    assert!(scene.until_woken().0 <= 60 * SECOND);
}

#[test]
fn a_call_that_was_not_placed_goes_to_the_next_line_without_a_pause() {
    for outcome in [
        Outcome::LineTaken,
        Outcome::NoDialTone,
        Outcome::LineFailed("gone".into()),
    ] {
        let mut scene = Scene::new(rules(), &["a", "b"]);
        assert_eq!(scene.due(1), [call(1, "a")]);
        assert_eq!(scene.ended(1, "a", outcome), [call(1, "b")]);
    }
}

#[test]
fn a_terminal_without_a_number_waits_until_it_connects_by_itself() {
    let mut scene = Scene::new(rules(), &["a"]);
    assert_eq!(
        scene.feed(Input::Due(Demand {
            conditions: None,
            ..demand(1, Urgency::Urgent)
        })),
        []
    );
    assert_eq!(scene.wake, None);
    scene.connected(1, "b");
    scene.ended(1, "b", lost(1, 0));
    assert_eq!(
        scene.until_woken().1,
        [],
        "it is not called after a connection of its own that broke"
    );
    assert_eq!(scene.why(1), Why::Nothing);
}

#[test]
fn a_terminal_that_connects_while_backing_off_is_not_called() {
    let mut scene = Scene::new(rules(), &["a"]);
    scene.due(1);
    scene.ended(1, "a", Outcome::Busy);
    scene.free("a");
    scene.connected(1, "b");
    assert_eq!(scene.pass(HOUR), []);
}

#[test]
fn when_both_call_each_other_our_busy_call_does_not_end_the_connection() {
    let mut scene = Scene::new(rules(), &["a"]);
    scene.due(1);
    scene.connected(1, "b");
    assert_eq!(scene.ended(1, "a", Outcome::Busy), []);
    assert_eq!(scene.why(1), Why::Connected);
    assert_eq!(scene.due(1), [Output::Deliver(terminal(1))]);
    scene.ended(1, "b", Outcome::Completed);
    assert_eq!(scene.why(1), Why::Nothing);
}

#[test]
fn while_our_call_is_still_ending_the_terminal_is_not_called_again() {
    let mut scene = Scene::new(rules(), &["a", "c"]);
    scene.due(1);
    scene.connected(1, "b");
    scene.ended(1, "b", Outcome::Completed);
    assert_eq!(scene.due(1), [], "the call on line a is not over");
    scene.ended(1, "a", Outcome::Busy);
    assert_eq!(scene.until_woken().1, [call(1, "c")]);
}

#[test]
fn urgent_goes_first_for_lines_and_a_queue_is_served_in_order() {
    let mut scene = Scene::new(rules(), &[]);
    scene.feed(Input::Due(demand(5, Urgency::Bulk)));
    for number in [3, 1, 2] {
        scene.due(number);
    }
    scene.feed(Input::Due(demand(4, Urgency::Urgent)));
    scene.feed(Input::Due(demand(2, Urgency::Urgent)));
    let order: Vec<_> = ["a", "b", "c", "d", "e"]
        .iter()
        .flat_map(|line| scene.free(line))
        .collect();
    assert_eq!(
        order,
        [
            call(2, "a"),
            call(4, "b"),
            call(3, "c"),
            call(1, "d"),
            call(5, "e")
        ]
    );
}

#[test]
fn a_backlog_is_called_at_the_rate_that_is_set() {
    let storm = StormRules {
        calls_per_minute: 30,
        burst: 5,
        calls_at_once: 40,
    };
    let lines: Vec<String> = (0..100).map(|line| format!("l{line}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let mut scene = Scene::new(Rules { storm, ..rules() }, &lines);
    let mut calls: Vec<Duration> = (0..200)
        .flat_map(|number| scene.due(number))
        .map(|_| Duration::ZERO)
        .collect();
    assert_eq!(calls.len(), 5);
    assert_eq!(scene.why(199), Why::Storm);
    while scene.wake.is_some() {
        let (_, wanted) = scene.until_woken();
        calls.extend(wanted.iter().map(|_| scene.clock.passed));
    }
    assert_eq!(calls.len(), 40, "no more at once");
    assert_eq!(*calls.last().unwrap(), 35 * 2 * SECOND);
}

#[test]
fn a_number_that_does_not_answer_is_redialled_as_the_strictest_rule_allows() {
    let redials = RedialRules::default();
    let retry = RetryRules {
        first: SECOND,
        longest: SECOND,
        redials,
        session_wait: SECOND,
    };
    let mut scene = Scene::new(Rules { retry, ..rules() }, &["a"]);
    let mut calls: Vec<Duration> = vec![];
    scene.due(1);
    while calls.len() < 20 {
        if scene.why(1) == Why::Calling {
            calls.push(scene.clock.passed);
            scene.ended(1, "a", Outcome::NoAnswer);
            scene.free("a");
        } else {
            scene.until_woken();
        }
    }
    for four in calls.windows(4) {
        assert!(four[3] - four[0] >= redials.within, "{four:?}");
    }
    assert!(
        calls[16] - calls[15] >= redials.rest,
        "16 calls are the first and 15 redials"
    );
}

#[test]
fn calls_from_before_the_start_count_for_the_redial_rule() {
    let mut scene = Scene::new(
        Rules {
            retry: RetryRules {
                redials: RedialRules::default(),
                ..rules().retry
            },
            ..rules()
        },
        &["a"],
    );
    for ago in [100, 60, 20] {
        scene.feed(Input::CalledBefore {
            terminal: terminal(1),
            ago: ago * SECOND,
        });
    }
    assert_eq!(scene.due(1), []);
    assert_eq!(scene.why(1), Why::Rest(Rest::Redials));
    assert_eq!(scene.until_woken(), (80 * SECOND, vec![call(1, "a")]));
}

#[test]
fn a_message_that_breaks_sessions_is_left_out_and_the_others_wait_one_try() {
    let mut scene = Scene::new(rules(), &["a"]);
    scene.due(1);
    let mut wanted = scene.ended(1, "a", lost(7, 1));
    assert_eq!(
        scene.dispatch.suspects(terminal(1)),
        [message(7)],
        "it is delivered last from now on"
    );
    for _ in 0..2 {
        assert_eq!(wanted, []);
        scene.free("a");
        scene.until_woken();
        wanted = scene.ended(1, "a", lost(7, 1));
    }
    assert_eq!(
        wanted,
        [Output::Quarantine {
            terminal: terminal(1),
            message: message(7)
        }]
    );
    assert_eq!(scene.dispatch.suspects(terminal(1)), []);
}

#[test]
fn a_silent_terminal_raises_one_alarm_that_its_next_connection_clears() {
    let mut scene = Scene::new(rules(), &[]);
    let silent = |is_raised| Output::Silent {
        terminal: terminal(1),
        is_raised,
    };
    scene.feed(Input::Watch {
        terminal: terminal(1),
        after: Some(2 * HOUR),
        silent_for: HOUR,
    });
    assert_eq!(scene.until_woken(), (HOUR, vec![silent(true)]));
    assert_eq!(scene.pass(10 * HOUR), []);
    assert_eq!(
        scene.connected(1, "a"),
        [silent(false), Output::Deliver(terminal(1))]
    );
}

#[test]
fn a_terminal_whose_calls_failed_for_days_waits_for_the_operator() {
    let mut scene = Scene::new(rules(), &["a"]);
    scene.due(1);
    scene.ended(1, "a", Outcome::LoopBroken);
    scene.free("a");
    assert_eq!(
        (scene.why(1), scene.pass(1000 * HOUR)),
        (Why::Paused, vec![])
    );
    assert_eq!(scene.due(1), []);
    assert_eq!(scene.feed(Input::Resume(terminal(1))), [call(1, "a")]);
}

#[test]
fn a_terminal_whose_failures_were_mended_is_called_at_once_and_no_oftener_than_it_may() {
    let mut scene = Scene::new(rules(), &["a"]);
    assert_eq!(scene.feed(Input::Mended(terminal(1))), []);
    scene.free("a");
    for _ in 0..3 {
        scene.due(1);
        scene.ended(1, "a", Outcome::NotProved("a new key".into()));
        scene.free("a");
        assert_eq!(scene.why(1), Why::Rest(Rest::BackingOff));
        assert_eq!(scene.pass(HANG_UP_GUARD), []);
        assert_eq!(
            scene.feed(Input::Mended(terminal(1))),
            [call(1, "a")],
            "it answered: that is no redial"
        );
    }
    let retry = RetryRules {
        redials: RedialRules::default(),
        ..rules().retry
    };
    let mut busy = Scene::new(Rules { retry, ..rules() }, &["a"]);
    busy.free("a");
    busy.due(1);
    for _ in 0..2 {
        busy.ended(1, "a", Outcome::Busy);
        busy.free("a");
        busy.feed(Input::Mended(terminal(1)));
    }
    busy.ended(1, "a", Outcome::Busy);
    busy.free("a");
    assert_eq!(
        (busy.feed(Input::Mended(terminal(1))), busy.why(1)),
        (vec![], Why::Rest(Rest::Redials))
    );
}

#[test]
fn a_terminal_is_called_on_its_own_lines_and_keeps_nobody_waiting_for_others() {
    let routes = vec![[name("b")].into()];
    let mut scene = Scene::new(Rules { routes, ..rules() }, &[]);
    scene.feed(Input::LineTaken(name("b")));
    let conditions = Some(Arc::new(Conditions {
        route: Route(1),
        ..Conditions::default()
    }));
    scene.feed(Input::Due(Demand {
        conditions,
        ..demand(1, Urgency::Urgent)
    }));
    scene.due(2);
    assert_eq!(scene.free("a"), [call(2, "a")]);
    assert_eq!(scene.free("b"), [call(1, "b")]);
}

#[test]
fn the_same_seed_and_inputs_give_the_same_outputs() {
    let run = || {
        let mut scene = Scene::new(rules(), &["a", "b"]);
        let mut seen: Vec<Output> = (0..9).flat_map(|number| scene.due(number)).collect();
        for number in 0..9 {
            for line in ["a", "b"] {
                seen.extend(scene.ended(number, line, Outcome::Busy));
                seen.extend(scene.free(line));
            }
            seen.extend(scene.pass(37 * SECOND));
        }
        seen
    };
    assert_eq!(run(), run());
}

#[test]
fn a_paused_terminal_is_not_called_whatever_it_waited_for_and_is_called_again_when_it_is_resumed() {
    // In the queue, for it has no line; backing off; and while it is being called.
    let mut scene = Scene::new(rules(), &[]);
    scene.due(1);
    scene.feed(Input::Pause(terminal(1)));
    assert_eq!(scene.free("a"), []);
    assert_eq!(scene.due(1), [call(1, "a")], "resumed: what waits is due");

    let mut scene = Scene::new(rules(), &["a"]);
    scene.due(1);
    scene.ended(1, "a", Outcome::Busy);
    scene.free("a");
    scene.feed(Input::Pause(terminal(1)));
    assert_eq!(scene.pass(HOUR), []);

    let mut scene = Scene::new(rules(), &["a"]);
    scene.due(1);
    scene.feed(Input::Pause(terminal(1)));
    assert_eq!(scene.ended(1, "a", Outcome::Busy), []);
    scene.free("a");
    scene.feed(Input::Due(Demand {
        conditions: None,
        ..demand(1, Urgency::Urgent)
    }));
    assert_eq!(scene.pass(HOUR), [], "and what comes for it causes no call");
    assert_eq!(scene.why(1), Why::Nothing);
}

#[test]
fn a_call_that_the_operator_ended_is_followed_by_the_first_pause_and_counts_as_no_failure() {
    let mut scene = Scene::new(rules(), &["a"]);
    scene.due(1);
    scene.ended(1, "a", Outcome::EndedByOperator);
    scene.free("a");
    assert_eq!(scene.until_woken(), (60 * SECOND, vec![call(1, "a")]));
    assert_eq!(
        scene
            .dispatch
            .explain(terminal(1), scene.clock.now())
            .failures,
        0
    );
}

#[test]
fn a_long_message_goes_on_after_the_first_pause_however_often_what_is_reserved_is_spent() {
    let mut scene = Scene::new(rules(), &["a"]);
    scene.due(1);
    for _ in 0..4 {
        scene.connected(1, "a");
        scene.ended(1, "a", Outcome::AllowanceSpent);
        scene.free("a");
        assert_eq!(scene.until_woken(), (60 * SECOND, vec![call(1, "a")]));
    }
    // Without the terminal it is a call that failed.
    for longest in [60, 120] {
        scene.ended(1, "a", Outcome::AllowanceSpent);
        scene.free("a");
        let (pause, _) = scene.until_woken();
        assert!(pause <= longest * SECOND && pause > longest * SECOND * 3 / 4);
    }
}

#[test]
fn calls_that_only_have_to_enrol_a_terminal_are_spaced_up_to_a_day_and_a_new_invitation_ends_the_pause()
 {
    let mut scene = Scene::new(rules(), &["a"]);
    scene.due(1);
    let mut pauses = Vec::new();
    for _ in 0..12 {
        scene.ended(1, "a", Outcome::NotEnrolled("x".into()));
        scene.free("a");
        let (pause, wanted) = scene.until_woken();
        assert_eq!(wanted, [call(1, "a")]);
        pauses.push(pause);
    }
    let longest = 24 * HOUR;
    assert!(
        pauses[0] >= 480 * SECOND && pauses.iter().all(|pause| *pause <= longest),
        "{pauses:?}"
    );
    assert!(
        pauses[8..]
            .iter()
            .all(|pause| *pause >= longest.mul_f64(0.8)),
        "{pauses:?}"
    );
    scene.ended(1, "a", Outcome::NotEnrolled("x".into()));
    scene.free("a");
    scene.pass(HANG_UP_GUARD);
    assert_eq!(scene.feed(Input::Mended(terminal(1))), [call(1, "a")]);
    scene.ended(1, "a", Outcome::NotEnrolled("x".into()));
    scene.free("a");
    assert!(scene.until_woken().0 <= 600 * SECOND, "counted anew");
}

#[test]
fn a_terminal_that_has_just_hung_up_is_left_alone_until_its_modem_is_ready() {
    let mut scene = Scene::new(rules(), &["a"]);
    scene.due(1);
    scene.ended(1, "a", Outcome::Completed);
    scene.free("a");
    assert_eq!(scene.due(1), []);
    assert_eq!(scene.why(1), Why::Rest(Rest::HangingUp));
    assert_eq!(scene.until_woken(), (HANG_UP_GUARD, vec![call(1, "a")]));

    // So is one whose call the last process did not see end.
    let mut scene = Scene::new(rules(), &["a"]);
    scene.feed(Input::HungUp {
        terminal: terminal(1),
        guard: 5 * SECOND,
    });
    assert_eq!(scene.due(1), []);
    assert_eq!(scene.until_woken(), (5 * SECOND, vec![call(1, "a")]));
}
