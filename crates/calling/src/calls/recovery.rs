//! Pure. A start: what was so when the last process ended counts on. And the silence of terminals, which a start does not interrupt.

use std::collections::BTreeMap;
use std::time::Duration;

use delivery::TerminalId;
use jiff::SignedDuration;

use super::{Calling, OnLine};
use crate::action::{Action, Job};
use crate::dispatch::{Input, Moment};
use crate::event::{Known, Recalled, Recovered};
use crate::ledger::Breaker;
use model::alarm::AlarmKind;
use model::directory::{Connection, Name};

/// A call whose end the last process did not see may go on at the terminal: it hangs up, and its starter initialises the
/// modem. A ring before that would be lost, with its number.
const UNKNOWN_END_GUARD: Duration = Duration::from_secs(5);

impl Calling {
    pub(super) fn recovered(&mut self, recovered: Recovered, now: Moment) {
        let Recovered {
            spent,
            loops,
            terminals,
            unanswered,
            just_ended,
            calls,
        } = recovered;
        for (accounts, amount) in spent {
            self.ledger.restore(accounts, amount);
        }
        self.breaker = Breaker::new(self.money.breaker, loops);
        for Recalled {
            terminal,
            call,
            via,
            is_invited,
        } in calls
        {
            // Not called again before it is known what became of that call.
            self.on_line.insert(
                call,
                OnLine {
                    is_invited,
                    ..OnLine::default()
                },
            );
            self.store(Job::Connect {
                terminal,
                connection: Connection::Calling(call),
            });
            self.feed(Input::Connected { terminal, via }, now);
        }
        let (mut by_number, mut by_name) = (BTreeMap::new(), BTreeMap::new());
        for Known {
            terminal,
            name,
            number,
            silent_for,
        } in terminals
        {
            by_number.extend(number.map(|number| (number, terminal)));
            by_name.insert(name.clone(), terminal);
            self.watch(terminal, name, silent_for, now);
        }
        let subjects = self.watched.values().map(Name::to_string).collect();
        self.actions.push_back(Action::Keep {
            kind: AlarmKind::TerminalSilent,
            subjects,
        });
        for party in just_ended {
            if let Some(terminal) = by_name.get(&party) {
                self.feed(
                    Input::HungUp {
                        terminal: *terminal,
                        guard: UNKNOWN_END_GUARD,
                    },
                    now,
                );
            }
        }
        for (number, ago) in unanswered {
            if let Some(terminal) = by_number.get(&number) {
                self.feed(
                    Input::CalledBefore {
                        terminal: *terminal,
                        ago,
                    },
                    now,
                );
            }
        }
        self.look_at_all();
    }

    /// Watches the silence of a terminal, if its conditions say so.
    pub(super) fn watch(
        &mut self,
        terminal: TerminalId,
        name: Name,
        silent_for: Duration,
        now: Moment,
    ) {
        let (_, after) = self.calendar.of(&name);
        if after.is_some() {
            self.watched.insert(terminal, name);
            self.feed(
                Input::Watch {
                    terminal,
                    after,
                    silent_for,
                },
                now,
            );
        }
    }

    pub(super) fn silent(&mut self, terminal: TerminalId, is_raised: bool) {
        let Some(name) = self.watched.get(&terminal).cloned() else {
            return;
        };
        if !is_raised {
            return self.clear(AlarmKind::TerminalSilent, &name);
        }
        let (_, after) = self.calendar.of(&name);
        let after = SignedDuration::try_from(after.unwrap_or_default()).unwrap_or_default();
        let detail = format!("not reached for {after:#}. See: ringup call list, ringup plan");
        self.raise(AlarmKind::TerminalSilent, &name, detail);
    }
}
