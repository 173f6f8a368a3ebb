//! A file's tables while they are read.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use modem::{ADDED_MAX, Command, Profile, Setup};
use toml::{Table, Value};

use super::{ConfigError, Fault, read_text};

/// Reads a file and hands its top table to `check`.
pub(crate) fn load<T>(
    path: &Path,
    check: impl FnOnce(&mut Section<'_>) -> Option<T>,
) -> Result<T, ConfigError> {
    let text = read_text(path)?;
    let table = text
        .parse::<Table>()
        .map_err(|error| ConfigError::whole(path, error.to_string()))?;
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut faults = Vec::new();
    let mut top = Section::new(String::new(), table, &folder, &mut faults);
    let checked = check(&mut top);
    top.finish();
    match checked {
        Some(config) if faults.is_empty() => Ok(config),
        _ => {
            settings::locate(&text, &mut faults);
            Err(ConfigError {
                path: path.to_owned(),
                faults,
                unread: None,
            })
        }
    }
}

/// A table of a file while it is being read: every key is taken out, what is left at the end is unknown.
pub(crate) struct Section<'a> {
    pub(super) name: String,
    pub(super) table: Table,
    folder: &'a Path,
    pub(super) faults: &'a mut Vec<Fault>,
    /// The keys that were asked for.
    known: BTreeSet<String>,
}

impl<'a> Section<'a> {
    fn new(name: String, table: Table, folder: &'a Path, faults: &'a mut Vec<Fault>) -> Self {
        Self {
            name,
            table,
            folder,
            faults,
            known: BTreeSet::new(),
        }
    }
}

impl Section<'_> {
    /// Takes a key out.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.known.insert(key.to_owned());
        self.table.remove(key)
    }

    fn path_of(&self, key: &str) -> String {
        if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        }
    }

    pub(crate) fn fault(&mut self, key: &str, problem: impl fmt::Display) {
        let fault = Fault::new(self.path_of(key), problem.to_string());
        self.faults.push(fault);
    }

    /// A text that is parsed. `None` if it is not there, or wrong (which is noted).
    pub(crate) fn parsed<T: FromStr<Err: fmt::Display>>(&mut self, key: &str) -> Option<T> {
        match self.take(key)? {
            Value::String(text) => match text.parse() {
                Ok(value) => return Some(value),
                Err(error) => self.fault(key, with_text(&text, &error.to_string())),
            },
            other => self.fault(
                key,
                format!("is {} and must be text in quotes", kind(&other)),
            ),
        }
        None
    }

    /// As [`Section::parsed`], but its absence is a fault, which says what is expected.
    pub(crate) fn required<T: FromStr<Err: fmt::Display>>(
        &mut self,
        key: &str,
        expected: &str,
    ) -> Option<T> {
        if !self.table.contains_key(key) {
            self.fault(key, format!("is missing; {expected}"));
        }
        self.parsed(key)
    }

    /// A path, relative to the file's folder.
    pub(crate) fn path(&mut self, key: &str) -> Option<PathBuf> {
        let path = self.parsed::<String>(key)?;
        Some(self.folder.join(path))
    }

    /// The file's folder.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.to_owned()
    }

    /// A time with its unit, such as `"90s"`, `"250ms"` or `"7d"`; a day has 24 hours.
    pub(crate) fn time(&mut self, key: &str, default: Duration) -> Duration {
        let Some(text) = self.parsed::<String>(key) else {
            return default;
        };
        let span = text
            .parse::<Span>()
            .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
        let parsed = span.ok().and_then(|time| Duration::try_from(time).ok());
        parsed.unwrap_or_else(|| {
            self.fault(
                key,
                format!("{text:?} is not a time such as \"90s\", \"250ms\", \"1m\" or \"7d\""),
            );
            default
        })
    }

    /// A whole number of at least 1.
    pub(crate) fn count(&mut self, key: &str, default: u64) -> u64 {
        match self.take(key) {
            None => default,
            Some(Value::Integer(number)) if number > 0 => number.unsigned_abs(),
            Some(other) => {
                self.fault(
                    key,
                    format!("is {other} and must be a whole number of at least 1"),
                );
                default
            }
        }
    }

    /// A list of texts that are parsed; those that are wrong are noted by their place.
    pub(crate) fn list<T: FromStr<Err: fmt::Display>>(&mut self, key: &str) -> Vec<T> {
        let items = match self.take(key) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.fault(
                    key,
                    format!(
                        "is {} and must be a list of texts: [\"...\", \"...\"]",
                        kind(&other)
                    ),
                );
                return Vec::new();
            }
        };
        let mut parsed = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let place = format!("{key}[{index}]");
            match item {
                Value::String(text) => match text.parse::<T>() {
                    Ok(value) => parsed.push(value),
                    Err(error) => self.fault(&place, with_text(&text, &error.to_string())),
                },
                other => self.fault(
                    &place,
                    format!("is {} and must be text in quotes", kind(&other)),
                ),
            }
        }
        parsed
    }

    /// A table below this one; an empty one if it is not there.
    pub(crate) fn section<T>(&mut self, key: &str, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        let table = match self.take(key) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(other) => {
                self.fault(
                    key,
                    format!("is {} and must be a table: [{key}]", kind(&other)),
                );
                Table::new()
            }
        };
        self.read_section(self.path_of(key), table, read)
    }

    /// Whether there is such a table.
    pub(crate) fn has(&mut self, key: &str) -> bool {
        self.known.insert(key.to_owned());
        self.table.contains_key(key)
    }

    /// A list of tables, `[[key]]`.
    pub(crate) fn sections<T>(
        &mut self,
        key: &str,
        mut read: impl FnMut(&mut Section<'_>) -> T,
    ) -> Vec<T> {
        let items = match self.take(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.fault(
                    key,
                    format!(
                        "is {} and must be a list of tables: [[{key}]]",
                        kind(&other)
                    ),
                );
                Vec::new()
            }
        };
        let mut all = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let name = format!("{}[{index}]", self.path_of(key));
            match item {
                Value::Table(table) => all.push(self.read_section(name, table, &mut read)),
                other => self.fault(
                    &format!("{key}[{index}]"),
                    format!("is {} and must be a table", kind(&other)),
                ),
            }
        }
        all
    }

    fn read_section<T>(
        &mut self,
        name: String,
        table: Table,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let mut section = Section::new(name, table, self.folder, self.faults);
        let value = read(&mut section);
        section.finish();
        value
    }

    /// What is left was not asked for.
    fn finish(&mut self) {
        for (key, _) in std::mem::take(&mut self.table) {
            let known = self.known.iter().map(String::as_str);
            let fault = Fault::unknown(self.path_of(&key), &key, known);
            self.faults.push(fault);
        }
    }
}

/// What every line says of its modem: `profile` and `init`.
pub(super) fn modem_setup(section: &mut Section<'_>) -> Setup {
    let profile = section.parsed::<Profile>("profile").unwrap_or_default();
    let added = section.list::<Command>("init");
    if added.len() > ADDED_MAX {
        section.fault(
            "init",
            format!(
                "has {} commands; at most {ADDED_MAX} are said before every call",
                added.len()
            ),
        );
    }
    Setup { profile, added }
}

/// What is wrong with a text, which is shown once.
fn with_text(text: &str, error: &str) -> String {
    let shown = format!("{text:?}");
    if error.contains(&shown) {
        error.to_owned()
    } else {
        format!("{shown}: {error}")
    }
}

pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str, check: impl FnOnce(&mut Section<'_>)) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        std::fs::write(&path, text).unwrap();
        let read = load(&path, |top| {
            check(top);
            Some(())
        });
        read.err()
            .into_iter()
            .flat_map(|error| error.faults)
            .map(|fault| format!("{}: {}", fault.key, fault.problem))
            .collect()
    }

    #[test]
    fn all_faults_of_a_file_are_reported_each_with_its_key() {
        let text = "count = 0\ntime = \"soon\"\nextra = 1\n[table]\nnumber = 5\nlist = [\"1\", \"x\", 2]\n[[row]]\nmore = 1";
        let found = faults(text, |top| {
            top.count("count", 1);
            top.time("time", Duration::ZERO);
            top.required::<String>("name", "a name");
            top.section("table", |section| {
                section.parsed::<line::Number>("number");
                section.list::<line::Number>("list");
            });
            top.sections("row", |_| ());
        });
        let keys: Vec<_> = found
            .iter()
            .map(|fault| fault.split(':').next().unwrap())
            .collect();
        assert_eq!(
            keys,
            [
                "count",
                "time",
                "name",
                "table.number",
                "table.list[1]",
                "table.list[2]",
                "row[0].more",
                "extra"
            ]
        );
    }

    #[test]
    fn an_unknown_key_is_told_with_the_one_that_was_meant_and_a_fault_with_its_line() {
        let text = "stat = \"x\"\n[table]\nzzz = 1\nlst = []\n[[row]]\nport = 1\n[[row]]\n";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        std::fs::write(&path, text).unwrap();
        let read = load(&path, |top| {
            top.path("state");
            top.section("table", |section| section.list::<line::Number>("list"));
            top.sections("row", |section| {
                section.required::<String>("port", "say where")
            });
            Some(())
        });
        let told = read.unwrap_err().to_string();
        for says in [
            "stat: unknown key (did you mean \"state\"?)",
            "table.zzz: unknown key",
            "table.lst: unknown key (did you mean \"list\"?)",
            "row[0].port: is a number and must be text in quotes",
            "row[1].port: is missing; say where",
        ] {
            assert!(told.contains(says), "{told} does not say {says}");
        }
    }

    #[test]
    fn what_is_not_toml_is_one_fault_that_shows_the_place() {
        let found = faults("a = [", |_| ());
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("line 1"), "{found:?}");
    }

    #[test]
    fn defaults_stand_where_nothing_is_said() {
        let found = faults("", |top| {
            assert_eq!(top.count("count", 7), 7);
            assert_eq!(
                top.time("time", Duration::from_secs(9)),
                Duration::from_secs(9)
            );
            assert_eq!(top.parsed::<String>("text"), None);
            assert!(!top.has("table"));
        });
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        faults("inbox = \"mail\"", |top| {
            let expected = top.folder().join("mail");
            assert_eq!(top.path("inbox"), Some(expected));
        });
    }
}
