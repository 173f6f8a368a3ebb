//! Items of a feed, in whatever format it is, and what is sent of them. Pure.

use feed_rs::model::Entry;
use feed_rs::parser;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// Octets of an item's id that are shown.
const ID_SHOWN: usize = 80;

/// One item.
#[derive(Debug, Clone)]
pub(super) struct Item(Entry);

impl Item {
    /// The items of a feed, oldest first; without dates the last first, as feeds are written.
    pub(super) fn read_all(content: &[u8], url: &str) -> Result<Vec<Self>, String> {
        let parser = parser::Builder::new().base_uri(Some(url)).build();
        let mut entries = parser.parse(content).map_err(|error| error.to_string())?.entries;
        entries.reverse();
        entries.sort_by_key(|entry| entry.published.or(entry.updated));
        Ok(entries.into_iter().map(Self).collect())
    }

    /// What the feed calls it, as far as it is fit to be shown.
    pub(super) fn id(&self) -> String {
        self.0.id.chars().filter(|char| !char.is_control()).take(ID_SHOWN).collect()
    }

    /// Names it within its feed.
    pub(super) fn name(&self) -> [u8; 32] {
        Sha256::digest(self.0.id.as_bytes()).into()
    }

    /// The idempotency key of its submission: read twice, it is one message.
    pub(super) fn key(&self, url: &str) -> String {
        let hash = Sha256::new().chain_update(url).chain_update([0]).chain_update(&self.0.id).finalize();
        format!("feed {}", hash.iter().map(|octet| format!("{octet:02x}")).collect::<String>())
    }

    /// What a terminal gets: the fields of JSON Feed 1.1, those that are there.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let Entry { id, title, summary, content, links, published, updated, .. } = &self.0;
        let mut json = Map::new();
        let mut put = |key: &str, value: Option<String>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                json.insert(key.to_owned(), Value::String(value));
            }
        };
        put("id", Some(id.clone()));
        put("title", title.as_ref().map(|text| text.content.clone()));
        put("url", links.first().map(|link| link.href.clone()));
        put("summary", summary.as_ref().map(|text| text.content.clone()));
        put("content", content.as_ref().and_then(|content| content.body.clone()));
        put("date_published", published.or(*updated).map(|at| at.to_rfc3339()));
        Value::Object(json).to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Value> {
        let items = Item::read_all(text.as_bytes(), "http://feed.example/").unwrap();
        items.iter().map(|item| serde_json::from_slice(&item.to_json()).unwrap()).collect()
    }

    #[test]
    fn every_format_gives_the_same_items_oldest_first() {
        let rss = "<rss version=\"2.0\"><channel><title>n</title><link>http://feed.example/</link><description>d</description>
            <item><guid>2</guid><title>sun</title><link>http://feed.example/2</link><pubDate>Tue, 24 Nov 2026 12:00:00 GMT</pubDate></item>
            <item><guid>1</guid><title>rain</title><link>http://feed.example/1</link><pubDate>Mon, 23 Nov 2026 12:00:00 GMT</pubDate></item>
            </channel></rss>";
        let atom = "<feed xmlns=\"http://www.w3.org/2005/Atom\"><id>f</id><title>n</title><updated>2026-11-24T12:00:00Z</updated>
            <entry><id>2</id><title>sun</title><link href=\"/2\"/><updated>2026-11-24T12:00:00Z</updated></entry>
            <entry><id>1</id><title>rain</title><link href=\"/1\"/><updated>2026-11-23T12:00:00Z</updated></entry></feed>";
        let json = r#"{"version":"https://jsonfeed.org/version/1.1","title":"n","items":[
            {"id":"2","title":"sun","url":"http://feed.example/2","content_text":"","date_published":"2026-11-24T12:00:00Z"},
            {"id":"1","title":"rain","url":"http://feed.example/1","content_text":"","date_published":"2026-11-23T12:00:00Z"}]}"#;
        for text in [rss, atom, json] {
            let items = read(text);
            let shown: Vec<_> = items.iter().map(|item| [&item["id"], &item["title"], &item["url"]]).collect();
            let expected = [["1", "rain", "http://feed.example/1"], ["2", "sun", "http://feed.example/2"]];
            assert_eq!(
                shown,
                expected.map(|item| item.map(Value::from)).each_ref().map(|item| item.each_ref()),
                "{text}"
            );
            assert_eq!(items[0]["date_published"], "2026-11-23T12:00:00+00:00");
        }
    }

    #[test]
    fn tricks_with_entities_give_nothing_and_take_nothing() {
        let bomb =
            "<?xml version=\"1.0\"?><!DOCTYPE r [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">
            <!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\"><!ENTITY f SYSTEM \"file:///etc/hostname\">]>
            <rss version=\"2.0\"><channel><title>n</title><link>l</link><description>d</description>
            <item><guid>1</guid><title>&c;&f;</title></item></channel></rss>";
        // Refused, or taken with the names as they stand: never with what they stand for.
        if let Ok(items) = Item::read_all(bomb.as_bytes(), "http://feed.example/") {
            for item in items {
                assert!(item.to_json().len() < 200, "{}", String::from_utf8_lossy(&item.to_json()));
            }
        }
        let deep = format!("<rss><channel>{}", "<a>".repeat(200_000));
        let _ = Item::read_all(deep.as_bytes(), "http://feed.example/");
        for text in ["", "<html></html>", "{}", "[]", "\0\0", "<rss"] {
            assert!(Item::read_all(text.as_bytes(), "http://feed.example/").is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_key_is_of_the_item_and_its_feed() {
        let json = r#"{"version":"https://jsonfeed.org/version/1.1","title":"n","items":[{"id":"1","content_text":"a"},{"id":"2","content_text":"b"}]}"#;
        let items = Item::read_all(json.as_bytes(), "http://feed.example/").unwrap();
        let keys = [items[0].key("a"), items[1].key("a"), items[0].key("b")];
        assert!(keys[0] != keys[1] && keys[0] != keys[2] && keys[0].len() <= crate::intake::KEY_OCTETS_MAX);
        assert_ne!(items[0].name(), items[1].name());
    }
}
