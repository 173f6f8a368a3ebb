//! JSON as people read it: words, and tables of them.

use modem::shown;
use serde_json::Value;

/// One value as a word, fit for a terminal.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(string) => shown::line(string).into_owned(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(" "),
        other => shown::line(&other.to_string()).into_owned(),
    }
}

/// Columns as wide as their widest entry, two blanks between.
pub(crate) fn print_table(columns: &[(&str, &str)], rows: &[Value]) {
    let mut lines = vec![columns.iter().map(|(title, _)| (*title).to_owned()).collect::<Vec<_>>()];
    lines.extend(rows.iter().map(|row| columns.iter().map(|(_, path)| text(&row[path])).collect()));
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| lines.iter().map(|line: &Vec<String>| line[column].chars().count()).max().unwrap_or_default())
        .collect();
    for line in &lines {
        let cells: Vec<_> = line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
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
        assert_eq!(text(&forged), "a\\n2026-11-30 INFO forged\\u001b[0m \\u202egpj");
        assert_eq!(text(&json!({ "key": "\u{202e}" })), "{\"key\":\"\\u202e\"}");
    }

    #[test]
    fn what_is_not_there_is_shown_as_a_dash() {
        assert_eq!(text(&Value::Null), "-");
        assert_eq!(text(&json!("x")), "x");
        assert_eq!(text(&json!(7)), "7");
        assert_eq!(text(&json!(["tel:", "topic:#"])), "tel: topic:#");
    }
}
