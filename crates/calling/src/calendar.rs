//! Pure. Hours, days and routes of the terminals' calls, by the config.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use line::Hours;

use crate::dispatch::{Conditions, Route};
use model::directory::Name;

/// Calling rules of some terminals.
#[derive(Debug, Clone, Default)]
pub struct TerminalConditions {
    /// The terminals; empty: all that no other entry names.
    pub terminals: BTreeSet<Name>,
    /// Hours of the week.
    pub hours: Hours,
    /// Days without calls.
    pub closed: BTreeSet<Date>,
    /// The lines that reach them; empty: every line.
    pub lines: BTreeSet<Name>,
    /// Time without contact after which an alarm is raised.
    pub silent_after: Option<Duration>,
}

/// The calling rules of every terminal.
#[derive(Debug)]
pub(crate) struct Calendar {
    by_name: BTreeMap<Name, usize>,
    usual: Option<usize>,
    all: Vec<(Arc<Conditions>, Option<Duration>)>,
    none: Arc<Conditions>,
}

impl Calendar {
    pub(crate) fn new(rules: Vec<TerminalConditions>) -> Self {
        let mut calendar = Self {
            by_name: BTreeMap::new(),
            usual: None,
            all: Vec::new(),
            none: Arc::default(),
        };
        for (index, rule) in rules.into_iter().enumerate() {
            let TerminalConditions {
                terminals,
                hours,
                closed,
                lines,
                silent_after,
            } = rule;
            if terminals.is_empty() {
                calendar.usual.get_or_insert(index);
            }
            for terminal in terminals {
                calendar.by_name.entry(terminal).or_insert(index);
            }
            let route = match lines.is_empty() {
                true => Route::ALL,
                // The routes of `Rules` are counted from 1.
                false => Route(u16::try_from(index + 1).unwrap_or_default()),
            };
            calendar.all.push((
                Arc::new(Conditions {
                    hours,
                    closed,
                    route,
                }),
                silent_after,
            ));
        }
        calendar
    }

    pub(crate) fn of(&self, terminal: &Name) -> (&Arc<Conditions>, Option<Duration>) {
        let index = self.by_name.get(terminal).copied().or(self.usual);
        index.map_or((&self.none, None), |index| {
            (&self.all[index].0, self.all[index].1)
        })
    }
}
