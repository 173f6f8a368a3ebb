//! A terminal's last call, as far as it matters for the next.

use std::time::Instant;

use super::lines::LineIndex;

/// One entry for each terminal that was ever called or connected: one look-up per call.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LastCall {
    /// The line that worked last.
    pub(super) line: Option<LineIndex>,
    /// No call to the terminal before this: its modem hangs up and is initialised.
    pub(super) guard_until: Option<Instant>,
}
