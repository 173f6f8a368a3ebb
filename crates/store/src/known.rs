//! What intake asks of the directory again and again, kept in memory: providers by token and by name, terminals by destination.
//!
//! Only what exists is kept, so strangers fill nothing. Every change of the directory empties it, after the change is on
//! the disk; what was read before a change is not learned after it. A terminal's connection changes twice with each call: that
//! empties the entry of this terminal alone.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use delivery::TerminalId;

use model::directory::{Name, Terminal};
use model::provider::Provider;

/// Entries of each kind. Past that it is emptied: it fills again in no time.
const ENTRIES_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Known {
    facts: RwLock<Facts>,
}

#[derive(Debug, Default)]
struct Facts {
    /// Counts the changes.
    generation: u64,
    providers: HashMap<[u8; 32], Provider>,
    providers_named: HashMap<Name, Provider>,
    /// Whom a destination names.
    named: HashMap<String, TerminalId>,
    terminals: HashMap<TerminalId, Terminal>,
}

impl Known {
    /// To be asked before the directory is read, and told with what was read.
    pub(super) fn generation(&self) -> u64 {
        self.read().generation
    }

    pub(super) fn provider(&self, token: &[u8; 32]) -> Option<Provider> {
        self.read().providers.get(token).cloned()
    }

    pub(super) fn provider_named(&self, name: &Name) -> Option<Provider> {
        self.read().providers_named.get(name).cloned()
    }

    pub(super) fn terminal(&self, id: TerminalId) -> Option<Terminal> {
        self.read().terminals.get(&id).cloned()
    }

    /// The terminal that a destination names.
    pub(super) fn named(&self, destination: &str) -> Option<Terminal> {
        let facts = self.read();
        facts.terminals.get(facts.named.get(destination)?).cloned()
    }

    pub(super) fn learn_provider(&self, read_at: u64, token: [u8; 32], provider: Provider) {
        let mut facts = self.write();
        if facts.generation == read_at {
            if facts.providers.len() >= ENTRIES_MAX {
                facts.providers.clear();
            }
            facts.providers.insert(token, provider);
        }
    }

    pub(super) fn learn_provider_named(&self, read_at: u64, provider: Provider) {
        let mut facts = self.write();
        if facts.generation == read_at {
            if facts.providers_named.len() >= ENTRIES_MAX {
                facts.providers_named.clear();
            }
            let name = provider.name.clone();
            facts.providers_named.insert(name, provider);
        }
    }

    /// `named`: the destination by which it was looked for, if it was not its id.
    pub(super) fn learn_terminal(&self, read_at: u64, named: Option<String>, terminal: Terminal) {
        let mut facts = self.write();
        if facts.generation == read_at {
            if facts.terminals.len() >= ENTRIES_MAX || facts.named.len() >= ENTRIES_MAX {
                facts.terminals.clear();
                facts.named.clear();
            }
            facts.named.extend(named.map(|named| (named, terminal.id)));
            facts.terminals.insert(terminal.id, terminal);
        }
    }

    /// One terminal has changed, and not what names it.
    pub(super) fn forget_terminal(&self, id: TerminalId) {
        let mut facts = self.write();
        facts.generation += 1;
        facts.terminals.remove(&id);
    }

    pub(super) fn forget_providers(&self) {
        let mut facts = self.write();
        facts.generation += 1;
        facts.providers.clear();
        facts.providers_named.clear();
    }

    pub(super) fn forget_terminals(&self) {
        let mut facts = self.write();
        facts.generation += 1;
        facts.terminals.clear();
        facts.named.clear();
    }

    fn read(&self) -> RwLockReadGuard<'_, Facts> {
        self.facts.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Facts> {
        self.facts.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider() -> Provider {
        Provider {
            name: "vending".parse().unwrap(),
            number: None,
            may_send: vec![],
            is_disabled: false,
        }
    }

    #[test]
    fn what_was_read_before_a_change_is_not_learned_after_it() {
        let known = Known::default();
        let before = known.generation();
        known.forget_terminals();
        known.learn_provider(before, [1; 32], provider());
        assert_eq!(known.provider(&[1; 32]), None);
        known.learn_provider(known.generation(), [1; 32], provider());
        assert_eq!(known.provider(&[1; 32]), Some(provider()));
        let name = provider().name;
        known.learn_provider_named(before, provider());
        assert_eq!(known.provider_named(&name), None);
        known.learn_provider_named(known.generation(), provider());
        assert_eq!(known.provider_named(&name), Some(provider()));
        known.forget_providers();
        assert_eq!(known.provider_named(&name), None);
    }

    #[test]
    fn a_terminal_that_is_called_makes_no_other_one_forgotten() {
        let known = Known::default();
        let terminal = |number: u8| Terminal {
            id: TerminalId::from_octets([number; 8]),
            name: format!("t{number}").parse().unwrap(),
            number: None,
            address: None,
            connection: model::directory::Connection::Down,
            trusted_by: model::directory::TrustedBy::default(),
        };
        for number in 1..=2 {
            let learned = terminal(number);
            known.learn_terminal(known.generation(), Some(learned.name.to_string()), learned);
        }
        let before = known.generation();
        known.forget_terminal(terminal(1).id);
        assert_eq!(
            (known.named("t1"), known.terminal(terminal(1).id)),
            (None, None)
        );
        assert_eq!(
            (known.named("t2"), known.terminal(terminal(2).id)),
            (Some(terminal(2)), Some(terminal(2)))
        );
        known.learn_terminal(before, None, terminal(1));
        assert_eq!(
            known.terminal(terminal(1).id),
            None,
            "what was read before is stale"
        );
    }

    #[test]
    fn it_never_keeps_more_than_its_bound() {
        let known = Known::default();
        for number in 0..=ENTRIES_MAX {
            let mut token = [0; 32];
            token[..8].copy_from_slice(&number.to_le_bytes());
            known.learn_provider(known.generation(), token, provider());
        }
        assert_eq!(known.read().providers.len(), 1);
    }
}
