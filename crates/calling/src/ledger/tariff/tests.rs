//! The tariffs that were read in print, and what their own tables say that calls cost.

use jiff::tz::TimeZone;

use super::*;

fn tariff(text: &str) -> Tariff {
    toml::from_str(&format!("name = \"t\"\n{text}")).unwrap()
}

fn per_unit(price: &str, unit_ms: u64) -> Tariff {
    tariff(&format!(
        "[[window]]\nunit_ms = {unit_ms}\nprice = \"{price}\""
    ))
}

fn at(text: &str) -> Zoned {
    text.parse::<DateTime>()
        .unwrap()
        .to_zoned(TimeZone::fixed(jiff::tz::offset(9)))
        .unwrap()
}

/// From a Monday's noon.
fn price(tariff: &Tariff, millis: u64, octets: u64) -> i64 {
    tariff
        .price(
            &at("2026-11-23T12:00:00"),
            Duration::from_millis(millis),
            octets,
        )
        .0
}

const YEN: i64 = 1_000_000;

#[test]
fn three_minutes_cost_what_is_printed() {
    let printed = [
        (22_500, 80),
        (26_000, 70),
        (14_000, 130),
        (15_000, 120),
        (16_000, 120),
        (11_000, 170),
        (11_500, 160),
        (4_500, 400),
        (8_000, 230),
        (180_000, 10),
        (90_000, 20),
        (60_000, 30),
    ];
    for (unit_ms, yen) in printed {
        assert_eq!(
            price(&per_unit("10", unit_ms), 180_000, 0),
            yen * YEN,
            "{unit_ms} ms"
        );
        // With five percent of tax on each unit.
        assert_eq!(
            price(&per_unit("10.5", unit_ms), 180_000, 0),
            yen * YEN * 105 / 100,
            "{unit_ms} ms"
        );
    }
    assert_eq!(price(&per_unit("9.35", 180_000), 180_000, 0), 9_350_000);
    assert_eq!(price(&per_unit("9.35", 180_000), 180_001, 0), 18_700_000);
}

#[test]
fn data_calls_and_satellites_cost_what_their_users_were_told() {
    let data_connect = per_unit("1", 30_000);
    assert_eq!(
        [866, 61_000].map(|millis| price(&data_connect, millis, 0)),
        [YEN, 3 * YEN]
    );
    assert_eq!(
        price(&per_unit("10", 20_000), 61_000, 0),
        40 * YEN,
        "four blocks of 20 s"
    );
    let certus = tariff(
        "[octets]\nquantum = 1000\nprice = \"1\"\nminimum = 5000\nper_second = 300\nslow_after = \"300s\"",
    );
    for (seconds, octets, kilobytes) in [(200, 1000, 5), (400, 1000, 120), (400, 200_000, 200)] {
        assert_eq!(
            price(&certus, seconds * 1000, octets),
            kilobytes * YEN,
            "{seconds} s, {octets} octets"
        );
    }
    let rockblock = tariff("empty_fee = \"1\"\n[octets]\nquantum = 50\nprice = \"1\"");
    assert_eq!(
        [0, 50, 51].map(|octets| price(&rockblock, 1000, octets)),
        [YEN, YEN, 2 * YEN]
    );
    // A text of 161 characters is two segments of at most 160.
    assert_eq!(
        price(
            &tariff("[octets]\nquantum = 160\nprice = \"0.0083\""),
            0,
            161
        ),
        16_600
    );
    let phs = tariff("setup_fee = \"10\"\n[[window]]\nunit_ms = 60000\nprice = \"10\"");
    assert_eq!(price(&phs, 60_001, 0), 30 * YEN);
}

#[test]
fn a_ring_that_nobody_answers_is_free_unless_a_fee_is_set() {
    assert_eq!(
        tariff("setup_fee = \"10\"\nminimum = \"20\"").price_of_failure(),
        Micros::ZERO
    );
    assert_eq!(
        tariff("failure_fee = \"0.001\"").price_of_failure(),
        Micros(1000)
    );
}

#[test]
fn what_the_called_side_pays_costs_us_nothing() {
    let tariff = tariff("pays = \"called\"\nsetup_fee = \"10\"\nfailure_fee = \"1\"");
    assert_eq!(
        (price(&tariff, 60_000, 9), tariff.price_of_failure()),
        (0, Micros::ZERO)
    );
    assert_eq!(
        tariff.reserve(&at("2026-11-23T12:00:00"), Duration::from_secs(60), 9),
        Micros::ZERO
    );
}

/// Weekends and holidays are evenings.
const WINDOWS: &str = r#"
    holidays = ["2026-11-23"]
    [[window]]
    days = ["mon", "tue", "wed", "thu", "fri"]
    from = "08:00"
    to = "19:00"
    unit_ms = 60000
    price = "10"
    [[window]]
    from = "08:00"
    to = "23:00"
    unit_ms = 75000
    price = "10"
    [[window]]
    unit_ms = 90000
    price = "10"
"#;

#[test]
fn a_unit_has_the_length_of_the_window_in_which_it_begins() {
    let tariff = tariff(WINDOWS);
    let yen = |began: &str, seconds: u64| {
        tariff.price(&at(began), Duration::from_secs(seconds), 0).0 / YEN
    };
    assert_eq!(yen("2026-11-24T12:00:00", 180), 30, "a Tuesday's noon");
    assert_eq!(yen("2026-11-24T20:00:00", 180), 30, "its evening");
    assert_eq!(yen("2026-11-24T23:00:00", 180), 20, "its night");
    assert_eq!(yen("2026-11-21T12:00:00", 150), 20, "a Saturday");
    assert_eq!(
        yen("2026-11-23T12:00:00", 150),
        20,
        "a holiday that is a Monday"
    );
    assert_eq!(
        yen("2026-11-24T18:59:30", 60 + 75),
        20,
        "a minute of the day's, the rest of the evening's"
    );
    assert_eq!(yen("2026-11-24T18:59:30", 60 + 76), 30);
}

#[test]
fn no_moment_of_answer_makes_a_call_dearer_than_its_most() {
    let windows = format!(
        "{WINDOWS}\n[octets]\nquantum = 10\nprice = \"0.01\"\nper_second = 7\nslow_after = \"200s\""
    );
    let tariff = tariff(&windows);
    let mut equal = 0;
    for start in 0..400_u64 {
        // Over all boundaries: 7, 19 and 23 o'clock and midnight, in steps that fall on no unit's end.
        let dialled = at("2026-11-24T06:40:00").saturating_add(SignedDuration::from_secs(
            163 * i64::try_from(start).unwrap(),
        ));
        let lasted = Duration::from_millis(17_000 * (start % 90) + 311);
        let most = tariff.most(&dialled, lasted, 55);
        for answered in 0..=10_u32 {
            let wait = lasted * answered / 10;
            let began = dialled.saturating_add(SignedDuration::try_from(wait).unwrap());
            let price = tariff.price(&began, lasted.saturating_sub(wait), 55);
            assert!(
                price <= most,
                "{price} > {most}: {dialled} {lasted:?} answered after {wait:?}"
            );
            equal += u32::from(price == most);
        }
    }
    assert!(equal > 400, "a bound that is never reached: {equal}");
}

#[test]
fn the_longest_call_for_an_amount_costs_it_and_a_millisecond_more_does_not_fit() {
    let tariff = tariff(WINDOWS);
    let (dialled, hour) = (at("2026-11-24T18:58:00"), Duration::from_secs(3600));
    for yen in [10, 20, 30, 70, 100] {
        let amount = Micros(yen * YEN);
        let longest = tariff.longest_for(amount, &dialled, hour, 0).unwrap();
        assert!(tariff.reserve(&dialled, longest, 0) <= amount);
        assert!(
            tariff.reserve(&dialled, longest + Duration::from_millis(1), 0) > amount,
            "{yen}"
        );
    }
    assert_eq!(
        tariff.longest_for(Micros::MAX, &dialled, hour, 0),
        Some(hour)
    );
    let dear = Tariff {
        setup_fee: Micros(11),
        ..Tariff::default()
    };
    assert_eq!(dear.longest_for(Micros(10), &dialled, hour, 0), None);
}

#[test]
fn a_paid_unit_ends_where_the_next_begins() {
    let tariff = tariff(WINDOWS);
    let began = at("2026-11-24T18:59:30");
    for (seconds, paid) in [(1, 60), (60, 60), (61, 135), (135, 135), (136, 210)] {
        assert_eq!(
            tariff.paid_until(&began, Duration::from_secs(seconds)),
            Duration::from_secs(paid)
        );
    }
}

#[test]
fn the_cheapest_moment_is_waited_for_and_a_flat_tariff_has_none() {
    // A minute costs 10 by day and 6 by night.
    let night = tariff(
        "[[window]]\nfrom = \"08:00\"\nto = \"23:00\"\nunit_ms = 60000\nprice = \"10\"\n[[window]]\nunit_ms = 60000\nprice = \"6\"",
    );
    let wait = |time: &str| night.until_cheapest(&at(time));
    assert_eq!(
        wait("2026-11-24T21:30:00"),
        Some(Duration::from_secs(90 * 60))
    );
    assert_eq!(wait("2026-11-24T23:00:00"), Some(Duration::ZERO));
    assert_eq!(wait("2026-11-24T07:59:59"), Some(Duration::ZERO));
    assert_eq!(
        per_unit("10", 60_000).until_cheapest(&at("2026-11-24T12:00:00")),
        None
    );
}

#[test]
fn a_month_has_a_floor_a_cap_and_a_bucket() {
    let month = tariff("[month]\nfloor = \"10\"\ncap = \"44\"\nbucket = \"5\"");
    for (sum, bill) in [(0, 10), (14, 10), (16, 11), (100, 44)] {
        assert_eq!(month.bill(Micros(sum * YEN)), Micros(bill * YEN));
    }
    assert_eq!(Tariff::default().bill(Micros(7)), Micros(7));
}

#[test]
fn a_call_of_years_is_priced_without_counting_its_units() {
    let years = Duration::from_secs(20 * 366 * 86_400);
    assert!(tariff(WINDOWS).price(&at("2026-11-24T12:00:00"), years, u64::MAX) > Micros::ZERO);
    let absurd =
        tariff("setup_fee = \"9000000000000\"\n[octets]\nquantum = 1\nprice = \"9000000000000\"");
    assert_eq!(price(&absurd, 1, u64::MAX), i64::MAX);
}

#[test]
fn what_is_no_tariff_is_refused_with_the_key() {
    let wrong = [
        ("setup_fee = \"free\"", "free"),
        ("minimum = 1.5", "minimum"),
        ("pays = \"nobody\"", "nobody"),
        ("holidays = [\"tomorrow\"]", "tomorrow"),
        ("fee = \"1\"", "fee"),
        ("[[window]]\nprice = \"1\"", "unit_ms"),
        (
            "[[window]]\nunit_ms = 0\nprice = \"1\"",
            "window[0].unit_ms",
        ),
        (
            "[[window]]\nunit_ms = 1000\nprice = \"1\"\ndays = [\"monday\"]",
            "window[0].days",
        ),
        (
            "[[window]]\nunit_ms = 1000\nprice = \"1\"\nfrom = \"25:00\"",
            "window[0].from",
        ),
        (
            "[[window]]\nunit_ms = 1000\nprice = \"1\"\nfrom = \"22:00\"\nto = \"06:00\"",
            "window[0].to",
        ),
        ("[octets]\nquantum = 0\nprice = \"1\"", "octets.quantum"),
        (
            "[[destination]]\nprefixes = [\"x\"]\ntariff = \"y\"",
            "destination.prefixes",
        ),
    ];
    for (text, named) in wrong {
        let error = toml::from_str::<Tariff>(&format!("name = \"t\"\n{text}"))
            .unwrap_err()
            .to_string();
        assert!(error.contains(named), "{text}: {error}");
    }
}

#[test]
fn a_window_begins_by_the_clock_on_the_wall_on_the_night_on_which_it_is_set() {
    let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    let night = tariff(
        "[[window]]\nfrom = \"02:30\"\nto = \"04:00\"\nunit_ms = 60000\nprice = \"1\"\n[[window]]\nunit_ms = 60000\nprice = \"10\"",
    );
    let at = |text: &str| text.parse::<Timestamp>().unwrap().to_zoned(zone.clone());
    let hour = Duration::from_secs(3600);
    // From half past one on there are 30 minutes before three, then 30 of the hour from three to four.
    assert_eq!(
        night.price(&at("2027-03-28T00:30:00Z"), hour, 1).0,
        (30 * 10 + 30) * YEN
    );
    // From two on, the first time: 30 minutes of each kind; the second time, the same.
    for began in ["2027-10-31T00:00:00Z", "2027-10-31T01:00:00Z"] {
        assert_eq!(
            night.price(&at(began), hour, 1).0,
            (30 * 10 + 30) * YEN,
            "{began}"
        );
    }
    for minutes in 0..600 {
        let dialled = at("2027-10-30T20:00:00Z").saturating_add(SignedDuration::from_mins(minutes));
        let dialled = [
            dialled.clone(),
            dialled.saturating_add(SignedDuration::from_hours(24 * 148)),
        ];
        for dialled in dialled {
            assert!(
                night.price(&dialled, hour, 1) <= night.most(&dialled, hour, 1),
                "{dialled}"
            );
            assert_eq!(
                night.next_change(&dialled),
                night.next_change(&dialled).max(dialled.timestamp())
            );
        }
    }
}
