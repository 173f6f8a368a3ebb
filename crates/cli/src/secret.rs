//! Secrets that are printed: who may read what they are printed to.

use std::io::stdout;
use std::os::fd::AsFd as _;

use rustix::fs::{FileType, Mode, fchmod, fstat};

/// To be called before a secret is printed. A file that standard output was led to by a shell has the rights that the shell gave it: it
/// is closed to others. Says what is to be known about the place that the secret goes to; `None`: nothing.
pub(crate) fn close_stdout() -> Option<&'static str> {
    let out = stdout();
    let Ok(found) = fstat(out.as_fd()) else {
        return None;
    };
    let mode = Mode::from_raw_mode(found.st_mode);
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile if !mode.intersects(Mode::RWXG | Mode::RWXO) => None,
        FileType::RegularFile => match fchmod(out.as_fd(), mode & Mode::RWXU) {
            Ok(()) => Some(
                "the file that it is printed to could be read by others; now it is its owner's alone",
            ),
            Err(_) => Some("the file that it is printed to can be read by others: chmod 600 FILE"),
        },
        FileType::CharacterDevice => Some("it stays in what this terminal has shown"),
        _ => None,
    }
}
