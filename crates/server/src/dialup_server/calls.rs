//! What a dial-up server knows of its calls: told to the information server, and kept until that has settled them.
//!
//! A call id is on the disk before anything is dialled, and its record before anybody is told that it is over. A crash right after
//! the first leaves a call that may have been dialled: it is told as lost, never dialled again.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use delivery::private_folder;
use delivery::proof::write_secret;
use jiff::Timestamp;
use line::{CallId, Ring};
use link::Link;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, broadcast, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::relay::Acceptor;
use crate::dialup::LineState;
use crate::dialup::agreements::Agreements;
use crate::trunk::words::{CallState, Ended, Event, FarEnd, LinkUp};
use model::call::CallRecord;
use model::directory::Name;
use model::outcome::Outcome;

/// Calls that are remembered; the information server forgets each when it has settled it.
const CALLS_MAX: usize = 10_000;

/// Records of calls that are kept for the operator here, of this process; the information server has them all.
const RECORDS_MAX: usize = 1000;

/// Events that a slow trunk may be behind; then it is told everything anew.
const EVENTS_MAX: usize = 1024;

/// Requests that wait for a far end's connection.
const ACCEPTORS_MAX: usize = 256;

/// How long the information server may take to say who is to be answered.
const ANSWER_WAIT: Duration = Duration::from_secs(3);

pub(super) struct Calls {
    folder: PathBuf,
    known: Mutex<Known>,
    /// By party.
    pub(super) agreements: Agreements<String>,
    events: broadcast::Sender<Event>,
    /// Which trunk is up; `None`: none is.
    trunk: watch::Sender<Option<u64>>,
    /// There is another acceptor.
    acceptor_came: Notify,
}

#[derive(Default)]
struct Known {
    trunks: u64,
    calls: BTreeMap<CallId, Kept>,
    lines: BTreeMap<Name, LineNow>,
    /// The calls of this process, the oldest first.
    records: VecDeque<CallRecord>,
    /// Since when there has been no trunk.
    lost_at: Option<Timestamp>,
    rings: BTreeMap<CallId, oneshot::Sender<FarEnd>>,
    /// Requests of the trunk that is up.
    acceptors: VecDeque<Acceptor>,
}

/// What a line does.
#[derive(Debug, Clone)]
pub(super) struct LineNow {
    pub(super) state: LineState,
    pub(super) fault: Option<String>,
    /// Since when.
    pub(super) since: Timestamp,
    /// Rings that were not answered since the start.
    pub(super) rings_refused: u64,
}

struct Kept {
    state: CallState,
    hang_up: CancellationToken,
    /// The operator here hangs it up.
    is_ended_here: bool,
    link: Option<Arc<Link>>,
}

/// What stands on the disk of a call.
#[derive(Serialize, Deserialize)]
struct OnDisk {
    began: Timestamp,
    longest_ms: u64,
    ended: Option<Ended>,
}

/// Why a call was not begun.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotBegun {
    #[error("asked on a trunk that is over")]
    OldTrunk,
    #[error("{CALLS_MAX} calls are remembered already")]
    TooMany,
    #[error("the call's id could not be written")]
    Disk(#[from] io::Error),
}

impl Calls {
    /// What the last process left: calls that it had begun are over, for it hung up when it ended.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        private_folder(folder)?;
        let mut known = Known {
            lost_at: Some(Timestamp::now()),
            ..Known::default()
        };
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let Some(call) = path
                .file_name()
                .and_then(|name| name.to_str()?.parse::<CallId>().ok())
            else {
                continue;
            };
            let read = fs::read(&path).map(|octets| serde_json::from_slice::<OnDisk>(&octets));
            let ended = match read? {
                Ok(OnDisk {
                    ended: Some(ended), ..
                }) => ended,
                Ok(OnDisk {
                    began,
                    longest_ms,
                    ended: None,
                }) => {
                    let since = Timestamp::now().duration_since(began).as_millis();
                    // A clock that was set back says nothing: then it was as long as it may have been.
                    lost(u64::try_from(since).unwrap_or(longest_ms).min(longest_ms))
                }
                // Not by us: what we write is whole or not there. The longest that any call may cost is not known.
                Err(error) => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("{}: {error}", path.display()),
                    ));
                }
            };
            known.calls.insert(call, Kept::new(CallState::Ended(ended)));
        }
        let (events, _) = broadcast::channel(EVENTS_MAX);
        Ok(Self {
            folder: folder.to_owned(),
            known: Mutex::new(known),
            agreements: Agreements::default(),
            events,
            trunk: watch::Sender::new(None),
            acceptor_came: Notify::new(),
        })
    }

    /// The information server waits for a far end's connection. `false`: it waits for enough.
    pub(super) fn accept(&self, acceptor: Acceptor) -> bool {
        let acceptors = &mut self.lock().acceptors;
        let has_room = acceptors.len() < ACCEPTORS_MAX;
        if has_room {
            acceptors.push_back(acceptor);
            self.acceptor_came.notify_one();
        }
        has_room
    }

    /// Who takes the next connection.
    pub(super) async fn next_acceptor(&self) -> Acceptor {
        loop {
            let came = self.acceptor_came.notified();
            if let Some(acceptor) = self.lock().acceptors.pop_front() {
                return acceptor;
            }
            came.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new trunk is up: whatever comes on an older one is refused from here on.
    pub(super) fn trunk_up(&self) -> u64 {
        let mut known = self.lock();
        known.trunks += 1;
        known.lost_at = None;
        self.trunk.send_replace(Some(known.trunks));
        known.trunks
    }

    pub(super) fn trunk_lost(&self) {
        let mut known = self.lock();
        known.trunks += 1;
        known.rings.clear();
        known.acceptors.clear();
        known.lost_at = Some(Timestamp::now());
        self.trunk.send_replace(None);
    }

    /// What a line does.
    pub(super) fn line_now(&self, line: &Name) -> Option<LineNow> {
        self.lock().lines.get(line).cloned()
    }

    /// A ring on this line was not answered.
    pub(super) fn ring_refused(&self, line: &Name) {
        if let Some(now) = self.lock().lines.get_mut(line) {
            now.rings_refused += 1;
        }
    }

    /// Notes how far a call is, for the operator here.
    pub(super) fn record(&self, record: &CallRecord) {
        let records = &mut self.lock().records;
        match records.iter_mut().rev().find(|found| found.id == record.id) {
            Some(found) => *found = record.clone(),
            None => {
                if records.len() >= RECORDS_MAX {
                    records.pop_front();
                }
                records.push_back(record.clone());
            }
        }
    }

    /// The calls of this process, the newest first.
    pub(super) fn records(&self) -> Vec<CallRecord> {
        self.lock().records.iter().rev().cloned().collect()
    }

    /// Since when there has been no trunk; `None`: there is one.
    pub(super) fn without_trunk_since(&self) -> Option<Timestamp> {
        self.lock().lost_at
    }

    /// Returns when there has been no trunk for this time.
    pub(super) async fn trunk_lost_for(&self, grace: Duration) {
        let mut trunk = self.trunk.subscribe();
        loop {
            if trunk.wait_for(Option::is_none).await.is_err() {
                return;
            }
            if tokio::time::timeout(grace, trunk.wait_for(Option::is_some))
                .await
                .is_err()
            {
                return;
            }
        }
    }

    /// Everything that is so, and from then on what changes.
    pub(super) fn follow(&self) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let known = self.lock(); // nothing is told in between
        let events = self.events.subscribe();
        let lines = known
            .lines
            .iter()
            .map(|(line, now)| line_event(line, now.state, now.fault.clone()));
        let calls = known
            .calls
            .iter()
            .map(|(call, kept)| call_event(*call, &kept.state));
        let all = lines.chain(calls).chain([Event::AllTold]).collect();
        (all, events)
    }

    fn tell(&self, event: Event) {
        let _ = self.events.send(event); // without a listener: the next one is told everything
    }

    pub(super) fn line(&self, line: &Name, state: LineState, fault: Option<String>) {
        let fault: Option<String> = fault.map(|fault| fault.chars().take(200).collect());
        let mut known = self.lock();
        let before = known.lines.get(line);
        let since = before
            .filter(|now| now.state == state)
            .map_or_else(Timestamp::now, |now| now.since);
        let rings_refused = before.map_or(0, |now| now.rings_refused);
        known.lines.insert(
            line.clone(),
            LineNow {
                state,
                fault: fault.clone(),
                since,
                rings_refused,
            },
        );
        self.tell(line_event(line, state, fault));
    }

    /// Asks whether to answer a ring. `None`: no, or nobody can say.
    pub(super) async fn ask(&self, call: CallId, line: &Name, ring: &Ring) -> Option<FarEnd> {
        let answer = {
            let mut known = self.lock();
            (*self.trunk.borrow())?;
            let (sender, answer) = oneshot::channel();
            known.rings.insert(call, sender);
            self.tell(Event::Ring {
                call: call.to_string(),
                line: line.to_string(),
                ring: ring.into(),
            });
            answer
        };
        let answer = tokio::time::timeout(ANSWER_WAIT, answer).await;
        self.lock().rings.remove(&call);
        answer.ok()?.ok()
    }

    /// The information server wants this ring answered. `false`: it is over.
    pub(super) fn answer(&self, call: CallId, far_end: FarEnd) -> bool {
        let ring = self.lock().rings.remove(&call);
        ring.is_some_and(|ring| ring.send(far_end).is_ok())
    }

    /// A call that is to be placed, asked for on this trunk (`None`: one that came in). `false`: it is known already, and
    /// nothing more is to be done. On return its id is on the disk.
    pub(super) fn begin(
        &self,
        call: CallId,
        longest: Duration,
        trunk: Option<u64>,
    ) -> Result<bool, NotBegun> {
        let mut known = self.lock();
        if trunk.is_some_and(|trunk| trunk != known.trunks) {
            return Err(NotBegun::OldTrunk);
        }
        if known.calls.contains_key(&call) {
            return Ok(false);
        }
        if known.calls.len() >= CALLS_MAX {
            return Err(NotBegun::TooMany);
        }
        let longest_ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        self.write(
            call,
            &OnDisk {
                began: Timestamp::now(),
                longest_ms,
                ended: None,
            },
        )?;
        known.calls.insert(call, Kept::new(CallState::Begun));
        self.tell(call_event(call, &CallState::Begun));
        Ok(true)
    }

    pub(super) fn up(&self, call: CallId, link: &Arc<Link>, up: LinkUp) {
        let mut known = self.lock();
        let Some(kept) = known.calls.get_mut(&call) else {
            return;
        };
        kept.state = CallState::Up(up);
        kept.link = Some(link.clone());
        self.tell(call_event(call, &kept.state));
    }

    pub(super) fn ended(&self, call: CallId, ended: Ended) {
        let mut known = self.lock();
        let Some(kept) = known.calls.get_mut(&call) else {
            return;
        };
        let on_disk = OnDisk {
            began: ended.ended_at,
            longest_ms: ended.lasted_ms,
            ended: Some(ended.clone()),
        };
        if let Err(error) = self.write(call, &on_disk) {
            tracing::error!(%call, %error, "the end of a call is not on the disk");
        }
        *kept = Kept::new(CallState::Ended(ended));
        self.tell(call_event(call, &kept.state));
    }

    /// Hangs a call up, or lets it ring. `false`: it is not known.
    pub(super) fn delete(&self, call: CallId) -> bool {
        let mut known = self.lock();
        let rang = known.rings.remove(&call).is_some();
        let found = known.calls.get(&call);
        found.inspect(|kept| kept.hang_up.cancel()).is_some() || rang
    }

    /// The operator here hangs a call up. `false`: none with this id is under way.
    pub(super) fn end_here(&self, call: CallId) -> bool {
        let mut known = self.lock();
        let kept = known
            .calls
            .get_mut(&call)
            .filter(|kept| !matches!(kept.state, CallState::Ended(_)));
        kept.map(|kept| {
            kept.is_ended_here = true;
            kept.hang_up.cancel();
        })
        .is_some()
    }

    /// How a call ended that was hung up before its link was there.
    pub(super) fn hung_up(&self, call: CallId) -> Outcome {
        match self.is_ended_here(call) {
            true => Outcome::EndedByOperator,
            false => Outcome::LinkFailed("hung up by the information server".into()),
        }
    }

    /// Whether the operator here hangs it up.
    pub(super) fn is_ended_here(&self, call: CallId) -> bool {
        self.lock()
            .calls
            .get(&call)
            .is_some_and(|kept| kept.is_ended_here)
    }

    /// The information server has the record of a call that is over: it is forgotten here. `false`: it is not over, or not known.
    pub(super) fn settled(&self, call: CallId) -> bool {
        let mut known = self.lock();
        let is_over = known
            .calls
            .get(&call)
            .is_some_and(|kept| matches!(kept.state, CallState::Ended(_)));
        if is_over {
            known.calls.remove(&call);
            if let Err(error) = fs::remove_file(self.path(call)) {
                tracing::warn!(%call, %error, "a call that is settled is not forgotten");
            }
        }
        is_over
    }

    /// What hangs a call up.
    pub(super) fn hang_up(&self, call: CallId) -> CancellationToken {
        self.lock()
            .calls
            .get(&call)
            .map(|kept| kept.hang_up.clone())
            .unwrap_or_default()
    }

    /// The link of a call that is up.
    pub(super) fn link(&self, call: CallId) -> Option<Arc<Link>> {
        self.lock().calls.get(&call)?.link.clone()
    }

    fn path(&self, call: CallId) -> PathBuf {
        self.folder.join(call.to_string())
    }

    fn write(&self, call: CallId, on_disk: &OnDisk) -> io::Result<()> {
        write_secret(&self.path(call), &serde_json::to_vec(on_disk)?)
    }
}

impl Kept {
    fn new(state: CallState) -> Self {
        Self {
            state,
            hang_up: CancellationToken::new(),
            is_ended_here: false,
            link: None,
        }
    }
}

/// What is told of a call that the process did not survive.
fn lost(lasted_ms: u64) -> Ended {
    let why = "the dial-up server was restarted".to_owned();
    let outcome = Outcome::SessionLost {
        why,
        delivering: None,
    };
    let (how, why) = Ended::words(&outcome);
    Ended {
        how,
        why,
        connected_at: None,
        ended_at: Timestamp::now(),
        lasted_ms,
        octets_out: 0,
        octets_in: 0,
    }
}

fn line_event(line: &Name, state: LineState, fault: Option<String>) -> Event {
    Event::Line {
        line: line.to_string(),
        state,
        fault,
    }
}

fn call_event(call: CallId, state: &CallState) -> Event {
    Event::Call {
        call: call.to_string(),
        state: state.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(60);

    #[test]
    fn a_call_is_begun_once_whatever_happens_in_between() {
        let folder = tempfile::tempdir().unwrap();
        let call = CallId::from_octets([1; 16]);
        let calls = Calls::open(folder.path()).unwrap();
        let trunk = calls.trunk_up();
        assert!(calls.begin(call, LONGEST, Some(trunk)).unwrap());
        assert!(
            !calls.begin(call, LONGEST, Some(trunk)).unwrap(),
            "asked again"
        );
        drop(calls);
        let calls = Calls::open(folder.path()).unwrap();
        let trunk = calls.trunk_up();
        assert!(
            !calls.begin(call, LONGEST, Some(trunk)).unwrap(),
            "asked again after a restart"
        );
        let (told, _) = calls.follow();
        let Event::Call {
            state: CallState::Ended(ended),
            ..
        } = &told[0]
        else {
            panic!("{told:?}")
        };
        assert!(ended.why.contains("restarted") && ended.lasted_ms <= 60_000);
        assert!(calls.delete(call), "hanging up changes nothing any more");
        assert!(
            calls.settled(call) && !calls.settled(call),
            "settled, and forgotten"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_was_asked_on_a_trunk_that_is_over_is_not_dialled() {
        let folder = tempfile::tempdir().unwrap();
        let calls = Calls::open(folder.path()).unwrap();
        let old = calls.trunk_up();
        calls.trunk_lost();
        let late = calls.begin(CallId::from_octets([1; 16]), LONGEST, Some(old));
        assert!(matches!(late, Err(NotBegun::OldTrunk)));
        let new = calls.trunk_up();
        assert!(matches!(
            calls.begin(CallId::from_octets([1; 16]), LONGEST, Some(old)),
            Err(NotBegun::OldTrunk)
        ));
        assert!(
            calls
                .begin(CallId::from_octets([1; 16]), LONGEST, Some(new))
                .unwrap()
        );
    }

    #[tokio::test]
    async fn nobody_is_answered_while_there_is_no_trunk() {
        let folder = tempfile::tempdir().unwrap();
        let calls = Calls::open(folder.path()).unwrap();
        let ring = Ring::new(line::Caller::Absent, false);
        let (_, mut told) = calls.follow();
        assert!(
            calls
                .ask(CallId::now(), &"line-1".parse().unwrap(), &ring)
                .await
                .is_none()
        );
        assert!(
            told.try_recv().is_err(),
            "a ring that nobody can be asked about is told to nobody"
        );
    }
}
