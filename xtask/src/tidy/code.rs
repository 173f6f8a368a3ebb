//! Rust source, read just far enough to tell code from comments, literals and tests.

/// One file of Rust, line by line.
#[derive(Debug)]
pub(super) struct Code {
    pub(super) lines: Vec<Line>,
}

/// One line of Rust, without comments.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// What the compiler reads as code; of a literal only its quotes are left.
    pub(super) code: String,
    /// What stands in string literals.
    pub(super) literal: String,
    /// Whether it is in a test.
    pub(super) is_test: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Code,
    LineComment,
    BlockComment { depth: u32 },
    Text,
    RawText { hashes: usize },
}

impl Code {
    /// Reads a file. `is_test`: all of it is test code; else what is under `#[cfg(test)]` is.
    pub(super) fn read(text: &str, is_test: bool) -> Self {
        let mut lines = split(text);
        if is_test {
            lines.iter_mut().for_each(|line| line.is_test = true);
        } else {
            mark_tests(&mut lines);
        }
        Self { lines }
    }

    /// The lines with their numbers, from 1.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.lines.iter().enumerate().map(|(index, line)| (index + 1, line))
    }
}

impl Line {
    /// The identifiers in it, each with what is before and after it.
    pub(super) fn words(&self) -> impl Iterator<Item = Word<'_>> {
        let is_part = |char: char| char.is_alphanumeric() || char == '_';
        let mut rest = 0;
        std::iter::from_fn(move || {
            let begin = rest + self.code[rest..].find(is_part)?;
            let length = self.code[begin..].find(|char| !is_part(char)).unwrap_or(self.code.len() - begin);
            rest = begin + length;
            Some(Word { before: &self.code[..begin], text: &self.code[begin..rest], after: &self.code[rest..] })
        })
    }
}

/// An identifier or keyword in its line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word<'a> {
    pub(super) before: &'a str,
    pub(super) text: &'a str,
    pub(super) after: &'a str,
}

fn split(text: &str) -> Vec<Line> {
    let mut state = State::Code;
    let mut lines = Vec::new();
    for line in text.lines() {
        if state == State::LineComment {
            state = State::Code;
        }
        let mut into = Line::default();
        let mut rest = line;
        while !rest.is_empty() {
            let taken = take(&mut state, rest, &mut into);
            rest = &rest[taken..];
        }
        lines.push(into);
    }
    lines
}

/// Takes the next token or character of a line; gives its length in octets.
fn take(state: &mut State, rest: &str, into: &mut Line) -> usize {
    let first = rest.chars().next().map_or(1, char::len_utf8);
    match *state {
        State::LineComment => rest.len(),
        State::BlockComment { depth } => {
            let (ends, begins) = (rest.starts_with("*/"), rest.starts_with("/*"));
            *state = match depth {
                1 if ends => State::Code,
                _ if ends => State::BlockComment { depth: depth - 1 },
                _ if begins => State::BlockComment { depth: depth + 1 },
                _ => *state,
            };
            if ends || begins { 2 } else { first }
        }
        State::Text if rest.starts_with('"') => close(state, 1, into),
        State::Text => {
            // An escape is two characters, so that \" does not end the text.
            let length = if rest.starts_with('\\') { rest.chars().take(2).map(char::len_utf8).sum() } else { first };
            into.literal.push_str(&rest[..length]);
            length
        }
        State::RawText { hashes } => {
            let is_end = rest.strip_prefix('"').is_some_and(|after| after.starts_with(&"#".repeat(hashes)));
            if is_end {
                return close(state, 1 + hashes, into);
            }
            into.literal.push_str(&rest[..first]);
            first
        }
        State::Code => take_code(state, rest, first, into),
    }
}

fn close(state: &mut State, length: usize, into: &mut Line) -> usize {
    *state = State::Code;
    into.code.push('"');
    into.literal.push('\n');
    length
}

fn take_code(state: &mut State, rest: &str, first: usize, into: &mut Line) -> usize {
    if rest.starts_with("//") {
        *state = State::LineComment;
        return rest.len();
    }
    if rest.starts_with("/*") {
        *state = State::BlockComment { depth: 1 };
        return 2;
    }
    if rest.starts_with('"') {
        *state = State::Text;
        into.code.push('"');
        return 1;
    }
    let is_in_word = into.code.ends_with(|char: char| char.is_alphanumeric() || char == '_');
    if let Some((length, hashes)) = raw_begin(rest).filter(|_| !is_in_word || into.code.ends_with(['b', 'c'])) {
        *state = State::RawText { hashes };
        into.code.push('"');
        return length;
    }
    if let Some(length) = character(rest) {
        into.code.push_str("''");
        return length;
    }
    into.code.push_str(&rest[..first]);
    first
}

/// The length of `r#"` and how many `#` it has.
fn raw_begin(rest: &str) -> Option<(usize, usize)> {
    let after = rest.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some((hashes + 2, hashes))
}

/// The length of a character literal, which a lifetime is not.
fn character(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('\'')?;
    if let Some(escaped) = inner.strip_prefix('\\') {
        let skipped = escaped.chars().next()?.len_utf8();
        return Some(2 + skipped + escaped[skipped..].find('\'')? + 1);
    }
    let length = inner.chars().next()?.len_utf8();
    inner[length..].starts_with('\'').then_some(1 + length + 1)
}

/// Marks what `#[cfg(test)]` stands before, up to its closing brace or semicolon.
fn mark_tests(lines: &mut [Line]) {
    let mut index = 0;
    while index < lines.len() {
        if !lines[index].code.contains("#[cfg(test)]") {
            index += 1;
            continue;
        }
        let mut depth = 0i32;
        let mut was_open = false;
        while index < lines.len() {
            lines[index].is_test = true;
            let code = lines[index].code.replace("#[cfg(test)]", "");
            for char in code.chars() {
                match char {
                    '{' => (depth, was_open) = (depth + 1, true),
                    '}' => depth -= 1,
                    _ => {}
                }
            }
            index += 1;
            if depth <= 0 && (was_open || code.trim_end().ends_with([';', ','])) {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Code::read(text, false).lines.remove(0)
    }

    #[test]
    fn comments_are_not_code() {
        assert_eq!(line("a(); // todo!()").code, "a(); ");
        assert_eq!(line("a(/* x /* y */ z */ b)").code, "a( b)");
        assert_eq!(Code::read("/* one\ntwo */ three", false).lines[1].code, " three");
        assert_eq!(Code::read("// one\ntwo", false).lines[1].code, "two");
    }

    #[test]
    fn literals_are_kept_apart_from_code() {
        let read = line(r#"call("// \" no", x)"#);
        assert_eq!((read.code.as_str(), read.literal.as_str()), (r#"call("", x)"#, "// \\\" no\n"));
        assert_eq!(line(r##"f(r#"a " b"#)"##).literal, "a \" b\n");
        assert_eq!(Code::read("r\"\nSQL\n\"", false).lines[1].literal, "SQL");
    }

    #[test]
    fn a_lifetime_begins_no_character_and_a_quote_character_no_text() {
        assert_eq!(line("fn f<'a>(x: &'a str) { '\"'; '\\''; '{' }").code, "fn f<'a>(x: &'a str) { ''; ''; '' }");
    }

    #[test]
    fn words_are_whole() {
        let read = line("use std::fs; random.rand()");
        let words: Vec<_> = read.words().map(|word| word.text).collect();
        assert_eq!(words, ["use", "std", "fs", "random", "rand"]);
    }

    #[test]
    fn only_what_cfg_test_stands_before_is_a_test() {
        let text =
            "fn a() {}\n#[cfg(test)]\nuse x;\nfn b() {}\n#[cfg(test)]\nmod tests {\n  fn c() { '}'; }\n}\nfn d() {}";
        let is_test: Vec<_> = Code::read(text, false).lines.iter().map(|line| line.is_test).collect();
        assert_eq!(is_test, [false, true, true, false, true, true, true, true, false]);
    }
}
