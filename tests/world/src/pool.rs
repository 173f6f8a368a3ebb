//! A pool of lines and nothing else: what comes waits for a line, is called, is done. For figures that theory knows, and
//! for what calls cost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use calling::dispatch::{
    Demand, Dispatch, Input, LineTerms, Moment, Output, RedialRules, RetryRules, Rules, StormRules,
};
use calling::ledger::Tariff;
use delivery::Urgency;
use jiff::SignedDuration;
use jiff::civil::DateTime;
use model::outcome::Outcome;

use crate::chance::Chance;
use crate::people::{id, name};
use crate::plan_server::{zone, zoned};

/// Batches for the sampling error.
const BATCHES: usize = 20;

/// A message that comes for a terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) at: Duration,
    pub(crate) terminal: u32,
    pub(crate) urgency: Urgency,
}

/// A call that was made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) began: Duration,
    pub(crate) lasted: Duration,
    pub(crate) brought: Vec<Arrival>,
}

/// Has dispatch serve what comes; `lasts` says how long a call with so many messages is.
pub(crate) fn serve(
    arrivals: &[Arrival],
    lines: u32,
    tariff: Option<Arc<Tariff>>,
    begin: DateTime,
    mut lasts: impl FnMut(usize) -> Duration,
) -> Vec<Made> {
    let terms = (0..lines).map(|line| LineTerms {
        name: name(&format!("l{line}")),
        tariff: tariff.clone(),
        is_ring_only: false,
    });
    let retry = RetryRules {
        session_wait: Duration::from_secs(120),
        first: Duration::from_secs(60),
        longest: Duration::from_secs(3600),
        redials: RedialRules::default(),
    };
    let storm = StormRules {
        calls_per_minute: 60_000,
        burst: 1000,
        calls_at_once: u32::MAX,
    };
    let mut dispatch = Dispatch::new(
        Rules {
            zone: zone(),
            lines: terms.collect(),
            storm,
            ..Rules::new(retry)
        },
        1,
    );
    let start = Instant::now();
    let moment = |now: Duration| Moment {
        at: start + now,
        wall: zoned(begin).timestamp() + SignedDuration::try_from(now).unwrap_or_default(),
    };
    for line in 0..lines {
        dispatch.handle(
            Input::LineFree(name(&format!("l{line}"))),
            moment(Duration::ZERO),
        );
    }
    let conditions = Arc::default();
    let (mut made, mut waiting) = (Vec::new(), BTreeMap::<u32, Vec<Arrival>>::new());
    let mut ends = BTreeMap::new();
    let (mut next, mut now) = (0, Duration::ZERO);
    loop {
        let wake = loop {
            match dispatch.poll_output() {
                Output::Timeout { at } => break at.map(|at| at.saturating_duration_since(start)),
                Output::PlaceCall { terminal, line } => {
                    let octets = terminal.octets();
                    let number = u32::from_be_bytes([octets[4], octets[5], octets[6], octets[7]]);
                    let brought = waiting.remove(&number).unwrap_or_default();
                    let lasted = lasts(brought.len());
                    ends.insert((now + lasted, made.len()), (terminal, line));
                    made.push(Made {
                        began: now,
                        lasted,
                        brought,
                    });
                }
                _ => {}
            }
        };
        let arrival = arrivals.get(next).map(|arrival| arrival.at);
        let end = ends.first_key_value().map(|((at, _), _)| *at);
        let Some(at) = [arrival, end].into_iter().flatten().chain(wake).min() else {
            return made;
        };
        if arrival.is_none() && end.is_none() && waiting.is_empty() {
            return made;
        }
        now = now.max(at);
        if end == Some(at) {
            let (_, (terminal, line)) = ends.pop_first().expect("it was just looked at");
            dispatch.handle(
                Input::Ended {
                    terminal,
                    via: line.clone().into(),
                    outcome: Outcome::Completed,
                },
                moment(now),
            );
            dispatch.handle(Input::LineFree(line), moment(now));
        } else if arrival == Some(at) {
            let arrival = arrivals[next];
            next += 1;
            waiting.entry(arrival.terminal).or_default().push(arrival);
            let conditions = Some(Arc::clone(&conditions));
            let terminal = id(arrival.terminal);
            dispatch.handle(
                Input::Due(Demand {
                    terminal,
                    conditions,
                    urgency: arrival.urgency,
                    deadline: None,
                }),
                moment(now),
            );
        } else {
            dispatch.handle(Input::Deadline, moment(now));
        }
    }
}

/// Terminals that become due without memory, calls of a length without memory.
#[derive(Debug, Clone, Copy)]
pub struct Pool {
    /// Of arrivals and lengths.
    pub seed: u64,
    /// Lines.
    pub lines: u32,
    /// Traffic that is offered, in erlangs.
    pub offered: f64,
    /// The mean length of a call.
    pub hold: Duration,
    /// Calls.
    pub calls: u32,
}

/// What was seen, each with its sampling error.
#[derive(Debug, Clone, Copy)]
pub struct PoolFigures {
    /// The share of calls that waited, or were lost.
    pub hindered: (f64, f64),
    /// The mean wait of all, in seconds.
    pub wait_seconds: (f64, f64),
    /// The share of time that a line is in a call.
    pub occupancy: (f64, f64),
}

impl Pool {
    fn arrivals(&self, chance: &mut Chance) -> Vec<Arrival> {
        let between = self.hold.div_f64(self.offered);
        let mut at = Duration::ZERO;
        (0..self.calls)
            .map(|terminal| {
                at += chance.exponential(between);
                Arrival {
                    at,
                    terminal,
                    urgency: Urgency::Normal,
                }
            })
            .collect()
    }

    /// Calls wait until a line is free.
    pub fn waiting(&self) -> PoolFigures {
        let mut chance = Chance::new(self.seed);
        let arrivals = self.arrivals(&mut chance);
        let begin = DateTime::constant(2026, 11, 23, 0, 0, 0, 0);
        let made = serve(&arrivals, self.lines, None, begin, |_| {
            chance.exponential(self.hold)
        });
        let batch = made.len() / BATCHES;
        let (mut hindered, mut waits, mut occupancy) = (vec![], vec![], vec![]);
        for batch in made.chunks_exact(batch) {
            let of_batch = batch
                .iter()
                .map(|made| (made.began - made.brought[0].at).as_secs_f64());
            let of_batch: Vec<f64> = of_batch.collect();
            hindered.push(share(
                of_batch.iter().filter(|wait| **wait > 0.0).count(),
                of_batch.len(),
            ));
            waits.push(of_batch.iter().sum::<f64>() / count(of_batch.len()));
            let (first, last) = (batch[0].began, batch[batch.len() - 1].began);
            let busy: f64 = batch.iter().map(|made| made.lasted.as_secs_f64()).sum();
            occupancy.push(busy / ((last - first).as_secs_f64() * f64::from(self.lines)));
        }
        PoolFigures {
            hindered: mean(&hindered),
            wait_seconds: mean(&waits),
            occupancy: mean(&occupancy),
        }
    }

    /// Incoming calls: a caller that finds all lines engaged gives up. No decision is made here: the lines are the world's.
    pub fn losing(&self) -> PoolFigures {
        let mut chance = Chance::new(self.seed);
        let arrivals = self.arrivals(&mut chance);
        let batch = arrivals.len() / BATCHES;
        let (mut hindered, mut occupancy) = (vec![], vec![]);
        let mut busy_until = vec![Duration::ZERO; usize::try_from(self.lines).unwrap_or_default()];
        for batch in arrivals.chunks_exact(batch) {
            let (mut lost, mut busy) = (0, 0.0);
            for arrival in batch {
                let Some(line) = busy_until.iter_mut().find(|until| **until <= arrival.at) else {
                    lost += 1;
                    continue;
                };
                let lasts = chance.exponential(self.hold);
                *line = arrival.at + lasts;
                busy += lasts.as_secs_f64();
            }
            hindered.push(share(lost, batch.len()));
            let time = (batch[batch.len() - 1].at - batch[0].at).as_secs_f64();
            occupancy.push(busy / (time * f64::from(self.lines)));
        }
        PoolFigures {
            hindered: mean(&hindered),
            wait_seconds: (0.0, 0.0),
            occupancy: mean(&occupancy),
        }
    }
}

/// The share of calls that find all lines engaged and go away (Erlang 1917).
pub fn erlang_b(lines: u32, offered: f64) -> f64 {
    (1..=lines).fold(1.0, |blocked, line| {
        offered * blocked / (f64::from(line) + offered * blocked)
    })
}

/// The share of calls that wait, if all do until a line is free.
pub fn erlang_c(lines: u32, offered: f64) -> f64 {
    let (blocked, lines) = (erlang_b(lines, offered), f64::from(lines));
    lines * blocked / (lines - offered * (1.0 - blocked))
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

fn share(part: usize, whole: usize) -> f64 {
    count(part) / count(whole)
}

/// The mean, and its standard error.
fn mean(batches: &[f64]) -> (f64, f64) {
    let number = count(batches.len());
    let mean = batches.iter().sum::<f64>() / number;
    let variance = batches
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f64>()
        / (number - 1.0);
    (mean, (variance / number).sqrt())
}
