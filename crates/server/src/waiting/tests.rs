//! Each cause is brought about, in dispatch itself where it is dispatch's, and must be named.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use delivery::{TerminalId, Urgency};
use jiff::civil::{DateTime, date};
use line::{CallId, Hours};

use super::*;
use calling::dispatch::{
    Conditions, Demand, Input, LineTerms, Output, RedialRules, RetryRules, Route, Rules,
};
use model::attempt::AttemptKind;
use model::call::Direction;
use model::directory::{ChapSecret, InboxUrl, Stock, TrustedBy};
use model::outcome::Outcome;
use model::subscription::Calls;
use store::DeliveryEntry;

const MINUTE: Duration = Duration::from_secs(60);
/// A Tuesday's noon, on the wall and in UTC.
const NOON: DateTime = DateTime::constant(2026, 11, 24, 12, 0, 0, 0);

fn owner() -> TerminalId {
    TerminalId::from_octets([1; 8])
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A dispatch at noon, and what has been told of the terminal otherwise.
struct Scene {
    dispatch: Dispatch,
    start: Instant,
    passed: Duration,
    terminal: Terminal,
    trust: Trust,
    paused_at: Option<Timestamp>,
    /// What holds for it, if dispatch was not told of it.
    conditions: Conditions,
    calls: Vec<CallRecord>,
    faults: Vec<(String, String)>,
    budgets: Vec<String>,
    envelope: EnvelopeEntry,
}

impl Scene {
    fn new(lines: &[&str]) -> Self {
        Self::with(
            lines,
            RedialRules {
                within: Duration::ZERO,
                in_all: 200,
                ..RedialRules::default()
            },
            None,
        )
    }

    fn with(lines: &[&str], redials: RedialRules, tariff: Option<&str>) -> Self {
        let retry = RetryRules {
            first: MINUTE,
            longest: 10 * MINUTE,
            redials,
            session_wait: 2 * MINUTE,
        };
        let tariff =
            tariff.map(|text| Arc::new(toml::from_str::<calling::ledger::Tariff>(text).unwrap()));
        let terms = lines.iter().map(|line| LineTerms {
            name: name(line),
            tariff: tariff.clone(),
            is_ring_only: false,
        });
        let rules = Rules {
            lines: terms.collect(),
            ..Rules::new(retry)
        };
        let secret = delivery::proof::SecretKey::generate().unwrap();
        let mut scene = Self {
            dispatch: Dispatch::new(rules, 1),
            start: Instant::now(),
            passed: Duration::ZERO,
            terminal: Terminal {
                id: owner(),
                name: name("owner"),
                number: Some("301".parse().unwrap()),
                address: None,
                connection: Connection::Down,
                trusted_by: TrustedBy::default(),
            },
            trust: Trust {
                keys: vec![secret.public()],
                ..Trust::default()
            },
            paused_at: None,
            conditions: Conditions::default(),
            calls: Vec::new(),
            faults: Vec::new(),
            budgets: Vec::new(),
            envelope: EnvelopeEntry {
                terminal: "owner".to_owned(),
                under_way: None,
                in_doubt_since: None,
                pending: None,
                refusals: 0,
                rests_until: None,
                calls: Calls::Now,
                verdict: None,
                reason: None,
                call: None,
                at: None,
                deliveries: vec![],
            },
        };
        lines
            .iter()
            .for_each(|line| scene.feed(Input::LineFree(name(line))));
        scene
    }

    fn now(&self) -> Moment {
        let passed = jiff::SignedDuration::try_from(self.passed).unwrap();
        let noon = NOON.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
        Moment {
            at: self.start + self.passed,
            wall: noon + passed,
        }
    }

    fn feed(&mut self, input: Input) {
        self.dispatch.handle(input, self.now());
        while !matches!(self.dispatch.poll_output(), Output::Timeout { .. }) {}
    }

    fn due(&mut self, terminal: TerminalId, urgency: Urgency, conditions: Conditions) {
        let demand = Demand {
            terminal,
            conditions: Some(Arc::new(conditions)),
            urgency,
            deadline: None,
        };
        self.feed(Input::Due(demand));
    }

    /// The terminal is called on line `a`, which ends like this.
    fn called(&mut self, outcome: Outcome) {
        self.due(owner(), Urgency::Normal, Conditions::default());
        let record = CallRecord::begin(
            CallId::now(),
            Timestamp::now(),
            Direction::Outgoing,
            name("a"),
            self.terminal.number.clone(),
            name("owner"),
        );
        self.calls.push(CallRecord {
            outcome: Some(outcome.to_string()),
            kind: Some(outcome.kind()),
            ..record
        });
        self.feed(Input::Ended {
            terminal: owner(),
            via: name("a").into(),
            outcome,
        });
        self.feed(Input::LineFree(name("a")));
    }

    fn explain(&self) -> Waiting {
        let start = self.start;
        let wall = |at: Instant| {
            let ahead = jiff::SignedDuration::try_from(at.duration_since(start)).unwrap();
            NOON.saturating_add(ahead)
                .to_zoned(jiff::tz::TimeZone::UTC)
                .unwrap()
                .timestamp()
        };
        let around = Circumstances {
            terminal: Some(&self.terminal),
            trust: self.trust.clone(),
            paused_at: self.paused_at,
            believes_numbers: false,
            calls: &self.calls,
            decided: Some(Decided::of(
                &self.dispatch,
                owner(),
                Some(&self.conditions),
                self.now(),
                wall,
            )),
            faults: &self.faults,
            budgets: &self.budgets,
            stated: None,
        };
        Waiting::of(&self.envelope, &around)
    }

    /// What is told has this reason, says this of what is next, and this of when: a time of the day, if it has one.
    #[track_caller]
    fn says(&self, reason: &str, next: &str, at: Option<&str>) {
        let told = self.explain();
        assert!(
            told.reason.contains(reason),
            "{told:?} does not say {reason:?}"
        );
        assert!(told.next.contains(next), "{told:?} does not say {next:?}");
        match (told.next_at, at) {
            (None, None) => {}
            (Some(told), Some(at)) => {
                assert!(told.to_string().starts_with(at), "{told} is not {at}");
            }
            (told, at) => panic!("{told:?} is not {at:?}"),
        }
    }
}

#[test]
fn no_number() {
    let mut scene = Scene::new(&["a"]);
    scene.terminal.number = None;
    scene.says("no number", "connects by itself", None);
}

#[test]
fn outside_its_hours_and_on_a_closed_day() {
    let evenings = Hours(vec!["mon-sun 20:00-22:00".parse().unwrap()]);
    let mut scene = Scene::new(&["a"]);
    scene.due(
        owner(),
        Urgency::Urgent,
        Conditions {
            hours: evenings.clone(),
            ..Conditions::default()
        },
    );
    scene.says(
        "outside the terminal's hours",
        "when they begin",
        Some("2026-11-24T20:00"),
    );

    let mut scene = Scene::new(&["a"]);
    let closed = BTreeSet::from([date(2026, 11, 24)]);
    scene.due(
        owner(),
        Urgency::Urgent,
        Conditions {
            hours: evenings,
            closed,
            ..Conditions::default()
        },
    );
    scene.says(
        "closed day",
        "when its hours begin",
        Some("2026-11-25T20:00"),
    );

    // Although no line is free that could look.
    let mut scene = Scene::new(&[]);
    let hours = Hours(vec!["mon-sun 20:00-22:00".parse().unwrap()]);
    scene.due(
        owner(),
        Urgency::Urgent,
        Conditions {
            hours,
            ..Conditions::default()
        },
    );
    scene.says(
        "outside the terminal's hours",
        "when they begin",
        Some("2026-11-24T20:00"),
    );
}

#[test]
fn a_budget_is_spent() {
    let mut scene = Scene::new(&["a"]);
    let wait = Duration::from_secs(12 * 3600);
    scene.called(Outcome::BudgetSpent {
        budget: "the terminal owner".into(),
        wait,
    });
    scene.says(
        "a budget of the day is spent",
        "when there is a new one",
        Some("2026-11-25T00:00"),
    );
    scene.budgets = vec!["the terminal owner".into()];
    scene.says(
        "the budget of the terminal owner is spent",
        "when there is a new one",
        Some("2026-11-25T00:00"),
    );
}

#[test]
fn the_dial_loop_is_broken() {
    let mut scene = Scene::new(&["a"]);
    scene.called(Outcome::LoopBroken);
    scene.says("failed for days", "ringup terminal resume owner", None);
}

#[test]
fn all_lines_are_busy_or_none_reaches_it() {
    let mut scene = Scene::new(&["a"]);
    for number in [7, 8] {
        scene.due(
            TerminalId::from_octets([number; 8]),
            Urgency::Normal,
            Conditions::default(),
        );
    }
    scene.due(owner(), Urgency::Normal, Conditions::default());
    scene.says(
        "all lines that reach the terminal are busy",
        "one terminal is before it",
        None,
    );

    let mut scene = Scene::new(&[]);
    scene.due(
        owner(),
        Urgency::Normal,
        Conditions {
            route: Route::ALL,
            ..Conditions::default()
        },
    );
    scene.says("no line reaches", "configured", None);
}

#[test]
fn a_line_is_out_of_order() {
    let mut scene = Scene::new(&["a", "b"]);
    for line in ["a", "b"] {
        scene.feed(Input::LineTaken(name(line)));
    }
    scene.due(owner(), Urgency::Normal, Conditions::default());
    scene.faults = vec![("a".into(), "no modem".into())];
    scene.says(
        "busy, or rest after a fault; line a is out of order (no modem)",
        "when one is free",
        None,
    );
    scene.faults.push(("b".into(), "no such port".into()));
    scene.says(
        "line a is out of order (no modem), line b is out of order (no such port)",
        "in service again",
        None,
    );
}

#[test]
fn backing_off_after_busy_or_no_answer() {
    for outcome in [Outcome::Busy, Outcome::NoAnswer] {
        let mut scene = Scene::new(&["a"]);
        scene.called(outcome.clone());
        scene.says(
            &format!("came to nothing ({outcome})"),
            "called again",
            Some("2026-11-24T12:01"),
        );
    }
}

#[test]
fn redialled_as_often_as_it_may_be_and_refused_by_the_modem_itself() {
    let mut scene = Scene::with(
        &["a"],
        RedialRules {
            within: 30 * MINUTE,
            ..RedialRules::default()
        },
        None,
    );
    for _ in 0..3 {
        scene.called(Outcome::NoAnswer);
        scene.passed += 5 * MINUTE;
        scene.feed(Input::Deadline);
    }
    scene.says("redial limit", "called again", Some("2026-11-24T12:30"));

    let mut scene = Scene::new(&["a"]);
    scene.called(Outcome::RedialLimited);
    scene.says(
        "the modem may not dial",
        "called again",
        Some("2026-11-24T12:10"),
    );
}

#[test]
fn bulk_waits_for_a_cheap_window() {
    let tariff = "name = \"minutes\"\n[[window]]\nfrom = \"08:00\"\nto = \"18:00\"\nunit_ms = 60000\nprice = \"5\"\n[[window]]\nunit_ms = 60000\nprice = \"1\"";
    let mut scene = Scene::with(&["a"], RedialRules::default(), Some(tariff));
    scene.due(owner(), Urgency::Bulk, Conditions::default());
    scene.says("cheaper hour", "is called", Some("2026-11-24T18:00"));
}

#[test]
fn the_terminal_refused_the_message() {
    let mut scene = Scene::new(&["a"]);
    scene.called(Outcome::MessagesRefused {
        delivered: 0,
        refused: 1,
        unreadable: 0,
    });
    let began_at = Timestamp::now();
    let outcome = Some("refused with status 507 Insufficient Storage: the disk is full".to_owned());
    let (call, kind) = (CallId::now().to_string(), Some(AttemptKind::Refused));
    scene.envelope.deliveries = vec![DeliveryEntry {
        call,
        began_at,
        ended_at: Some(began_at),
        outcome,
        kind,
        octets: 0,
    }];
    scene.envelope.refusals = 2;
    scene.envelope.rests_until = Some("2026-11-24T12:20:00Z".parse().unwrap());
    let words = "did not take it, several times (2 in all), the last: refused with status 507";
    scene.says(
        words,
        "tried again after a pause that grows",
        Some("2026-11-24T12:20"),
    );
    scene.terminal.connection = Connection::Connected(CallId::now());
    scene.says(
        words,
        "tried again after a pause that grows",
        Some("2026-11-24T12:20"),
    );
}

#[test]
fn the_terminal_may_have_it_and_it_is_to_have_another_verdict() {
    let mut scene = Scene::new(&["a"]);
    scene.envelope.in_doubt_since = Some(Timestamp::now());
    scene.envelope.pending = Some((
        Verdict::Cancelled,
        Some("cancelled by its provider".to_owned()),
    ));
    scene.says(
        "cancelled by its provider; all of it was sent",
        "asked in its next session",
        None,
    );
    scene.envelope.under_way = Some(CallId::now().to_string());
    scene.says(
        "cancelled by its provider; it is being delivered",
        "unless the terminal's receipt comes",
        None,
    );
}

#[test]
fn not_enrolled_invited_or_shut_out() {
    let mut scene = Scene::new(&["a"]);
    scene.called(Outcome::NotProved("not trusted".into()));
    let keys = std::mem::take(&mut scene.trust.keys);
    scene.says("not enrolled", "ringup terminal invite owner", None);
    scene.trust.invitation = Some(delivery::proof::EnrolmentSecret::from_octets([1; 32]));
    assert!(scene.explain().next_at.is_some(), "it is called");
    let invited = scene.explain();
    assert!(
        invited.reason.contains("invited") && invited.reason.contains("not proved: not trusted"),
        "{invited:?}"
    );
    assert!(
        invited.next.contains("ringup enrol BUNDLE") && invited.next.contains("called again"),
        "{invited:?}"
    );
    scene.trust = Trust {
        keys,
        shut_out_at: Some(Timestamp::now()),
        ..Trust::default()
    };
    scene.says("shut out", "ringup terminal invite owner", None);
}

#[test]
fn a_stock_terminal_that_is_not_believed_is_not_called() {
    let mut scene = Scene::new(&["a"]);
    scene.due(owner(), Urgency::Normal, Conditions::default());
    let inbox: InboxUrl = "http://:80/".parse().unwrap();
    scene.trust = Trust::default();
    scene.terminal.trusted_by = TrustedBy::Stock(Stock {
        trust: StockTrust::NumberOnly,
        inbox: inbox.clone(),
    });
    scene.says("nothing but its number", "[stock] number_only = true", None);
    let chap = StockTrust::Chap(ChapSecret::from_octets([1; 24]));
    scene.terminal.trusted_by = TrustedBy::Stock(Stock { trust: chap, inbox });
    assert!(
        !scene.explain().reason.contains("enrolled"),
        "it needs no key"
    );
    scene.trust.shut_out_at = Some(Timestamp::now());
    scene.says("shut out", "terminal add", None);
}

#[test]
fn rung_and_awaited() {
    let mut scene = Scene::new(&["a"]);
    scene.called(Outcome::Rung);
    scene.says("was rung", "rung again", Some("2026-11-24T12:02"));
}

#[test]
fn under_way_being_called_and_connected() {
    let mut scene = Scene::new(&["a"]);
    let call = CallId::now();
    scene.terminal.connection = Connection::Calling(call);
    scene.says("is being called", "answered and proved itself", None);
    scene.terminal.connection = Connection::Connected(call);
    scene.says("is connected", "on this call", None);
    scene.envelope.under_way = Some(call.to_string());
    scene.says("delivered just now", "receipt", None);
}

#[test]
fn what_is_over_says_why_and_that_nothing_follows() {
    let scene = Scene::new(&[]);
    let told = |verdict, reason: Option<&str>| {
        let envelope = EnvelopeEntry {
            verdict: Some(verdict),
            reason: reason.map(str::to_owned),
            ..scene.envelope.clone()
        };
        settled(&envelope, Some(Timestamp::UNIX_EPOCH)).unwrap_or_default()
    };
    for (verdict, reason, says) in [
        (
            Verdict::Expired,
            None,
            "over at 1970-01-01T00:00:00Z before the terminal had it (no delivery was tried)",
        ),
        (
            Verdict::Replaced,
            Some("replaced by M"),
            "replaced by M; the newer one is delivered",
        ),
        (
            Verdict::Cancelled,
            Some("cancelled by its provider"),
            "cancelled by its provider; nothing more",
        ),
        (
            Verdict::Failed,
            Some("sessions broke"),
            "sessions broke; nothing more is tried: submit it again",
        ),
        (Verdict::Delivered, None, ""),
    ] {
        let told = told(verdict, reason);
        assert!(
            told.contains(says) && (told.is_empty() == says.is_empty()),
            "{told:?} does not say {says:?}"
        );
    }
}

#[test]
fn it_came_outside_what_the_terminal_registered_for() {
    let mut scene = Scene::new(&["a"]);
    scene.envelope.calls = Calls::Never;
    scene.says("not to be called for it", "sent on the next call", None);
    let evening = "2026-11-24T20:00:00Z".parse().unwrap();
    scene.envelope.calls = Calls::From(evening);
    scene.says(
        "outside the hours for which the terminal has registered",
        "when they begin",
        Some("2026-11-24T20:00"),
    );
}

#[test]
fn every_cause_is_named_before_enrolment_too() {
    let evenings = Hours(vec!["mon-sun 20:00-22:00".parse().unwrap()]);
    let mut scene = Scene::new(&["a"]);
    scene.trust = Trust::default();
    scene.conditions = Conditions {
        hours: evenings.clone(),
        ..Conditions::default()
    };
    scene.faults = vec![("a".into(), "no modem".into())];
    scene.budgets = vec!["the server".into()];
    for says in [
        "not enrolled",
        "line a is out of order (no modem)",
        "outside the terminal's hours",
        "the budget of the server",
    ] {
        scene.says(says, "ringup terminal invite owner", None);
    }
    scene.paused_at = Some(Timestamp::UNIX_EPOCH);
    scene.says(
        "; the terminal is paused by the operator since 1970",
        "ringup terminal invite owner",
        None,
    );

    // Invited, it is called: what keeps the call from being placed decides, and is told with its time.
    let mut scene = Scene::new(&["a"]);
    scene.trust = Trust {
        invitation: Some(delivery::proof::EnrolmentSecret::from_octets([1; 32])),
        ..Trust::default()
    };
    scene.due(
        owner(),
        Urgency::Urgent,
        Conditions {
            hours: evenings,
            ..Conditions::default()
        },
    );
    scene.says(
        "invited and has not enrolled yet; it is outside the terminal's hours",
        "ringup enrol",
        Some("2026-11-24T20:00"),
    );
}

#[test]
fn paused_by_the_operator() {
    let mut scene = Scene::new(&["a"]);
    scene.paused_at = Some(Timestamp::UNIX_EPOCH);
    scene.says(
        "paused by the operator since 1970-01-01T00:00:00Z",
        "ringup terminal resume owner",
        None,
    );
}

#[test]
fn the_operator_ended_the_last_call() {
    let mut scene = Scene::new(&["a"]);
    scene.called(Outcome::EndedByOperator);
    scene.says(
        "came to nothing (ended by the operator)",
        "called again",
        Some("2026-11-24T12:01"),
    );
}
