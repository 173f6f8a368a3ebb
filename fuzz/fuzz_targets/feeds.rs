//! The server has the readers to itself: their files stand here alone, without the store and all else that would have to be built.

#![no_main]

#[path = "../../crates/server/src/ingest/feeds/corpus.rs"]
mod corpus;
#[path = "../../crates/server/src/ingest/feeds/date.rs"]
mod date;
#[path = "../../crates/server/src/ingest/feeds/item.rs"]
#[allow(dead_code, reason = "what is submitted is elsewhere")]
mod item;
#[path = "../../crates/server/src/ingest/feeds/json.rs"]
mod json;
#[path = "../../crates/server/src/ingest/feeds/markup.rs"]
mod markup;
#[path = "../../crates/server/src/ingest/feeds/reference.rs"]
mod reference;
#[path = "../../crates/server/src/ingest/feeds/references.rs"]
mod references;
#[path = "../../crates/server/src/ingest/feeds/text.rs"]
mod text;
#[path = "../../crates/server/src/ingest/feeds/xml.rs"]
mod xml;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| corpus::feed(octets));
