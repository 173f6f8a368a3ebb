//! The tariffs that were read in print, and what their own tables say that calls cost.

use super::{Micros, Tariff, Used, file, read};
use crate::config::{Faults, Keys};
use jiff::Zoned;
use proptest::prelude::*;
use std::time::Duration;

fn tariff(text: &str) -> Tariff {
    let mut faults = Faults::default();
    let tariff = read(Keys::new(
        text.parse().expect("it is TOML"),
        "",
        &mut faults,
    ));
    assert_eq!(faults.0, []);
    tariff
}

fn per_unit(price: &str, unit_ms: u64) -> Tariff {
    tariff(&format!(
        "[[window]]\nunit_ms = {unit_ms}\nprice = \"{price}\""
    ))
}

fn at(text: &str) -> Zoned {
    format!("{text}+09:00[Asia/Tokyo]").parse().expect("a time")
}

/// In millionths; `milliseconds` from Monday noon.
fn charge(tariff: &Tariff, milliseconds: u64, octets: u64) -> i64 {
    let answered = Some((
        at("2026-11-23T12:00:00"),
        Duration::from_millis(milliseconds),
    ));
    tariff.charge(&Used { answered, octets }).0
}

#[test]
fn calls_of_three_minutes_cost_what_the_printed_tables_say() {
    // 10 yen for so many milliseconds: NTT beyond 100 km by day, evening, night; mobile voice; mobile 64 kbit/s
    // digital; satellite; and 1981 local, adjacent, 30 km, beyond 750 km.
    for (unit_ms, yen) in [
        (22_500, 80),
        (26_000, 70),
        (45_000, 40),
        (60_000, 30),
        (90_000, 20),
        (14_000, 130),
        (15_000, 120),
        (16_000, 120),
        (10_000, 180),
        (11_000, 170),
        (11_500, 160),
        (4_500, 400),
        (8_000, 230),
        (180_000, 10),
        (80_000, 30),
        (38_000, 50),
        (3_000, 600),
    ] {
        assert_eq!(
            charge(&per_unit("10", unit_ms), 180_000, 0),
            yen * 1_000_000,
            "{unit_ms}"
        );
    }
    assert_eq!(charge(&per_unit("9.35", 180_000), 180_001, 0), 18_700_000);
    assert_eq!(charge(&per_unit("8", 180_000), 180_000, 0), 8_000_000);
}

#[test]
fn data_connect_and_satellites_cost_what_their_users_were_told() {
    let data_connect = per_unit("1", 30_000);
    assert_eq!(
        [866, 61_000].map(|time| charge(&data_connect, time, 0)),
        [1_000_000, 3_000_000]
    );
    let iridium_go = per_unit("10", 20_000);
    assert_eq!(charge(&iridium_go, 61_000, 0), 40_000_000);
    // Whole kilobytes, a price of 1 for each.
    let certus = tariff(
        "[octets]\nquantum = 1000\nprice = \"1\"\nminimum = 5000\nper_second = 300\nslow_after = \"300s\"",
    );
    for (seconds, octets, kilobytes) in [
        (200, 1_000, 5),
        (300, 1_000, 5),
        (400, 1_000, 120),
        (400, 200_000, 200),
    ] {
        assert_eq!(
            charge(&certus, seconds * 1000, octets),
            kilobytes * 1_000_000,
            "{seconds} s, {octets}"
        );
    }
    let rockblock = tariff("[octets]\nquantum = 50\nprice = \"1\"\nminimum = 1");
    assert_eq!(
        [0, 50, 51].map(|octets| charge(&rockblock, 1000, octets)),
        [1_000_000, 1_000_000, 2_000_000]
    );
    // Hikari Denwa to a PHS: 10 yen a call and 10 yen a minute.
    let phs = tariff("setup_fee = \"10\"\n[[window]]\nunit_ms = 60000\nprice = \"10\"");
    assert_eq!(charge(&phs, 60_001, 0), 30_000_000);
}

#[test]
fn a_ring_without_an_answer_is_free_unless_a_fee_is_set() {
    let unanswered = Used {
        answered: None,
        octets: 0,
    };
    assert_eq!(
        tariff("setup_fee = \"10\"\nminimum = \"20\"").charge(&unanswered),
        Micros(0)
    );
    assert_eq!(
        tariff("failure_fee = \"0.001\"").charge(&unanswered),
        Micros(1000)
    );
    assert_eq!(charge(&tariff("minimum = \"20\""), 0, 0), 20_000_000);
}

/// NTT to 20 km and beyond: the length of the unit depends on day and hour, weekends and holidays are evenings.
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
fn the_window_in_which_a_unit_begins_gives_it_its_length() {
    let tariff = tariff(WINDOWS);
    let yen = |began: &str, seconds: u64| {
        let answered = Some((at(began), Duration::from_secs(seconds)));
        tariff
            .charge(&Used {
                answered,
                octets: 0,
            })
            .0
            / 1_000_000
    };
    assert_eq!(yen("2026-11-24T12:00:00", 180), 30, "Tuesday noon");
    assert_eq!(
        yen("2026-11-24T20:00:00", 180),
        30,
        "evening: 75, 75 and 30 s"
    );
    assert_eq!(yen("2026-11-24T23:00:00", 180), 20, "night");
    assert_eq!(
        yen("2026-11-21T12:00:00", 150),
        20,
        "Saturday noon is an evening"
    );
    assert_eq!(
        yen("2026-11-23T12:00:00", 150),
        20,
        "and so is a holiday on a Monday"
    );
    // 18:59:30: a minute of the day's, then evening from 19:00:30.
    assert_eq!(yen("2026-11-24T18:59:30", 60 + 75), 20);
    assert_eq!(yen("2026-11-24T18:59:30", 60 + 76), 30);
    // Over midnight and the weekend's end: Sunday 23:59:00 night, and night it stays.
    assert_eq!(yen("2026-11-22T23:59:00", 180), 20);
}

#[test]
fn a_call_of_years_is_charged_without_counting_its_units() {
    let year = 366 * 86_400_000;
    assert_eq!(charge(&per_unit("0.000001", 100), year, 0), 366 * 864_000);
    assert!(charge(&tariff(WINDOWS), 20 * year, u64::MAX) > 0);
    let absurd = tariff("setup_fee = \"9000000000000\"\n[octets]\nprice = \"9000000000000\"");
    assert_eq!(charge(&absurd, 1, u64::MAX), i64::MAX);
}

#[test]
fn what_is_no_tariff_is_told_key_by_key() {
    let text = r#"
        setup_fee = "free"
        minimum = 1.5
        pays = "nobody"
        holidays = ["tomorrow"]
        [[window]]
        days = ["monday"]
        from = "25:00"
        unit_ms = 0
        [[window]]
        from = "22:00"
        to = "06:00"
        [octets]
        quantum = 0
    "#;
    let mut faults = Faults::default();
    read(Keys::new(
        text.parse().expect("it is TOML"),
        "tariff.x.",
        &mut faults,
    ));
    let keys: Vec<_> = faults
        .0
        .iter()
        .map(|fault| fault.key.trim_start_matches("tariff.x.").to_owned())
        .collect();
    let wanted = [
        "setup_fee",
        "minimum",
        "pays",
        "holidays",
        "window[0].days",
        "window[0].from",
        "window[0].unit_ms",
        "window[1].to",
        "window[1].unit_ms",
        "octets.quantum",
    ];
    assert_eq!(keys, wanted);
}

#[test]
fn money_is_read_to_the_millionth_and_nothing_else_is_money() {
    for (text, micros) in [
        ("8.5", 8_500_000),
        ("0", 0),
        ("0.000001", 1),
        ("10", 10_000_000),
        ("0.084", 84_000),
    ] {
        assert_eq!(file::parse(text), Some(Micros(micros)), "{text}");
    }
    for text in [
        "",
        ".",
        "1.",
        ".5",
        "-1",
        "+1",
        "1,5",
        "1e3",
        "0.0000001",
        "99999999999999",
        "٢",
    ] {
        assert_eq!(file::parse(text), None, "{text}");
    }
}

proptest! {
    /// The walk over windows against counting unit after unit.
    #[test]
    fn units_are_as_many_as_one_counts(start in 0_i64..2_000_000, milliseconds in 0_u64..50_000_000) {
        let tariff = tariff(WINDOWS);
        let began = at("2026-11-20T00:00:00").checked_add(jiff::SignedDuration::from_secs(start)).unwrap();
        let time = Duration::from_millis(milliseconds);
        let (mut passed, mut units) = (Duration::ZERO, 0);
        while passed < time {
            let now = began.checked_add(jiff::SignedDuration::try_from(passed).unwrap()).unwrap();
            passed += tariff.window(&now).unwrap().unit;
            units += 1;
        }
        let charged = tariff.charge(&Used { answered: Some((began, time)), octets: 0 });
        prop_assert_eq!(charged, Micros(units * 10_000_000));
    }
}

#[test]
fn a_class_says_which_calls_are_meant_and_a_month_is_not_upside_down() {
    let fault = |text: &str| {
        let mut faults = Faults::default();
        read(Keys::new(
            text.parse().expect("it is TOML"),
            "",
            &mut faults,
        ));
        faults
            .0
            .iter()
            .map(|fault| format!("{fault:?}"))
            .collect::<String>()
    };
    for (text, key) in [
        ("[[class]]\ntariff = \"x\"", "class[0].prefix"),
        ("[[class]]\nprefix = \"09\"", "class[0].tariff"),
        ("[month]\nfloor = \"2\"\ncap = \"1\"", "month.cap"),
        ("[month]\nbucket = 5", "month.bucket"),
    ] {
        assert!(fault(text).contains(key), "{text}: {}", fault(text));
    }
}
