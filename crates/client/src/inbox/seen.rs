//! The ids of messages that were here and have been removed: none of them is published again, however late it comes.
//!
//! One file for each month in which the ids were made (they begin with their time, RFC 9562 §5.7), a line for each id. They are
//! never removed: an id takes 23 octets, and a message without an expiry may come again after years.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use delivery::MessageId;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::sync_folder;

/// Folder of the files, inside the inbox.
const SEEN: &str = ".seen";

fn file(inbox: &Path, id: MessageId) -> PathBuf {
    let octets = id.octets();
    let millis = octets[..6]
        .iter()
        .fold(0_i64, |millis, octet| millis << 8 | i64::from(*octet));
    // The sender of the ids may have a wrong clock: ids beyond the calendar have a file of their own.
    let made = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX);
    inbox
        .join(SEEN)
        .join(made.to_zoned(TimeZone::UTC).strftime("%Y-%m").to_string())
}

/// Whether a message was here and has been removed.
pub(super) fn was_here(inbox: &Path, id: MessageId) -> io::Result<bool> {
    match fs::read_to_string(file(inbox, id)) {
        Ok(text) => Ok(text.lines().any(|line| line == id.to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Remembers ids, on the disk, before their messages are removed.
pub(super) fn remember(inbox: &Path, id: MessageId) -> io::Result<()> {
    let path = file(inbox, id);
    if !path.exists() {
        fs::create_dir_all(inbox.join(SEEN))?;
        sync_folder(inbox)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    // A line that a power cut has torn ends here; ours begins anew.
    file.write_all(format!("\n{id}\n").as_bytes())?;
    file.sync_all()?;
    File::open(inbox.join(SEEN))?.sync_all()
}
