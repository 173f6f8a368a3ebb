//! What bench programs and `cargo xtask bench` share: how much is measured, and the rows of a table of figures. Bench programs take this
//! file as a module of their own.

#![allow(dead_code, reason = "each takes its part")]

use std::fmt::Display;

/// The environment variable that tells a bench program to do its least.
pub(crate) const SHORTEST: &str = "RINGUP_BENCH_SHORTEST";

/// The first line of a table of figures.
pub(crate) const FIGURES: &str = "| figure | wanted | measured | |";

/// The full extent, or the least, with which it can only be seen that a bench runs: `cargo xtask bench --shortest`.
pub(crate) fn extent<T>(full: T, least: T) -> T {
    if std::env::var_os(SHORTEST).is_some() {
        least
    } else {
        full
    }
}

/// Prints a row of a figure that has no target.
pub(crate) fn figure(what: impl Display, measured: impl Display) {
    println!("| {what} | - | {measured} | |");
}

/// Prints a row of a figure that has one.
pub(crate) fn target(
    what: impl Display,
    wanted: impl Display,
    measured: impl Display,
    is_met: bool,
) {
    println!("| {what} | {wanted} | {measured} | {} |", verdict(is_met));
}

pub(crate) fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "**missed**" }
}
