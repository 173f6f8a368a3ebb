//! What PPP agreed on with the server, by the number of the call, so that the next call need not wait for it.
//!
//! One line each in `STATE/agreements`: `NUMBER AGREEMENT`. Losing it costs a round trip and a half on the next call.

use std::fs;
use std::path::{Path, PathBuf};

use delivery::proof::write_secret;
use link::Agreement;

/// Numbers remembered: a server has a few lines.
const NUMBERS_MAX: usize = 64;

/// The agreements of one machine. Only those with a server that has proved itself are to be kept.
#[derive(Debug, Clone)]
pub(crate) struct Agreements {
    path: PathBuf,
}

impl Agreements {
    /// Those kept in `state`.
    pub(crate) fn new(state: &Path) -> Self {
        Self {
            path: state.join("agreements"),
        }
    }

    /// What to expect on a call with this number. What cannot be read is not expected.
    pub(crate) fn of(&self, number: &str) -> Option<Agreement> {
        self.read()
            .into_iter()
            .find(|(known, _)| known == number)
            .map(|(_, agreement)| agreement)
    }

    /// Keeps what was agreed on this time; `None`: nothing is to be expected. Writes only what is new.
    pub(crate) fn keep(&self, number: &str, agreement: Option<Agreement>) {
        let mut all = self.read();
        let before = all
            .iter()
            .position(|(known, _)| known == number)
            .map(|place| all.remove(place));
        if before.map(|(_, agreement)| agreement) == agreement {
            return;
        }
        all.extend(agreement.map(|agreement| (number.to_owned(), agreement)));
        let surplus = all.len().saturating_sub(NUMBERS_MAX);
        let text: String = all[surplus..]
            .iter()
            .map(|(number, agreement)| format!("{number} {agreement}\n"))
            .collect();
        if let Err(error) = write_secret(&self.path, text.as_bytes()) {
            tracing::warn!(%error, "what PPP agreed on is not kept: the next call begins from nothing");
        }
    }

    fn read(&self) -> Vec<(String, Agreement)> {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let line = |line: &str| {
            let (number, agreement) = line.split_once(' ')?;
            Some((number.to_owned(), agreement.parse().ok()?))
        };
        text.lines().take(NUMBERS_MAX).filter_map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_agreed_is_remembered_by_number_until_it_does_not_hold() {
        let folder = tempfile::tempdir().unwrap();
        let agreements = Agreements::new(folder.path());
        assert_eq!(agreements.of("201"), None);
        let [one, other] = ["10.77.0.1", "10.77.0.9"].map(|peer| {
            format!("1500/00000000/pa 1500/00000000/pa 10.77.0.2 {peer}")
                .parse::<Agreement>()
                .unwrap()
        });
        agreements.keep("201", Some(one));
        agreements.keep("202", Some(other));
        assert_eq!(
            (
                agreements.of("201"),
                agreements.of("202"),
                agreements.of("20")
            ),
            (Some(one), Some(other), None)
        );
        agreements.keep("201", None);
        assert_eq!(
            (agreements.of("201"), agreements.of("202")),
            (None, Some(other))
        );
    }

    #[test]
    fn a_file_that_is_no_such_list_is_no_memory_and_no_error() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("agreements"), "201 nonsense\n\0\n202").unwrap();
        let agreements = Agreements::new(folder.path());
        assert_eq!((agreements.of("201"), agreements.of("202")), (None, None));
    }
}
