//! `[[feed]]`: what is read of the Web.

use std::time::Duration;

use delivery::{Topic, Urgency};
use jiff::SignedDuration;
use model::directory::Name;
use model::url::HttpUrl;
use server::ingest::feeds::FeedConfig;

use crate::config::section::Section;

/// As often as most feeds like to be read.
const EVERY: Duration = Duration::from_secs(15 * 60);

pub(super) fn read(section: &mut Section<'_>) -> Option<FeedConfig> {
    let url = section.required::<HttpUrl>("url", "where the feed is");
    let topic = section.required::<Topic>("topic", "the topic of its items, such as news/example");
    let provider = section.required::<Name>(
        "provider",
        "the provider whose items they are (ringup provider add)",
    );
    let every = section.time("every", EVERY);
    let expires_after = section
        .has("expires_after")
        .then(|| section.time("expires_after", Duration::ZERO));
    let urgency = section.parsed::<Urgency>("urgency").unwrap_or_default();
    let (from_the_first, allow_private) =
        (section.is("from_the_first"), section.is("allow_private"));
    let signed = |time: Duration| SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
    if every.is_zero() {
        section.fault("every", "must be more than nothing");
    }
    Some(FeedConfig {
        url: url?,
        topic: topic?,
        provider: provider?,
        every: signed(every),
        urgency,
        expires_after: expires_after.map(signed),
        from_the_first,
        allow_private,
    })
}
