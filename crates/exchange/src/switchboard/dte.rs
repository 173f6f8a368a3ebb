//! What a DTE does: it writes, opens and closes its port, drops DTR; and what its modem then asks of the line.

use super::{Event, Exchange, Output};
use crate::{
    call::Phase,
    command::DialString,
    settings::Flavour,
    station::{Hook, StationId},
    timers::Timer,
    virtual_modem::{Intake, Request, ResultCode},
};
use std::time::Instant;

impl Exchange {
    pub(super) fn take_octets(&mut self, station: StationId, octets: &[u8], now: Instant) {
        if !self.stations[station.index()].has_dte {
            return;
        }
        let mut rest = octets;
        while let Some((first, others)) = rest.split_first() {
            let modem = &mut self.stations[station.index()].modem;
            match modem.intake() {
                Intake::Commands if modem.is_congested() => {
                    self.flush(station);
                    if self.stations[station.index()].modem.is_congested() {
                        self.outputs.push_back(Output::Event(Event::Overrun {
                            station,
                            octets: rest.len(),
                        }));
                        break;
                    }
                    continue;
                }
                Intake::Commands => {
                    modem.type_octet(*first);
                    while let Some(request) = self.stations[station.index()].modem.next_request(now)
                    {
                        self.perform(station, request, now);
                    }
                }
                Intake::Keys => {
                    if modem.is_aborted_by_key(now) {
                        self.hang_up(station, now);
                        self.end_at(station, ResultCode::NoCarrier);
                    }
                }
                Intake::Data => {
                    self.take_data(station, rest, now);
                    break;
                }
            }
            rest = others;
        }
        // ATO opens the gate for what the far modem had to hold back.
        self.wake_sender_to(station, now);
        self.flush(station);
        self.outputs.push_back(Output::Room { station });
    }

    fn take_data(&mut self, station: StationId, octets: &[u8], now: Instant) {
        match self.stations[station.index()]
            .modem
            .observe_data(octets, now)
        {
            Some(at) => self.timers.set(Timer::Escape(station), at),
            None => self.timers.cancel(Timer::Escape(station)),
        }
        let Hook::InCall(id) = self.stations[station.index()].hook else {
            return;
        };
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let from = call.side(station);
        // Once the other side has hung up, what is sent goes nowhere until the news is here.
        let Phase::Connected(circuits) = &mut call.phase else {
            return;
        };
        let taken = circuits.leaving(from).offer(octets, now);
        if taken < octets.len() {
            self.outputs.push_back(Output::Event(Event::Overrun {
                station,
                octets: octets.len() - taken,
            }));
        }
        self.run_circuit(id, from, now);
    }

    /// The port of a station is opened, which raises DTR, or closed, which drops it.
    pub(super) fn set_port(&mut self, station: StationId, is_open: bool, now: Instant) {
        let place = &mut self.stations[station.index()];
        if place.has_dte == is_open {
            return;
        }
        place.has_dte = is_open;
        place.is_dte_ready = true;
        if is_open {
            self.outputs.push_back(Output::Room { station });
        } else {
            place.modem.lose_dte();
            // It drops also for a DTE that had dropped it and dialled all the same.
            place.is_dtr_on = true;
        }
        self.set_dtr(station, is_open, now);
    }

    /// V.250 §6.2.8 and Hayes: what `&D` says.
    pub(super) fn set_dtr(&mut self, station: StationId, on: bool, now: Instant) {
        let place = &mut self.stations[station.index()];
        if std::mem::replace(&mut place.is_dtr_on, on) == on || on {
            return;
        }
        match place.modem.profile.dtr_off {
            0 => {}
            1 => place.modem.escape(),
            action => {
                let is_on_the_line = matches!(
                    place.hook,
                    Hook::InCall(_) | Hook::Pausing { .. } | Hook::Lost
                );
                if action == 3 {
                    place.modem.profile = Default::default();
                }
                // An unanswered ring goes on: the line does not know who has the port open.
                if is_on_the_line {
                    self.hang_up(station, now);
                    self.end_at(station, ResultCode::NoCarrier);
                } else if place.hook == Hook::Off {
                    self.put_on_hook(station);
                }
            }
        }
        self.flush(station);
    }

    pub(super) fn set_ready(&mut self, station: StationId, on: bool, now: Instant) {
        self.stations[station.index()].is_dte_ready = on;
        if on {
            self.flush(station);
            self.wake_sender_to(station, now);
            self.outputs.push_back(Output::Room { station });
        }
    }

    fn perform(&mut self, station: StationId, request: Request, now: Instant) {
        let place = &mut self.stations[station.index()];
        let has_no_tone = place.settings.is_out_of_service || place.settings.has_no_dial_tone;
        match (request, &place.hook) {
            (Request::Dial(_), Hook::InCall(_) | Hook::Pausing { .. } | Hook::Lost) => {
                place.modem.report(ResultCode::Error);
            }
            // A real modem would take the call that comes in, and hear no dial tone either.
            (Request::Dial(_), Hook::Ringing(_)) => place.modem.report(ResultCode::NoDialtone),
            (Request::Dial(_), _) if has_no_tone => place.modem.report(ResultCode::NoDialtone),
            (Request::Dial(dial), Hook::On | Hook::Off) => self.dial(station, dial, now),
            (Request::Answer, Hook::Ringing(call)) => {
                let call = *call;
                self.answer(call, now);
            }
            (Request::Answer, Hook::InCall(_)) => place.modem.report(ResultCode::Error),
            (Request::Answer, _) => place.modem.report(ResultCode::NoCarrier),
            (Request::HangUp, Hook::Ringing(call)) => {
                let call = *call;
                // On an analogue line there is nothing to hang up: it goes on ringing.
                if place.settings.flavour != Flavour::Analogue {
                    self.refuse(call, now);
                }
            }
            (Request::HangUp, _) => self.hang_up(station, now),
            (Request::OffHook, Hook::On) => place.hook = Hook::Off,
            (Request::OffHook, _) => {}
        }
    }

    fn dial(&mut self, station: StationId, dial: DialString, now: Instant) {
        let place = &mut self.stations[station.index()];
        let profile = &place.modem.profile;
        let wait =
            profile.blind_dial_wait() + profile.pause() * dial.pauses + place.settings.dialling;
        let wait = wait + place.dial_tone_wait();
        if let Some(carrier_wait) = profile.carrier_wait().filter(|_| !dial.is_voice) {
            self.timers.set(Timer::Carrier(station), now + carrier_wait);
        }
        if dial.is_voice {
            // As a mobile telephone says it: at once, whatever comes of it.
            place.modem.report(ResultCode::Ok);
        } else {
            place.modem.wait(now);
        }
        if wait.is_zero() {
            return self.place(station, &dial.digits, dial.is_voice, now);
        }
        self.timers.set(Timer::Pause(station), now + wait);
        place.hook = Hook::Pausing {
            digits: dial.digits,
            is_voice: dial.is_voice,
        };
    }

    pub(super) fn end_pause(&mut self, station: StationId, now: Instant) {
        let hook = &mut self.stations[station.index()].hook;
        let Hook::Pausing { digits, is_voice } = std::mem::replace(hook, Hook::Off) else {
            return;
        };
        self.place(station, &digits, is_voice, now);
        self.flush(station);
    }
}
