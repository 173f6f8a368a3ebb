//! The only place that spends money: every call is placed here, after its record is on the disk.

use std::time::Duration;

use line::{CallId, Forbidden, check_dialled};

use crate::dialup::{DialOrder, DialUp};
use crate::directory::{CallRecord, Connection, Direction, Name, Terminal};
use crate::store::{Store, StoreError};

/// From the dial command to CONNECT: ringing for a minute and training after it.
const DIAL_TIMEOUT: Duration = Duration::from_secs(75);

/// Places calls.
#[derive(Debug)]
pub struct Dialer {
    store: Store,
    dialup: DialUp,
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
    /// The call could not be recorded, so it is not made.
    #[error("the call could not be recorded")]
    Store(#[from] StoreError),
    /// The line does not take orders any more.
    #[error("line {0} is not there")]
    NoLine(Name),
}

impl Dialer {
    /// A dialer that uses these lines.
    pub fn new(store: Store, dialup: DialUp) -> Self {
        Self { store, dialup }
    }

    /// Has a terminal called. What comes of it is reported by the dial-up room.
    ///
    /// # Errors
    /// [`NotPlaced`]: nothing was dialled, nothing is owed.
    pub async fn place(&self, terminal: Terminal, line: &Name) -> Result<CallId, NotPlaced> {
        let number = terminal.number.clone().ok_or(NotPlaced::NoNumber)?;
        let home = self.dialup.home();
        check_dialled(home, &number)?;
        let dial_string = number.dial_string(self.dialup.dial_prefix(line), home)?;
        let record = CallRecord::begin(Direction::Outgoing, line.clone(), Some(number.clone()), terminal.name.clone());
        let call = record.id;
        // On the disk before the modem hears of it: a crash right here leaves a record of a call that was never made,
        // never a call without a record.
        self.store.record_call(record.clone()).await?;
        self.store.set_connection(terminal.id, Connection::Calling(call)).await?;
        tracing::info!(%call, %line, terminal = %terminal.name, ?number, "calling");
        let order = DialOrder { terminal, number: dial_string, timeout: DIAL_TIMEOUT, record };
        if self.dialup.dial(line, order) { Ok(call) } else { Err(NotPlaced::NoLine(line.clone())) }
    }
}
