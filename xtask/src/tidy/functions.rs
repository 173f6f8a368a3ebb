//! Long functions: none but tables, and those that there are, of which none grows.
//!
//! The tree is formatted, so a function ends at the brace that is indented as its first line.

use super::Breach;
use super::code::Code;
use super::tree::{File, Tree};

/// Past this, look for a second noun.
const LINES_MAX: usize = 80;

/// Tables: a longer one is only longer.
const TABLES: &[(&str, &str)] = &[
    ("crates/calling/src/calls.rs", "handle"),
    ("crates/cli/src/demo/story.rs", "sentence"),
    ("crates/cli/src/operator/terminals.rs", "run"),
    ("crates/cli/src/terminal/machine.rs", "run"),
    ("crates/ppp/src/automaton.rs", "transition"),
    ("crates/server/src/ingest/mail/session.rs", "answer"),
    ("crates/server/src/metrics.rs", "default"),
    ("crates/server/src/waiting.rs", "not_called"),
];

/// What is still to be split, with its lines.
const LONG: &[(&str, &str, usize)] = &[
    ("crates/cli/benches/isp/calls_at_once.rs", "measure", 119),
    ("crates/cli/src/config/server.rs", "information", 87),
    ("crates/cli/src/demo.rs", "report", 92),
    ("crates/client/src/starter.rs", "wait", 85),
    ("crates/delivery/src/receiver.rs", "answer", 96),
    ("crates/delivery/src/receiver.rs", "receive", 84),
    ("crates/server/src/service.rs", "serve", 96),
    ("crates/store/src/accept.rs", "accept", 91),
    ("crates/store/src/accept.rs", "insert", 91),
    ("crates/store/src/claims.rs", "mark", 93),
    ("xtask/src/bench.rs", "run", 83),
    ("xtask/src/bench/starter.rs", "measure", 84),
];

pub(super) fn check(tree: &Tree) -> Vec<Breach> {
    let ours = |file: &&File| {
        !file.is_test && (file.path.starts_with("crates/") || file.path.starts_with("xtask/"))
    };
    let mut breaches: Vec<_> = tree
        .files
        .iter()
        .filter(ours)
        .flat_map(check_file)
        .collect();
    for (path, name, lines) in LONG {
        let found = tree.file(path).and_then(|file| {
            let functions = functions(file.code.as_ref()?, &file.text);
            functions
                .into_iter()
                .find(|function| function.name == *name)
        });
        // A tree of a test has none of them.
        if tree.file(path).is_some() && found.is_none_or(|found| found.lines < *lines) {
            let problem = format!(
                "{name} is shorter than its {lines} lines in tidy's list: take it out, or down"
            );
            breaches.push(Breach::new(path, 1, problem));
        }
    }
    breaches
}

fn check_file(file: &File) -> Vec<Breach> {
    let Some(code) = &file.code else {
        return Vec::new();
    };
    let may_have = |name: &str| {
        let is_table = TABLES.contains(&(file.path.as_str(), name));
        let known = LONG
            .iter()
            .find(|(path, known, _)| *path == file.path && *known == name);
        match known {
            _ if is_table => usize::MAX,
            Some((_, _, lines)) => *lines,
            None => LINES_MAX,
        }
    };
    let long = functions(code, &file.text)
        .into_iter()
        .filter(|function| function.lines > may_have(&function.name));
    long.map(|Function { name, line, lines }| {
        let problem = format!(
            "{name} has {lines} lines, more than {}: is there a second noun in it?",
            may_have(&name)
        );
        Breach::new(&file.path, line, problem)
    })
    .collect()
}

struct Function {
    name: String,
    line: usize,
    lines: usize,
}

/// The functions with a body that are no tests.
fn functions(code: &Code, text: &str) -> Vec<Function> {
    let lines: Vec<_> = text.lines().collect();
    let pairs = code.paths.iter().zip(code.paths.iter().skip(1));
    let named =
        pairs.filter(|(word, _)| word.words == ["fn"] && !word.is_test && word.after != Some('('));
    named
        .filter_map(|(word, name)| {
            let first = word.line - 1;
            let indent = lines[first].len() - lines[first].trim_start().len();
            let body = lines[first..]
                .iter()
                .position(|line| line.ends_with(['{', '}', ';']))?;
            if !lines[first + body].ends_with('{') {
                return None;
            }
            let end = format!("{}}}", " ".repeat(indent));
            let more = lines[first + body..].iter().position(|line| *line == end)?;
            Some(Function {
                name: name.name().to_owned(),
                line: word.line,
                lines: body + more + 1,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(path: &str, lines: usize) -> Vec<String> {
        let body = "    x();\n".repeat(lines - 2);
        let text = format!(
            "struct S(fn(u8));\nfn long() {{\n{body}}}\n#[cfg(test)]\nmod tests {{\n    fn t() {{\n{}    }}\n}}\n",
            "        x();\n".repeat(90)
        );
        let tree = Tree::of(&[(path, &text)]);
        check(&tree).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_function_of_more_than_80_lines_is_refused_and_a_test_is_not() {
        assert_eq!(problems("crates/line/src/x.rs", 80), [""; 0]);
        let found = problems("crates/line/src/x.rs", 81);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("crates/line/src/x.rs:2: long has 81 lines"),
            "{found:?}"
        );
    }

    #[test]
    fn a_listed_function_that_is_gone_is_told() {
        let found = problems("crates/store/src/claims.rs", 10);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("mark is shorter"), "{found:?}");
    }
}
