//! The SQL in the store's sources.

use std::fs;
use std::path::Path;

/// Files whose SQL is SQLite's by nature: its versions, its own checks and copies, faults for tests.
const OF_SQLITE: [&str; 5] = [
    "migration.rs",
    "check.rs",
    "backup.rs",
    "faults.rs",
    "sqlite.rs",
];

/// What stands for a part that a function takes as an argument, in one of the forms in which it is called.
const PARTS: [(&str, &str); 10] = [
    ("DELETE FROM {table}", "DELETE FROM rights"),
    ("{table}", "terminals"),
    ("{field}", "name"),
    ("{terminal}", "?1"),
    (
        "{from}",
        "WHERE (placed_at, id) < (SELECT placed_at, id FROM calls WHERE id = ?2)",
    ),
    ("{rest}", ""),
    ("{condition}", ""),
    ("{of}", "message = ?4 AND terminal = ?5"),
    (
        "{ORDER}",
        "ORDER BY a.raised_at DESC, a.kind, a.subject LIMIT",
    ),
    ("{first}", "SELECT 1"),
];

/// The string literals of the product that are statements, with the constants that they are put together from.
pub(super) fn statements() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut found, mut parts) = (
        Vec::new(),
        PARTS
            .map(|(name, part)| (name.to_owned(), part.to_owned()))
            .to_vec(),
    );
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if !name.ends_with(".rs") || name == "tests.rs" || OF_SQLITE.contains(&name) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let product = text
            .split("#[cfg(test)]\nmod tests")
            .next()
            .unwrap_or_default();
        for item in product.split("const ").skip(1) {
            let name = item.split(':').next().unwrap_or_default();
            let is_text = item[name.len()..].starts_with(": &str =")
                && name
                    .chars()
                    .all(|char| char.is_ascii_uppercase() || char == '_');
            // Names that several files have are not used in others.
            if is_text
                && !parts
                    .iter()
                    .any(|(known, _)| known[1..known.len() - 1] == *name)
            {
                parts.extend(
                    literals(item)
                        .into_iter()
                        .next()
                        .map(|text| (format!("{{{name}}}"), text)),
                );
            }
        }
        let begins = ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH "];
        found.extend(
            literals(product)
                .into_iter()
                .filter(|text| begins.iter().any(|begin| text.starts_with(begin))),
        );
    }
    // Twice: a constant may have another.
    for _ in 0..2 {
        for sql in &mut found {
            for (name, part) in parts
                .iter()
                .filter(|(name, _)| sql.contains(name.as_str()))
                .cloned()
                .collect::<Vec<_>>()
            {
                *sql = sql.replace(&name, &part);
            }
        }
    }
    found
}

/// The string literals of a Rust source, as far as ours have them: without raw ones.
fn literals(source: &str) -> Vec<String> {
    let (mut found, mut rest) = (Vec::new(), source.chars().peekable());
    while let Some(char) = rest.next() {
        match char {
            '/' if rest.peek() == Some(&'/') => {
                while rest.next().is_some_and(|char| char != '\n') {}
            }
            // A character, not a lifetime.
            '\'' => {
                let ahead: Vec<char> = rest.clone().take(3).collect();
                match ahead[..] {
                    ['\\', ..] => drop((rest.next(), rest.next(), rest.next())),
                    [_, '\'', ..] => drop((rest.next(), rest.next())),
                    _ => {}
                }
            }
            '"' => {
                let mut text = String::new();
                while let Some(char) = rest.next().filter(|char| *char != '"') {
                    text.push(if char == '\\' {
                        rest.next().unwrap_or_default()
                    } else {
                        char
                    });
                }
                found.push(text);
            }
            _ => {}
        }
    }
    found
}
