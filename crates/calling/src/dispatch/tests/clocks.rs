//! Hours, prices and clocks that are set.

use super::*;

pub(super) fn with_night_tariff() -> Rules {
    let tariff = "name = \"t\"\n[[window]]\nfrom = \"08:00\"\nto = \"23:00\"\nunit_ms = 60000\nprice = \"10\"\n\
                  [[window]]\nunit_ms = 60000\nprice = \"5\"";
    let tariff = Arc::new(toml::from_str(tariff).unwrap());
    Rules {
        lines: vec![LineTerms {
            name: name("a"),
            tariff: Some(tariff),
            is_ring_only: false,
        }],
        ..rules()
    }
}

#[test]
fn bulk_waits_for_the_cheap_window_and_is_called_when_it_opens() {
    let mut scene = Scene::new(with_night_tariff(), &["a"]);
    assert_eq!(scene.feed(Input::Due(demand(1, Urgency::Bulk))), []);
    assert_eq!(scene.why(1), Why::Rest(Rest::Price));
    let mut slept = Duration::ZERO;
    loop {
        let (time, wanted) = scene.until_woken();
        slept += time;
        if !wanted.is_empty() {
            break assert_eq!(wanted, [call(1, "a")]);
        }
    }
    assert_eq!(slept, 11 * HOUR);
}

#[test]
fn bulk_rides_along_on_a_call_for_something_else_and_waits_no_longer_than_its_deadline() {
    let mut scene = Scene::new(with_night_tariff(), &["a"]);
    scene.feed(Input::Due(demand(1, Urgency::Bulk)));
    assert_eq!(scene.due(1), [call(1, "a")], "one call for both");
    scene.ended(1, "a", Outcome::Completed);
    scene.free("a");
    let deadline = Some(scene.clock.now().wall + SignedDuration::from_hours(1));
    scene.feed(Input::Due(Demand {
        deadline,
        ..demand(2, Urgency::Bulk)
    }));
    assert_eq!(scene.pass(HOUR - DEADLINE_MARGIN), [call(2, "a")]);
}

#[test]
fn bulk_at_a_price_that_never_changes_waits_for_a_ride_no_longer_than_is_set() {
    let tariff: crate::ledger::Tariff = toml::from_str("name = \"t\"\nsetup_fee = \"1\"").unwrap();
    let lines = vec![LineTerms {
        name: name("a"),
        tariff: Some(Arc::new(tariff)),
        is_ring_only: false,
    }];
    let mut scene = Scene::new(Rules { lines, ..rules() }, &["a"]);
    assert_eq!(scene.feed(Input::Due(demand(1, Urgency::Bulk))), []);
    assert_eq!(scene.pass(24 * HOUR - SECOND), []);
    assert_eq!(
        scene.feed(Input::Due(demand(1, Urgency::Bulk))),
        [],
        "and a second one rides with it"
    );
    assert_eq!(scene.pass(SECOND), [call(1, "a")]);
}

#[test]
fn nobody_is_called_outside_the_hours_however_urgent() {
    let mut scene = Scene::new(rules(), &["a"]);
    let hours = line::Hours(vec!["mon-fri 08:00-11:00".parse().unwrap()]);
    let closed = ["2026-11-25".parse().unwrap()].into();
    let conditions = Some(Arc::new(Conditions {
        hours,
        closed,
        route: Route::ALL,
    }));
    assert_eq!(
        scene.feed(Input::Due(Demand {
            conditions,
            ..demand(1, Urgency::Urgent)
        })),
        []
    );
    assert_eq!(scene.why(1), Why::Rest(Rest::Hours));
    let next = scene
        .dispatch
        .explain(terminal(1), scene.clock.now())
        .next
        .unwrap();
    assert_eq!(
        next - scene.clock.now().at,
        44 * HOUR,
        "over the closed day"
    );
    let mut slept = Duration::ZERO;
    while scene.why(1) != Why::Calling {
        slept += scene.until_woken().0;
    }
    assert_eq!(slept, 44 * HOUR);
}

#[test]
fn a_wall_clock_that_jumps_is_seen_and_brings_no_call_outside_the_hours() {
    let open_at = |window: &str, jump: i64| {
        let mut scene = Scene::new(rules(), &["a"]);
        let hours = line::Hours(vec![window.parse().unwrap()]);
        let conditions = Some(Arc::new(Conditions {
            hours,
            ..Conditions::default()
        }));
        scene.feed(Input::Due(Demand {
            conditions,
            ..demand(1, Urgency::Normal)
        }));
        scene.clock.jumped = SignedDuration::from_hours(jump);
        let mut slept = Duration::ZERO;
        while scene.why(1) != Why::Calling {
            slept += scene.until_woken().0;
        }
        let local = scene.clock.now().wall.to_zoned(TimeZone::UTC);
        assert!(local.hour() >= 14 && local.hour() < 16, "{local}");
        slept
    };
    assert!(
        open_at("14:00-16:00", 3) <= LOOK_INTERVAL,
        "its hours have begun"
    );
    assert_eq!(open_at("14:00-16:00", -1), 3 * HOUR);
}

#[test]
fn who_waits_for_a_new_budget_is_called_within_a_minute_of_a_jump_of_the_wall_clock() {
    for jump in [6, -6, 24 * 3650] {
        let mut scene = Scene::new(rules(), &["a"]);
        scene.due(1);
        let budget = Outcome::BudgetSpent {
            budget: "the server".into(),
            wait: 12 * HOUR,
        };
        scene.ended(1, "a", budget);
        scene.free("a");
        assert_eq!(scene.why(1), Why::Rest(Rest::Budget));
        assert_eq!(
            scene.until_woken(),
            (LOOK_INTERVAL, vec![]),
            "nothing has jumped"
        );
        scene.clock.jumped = SignedDuration::from_hours(jump);
        assert_eq!(
            scene.until_woken(),
            (LOOK_INTERVAL, vec![call(1, "a")]),
            "the ledger says whether there is one"
        );
    }
}

#[test]
fn a_clock_that_is_set_a_little_again_and_again_is_seen_once_it_is_a_minute_off() {
    let mut scene = Scene::new(rules(), &["a"]);
    scene.due(1);
    scene.ended(
        1,
        "a",
        Outcome::BudgetSpent {
            budget: "the server".into(),
            wait: 12 * HOUR,
        },
    );
    scene.free("a");
    let mut wanted = Vec::new();
    for step in 1..=4 {
        scene.clock.jumped = SignedDuration::from_secs(-20 * step);
        wanted.push(scene.pass(10 * SECOND));
    }
    assert_eq!(wanted, [vec![], vec![], vec![], vec![call(1, "a")]]);
}

#[test]
fn hours_open_by_the_clock_on_the_wall_on_the_night_on_which_it_is_set() {
    let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    let noon: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
    for (now, window, opens) in [
        (
            "2027-03-28T01:59:45+01:00",
            "mon-sun 02:00-03:00",
            "2027-03-28T01:00:00Z",
        ),
        (
            "2027-03-28T01:59:30+01:00",
            "sun 03:01-03:20",
            "2027-03-28T01:01:00Z",
        ),
        (
            "2027-10-31T02:59:45+02:00",
            "mon-sun 03:00-04:00",
            "2027-10-31T02:00:00Z",
        ),
    ] {
        let mut scene = Scene::new(
            Rules {
                zone: zone.clone(),
                ..rules()
            },
            &[],
        );
        scene.clock.jumped = now.parse::<Timestamp>().unwrap().duration_since(noon);
        let begin = scene.clock.now();
        scene.free("a");
        let hours = line::Hours(vec![window.parse().unwrap()]);
        let conditions = Some(Arc::new(Conditions {
            hours,
            ..Conditions::default()
        }));
        scene.feed(Input::Due(Demand {
            conditions,
            ..demand(1, Urgency::Normal)
        }));
        let planned = scene.dispatch.explain(terminal(1), begin).next.unwrap();
        let opens = Duration::try_from(
            opens
                .parse::<Timestamp>()
                .unwrap()
                .duration_since(begin.wall),
        )
        .unwrap();
        assert_eq!(planned - begin.at, opens, "planned: {now} {window}");
        while scene.why(1) != Why::Calling {
            scene.until_woken();
        }
        assert_eq!(
            scene.clock.now().at - begin.at,
            opens,
            "called: {now} {window}"
        );
    }
}
