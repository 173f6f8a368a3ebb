//! Pure. JSON Feed 1.x, as it is written: a field of another type than it should have is read as text, or is not there.

use std::fmt;

use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::item::{Fields, ITEMS_READ_MAX};
use super::{date, reference};

#[derive(Deserialize)]
struct Feed {
    #[serde(default)]
    version: Text,
    items: Items,
}

#[derive(Default)]
struct Item {
    id: Text,
    url: Text,
    external_url: Text,
    title: Text,
    content_html: Text,
    content_text: Text,
    summary: Text,
    date_published: Text,
    date_modified: Text,
}

/// The items of a feed, in their order.
pub(super) fn read(text: &str, base: &str) -> Result<Vec<Fields>, String> {
    let feed = serde_json::from_str(text).or_else(|error| match with_whole_characters(text) {
        Some(text) => serde_json::from_str(&text),
        None => Err(error),
    });
    let Feed { version, items } = feed.map_err(|error| format!("it is no JSON Feed: {error}"))?;
    let version = version.0.unwrap_or_default();
    if !version.contains("jsonfeed.org/version/1") {
        return Err("it is JSON without the version of a JSON Feed 1".to_owned());
    }
    Ok(items
        .0
        .into_iter()
        .map(|item| item.fields(base))
        .filter(|fields| !fields.is_empty())
        .collect())
}

/// The text with U+FFFD in the place of half a surrogate pair, as is left of an emoji when a text is cut; `None`: there is none.
fn with_whole_characters(text: &str) -> Option<String> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let (mut whole, mut copied, mut at) = (String::new(), 0, 0);
    while let Some(length) = text
        .as_bytes()
        .get(at..)
        .and_then(|rest| rest.iter().position(|octet| *octet == b'\\'))
    {
        at += length;
        let is_pair = matches!(
            (unit(at), unit(at + 6)),
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff))
        );
        match unit(at) {
            Some(0xd800..=0xdfff) if !is_pair => {
                whole.push_str(&text[copied..at]);
                whole.push('\u{fffd}');
                at += 6;
                copied = at;
            }
            _ if is_pair => at += 12,
            _ => at += 2, // the character behind it may be a backslash, too
        }
    }
    if copied == 0 {
        return None;
    }
    whole.push_str(&text[copied..]);
    Some(whole)
}

impl Item {
    fn put(&mut self, key: &str, text: Text) {
        let field = match key {
            "id" => &mut self.id,
            "url" => &mut self.url,
            "external_url" => &mut self.external_url,
            "title" => &mut self.title,
            "content_html" => &mut self.content_html,
            "content_text" => &mut self.content_text,
            "summary" => &mut self.summary,
            "date_published" => &mut self.date_published,
            "date_modified" => &mut self.date_modified,
            _ => return,
        };
        *field = text; // of two fields with one name the later counts, as in JavaScript
    }

    fn fields(self, base: &str) -> Fields {
        let Self {
            id,
            url,
            external_url,
            title,
            content_html,
            content_text,
            summary,
            date_published,
            date_modified,
        } = self;
        let (content, rest) = match content_html.0 {
            Some(html) => (Some(html), content_text.0),
            None => (content_text.0, None),
        };
        let trimmed = |text: Option<String>| text.map(|text| text.trim().to_owned());
        let date = |text: Text| text.0.and_then(|text| date::parse(&text));
        Fields {
            id: id.0,
            title: title.0,
            url: url
                .0
                .or(external_url.0)
                .map(|url| reference::resolve(base, &url)),
            summary: summary.0.or(trimmed(rest)),
            content: trimmed(content),
            date: date(date_published).or_else(|| date(date_modified)),
        }
    }
}

/// A text; a number or a truth value as it is written, anything else is none.
#[derive(Debug, Default)]
struct Text(Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        Ok(Text(Some(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Text, E> {
        Ok(Text(Some(text)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Text, E> {
        Ok(Text(Some(number.to_string())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Text, E> {
        Ok(Text(Some(number.to_string())))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Text, E> {
        Ok(Text(Some(number.to_string())))
    }

    fn visit_bool<E>(self, is: bool) -> Result<Text, E> {
        Ok(Text(Some(is.to_string())))
    }

    fn visit_unit<E>(self) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Text, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Text, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }
}

/// An item; what is no object is an empty one.
struct Element(Item);

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ElementVisitor)
    }
}

struct ElementVisitor;

impl<'de> Visitor<'de> for ElementVisitor {
    type Value = Element;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an item")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Element, A::Error> {
        let mut item = Item::default();
        while let Some(key) = entries.next_key::<String>()? {
            item.put(&key, entries.next_value()?);
        }
        Ok(Element(item))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Element, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Element(Item::default()))
    }

    fn visit_str<E>(self, _: &str) -> Result<Element, E> {
        Ok(Element(Item::default()))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Element, E> {
        Ok(Element(Item::default()))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Element, E> {
        Ok(Element(Item::default()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Element, E> {
        Ok(Element(Item::default()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Element, E> {
        Ok(Element(Item::default()))
    }

    fn visit_unit<E>(self) -> Result<Element, E> {
        Ok(Element(Item::default()))
    }
}

/// Counted while they come: what a parser builds of 8 MiB of `{},` is a hundred times as large.
struct Items(Vec<Item>);

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ItemsVisitor)
    }
}

struct ItemsVisitor;

impl<'de> Visitor<'de> for ItemsVisitor {
    type Value = Items;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Items, A::Error> {
        let mut found = Vec::new();
        while let Some(Element(item)) = items.next_element()? {
            if found.len() == ITEMS_READ_MAX {
                return Err(A::Error::custom(format_args!(
                    "more than {ITEMS_READ_MAX} items"
                )));
            }
            found.push(item);
        }
        Ok(Items(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(items: &str) -> Result<Vec<Fields>, String> {
        read(
            &format!("{{\"version\":\"https://jsonfeed.org/version/1.1\",\"items\":[{items}]}}"),
            "http://feed.example/",
        )
    }

    #[test]
    fn fields_of_other_types_are_read_as_text_or_left_out() {
        let found = feed(
            r#"{"id":123,"title":null,"url":"/1","content_text":" x ","tags":[{}],"date_published":"soon","date_modified":"2026-11-02T12:00:00Z","x":1},
               {"id":{"a":[1]},"title":true,"external_url":"http://b/","content_html":"<p>","content_text":"t"}"#,
        );
        let [first, second] = &found.unwrap()[..] else {
            panic!("two items")
        };
        assert_eq!(
            (
                first.id.as_deref(),
                first.title.as_deref(),
                first.url.as_deref()
            ),
            (Some("123"), None, Some("http://feed.example/1"))
        );
        assert_eq!(
            (first.content.as_deref(), first.date.is_some()),
            (Some("x"), true)
        );
        assert_eq!(
            (
                second.id.as_deref(),
                second.title.as_deref(),
                second.url.as_deref()
            ),
            (None, Some("true"), Some("http://b/"))
        );
        assert_eq!(
            (second.content.as_deref(), second.summary.as_deref()),
            (Some("<p>"), Some("t"))
        );
    }

    #[test]
    fn one_bad_item_does_not_cost_the_others() {
        let bad = r#"null, "x", 3, -1, 0.5, true, [{}], {"id":"1","title":"one","title":"two","tags":[null]}, {"id":"2","title":"\\\ud83d\ude00 \ud83d","summary":"\ude00\ud83d\u0041"}"#;
        let found = feed(bad).unwrap();
        let titles: Vec<_> = found
            .iter()
            .map(|item| item.title.as_deref().unwrap())
            .collect();
        assert_eq!(titles, ["two", "\\\u{1f600} \u{fffd}"]);
        assert_eq!(found[1].summary.as_deref(), Some("\u{fffd}\u{fffd}A"));
    }

    #[test]
    fn what_is_no_feed_is_refused_with_the_reason() {
        for (text, reason) in [
            ("{}", "items"),
            ("{\"items\":[]}", "version"),
            (
                "{\"version\":\"https://jsonfeed.org/version/2\",\"items\":[]}",
                "version",
            ),
            ("{\"version\":", "EOF"),
            ("{\"items\":{}}", "items"),
        ] {
            let error = read(text, "http://feed.example/").unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        let many = "{\"id\":1},".repeat(ITEMS_READ_MAX);
        assert!(
            feed(&format!("{many}{{\"id\":1}}"))
                .unwrap_err()
                .contains("more than 10000 items")
        );
    }
}
