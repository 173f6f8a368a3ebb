//! The only place that spends money: every call is placed here, after its record and what it may cost are on the disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use delivery::TerminalId;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use line::{CallId, Forbidden, Number, check_dialled};

use crate::alarms::Alarms;
use crate::dialup::{Allowance, DialOrder, DialUp};
use crate::metrics::Metrics;
use calling::ledger::{Breaker, BreakerRules, Budget, BudgetSpent, Ledger, Request, Tariff, TariffBook, Used};
use model::account::Account;
use model::alarm::AlarmKind;
use model::call::{CallRecord, Direction};
use model::directory::{Connection, Name, Terminal};
use model::money::Micros;
use model::outcome::{Outcome, Retry};
use store::{Store, StoreError};

/// From the dial command to CONNECT: ringing for a minute and training after it.
const DIAL_TIMEOUT: Duration = Duration::from_secs(75);

/// What our own count of a call's time may miss of it at its end.
pub(crate) const UNSEEN: Duration = Duration::from_secs(2);

/// What calls cost, and what may be spent.
#[derive(Debug, Clone)]
pub struct Money {
    /// All tariffs.
    pub tariffs: TariffBook,
    /// Budgets of a day.
    pub budget: Budget,
    /// The longest a call may last.
    pub longest_call: Duration,
    /// The most octets a call may carry, on lines on which octets cost.
    pub octets_max: u64,
    /// When a number is left alone whose calls fail.
    pub breaker: BreakerRules,
    /// Stay on the line to the end of a unit that is paid for: more may come.
    pub linger: bool,
}

impl Default for Money {
    fn default() -> Self {
        Self {
            tariffs: TariffBook::default(),
            budget: Budget::default(),
            longest_call: Duration::from_secs(4 * 3600),
            octets_max: 1_000_000,
            breaker: BreakerRules::default(),
            linger: false,
        }
    }
}

/// Places calls.
#[derive(Debug)]
pub struct Dialer {
    store: Store,
    dialup: DialUp,
    money: Money,
    lines: BTreeMap<Name, Arc<Tariff>>,
    ledger: Ledger,
    breaker: Breaker,
    alarms: Alarms,
    metrics: Metrics,
}

/// Why a call was not placed.
#[derive(Debug, thiserror::Error)]
pub enum NotPlaced {
    /// The directory has no number for the terminal (any more).
    #[error("the terminal has no number")]
    NoNumber,
    /// The number is one that nobody calls.
    #[error("the number is never dialled")]
    Forbidden(#[from] Forbidden),
    /// The number and the line's prefix make no dial string.
    #[error("the number cannot be dialled on this line")]
    DialString(#[from] modem::DialStringError),
    /// Calls to the number failed for days.
    #[error("calls to the number failed for days; `ringup terminal resume` has it called again")]
    LoopBroken,
    /// A budget is spent.
    #[error(transparent)]
    BudgetSpent(#[from] BudgetSpent),
    /// The call could not be recorded, so it is not made.
    #[error("the call could not be recorded")]
    Store(#[from] StoreError),
    /// The line does not take orders any more.
    #[error("line {0} is not there")]
    NoLine(Name),
}

impl NotPlaced {
    /// What it means for the next try.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::NoNumber | Self::Forbidden(_) | Self::DialString(_) => Outcome::NotDialled(self.to_string()),
            Self::LoopBroken => Outcome::LoopBroken,
            Self::BudgetSpent(BudgetSpent { account, wait }) => {
                Outcome::BudgetSpent { budget: account.to_string(), wait: *wait }
            }
            Self::Store(_) => Outcome::OurFault(self.to_string()),
            Self::NoLine(_) => Outcome::LineTaken,
        }
    }
}

impl Dialer {
    /// A dialer that uses these lines, `tariffs` being those of the lines by name. It begins with what the store says was
    /// spent today.
    ///
    /// # Errors
    /// [`StoreError`]: what was spent is not known, so no call may be placed.
    pub async fn open(
        store: Store,
        dialup: DialUp,
        money: Money,
        lines: BTreeMap<Name, Arc<Tariff>>,
        alarms: Alarms,
        metrics: Metrics,
    ) -> Result<Self, StoreError> {
        let today = Zoned::now().date();
        let mut ledger = Ledger::new(money.budget.clone(), today);
        for spent in store.spent_on(today).await? {
            ledger.restore(spent.accounts, spent.amount);
        }
        let breaker = Breaker::new(money.breaker, store.dial_loops().await?);
        Ok(Self { store, dialup, money, lines, ledger, breaker, alarms, metrics })
    }

    /// Has a terminal called, for a message of `provider`. What comes of it is reported by the dial-up room.
    ///
    /// # Errors
    /// [`NotPlaced`]: nothing was dialled, nothing is owed.
    pub async fn place(
        &mut self,
        terminal: Terminal,
        line: &Name,
        provider: Option<Name>,
    ) -> Result<CallId, NotPlaced> {
        let number = terminal.number.clone().ok_or(NotPlaced::NoNumber)?;
        let home = self.dialup.home();
        check_dialled(home, &number)?;
        let dial_string = number.dial_string(self.dialup.dial_prefix(line), home)?;
        if self.breaker.is_broken(&number) {
            return Err(NotPlaced::LoopBroken);
        }
        let record = CallRecord::begin(
            CallId::now(),
            Timestamp::now(),
            Direction::Outgoing,
            line.clone(),
            Some(number.clone()),
            terminal.name.clone(),
        );
        let call = record.id;
        let allowance = self.reserve(&record, provider).await?;
        // On the disk before the modem hears of it: a crash right here leaves a record of a call that was never made,
        // never a call without a record.
        let (id, unplaced) = (terminal.id, record.clone());
        if let Err(error) = self.store.record_call(record.clone()).await {
            self.settle(call, Used::Nothing).await;
            return Err(error.into());
        }
        if let Err(error) = self.store.set_connection(id, Connection::Calling(call)).await {
            return Err(self.unplaced(unplaced, id, error.into()).await);
        }
        tracing::info!(%call, %line, terminal = %terminal.name, ?number, "calling");
        let order = DialOrder { terminal, number: dial_string, timeout: DIAL_TIMEOUT, record, allowance };
        if self.dialup.dial(line, order) {
            return Ok(call);
        }
        Err(self.unplaced(unplaced, id, NotPlaced::NoLine(line.clone())).await)
    }

    /// A call that has a record and that no line was given: nobody else ends it.
    async fn unplaced(&mut self, mut record: CallRecord, terminal: TerminalId, why: NotPlaced) -> NotPlaced {
        self.settle(record.id, Used::Nothing).await;
        let call = record.id;
        record.end(&why.outcome(), Duration::ZERO);
        if let Err(error) = self.store.record_call(record).await {
            tracing::error!(%call, %error, "the record of a call that was not placed is written later");
        }
        if let Err(error) = self.store.set_connection(terminal, Connection::Down).await {
            tracing::error!(%terminal, %error, "connection state not stored");
        }
        why
    }

    /// Takes note of how a call of ours ended: settles what was reserved for it, and counts failures of its number.
    pub async fn ended(&mut self, record: &CallRecord, outcome: &Outcome, lasted: Duration) {
        let (Direction::Outgoing, Some(number)) = (record.direction, &record.number) else { return };
        let octets = record.octets_out.saturating_add(record.octets_in);
        let used = match outcome {
            _ if outcome.may_be_charged() => Used::Answered { lasted: lasted + UNSEEN, octets },
            _ if outcome.was_dialled() => Used::NotAnswered,
            _ => Used::Nothing,
        };
        self.settle(record.id, used).await;
        let dial_loop = match outcome.retry() {
            Retry::None if !matches!(outcome, Outcome::Revoked(_)) && self.breaker.forget(number) => {
                self.alarms.clear(AlarmKind::DialLoop, &record.party).await;
                None
            }
            Retry::BackOff | Retry::BackOffLong | Retry::NotBefore(_) => {
                let was_broken = self.breaker.is_broken(number);
                let dial_loop = self.breaker.failed(number, Timestamp::now());
                if dial_loop.is_broken && !was_broken {
                    let (name, failed, since) = (&record.party, dial_loop.failed, dial_loop.since);
                    let detail = format!(
                        "{failed} calls failed since {since}, the last: {outcome}; not called until: ringup terminal resume {name}"
                    );
                    self.alarms.raise(AlarmKind::DialLoop, name, detail).await;
                }
                Some(dial_loop)
            }
            _ => return,
        };
        if let Err(error) = self.store.set_dial_loop(number.clone(), dial_loop).await {
            tracing::error!(%error, "failures of a number not stored");
        }
    }

    /// Has a number called again whose calls failed for days.
    ///
    /// # Errors
    /// [`StoreError`]: it is called, but may not be after the next start.
    pub async fn resume(&mut self, number: Number) -> Result<(), StoreError> {
        self.breaker.forget(&number);
        self.store.set_dial_loop(number, None).await
    }

    /// What a call of a minute to a number costs then on a line, if it costs anything.
    pub fn usual_price(&self, line: &Name, number: &Number, at: Timestamp) -> Option<Micros> {
        let tariff = self.money.tariffs.for_number(self.lines.get(line)?, number);
        Some(tariff.usual_price(&at.to_zoned(TimeZone::system())))
    }

    /// What is spent or reserved today, and what may be.
    pub fn spent(&self, account: &Account) -> (Micros, Option<Micros>) {
        (self.ledger.spent(account), self.ledger.budget().limit(account))
    }

    async fn reserve(&mut self, record: &CallRecord, provider: Option<Name>) -> Result<Allowance, NotPlaced> {
        let longest = self.money.longest_call;
        let Some((line, tariff)) = record.via.line().and_then(|line| self.lines.get_key_value(line)) else {
            return Ok(Allowance { longest, octets: u64::MAX, linger: None });
        };
        let Some(number) = &record.number else { return Err(NotPlaced::NoNumber) };
        let tariff = self.money.tariffs.for_number(tariff, number).clone();
        let octets = if tariff.octets.is_some() { self.money.octets_max } else { u64::MAX };
        let at = Zoned::now();
        let request = Request {
            call: record.id,
            terminal: record.party.clone(),
            provider,
            line: line.clone(),
            tariff: tariff.clone(),
            at: at.clone(),
            longest,
            octets,
        };
        let reservation = match self.ledger.reserve(request) {
            Ok(reservation) => reservation,
            Err(spent) => {
                let detail = format!(
                    "{spent}; no such calls until tomorrow, not even urgent ones. To go on today: raise [budget] in the config and restart"
                );
                self.alarms.raise(AlarmKind::Budget, &spent.account, detail).await;
                return Err(spent.into());
            }
        };
        for account in &reservation.accounts {
            self.alarms.clear(AlarmKind::Budget, account).await; // what was settled has left room again
        }
        let (call, longest) = (reservation.call, reservation.longest);
        self.metrics.reserved(reservation.amount);
        // On the disk before anything is dialled: a crash right after it costs the reservation, never more than it.
        if let Err(error) = self.store.reserve(reservation).await {
            self.ledger.settle(call, Used::Nothing);
            return Err(error.into());
        }
        Ok(Allowance { longest, octets, linger: self.money.linger.then_some((tariff, at)) })
    }

    async fn settle(&mut self, call: CallId, used: Used) {
        let Some(amount) = self.ledger.settle(call, used) else { return };
        tracing::info!(%call, %amount, "call settled");
        self.metrics.settled(amount);
        if let Err(error) = self.store.settle_call(call, amount).await {
            tracing::error!(%call, %error, "settlement not stored: the call counts as what was reserved");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialup::scene::Scene;
    use store::Last;

    /// A dialer with a line that costs something and that is not there.
    async fn dialer(scene: &Scene) -> Dialer {
        let tariff: Tariff = toml::from_str("name = \"t\"\n[[window]]\nunit_ms = 180000\nprice = \"10\"").unwrap();
        let lines = BTreeMap::from([("line-1".parse().unwrap(), Arc::new(tariff))]);
        let (store, dialup, alarms) = (scene.store.clone(), scene.dialup.clone(), scene.shared().alarms.clone());
        Dialer::open(store, dialup, Money::default(), lines, alarms, Metrics::default()).await.unwrap()
    }

    #[tokio::test]
    async fn a_call_that_is_not_placed_costs_nothing_and_its_record_is_over_whatever_kept_it() {
        let scene = Scene::new().await;
        let mut dialer = dialer(&scene).await;
        let (terminal, _) = scene.enrolled(1).await;
        for refused in [None, Some("terminals"), Some("calls"), Some("reservations")] {
            if let Some(table) = refused {
                scene.store.refuse_writes(table, true).await;
            }
            let placed = dialer.place(terminal.clone(), &"line-1".parse().unwrap(), None).await;
            assert!(placed.is_err(), "{refused:?}");
            if let Some(table) = refused {
                scene.store.refuse_writes(table, false).await;
            }
            let spent = scene.store.spent_on(Zoned::now().date()).await.unwrap();
            assert!(spent.iter().all(|spent| spent.amount == Micros(0)), "{refused:?}: {spent:?}");
            assert_eq!(dialer.spent(&Account::Server).0, Micros(0), "{refused:?}");
            let calls = scene.store.calls(Last(10)).await.unwrap();
            assert!(calls.iter().all(|call| call.ended_at.is_some()), "{refused:?}: {calls:?}");
            let found = scene.store.terminal(terminal.id).await.unwrap().unwrap();
            assert_eq!(found.connection, Connection::Down, "{refused:?}");
        }
    }
}
