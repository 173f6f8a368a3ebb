//! What a terminal takes whenever it has said nothing else: `[conditions]` of its config.
//!
//! ```text
//!   STATE/outbox/standing.json   the values last reported to the server, and until when they hold there
//! ```
//!
//! A server keeps conditions for 31 days at most: they are said again, on a session that there is anyway, when half of that is over.

use std::fs;

use delivery::proof::write_secret;
use delivery::{Conditions, Said, Urgency};
use jiff::{SignedDuration, Timestamp};

use super::{Outbox, OutboxError};

/// The values last reported to the server.
const TOLD: &str = "standing.json";

/// For how long it is told; below what a server takes, whose clock may be another.
const TOLD_FOR: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Conditions without an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingConditions {
    /// The least urgent that the terminal takes.
    pub urgency: Urgency,
    /// The largest that it takes, in octets.
    pub size_max: Option<u64>,
    /// Why, in its operator's words.
    pub reason: String,
}

impl StandingConditions {
    fn for_a_while(&self, now: Timestamp) -> Conditions {
        let Self {
            urgency,
            size_max,
            reason,
        } = self.clone();
        Conditions {
            urgency,
            size_max,
            until: now.saturating_add(TOLD_FOR).unwrap_or(Timestamp::MAX),
            reason,
        }
    }
}

impl Outbox {
    /// The same, with what this terminal takes whenever it has said nothing else.
    #[must_use]
    pub fn with_standing(self, standing: Option<StandingConditions>) -> Self {
        Self { standing, ..self }
    }

    /// What this terminal takes for now: what it has said, or what always holds.
    pub fn conditions(&self) -> Option<Conditions> {
        let now = Timestamp::now();
        let stated = self.stated().filter(|stated| stated.until > now);
        stated.or_else(|| {
            self.standing
                .as_ref()
                .map(|standing| standing.for_a_while(now))
        })
    }

    /// Puts in what always holds, or that it holds no longer, unless the server knows it.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub fn say_standing(&self) -> Result<(), OutboxError> {
        let now = Timestamp::now();
        if self.stated().is_some_and(|stated| stated.until > now) {
            return Ok(()); // when that is over
        }
        let path = self.folder.join(TOLD);
        let told = fs::read(&path)
            .ok()
            .and_then(|told| serde_json::from_slice(&told).ok());
        let told = told.and_then(|told| Conditions::from_json(told).ok());
        match (&self.standing, told) {
            (None, None) => {}
            (None, Some(_)) => {
                let everything = Conditions {
                    urgency: Urgency::Bulk,
                    size_max: None,
                    until: now,
                    reason: String::new(),
                };
                self.add(&Said::Conditions(everything), &[])?;
                self.forget_told();
            }
            (Some(standing), told) => {
                let wanted = standing.for_a_while(now);
                let is_known = told.is_some_and(|told| {
                    let is_fresh = told.until.duration_since(now) > TOLD_FOR / 2;
                    is_fresh
                        && Conditions {
                            until: wanted.until,
                            ..told
                        } == wanted
                });
                if !is_known {
                    let text = wanted.to_json().to_string();
                    // A crash between the two says it twice.
                    self.add(&Said::Conditions(wanted), &[])?;
                    write_secret(&path, text.as_bytes()).map_err(|source| self.failed(source))?;
                }
            }
        }
        Ok(())
    }

    /// The reported value changes.
    pub(super) fn forget_told(&self) {
        let _ = fs::remove_file(self.folder.join(TOLD)); // or it is said once more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roaming() -> StandingConditions {
        StandingConditions {
            urgency: Urgency::Urgent,
            size_max: Some(5000),
            reason: "metered".into(),
        }
    }

    /// What waits to be said, the oldest first.
    fn said(outbox: &Outbox) -> Vec<(Urgency, bool)> {
        let said = outbox
            .list()
            .unwrap()
            .into_iter()
            .map(|entry| match entry.head.says.unwrap() {
                Said::Conditions(conditions) => {
                    (conditions.urgency, conditions.until > Timestamp::now())
                }
                other => panic!("{other:?}"),
            });
        said.collect()
    }

    #[test]
    fn what_always_holds_is_said_once_and_again_when_it_is_another_or_holds_no_longer() {
        let state = tempfile::tempdir().unwrap();
        let open = |standing| Outbox::new(state.path()).with_standing(standing);
        open(None).say_standing().unwrap();
        assert_eq!(said(&open(None)), []);
        for _ in 0..2 {
            open(Some(roaming())).say_standing().unwrap();
            assert_eq!(said(&open(None)), [(Urgency::Urgent, true)]);
        }
        open(Some(StandingConditions {
            size_max: None,
            ..roaming()
        }))
        .say_standing()
        .unwrap();
        assert_eq!(said(&open(None)).len(), 2);
        for _ in 0..2 {
            open(None).say_standing().unwrap();
            assert_eq!(said(&open(None)).last(), Some(&(Urgency::Bulk, false)));
            assert_eq!(said(&open(None)).len(), 3);
        }
        assert_eq!(open(None).conditions(), None);
    }

    #[test]
    fn what_was_said_for_a_while_goes_before_what_always_holds_and_ends() {
        let state = tempfile::tempdir().unwrap();
        let outbox = Outbox::new(state.path()).with_standing(Some(roaming()));
        outbox.say_standing().unwrap();
        let everything = |until| Conditions {
            urgency: Urgency::Bulk,
            size_max: None,
            until,
            reason: String::new(),
        };
        outbox
            .state(everything(
                Timestamp::now()
                    .saturating_add(SignedDuration::from_hours(1))
                    .unwrap(),
            ))
            .unwrap();
        assert_eq!(outbox.conditions().unwrap().urgency, Urgency::Bulk);
        outbox.say_standing().unwrap();
        assert_eq!(said(&outbox).len(), 2, "nothing is said while that holds");
        outbox.state(everything(Timestamp::now())).unwrap();
        assert_eq!(outbox.conditions().unwrap().urgency, Urgency::Urgent);
        outbox.say_standing().unwrap();
        assert_eq!(
            said(&outbox).last(),
            Some(&(Urgency::Urgent, true)),
            "the server is told again"
        );
    }
}
