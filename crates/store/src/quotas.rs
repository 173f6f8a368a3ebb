//! Pure. How much may wait: of each provider, and for each terminal.

use std::fmt;

use model::directory::Name;

/// A limit to what waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Messages.
    pub messages: u64,
    /// Octets of their contents.
    pub octets: u64,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            messages: u64::MAX,
            octets: u64::MAX,
        }
    }
}

/// The limits of a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Of each provider: messages of which an envelope waits.
    pub provider: Quota,
    /// For each terminal: its envelopes that wait.
    pub terminal: Quota,
}

/// Whose quota it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A provider's.
    Provider(Name),
    /// A terminal's.
    Terminal(Name),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Provider(name) => write!(f, "of provider {name}"),
            Self::Terminal(name) => write!(f, "for terminal {name}"),
        }
    }
}

/// No more may wait: the submission is refused, what was accepted stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at most {max} {unit} may wait {holder}; send again when some have been delivered")]
pub struct OverQuota {
    /// Whose.
    pub holder: Holder,
    /// Messages or octets.
    pub unit: &'static str,
    /// The limit.
    pub max: u64,
}

/// What waits already.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    pub(super) messages: u64,
    pub(super) octets: u64,
}

/// A quota of which four fifths are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearQuota {
    /// Whose.
    pub holder: Holder,
    /// Messages or octets.
    pub unit: &'static str,
    /// What waits.
    pub waiting: u64,
    /// The limit.
    pub max: u64,
}

impl NearQuota {
    /// Whose quota it is, and of what.
    pub fn subject(&self) -> String {
        format!("{}: {}", self.holder, self.unit)
    }
}

impl fmt::Display for NearQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            holder,
            unit,
            waiting,
            max,
        } = self;
        write!(
            f,
            "{waiting} of {max} {unit} wait {holder}; more than that is refused"
        )
    }
}

impl Quota {
    /// Checks whether a message of `size` octets may wait, too.
    pub(super) fn check(
        &self,
        waits: Waits,
        size: u64,
        holder: impl Fn() -> Holder,
        near: &mut Vec<NearQuota>,
    ) -> Result<(), OverQuota> {
        for (unit, before, more, max) in [
            ("messages", waits.messages, 1, self.messages),
            ("octets", waits.octets, size, self.octets),
        ] {
            let after = before.saturating_add(more);
            if after > max {
                return Err(OverQuota {
                    holder: holder(),
                    unit,
                    max,
                });
            }
            let mark = mark(max);
            if after >= mark && before < mark {
                near.push(NearQuota {
                    holder: holder(),
                    unit,
                    waiting: after,
                    max,
                });
            }
        }
        Ok(())
    }

    /// Those of which four fifths are used.
    pub(super) fn near(&self, waits: Waits, holder: &Holder) -> Vec<NearQuota> {
        [
            ("messages", waits.messages, self.messages),
            ("octets", waits.octets, self.octets),
        ]
        .into_iter()
        .filter(|(_, waiting, max)| *waiting >= mark(*max))
        .map(|(unit, waiting, max)| NearQuota {
            holder: holder.clone(),
            unit,
            waiting,
            max,
        })
        .collect()
    }
}

/// Four fifths without an overflow: the limit may be the largest number there is.
pub(super) fn mark(max: u64) -> u64 {
    max - max / 5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_fifths_are_told_once_on_the_way_up_and_the_limit_is_a_limit() {
        let quota = Quota {
            messages: 10,
            octets: u64::MAX,
        };
        let holder = || Holder::Terminal("owner".parse().unwrap());
        let mut near = Vec::new();
        let waits = |messages| Waits {
            messages,
            octets: messages * 100,
        };
        for before in 0..10 {
            quota.check(waits(before), 100, holder, &mut near).unwrap();
        }
        let told: Vec<_> = near.iter().map(|near| (near.unit, near.waiting)).collect();
        assert_eq!(told, [("messages", 8)]);
        let over = quota.check(waits(10), 100, holder, &mut near).unwrap_err();
        assert_eq!((over.unit, over.max), ("messages", 10));
    }
}
