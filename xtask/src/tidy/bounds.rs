//! The table of bounds says what the constants say.

use super::Breach;
use super::tree::Tree;

const BOUNDS: &str = "docs/bounds.md";

/// A row's constant: `` `file` `NAME` `` in its first column.
struct Row<'a> {
    file: &'a str,
    name: &'a str,
    value: &'a str,
}

pub(super) fn check(tree: &Tree) -> Vec<Breach> {
    let Some(table) = tree.file(BOUNDS) else {
        return vec![Breach::new(BOUNDS, 1, "there is no table of bounds")];
    };
    let (mut breaches, mut of) = (Vec::new(), "");
    for (index, line) in table.text.lines().enumerate() {
        if let Some(name) = line.strip_prefix("## ") {
            of = name;
        }
        let Some(row) = row(line) else { continue };
        let path = format!("crates/{of}/src/{}", row.file);
        let problem = match tree.file(&path).map(|file| value(&file.text, row.name)) {
            None => format!("there is no {path}"),
            Some(None) => format!("{path} has no constant {}", row.name),
            Some(Some(value)) if value != row.value => format!("{} is {value} in {path}", row.name),
            Some(Some(_)) => continue,
        };
        breaches.push(Breach::new(BOUNDS, index + 1, problem));
    }
    breaches
}

fn row(line: &str) -> Option<Row<'_>> {
    let mut columns = line.strip_prefix("| `")?.split(" | ");
    let (file, name) = columns.next()?.split_once("` `")?;
    let value = columns.next()?.trim_matches('`');
    Some(Row {
        file,
        name: name.trim_end_matches('`'),
        value,
    })
}

/// The expression of a constant, blanks made one.
fn value(text: &str, name: &str) -> Option<String> {
    let begin = format!("const {name}: ");
    let (_, rest) = text.split_once(&begin)?;
    let (_, expression) = rest.split_once(" = ").or_else(|| rest.split_once(" =\n"))?;
    let (expression, _) = expression.split_once(';')?;
    Some(expression.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(table: &str) -> Vec<String> {
        let tree = Tree::of(&[
            (BOUNDS, table),
            (
                "crates/line/src/ring.rs",
                "const RINGS_MAX: usize = 7;\nconst WAIT: Duration =\n    Duration::from_secs(8);\n",
            ),
        ]);
        check(&tree).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_row_that_is_not_as_the_code_is_told() {
        let good = "## line\n| `ring.rs` `RINGS_MAX` | `7` | rings |\n| `ring.rs` `WAIT` | `Duration::from_secs(8)` | time |\n";
        assert_eq!(problems(good), [""; 0]);
        assert_eq!(
            problems(&good.replace("`7`", "`8`")),
            ["docs/bounds.md:2: RINGS_MAX is 7 in crates/line/src/ring.rs"]
        );
        assert_eq!(
            problems(&good.replace("`RINGS_MAX`", "`RING_MAX`")).len(),
            1
        );
        assert_eq!(problems(&good.replace("## line", "## link")).len(), 2);
    }
}
