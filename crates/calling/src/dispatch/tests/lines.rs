//! Lines and modems that fail.

use super::clocks::with_night_tariff;
use super::*;

#[test]
fn a_pool_with_one_bad_modem_goes_on_with_the_others_at_once_and_suspects_it() {
    for (outcome, is_convicted) in [
        (Outcome::DialRefused, true),
        (Outcome::Blacklisted, true),
        (Outcome::RedialLimited, false),
        (Outcome::LineInUse, false),
        (Outcome::NoDialTone, false),
        (
            Outcome::LineFailed("the modem does not answer ATD".into()),
            false,
        ),
    ] {
        let mut scene = Scene::new(rules(), &["a", "b"]);
        assert_eq!(scene.due(1), [call(1, "a")]);
        assert_eq!(
            scene.ended(1, "a", outcome.clone()),
            [call(1, "b")],
            "{outcome}"
        );
        scene.free("a");
        let told = scene.ended(1, "b", Outcome::Completed);
        let is_suspect =
            matches!(&told[..], [Output::LineSuspect { line, why: Some(_) }] if *line == name("a"));
        assert_eq!(is_suspect, is_convicted, "{outcome}: {told:?}");
        scene.free("b");
        // The terminal is not to blame, and its next call begins on the good line.
        scene.pass(HANG_UP_GUARD);
        assert_eq!(scene.due(1), [call(1, "b")], "{outcome}");
        assert_eq!(
            scene
                .dispatch
                .explain(terminal(1), scene.clock.now())
                .failures,
            0,
            "{outcome}"
        );
    }
}

#[test]
fn a_line_that_fails_again_when_it_is_tried_again_is_suspect_until_a_good_call() {
    let mut scene = Scene::new(rules(), &["a"]);
    scene.due(1);
    assert_eq!(scene.ended(1, "a", Outcome::LineInUse), []);
    scene.free("a");
    assert_eq!(scene.until_woken().1, [call(1, "a")]);
    let told = scene.ended(1, "a", Outcome::LineInUse);
    assert!(
        matches!(&told[..], [Output::LineSuspect { why: Some(_), .. }]),
        "{told:?}"
    );
    scene.free("a");
    assert_eq!(scene.until_woken().1, [call(1, "a")]);
    let good = Output::LineSuspect {
        line: name("a"),
        why: None,
    };
    assert_eq!(scene.ended(1, "a", Outcome::Completed), [good]);
}

#[test]
fn a_number_that_no_line_dials_is_its_own_fault_and_keeps_nobody_waiting() {
    let mut scene = Scene::new(rules(), &["a", "b"]);
    assert_eq!(scene.due(1), [call(1, "a")]);
    assert_eq!(scene.ended(1, "a", Outcome::DialRefused), [call(1, "b")]);
    scene.free("a");
    assert_eq!(scene.ended(1, "b", Outcome::DialRefused), []);
    scene.free("b");
    assert_eq!(scene.why(1), Why::Rest(Rest::BackingOff));
    assert_eq!(scene.due(2).len(), 1, "the lines are there for the others");

    // While the only free line is one that the first in the queue avoids, the next has it.
    let mut scene = Scene::new(rules(), &["a"]);
    scene.feed(Input::LineFree(name("b")));
    scene.feed(Input::LineTaken(name("b")));
    assert_eq!(scene.due(1), [call(1, "a")]);
    assert_eq!(scene.ended(1, "a", Outcome::RedialLimited), []);
    scene.due(2);
    assert_eq!(scene.free("a"), [call(2, "a")]);
    assert_eq!(scene.free("b"), [call(1, "b")]);
}

#[test]
fn a_terminal_that_does_not_come_when_it_is_rung_is_called_on_its_other_lines() {
    let terms = |line, is_ring_only| LineTerms {
        name: name(line),
        tariff: None,
        is_ring_only,
    };
    let routes = vec![BTreeSet::from([name("r"), name("a")])];
    let mut scene = Scene::new(
        Rules {
            lines: vec![terms("r", true), terms("a", false)],
            routes,
            ..rules()
        },
        &["r", "a"],
    );
    let conditions = Arc::new(Conditions {
        route: Route(1),
        ..Conditions::default()
    });
    let due = Input::Due(Demand {
        conditions: Some(conditions),
        ..demand(1, Urgency::Normal)
    });
    assert_eq!(scene.feed(due.clone()), [call(1, "r")]);
    assert_eq!(scene.ended(1, "r", Outcome::Rung), []);
    scene.free("r");
    assert_eq!(
        scene.pass(120 * SECOND),
        [Output::NoSession(terminal(1)), call(1, "a")]
    );
    assert_eq!(scene.ended(1, "a", Outcome::Completed), []);
    scene.free("a");

    // A wake that did not work is remembered, for a while.
    scene.pass(HANG_UP_GUARD);
    assert_eq!(scene.feed(due.clone()), [call(1, "a")]);
    scene.ended(1, "a", Outcome::Completed);
    scene.free("a");
    scene.pass(HOUR);
    assert_eq!(scene.feed(due.clone()), [call(1, "r")]);

    // One that worked is what is done next time.
    scene.ended(1, "r", Outcome::Rung);
    scene.free("r");
    scene.connected(1, "@");
    scene.ended(1, "@", Outcome::Completed);
    assert_eq!(scene.feed(due), [call(1, "r")]);
}

#[test]
fn a_session_over_the_internet_has_no_line_and_no_price() {
    let mut scene = Scene::new(with_night_tariff(), &["a"]);
    scene.connected(9, "@");
    scene.ended(9, "@", Outcome::Completed);
    assert_eq!(scene.feed(Input::Due(demand(1, Urgency::Bulk))), []);
    assert_eq!(scene.why(1), Why::Rest(Rest::Price));
    assert_eq!(scene.dispatch.likely_line(terminal(1)), Some(&name("a")));
    // A line of that name is a line like any other.
    let mut scene = Scene::new(rules(), &["internet"]);
    scene.connected(9, "@");
    assert_eq!(scene.due(1), [call(1, "internet")]);
    scene.ended(9, "@", Outcome::Completed);
    assert_eq!(scene.why(1), Why::Calling);
}
