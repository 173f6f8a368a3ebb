//! Pure. A call from dispatch's decision to the line's order.

use std::time::{Duration, Instant};

use delivery::TerminalId;
use line::{CallId, Forbidden, check_dialled};

use super::{Calling, OnLine};
use crate::action::{Action, Beginning, Job, Order};
use crate::dispatch::{Input, Moment};
use crate::event::Candidate;
use crate::ledger::{BudgetSpent, Request, Used};
use crate::money::Allowance;
use model::account::{Account, Reservation};
use model::alarm::AlarmKind;
use model::call::{CallRecord, Direction, Via};
use model::directory::{Name, Terminal};
use model::outcome::Outcome;

/// A decision is this old at most when it is dialled: hours, prices and rates hold for that time.
const LATE_MAX: Duration = Duration::from_secs(10);

/// Between two tries of a call that the budgets in the store do not cover: what another server settles leaves room again.
const BUDGET_AGAIN: Duration = Duration::from_secs(15 * 60);

/// A call that dispatch wants, until a line has the order. Dispatch takes the line for the call's meanwhile: what the line, or the
/// terminal on it, does by itself is noted here.
#[derive(Debug)]
pub(super) struct Placing {
    line: Name,
    /// What the line said of itself last: that it is free, or that it is not.
    is_free: Option<bool>,
    /// The terminal has come over this very line, by a call of its own: what ends on it is that one.
    is_overtaken: bool,
    /// It is not to be called any more.
    is_withdrawn: bool,
    is_invited: bool,
    /// What the line gets when it has begun.
    order: Option<Ordered>,
}

/// An order that waits for the disk.
#[derive(Debug)]
struct Ordered {
    order: Order,
    /// When it was decided.
    at: Instant,
    /// Whose budgets it counts for.
    accounts: Vec<Account>,
}

impl Placing {
    pub(super) fn new(line: Name) -> Self {
        Self {
            line,
            is_free: None,
            is_overtaken: false,
            is_withdrawn: false,
            is_invited: false,
            order: None,
        }
    }

    /// The terminal is connected over this.
    pub(super) fn connected(&mut self, via: &Via) {
        self.is_withdrawn = true;
        self.is_overtaken |= via.line() == Some(&self.line);
    }
}

/// Why a call cannot be placed.
#[derive(Debug, thiserror::Error)]
enum Unplaceable {
    #[error("the terminal has no number")]
    NoNumber,
    #[error("the number is never dialled")]
    Forbidden(#[from] Forbidden),
    #[error("the number cannot be dialled on this line")]
    DialString(#[from] modem::DialStringError),
    #[error("calls to its number failed for days; not called until: ringup terminal resume {0}")]
    LoopBroken(Name),
    #[error(transparent)]
    BudgetSpent(#[from] BudgetSpent),
}

impl From<Unplaceable> for Outcome {
    fn from(why: Unplaceable) -> Self {
        match why {
            Unplaceable::NoNumber | Unplaceable::Forbidden(_) | Unplaceable::DialString(_) => {
                Self::NotDialled(why.to_string())
            }
            Unplaceable::LoopBroken(_) => Self::LoopBroken,
            Unplaceable::BudgetSpent(BudgetSpent { account, wait }) => Self::BudgetSpent {
                budget: account.to_string(),
                wait,
            },
        }
    }
}

impl Calling {
    /// A line is free, or taken. One on which a call is being placed says so for the time after it.
    pub(super) fn line_is(&mut self, line: Name, is_free: bool, now: Moment) {
        match self
            .placings
            .values_mut()
            .find(|placing| placing.line == line)
        {
            Some(placing) => placing.is_free = Some(is_free),
            None if is_free => self.feed(Input::LineFree(line), now),
            None => self.feed(Input::LineTaken(line), now),
        }
    }

    /// A call that is not on a line yet will not be.
    pub(super) fn withdraw(&mut self, terminal: TerminalId) {
        if let Some(placing) = self.placings.get_mut(&terminal) {
            placing.is_withdrawn = true;
        }
    }

    /// What a call needs was read.
    pub(super) fn chosen(
        &mut self,
        id: TerminalId,
        candidate: Option<Candidate>,
        call: CallId,
        now: Moment,
    ) {
        let Some(placing) = self.placings.get(&id) else {
            return;
        };
        let (line, is_withdrawn) = (placing.line.clone(), placing.is_withdrawn);
        let may_be_called = |candidate: &Candidate| {
            let waits = candidate
                .found
                .waits
                .is_some_and(|waits| waits.may_be_called);
            waits && !is_withdrawn && self.is_believed(&candidate.found.terminal)
        };
        // Since it was due: delivered, paused, shut out, or its invitation is over.
        let Some(candidate) = candidate.filter(may_be_called) else {
            return self.not_placed(id, Outcome::NothingWaits, now);
        };
        let is_invited = candidate.is_invited;
        match self.order(candidate, line, call, now) {
            Ok((order, reservation)) => {
                let accounts = reservation
                    .as_ref()
                    .map(|reservation| reservation.accounts.clone())
                    .unwrap_or_default();
                self.store(Job::Begin(Box::new(Beginning {
                    terminal: id,
                    record: order.record.clone(),
                    reservation,
                })));
                if let Some(placing) = self.placings.get_mut(&id) {
                    let ordered = Ordered {
                        order,
                        at: now.at,
                        accounts,
                    };
                    (placing.order, placing.is_invited) = (Some(ordered), is_invited);
                }
            }
            Err(why) => {
                if let Unplaceable::LoopBroken(name) = &why {
                    // The number may have been another terminal's when its calls failed.
                    self.raise(AlarmKind::DialLoop, name, why.to_string());
                }
                self.not_placed(id, why.into(), now);
            }
        }
    }

    /// The order for a line, with what it may cost reserved in memory.
    fn order(
        &mut self,
        candidate: Candidate,
        line: Name,
        call: CallId,
        now: Moment,
    ) -> Result<(Order, Option<Reservation>), Unplaceable> {
        let Candidate {
            found, provider, ..
        } = candidate;
        let terminal = found.terminal;
        let number = terminal.number.clone().ok_or(Unplaceable::NoNumber)?;
        check_dialled(self.home, &number)?;
        let prefix = self.dial_prefixes.get(&line).map_or("", String::as_str);
        let dialled = number.dial_string(prefix, self.home)?;
        if self.breaker.is_broken(&number) {
            return Err(Unplaceable::LoopBroken(terminal.name.clone()));
        }
        let party = terminal.name.clone();
        let record = CallRecord::begin(
            call,
            now.wall,
            Direction::Outgoing,
            line.clone(),
            Some(number),
            party,
        );
        let (allowance, reservation) = self.reserve(&terminal, &record, &line, provider, now)?;
        Ok((
            Order {
                terminal,
                line,
                number: dialled,
                record,
                allowance,
            },
            reservation,
        ))
    }

    fn reserve(
        &mut self,
        terminal: &Terminal,
        record: &CallRecord,
        line: &Name,
        provider: Option<Name>,
        now: Moment,
    ) -> Result<(Allowance, Option<Reservation>), Unplaceable> {
        let longest = self.money.longest_call;
        let (Some(tariff), Some(number)) = (self.tariffs.get(line), &record.number) else {
            return Ok((
                Allowance {
                    longest,
                    octets: u64::MAX,
                    linger: None,
                },
                None,
            ));
        };
        let tariff = self.money.tariffs.for_number(tariff, number).clone();
        let octets = if tariff.octets.is_some() {
            self.money.octets_max
        } else {
            u64::MAX
        };
        let at = self.dispatch.zoned(now.wall);
        let request = Request {
            call: record.id,
            terminal: terminal.name.clone(),
            provider,
            line: line.clone(),
            tariff: tariff.clone(),
            at: at.clone(),
            longest,
            octets,
        };
        let reservation = self.ledger.reserve(request).inspect_err(|spent| {
            let detail = format!(
                "{spent}; no such calls until tomorrow, not even urgent ones. To go on today: raise [budget] in the config and restart"
            );
            self.actions.push_back(Action::Raise {
                kind: AlarmKind::Budget,
                subject: spent.account.to_string(),
                detail,
            });
        })?;
        let linger = self.money.linger.then_some((tariff, at));
        Ok((
            Allowance {
                longest: reservation.longest,
                octets,
                linger,
            },
            Some(reservation),
        ))
    }

    /// It is on the disk: the line gets its order, unless the terminal is not to be called any more.
    pub(super) fn begun(&mut self, id: TerminalId, now: Moment) {
        let Some(order) = self
            .placings
            .get_mut(&id)
            .and_then(|placing| placing.order.take())
        else {
            return;
        };
        let Some(placing) = self.placings.remove(&id) else {
            return;
        };
        let Ordered {
            mut order,
            at,
            accounts,
        } = order;
        for account in &accounts {
            self.clear(AlarmKind::Budget, account); // what was settled has left room again
        }
        self.clear(AlarmKind::DialLoop, &order.terminal.name); // it may have another number now
        let late = now.at.saturating_duration_since(at);
        let may_be_called = self
            .calendar
            .of(&order.terminal.name)
            .0
            .until_open(&self.dispatch.zoned(now.wall))
            .is_zero();
        let why = match placing.is_free {
            _ if placing.is_withdrawn || late > LATE_MAX || !may_be_called => Outcome::Withdrawn,
            Some(false) => Outcome::LineTaken,
            _ => {
                // What is reserved counts from the reservation on.
                order.allowance.longest = order.allowance.longest.saturating_sub(late);
                self.on_line.insert(
                    order.record.id,
                    OnLine {
                        is_invited: placing.is_invited,
                        late,
                    },
                );
                self.actions.push_back(Action::Dial(Box::new(order)));
                return self.feed(Input::Dialled(id), now);
            }
        };
        self.close(id, order.record, &why);
        self.conclude(id, placing, why, now);
    }

    /// It could not be written that a call begins: nothing is dialled.
    pub(super) fn not_begun(&mut self, beginning: &Beginning, why: String, now: Moment) {
        self.ledger.settle(beginning.record.id, Used::Nothing);
        self.not_placed(beginning.terminal, Outcome::NotRecorded(why), now);
    }

    /// The store knows of more that counts for today than the ledger: calls of other servers, or one whose settlement waits for the disk.
    pub(super) fn budget_refused(&mut self, job: Job, account: Account, now: Moment) {
        let Job::Begin(beginning) = job else { return };
        if self.unstored.has_settlement() {
            let why = "what a call has cost waits for the disk, and counts as what was reserved";
            return self.not_begun(&beginning, why.to_owned(), now);
        }
        let detail = format!(
            "the budget of {account} for the day is spent, with the calls of other servers on this store or of a day to which the clock was set \
             back; tried again every {} min. To go on today: raise [budget] in the config and restart",
            BUDGET_AGAIN.as_secs() / 60
        );
        self.raise(AlarmKind::Budget, &account, detail);
        self.ledger.settle(beginning.record.id, Used::Nothing);
        let spent = Outcome::BudgetSpent {
            budget: account.to_string(),
            wait: BUDGET_AGAIN,
        };
        self.not_placed(beginning.terminal, spent, now);
    }

    /// The line has not taken the order.
    pub(super) fn not_taken(&mut self, id: TerminalId, record: CallRecord, now: Moment) {
        self.on_line.remove(&record.id);
        let Some(line) = record.via.line().cloned() else {
            return;
        };
        self.close(id, record, &Outcome::LineTaken);
        self.conclude(id, Placing::new(line), Outcome::LineTaken, now);
    }

    pub(super) fn not_placed(&mut self, id: TerminalId, why: Outcome, now: Moment) {
        if let Some(placing) = self.placings.remove(&id) {
            self.conclude(id, placing, why, now);
        }
    }

    /// A call that has a record and that no line was given: nothing else ends it.
    fn close(&mut self, id: TerminalId, mut record: CallRecord, why: &Outcome) {
        let call = record.id;
        if let Some(amount) = self.ledger.settle(call, Used::Nothing) {
            self.store(Job::Settle { call, amount });
        }
        record.end(why, Duration::ZERO);
        self.store(Job::Close(Box::new(record)));
        self.store(Job::Disconnect { terminal: id, call });
    }

    /// Dispatch hears that a placing is over without a call.
    fn conclude(&mut self, terminal: TerminalId, placing: Placing, why: Outcome, now: Moment) {
        let Placing {
            line,
            is_free,
            is_overtaken,
            ..
        } = placing;
        let is_unwanted = matches!(why, Outcome::NothingWaits | Outcome::Withdrawn);
        // A line that has not taken its order says itself when it is free.
        let is_free = is_free.unwrap_or(why != Outcome::LineTaken);
        if !is_unwanted {
            self.actions.push_back(Action::NotPlaced {
                terminal,
                line: line.clone(),
                why: why.clone(),
            });
        }
        if !is_overtaken {
            self.feed(
                Input::Ended {
                    terminal,
                    via: line.clone().into(),
                    outcome: why,
                },
                now,
            );
        }
        if is_free {
            self.feed(Input::LineFree(line), now);
        }
        if is_unwanted {
            self.look(terminal); // something may have come since that was read
        }
    }
}
