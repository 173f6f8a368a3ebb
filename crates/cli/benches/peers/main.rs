//! The same message over the same line of our exchange by Ringup, by UUCP and by pppd with an HTTP POST, one after the other.
//! Prints rows of a Markdown table: `cargo xtask bench peers`.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

#[allow(dead_code, reason = "the tests boot other guests, too")]
#[path = "../../tests/peers/guests.rs"]
mod guests;
mod observed;
mod pppd;
mod ringup;
#[path = "../../../../xtask/src/bench/table.rs"]
mod table;
#[path = "../../tests/peers/unpacked.rs"]
#[allow(dead_code, reason = "the tests have programs in Perl, too")]
mod unpacked;
mod uucp;

use std::time::Duration;

/// One message over one kind of line.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) octets: usize,
    pub(crate) rate_bps: u32,
    pub(crate) delay: Duration,
}

const CASES: [Case; 4] = [
    Case {
        octets: 1_000,
        rate_bps: 33_600,
        delay: Duration::from_millis(60),
    },
    Case {
        octets: 1_000,
        rate_bps: 9_600,
        delay: Duration::from_millis(300),
    },
    Case {
        octets: 1_000,
        rate_bps: 2_400,
        delay: Duration::from_millis(600),
    },
    Case {
        octets: 100_000,
        rate_bps: 33_600,
        delay: Duration::from_millis(60),
    },
];

#[tokio::main]
async fn main() {
    for case in CASES.into_iter().take(table::extent(CASES.len(), 1)) {
        let [first, next] = ringup::carry(case);
        let uucp = uucp::carry(case);
        let pppd = pppd::carry(case).await;
        for (who, carried) in [
            ("Ringup, the next call", next),
            ("Ringup, the very first call", first),
            ("UUCP 'i'", uucp),
            ("pppd + POST", pppd),
        ] {
            let Case {
                octets,
                rate_bps,
                delay,
            } = case;
            println!(
                "| {octets} octets, {rate_bps} bit/s, {} ms | {who} | {carried} |",
                delay.as_millis()
            );
        }
    }
}
