//! Pure. RSS 0.9 to 2.0, RSS in RDF, and Atom 0.3 and 1.0: the items of a document, as every reader reads them.
//!
//! Names are taken without their prefixes where those stand for the format's own namespace, whatever its address; a field ends with
//! its own end tag or with its item. A document that breaks off gives the items that are whole.

use std::collections::BTreeMap;

use super::item::{Fields, ITEMS_READ_MAX};
use super::markup::{Markup, Token, attribute, pairs};
use super::{date, reference, references};

/// Elements open at a time outside of items.
const NESTING_MAX: usize = 100;

/// Prefixes that a document may declare; more do not count.
const PREFIXES_MAX: usize = 100;

/// Octets of a base that references are resolved against: it is in each link. A longer one does not count.
const BASE_OCTETS_MAX: usize = 2000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Rss,
    Atom,
}

/// Whose an element is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Namespace {
    /// The format's own.
    Own,
    Atom,
    DublinCore,
    Content,
    Xhtml,
    Other,
}

/// What an element in an item says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Id,
    Title,
    /// In its text, or an Atom link in its attributes.
    Link,
    Summary,
    Content,
    Published,
    Changed,
}

/// An element in an item that is open.
#[derive(Debug)]
struct OpenField<'a> {
    field: Option<Field>,
    name: &'a str,
    attributes: &'a str,
    /// Elements of the same name in it.
    inner: usize,
    /// Where its content begins.
    begin: usize,
    text: String,
    has_elements: bool,
}

/// An item that is open.
#[derive(Debug, Default)]
struct OpenItem<'a> {
    name: &'a str,
    base: String,
    fields: Fields,
    changed: Option<jiff::Timestamp>,
    /// A place that is no link, for want of one.
    permalink: Option<String>,
}

#[derive(Debug)]
struct Reader<'a> {
    text: &'a str,
    format: Format,
    namespaces: BTreeMap<&'a str, Namespace>,
    open: Vec<&'a str>,
    bases: Vec<(usize, String)>,
    item: Option<OpenItem<'a>>,
    field: Option<OpenField<'a>>,
    items: Vec<Fields>,
    /// Items of which nothing is known that could be sent.
    empty: usize,
}

/// The items of a feed at `base`, in their order.
pub(super) fn read(text: &str, base: &str) -> Result<Vec<Fields>, String> {
    let mut markup = Markup::new(text);
    let mut first = None;
    let (format, root, attributes, is_empty) = loop {
        let Some(token) = markup.next() else {
            return Err(first.map_or("it has no element".to_owned(), |name: &str| {
                let name: String = name
                    .chars()
                    .filter(|char| !char.is_control())
                    .take(40)
                    .collect();
                format!("it begins with <{name}>, which is neither RSS nor Atom")
            }));
        };
        let Token::Start {
            name,
            attributes,
            is_empty,
        } = token
        else {
            continue;
        };
        match local(name).to_ascii_lowercase().as_str() {
            "rss" | "rdf" => break (Format::Rss, name, attributes, is_empty),
            "feed" | "entry" => break (Format::Atom, name, attributes, is_empty),
            "html" => return Err("it is a page in HTML".to_owned()),
            // What a program of the web server has said before.
            _ => first = first.or(Some(name)),
        }
    };
    let mut reader = Reader {
        text,
        format,
        namespaces: BTreeMap::new(),
        open: Vec::new(),
        bases: vec![(0, base.to_owned())],
        item: None,
        field: None,
        items: Vec::new(),
        empty: 0,
    };
    reader.start(root, attributes, is_empty, &markup)?;
    while !reader.open.is_empty() {
        match markup.next() {
            Some(Token::Start {
                name,
                attributes,
                is_empty,
            }) => reader.start(name, attributes, is_empty, &markup)?,
            Some(Token::End { name }) => reader.end(name, markup.token_start())?,
            Some(Token::Text(text)) => reader.text(|into| references::resolve_into(into, text)),
            Some(Token::Cdata(text)) => reader.text(|into| into.push_str(text)),
            None if reader.items.is_empty() => {
                return Err("it breaks off before its first item ends".to_owned());
            }
            None => break,
        }
    }
    if reader.items.is_empty() && reader.empty > 0 {
        return Err(format!(
            "none of its {} items has an id, a title, a link or a text",
            reader.empty
        ));
    }
    Ok(reader.items)
}

impl<'a> Reader<'a> {
    fn start(
        &mut self,
        name: &'a str,
        attributes: &'a str,
        is_empty: bool,
        markup: &Markup<'a>,
    ) -> Result<(), String> {
        if let Some(field) = &mut self.field {
            field.has_elements = true;
            field.inner += usize::from(!is_empty && field.name.eq_ignore_ascii_case(name));
            return Ok(());
        }
        self.declare(attributes);
        let begins_item = self.begins_item(name);
        if let Some(item) = &self.item {
            if !begins_item {
                let field = self.meaning(name, item);
                let (begin, text) = (markup.token_end(), String::new());
                self.field = Some(OpenField {
                    field,
                    name,
                    attributes,
                    inner: 0,
                    begin,
                    text,
                    has_elements: false,
                });
                if is_empty {
                    self.end_field(markup.token_end(), true);
                }
                return Ok(());
            }
            // The one before has no end.
            self.end(
                self.item.as_ref().map_or("", |item| item.name),
                markup.token_start(),
            )?;
        }
        if self.open.len() == NESTING_MAX {
            return Err(format!("its elements are nested deeper than {NESTING_MAX}"));
        }
        self.open.push(name);
        if let Some(base) = attribute(attributes, "xml:base") {
            let base = reference::resolve(self.base(), &base);
            if base.len() <= BASE_OCTETS_MAX {
                self.bases.push((self.open.len(), base));
            }
        }
        if begins_item {
            let about =
                pairs(attributes).find(|(name, _)| local(name).eq_ignore_ascii_case("about"));
            let about = about
                .map(|(_, value)| references::resolved(value))
                .filter(|about| !about.is_empty());
            let mut item = OpenItem {
                name,
                base: self.base().to_owned(),
                ..OpenItem::default()
            };
            item.permalink = about.clone().filter(|about| is_on_the_web(about));
            item.fields.id = about;
            self.item = Some(item);
        }
        if is_empty {
            self.end(name, markup.token_start())?;
        }
        Ok(())
    }

    fn end(&mut self, name: &str, at: usize) -> Result<(), String> {
        if let Some(field) = &mut self.field {
            let is_own = field.name.eq_ignore_ascii_case(name);
            if is_own && field.inner > 0 {
                field.inner -= 1;
                return Ok(());
            }
            let is_items = self
                .item
                .as_ref()
                .is_some_and(|item| item.name.eq_ignore_ascii_case(name));
            if !is_own && !is_items {
                return Ok(());
            }
            self.end_field(at, is_own);
            if is_own {
                return Ok(());
            }
        }
        let Some(place) = self
            .open
            .iter()
            .rposition(|open| open.eq_ignore_ascii_case(name))
        else {
            return Ok(());
        };
        self.open.truncate(place);
        self.bases.retain(|(depth, _)| *depth <= place);
        let item = self.item.take_if(|item| !self.open.contains(&item.name));
        let Some(OpenItem {
            mut fields,
            changed,
            permalink,
            ..
        }) = item
        else {
            return Ok(());
        };
        fields.date = fields.date.or(changed);
        fields.url = fields.url.or(permalink);
        if fields.is_empty() {
            self.empty += 1;
            return Ok(());
        }
        if self.items.len() == ITEMS_READ_MAX {
            return Err(format!("it has more than {ITEMS_READ_MAX} items"));
        }
        self.items.push(fields);
        Ok(())
    }

    fn text(&mut self, append: impl FnOnce(&mut String)) {
        if let Some(field) = &mut self.field
            && field.field.is_some()
            && !field.has_elements
        {
            append(&mut field.text);
        }
    }

    fn end_field(&mut self, at: usize, has_end: bool) {
        let (Some(open), Some(item)) = (self.field.take(), &mut self.item) else {
            return;
        };
        let OpenField {
            field: Some(field),
            attributes,
            begin,
            text,
            has_elements,
            ..
        } = open
        else {
            return;
        };
        let said = match has_elements {
            false => text.trim().to_owned(),
            true if has_end => {
                without_div(self.text.get(begin..at).unwrap_or_default().trim()).to_owned()
            }
            true => String::new(), // the rest of the item is in it
        };
        let is_said = !said.is_empty();
        let fields = &mut item.fields;
        let once = |place: &mut Option<String>| {
            if is_said && place.is_none() {
                *place = Some(said.clone());
            }
        };
        match field {
            Field::Id if is_said => {
                let is_permalink = attribute(attributes, "isPermaLink")
                    .is_none_or(|is| !is.eq_ignore_ascii_case("false"));
                if self.format == Format::Rss && is_permalink && is_on_the_web(&said) {
                    item.permalink = Some(said.clone());
                }
                fields.id = Some(said);
            }
            Field::Title => once(&mut fields.title),
            Field::Summary => once(&mut fields.summary),
            Field::Content => once(&mut fields.content),
            Field::Published => fields.date = fields.date.or_else(|| date::parse(&said)),
            Field::Changed => item.changed = item.changed.or_else(|| date::parse(&said)),
            Field::Link => {
                let is_alternate = attribute(attributes, "rel")
                    .is_none_or(|rel| rel.eq_ignore_ascii_case("alternate"));
                let to = attribute(attributes, "href")
                    .or(Some(said))
                    .filter(|to| is_alternate && !to.is_empty());
                let base = match attribute(attributes, "xml:base") {
                    Some(base) => reference::resolve(&item.base, &base),
                    None => item.base.clone(),
                };
                fields.url = fields
                    .url
                    .take()
                    .or_else(|| Some(reference::resolve(&base, &to?)));
            }
            Field::Id => {}
        }
    }

    fn declare(&mut self, attributes: &'a str) {
        if !attributes.contains("xmlns:") || self.namespaces.len() >= PREFIXES_MAX {
            return;
        }
        for (name, value) in pairs(attributes) {
            if let Some(prefix) = name.strip_prefix("xmlns:") {
                self.namespaces
                    .entry(prefix)
                    .or_insert_with(|| Namespace::of(value));
            }
        }
    }

    fn namespace(&self, name: &str) -> Namespace {
        let Some((prefix, _)) = name.split_once(':') else {
            return Namespace::Own;
        };
        self.namespaces
            .get(prefix)
            .copied()
            .unwrap_or(match prefix {
                "dc" => Namespace::DublinCore,
                "content" => Namespace::Content,
                "atom" => Namespace::Atom,
                _ => Namespace::Other,
            })
    }

    fn begins_item(&self, name: &str) -> bool {
        match (self.format, self.namespace(name)) {
            (Format::Rss, Namespace::Own) => local(name).eq_ignore_ascii_case("item"),
            (Format::Atom, Namespace::Own | Namespace::Atom) => {
                local(name).eq_ignore_ascii_case("entry")
            }
            _ => false,
        }
    }

    fn meaning(&self, name: &str, item: &OpenItem<'_>) -> Option<Field> {
        let is_as_item = name.split_once(':').map(|(prefix, _)| prefix)
            == item.name.split_once(':').map(|(prefix, _)| prefix);
        let namespace = if is_as_item {
            Namespace::Own
        } else {
            self.namespace(name)
        };
        let atom = self.format == Format::Atom;
        Some(
            match (namespace, local(name).to_ascii_lowercase().as_str()) {
                (Namespace::Own, "guid") if !atom => Field::Id,
                (Namespace::Own, "id") if atom => Field::Id,
                (Namespace::Own | Namespace::DublinCore, "title") => Field::Title,
                (Namespace::Own | Namespace::Atom, "link") => Field::Link,
                (Namespace::Own | Namespace::DublinCore, "description") if !atom => Field::Summary,
                (Namespace::Own | Namespace::Atom, "summary") => Field::Summary,
                (Namespace::Content, "encoded") => Field::Content,
                (Namespace::Own, "body" | "fullitem") if !atom => Field::Content,
                (Namespace::Xhtml, "body") if !atom => Field::Content,
                (Namespace::Own, "content") if atom => Field::Content,
                (Namespace::Atom, "content") => Field::Content,
                (Namespace::DublinCore, "date") => Field::Published,
                (
                    Namespace::Own | Namespace::Atom,
                    "pubdate" | "published" | "issued" | "created",
                ) => Field::Published,
                (Namespace::Own | Namespace::Atom, "updated" | "modified") => Field::Changed,
                _ => return None,
            },
        )
    }

    fn base(&self) -> &str {
        self.bases.last().map_or("", |(_, base)| base)
    }
}

impl Namespace {
    fn of(address: &str) -> Self {
        match address {
            "http://purl.org/rss/1.0/modules/content/" => Self::Content,
            "http://www.w3.org/2005/Atom" => Self::Atom,
            "http://www.w3.org/1999/xhtml" => Self::Xhtml,
            _ if address.starts_with("http://purl.org/dc/") => Self::DublinCore,
            _ if address.starts_with("http://purl.org/atom/ns") => Self::Atom,
            "http://purl.org/rss/1.0/" | "http://my.netscape.com/rdf/simple/0.9/" => Self::Own,
            _ => Self::Other,
        }
    }
}

/// A name without its prefix.
fn local(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or(name)
}

fn is_on_the_web(address: &str) -> bool {
    address.starts_with("http://") || address.starts_with("https://")
}

/// What is in a `div` that is all there is: it is no part of the content (RFC 4287 §3.1.1.3).
fn without_div(markup: &str) -> &str {
    let mut tokens = Markup::new(markup);
    match tokens.next() {
        Some(Token::Start {
            name,
            is_empty: false,
            ..
        }) if local(name).eq_ignore_ascii_case("div") => {}
        _ => return markup,
    }
    let end = markup
        .rfind("</")
        .filter(|end| markup[*end..].to_ascii_lowercase().ends_with("div>"));
    let inner = end.and_then(|end| markup.get(tokens.token_end()..end));
    // Two beside each other are not one.
    let opened = |inner: &str| {
        Markup::new(inner)
            .filter(|token| matches!(token, Token::Start { name, is_empty: false, .. } if local(name) == "div"))
            .count()
    };
    let closed = |inner: &str| {
        Markup::new(inner)
            .filter(|token| matches!(token, Token::End { name } if local(name) == "div"))
            .count()
    };
    inner
        .filter(|inner| opened(inner) == closed(inner))
        .map_or(markup, str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Fields> {
        super::read(text, "http://feed.example/a/feed.xml").unwrap()
    }

    fn rss(items: &str) -> Vec<Fields> {
        read(&format!(
            "<rss version=\"2.0\"><channel><title>n</title><link>http://feed.example/</link>{items}</channel></rss>"
        ))
    }

    fn texts(fields: &Fields) -> [&str; 5] {
        let Fields {
            id,
            title,
            url,
            summary,
            content,
            date: _,
        } = fields;
        [id, title, url, summary, content].map(|field| field.as_deref().unwrap_or_default())
    }

    #[test]
    fn a_document_is_read_by_its_names_whatever_its_version_and_namespace() {
        for root in [
            "rss version=\"2.0\"",
            "rss",
            "RSS version=\"9\"",
            "rdf:RDF xmlns=\"http://my.netscape.com/rdf/simple/0.9/\"",
        ] {
            let end = root.split(' ').next().unwrap();
            let text = format!(
                "\n<br />Warning\n<{root}><channel/><item><title>t</title><link>l</link></item></{end}>"
            );
            assert_eq!(
                texts(&read(&text)[0]),
                ["", "t", "http://feed.example/a/l", "", ""],
                "{root}"
            );
        }
        let one = "<rdf:RDF xmlns:r=\"http://purl.org/rss/1.0/\"><r:item rdf:about=\"http://q/1\"><r:title>t</r:title></r:item></rdf:RDF>";
        assert_eq!(
            texts(&read(one)[0]),
            ["http://q/1", "t", "http://q/1", "", ""]
        );
        for (namespace, dates) in [
            ("http://purl.org/atom/ns#", ["issued", "modified"]),
            ("http://example.org/", ["published", "updated"]),
        ] {
            let [published, updated] = dates;
            let text = format!("<feed version=\"0.3\" xmlns=\"{namespace}\" xml:base=\"/b/\"><entry><id>1</id><title>t</title>
                <link rel=\"alternate\" href=\"x\"/><{updated}>2026-11-03T00:00:00Z</{updated}><{published}>2026-11-02T00:00:00Z</{published}>
                <content type=\"application/xhtml+xml\" mode=\"xml\"><div xmlns=\"w\"><p>c &amp; d</p></div></content></entry></feed>");
            let found = &read(&text)[0];
            assert_eq!(
                texts(found),
                ["1", "t", "http://feed.example/b/x", "", "<p>c &amp; d</p>"]
            );
            assert_eq!(found.date.unwrap().to_string(), "2026-11-02T00:00:00Z");
        }
    }

    #[test]
    fn the_url_is_for_readers_and_fields_of_other_namespaces_are_none() {
        let item = "<item><media:title>no</media:title><title>t</title><comments>http://c/</comments><enclosure url=\"http://e/\"/>
            <atom:link rel=\"replies\" href=\"http://r/\"/><itunes:summary>no</itunes:summary><image><title>no</title><link>http://i/</link></image>";
        let url = |guid: &str| rss(&format!("{item}{guid}</item>"))[0].url.clone();
        assert_eq!(url("<guid>http://g/</guid>").as_deref(), Some("http://g/"));
        assert_eq!(url("<guid isPermaLink='false'>http://g/</guid>"), None);
        assert_eq!(
            url("<guid>http://g/</guid><link>http://l/?a=1&b=2</link>").as_deref(),
            Some("http://l/?a=1&b=2")
        );
        assert_eq!(
            texts(&rss(&format!("{item}</item>"))[0]),
            ["", "t", "", "", ""]
        );
    }

    #[test]
    fn markup_in_a_field_is_kept_as_it_stands_and_text_resolved_once() {
        let found = rss(
            "<item><title><![CDATA[a & b]]> &lt;c&gt;</title><description>x<br>y <b>z</b></description><content:encoded><![CDATA[<p>q</p>]]></content:encoded></item>",
        );
        assert_eq!(
            texts(&found[0]),
            ["", "a & b <c>", "", "x<br>y <b>z</b>", "<p>q</p>"]
        );
    }

    #[test]
    fn what_is_not_closed_ends_with_its_item_and_a_document_that_breaks_off_gives_what_is_whole() {
        let found = rss(
            "<item><title>1<link>http://l/</item><item><title>2</title><item><guid>3</guid></item>",
        );
        assert_eq!(
            found.iter().map(texts).collect::<Vec<_>>(),
            [["", "2", "", "", ""], ["3", "", "", "", ""]]
        );
        let text = "<rss><channel><item><title>1</title></item><item><title>2</tit";
        assert_eq!(read(text).len(), 1);
        assert!(
            super::read("<rss><channel><item><title>1", "")
                .unwrap_err()
                .contains("breaks off")
        );
    }

    #[test]
    fn what_is_no_feed_is_refused_with_the_reason() {
        for (text, reason) in [
            ("<html><body><rss/></body></html>", "HTML"),
            (
                "<Channel href=\"x\"><Item/></Channel>",
                "begins with <Channel>",
            ),
            ("<!-- -->", "no element"),
            ("<rss", "no element"),
        ] {
            let error = super::read(text, "").unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        let deep = format!("<rss><channel>{}", "<a>".repeat(200_000));
        assert!(super::read(&deep, "").unwrap_err().contains("nested"));
        let many = format!(
            "<rss>{}</rss>",
            "<item><title>t</title></item>".repeat(ITEMS_READ_MAX + 1)
        );
        assert!(
            super::read(&many, "")
                .unwrap_err()
                .contains("more than 10000 items")
        );
        let empty = format!(
            "<rss>{}</rss>",
            "<item><georss:point>1 2</georss:point></item><item/>".repeat(50_000)
        );
        assert!(
            super::read(&empty, "")
                .unwrap_err()
                .contains("none of its 100000 items")
        );
        assert_eq!(rss(""), [], "nothing new is no fault");
    }

    #[test]
    fn a_long_base_is_not_copied_into_every_link() {
        let entries = "<entry><link href=\"x\"/></entry>".repeat(1000);
        let long = format!(
            "<feed xml:base=\"/{}/\">{entries}</feed>",
            "a".repeat(100_000)
        );
        let found = read(&long);
        assert_eq!(
            (found.len(), found[0].url.as_deref()),
            (1000, Some("http://feed.example/a/x"))
        );
    }
}
