//! When and how which terminal may be called, by the config.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::TerminalConditions;
use calling::dispatch::{Conditions, Route};
use model::directory::Name;

/// What holds for which terminal.
pub(super) struct Calendar {
    by_name: BTreeMap<Name, usize>,
    usual: Option<usize>,
    all: Vec<(Arc<Conditions>, Option<Duration>)>,
    none: Arc<Conditions>,
}

impl Calendar {
    pub(super) fn new(rules: Vec<TerminalConditions>) -> Self {
        let mut calendar = Self { by_name: BTreeMap::new(), usual: None, all: Vec::new(), none: Arc::default() };
        for (index, rule) in rules.into_iter().enumerate() {
            let TerminalConditions { terminals, hours, closed, lines, silent_after } = rule;
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
            calendar.all.push((Arc::new(Conditions { hours, closed, route }), silent_after));
        }
        calendar
    }

    /// Whether the silence of any terminal is watched.
    pub(super) fn watches(&self) -> bool {
        self.all.iter().any(|(_, silent_after)| silent_after.is_some())
    }

    pub(super) fn of(&self, terminal: &Name) -> (&Arc<Conditions>, Option<Duration>) {
        let index = self.by_name.get(terminal).copied().or(self.usual);
        index.map_or((&self.none, None), |index| (&self.all[index].0, self.all[index].1))
    }
}
