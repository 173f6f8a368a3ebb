//! What it costs to bring a hundred vending machines' news to where they are wanted, and how long that takes: called
//! when there is something, against polling and a line that is always open.

use std::sync::Arc;
use std::time::Duration;

use calling::ledger::Tariff;
use delivery::Urgency;
use jiff::SignedDuration;
use jiff::civil::DateTime;
use jiff::tz::{self, TimeZone};
use model::money::Micros;

use crate::chance::Chance;
use crate::pool::{Arrival, serve};

const MACHINES: u32 = 100;
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);
const BEGIN: DateTime = DateTime::constant(2026, 11, 23, 0, 0, 0, 0);

/// From the answer to the first message, and for each message, on a line of 33600 bit/s.
const SET_UP: Duration = Duration::from_secs(15);
const EACH: Duration = Duration::from_secs(1);

/// Three minutes at one price, and seconds with a lower price by night.
const TARIFFS: [(&str, &str); 2] = [
    (
        "3 minutes",
        "name = \"minutes\"\n[[window]]\nunit_ms = 180000\nprice = \"9.35\"",
    ),
    (
        "per second",
        "name = \"seconds\"\n[[window]]\nfrom = \"08:00\"\nto = \"23:00\"\nunit_ms = 1000\nprice = \"0.1\"\n\
         [[window]]\nunit_ms = 1000\nprice = \"0.05\"",
    ),
];

/// One way to do it, under one tariff.
#[derive(Debug, Clone)]
pub struct CostRow {
    /// The tariff.
    pub tariff: &'static str,
    /// The way.
    pub way: String,
    /// Calls in the week.
    pub calls: u64,
    /// What they cost.
    pub bill: Micros,
    /// The mean time from a fault to its delivery.
    pub fault_wait: Duration,
    /// The same for sales.
    pub sales_wait: Duration,
}

/// All rows, from one week's traffic: each machine reports its sales every hour from 8 to 20, and a fault every other
/// day.
pub fn cost_table(seed: u64) -> Vec<CostRow> {
    let traffic = traffic(seed);
    let mut rows = Vec::new();
    for (name, text) in TARIFFS {
        let tariff: Arc<Tariff> =
            Arc::new(toml::from_str(text).expect("the table's tariffs are tariffs"));
        rows.push(called(
            name,
            "called at once",
            &tariff,
            &traffic,
            Urgency::Normal,
        ));
        rows.push(called(
            name,
            "called; sales wait for a ride, the night or a day",
            &tariff,
            &traffic,
            Urgency::Bulk,
        ));
        for (way, every) in [
            ("polled every 10 min", HOUR / 6),
            ("polled every hour", HOUR),
            ("polled every day", 24 * HOUR),
        ] {
            rows.push(polled(name, way, &tariff, &traffic, every));
        }
        rows.push(open(name, &tariff, &traffic));
    }
    rows
}

fn traffic(seed: u64) -> Vec<Arrival> {
    let mut chance = Chance::new(seed);
    let mut traffic = Vec::new();
    for terminal in 0..MACHINES {
        let minute = chance.below(3600);
        for hour in (0..7 * 24).filter(|hour| (8..20).contains(&(hour % 24))) {
            let at = Duration::from_secs(hour * 3600 + minute);
            traffic.push(Arrival {
                at,
                terminal,
                urgency: Urgency::Bulk,
            });
        }
        let mut at = chance.exponential(48 * HOUR);
        while at < WEEK {
            traffic.push(Arrival {
                at,
                terminal,
                urgency: Urgency::Urgent,
            });
            at += chance.exponential(48 * HOUR);
        }
    }
    traffic.sort_by_key(|arrival| (arrival.at, arrival.terminal));
    traffic
}

fn called(
    name: &'static str,
    way: &str,
    tariff: &Arc<Tariff>,
    traffic: &[Arrival],
    sales: Urgency,
) -> CostRow {
    let asked: Vec<_> = traffic
        .iter()
        .map(|arrival| match arrival.urgency {
            Urgency::Bulk => Arrival {
                urgency: sales,
                ..*arrival
            },
            _ => *arrival,
        })
        .collect();
    let made = serve(&asked, 8, Some(tariff.clone()), BEGIN, lasts);
    let bill = made
        .iter()
        .map(|call| price(tariff, call.began, call.lasted))
        .sum();
    let waits = made.iter().flat_map(|call| {
        (1..).zip(&call.brought).map(|(place, arrival)| {
            (
                arrival.urgency,
                call.began + SET_UP + EACH * place - arrival.at,
            )
        })
    });
    row(
        name,
        way,
        u64::try_from(made.len()).unwrap_or(u64::MAX),
        bill,
        &waits.collect::<Vec<_>>(),
    )
}

/// Each machine's line is called every so often, whether there is something or not; not all in one minute.
fn polled(
    name: &'static str,
    way: &str,
    tariff: &Arc<Tariff>,
    traffic: &[Arrival],
    every: Duration,
) -> CostRow {
    let (mut calls, mut bill, mut waits) = (0, Micros::ZERO, vec![]);
    for terminal in 0..MACHINES {
        let mine: Vec<_> = traffic
            .iter()
            .filter(|arrival| arrival.terminal == terminal)
            .collect();
        let mut polls_at = every * terminal / MACHINES;
        let mut next = 0;
        while polls_at < WEEK + every {
            let brought = mine[next..]
                .iter()
                .take_while(|arrival| arrival.at <= polls_at)
                .count();
            for (place, arrival) in (1..).zip(&mine[next..next + brought]) {
                waits.push((
                    arrival.urgency,
                    polls_at + SET_UP + EACH * place - arrival.at,
                ));
            }
            next += brought;
            if polls_at < WEEK {
                calls += 1;
                bill = bill + price(tariff, polls_at, lasts(brought));
            }
            polls_at += every;
        }
    }
    row(name, way, calls, bill, &waits)
}

fn open(name: &'static str, tariff: &Arc<Tariff>, traffic: &[Arrival]) -> CostRow {
    let bill = price(tariff, Duration::ZERO, WEEK) * u64::from(MACHINES);
    let waits: Vec<_> = traffic
        .iter()
        .map(|arrival| (arrival.urgency, EACH))
        .collect();
    row(name, "a line always open", MACHINES.into(), bill, &waits)
}

fn lasts(messages: usize) -> Duration {
    SET_UP + EACH * u32::try_from(messages).unwrap_or(u32::MAX)
}

fn price(tariff: &Tariff, began: Duration, lasted: Duration) -> Micros {
    let began = BEGIN.saturating_add(SignedDuration::try_from(began).unwrap_or_default());
    let began = began
        .to_zoned(TimeZone::fixed(tz::offset(9)))
        .expect("a time of this century");
    tariff.price(&began, lasted, 1)
}

fn row(
    tariff: &'static str,
    way: &str,
    calls: u64,
    bill: Micros,
    waits: &[(Urgency, Duration)],
) -> CostRow {
    let mean = |is_fault: bool| {
        let of_kind = waits
            .iter()
            .filter(|(urgency, _)| (*urgency == Urgency::Urgent) == is_fault);
        let (count, sum) = of_kind.fold((0, Duration::ZERO), |(count, sum), (_, wait)| {
            (count + 1, sum + *wait)
        });
        sum / u32::max(count, 1)
    };
    CostRow {
        tariff,
        way: way.to_owned(),
        calls,
        bill,
        fault_wait: mean(true),
        sales_wait: mean(false),
    }
}
