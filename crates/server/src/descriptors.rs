//! File descriptors of this process: what connections from outside may hold, and what stays for operator, store and lines.
//!
//! **Bounded:** of the descriptors that are free at the start, connections from outside get half, the operator's socket a
//! sixteenth (4 to 32). The rest is for content files, the database, lines, webhooks, feeds and outgoing mail.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that a line opens later, its capture with it.
const OF_A_LINE: usize = 3;

/// What is counted where the system does not say how many are open.
const OPEN_USUALLY: usize = 32;

/// More than this is never asked for: seats are memory, too.
const USED_MAX: usize = 1 << 20;

/// Seats of the operator's socket.
const OPERATOR_MIN: usize = 4;
const OPERATOR_MAX: usize = 32;

/// The descriptors that are free at the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Descriptors {
    free: usize,
}

impl Descriptors {
    /// Raises the limit to what the process may have, and counts what is free beside this many lines.
    pub(crate) fn of_process(lines: usize) -> Self {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let is_raised = current != maximum
            && setrlimit(
                Resource::Nofile,
                Rlimit {
                    current: maximum,
                    maximum,
                },
            )
            .is_ok();
        let limit = if is_raised { maximum } else { current };
        let limit = limit
            .map_or(USED_MAX, |limit| usize::try_from(limit).unwrap_or(USED_MAX))
            .min(USED_MAX);
        let open = fs::read_dir("/proc/self/fd").map_or(OPEN_USUALLY, Iterator::count);
        let found = Self {
            free: limit.saturating_sub(open + lines * OF_A_LINE),
        };
        if found.outside() < 64 {
            tracing::warn!(
                limit,
                connections = found.outside(),
                "few file descriptors: raise the limit (ulimit -n)"
            );
        }
        found
    }

    /// Connections of all listeners but the operator's.
    fn outside(self) -> usize {
        self.free / 2
    }

    /// Connections at the operator's socket.
    pub(crate) fn operator(self) -> usize {
        (self.free / 16).clamp(OPERATOR_MIN, OPERATOR_MAX)
    }

    /// What one share is, where the listeners have this many.
    pub(crate) fn share(self, shares: usize) -> usize {
        (self.outside() / shares.max(1)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_64_descriptors_outside_operator_and_the_rest_have_some_each() {
        let few = Descriptors { free: 64 - 24 };
        assert_eq!((few.operator(), few.share(1), few.share(3)), (4, 20, 6));
        assert!(few.operator() + few.share(1) + 12 <= few.free);
    }

    #[test]
    fn with_none_free_each_has_one_and_the_operator_four() {
        let none = Descriptors { free: 0 };
        assert_eq!((none.operator(), none.share(3)), (4, 1));
    }
}
