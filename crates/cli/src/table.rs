//! JSON as people read it: words, and tables of them.

use jiff::Timestamp;
use modem::shown;
use serde_json::Value;

/// One value as a word, fit for a terminal.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(string) => match instant(string) {
            Some(at) => at,
            None => shown::line(string).into_owned(),
        },
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(" "),
        other => shown::line(&other.to_string()).into_owned(),
    }
}

/// An instant in UTC with milliseconds, whatever precision it has: tables align, and times compare at a glance.
fn instant(text: &str) -> Option<String> {
    let looks_so = text.len() >= "2026-11-30T00:00:00Z".len()
        && text.ends_with('Z')
        && text.as_bytes()[10] == b'T';
    let at: Timestamp = looks_so.then(|| text.parse().ok())??;
    Some(format!("{at:.3}"))
}

/// Columns as wide as their widest entry, two blanks between.
pub(crate) fn print_table(columns: &[(&str, &str)], rows: &[Value]) {
    let mut lines = vec![
        columns
            .iter()
            .map(|(title, _)| (*title).to_owned())
            .collect::<Vec<_>>(),
    ];
    lines.extend(
        rows.iter()
            .map(|row| columns.iter().map(|(_, path)| text(&row[path])).collect()),
    );
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| {
            lines
                .iter()
                .map(|line: &Vec<String>| line[column].chars().count())
                .max()
                .unwrap_or_default()
        })
        .collect();
    for line in &lines {
        let cells: Vec<_> = line
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:width$}"))
            .collect();
        println!("{}", cells.join("  ").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_from_outside_makes_no_lines_and_speaks_no_terminal() {
        let forged = json!(["a\n2026-11-30 INFO forged\u{1b}[0m", "\u{202e}gpj"]);
        assert_eq!(
            text(&forged),
            "a\\n2026-11-30 INFO forged\\u001b[0m \\u202egpj"
        );
        assert_eq!(text(&json!({ "key": "\u{202e}" })), "{\"key\":\"\\u202e\"}");
    }

    #[test]
    fn times_have_one_precision() {
        for at in ["2026-11-30T22:42:54.42Z", "2026-11-30T22:42:54.420188186Z"] {
            assert_eq!(text(&json!(at)), "2026-11-30T22:42:54.420Z");
        }
        assert_eq!(
            text(&json!("2026-11-30T22:42:54Z")),
            "2026-11-30T22:42:54.000Z"
        );
        assert_eq!(
            text(&json!("é2026-11-T0T22:42:54Z")),
            "é2026-11-T0T22:42:54Z"
        );
    }

    #[test]
    fn what_is_not_there_is_shown_as_a_dash() {
        assert_eq!(text(&Value::Null), "-");
        assert_eq!(text(&json!("x")), "x");
        assert_eq!(text(&json!(7)), "7");
        assert_eq!(text(&json!(["tel:", "topic:#"])), "tel: topic:#");
    }
}
