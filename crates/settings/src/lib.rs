//! Pure. Faults of settings: where they are in a TOML text, and how they are shown.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use toml::de::DeTable;

/// Longest part of a line that is shown, in characters.
const SHOWN_MAX: usize = 64;

/// One thing that is wrong: which key, what is wrong with it and what is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key's path, such as `line[1].port`; empty for the text as a whole.
    pub key: String,
    /// What is wrong, and what is expected.
    pub problem: String,
    /// Where it is, once [`locate`] has looked.
    pub place: Option<Place>,
    unknown: bool,
}

/// Where a fault is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    shown: String,
    caret: Range<usize>,
}

impl Fault {
    /// A fault of the value of `key`.
    pub fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            problem: problem.into(),
            place: None,
            unknown: false,
        }
    }

    /// A key that does not exist. `name` is its last part, `known` the keys that its table may have.
    pub fn unknown<'k>(
        key: impl Into<String>,
        name: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) -> Self {
        let problem = match nearest(name, known) {
            Some(meant) => format!("unknown key (did you mean {meant:?}?)"),
            None => "unknown key".to_owned(),
        };
        Self {
            unknown: true,
            ..Self::new(key, problem)
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => f.write_str(self.problem.trim_end()),
            key => write!(f, "{key}: {}", self.problem.trim_end()),
        }
    }
}

impl fmt::Display for Place {
    /// The line, and a caret below the fault.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let margin = self.line.to_string();
        let (blank, before) = (" ".repeat(margin.len()), " ".repeat(self.caret.start));
        let carets = "^".repeat(self.caret.len().max(1));
        write!(f, "{margin} | {}\n{blank} | {before}{carets}", self.shown)
    }
}

/// Finds the places of faults in the text that they are about. A missing key is at its table. What stands beside an unknown key is not
/// shown: it may be a secret, and faults go to logs.
pub fn locate(text: &str, faults: &mut [Fault]) {
    let Ok(document) = DeTable::parse(text) else {
        return;
    };
    for fault in &mut *faults {
        let span = span_of(document.get_ref(), fault);
        fault.place = span.and_then(|span| place(text, span));
    }
    let lines_of_unknown: BTreeSet<_> = faults
        .iter()
        .filter(|fault| fault.unknown)
        .filter_map(|fault| Some(fault.place.as_ref()?.line))
        .collect();
    for place in faults.iter_mut().filter_map(|fault| fault.place.as_mut()) {
        if lines_of_unknown.contains(&place.line) {
            place.show_fault_alone();
        }
    }
}

impl Place {
    /// Hides the rest of the line.
    fn show_fault_alone(&mut self) {
        let Range { start, end } = self.caret;
        let mut letters = self.shown.chars();
        let before: String = letters.by_ref().take(start).collect();
        let fault: String = letters.by_ref().take(end - start).collect();
        let indent = if before.trim().is_empty() {
            before
        } else {
            "… ".to_owned()
        };
        let after = if letters.all(char::is_whitespace) {
            ""
        } else {
            " …"
        };
        let start = indent.chars().count();
        self.caret = start..start + fault.chars().count();
        self.shown = format!("{indent}{fault}{after}");
    }
}

fn span_of(document: &DeTable<'_>, fault: &Fault) -> Option<Range<usize>> {
    let (mut table, mut found) = (document, None);
    for part in fault.key.split('.') {
        let (name, indices) = part.split_once('[').unwrap_or((part, ""));
        let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == name) else {
            break;
        };
        let mut value = value;
        let mut item = false;
        for index in indices.split('[').filter(|index| !index.is_empty()) {
            let index = index.trim_end_matches(']').parse::<usize>().ok();
            let items = value.get_ref().as_array();
            let Some(below) = index.and_then(|index| items?.get(index)) else {
                break;
            };
            (value, item) = (below, true);
        }
        let below = value.get_ref().as_table();
        let of_key = fault.unknown || below.is_some();
        found = Some(if of_key && !item {
            key.span()
        } else {
            value.span()
        });
        let Some(below) = below else { break };
        table = below;
    }
    found
}

fn place(text: &str, span: Range<usize>) -> Option<Place> {
    let before = text.get(..span.start)?;
    let begin = before.rfind('\n').map_or(0, |end| end + 1);
    let line = text.get(begin..)?.lines().next().unwrap_or("");
    let column = text.get(begin..span.start)?.chars().count();
    let length = text.get(span)?.lines().next().unwrap_or("").chars().count();
    let total = line.chars().count();
    let skipped = if column + length > SHOWN_MAX && total > SHOWN_MAX {
        column.saturating_sub(SHOWN_MAX / 4)
    } else {
        0
    };
    let visible = line.chars().skip(skipped).take(SHOWN_MAX);
    // One column for each character, and nothing that a terminal obeys.
    let shown = visible.map(|letter| if letter.is_control() { ' ' } else { letter });
    let shown = shown.collect::<String>().trim_end().to_owned();
    let start = column - skipped;
    Some(Place {
        line: 1 + before.matches('\n').count(),
        column: column + 1,
        shown,
        caret: start..(start + length).min(SHOWN_MAX),
    })
}

/// The known word that a wrong one is likely meant to be.
fn nearest<'k>(wrong: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let most = 1 + wrong.chars().count() / 4;
    let near = known
        .into_iter()
        .map(|word| (strsim::levenshtein(wrong, word), word));
    let near = near.filter(|(distance, _)| *distance <= most);
    near.min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, fault: Fault) -> String {
        let mut faults = [fault];
        locate(text, &mut faults);
        let place = faults[0].place.as_ref().expect("it has a place");
        format!("{}:{}\n{place}", place.line, place.column)
    }

    #[test]
    fn a_wrong_value_is_shown_with_its_line_and_a_caret() {
        let text = "a = 1\n[[row]]\nport = 5\n[[row]]\nlist = [\"1\", \"x\"]\n";
        let of = |key: &str| shown(text, Fault::new(key, "is wrong"));
        assert_eq!(of("row[0].port"), "3:8\n3 | port = 5\n  |        ^");
        assert_eq!(
            of("row[1].list[1]"),
            "5:14\n5 | list = [\"1\", \"x\"]\n  |              ^^^"
        );
        assert!(of("row[1].port").starts_with("4:1\n4 | [[row]]\n"));
    }

    #[test]
    fn an_unknown_key_is_shown_at_the_key_with_the_one_that_was_meant() {
        let fault = Fault::unknown("table.lst", "lst", ["list", "port"]);
        assert_eq!(
            fault.to_string(),
            "table.lst: unknown key (did you mean \"list\"?)"
        );
        let text = "[table]\nlst = []\n";
        assert_eq!(shown(text, fault), "2:1\n2 | lst …\n  | ^^^");
        let far = Fault::unknown("zzz", "zzz", ["list"]);
        assert_eq!(far.problem, "unknown key");
    }

    #[test]
    fn a_value_of_an_unknown_key_is_not_shown_whatever_is_wrong_on_its_line() {
        let text = "p = { tokn = \"rup_secret\", size = \"x\" }\n";
        let mut faults = [
            Fault::unknown("p.tokn", "tokn", ["token_file"]),
            Fault::new("p.size", "is no number"),
        ];
        locate(text, &mut faults);
        let [unknown, size] = faults.map(|fault| fault.place.unwrap().to_string());
        assert_eq!(unknown, "1 | … tokn …\n  |   ^^^^");
        assert_eq!(size, "1 | … \"x\" …\n  |   ^^^");
    }

    #[test]
    fn a_long_line_is_cut_and_a_control_character_is_not_shown() {
        let text = format!("a\t= [\"{}\", 7]", "ä".repeat(90));
        let shown = shown(&text, Fault::new("a[1]", "is wrong"));
        assert!(shown.starts_with("1:100\n"), "{shown}");
        assert!(
            shown.lines().all(|line| line.chars().count() < 78),
            "{shown}"
        );
        assert!(!shown.contains('\t'), "{shown}");
    }
}
