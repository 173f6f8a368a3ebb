//! The telephone company's bill: unit after unit, as a meter counts, by nothing of the server's own arithmetic.

use std::time::Duration;

use jiff::SignedDuration;
use jiff::civil::DateTime;
use server::ledger::{Day, Micros, Tariff};

/// What a call costs that was answered then and lasted so long.
pub(crate) fn bill(tariff: &Tariff, answered: DateTime, lasted: Duration, octets: u64) -> Micros {
    let mut sum = tariff.setup_fee.0;
    let mut passed = Duration::ZERO;
    while passed < lasted {
        let now = answered.saturating_add(SignedDuration::try_from(passed).unwrap_or_default());
        let day = match tariff.holidays.contains(&now.date()) {
            true => Day::Holiday,
            false => Day::Week(now.weekday().to_monday_zero_offset()),
        };
        let open = |window: &&server::ledger::Window| {
            window.days.contains(&day) && window.from <= now.time() && window.to.is_none_or(|to| now.time() < to)
        };
        match tariff.windows.iter().find(open) {
            Some(window) => {
                sum += window.price.0;
                passed += window.unit;
            }
            None => passed += Duration::from_secs(1), // free: a second at a time
        }
    }
    if let Some(price) = tariff.octets {
        let quanta = octets.max(price.minimum).div_ceil(price.quantum);
        sum += price.price.0 * i64::try_from(quanta).unwrap_or(i64::MAX);
    }
    Micros(sum.max(tariff.minimum.0))
}
