//! How often one and the same thing is logged.
//!
//! A stranger, a line or a full disk can make the same warning happen thousands of times a second. Of each warning and error a
//! minute shows the first [`OF_A_SUBJECT_MAX`] about one peer, line, terminal or provider, and [`OF_A_KIND_MAX`] in all; the
//! others are counted, and the count is logged when the minute is over. Life events (info) are never left out.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// What the limits are for.
const WINDOW: Duration = Duration::from_secs(60);

/// Lines of one kind about one subject, and about all.
const OF_A_SUBJECT_MAX: u32 = 10;
const OF_A_KIND_MAX: u32 = 60;

/// Subjects that are told apart, of one kind; the rest are one.
const SUBJECTS_MAX: usize = 64;

/// The fields that say whom a line is about.
const SUBJECTS: &[&str] = &[
    "from", "peer", "line", "terminal", "provider", "says", "listener",
];

/// Octets of a subject that are looked at.
const SUBJECT_OCTETS_MAX: usize = 64;

/// The target of what is logged here.
const TARGET: &str = "ringup::log";

/// The limits, as a layer before the one that writes.
#[derive(Default)]
pub(super) struct RateLimit {
    kinds: Mutex<BTreeMap<Kind, Window>>,
}

/// Where in the program it is logged.
type Kind = (&'static str, u32);

/// What one minute has seen of one kind. Pure.
struct Window {
    began: Instant,
    message: String,
    shown: u32,
    left_out: u64,
    subjects: BTreeMap<String, u32>,
}

/// Lines that were left out, of one kind.
#[derive(Debug, PartialEq, Eq)]
struct LeftOut {
    message: String,
    count: u64,
}

impl Window {
    fn new(began: Instant, message: String) -> Self {
        Self {
            began,
            message,
            shown: 0,
            left_out: 0,
            subjects: BTreeMap::new(),
        }
    }

    /// Whether a line about this subject is shown.
    fn admit(&mut self, subject: &str) -> bool {
        let subject = if self.subjects.len() < SUBJECTS_MAX || self.subjects.contains_key(subject) {
            subject
        } else {
            ""
        };
        let of_this = self.subjects.entry(subject.to_owned()).or_default();
        if *of_this >= OF_A_SUBJECT_MAX || self.shown >= OF_A_KIND_MAX {
            self.left_out += 1;
            return false;
        }
        *of_this += 1;
        self.shown += 1;
        true
    }
}

impl RateLimit {
    /// Whether a line is shown, and what is to be said of minutes that are over.
    fn note(&self, kind: Kind, message: &str, subject: &str, now: Instant) -> (bool, Vec<LeftOut>) {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let over = overdue(&mut kinds, now);
        let window = kinds
            .entry(kind)
            .or_insert_with(|| Window::new(now, message.to_owned()));
        (window.admit(subject), over)
    }

    fn over(&self, now: Instant) -> Vec<LeftOut> {
        // A line that is never left out does not wait for one that may be.
        self.kinds
            .try_lock()
            .map(|mut kinds| overdue(&mut kinds, now))
            .unwrap_or_default()
    }
}

fn overdue(kinds: &mut BTreeMap<Kind, Window>, now: Instant) -> Vec<LeftOut> {
    let is_over = |window: &Window| now.saturating_duration_since(window.began) >= WINDOW;
    if !kinds.values().any(is_over) {
        return Vec::new();
    }
    let over = kinds
        .extract_if(.., |_, window| is_over(window))
        .map(|(_, window)| window);
    over.filter(|window| window.left_out > 0)
        .map(
            |Window {
                 message,
                 left_out: count,
                 ..
             }| LeftOut { message, count },
        )
        .collect()
}

impl<S: Subscriber> Layer<S> for RateLimit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if metadata.target() == TARGET {
            return true;
        }
        let is_limited = *metadata.level() <= Level::WARN;
        let (is_shown, over) = match (is_limited, metadata.file(), metadata.line()) {
            (true, Some(file), Some(line)) => {
                let mut about = About::default();
                event.record(&mut about);
                self.note((file, line), &about.message, &about.subject, Instant::now())
            }
            _ => (true, self.over(Instant::now())),
        };
        for LeftOut { message, count } in over {
            tracing::warn!(target: TARGET, of = message, more = count, "left out of the log in a minute");
        }
        is_shown
    }
}

/// What a line says, and about whom.
#[derive(Default)]
struct About {
    message: String,
    subject: String,
}

impl Visit for About {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = match field.name() {
            "message" => &mut self.message,
            name if SUBJECTS.contains(&name) => &mut self.subject,
            _ => return,
        };
        let _ = write!(Short(text), "{value:?} ");
    }
}

/// Takes the beginning, and no more.
struct Short<'a>(&'a mut String);

impl fmt::Write for Short<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend(
            text.chars()
                .take(SUBJECT_OCTETS_MAX.saturating_sub(self.0.len())),
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    const RINGS: Kind = ("own_lines.rs", 113);

    #[test]
    fn a_flood_is_ten_lines_and_a_count_and_others_are_shown_beside_it() {
        let (limit, began) = (RateLimit::default(), Instant::now());
        let shown = (0..1532)
            .filter(|_| limit.note(RINGS, "ring refused", "line-1", began).0)
            .count();
        assert_eq!(shown, 10);
        assert!(
            limit.note(RINGS, "ring refused", "line-2", began).0,
            "another line's ring"
        );
        assert!(
            limit
                .note(("other.rs", 7), "out of order", "line-1", began)
                .0,
            "another thing about the same line"
        );
        assert_eq!(limit.over(began + Duration::from_secs(59)), []);
        let left_out = LeftOut {
            message: "ring refused".to_owned(),
            count: 1522,
        };
        let (is_shown, over) = limit.note(RINGS, "ring refused", "line-1", began + WINDOW);
        assert_eq!((is_shown, over), (true, vec![left_out]));
        assert_eq!(
            limit.over(began + 3 * WINDOW),
            [],
            "and nothing is told twice"
        );
    }

    #[test]
    fn a_thousand_peers_are_sixty_lines_and_take_no_more_memory_than_sixty_five() {
        let (limit, now) = (RateLimit::default(), Instant::now());
        let shown = (0..1000)
            .filter(|peer| limit.note(RINGS, "not admitted", &peer.to_string(), now).0)
            .count();
        assert_eq!(shown, 60);
        assert!(limit.kinds.lock().unwrap()[&RINGS].subjects.len() <= SUBJECTS_MAX + 1);
    }

    /// Counts what gets through.
    struct Seen(Arc<AtomicU32>);

    impl<S: Subscriber> Layer<S> for Seen {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn warnings_are_limited_and_life_events_are_not() {
        let seen = Arc::new(AtomicU32::new(0));
        let registry = tracing_subscriber::registry()
            .with(RateLimit::default())
            .with(Seen(seen.clone()));
        tracing::subscriber::with_default(registry, || {
            for number in 0..1000 {
                tracing::warn!(peer = %"192.0.2.1", number, "not admitted");
            }
            assert_eq!(seen.swap(0, Ordering::Relaxed), 10);
            for number in 0..1000 {
                tracing::info!(peer = %"192.0.2.1", number, "message accepted");
            }
            assert_eq!(seen.load(Ordering::Relaxed), 1000);
        });
    }
}
