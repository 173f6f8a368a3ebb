use std::iter;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::*;

const YEN: i64 = 1_000_000;

fn at(text: &str) -> Zoned {
    text.parse::<DateTime>().unwrap().to_zoned(TimeZone::UTC).unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn call(number: u8) -> CallId {
    CallId::from_octets([number; 16])
}

/// 10 yen for three minutes, at most an hour.
fn request(number: u8, time: &str) -> Request {
    let tariff: Tariff = toml::from_str("name = \"t\"\n[[window]]\nunit_ms = 180000\nprice = \"10\"").unwrap();
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
    Budget { terminal: Some(Micros(limit * YEN)), ..Budget::default() }
}

const NOON: &str = "2026-11-24T12:00:00";

#[test]
fn what_is_reserved_is_the_price_of_the_longest_call_and_what_is_settled_that_of_the_call() {
    let mut ledger = ledger(Budget::default());
    let reserved = ledger.reserve(request(1, NOON)).unwrap();
    assert_eq!((reserved.amount, reserved.longest), (Micros(200 * YEN), Duration::from_secs(3600)));
    assert_eq!(ledger.spent(&Account::Server), Micros(200 * YEN));
    let used = Used::Answered { lasted: Duration::from_secs(181), octets: 5 };
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
    assert_eq!((reserved.amount, reserved.longest), (Micros(30 * YEN), Duration::from_secs(540)));
    let refused = ledger.reserve(request(2, NOON)).unwrap_err();
    assert_eq!(
        refused,
        BudgetSpent { account: Account::Terminal(name("owner")), wait: Duration::from_secs(12 * 3600) }
    );
    // What the first did not need, the second may.
    ledger.settle(call(1), Used::NotAnswered);
    assert!(ledger.reserve(request(2, NOON)).is_ok());
}

#[test]
fn each_account_is_a_stop_of_its_own_and_a_named_one_counts_instead() {
    let one = Some(Micros(YEN));
    let stops = [
        (Budget { server: one, ..Budget::default() }, Account::Server),
        (Budget { terminal: one, ..Budget::default() }, Account::Terminal(name("owner"))),
        (Budget { provider: one, ..Budget::default() }, Account::Provider(name("maker"))),
        (Budget { line: one, ..Budget::default() }, Account::Line(name("line-1"))),
    ];
    for (mut budget, account) in stops {
        assert_eq!(ledger(budget.clone()).reserve(request(1, NOON)).unwrap_err().account, account);
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
    assert_eq!(ledger.spent(&Account::Terminal(name("owner"))), Micros::ZERO);
}
