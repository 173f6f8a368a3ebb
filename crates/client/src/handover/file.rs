//! Handing over as a file. It appears whole, under a name of ours.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::{HandoverError, make};
use crate::inbox::Entry;

/// `FOLDER/ID`. The same message again takes the place of itself.
pub(super) fn put(folder: &Path, entry: &Entry) -> Result<(), HandoverError> {
    let folder = make(folder)?;
    let id = entry.id.to_string();
    copy(entry, &folder.join(format!(".{id}.part")), &folder.join(id))
}

/// `MAILDIR/new/SECONDS.ID.ringup`, by way of `tmp` (<https://cr.yp.to/proto/maildir.html>).
pub(super) fn put_mail(folder: &Path, entry: &Entry) -> Result<(), HandoverError> {
    for part in ["cur", "new", "tmp"] {
        make(&folder.join(part))?;
    }
    let name = format!("{}.{}.ringup", entry.note.received_at.as_second(), entry.id);
    copy(
        entry,
        &folder.join("tmp").join(&name),
        &folder.join("new").join(&name),
    )
}

fn copy(entry: &Entry, beside: &Path, at: &Path) -> Result<(), HandoverError> {
    let copied = || -> io::Result<()> {
        let mut from = File::open(entry.content())?;
        let _ = fs::remove_file(beside); // of an attempt that broke off, or a link that leads elsewhere
        let mut file = File::create_new(beside)?;
        io::copy(&mut from, &mut file)?;
        file.sync_all()?;
        fs::rename(beside, at)?;
        File::open(at.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    let copied = copied().inspect_err(|_| {
        // On a full disk a fragment would keep it full. Under its own name it is none.
        let _ = fs::remove_file(beside);
    });
    copied.map_err(|source| HandoverError::Disk {
        operation: "write the file that is handed over",
        source,
    })
}
