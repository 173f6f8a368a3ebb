//! Calls to a number that fail one after another.

use jiff::Timestamp;

/// The calls to a number that failed since the last that did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loop {
    /// When the first of them was over.
    pub since: Timestamp,
    /// How many.
    pub failed: u32,
    /// It is left alone.
    pub is_broken: bool,
}
