//! The tariffs by name, and which is for which number.

use std::collections::BTreeMap;
use std::sync::Arc;

use line::Number;

use super::tariff::Tariff;

/// All tariffs of a server.
#[derive(Debug, Clone, Default)]
pub struct TariffBook(BTreeMap<String, Arc<Tariff>>);

/// Why tariffs make no book.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TariffBookError {
    /// Two of one name.
    #[error("two tariffs are named {0:?}")]
    Twice(String),
    /// A destination class names one that is not there.
    #[error(
        "the tariff {tariff:?} names {named:?} for some destinations, and there is none of that name"
    )]
    Missing {
        /// Where.
        tariff: String,
        /// What.
        named: String,
    },
}

impl TariffBook {
    /// # Errors
    /// [`TariffBookError`].
    pub fn new(tariffs: impl IntoIterator<Item = Tariff>) -> Result<Self, TariffBookError> {
        let mut book = BTreeMap::new();
        for tariff in tariffs {
            let name = tariff.name.clone();
            if book.insert(name.clone(), Arc::new(tariff)).is_some() {
                return Err(TariffBookError::Twice(name));
            }
        }
        for tariff in book.values() {
            if let Some(class) = tariff
                .destinations
                .iter()
                .find(|class| !book.contains_key(&class.tariff))
            {
                return Err(TariffBookError::Missing {
                    tariff: tariff.name.clone(),
                    named: class.tariff.clone(),
                });
            }
        }
        Ok(Self(book))
    }

    /// The tariff of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Tariff>> {
        self.0.get(name)
    }

    /// What a number is called at from a line with this tariff: that of the destination class with the longest prefix,
    /// else the line's own. A class's tariff is taken as it is: its own classes do not count.
    pub fn for_number<'a>(&'a self, line: &'a Arc<Tariff>, number: &Number) -> &'a Arc<Tariff> {
        let fitting = line
            .destinations
            .iter()
            .filter_map(|class| Some((class.fits(number)?, class)));
        let class = fitting.max_by_key(|(length, _)| *length);
        class
            .and_then(|(_, class)| self.get(&class.tariff))
            .unwrap_or(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(text: &str) -> Result<TariffBook, TariffBookError> {
        #[derive(serde::Deserialize)]
        struct File {
            tariff: Vec<Tariff>,
        }
        TariffBook::new(toml::from_str::<File>(text).unwrap().tariff)
    }

    #[test]
    fn the_longest_prefix_of_a_number_names_its_tariff() {
        let text = r#"
            [[tariff]]
            name = "near"
            [[tariff.destination]]
            prefixes = ["+81"]
            tariff = "far"
            [[tariff.destination]]
            prefixes = ["+8190", "+8180"]
            tariff = "mobile"
            [[tariff]]
            name = "far"
            [[tariff]]
            name = "mobile"
        "#;
        let book = book(text).unwrap();
        let line = book.get("near").unwrap();
        for (number, name) in [
            ("+81312345678", "far"),
            ("+819012345678", "mobile"),
            ("201", "near"),
        ] {
            assert_eq!(book.for_number(line, &number.parse().unwrap()).name, name);
        }
    }

    #[test]
    fn a_tariff_named_twice_or_not_there_is_told() {
        let text = "[[tariff]]\nname = \"a\"\n[[tariff]]\nname = \"a\"";
        assert_eq!(book(text).unwrap_err(), TariffBookError::Twice("a".into()));
        let text =
            "[[tariff]]\nname = \"a\"\n[[tariff.destination]]\nprefixes = [\"1\"]\ntariff = \"b\"";
        assert!(
            matches!(book(text).unwrap_err(), TariffBookError::Missing { named, .. } if named == "b")
        );
    }
}
