//! How far a session has come, and how it ended.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::timeout_at;

use super::Ended;
use crate::dialup::deliver::{Broken, Tally};
use crate::dialup::line_task::Showing;
use crate::keys::{Admission, Admitted, NotAdmitted};
use model::outcome::Outcome;

/// What a call has come to so far.
pub(super) struct Course {
    /// The far end has shown a provider's token.
    pub(super) is_recognised: bool,
    /// A terminal was admitted.
    pub(super) is_admitted: bool,
    /// It has shown what it takes, admitted or not: it may have been too late, or revoked.
    pub(super) has_shown: bool,
}

impl Course {
    pub(super) fn is_proved(&self) -> bool {
        self.is_recognised || self.is_admitted
    }
}

/// How a link was served.
pub(crate) struct Served {
    pub(crate) outcome: Outcome,
    pub(crate) showing: Showing,
}

/// How the call counts: by its delivery, if there was one.
pub(in crate::dialup) fn outcome(finished: Option<Ended>, otherwise: Outcome) -> Outcome {
    match finished {
        // Nothing says when that call is over: it is looked at again, but not at once.
        Some(Ok(Ok(Tally { held: 1.., .. }))) => {
            Outcome::OurFault("another call has a message still".into())
        }
        Some(Ok(Ok(Tally {
            refused: 0,
            unreadable: 0,
            ..
        }))) => Outcome::Completed,
        Some(Ok(Ok(Tally {
            delivered,
            refused,
            unreadable,
            ..
        }))) => Outcome::MessagesRefused {
            delivered,
            refused,
            unreadable,
        },
        Some(Ok(Err(broken))) => {
            let why = broken.to_string();
            match broken {
                Broken::Session { under_way, .. } | Broken::Stock { under_way, .. } => {
                    Outcome::SessionLost {
                        why,
                        delivering: under_way,
                    }
                }
                Broken::PutOff { why, wait } => Outcome::PutOff { why, wait },
                Broken::NotAdmitted(NotAdmitted::Store(_)) | Broken::Store(_) => {
                    Outcome::OurFault(why)
                }
                Broken::NotAdmitted(_) => Outcome::NotProved(why),
            }
        }
        Some(Err(_)) => Outcome::OurFault("delivery failed".into()),
        None => otherwise,
    }
}

/// A terminal that has said who it is and not proved it yet.
pub(super) struct Proving {
    pub(super) admission: Admission,
    pub(super) until: tokio::time::Instant,
    pub(super) due: Arc<Notify>,
}

impl Proving {
    /// Waits until it is admitted. `None`: it is not, or not in time. May be dropped and called again.
    pub(super) async fn end(proving: &mut Option<Self>) -> Option<Admitted> {
        let Some(Self {
            admission, until, ..
        }) = proving
        else {
            return std::future::pending().await;
        };
        timeout_at(*until, admission.wait()).await.ok().flatten()
    }
}
