//! JSON as people read it: words, and tables of them.

use serde_json::Value;

/// One value as a word.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(string) => string.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
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
    fn what_is_not_there_is_shown_as_a_dash() {
        assert_eq!(text(&Value::Null), "-");
        assert_eq!(text(&json!("x")), "x");
        assert_eq!(text(&json!(7)), "7");
        assert_eq!(text(&json!(["tel:", "topic:#"])), "tel: topic:#");
    }
}
