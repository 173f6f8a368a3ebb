//! What PPP agreed on with proved far ends, for their next call.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

use link::{Agreement, Expected};

/// Agreements kept at once: enough for the terminals of any one server; others begin with PPP's defaults.
const KEPT_MAX: usize = 100_000;

/// The last agreement with each far end.
#[derive(Debug)]
pub(crate) struct Agreements<Who>(Mutex<BTreeMap<Who, Agreement>>);

impl<Who: Ord> Agreements<Who> {
    /// What to expect of a link, if the far end is to have this address.
    pub(crate) fn expected(&self, who: &Who, address: Ipv4Addr) -> Option<Expected> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let agreement = *kept.get(who)?;
        (agreement.peer == Some(address)).then_some(Expected {
            agreement,
            connect: None,
        })
    }

    /// Keeps the agreed options for the next call; `None`: expect nothing.
    pub(crate) fn keep(&self, who: Who, agreement: Option<Agreement>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match agreement {
            Some(agreement) if kept.len() < KEPT_MAX || kept.contains_key(&who) => {
                kept.insert(who, agreement);
            }
            Some(_) => {}
            None => drop(kept.remove(&who)),
        }
    }
}

impl<Who> Default for Agreements<Who> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}
