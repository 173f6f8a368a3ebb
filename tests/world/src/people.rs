//! Who is in the world: terminals with their hours, lines with their tariffs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use calling::dispatch::{Conditions, LineTerms, Route};
use calling::ledger::Tariff;
use delivery::TerminalId;
use line::{Hours, Number};
use model::directory::{Connection, Name, Terminal, TrustedBy};

use crate::bill;

/// A terminal silent for longer raises an alarm.
pub(crate) const SILENT_AFTER: Duration = Duration::from_secs(4 * 24 * 3600);

/// One terminal: what the directory says, and what it is really doing.
#[derive(Debug)]
pub(crate) struct Person {
    pub(crate) terminal: Terminal,
    pub(crate) conditions: Arc<Conditions>,
    /// Switched off, or out of reach, until then.
    pub(crate) off_until: Duration,
    pub(crate) reached: Duration,
    pub(crate) has_alarm: bool,
}

pub(crate) fn id(index: u32) -> TerminalId {
    let mut octets = [0; 8];
    octets[4..].copy_from_slice(&index.to_be_bytes());
    TerminalId::from_octets(octets)
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("the world's names are names")
}

pub(crate) fn number(index: u32) -> Number {
    format!("+8131{index:07}").parse().expect("the world's numbers are numbers")
}

pub(crate) fn people(count: u32, lines: &[LineTerms]) -> Vec<Person> {
    let hours = |windows: &[&str]| {
        Hours(windows.iter().map(|window| window.parse().expect("the world's hours are hours")).collect())
    };
    let closed: BTreeSet<_> = ["2026-12-25", "2027-01-01"].map(|day| day.parse().expect("a day")).into();
    let some_lines = if lines.len() > 3 { Route(1) } else { Route::ALL };
    let kinds = [
        Conditions::default(),
        Conditions { hours: hours(&["mon-fri 08:00-18:00"]), closed, route: Route::ALL },
        Conditions { hours: hours(&["22:00-06:00"]), ..Conditions::default() },
        Conditions { route: some_lines, ..Conditions::default() },
    ]
    .map(Arc::new);
    (0..count)
        .map(|index| {
            let kind = match index % 10 {
                0 => 1,
                1 => 2,
                2 => 3,
                _ => 0,
            };
            let terminal = Terminal {
                id: id(index),
                name: name(&format!("t{index}")),
                number: Some(number(index)),
                address: None,
                connection: Connection::Down,
                trusted_by: TrustedBy::default(),
            };
            Person {
                terminal,
                conditions: kinds[kind].clone(),
                off_until: Duration::ZERO,
                reached: Duration::ZERO,
                has_alarm: false,
            }
        })
        .collect()
}

/// Three minutes for a price that is lower by night, and seconds with a fee for each call.
const TARIFFS: [&str; 2] = [
    r#"
        name = "minutes"
        [[window]]
        days = ["mon", "tue", "wed", "thu", "fri"]
        from = "08:00"
        to = "23:00"
        unit_ms = 180000
        price = "9.35"
        [[window]]
        unit_ms = 240000
        price = "8.5"
    "#,
    r#"
        name = "seconds"
        setup_fee = "2"
        [[window]]
        from = "07:00"
        to = "22:00"
        unit_ms = 1000
        price = "0.07"
        [[window]]
        unit_ms = 1500
        price = "0.06"
    "#,
];

/// What the exchange charges on each of these lines.
pub(crate) fn charges(count: u32) -> Vec<exchange::Tariff> {
    let tariffs = TARIFFS.map(bill::tariff);
    (0..count).map(|index| tariffs[usize::from(index % 2 == 1)].clone()).collect()
}

pub(crate) fn lines(count: u32) -> Vec<LineTerms> {
    let tariffs =
        TARIFFS.map(|text| Arc::new(toml::from_str::<Tariff>(text).expect("the world's tariffs are tariffs")));
    let tariff = |index: u32| tariffs[usize::from(index % 2 == 1)].clone();
    (0..count)
        .map(|index| LineTerms { name: name(&format!("l{index}")), tariff: Some(tariff(index)), is_ring_only: false })
        .collect()
}
