//! Reads the keys of a TOML table one by one, and gathers every fault on the way, so that one run shows all of them.

use ::settings::Fault;
use jiff::SignedDuration;
use std::{collections::BTreeSet, ops::RangeInclusive, time::Duration};
use toml::{Table, Value};

/// Longest time that can be set.
const TIME_MAX: Duration = Duration::from_secs(3600);

/// The faults found so far.
#[derive(Debug, Default)]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

impl Faults {
    pub(crate) fn add(&mut self, key: impl Into<String>, problem: impl Into<String>) {
        self.0.push(Fault::new(key, problem));
    }
}

/// One table, being read: each key is taken once, and what is left at the end is a stranger.
pub(crate) struct Keys<'f> {
    table: Table,
    prefix: String,
    /// The keys that were asked for.
    known: BTreeSet<String>,
    pub(crate) faults: &'f mut Faults,
}

impl<'f> Keys<'f> {
    /// `prefix` precedes each key in an error, as `station[1].`.
    pub(crate) fn new(table: Table, prefix: impl Into<String>, faults: &'f mut Faults) -> Self {
        Self {
            table,
            prefix: prefix.into(),
            known: BTreeSet::new(),
            faults,
        }
    }

    /// The whole name of a key.
    pub(crate) fn name(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    pub(crate) fn fault(&mut self, key: &str, problem: impl Into<String>) {
        self.faults.add(format!("{}{key}", self.prefix), problem);
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub(crate) fn take(&mut self, key: &str) -> Option<Value> {
        self.known.insert(key.to_owned());
        self.table.remove(key)
    }

    pub(crate) fn text(&mut self, key: &str) -> Option<String> {
        match self.take(key)? {
            Value::String(text) => Some(text),
            _ => self.miss(key, "must be text in quotes"),
        }
    }

    pub(crate) fn flag(&mut self, key: &str) -> Option<bool> {
        match self.take(key)? {
            Value::Boolean(flag) => Some(flag),
            _ => self.miss(key, "must be true or false"),
        }
    }

    pub(crate) fn number<T: TryFrom<i64>>(
        &mut self,
        key: &str,
        range: RangeInclusive<i64>,
    ) -> Option<T> {
        let Value::Integer(number) = self.take(key)? else {
            return self.miss(key, "must be a whole number");
        };
        match T::try_from(number) {
            Ok(checked) if range.contains(&number) => Some(checked),
            _ => self.miss(
                key,
                format!("{number} is not from {} to {}", range.start(), range.end()),
            ),
        }
    }

    /// A share of all, such as 1e-5.
    pub(crate) fn share(&mut self, key: &str, max: f64) -> Option<f64> {
        let share = match self.take(key)? {
            Value::Float(share) => share,
            Value::Integer(0) => 0.0,
            _ => return self.miss(key, "must be a number such as 1e-5"),
        };
        if (0.0..=max).contains(&share) {
            Some(share)
        } else {
            self.miss(key, format!("is not from 0 to {max}"))
        }
    }

    /// A time such as `60ms` or `1m 30s`.
    pub(crate) fn time(&mut self, key: &str) -> Option<Duration> {
        let text = self.text(key)?;
        match text.parse::<SignedDuration>().map(Duration::try_from) {
            Ok(Ok(time)) if time <= TIME_MAX => Some(time),
            Ok(Ok(_)) => self.miss(key, "is longer than 1 h"),
            Ok(Err(_)) => self.miss(key, "is negative"),
            Err(_) => self.miss(
                key,
                format!("\"{text}\" is not a time such as \"60ms\" or \"6s\""),
            ),
        }
    }

    pub(crate) fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = choices
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, choice)| *choice);
        found.or_else(|| {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            self.miss(
                key,
                format!("\"{text}\" is not one of {}", names.join(", ")),
            )
        })
    }

    pub(crate) fn tables(&mut self, key: &str) -> Vec<Table> {
        let tables = match self.take(key) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items
                .into_iter()
                .map(|item| item.try_into().ok())
                .collect::<Option<_>>(),
            Some(_) => None,
        };
        tables
            .or_else(|| self.miss(key, format!("must be tables: [[{key}]]")))
            .unwrap_or_default()
    }

    pub(crate) fn table(&mut self, key: &str) -> Table {
        match self.take(key) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(_) => self
                .miss(key, format!("must be a table: [{key}]"))
                .unwrap_or_default(),
        }
    }

    /// What has not been read by now is not known.
    pub(crate) fn end(mut self) {
        for key in std::mem::take(&mut self.table).keys() {
            let known = self.known.iter().map(String::as_str);
            let fault = Fault::unknown(self.name(key), key, known);
            self.faults.0.push(fault);
        }
    }

    fn miss<T>(&mut self, key: &str, problem: impl Into<String>) -> Option<T> {
        self.fault(key, problem);
        None
    }
}
