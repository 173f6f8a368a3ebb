//! The population of the world: terminals with their hours, lines with their tariffs.

use std::sync::Arc;
use std::time::Duration;

use calling::TerminalConditions;
use calling::dispatch::{Conditions, LineTerms};
use calling::ledger::Tariff;
use delivery::{MessageId, TerminalId};
use line::{Hours, Number};
use model::directory::{Connection, Name, Terminal, TrustedBy};

use crate::bill;

/// A terminal silent for longer raises an alarm.
pub(crate) const SILENT_AFTER: Duration = Duration::from_secs(4 * 24 * 3600);

/// One terminal: what the directory says, and what it is really doing.
#[derive(Debug)]
pub(crate) struct Person {
    pub(crate) terminal: Terminal,
    pub(crate) conditions: Conditions,
    /// Switched off, or out of reach, until then.
    pub(crate) off_until: Duration,
    pub(crate) reached: Duration,
    pub(crate) has_alarm: bool,
    /// The messages that the server delivers last.
    pub(crate) last: Vec<MessageId>,
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
    format!("+8131{index:07}")
        .parse()
        .expect("the world's numbers are numbers")
}

/// What holds for whom, by the config: all but three in ten may be called always and on every line.
pub(crate) fn conditions(count: u32, lines: &[LineTerms]) -> Vec<TerminalConditions> {
    let hours = |windows: &[&str]| {
        Hours(
            windows
                .iter()
                .map(|window| window.parse().expect("the world's hours are hours"))
                .collect(),
        )
    };
    let of = |rest: u32| {
        (0..count)
            .filter(|index| index % 10 == rest)
            .map(|index| name(&format!("t{index}")))
            .collect()
    };
    let silent_after = Some(SILENT_AFTER);
    let all = [
        TerminalConditions {
            terminals: of(0),
            hours: hours(&["mon-fri 08:00-18:00"]),
            closed: ["2026-12-25", "2027-01-01"]
                .map(|day| day.parse().expect("a day"))
                .into(),
            ..TerminalConditions::default()
        },
        TerminalConditions {
            terminals: of(1),
            hours: hours(&["22:00-06:00"]),
            ..TerminalConditions::default()
        },
        TerminalConditions {
            terminals: of(2),
            lines: lines
                .iter()
                .take(3)
                .map(|terms| terms.name.clone())
                .collect(),
            ..TerminalConditions::default()
        },
        TerminalConditions::default(),
    ];
    // One that names nobody would be for all others.
    let is_for_some =
        |(index, found): &(usize, TerminalConditions)| *index == 3 || !found.terminals.is_empty();
    let named = all.into_iter().enumerate().filter(is_for_some);
    named
        .map(|(_, found)| TerminalConditions {
            silent_after,
            ..found
        })
        .collect()
}

pub(crate) fn people(count: u32, conditions: &[TerminalConditions]) -> Vec<Person> {
    (0..count)
        .map(|index| {
            let name = name(&format!("t{index}"));
            let own = conditions
                .iter()
                .find(|found| found.terminals.contains(&name) || found.terminals.is_empty());
            let own = own.expect("the last is for all others");
            let conditions = Conditions {
                hours: own.hours.clone(),
                closed: own.closed.clone(),
                ..Conditions::default()
            };
            let terminal = Terminal {
                id: id(index),
                name,
                number: Some(number(index)),
                address: None,
                connection: Connection::Down,
                trusted_by: TrustedBy::default(),
            };
            Person {
                terminal,
                conditions,
                off_until: Duration::ZERO,
                reached: Duration::ZERO,
                has_alarm: false,
                last: Vec::new(),
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
    (0..count)
        .map(|index| tariffs[usize::from(index % 2 == 1)].clone())
        .collect()
}

pub(crate) fn lines(count: u32) -> Vec<LineTerms> {
    let tariffs = TARIFFS.map(|text| {
        Arc::new(toml::from_str::<Tariff>(text).expect("the world's tariffs are tariffs"))
    });
    let tariff = |index: u32| tariffs[usize::from(index % 2 == 1)].clone();
    (0..count)
        .map(|index| LineTerms {
            name: name(&format!("l{index}")),
            tariff: Some(tariff(index)),
            is_ring_only: false,
        })
        .collect()
}
