//! Everything that is kept: directory, messages, envelopes, call records. SQL stands nowhere else.
//!
//! A method that writes returns after the write is on the disk. Readers see what was committed.
//!
//! [`messages`](NewMessage) come in once; what happens to their envelopes is in `deliveries` and `verdicts`; `cleaning`
//! removes what nobody waits for. `backup` and `check` are the operator's.

mod accept;
mod alarms;
mod arriving;
mod away;
mod backup;
mod bounces;
mod calls;
mod changes;
mod check;
mod claims;
mod cleaning;
mod clock;
mod content;
mod deliveries;
mod doubts;
mod draft;
mod entries;
mod error;
mod expired;
mod fan_out;
#[cfg(any(test, feature = "faults"))]
mod faults;
mod feeds;
mod files;
mod health;
mod keys;
mod known;
mod ledger;
mod messages;
mod migration;
mod opening;
mod pauses;
mod providers;
mod quotas;
mod refusals;
mod rows;
mod spending;
mod sqlite;
mod standings;
mod stated;
mod stopwatch;
mod subscriptions;
mod terminals;
mod verdicts;
mod vitals;
mod waits;
mod webhooks;
mod worker;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use delivery::StateLock;
use rusqlite::{Connection as Database, params};
use tokio::sync::Notify;

pub use alarms::StoredNotice;
pub use away::CallAway;
pub use backup::{Backup, BackupError, BackupProgress};
pub use bounces::{Bounce, ReturnPath};
pub use changes::{ProviderUpdate, TerminalUpdate};
pub use check::{CheckError, Findings};
pub use claims::{Begun, Claim};
pub use cleaning::{Cleaned, Retention};
pub use deliveries::{AttemptEnd, Doubt, MostUrgent};
pub use doubts::Doubtful;
pub use draft::{Draft, FiledContent, NewContent};
pub use entries::{DeliveryEntry, EnvelopeEntry, MessageEntry};
pub use error::{Cause, Constraint, Obstacle, StoreError};
pub use feeds::{FeedItem, FeedState};
pub use files::KEY_FILE;
pub use health::{Counts, Health};
pub use keys::Trust;
pub use ledger::Spent;
pub use messages::{Accepted, Handling, NewMessage};
pub use providers::ProviderRemoved;
pub use quotas::{Holder, NearQuota, OverQuota, Quota, Quotas};
pub use refusals::{Refusal, RefusalRules, Refused, Resting};
pub use spending::{CallCost, Spending, SpentBy};
pub use standings::{NotCalled, Standing, TerminalEntry};
pub use subscriptions::{RegisterError, SubscriptionEntry};
pub use verdicts::Cancelled;
pub use webhooks::Telling;

use arriving::{Arriving, Drafts};
use content::Contents;
use expired::Expired;
use known::Known;
use vitals::Vitals;
use worker::{Readers, Worker};

use model::call::CallRecord;

/// The store of one server. Cheap to clone: the work is done by its threads.
#[derive(Debug, Clone)]
pub struct Store {
    // Ends before the writer, which then closes the database for good.
    reader: Readers,
    writer: Worker,
    contents: Contents,
    /// What every submission asks of the directory, without a way to the disk.
    known: Arc<Known>,
    vitals: Arc<Vitals>,
    quotas: Quotas,
    refusals: RefusalRules,
    /// Contents that are coming in.
    drafts: Arc<Drafts>,
    /// Told when a message came that expires, or that is held back.
    expiring: Arc<Notify>,
    database: Arc<Path>,
    /// Messages that are written in steps just now.
    arriving: Arriving,
    /// The providers with a webhook.
    webhooks: Arc<Mutex<BTreeSet<String>>>,
    /// Records of calls that are over which the disk has not taken.
    unwritten: Arc<Mutex<Vec<CallRecord>>>,
    /// Until when all that has expired has its verdict, or waits for it: no look goes over that again.
    expired: Expired,
    /// The server that this store works for.
    owner: Owner,
    /// Held until the threads have ended: fields are dropped in their order.
    _lock: Arc<StateLock>,
}

/// The server that a store works for, since a start. All that is under way names it.
#[derive(Debug, Clone)]
struct Owner {
    id: &'static str,
    epoch: i64,
}

impl Owner {
    /// Asked in each transaction that marks anything: a process whose server has been started elsewhere must not.
    fn check(&self, db: &Database) -> Result<(), StoreError> {
        let is_newest = "SELECT EXISTS (SELECT 1 FROM servers WHERE id = ?1 AND epoch = ?2)";
        match db
            .prepare_cached(is_newest)?
            .query_row(params![self.id, self.epoch], |row| row.get(0))?
        {
            true => Ok(()),
            false => Err(StoreError::Superseded(self.id.to_owned())),
        }
    }
}

/// The lock of a server's state folder.
pub const SERVER_LOCK: &str = "server";

/// Which entries of a list that grows for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last(pub u32);

impl Store {
    /// The same store, with limits to what may wait.
    #[must_use]
    pub fn with_quotas(self, quotas: Quotas) -> Self {
        Self { quotas, ..self }
    }

    /// The same store, with rules for what terminals refuse.
    #[must_use]
    pub fn with_refusals(self, refusals: RefusalRules) -> Self {
        Self { refusals, ..self }
    }
}

async fn run_blocking<T, F>(operation: &'static str, work: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    let done = tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| StoreError::Stopped)?;
    done.map_err(|source| StoreError::content(operation, source))
}

#[cfg(test)]
mod tests;
