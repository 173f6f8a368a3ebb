//! The end of a call, and how it is reported.

use super::{Exchange, Output};
use crate::{
    call::{Call, Circuits, Ending, Phase},
    circuit::Side,
    record::{Bill, CallId, EndedBy, Outcome},
    station::{Hook, StationId},
    tariff::{Payer, Tariff, Used},
    timers::Timer,
    virtual_modem::ResultCode,
};
use jiff::{SignedDuration, Timestamp, Zoned};
use std::time::Instant;

impl Exchange {
    /// A station goes on hook, whatever it was doing.
    pub(super) fn hang_up(&mut self, station: StationId, now: Instant) {
        let hook = self.stations[station.index()].hook.clone();
        self.put_on_hook(station);
        let Hook::InCall(id) = hook else { return };
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let side = call.side(station);
        match call.phase {
            Phase::Ringing => self.end_ringing(id, Outcome::Abandoned, EndedBy::Caller, now),
            Phase::Training | Phase::Connected(_) => self.release(id, side, now),
            Phase::Releasing { .. } => drop(self.forget(id)),
        }
    }

    /// The first hang-up of an answered call; the other side will hear of it.
    fn release(&mut self, id: CallId, side: Side, now: Instant) {
        let Some(mut call) = self.calls.remove(&id) else {
            return;
        };
        let outcome = match call.phase {
            Phase::Connected(_) => Outcome::Completed,
            Phase::Ringing | Phase::Training | Phase::Releasing { .. } => Outcome::NoCarrier,
        };
        let ended_by = match side {
            Side::Caller => EndedBy::Caller,
            Side::Called => EndedBy::Called,
        };
        let idle = Circuits::new(|from| self.circuit(id, &call, from));
        let carried = call.release(side, now, idle);
        self.record(
            id,
            &call,
            Ending {
                outcome,
                ended_by,
                at: now,
                carried,
            },
        );
        self.timers.cancel(Timer::Cut(id));
        self.timers.cancel(Timer::Trained(id));
        self.timers.cancel(Timer::Circuit(id, side.other()));
        self.calls.insert(id, call);
        self.run_circuit(id, side, now);
    }

    /// S7 has expired: no answer, or no carrier.
    pub(super) fn give_up_waiting(&mut self, station: StationId, now: Instant) {
        let Hook::InCall(id) = self.stations[station.index()].hook else {
            // Still in the pauses of its dial string.
            self.put_on_hook(station);
            return self.end_at(station, ResultCode::NoCarrier);
        };
        if self
            .calls
            .get(&id)
            .is_some_and(|call| matches!(call.phase, Phase::Ringing))
        {
            return self.give_up_ringing(id, EndedBy::Caller, now);
        }
        self.hang_up(station, now);
        self.end_at(station, ResultCode::NoCarrier);
    }

    pub(super) fn give_up_ringing(&mut self, id: CallId, ended_by: EndedBy, now: Instant) {
        let Some(caller) = self.calls.get(&id).map(|call| call.caller) else {
            return;
        };
        self.end_ringing(id, Outcome::NoAnswer, ended_by, now);
        self.put_on_hook(caller);
        self.end_at(caller, ResultCode::NoAnswer);
    }

    fn end_ringing(&mut self, id: CallId, outcome: Outcome, ended_by: EndedBy, now: Instant) {
        self.stop_ringing(id);
        let Some(call) = self.calls.remove(&id) else {
            return;
        };
        self.stations[call.called.index()].hook = Hook::On;
        self.record(
            id,
            &call,
            Ending {
                outcome,
                ended_by,
                at: now,
                carried: (0, 0),
            },
        );
    }

    /// A terminal adapter or a mobile says no to a call that rings; it costs nothing.
    pub(super) fn refuse(&mut self, id: CallId, now: Instant) {
        let Some(caller) = self.calls.get(&id).map(|call| call.caller) else {
            return;
        };
        self.end_ringing(id, Outcome::Refused, EndedBy::Called, now);
        self.put_on_hook(caller);
        self.end_at(caller, ResultCode::Busy);
    }

    pub(super) fn cut(&mut self, station: StationId, now: Instant) {
        if let Hook::InCall(id) | Hook::Ringing(id) = self.stations[station.index()].hook {
            self.cut_call(id, now);
        }
    }

    pub(super) fn cut_call(&mut self, id: CallId, now: Instant) {
        let Some(mut call) = self.calls.remove(&id) else {
            return;
        };
        match call.phase {
            Phase::Ringing => {
                let caller = call.caller;
                self.calls.insert(id, call);
                self.end_ringing(id, Outcome::Cut, EndedBy::Exchange, now);
                self.put_on_hook(caller);
                self.end_at(caller, ResultCode::NoCarrier);
            }
            Phase::Training | Phase::Connected(_) => {
                let idle = Circuits::new(|from| self.circuit(id, &call, from));
                let carried = call.release(Side::Caller, now, idle);
                self.forget(id);
                self.record(
                    id,
                    &call,
                    Ending {
                        outcome: Outcome::Cut,
                        ended_by: EndedBy::Exchange,
                        at: now,
                        carried,
                    },
                );
                for station in [call.caller, call.called] {
                    self.lose_carrier(station, now);
                }
            }
            // It is over already; only the news is still on its way.
            Phase::Releasing { .. } => drop(self.calls.insert(id, call)),
        }
    }

    /// The carrier is lost without a hang-up: a connected modem waits S10 for it to come back.
    fn lose_carrier(&mut self, station: StationId, now: Instant) {
        self.put_on_hook(station);
        let place = &mut self.stations[station.index()];
        let wait = place.modem.profile.carrier_loss_wait();
        if !place.modem.has_carrier() || wait.is_some_and(|wait| wait.is_zero()) {
            return self.end_at(station, ResultCode::NoCarrier);
        }
        place.hook = Hook::Lost;
        if let Some(wait) = wait {
            self.timers.set(Timer::CarrierLost(station), now + wait);
        }
        self.outputs.push_back(Output::Room { station });
    }

    pub(super) fn give_up_carrier(&mut self, station: StationId) {
        self.put_on_hook(station);
        self.end_at(station, ResultCode::NoCarrier);
    }

    pub(super) fn stop_ringing(&mut self, id: CallId) {
        for timer in [
            Timer::Ring(id),
            Timer::OddRing(id),
            Timer::CallerId(id),
            Timer::NoAnswer(id),
        ] {
            self.timers.cancel(timer);
        }
        if let Some(called) = self.calls.get(&id).map(|call| call.called) {
            self.timers.cancel(Timer::RingEnd(called));
            self.stations[called.index()].modem.profile.count_rings(0);
            self.end_ring(called);
        }
    }

    pub(super) fn forget(&mut self, id: CallId) -> Option<Call> {
        for timer in [
            Timer::Trained(id),
            Timer::Cut(id),
            Timer::Circuit(id, Side::Caller),
            Timer::Circuit(id, Side::Called),
        ] {
            self.timers.cancel(timer);
        }
        self.calls.remove(&id)
    }

    pub(super) fn put_on_hook(&mut self, station: StationId) {
        for timer in [
            Timer::Pause(station),
            Timer::Carrier(station),
            Timer::CarrierLost(station),
            Timer::Escape(station),
        ] {
            self.timers.cancel(timer);
        }
        self.stations[station.index()].hook = Hook::On;
    }

    pub(super) fn end_at(&mut self, station: StationId, result: ResultCode) {
        self.stations[station.index()].modem.end(result);
        self.flush(station);
        self.outputs.push_back(Output::Room { station });
    }

    pub(super) fn record(&mut self, id: CallId, call: &Call, ending: Ending) {
        let place = &mut self.stations[call.caller.index()];
        place.unanswered = if call.answered.is_some() {
            0
        } else {
            place.unanswered.saturating_add(1)
        };
        let caller = place.number.to_string();
        let mut record = call.record(id, caller, ending, |at| self.wall_to_the_millisecond(at));
        record.bill = self.bill(call, ending);
        if let Some(Bill {
            tariff,
            payer,
            micros,
        }) = &record.bill
        {
            let pays = match payer {
                Payer::Caller => call.caller,
                Payer::Called => call.called,
            };
            let number = self.stations[pays.index()].number.to_string();
            let terms = self
                .tariffs
                .get(tariff)
                .map(Tariff::month)
                .unwrap_or_default();
            self.months.add(
                &number,
                tariff,
                self.wall(call.placed).date(),
                *micros,
                terms,
            );
        }
        self.outputs.push_back(Output::Record(record));
    }

    fn bill(&self, call: &Call, ending: Ending) -> Option<Bill> {
        let name = self.stations[call.caller.index()]
            .settings
            .tariff
            .as_ref()?;
        let settings = &self.stations[call.caller.index()].settings;
        let rate_bps = settings.rate_to.max(settings.rate_from);
        let name = self
            .tariffs
            .get(name)?
            .class_of(&call.dialled, rate_bps)
            .unwrap_or(name);
        let tariff = self.tariffs.get(name)?;
        let answered = call
            .answered
            .map(|at| (self.wall(at), ending.at.saturating_duration_since(at)));
        let used = Used {
            answered,
            octets: ending.carried.0.saturating_add(ending.carried.1),
        };
        Some(Bill {
            tariff: name.to_owned(),
            payer: tariff.payer(),
            micros: tariff.charge(&used),
        })
    }

    pub(super) fn wall(&self, at: Instant) -> Zoned {
        let elapsed = SignedDuration::try_from(at.saturating_duration_since(self.started))
            .unwrap_or_default();
        self.clock
            .checked_add(elapsed)
            .unwrap_or_else(|_| self.clock.clone())
    }

    fn wall_to_the_millisecond(&self, at: Instant) -> Timestamp {
        let exact = self.wall(at).timestamp();
        Timestamp::from_millisecond(exact.as_millisecond()).unwrap_or(exact)
    }

    /// Hands the DTE what its modem has for it, or keeps it until the DTE is ready; and tells what its circuits show.
    pub(super) fn flush(&mut self, station: StationId) {
        let place = &mut self.stations[station.index()];
        if !place.has_dte || place.is_dte_ready {
            let octets = place.modem.take_for_dte();
            if place.has_dte && !octets.is_empty() {
                self.outputs.push_back(Output::Octets { station, octets });
            }
        }
        let signals = place.shown_signals();
        if std::mem::replace(&mut place.signals, signals) != signals {
            self.outputs.push_back(Output::Signals { station, signals });
        }
    }
}
