//! A call at a dial-up server: placed, served over its trunk as one of our own lines, settled.
//!
//! ```text
//!   Begun ──link up──► Up ──trunk lost──► Lost        a session lives as long as its trunk; the call is then hung up
//!     │                 │                  │
//!     ├─────────────────┴──────────────────┴─► Ended  the dial-up server's record: only it, or that the dial-up server
//!     └─ not told of on a later trunk ───────► Missing does not know the call, or its time being over, settles a call
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use delivery::TerminalId;
use http::{Method, StatusCode};
use jiff::Timestamp;
use line::{CallId, Ring};
use serde_json::json;
use tokio::sync::{Mutex, Notify, mpsc, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::figures::{self, Known};
use super::information::{LineAway, NotDone, Pop};
use super::link_away::LinkAway;
use super::proxy::ProxyHeader;
use super::tunnel::Tunnel;
use super::words::{CallState, Ended, FarEnd, LinkUp, PlaceCall};
use crate::dialup::line_link::Meter;
use crate::dialup::line_task::{Attempt, Showing};
use crate::dialup::open_link::OpenLink;
use crate::dialup::session::{Peer, Served, Session};
use crate::dialup::{Allowance, DialOrder, Report};
use calling::UNSEEN;
use model::call::{CallRecord, Direction};
use model::directory::Name;
use model::outcome::Outcome;
use store::CallAway;

/// Time after the longest duration of a call at which it is over, even if nothing is heard of it.
const UNHEARD: Duration = Duration::from_secs(60);

/// Longest incoming call: the dial-up server hangs up then.
const INCOMING_LONGEST: Duration = Duration::from_secs(4 * 3600);

/// One way, between the modems; the trunk's own delay is small beside it.
const LINE_DELAY: Duration = Duration::from_millis(60);

/// Connections of a far end that wait to be taken.
const WAITING_MAX: usize = 8;

/// Between two tries to hang up.
const AGAIN: Duration = Duration::from_secs(1);

/// What is known of a call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Told {
    Begun,
    Up(LinkUp),
    Lost,
    Ended(Ended),
    Missing,
}

/// A call at a dial-up server, for who takes note of what that says.
pub(crate) struct Away {
    told: watch::Sender<Told>,
    /// The trunk on which it was asked for, and the last one on which it was told of.
    trunk: AtomicU64,
    /// A trunk was lost while its link was up.
    was_cut: AtomicBool,
    /// Something was said of it that cannot be.
    was_lied_about: AtomicBool,
    /// Since when it is asked for; `None`: before the start.
    asked_for: Option<Instant>,
    line: LineAway,
    submissions: mpsc::Sender<Tunnel>,
    notices: mpsc::Sender<Tunnel>,
}

/// The other end of it, for who serves the call.
pub(crate) struct Course {
    told: watch::Receiver<Told>,
    submissions: mpsc::Receiver<Tunnel>,
    notices: mpsc::Receiver<Tunnel>,
}

impl Away {
    pub(crate) fn new(line: LineAway, trunk: u64, asked_for: Option<Instant>) -> (Self, Course) {
        let told = watch::Sender::new(Told::Begun);
        let ((submissions, of_submissions), (notices, of_notices)) =
            (mpsc::channel(WAITING_MAX), mpsc::channel(WAITING_MAX));
        let course = Course {
            told: told.subscribe(),
            submissions: of_submissions,
            notices: of_notices,
        };
        let (trunk, was_cut, was_lied_about) = (
            AtomicU64::new(trunk),
            AtomicBool::new(false),
            AtomicBool::new(false),
        );
        (
            Self {
                told,
                trunk,
                was_cut,
                was_lied_about,
                asked_for,
                line,
                submissions,
                notices,
            },
            course,
        )
    }

    /// Takes note of the dial-up server's word, on this trunk.
    ///
    /// # Errors
    /// It cannot be so, and why.
    pub(super) fn note(&self, state: &CallState, trunk: u64) -> Result<(), String> {
        self.trunk.store(trunk, Ordering::Relaxed);
        let now = self.told.borrow().clone();
        let mut lie = None;
        let (is_so, next) = match (now, state) {
            (Told::Begun, CallState::Begun) => (true, None),
            (Told::Begun, CallState::Up(up)) => {
                let (up, what) = figures::of_link(*up, self.asked_for.map(|at| at.elapsed()));
                lie = what;
                (true, Some(Told::Up(up)))
            }
            (Told::Up(before), CallState::Up(up)) => (
                before == figures::of_link(*up, self.asked_for.map(|at| at.elapsed())).0,
                None,
            ),
            (Told::Lost, CallState::Up(_)) => (true, None),
            (Told::Begun | Told::Up(_) | Told::Lost, CallState::Ended(ended)) => {
                (true, Some(Told::Ended(ended.clone())))
            }
            (Told::Ended(before), CallState::Ended(ended)) => (before == *ended, None),
            _ => (false, None),
        };
        if let Some(next) = next {
            // Before it has an effect.
            self.was_lied_about
                .fetch_or(lie.is_some(), Ordering::Relaxed);
            self.told.send_replace(next);
        }
        let lie = lie
            .or_else(|| (!is_so).then(|| "it goes on after its end, or begins twice".to_owned()));
        lie.map_or(Ok(()), Err)
    }

    pub(super) fn trunk_lost(&self) {
        self.told.send_if_modified(|told| {
            let was_up = matches!(told, Told::Up(_));
            if was_up {
                self.was_cut.store(true, Ordering::Relaxed);
                *told = Told::Lost;
            }
            was_up
        });
    }

    /// All calls were told of on this trunk.
    pub(super) fn all_told(&self, trunk: u64) {
        if self.trunk.load(Ordering::Relaxed) < trunk {
            self.told.send_if_modified(|told| {
                let is_open = !matches!(told, Told::Ended(_));
                if is_open {
                    *told = Told::Missing;
                }
                is_open
            });
        }
    }

    /// A connection of the far end. `false`: there can be none, or too many wait.
    pub(super) fn take(&self, header: ProxyHeader, tunnel: Tunnel) -> bool {
        // The connection may come before the word that the link is up: they are different streams.
        let is_open = matches!(*self.told.borrow(), Told::Begun | Told::Up(_));
        if !is_open || header.line != self.line.name {
            return false;
        }
        match (header.to.port(), header.notice) {
            (delivery::SUBMISSION_PORT, None) => self.submissions.try_send(tunnel).is_ok(),
            (delivery::PORT, Some(notice)) => self
                .notices
                .try_send(tunnel.led_by(format!("{notice}\n").into()))
                .is_ok(),
            _ => false,
        }
    }
}

/// A call that is being worked on here.
struct Job {
    pop: Arc<Pop>,
    course: Course,
    line: Name,
    record: CallRecord,
    terminal: Option<TerminalId>,
    began: Instant,
    /// It is over by then, whatever is heard of it.
    over_at: Instant,
    /// The longest that it may last, from the dial command on.
    longest: Duration,
    /// Octets that are reserved for it.
    octets_max: Option<u64>,
    /// How long its link was seen up.
    seen: Duration,
    /// As the link was told to be, if it came up.
    rate_bps: Option<u32>,
    /// It was asked for before the start.
    is_recalled: bool,
    /// The dial-up server has had it.
    is_known: bool,
}

/// Has a call placed and sees it to its end.
pub(super) async fn place(pop: Arc<Pop>, order: DialOrder) {
    let DialOrder {
        terminal,
        number: _,
        timeout,
        record,
        allowance,
    } = order;
    let Some(line) = pop.line_named(&record.via).cloned() else {
        return;
    };
    let (call, longest) = (record.id, allowance.longest);
    let octets_max = (allowance.octets != u64::MAX).then_some(allowance.octets);
    let mut job = Job::new(
        pop.clone(),
        record,
        Some(terminal.id),
        line.clone(),
        longest,
    );
    job.octets_max = octets_max;
    let peer = Peer::Terminal(terminal);
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let wanted = PlaceCall {
        line: line.name.to_string(),
        number: job
            .record
            .number
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        far_end: far_end(&peer),
        timeout_ms: millis(timeout),
        longest_ms: millis(longest),
        octets: octets_max,
    };
    // On the disk before the dial-up server hears of it: after a crash it is asked for before anybody is called.
    if let Err(error) = job.note(longest).await {
        return job.not_placed(Outcome::OurFault(error.to_string())).await;
    }
    let asked = pop
        .ask(Method::PUT, &format!("/calls/{call}"), Some(json!(wanted)))
        .await;
    match asked {
        Ok(()) => job.is_known = true,
        Err(NotDone::Lost(error)) => {
            tracing::warn!(%call, %error, "whether the call was placed is to be asked");
        }
        Err(why @ NotDone::NoTrunk(_)) => {
            tracing::warn!(%call, %why, "call not placed");
            return job
                .end(Outcome::LineTaken, Showing::Unknown, Duration::ZERO)
                .await;
        }
        Err(why @ NotDone::Refused(StatusCode::BAD_REQUEST, _)) => {
            return job.not_placed(Outcome::NotDialled(why.to_string())).await;
        }
        Err(why @ NotDone::Refused(..)) => {
            return job.not_placed(Outcome::OurFault(why.to_string())).await;
        }
    }
    job.serve(peer, Some(allowance), line.is_ring_only).await;
}

/// Decides about a ring, and sees the call to its end if it is answered.
pub(super) async fn screen(pop: Arc<Pop>, call: CallId, line: LineAway, ring: Ring) {
    let answered = pop.shared().screen(&line.global, &ring).await;
    let Some((caller, peer)) = answered else {
        let _ = pop
            .ask(Method::DELETE, &format!("/calls/{call}"), None)
            .await; // or it stops ringing by itself
        return;
    };
    let is_new =
        pop.calls().get(&call).is_none() && matches!(pop.shared().store.call(call).await, Ok(None));
    if !is_new {
        return pop
            .violated(format!("a ring with the id of call {call}"))
            .await;
    }
    let mut record = CallRecord::begin(
        CallId::now(),
        Timestamp::now(),
        Direction::Incoming,
        line.global.clone(),
        Some(caller),
        peer.name().clone(),
    );
    record.id = call;
    let terminal = peer.terminal().map(|terminal| terminal.id);
    let mut job = Job::new(pop.clone(), record, terminal, line, INCOMING_LONGEST);
    if let Err(error) = job.note(INCOMING_LONGEST).await {
        return job
            .end(
                Outcome::OurFault(error.to_string()),
                Showing::Unknown,
                Duration::ZERO,
            )
            .await;
    }
    let asked = pop
        .ask(
            Method::POST,
            &format!("/calls/{call}/answer"),
            Some(json!(far_end(&peer))),
        )
        .await;
    match asked {
        Ok(()) => job.is_known = true,
        Err(NotDone::Lost(_)) => {}
        Err(why) => {
            tracing::warn!(%call, %why, "ring not answered");
            return job
                .end(Outcome::NoCarrier, Showing::Unknown, Duration::ZERO)
                .await;
        }
    }
    job.serve(peer, None, false).await;
}

/// Learns what became of a call of the last process. It is hung up: nobody here knows what was said on it.
pub(super) async fn recall(pop: Arc<Pop>, away: CallAway, course: Course) {
    let CallAway {
        record,
        terminal,
        over_at,
    } = away;
    let Some(line) = record.via.line().cloned() else {
        return;
    };
    // A wall clock that was set since says nothing of the call's length.
    let until_over =
        Duration::try_from(over_at.duration_since(record.placed_at)).unwrap_or_default();
    let left = Duration::try_from(over_at.duration_since(Timestamp::now()))
        .unwrap_or_default()
        .min(until_over);
    let (now, longest) = (Instant::now(), until_over.saturating_sub(UNHEARD));
    let (over_at, is_known, octets_max, is_recalled) = (now + left, false, None, true);
    let job = Job {
        pop,
        course,
        line,
        record,
        terminal,
        began: now,
        over_at,
        longest,
        octets_max,
        seen: Duration::ZERO,
        rate_bps: None,
        is_recalled,
        is_known,
    };
    let call = job.record.id;
    tracing::info!(%call, "asking for a call from before the start");
    job.settle(None).await;
}

impl Job {
    fn new(
        pop: Arc<Pop>,
        record: CallRecord,
        terminal: Option<TerminalId>,
        line: LineAway,
        longest: Duration,
    ) -> Self {
        let global = line.global.clone();
        let began = Instant::now();
        let (away, course) = Away::new(line, pop.trunk(), Some(began));
        pop.calls().insert(record.id, away);
        let (over_at, is_known, octets_max, is_recalled) =
            (began + longest + UNHEARD, false, None, false);
        Self {
            pop,
            course,
            line: global,
            record,
            terminal,
            began,
            over_at,
            longest,
            octets_max,
            seen: Duration::ZERO,
            rate_bps: None,
            is_recalled,
            is_known,
        }
    }

    async fn note(&self, longest: Duration) -> Result<(), store::StoreError> {
        let over_at = Timestamp::now() + longest + UNHEARD;
        let away = CallAway {
            record: self.record.clone(),
            terminal: self.terminal,
            over_at,
        };
        self.pop
            .shared()
            .store
            .note_away(away, Timestamp::now())
            .await
    }

    /// Waits for what is told; `None`: its time is over, and nothing was.
    async fn until(&mut self, is_so: impl FnMut(&Told) -> bool) -> Option<Told> {
        let told = timeout_at(self.over_at, self.course.told.wait_for(is_so)).await;
        told.ok()?.ok().map(|told| told.clone())
    }

    async fn serve(mut self, peer: Peer, allowance: Option<Allowance>, is_ring: bool) {
        let shared = self.pop.shared().clone();
        let hang_up = shared.open_calls.hang_up(self.record.id);
        // The terminal connects here, of which the dial-up server hears nothing: the ring has done its work.
        let rung = self.terminal.filter(|_| is_ring);
        let has_come = async {
            match rung {
                Some(terminal) => shared.presence.has_come(terminal).await,
                None => std::future::pending().await,
            }
        };
        let begun = tokio::select! {
            told = self.until(|told| *told != Told::Begun) => told,
            () = hang_up.cancelled() => {
                let served = Served { outcome: Outcome::EndedByOperator, showing: Showing::Unknown };
                return self.settle(Some(served)).await;
            }
            () = has_come => {
                let served = Served { outcome: Outcome::Rung, showing: Showing::Unknown };
                return self.settle(Some(served)).await;
            }
        };
        let Some(Told::Up(up)) = begun else {
            return self.settle(None).await;
        };
        (self.is_known, self.rate_bps) = (true, Some(up.rate_bps));
        let session = Session {
            call: self.record.id,
            peer,
            line: self.line.clone(),
            direction: self.record.direction,
            delay: LINE_DELAY,
            caller: self
                .record
                .number
                .clone()
                .filter(|_| self.record.direction == Direction::Incoming),
            shared,
            meter: Meter {
                began: self.began,
                allowance,
            },
        };
        let up_at = std::time::Instant::now();
        let none = || mpsc::channel(1).1;
        let link = LinkAway {
            pop: self.pop.clone(),
            call: self.record.id,
            up,
            told: self.course.told.clone(),
            submissions: Mutex::new(std::mem::replace(&mut self.course.submissions, none())),
            notices: Mutex::new(std::mem::replace(&mut self.course.notices, none())),
            proved: Notify::new(),
        };
        let link = Arc::new(link);
        session.log_link_up(link.counters(), up.address, up_at);
        let tell_proved = async {
            link.proved.notified().await;
            let _ = self
                .pop
                .ask(Method::POST, &format!("/calls/{}/proved", link.call), None)
                .await; // saves a round trip
            std::future::pending::<()>().await;
        };
        let hearing = session.hearing(up.rate_bps);
        let mut serving = std::pin::pin!(session.serve(&link, up_at, hearing));
        let over = tokio::select! {
            served = &mut serving => Some(served),
            _ = link.gone() => None, // the session may still note what it has
            () = tell_proved => unreachable!("it waits for ever"),
        };
        self.seen = up_at.elapsed();
        let served = match over {
            Some(served) => served,
            None => serving.await,
        };
        self.settle(Some(served)).await;
    }

    /// Hangs up, if it is not over, and settles the call by what is told of it.
    async fn settle(mut self, served: Option<Served>) {
        let told = self.hung_up().await;
        let [was_cut, was_lied_about] = self
            .pop
            .calls()
            .get(&self.record.id)
            .map_or([false; 2], |away| {
                [&away.was_cut, &away.was_lied_about].map(|was| was.load(Ordering::Relaxed))
            });
        let (served, showing) = served
            .map(|served| (served.outcome, served.showing))
            .unzip();
        let served = served.map(|served| if was_cut { blameless(served) } else { served });
        match told {
            Some(Told::Ended(ended)) => {
                let mut figures = figures::of_ended(&ended, self.known());
                if was_lied_about {
                    figures.lasted = figures.lasted.max(self.longest.saturating_sub(UNSEEN));
                    if let Some(reserved) = self.octets_max {
                        (figures.octets_out, figures.octets_in) = (reserved, 0);
                    }
                }
                if let Some(lie) = &figures.lie {
                    self.pop
                        .violated(format!("call {}: {lie}", self.record.id))
                        .await;
                }
                let is_lie = was_lied_about || figures.lie.is_some();
                // Without a link there was nothing to serve: what came of the call is the dial-up server's word.
                let showing = showing.unwrap_or(match () {
                    () if self.is_recalled
                        || was_cut
                        || ended.is_lost()
                        || !ended.is_about_caller() =>
                    {
                        Showing::Unknown
                    }
                    () => Showing::Nothing,
                });
                let outcome = self.outcome(served, &ended, is_lie);
                self.record.connected_at = figures.connected_at;
                self.record.octets_out = figures.octets_out;
                self.record.octets_in = figures.octets_in;
                self.end(outcome, showing, figures.lasted).await;
            }
            // It never had it: nothing was dialled.
            _ if !self.is_known && told.is_some() => {
                self.end(Outcome::LineTaken, Showing::Unknown, Duration::ZERO)
                    .await;
            }
            _ => {
                let lost = || session_lost("nothing was heard of the call again");
                let showing = showing.unwrap_or(Showing::Unknown);
                // As long as it can have been: of a call from before the start only the wall clock knows how long that is.
                let lasted = if self.is_recalled {
                    self.longest
                } else {
                    self.began.elapsed().min(self.longest)
                };
                self.end(served.unwrap_or_else(lost), showing, lasted).await;
            }
        }
    }

    /// Has it hung up, and waits for its end; `None`: nothing is heard of it.
    async fn hung_up(&mut self) -> Option<Told> {
        let (pop, path) = (self.pop.clone(), format!("/calls/{}", self.record.id));
        let hang_up = async {
            loop {
                pop.there().await;
                if pop.ask(Method::DELETE, &path, None).await.is_ok() {
                    std::future::pending::<()>().await;
                }
                sleep(AGAIN).await;
            }
        };
        tokio::select! {
            told = self.until(|told| matches!(told, Told::Ended(_) | Told::Missing)) => told,
            () = hang_up => None,
        }
    }

    /// The outcome of a call that has ended: by the session, if there was one and the dial-up server knows no better.
    fn outcome(&self, served: Option<Outcome>, ended: &Ended, is_lie: bool) -> Outcome {
        let told = ended.outcome();
        match served {
            // What was reserved for it is what it counts as.
            None if is_lie => session_lost("the dial-up server said what cannot be"),
            // It was hung up there, which the session saw as a link that was lost.
            _ if matches!(told, Outcome::AllowanceSpent | Outcome::EndedByOperator) => told,
            // It was hung up while it rang; what came of it sooner, an answer that is paid for above all, counts.
            Some(Outcome::Rung) if !matches!(told, Outcome::LinkFailed(_)) => told,
            Some(served) => served,
            None if ended.is_orderly() && self.record.direction == Direction::Incoming => {
                Outcome::Completed
            }
            None => told,
        }
    }

    fn known(&self) -> Known {
        Known {
            placed_at: self.record.placed_at,
            elapsed: (!self.is_recalled).then(|| self.began.elapsed()),
            rate_bps: self.rate_bps,
            longest: self.longest,
            octets_max: self.octets_max,
            seen: self.seen,
        }
    }

    /// The dial-up server has nothing to do with it: its line says nothing of being free, and is.
    async fn not_placed(self, outcome: Outcome) {
        let (pop, line) = (self.pop.clone(), self.line.clone());
        self.end(outcome, Showing::Unknown, Duration::ZERO).await;
        if pop.is_there() {
            pop.shared().report(Report::LineFree(line)).await;
        }
    }

    async fn end(mut self, outcome: Outcome, showing: Showing, lasted: Duration) {
        let (call, shared) = (self.record.id, self.pop.shared().clone());
        self.record.end(&outcome, lasted);
        crate::dialup::log_end(&self.record);
        shared
            .note_caller(&self.record, self.terminal, &outcome, showing)
            .await;
        if !self.is_recalled {
            self.terminal = shared.is_about(self.record.direction, self.terminal, showing);
        }
        let attempt = Attempt {
            terminal: self.terminal,
            record: self.record,
            began: self.began,
        };
        shared.ended(attempt, outcome, lasted).await;
        if let Err(error) = shared.store.forget_away(call).await {
            tracing::error!(%call, %error, "the end of a call at a dial-up server is not stored");
        }
        self.pop.calls().remove(&call);
        // It may be forgotten there, too; if this is lost it is asked again when it is next told of.
        let _ = self
            .pop
            .ask(Method::POST, &format!("/calls/{call}/settled"), None)
            .await;
    }
}

fn far_end(peer: &Peer) -> FarEnd {
    let terminal = peer.terminal();
    let chap = peer.chap().map(|secret| secret.reveal().to_owned());
    FarEnd {
        party: peer.name().to_string(),
        address: terminal.and_then(|terminal| terminal.address),
        chap,
    }
}

/// Of a session whose trunk was cut: neither the terminal nor what was being delivered is to blame for that.
fn blameless(served: Outcome) -> Outcome {
    match served {
        Outcome::Completed
        | Outcome::MessagesRefused { .. }
        | Outcome::Revoked(_)
        | Outcome::EndedByOperator
        | Outcome::Rung => served,
        _ => session_lost("the connection to the dial-up server was lost"),
    }
}

fn session_lost(why: &str) -> Outcome {
    Outcome::SessionLost {
        why: why.to_owned(),
        delivering: None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn away() -> (Away, Course) {
        let line = LineAway {
            name: "line-1".parse().unwrap(),
            global: "pop.line-1".parse().unwrap(),
            is_ring_only: false,
            tariff: None,
        };
        Away::new(line, 1, Some(Instant::now()))
    }

    fn up() -> CallState {
        let address = Ipv4Addr::new(10, 77, 0, 2);
        CallState::Up(LinkUp {
            rate_bps: 33_600,
            address,
            octets_out: 1,
            octets_in: 1,
            flights: 2,
        })
    }

    fn ended(lasted_ms: u64) -> CallState {
        let ended_at = Timestamp::UNIX_EPOCH;
        let (how, why) = ("busy".to_owned(), String::new());
        CallState::Ended(Ended {
            how,
            why,
            connected_at: None,
            ended_at,
            lasted_ms,
            octets_out: 0,
            octets_in: 0,
        })
    }

    #[test]
    fn a_call_ends_once_and_never_comes_up_again() {
        let (away, course) = away();
        for state in [CallState::Begun, up(), ended(1)] {
            away.note(&state, 1).unwrap();
        }
        assert_eq!(
            away.note(&ended(1), 2),
            Ok(()),
            "told again with everything"
        );
        for state in [ended(2), up(), CallState::Begun] {
            assert!(away.note(&state, 2).is_err(), "{state:?}");
        }
        assert!(matches!(
            &*course.told.borrow(),
            Told::Ended(Ended { lasted_ms: 1, .. })
        ));
    }

    #[test]
    fn a_call_is_missing_only_after_a_later_trunk_has_told_of_everything_but_it() {
        let (away, course) = away();
        away.all_told(1); // asked for on this very trunk: its answer may still come
        assert_eq!(*course.told.borrow(), Told::Begun);
        away.note(&CallState::Begun, 2).unwrap();
        away.all_told(2);
        assert_eq!(*course.told.borrow(), Told::Begun);
        away.all_told(3);
        assert_eq!(*course.told.borrow(), Told::Missing);
    }

    #[test]
    fn a_session_does_not_outlive_its_trunk() {
        let (away, course) = away();
        away.trunk_lost();
        assert_eq!(
            *course.told.borrow(),
            Told::Begun,
            "what is being dialled goes on"
        );
        away.note(&up(), 1).unwrap();
        away.trunk_lost();
        assert_eq!(*course.told.borrow(), Told::Lost);
        assert_eq!(away.note(&up(), 2), Ok(()));
        assert_eq!(
            *course.told.borrow(),
            Told::Lost,
            "it is hung up, not gone on with"
        );
    }
}
