use std::iter;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::*;

const YEN: i64 = 1_000_000;

fn at(text: &str) -> Zoned {
    text.parse::<DateTime>()
        .unwrap()
        .to_zoned(TimeZone::UTC)
        .unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn call(number: u8) -> CallId {
    CallId::from_octets([number; 16])
}

/// 10 yen for three minutes, at most an hour.
fn request(number: u8, time: &str) -> Request {
    let tariff: Tariff =
        toml::from_str("name = \"t\"\n[[window]]\nunit_ms = 180000\nprice = \"10\"").unwrap();
    Request {
        call: call(number),
        terminal: name("owner"),
        provider: Some(name("maker")),
        line: name("line-1"),
        tariff: Arc::new(tariff),
        at: at(time),
        longest: Duration::from_secs(3600),
        octets: 0,
    }
}

fn ledger(budget: Budget) -> Ledger {
    Ledger::new(budget, at("2026-11-24T00:00:00").date())
}

fn owners(limit: i64) -> Budget {
    Budget {
        terminal: Some(Micros(limit * YEN)),
        ..Budget::default()
    }
}

const NOON: &str = "2026-11-24T12:00:00";

#[test]
fn what_is_reserved_is_the_price_of_the_longest_call_and_what_is_settled_that_of_the_call() {
    let mut ledger = ledger(Budget::default());
    let reserved = ledger.reserve(request(1, NOON)).unwrap();
    assert_eq!(
        (reserved.amount, reserved.longest),
        (Micros(200 * YEN), Duration::from_secs(3600))
    );
    assert_eq!(ledger.spent(&Account::Server), Micros(200 * YEN));
    let used = Used::Answered {
        lasted: Duration::from_secs(181),
        octets: 5,
    };
    assert_eq!(ledger.settle(call(1), used), Some(Micros(20 * YEN)));
    for account in reserved.accounts {
        assert_eq!(ledger.spent(&account), Micros(20 * YEN), "{account}");
    }
    assert_eq!(ledger.settle(call(1), used), None, "a call is settled once");
}

#[test]
fn a_budget_that_does_not_reach_for_the_longest_call_makes_it_shorter_and_then_stops_it() {
    let mut ledger = ledger(owners(30));
    let reserved = ledger.reserve(request(1, NOON)).unwrap();
    assert_eq!(
        (reserved.amount, reserved.longest),
        (Micros(30 * YEN), Duration::from_secs(540))
    );
    let refused = ledger.reserve(request(2, NOON)).unwrap_err();
    assert_eq!(
        refused,
        BudgetSpent {
            account: Account::Terminal(name("owner")),
            wait: Duration::from_secs(12 * 3600)
        }
    );
    // What the first did not need, the second may.
    ledger.settle(call(1), Used::NotAnswered);
    assert!(ledger.reserve(request(2, NOON)).is_ok());
}

#[test]
fn each_account_is_a_stop_of_its_own_and_a_named_one_counts_instead() {
    let one = Some(Micros(YEN));
    let stops = [
        (
            Budget {
                server: one,
                ..Budget::default()
            },
            Account::Server,
        ),
        (
            Budget {
                terminal: one,
                ..Budget::default()
            },
            Account::Terminal(name("owner")),
        ),
        (
            Budget {
                provider: one,
                ..Budget::default()
            },
            Account::Provider(name("maker")),
        ),
        (
            Budget {
                line: one,
                ..Budget::default()
            },
            Account::Line(name("line-1")),
        ),
    ];
    for (mut budget, account) in stops {
        assert_eq!(
            ledger(budget.clone())
                .reserve(request(1, NOON))
                .unwrap_err()
                .account,
            account
        );
        budget.named.extend(iter::once((account, Micros(10 * YEN))));
        assert!(ledger(budget).reserve(request(1, NOON)).is_ok());
    }
}

#[test]
fn a_reservation_that_a_crash_left_open_counts_as_spent() {
    let mut before = ledger(owners(30));
    let reserved = before.reserve(request(1, NOON)).unwrap();
    let mut after = ledger(owners(30));
    after.restore(reserved.accounts, reserved.amount);
    assert!(after.reserve(request(2, NOON)).is_err());
}

#[test]
fn the_next_day_has_a_new_budget_and_a_clock_set_back_has_none() {
    let mut ledger = ledger(owners(10));
    ledger.reserve(request(1, NOON)).unwrap();
    assert!(ledger.reserve(request(2, "2026-11-24T23:59:59")).is_err());
    ledger.reserve(request(2, "2026-11-25T00:00:00")).unwrap();
    assert!(ledger.reserve(request(3, NOON)).is_err(), "yesterday again");
    // The first call ends today; it was yesterday's money.
    ledger.settle(call(1), Used::NotAnswered);
    assert_eq!(ledger.spent(&Account::Server), Micros(10 * YEN));
}

#[test]
fn what_was_not_dialled_costs_nothing() {
    let mut ledger = ledger(owners(10));
    ledger.reserve(request(1, NOON)).unwrap();
    assert_eq!(ledger.settle(call(1), Used::Nothing), Some(Micros::ZERO));
    assert_eq!(
        ledger.spent(&Account::Terminal(name("owner"))),
        Micros::ZERO
    );
}

#[test]
fn a_clock_that_was_years_ahead_and_is_right_again_leaves_the_day_its_budget() {
    let mut ledger = ledger(owners(30));
    ledger
        .reserve(Request {
            longest: Duration::from_secs(180),
            ..request(1, NOON)
        })
        .unwrap();
    ledger
        .reserve(Request {
            longest: Duration::from_secs(180),
            ..request(2, "2036-11-24T12:00:00")
        })
        .unwrap();
    // Both calls count for the day that it is.
    let owner = Account::Terminal(name("owner"));
    let third = ledger.reserve(request(3, "2026-11-24T12:05:00")).unwrap();
    assert_eq!(
        (third.day, third.longest),
        (at(NOON).date(), Duration::from_secs(180))
    );
    assert!(ledger.reserve(request(4, NOON)).is_err());
    assert_eq!(ledger.settle(call(2), Used::Nothing), Some(Micros::ZERO));
    assert_eq!(
        ledger.spent(&owner),
        Micros(20 * YEN),
        "of the day that it is, too"
    );
    ledger.settle(call(3), Used::Nothing);
    assert_eq!(
        ledger
            .reserve(request(4, "2026-11-25T12:00:00"))
            .unwrap()
            .amount,
        Micros(30 * YEN),
        "a new day, a new budget"
    );
}

#[test]
fn a_clock_that_goes_to_and_fro_about_midnight_brings_no_new_budget() {
    let mut ledger = ledger(owners(10));
    let (before, after) = ("2026-11-24T23:59:59", "2026-11-25T00:00:00");
    ledger.reserve(request(1, before)).unwrap();
    ledger.reserve(request(2, after)).unwrap();
    for number in 3..40 {
        let time = if number % 2 == 0 { after } else { before };
        assert!(ledger.reserve(request(number, time)).is_err(), "{number}");
    }
    assert_eq!(
        ledger.spent(&Account::Server),
        Micros(20 * YEN),
        "counted once however often the day has come"
    );
    for day in 1..30 {
        let _ = ledger.reserve(request(100 + day, &format!("2027-01-{day:02}T12:00:00")));
    }
    assert!(ledger.days.len() <= DAYS_MAX + 1);
}

#[test]
fn a_day_on_which_the_clock_is_set_ends_at_its_own_midnight() {
    let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    for (noon, hours) in [
        ("2027-03-28T00:00:00", 23),
        ("2027-10-31T00:00:00", 25),
        ("2027-10-30T00:00:00", 24),
    ] {
        let mut ledger = ledger(owners(0));
        let at = noon
            .parse::<DateTime>()
            .unwrap()
            .to_zoned(zone.clone())
            .unwrap();
        let spent = ledger
            .reserve(Request {
                at,
                ..request(1, NOON)
            })
            .unwrap_err();
        assert_eq!(spent.wait, Duration::from_secs(hours * 3600), "{noon}");
    }
}
