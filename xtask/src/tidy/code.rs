//! Rust source as the compiler's lexer reads it: the paths and literals in it, each with its line and whether it is test code.

use std::iter::Peekable;

use anyhow::{Context as _, anyhow};
use proc_macro2::{Delimiter, Group, Ident, Spacing, TokenStream, TokenTree};

/// One file of Rust. Comments are not in it, but for the first documentation comment.
#[derive(Debug, Default)]
pub(super) struct Code {
    /// The documentation of the module, line by line. Empty: it has none.
    pub(super) doc: Vec<String>,
    /// Everything that is written in words, in order.
    pub(super) paths: Vec<Path>,
    /// String literals, line by line, as they are written.
    pub(super) literals: Vec<(usize, String)>,
    pub(super) attributes: Vec<Attribute>,
}

/// Words joined by `::`, or a word by itself: also a keyword. Of `use a::{b, c::d}` the paths are `a`, `a::b` and `a::c::d`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) words: Vec<String>,
    /// How many of `words` are written before the braces that this path is in. They are a path of their own, too.
    pub(super) shared: usize,
    /// Of the last word, counted from 1.
    pub(super) line: usize,
    /// The word before it, or the marks.
    pub(super) before: String,
    /// The mark after it or `(`, if that is what follows. `:` is the `::` before braces or `<`.
    pub(super) after: Option<char>,
    /// The modules with a body that it is in.
    pub(super) inside: Vec<String>,
    /// Whether the enclosing item has `#[cfg(test)]`.
    pub(super) is_test: bool,
}

/// The text inside `#[...]`, with a blank between tokens.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Attribute {
    pub(super) line: usize,
    pub(super) text: String,
}

impl Code {
    /// # Errors
    /// If it is not Rust.
    pub(super) fn read(text: &str) -> anyhow::Result<Self> {
        let tokens: TokenStream = text
            .parse()
            .map_err(|error: proc_macro2::LexError| anyhow!("{error}"))
            .context("is not Rust")?;
        let mut code = Self::default();
        code.take(tokens, &Place::default());
        Ok(code)
    }
}

impl Path {
    /// The last word.
    pub(super) fn name(&self) -> &str {
        self.words.last().map_or("", String::as_str)
    }

    /// The words that are written here, each with its number in `words`.
    pub(super) fn own(&self) -> impl Iterator<Item = (usize, &str)> {
        self.words
            .iter()
            .map(String::as_str)
            .enumerate()
            .skip(self.shared)
    }
}

/// Where tokens stand.
#[derive(Debug, Clone, Default)]
struct Place {
    depth: usize,
    inside: Vec<String>,
    is_test: bool,
    /// The path before the braces of a `use`.
    shared: Vec<String>,
}

type Tokens = Peekable<proc_macro2::token_stream::IntoIter>;

impl Code {
    fn take(&mut self, tokens: TokenStream, place: &Place) {
        let mut tokens = tokens.into_iter().peekable();
        let mut before = String::new();
        // In what `#[cfg(test)]` stands before: how many `<` are open, so that a comma does not end it.
        let mut test: Option<i32> = None;
        while let Some(token) = tokens.next() {
            let place = Place {
                is_test: place.is_test || test.is_some(),
                ..place.clone()
            };
            match token {
                TokenTree::Ident(first) => {
                    let path = path(&first, &mut tokens, before, &place);
                    before = if path.after == Some(':') {
                        "::".to_owned()
                    } else {
                        path.name().to_owned()
                    };
                    self.paths.push(path);
                }
                TokenTree::Punct(punct) => {
                    test = test.and_then(|angles| match punct.as_char() {
                        '<' => Some(angles + 1),
                        '>' if !before.ends_with(['-', '=']) => Some(angles - 1),
                        ',' if angles <= 0 => None,
                        ';' => None,
                        _ => Some(angles),
                    });
                    if before.ends_with(|char: char| char.is_alphanumeric() || char == '_') {
                        before.clear();
                    }
                    before.push(punct.as_char());
                }
                TokenTree::Literal(literal) => {
                    let (line, text) = (literal.span().start().line, literal.to_string());
                    self.literals.extend(
                        text.lines()
                            .enumerate()
                            .map(|(index, text)| (line + index, text.to_owned())),
                    );
                    before.clear();
                }
                TokenTree::Group(group) => {
                    let is_inner = before.ends_with("#!");
                    if group.delimiter() == Delimiter::Bracket
                        && (is_inner || before.ends_with('#'))
                    {
                        let is_test = self.attribute(&group, is_inner, &place);
                        test = test.or(is_test.then_some(0));
                    } else {
                        self.group(&group, &before, place);
                        test = test.filter(|_| group.delimiter() != Delimiter::Brace);
                    }
                    before.clear();
                }
            }
        }
    }

    /// Takes an attribute, which may be a documentation comment; tells whether it is `cfg(test)`.
    fn attribute(&mut self, group: &Group, is_inner: bool, place: &Place) -> bool {
        let text = group.stream().to_string();
        if let Some(doc) = text.strip_prefix("doc = ") {
            if is_inner && place.depth == 0 {
                self.doc.push(doc.trim_matches('"').trim().to_owned());
            }
            return false;
        }
        let is_test = text.replace(' ', "") == "cfg(test)";
        self.attributes.push(Attribute {
            line: group.span_open().start().line,
            text,
        });
        self.group(group, "", place.clone());
        is_test
    }

    fn group(&mut self, group: &Group, before: &str, place: Place) {
        let mut within = Place {
            depth: place.depth + 1,
            shared: vec![],
            ..place
        };
        if let [.., key, name] = &self.paths[..]
            && (key.name(), before) == ("mod", name.name())
        {
            within.inside.push(name.name().to_owned());
        }
        if let Some(path) = self.paths.last().filter(|_| before == "::") {
            within.shared.clone_from(&path.words);
        }
        self.take(group.stream(), &within);
    }
}

/// Reads on after the first word of a path.
fn path(first: &Ident, tokens: &mut Tokens, before: String, place: &Place) -> Path {
    let is_as = first == "as" || before == "as";
    let mut words = if is_as || before.ends_with("::") {
        vec![]
    } else {
        place.shared.clone()
    };
    let shared = words.len();
    words.push(first.to_string());
    let mut line = first.span().start().line;
    let mut after = None;
    while after.is_none() && is_path_mark(tokens.peek()) {
        tokens.nth(1);
        if let Some(TokenTree::Ident(next)) = tokens.peek() {
            line = next.span().start().line;
            words.push(next.to_string());
            tokens.next();
        } else {
            after = Some(':');
        }
    }
    let after = after.or_else(|| mark(tokens.peek()?));
    Path {
        words,
        shared,
        line,
        before,
        after,
        inside: place.inside.clone(),
        is_test: place.is_test,
    }
}

/// The first mark of `::`: one of a type is by itself.
fn is_path_mark(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':' && punct.spacing() == Spacing::Joint)
}

fn mark(token: &TokenTree) -> Option<char> {
    match token {
        TokenTree::Punct(punct) if punct.as_char() != ':' => Some(punct.as_char()),
        TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis => Some('('),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paths, with `!` before those of tests.
    fn paths(text: &str) -> Vec<String> {
        let mark = |path: &Path| {
            format!(
                "{}{}",
                if path.is_test { "!" } else { "" },
                path.words.join("::")
            )
        };
        Code::read(text).unwrap().paths.iter().map(mark).collect()
    }

    fn literals(text: &str) -> Vec<(usize, String)> {
        Code::read(text).unwrap().literals
    }

    #[test]
    fn comments_are_not_code() {
        assert_eq!(paths("a(); // todo!()\n/// b\n//! c"), ["a"]);
        assert_eq!(paths("a(/* x /* y */ z */ b)"), ["a", "b"]);
        assert_eq!(Code::read("/* one\ntwo */ three").unwrap().paths[0].line, 2);
    }

    #[test]
    fn literals_are_kept_apart_from_code() {
        assert_eq!(paths(r#"call("// \" no", x)"#), ["call", "x"]);
        assert_eq!(
            literals("f(1,\nr#\"a \" b\"#)")[1],
            (2, "r#\"a \" b\"#".to_owned())
        );
        assert_eq!(literals("r\"\nSQL\n\"")[1], (2, "SQL".to_owned()));
        assert_eq!(
            literals("#[error(\"no\")]\nenum E {}"),
            [(1, "\"no\"".to_owned())]
        );
    }

    #[test]
    fn a_lifetime_begins_no_character_and_a_quote_character_no_text() {
        assert_eq!(
            paths("fn f<'a>(x: &'a str) { '\"'; '\\''; '{' }"),
            ["fn", "f", "a", "x", "a", "str"]
        );
    }

    #[test]
    fn a_path_is_whole_also_in_braces_and_in_macros() {
        assert_eq!(
            paths("std::fs; x: T, y: ::z"),
            ["std::fs", "x", "T", "y", "z"]
        );
        assert_eq!(
            paths("use a::{self, b as c, d::{e,\nf}}"),
            [
                "use", "a", "a::self", "a::b", "as", "c", "a::d", "a::d::e", "a::d::f"
            ]
        );
        assert_eq!(
            paths("select! { a = b::c::<d>() => {} }"),
            ["select", "a", "b::c", "d"]
        );
    }

    #[test]
    fn a_path_knows_its_place() {
        let read = Code::read("mod a {\nfn b() { c!() } }").unwrap();
        let last = &read.paths[4];
        assert_eq!(
            (last.name(), last.line, last.after, &last.inside[..]),
            ("c", 2, Some('!'), &["a".to_owned()][..])
        );
        assert_eq!(
            (&read.paths[3].before[..], read.paths[3].after),
            ("fn", Some('('))
        );
    }

    #[test]
    fn only_what_cfg_test_stands_before_is_a_test() {
        let text = "fn a() {}\n#[cfg(test)]\nuse x;\nfn b() {}\n#[cfg(test)]\nmod tests {\n  fn c() { '}'; }\n}\nfn d() {}";
        assert_eq!(
            paths(text)[2..],
            [
                "cfg", "test", "!use", "!x", "fn", "b", "cfg", "test", "!mod", "!tests", "!fn",
                "!c", "fn", "d"
            ]
        );
        assert_eq!(
            paths("struct A { #[cfg(test)] b: B<C, D>, e: E }")[4..],
            ["!b", "!B", "!C", "!D", "e", "E"]
        );
    }

    #[test]
    fn the_documentation_of_a_file_is_that_of_its_module() {
        let read = Code::read(
            "#![allow(x)]\n//! Pure.\n//!\n//! More.\n\n/// Not this.\nmod a {\n//! Nor this.\n}",
        )
        .unwrap();
        assert_eq!(read.doc, ["Pure.", "", "More."]);
    }

    #[test]
    fn what_is_not_rust_is_an_error() {
        assert!(Code::read("fn f( {").is_err());
    }
}
