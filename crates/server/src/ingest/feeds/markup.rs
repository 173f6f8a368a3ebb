//! Pure. XML as feeds are written: tags, texts and CDATA in one pass, without a tree. Faults of the text are passed over, never an error:
//! a `<` that begins no tag is text. Takes time in proportion to the text, and no memory.

/// A piece of a document. Comments, processing instructions and the document type are left out: no entity is ever declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// `<name attributes>`
    Start {
        /// With its prefix, if it has one.
        name: &'a str,
        attributes: &'a str,
        /// `<name/>`: it has no end.
        is_empty: bool,
    },
    /// `</name>`
    End { name: &'a str },
    /// References in it are not resolved.
    Text(&'a str),
    /// It has no references.
    Cdata(&'a str),
}

/// Reads a document's tokens.
#[derive(Debug)]
pub(super) struct Markup<'a> {
    text: &'a str,
    at: usize,
    before: usize,
    /// There was a document type: a second is none, and is passed over as far as its first `>`.
    has_type: bool,
}

impl<'a> Markup<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            before: 0,
            has_type: false,
        }
    }

    /// Where the last token begins.
    pub(super) fn token_start(&self) -> usize {
        self.before
    }

    /// Where the last token ends.
    pub(super) fn token_end(&self) -> usize {
        self.at
    }

    /// The token that begins here with `<`, and where it ends; `None` in its place: there is nothing to tell of it.
    fn tag(&mut self) -> Option<(Option<Token<'a>>, usize)> {
        let rest = &self.text[self.at..];
        let ends = |behind: &str, skipped: usize| {
            rest[skipped..]
                .find(behind)
                .map_or((rest.len(), rest.len()), |at| {
                    (skipped + at, skipped + at + behind.len())
                })
        };
        if rest.starts_with("<!--") {
            return Some((None, self.at + ends("-->", 4).1));
        }
        if rest.starts_with("<![CDATA[") {
            let (end, next) = ends("]]>", 9);
            return Some((Some(Token::Cdata(&rest[9..end])), self.at + next));
        }
        if rest.starts_with("<?") {
            return Some((None, self.at + ends("?>", 2).1));
        }
        if rest.starts_with("<!") {
            let length = if self.has_type {
                ends(">", 2).1
            } else {
                document_type(rest)
            };
            self.has_type = true;
            return Some((None, self.at + length));
        }
        if let Some(inner) = rest.strip_prefix("</") {
            if !inner.starts_with(is_name_start) {
                return None;
            }
            let (end, next) = ends(">", 2);
            return Some((
                Some(Token::End {
                    name: rest[2..end].trim_end(),
                }),
                self.at + next,
            ));
        }
        let inner = rest[1..].starts_with(is_name_start).then(|| &rest[1..])?;
        let end = tag_end(inner)?;
        let (content, is_empty) = inner[..end]
            .strip_suffix('/')
            .map_or((&inner[..end], false), |inner| (inner, true));
        let (name, attributes) = content
            .split_once(|char: char| char.is_ascii_whitespace())
            .unwrap_or((content, ""));
        Some((
            Some(Token::Start {
                name,
                attributes,
                is_empty,
            }),
            self.at + 1 + end + 1,
        ))
    }
}

impl<'a> Iterator for Markup<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            self.before = self.at;
            let rest = &self.text[self.at..];
            if rest.is_empty() {
                return None;
            }
            let begins = usize::from(rest.starts_with('<'));
            if begins == 1
                && let Some((token, next)) = self.tag()
            {
                self.at = next;
                match token {
                    Some(token) => return Some(token),
                    None => continue,
                }
            }
            // A `<` that begins no tag is part of the text.
            let length = rest[begins..]
                .find('<')
                .map_or(rest.len(), |at| begins + at);
            self.at += length;
            return Some(Token::Text(&rest[..length]));
        }
    }
}

/// The value of an attribute, its references resolved. A value may lack its quotes.
pub(super) fn attribute(attributes: &str, name: &str) -> Option<String> {
    pairs(attributes)
        .find(|(found, _)| *found == name)
        .map(|(_, value)| super::references::resolved(value))
}

/// Names and values of attributes as they stand.
pub(super) fn pairs(attributes: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = attributes;
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_start_matches(|char: char| {
                char.is_ascii_whitespace() || char == '/' || char == '='
            });
            if rest.is_empty() {
                return None;
            }
            let end = rest
                .find(|char: char| char.is_ascii_whitespace() || char == '=')
                .unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            let Some(value) = after.trim_ascii_start().strip_prefix('=') else {
                rest = after;
                continue; // without a value
            };
            let value = value.trim_ascii_start();
            let quote = value
                .chars()
                .next()
                .filter(|quote| matches!(quote, '"' | '\''));
            let (value, after) = match quote.and_then(|quote| value[1..].split_once(quote)) {
                Some(parts) => parts,
                None => value.split_at(
                    value
                        .find(|char: char| char.is_ascii_whitespace())
                        .unwrap_or(value.len()),
                ),
            };
            rest = after;
            return Some((name, value));
        }
    })
}

fn is_name_start(char: char) -> bool {
    char.is_alphabetic() || char == '_' || char == ':'
}

/// Where the `>` is that ends a tag: not one in quotes. `None`: another tag begins before, or the text ends.
fn tag_end(inner: &str) -> Option<usize> {
    let octets = inner.as_bytes();
    let (mut at, mut is_value) = (0, false);
    while let Some(octet) = octets.get(at) {
        match octet {
            b'>' => return Some(at),
            b'<' => return None,
            // A quote that is never closed, or that opens no value, is none.
            quote @ (b'"' | b'\'') if is_value => {
                match octets[at + 1..].iter().position(|octet| octet == quote) {
                    Some(length) => at += length + 1,
                    None => return inner[at..].find('>').map(|length| at + length),
                }
            }
            _ => {}
        }
        is_value = octets[at] == b'=' || is_value && octets[at].is_ascii_whitespace();
        at += 1;
    }
    None
}

/// The length of `<!DOCTYPE ...>` or `<!...>` with what it declares.
fn document_type(rest: &str) -> usize {
    let (mut depth, mut quote) = (0_u32, None);
    for (at, octet) in rest.bytes().enumerate() {
        match (quote, octet) {
            (Some(open), _) => quote = Some(open).filter(|open| *open != octet),
            (None, b'"' | b'\'') => quote = Some(octet),
            (None, b'[') => depth += 1,
            (None, b']') => depth = depth.saturating_sub(1),
            (None, b'>') if depth == 0 => return at + 1,
            _ => {}
        }
    }
    // An open quote, as in `<!ENTITY x "...`: as far as the first `>`.
    rest.find('>').map_or(rest.len(), |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<Token<'_>> {
        Markup::new(text).collect()
    }

    fn start<'a>(name: &'a str, attributes: &'a str, is_empty: bool) -> Token<'a> {
        Token::Start {
            name,
            attributes,
            is_empty,
        }
    }

    #[test]
    fn tags_texts_and_cdata_come_in_their_order_and_nothing_else() {
        let text = "<?xml version=\"1.0\"?><!DOCTYPE r [<!ENTITY a \"x>\">]><!-- <b> --><a:b c='>' d=\"/\">t<x/><![CDATA[<&]]></a:b >";
        let expected = [
            start("a:b", "c='>' d=\"/\"", false),
            Token::Text("t"),
            start("x", "", true),
            Token::Cdata("<&"),
            Token::End { name: "a:b" },
        ];
        assert_eq!(tokens(text), expected);
    }

    #[test]
    fn what_begins_no_tag_is_text() {
        assert_eq!(
            tokens("3 < 4 <a>"),
            [
                Token::Text("3 "),
                Token::Text("< 4 "),
                start("a", "", false)
            ]
        );
        assert_eq!(
            tokens("<a b=c <d>"),
            [Token::Text("<a b=c "), start("d", "", false)]
        );
        assert_eq!(tokens("<rss"), [Token::Text("<rss")]);
        assert_eq!(
            tokens("<a it's>x"),
            [start("a", "it's", false), Token::Text("x")]
        );
        assert_eq!(
            tokens("<a b=\"c>x"),
            [start("a", "b=\"c", false), Token::Text("x")]
        );
        for text in [
            "<!--",
            "<![CDATA[x",
            "<?xml",
            "<!DOCTYPE",
            "</",
            "</a",
            "<",
            "<!",
            "<é",
            "&<a b='",
        ] {
            tokens(text);
        }
    }

    #[test]
    fn attributes_are_read_with_and_without_quotes_and_values() {
        let attributes = "a=1 b = '2 3' checked c=\"&amp;&\" xml:base=x/";
        let values =
            ["a", "b", "c", "xml:base", "checked", "d"].map(|name| attribute(attributes, name));
        let expected = [Some("1"), Some("2 3"), Some("&&"), Some("x/"), None, None];
        assert_eq!(values, expected.map(|value| value.map(str::to_owned)));
    }
}
