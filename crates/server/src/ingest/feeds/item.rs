//! Pure. Items of a feed, in whatever format it is: what tells them apart, and what is sent of them.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::{json, text, xml};

/// Items of a feed that are read; more are a fault of the feed. Of these the newest [`ITEMS_MAX`](super::ITEMS_MAX) count.
pub(super) const ITEMS_READ_MAX: usize = 10_000;

/// Octets of an item's id that are shown.
const ID_SHOWN: usize = 80;

/// What a feed says of an item.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) id: Option<String>,
    pub(super) title: Option<String>,
    /// Where it is for a reader: not its comments, not what is enclosed.
    pub(super) url: Option<String>,
    pub(super) summary: Option<String>,
    pub(super) content: Option<String>,
    /// When it was published; if that is not said, changed.
    pub(super) date: Option<Timestamp>,
}

/// One item.
#[derive(Debug, Clone)]
pub(super) struct Item {
    fields: Fields,
    /// What tells it apart in its feed.
    identity: String,
}

impl Fields {
    /// There is nothing to send of it.
    pub(super) fn is_empty(&self) -> bool {
        let Self {
            id,
            title,
            url,
            summary,
            content,
            date: _,
        } = self;
        [id, title, url, summary, content]
            .iter()
            .all(|field| field.as_ref().is_none_or(String::is_empty))
    }

    /// A digest of what it says, its id left aside. White space does not count, nor the time of day: some feeds date an item
    /// anew whenever they are read, and each reading would be a call for each subscriber.
    fn digest(&self) -> String {
        let Self {
            id: _,
            title,
            url,
            summary,
            content,
            date,
        } = self;
        let date = date.map(|at| at.to_zoned(TimeZone::UTC).date().to_string());
        let mut hash = Sha256::new();
        for field in [url, title, &date, summary, content] {
            for word in field.iter().flat_map(|field| field.split_whitespace()) {
                hash.update(word);
                hash.update([1]);
            }
            hash.update([0]);
        }
        hex(&hash.finalize())
    }
}

impl Item {
    /// The items of a feed, oldest first; without dates the last first, as feeds are written.
    ///
    /// # Errors
    /// It is no feed, and why.
    pub(super) fn read_all(
        content: &[u8],
        content_type: Option<&str>,
        url: &str,
    ) -> Result<Vec<Self>, String> {
        let text = text::decode(content, content_type)?;
        let begin = text
            .find(['<', '{'])
            .ok_or("it has neither XML nor JSON in it")?;
        let mut found = match text.as_bytes()[begin] {
            b'<' => xml::read(&text[begin..], url)?,
            // A brace may also be part of what a program of the web server has said before.
            _ => json::read(&text[begin..], url).or_else(|why| {
                let markup = text[begin..]
                    .find('<')
                    .and_then(|at| xml::read(&text[begin + at..], url).ok());
                markup.ok_or(why)
            })?,
        };
        found.reverse();
        found.sort_by_key(|fields| fields.date);
        Ok(Self::told_apart(found))
    }

    /// An item is known by its id; by what it says, if it has none, or an older one of the same document has the same and says
    /// something else. One that is there twice counts once.
    fn told_apart(found: Vec<Fields>) -> Vec<Self> {
        let (mut items, mut ids, mut all) = (
            Vec::with_capacity(found.len()),
            BTreeSet::new(),
            BTreeSet::new(),
        );
        for mut fields in found {
            fields.id = fields.id.filter(|id| !id.is_empty());
            let digest = fields.digest();
            let is_new = all.insert((fields.id.clone(), digest.clone()));
            let identity = match &fields.id {
                // No id has a NUL in it: XML has none.
                None => format!("\0content {digest}"),
                Some(id) if ids.insert(id.clone()) => id.replace('\0', ""),
                Some(id) => format!("{id}\0{digest}"),
            };
            if is_new {
                fields.id.get_or_insert(digest);
                items.push(Self { fields, identity });
            }
        }
        items
    }

    /// What the feed calls it, as far as it is fit to be shown.
    pub(super) fn id(&self) -> String {
        let id = self.fields.id.as_deref().unwrap_or_default();
        id.chars()
            .filter(|char| !char.is_control())
            .take(ID_SHOWN)
            .collect()
    }

    /// Names it within its feed.
    pub(super) fn name(&self) -> [u8; 32] {
        Sha256::digest(self.identity.as_bytes()).into()
    }

    /// The idempotency key of its submission: read twice, it is one message.
    pub(super) fn key(&self, url: &str) -> String {
        let hash = Sha256::new()
            .chain_update(url)
            .chain_update([0])
            .chain_update(&self.identity)
            .finalize();
        format!("feed {}", hex(&hash))
    }

    /// What a terminal gets: the fields of JSON Feed 1.1, those that are there.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let Fields {
            id,
            title,
            url,
            summary,
            content,
            date,
        } = &self.fields;
        let mut json = Map::new();
        let mut put = |key: &str, value: Option<String>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                json.insert(key.to_owned(), Value::String(value));
            }
        };
        put("id", id.clone());
        put("title", title.clone());
        put("url", url.clone());
        put("summary", summary.clone());
        put("content", content.clone());
        put(
            "date_published",
            date.map(|at| at.to_string().replace('Z', "+00:00")),
        );
        Value::Object(json).to_string().into_bytes()
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests;
