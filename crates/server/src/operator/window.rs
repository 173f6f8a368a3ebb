//! Which part of a list is asked for.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use serde::Deserialize;

use super::Refused;
use store::Last;

/// Entries of a list without `?last=N`.
const LIST_LAST: Last = Last(100);

/// Entries at most: each is read and written as a whole.
const LIST_MAX: u32 = 10_001;

/// `?last=N&after=ENTRY`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Window {
    pub(super) last: Option<u32>,
    pub(super) after: Option<String>,
}

impl Window {
    /// How many entries, and the one after which they begin, in the order of the list.
    pub(super) fn of(
        query: Result<Query<Self>, QueryRejection>,
    ) -> Result<(Last, Option<String>), Refused> {
        query.map_err(|_| wrong())?.0.read()
    }

    /// As [`Window::of`], for a list that takes more than a window.
    pub(super) fn read(self) -> Result<(Last, Option<String>), Refused> {
        match self.last {
            None => Ok((LIST_LAST, self.after)),
            Some(last @ 1..=LIST_MAX) => Ok((Last(last), self.after)),
            Some(_) => Err(wrong()),
        }
    }
}

fn wrong() -> Refused {
    Refused::bad(
        "last",
        format!("only ?last=N, N from 1 to {LIST_MAX}, and ?after=ENTRY are known here"),
    )
}
