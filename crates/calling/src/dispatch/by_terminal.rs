//! What is kept for each terminal.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};

use delivery::TerminalId;

/// A map by terminal of one cache miss per look-up, where an ordered map of a million has several. The hash has no random key, so
/// that a run repeats exactly; ids are random octets of the server's own, so that nobody makes them collide. Nothing may depend on
/// the order of its entries.
pub(super) type ByTerminal<T> = HashMap<TerminalId, T, BuildHasherDefault<DefaultHasher>>;
