//! The telephone company's bill: what the exchange in software charges, by nothing of the server's own arithmetic.

use std::time::Duration;

use exchange::Tariff;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use model::money::Micros;
use toml::Table;

/// The exchange's reading of a tariff that the server reads, too: the same keys, but for its name, which there is elsewhere.
pub(crate) fn tariff(text: &str) -> Tariff {
    let mut table: Table = text.parse().expect("the world's tariffs are TOML");
    table.remove("name");
    table
        .to_string()
        .parse()
        .expect("the world's tariffs are the exchange's, too")
}

/// What a call costs that was answered then and lasted so long.
pub(crate) fn bill(tariff: &Tariff, answered: DateTime, lasted: Duration) -> Micros {
    let answered = answered
        .to_zoned(TimeZone::UTC)
        .expect("a time of this century");
    Micros(tariff.price(Some((answered, lasted)), 0).0)
}
