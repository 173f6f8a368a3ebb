//! Of `server.toml`, what says when terminals may be called, how often, and on which lines.

use std::collections::BTreeSet;
use std::time::Duration;

use calling::TerminalConditions;
use calling::dispatch::{RedialRules, Reserve, RetryRules, StormRules};
use jiff::civil::Date;
use line::{Hours, Window};
use model::directory::Name;
use store::RefusalRules;

use crate::config::section::Section;

const RETRY_FIRST: Duration = Duration::from_secs(60);
const RETRY_LONGEST: Duration = Duration::from_secs(3600);
/// A mobile router that is woken takes most of a minute to be on the net.
const SESSION_WAIT: Duration = Duration::from_secs(120);

/// `[retry]`.
pub(super) fn retry(section: &mut Section<'_>) -> RetryRules {
    let usual = RedialRules::default();
    let rules = RetryRules {
        session_wait: section.time("session_wait", SESSION_WAIT),
        first: section.time("first", RETRY_FIRST),
        longest: section.time("longest", RETRY_LONGEST),
        redials: RedialRules {
            within: section.time("redials_within", usual.within),
            in_all: u8::try_from(section.number("redials_in_all", usual.in_all.into()))
                .unwrap_or(u8::MAX),
            rest: section.time("redials_rest", usual.rest),
            modem_pause: section.time("modem_pause", usual.modem_pause),
        },
    };
    if rules.longest < rules.first {
        section.fault("longest", "is shorter than first");
    }
    rules
}

/// Of `[retry]`, what is about messages that their terminals refuse.
pub(super) fn refusals(section: &mut Section<'_>) -> RefusalRules {
    let usual = RefusalRules::default();
    let rules = RefusalRules {
        tries_max: section.number("refused_tries", usual.tries_max),
        first: section.time("refused_first", usual.first),
        longest: section.time("refused_longest", usual.longest),
    };
    if rules.tries_max == 0 {
        section.fault("refused_tries", "is 0: the first try counts");
    }
    if rules.longest < rules.first {
        section.fault("refused_longest", "is shorter than refused_first");
    }
    rules
}

/// `[dispatch]`; `lines` is how many there are.
pub(super) fn dispatch(section: &mut Section<'_>, lines: usize) -> (StormRules, Reserve) {
    let usual = StormRules::default();
    let storm = StormRules {
        calls_per_minute: section.number("calls_per_minute", usual.calls_per_minute),
        burst: section.number("burst", usual.burst),
        calls_at_once: section.number("calls_at_once", usual.calls_at_once),
    };
    for (key, number) in [
        ("calls_per_minute", storm.calls_per_minute),
        ("burst", storm.burst),
        ("calls_at_once", storm.calls_at_once),
    ] {
        if number == 0 {
            section.fault(key, "is 0: no terminal would ever be called");
        }
    }
    let reserve = Reserve {
        urgent: section.number("reserve_urgent", 0),
        incoming: section.number("reserve_incoming", 0),
    };
    let kept = u64::from(reserve.urgent) + u64::from(reserve.incoming);
    if kept > 0 && kept >= u64::try_from(lines).unwrap_or(u64::MAX) {
        let problem = format!(
            "keeps {kept} lines free with reserve_incoming, and there are {lines}: no terminal would ever be called"
        );
        section.fault("reserve_urgent", problem);
    }
    (storm, reserve)
}

/// `[[conditions]]`; `lines` are those there are.
pub(super) fn conditions(section: &mut Section<'_>, lines: &BTreeSet<Name>) -> TerminalConditions {
    let reach: BTreeSet<Name> = section.list("lines").into_iter().collect();
    for unknown in reach.difference(lines) {
        section.fault("lines", format!("no [[line]] is named {unknown}"));
    }
    let silent_after = section
        .has("silent_after")
        .then(|| section.time("silent_after", Duration::ZERO));
    TerminalConditions {
        terminals: section.list("terminals").into_iter().collect(),
        hours: Hours(section.list::<Window>("hours")),
        closed: section.list::<Date>("closed").into_iter().collect(),
        lines: reach,
        silent_after,
    }
}
