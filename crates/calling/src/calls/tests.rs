//! One terminal, one line, and a store that answers when the test says so.

use std::time::Duration;

use delivery::Urgency;

use super::*;
use crate::action::Order;
use crate::dispatch::{LineTerms, RedialRules, RetryRules};
use crate::event::{Candidate, Recovered};
use crate::ledger::Budget;
use model::call::{CallRecord, Direction, Via};
use model::dial_loop::Loop;
use model::directory::TrustedBy;
use model::outcome::UnderWay;

const SECOND: Duration = Duration::from_secs(1);

struct Scene {
    calling: Calling,
    start: Instant,
    now: Duration,
    calls: u8,
}

fn owner() -> Terminal {
    Terminal {
        id: TerminalId::from_octets([1; 8]),
        name: "owner".parse().unwrap(),
        number: Some("301".parse().unwrap()),
        address: None,
        connection: Connection::Down,
        trusted_by: TrustedBy::default(),
    }
}

fn line() -> Name {
    "line-1".parse().unwrap()
}

impl Scene {
    /// A server that has started, with one free line that costs 10 for three minutes.
    fn new() -> Self {
        let tariff =
            toml::from_str("name = \"t\"\n[[window]]\nunit_ms = 180000\nprice = \"10\"").unwrap();
        let line_terms = LineTerms {
            name: line(),
            tariff: Some(Arc::new(tariff)),
            is_ring_only: false,
        };
        let retry = RetryRules {
            first: SECOND,
            longest: SECOND,
            redials: RedialRules::default(),
            session_wait: 60 * SECOND,
        };
        let policy = Policy {
            rules: Rules {
                lines: vec![line_terms],
                ..Rules::new(retry)
            },
            conditions: Vec::new(),
            money: Money {
                longest_call: 60 * SECOND,
                budget: Budget::default(),
                ..Money::default()
            },
            home: None,
            dial_prefixes: BTreeMap::from([(line(), "0,".to_owned())]),
            believes_numbers: false,
        };
        let start = Instant::now();
        let mut scene = Self {
            calling: Calling::new(
                policy,
                1,
                Moment {
                    at: start,
                    wall: Timestamp::UNIX_EPOCH,
                },
            ),
            start,
            now: Duration::ZERO,
            calls: 0,
        };
        scene.tell(Event::Recovered(Box::<Recovered>::default()));
        scene.tell(Event::LookedAtAll(Vec::new()));
        scene.tell(Event::LineFree(line()));
        scene
    }

    /// What is wanted after an event, up to the wait.
    fn tell(&mut self, event: Event) -> Vec<Action> {
        let wall = Timestamp::UNIX_EPOCH + jiff::SignedDuration::try_from(self.now).unwrap();
        self.calling.handle(
            event,
            Moment {
                at: self.start + self.now,
                wall,
            },
        );
        let mut actions = Vec::new();
        loop {
            match self.calling.poll_action() {
                Action::Wait { .. } => return actions,
                action => actions.push(action),
            }
        }
    }

    /// The instant of the next wake-up, from the start.
    fn wakes(&mut self) -> Option<Duration> {
        match self.calling.poll_action() {
            Action::Wait { until } => until.map(|until| until.duration_since(self.start)),
            other => panic!("{other:?}"),
        }
    }

    fn found() -> Found {
        let waits = Waits {
            urgency: Urgency::Normal,
            deadline: None,
            may_be_called: true,
        };
        Found {
            terminal: owner(),
            waits: Some(waits),
        }
    }

    /// A message comes, and is looked at: the store is asked what a call needs.
    fn due(&mut self) {
        let wanted = self.tell(Event::Due(BTreeSet::from([owner().id])));
        assert!(
            matches!(
                &wanted[..],
                [Action::Store(Job::Look(_)), Action::Deliver(_)]
            ),
            "{wanted:?}"
        );
        let wanted = self.tell(Event::Looked {
            terminal: owner().id,
            found: Some(Self::found()),
        });
        assert!(
            matches!(&wanted[..], [Action::Store(Job::Choose(_))]),
            "{wanted:?}"
        );
    }

    /// The store has read it: a call is to be begun.
    fn chosen(&mut self, is_invited: bool) -> CallRecord {
        self.calls += 1;
        let candidate = Some(Box::new(Candidate {
            found: Self::found(),
            provider: None,
            is_invited,
        }));
        let call = CallId::from_octets([self.calls; 16]);
        let wanted = self.tell(Event::Chosen {
            terminal: owner().id,
            candidate,
            call,
        });
        let begun = wanted.into_iter().find_map(|action| match action {
            Action::Store(Job::Begin(beginning)) => Some(beginning),
            _ => None,
        });
        let beginning = begun.expect("a call is begun");
        assert!(beginning.reservation.is_some());
        beginning.record
    }

    fn spent(&self) -> Micros {
        self.calling.spent(&Account::Server).0
    }

    /// A call goes as far as the line.
    fn dialled(&mut self) -> Order {
        self.due();
        self.chosen(false);
        self.begun()
    }

    /// The disk has it.
    fn begun(&mut self) -> Order {
        let mut wanted = self.tell(Event::Begun(owner().id));
        wanted.retain(|action| !matches!(action, Action::Clear { .. }));
        match wanted.pop() {
            Some(Action::Dial(order)) if wanted.is_empty() => *order,
            other => panic!("{wanted:?} {other:?}"),
        }
    }

    fn ended(&mut self, record: &CallRecord, outcome: Outcome) -> Vec<Action> {
        let record = Box::new(record.clone());
        self.tell(Event::Ended {
            terminal: owner().id,
            outcome,
            record,
            lasted: 20 * SECOND,
        })
    }
}

fn closes(actions: &[Action], record: &CallRecord, outcome: &str) -> bool {
    let is_closed = |action: &Action| match action {
        Action::Store(Job::Close(closed)) => {
            closed.id == record.id && closed.outcome.as_deref() == Some(outcome)
        }
        _ => false,
    };
    actions.iter().any(is_closed)
}

fn settles(actions: &[Action], expected: Micros) -> bool {
    actions.iter().any(
        |action| matches!(action, Action::Store(Job::Settle { amount, .. }) if *amount == expected),
    )
}

#[test]
fn a_call_is_dialled_when_the_disk_has_it_and_settled_when_it_is_over() {
    let mut scene = Scene::new();
    let order = scene.dialled();
    assert_eq!(
        (&order.number, order.allowance.longest),
        (&"0,301".parse().unwrap(), 60 * SECOND)
    );
    assert_eq!(scene.spent(), "10".parse().unwrap());
    let wanted = scene.ended(&order.record, Outcome::Completed);
    assert!(settles(&wanted, "10".parse().unwrap()), "{wanted:?}");
    assert!(
        matches!(wanted.last(), Some(Action::Store(Job::Look(_)))),
        "what came too late is due: {wanted:?}"
    );
}

#[test]
fn what_the_store_did_not_read_is_asked_for_again_with_growing_pauses() {
    let mut scene = Scene::new();
    let terminal = owner().id;
    scene.tell(Event::Due(BTreeSet::from([terminal])));
    for pause in [1, 2, 4, 8, 16, 30, 30] {
        let failed = Event::StoreFailed {
            job: Job::Look(terminal),
            why: "disk".to_owned(),
        };
        assert!(scene.tell(failed).is_empty());
        let wakes = scene.wakes().expect("it is asked again");
        assert_eq!(wakes - scene.now, pause * SECOND);
        scene.now = wakes;
        let wanted = scene.tell(Event::Deadline);
        assert!(
            matches!(&wanted[..], [Action::Store(Job::Look(_))]),
            "{wanted:?}"
        );
    }
    let wanted = scene.tell(Event::Looked {
        terminal,
        found: Some(Scene::found()),
    });
    assert!(
        matches!(&wanted[..], [Action::Store(Job::Choose(_))]),
        "{wanted:?}"
    );
}

#[test]
fn what_the_store_did_not_write_is_written_again_unless_it_is_old_by_then() {
    let mut scene = Scene::new();
    let order = scene.dialled();
    let (terminal, call) = (owner().id, order.record.id);
    let connection = Connection::Connected(call);
    scene.tell(Event::Connected {
        terminal,
        call,
        via: line().into(),
    });
    scene.tell(Event::StoreFailed {
        job: Job::Connect {
            terminal,
            connection,
        },
        why: "disk".to_owned(),
    });
    scene.now += SECOND;
    let wanted = scene.tell(Event::Deadline);
    assert!(
        matches!(&wanted[..], [Action::Store(Job::Connect { .. })]),
        "{wanted:?}"
    );
    scene.tell(Event::StoreFailed {
        job: Job::Connect {
            terminal,
            connection,
        },
        why: "disk".to_owned(),
    });
    let amount = "10".parse().unwrap();
    scene.ended(&order.record, Outcome::Busy);
    scene.tell(Event::StoreFailed {
        job: Job::Settle { call, amount },
        why: "disk".to_owned(),
    });
    scene.now += 2 * SECOND;
    let wanted = scene.tell(Event::Deadline);
    assert!(settles(&wanted, amount), "{wanted:?}");
    let is_old = |action: &Action| matches!(action, Action::Store(Job::Connect { .. }));
    assert!(
        !wanted.iter().any(is_old),
        "the session is over: {wanted:?}"
    );
}

#[test]
fn a_call_that_could_not_be_written_is_not_dialled_and_reserves_nothing() {
    let mut scene = Scene::new();
    scene.due();
    let record = scene.chosen(false);
    let beginning = crate::Beginning {
        terminal: owner().id,
        record,
        reservation: None,
    };
    let wanted = scene.tell(Event::StoreFailed {
        job: Job::Begin(Box::new(beginning)),
        why: "disk".to_owned(),
    });
    assert!(
        matches!(
            &wanted[..],
            [Action::NotPlaced {
                why: Outcome::NotRecorded(_),
                ..
            }]
        ),
        "{wanted:?}"
    );
    assert_eq!(scene.spent(), Micros::ZERO);
    // It counts as a failure, and as no answer.
    let waiting = scene.calling.dispatch().explain(
        owner().id,
        Moment {
            at: scene.start,
            wall: Timestamp::UNIX_EPOCH,
        },
    );
    assert_eq!(waiting.failures, 1);
}

#[test]
fn a_terminal_that_comes_by_itself_before_the_disk_has_the_call_is_not_called() {
    for via in [Via::Internet, line().into()] {
        let mut scene = Scene::new();
        scene.due();
        let record = scene.chosen(false);
        let terminal = owner().id;
        let own = CallRecord::begin(
            CallId::from_octets([9; 16]),
            Timestamp::UNIX_EPOCH,
            Direction::Incoming,
            via.clone(),
            None,
            owner().name,
        );
        if via.line().is_some() {
            scene.tell(Event::LineTaken(line()));
        }
        scene.tell(Event::Connected {
            terminal,
            call: own.id,
            via: via.clone(),
        });
        let wanted = scene.tell(Event::Begun(terminal));
        assert!(
            closes(&wanted, &record, "withdrawn before it was dialled"),
            "{wanted:?}"
        );
        assert!(settles(&wanted, Micros::ZERO), "{wanted:?}");
        let is_connected = |scene: &Scene| {
            let now = Moment {
                at: scene.start,
                wall: Timestamp::UNIX_EPOCH,
            };
            scene.calling.dispatch().explain(terminal, now).why == crate::dispatch::Why::Connected
        };
        assert!(is_connected(&scene), "its own session goes on: {via}");
        scene.ended(&own, Outcome::Completed);
        assert!(!is_connected(&scene), "{via}");
        scene.tell(Event::LineFree(line()));
        scene.now += 60 * SECOND;
        for _ in 0..2 {
            scene.tell(Event::Looked {
                terminal,
                found: None,
            });
        }
        scene.due();
    }
}

#[test]
fn a_decision_that_the_disk_keeps_for_too_long_is_made_anew() {
    let mut scene = Scene::new();
    scene.due();
    let record = scene.chosen(false);
    scene.now += 11 * SECOND;
    let wanted = scene.tell(Event::Begun(owner().id));
    assert!(
        closes(&wanted, &record, "withdrawn before it was dialled"),
        "{wanted:?}"
    );
    assert!(
        matches!(wanted.last(), Some(Action::Store(Job::Look(_)))),
        "{wanted:?}"
    );
    let wanted = scene.tell(Event::Looked {
        terminal: owner().id,
        found: Some(Scene::found()),
    });
    assert!(
        matches!(&wanted[..], [Action::Store(Job::Choose(_))]),
        "{wanted:?}"
    );
    scene.chosen(false);
    scene.now += 4 * SECOND;
    let order = scene.begun();
    assert_eq!(
        order.allowance.longest,
        56 * SECOND,
        "what is reserved counts from the reservation on"
    );
    let record = Box::new(order.record);
    let outcome = Outcome::Completed;
    let wanted = scene.tell(Event::Ended {
        terminal: owner().id,
        outcome,
        record,
        lasted: 176 * SECOND,
    });
    assert!(
        settles(&wanted, "20".parse().unwrap()),
        "176 s, 4 s before the dial command, 2 s unseen: {wanted:?}"
    );
}

#[test]
fn a_terminal_that_is_paused_or_removed_before_the_disk_has_the_call_is_not_called() {
    for event in [Event::Paused(owner().id), Event::Removed(owner().id)] {
        let mut scene = Scene::new();
        scene.due();
        let record = scene.chosen(false);
        scene.tell(event);
        let wanted = scene.tell(Event::Begun(owner().id));
        assert!(
            closes(&wanted, &record, "withdrawn before it was dialled"),
            "{wanted:?}"
        );
    }
}

#[test]
fn a_line_that_does_not_take_its_order_is_waited_for() {
    let mut scene = Scene::new();
    let order = scene.dialled();
    let record = Box::new(order.record.clone());
    let wanted = scene.tell(Event::NotTaken {
        terminal: owner().id,
        record,
    });
    assert!(closes(&wanted, &order.record, "line taken"), "{wanted:?}");
    assert_eq!(scene.spent(), Micros::ZERO);
    let wanted = scene.tell(Event::LineFree(line()));
    assert!(
        matches!(&wanted[..], [Action::Store(Job::Choose(_))]),
        "{wanted:?}"
    );
}

#[test]
fn a_change_while_a_look_is_answered_is_looked_at_once_more() {
    let mut scene = Scene::new();
    let terminal = owner().id;
    scene.tell(Event::Due(BTreeSet::from([terminal])));
    assert!(matches!(
        scene.tell(Event::Due(BTreeSet::from([terminal])))[..],
        [Action::Deliver(_)]
    ));
    let wanted = scene.tell(Event::Looked {
        terminal,
        found: Some(Found {
            terminal: owner(),
            waits: None,
        }),
    });
    assert!(
        matches!(&wanted[..], [Action::Store(Job::Look(_))]),
        "{wanted:?}"
    );
    assert!(
        scene
            .tell(Event::Looked {
                terminal,
                found: None
            })
            .is_empty()
    );
}

#[test]
fn three_calls_that_do_not_enrol_an_invited_terminal_are_an_alarm() {
    let mut scene = Scene::new();
    scene.due();
    for call in 1..=3 {
        scene.chosen(true);
        let order = scene.begun();
        let wanted = scene.ended(&order.record, Outcome::NotProved("no key".to_owned()));
        let is_raised = |action: &Action| {
            matches!(
                action,
                Action::Raise {
                    kind: AlarmKind::NotEnrolled,
                    ..
                }
            )
        };
        assert_eq!(wanted.iter().any(is_raised), call == 3, "{wanted:?}");
        assert!(
            !wanted
                .iter()
                .any(|action| matches!(action, Action::Unproved { .. })),
            "{wanted:?}"
        );
        scene.now += Duration::from_secs(2 * 24 * 3600);
        let wanted = scene.tell(Event::LineFree(line()));
        assert!(
            matches!(&wanted[..], [Action::Store(Job::Choose(_))]),
            "called again after a day: {wanted:?}"
        );
    }
}

/// A call that the store does not begin for its budgets; what is wanted then.
fn refused_for_its_budget(scene: &mut Scene) -> Vec<Action> {
    let record = scene.chosen(false);
    let (terminal, reservation) = (owner().id, None);
    let job = Job::Begin(Box::new(crate::action::Beginning {
        terminal,
        record,
        reservation,
    }));
    let account = Account::Server;
    scene.tell(Event::BudgetRefused { job, account })
}

fn is_not_placed(actions: &[Action], because: &str) -> bool {
    actions
        .iter()
        .any(|action| matches!(action, Action::NotPlaced { why, .. } if why.to_string().contains(because)))
}

fn is_budget_alarm(action: &Action) -> bool {
    matches!(action, Action::Raise { kind, .. } | Action::Clear { kind, .. } if *kind == AlarmKind::Budget)
}

#[test]
fn a_call_that_the_stores_budgets_do_not_cover_is_no_failure_of_the_store() {
    let mut scene = Scene::new();
    scene.due();
    for _ in 0..2 {
        let wanted = refused_for_its_budget(&mut scene);
        assert!(is_not_placed(&wanted, "budget"), "{wanted:?}");
        let told: Vec<_> = wanted
            .iter()
            .filter(|action| is_budget_alarm(action))
            .collect();
        assert!(matches!(told[..], [Action::Raise { .. }]), "{wanted:?}");
        assert_eq!(scene.spent(), Micros::ZERO);
        scene.now += 16 * 60 * SECOND;
        scene.tell(Event::Deadline);
    }
    scene.chosen(false);
    let wanted = scene.tell(Event::Begun(owner().id));
    assert!(
        wanted.iter().any(|action| matches!(
            action,
            Action::Clear {
                kind: AlarmKind::Budget,
                ..
            }
        )),
        "there is room again: {wanted:?}"
    );
}

#[test]
fn a_settlement_that_waits_for_the_disk_spends_no_budget() {
    let mut scene = Scene::new();
    let order = scene.dialled();
    let fails = |wanted: Vec<Action>| {
        let settle = wanted.into_iter().find_map(|action| match action {
            Action::Store(job @ Job::Settle { .. }) => Some(job),
            _ => None,
        });
        Event::StoreFailed {
            job: settle.expect("it is settled"),
            why: "the disk is full".to_owned(),
        }
    };
    let wanted = scene.ended(&order.record, Outcome::Completed);
    scene.tell(fails(wanted));
    let (terminal, found) = (owner().id, Some(Scene::found()));
    scene.tell(Event::Looked { terminal, found });
    scene.now += 3 * SECOND;
    let wanted = scene.tell(Event::LineFree(line()));
    scene.tell(fails(wanted));
    let wanted = refused_for_its_budget(&mut scene);
    assert!(is_not_placed(&wanted, "waits for the disk"), "{wanted:?}");
    assert!(!wanted.iter().any(is_budget_alarm), "{wanted:?}");
}

/// What is stored of the failures of the number after the end of a call: `None`, nothing; `Some(None)`, that there are none.
fn dial_loop(actions: &[Action]) -> Option<Option<u32>> {
    actions.iter().find_map(|action| match action {
        Action::Store(Job::KeepLoop { dial_loop, .. }) => {
            Some(dial_loop.map(|dial_loop| dial_loop.failed))
        }
        _ => None,
    })
}

fn tells_of_a_loop(actions: &[Action]) -> Vec<&Action> {
    actions
        .iter()
        .filter(|action| {
            matches!(action, Action::Raise { kind, .. } | Action::Clear { kind, .. } if *kind == AlarmKind::DialLoop)
        })
        .collect()
}

#[test]
fn a_dial_loop_that_a_number_brings_along_is_an_alarm_and_one_that_it_leaves_behind_is_none() {
    let mut scene = Scene::new();
    let loops = vec![(
        "301".parse().unwrap(),
        Loop {
            since: Timestamp::UNIX_EPOCH,
            failed: 20,
            is_broken: true,
        },
    )];
    scene.tell(Event::Recovered(Box::new(Recovered {
        loops,
        ..Recovered::default()
    })));
    let candidate = |number: &str, scene: &mut Scene| {
        let mut found = Scene::found();
        found.terminal.number = Some(number.parse().unwrap());
        let candidate = Some(Box::new(Candidate {
            found,
            provider: None,
            is_invited: false,
        }));
        let (terminal, call) = (owner().id, CallId::from_octets([7; 16]));
        scene.tell(Event::Chosen {
            terminal,
            candidate,
            call,
        })
    };
    scene.due();
    let wanted = candidate("301", &mut scene);
    assert!(
        matches!(tells_of_a_loop(&wanted)[..], [Action::Raise { .. }]),
        "{wanted:?}"
    );
    scene.tell(Event::Resumed {
        terminal: owner().id,
        name: owner().name,
        number: None,
    });
    candidate("302", &mut scene);
    let wanted = scene.tell(Event::Begun(owner().id));
    assert!(
        matches!(tells_of_a_loop(&wanted)[..], [Action::Clear { .. }]),
        "{wanted:?}"
    );
}

/// A session that broke while the terminal held so many octets of a message.
fn broke_with(held: u64) -> Outcome {
    let message = delivery::MessageId::from_octets([7; 16]);
    Outcome::SessionLost {
        why: "carrier lost".to_owned(),
        delivering: Some(UnderWay {
            messages: vec![message],
            received_before: 0,
            held: BTreeMap::from([(message, held)]),
        }),
    }
}

#[test]
fn a_number_is_in_no_dial_loop_while_its_calls_bring_a_message_further_or_end_here() {
    let mut scene = Scene::new();
    scene.due();
    let mut call = |outcome: Outcome| {
        scene.chosen(false);
        let order = scene.begun();
        let wanted = scene.ended(&order.record, outcome);
        scene.now += Duration::from_secs(24 * 3600);
        scene.tell(Event::LineFree(line()));
        dial_loop(&wanted)
    };
    assert_eq!(call(broke_with(0)), Some(Some(1)), "nothing got through");
    for tries in 1..30 {
        let told = call(broke_with(80_000 * tries));
        assert_eq!(told, (tries == 1).then_some(None), "it advances");
    }
    assert_eq!(call(broke_with(80_000 * 29)), Some(Some(1)), "it is stuck");
    assert_eq!(
        call(Outcome::AllowanceSpent),
        None,
        "this server has hung up: that is no fault of the number"
    );
    assert_eq!(
        call(Outcome::Replaced),
        None,
        "it has come over the Internet meanwhile"
    );
    assert_eq!(call(Outcome::NoAnswer), Some(Some(2)));
}

#[test]
fn a_terminal_that_calls_and_gets_what_waits_is_out_of_its_dial_loop() {
    let mut scene = Scene::new();
    let order = scene.dialled();
    scene.ended(&order.record, Outcome::NoAnswer);
    let mut record = order.record;
    (record.id, record.direction) = (CallId::from_octets([99; 16]), Direction::Incoming);
    let mut by_internet = record.clone();
    by_internet.via = Via::Internet;
    let told = scene.ended(&by_internet, Outcome::Completed);
    assert_eq!(dial_loop(&told), None, "it says nothing of the number");
    let told = scene.ended(&record, Outcome::NoCarrier);
    assert_eq!(dial_loop(&told), None, "its own failures are none of ours");
    assert_eq!(
        dial_loop(&scene.ended(&record, Outcome::Completed)),
        Some(None)
    );
}
