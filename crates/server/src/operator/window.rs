//! Which part of a list is asked for.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use serde::Deserialize;

use super::Refused;
use crate::store::Last;

/// Entries shown of a list that grows for ever, unless more are asked for with `?last=N`.
pub(super) const LIST_LAST: Last = Last(100);

/// Entries at most: each is read and written as a whole.
const LIST_MAX: u32 = 10_001;

/// `?last=N&after=ENTRY`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Window {
    last: Option<u32>,
    after: Option<String>,
}

impl Window {
    /// How many entries, and the one after which they begin, in the order of the list.
    pub(super) fn read(query: Result<Query<Self>, QueryRejection>) -> Result<(Last, Option<String>), Refused> {
        let wrong =
            || Refused::bad("last", format!("only ?last=N, N from 1 to {LIST_MAX}, and ?after=ENTRY are known here"));
        let Query(Self { last, after }) = query.map_err(|_| wrong())?;
        match last {
            None => Ok((LIST_LAST, after)),
            Some(last @ 1..=LIST_MAX) => Ok((Last(last), after)),
            Some(_) => Err(wrong()),
        }
    }
}
