//! How much an inbox holds and how long: what is done with goes when its time is over, or when others need its room.

use std::fs;
use std::io;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::entry::Entry;
use super::rules::Rules;
use super::{INCOMING, seen, sync_folder};

/// Removes done messages older than their rule keeps them. Returns the number removed.
///
/// # Errors
/// The disk's: what was removed before stays removed, and remembered.
pub fn clean(inbox: &Path, rules: &Rules, now: Timestamp) -> io::Result<usize> {
    let mut removed = 0;
    for entry in Entry::list(inbox)? {
        let (Some(keep), Some(done_at)) =
            (rules.of(&entry).and_then(|rule| rule.keep), entry.done_at)
        else {
            continue;
        };
        let keep = SignedDuration::try_from(keep).unwrap_or(SignedDuration::MAX);
        if now.duration_since(done_at) >= keep {
            remove(inbox, &entry)?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Makes room for `size` octets more under the rule at this place. `false`: not even without all that is done with.
pub(super) fn make_room(inbox: &Path, rules: &Rules, place: usize, size: u64) -> io::Result<bool> {
    let Some(quota) = rules.0.get(place).and_then(|rule| rule.quota) else {
        return Ok(true);
    };
    let entries: Vec<_> = Entry::list(inbox)?
        .into_iter()
        .filter(|entry| {
            rules.place_for(&entry.note.content_type, entry.topic().as_ref()) == Some(place)
        })
        .collect();
    let mut held: u64 = entries.iter().map(|entry| entry.note.size).sum();
    let spare: u64 = entries
        .iter()
        .filter(|entry| entry.done_at.is_some())
        .map(|entry| entry.note.size)
        .sum();
    let fits = |held: u64| held.saturating_add(size) <= quota;
    if !fits(held - spare) {
        return Ok(false); // nothing is removed for a message that is refused all the same
    }
    for entry in entries.iter().filter(|entry| entry.done_at.is_some()) {
        if fits(held) {
            break;
        }
        remove(inbox, entry)?;
        held -= entry.note.size;
    }
    Ok(true)
}

/// Removes a message. Its id is remembered first.
fn remove(inbox: &Path, entry: &Entry) -> io::Result<()> {
    seen::remember(inbox, entry.id)?;
    // Out of sight in one step: half a message is never listed.
    let aside = inbox.join(INCOMING).join(format!("{}.removed", entry.id));
    let _ = fs::remove_dir_all(&aside); // of an attempt that broke off
    match fs::rename(entry.folder(), &aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()), // another session has, meanwhile
        moved => moved?,
    }
    sync_folder(inbox)?;
    fs::remove_dir_all(&aside)
}
