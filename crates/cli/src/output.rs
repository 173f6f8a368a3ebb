//! What this program says: data on standard output, talk on standard error.
//!
//! In place of the library's `println!` and the rest, which panic when the reader has gone (`ringup ... | head`), and print
//! whatever they are given. What is printed here is escaped; line feeds are left, for text of several lines and JSON. A reader
//! that has gone ends nothing: the rest goes nowhere. Any other fault, such as a full disk, makes the exit code 1.

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::OnceLock;

use modem::shown;

/// Why standard output takes nothing more.
static FAULT: OnceLock<io::Error> = OnceLock::new();

#[allow(unused_macros, reason = "not every part of the program needs each")]
macro_rules! print {
    ($($text:tt)*) => { $crate::output::write(format_args!($($text)*), "") };
}

macro_rules! println {
    ($($text:tt)*) => { $crate::output::write(format_args!($($text)*), "\n") };
}

#[allow(unused_macros, reason = "not every part of the program needs each")]
macro_rules! eprint {
    ($($text:tt)*) => { $crate::output::remark(format_args!($($text)*), "") };
}

macro_rules! eprintln {
    ($($text:tt)*) => { $crate::output::remark(format_args!($($text)*), "\n") };
}

/// For `println!` and `print!`.
pub(crate) fn write(text: fmt::Arguments<'_>, end: &str) {
    if FAULT.get().is_some() {
        return;
    }
    let text = text.to_string();
    let mut out = io::stdout().lock();
    let written = out
        .write_all(shown::lines(&text).as_bytes())
        .and_then(|()| out.write_all(end.as_bytes()));
    if let Err(error) = written.and_then(|()| out.flush()) {
        let _ = FAULT.set(error); // the first one counts
    }
}

/// For `eprintln!` and `eprint!`: if stderr is closed, the failure cannot be reported.
pub(crate) fn remark(text: fmt::Arguments<'_>, end: &str) {
    let text = format!("{}{end}", shown::lines(&text.to_string()));
    let _ = io::stderr().write_all(text.as_bytes());
}

/// The reader of standard output has gone: reason enough to end, and no fault.
#[derive(Debug)]
pub(crate) struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output is closed")
    }
}

impl std::error::Error for Closed {}

/// What became of octets that were written to standard output by hand.
///
/// # Errors
/// [`Closed`], or that they could not be written.
#[cfg(any(feature = "answer", feature = "demo"))]
pub(crate) fn written(written: io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Closed.into()),
        other => anyhow::Context::context(other, "could not write to standard output"),
    }
}

/// The exit code, in view of what became of the output.
pub(crate) fn exit_code(code: ExitCode) -> ExitCode {
    match FAULT.get() {
        // The reader had enough.
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => code,
        Some(error) => {
            eprintln!("ringup: could not write to standard output: {error}");
            ExitCode::FAILURE
        }
        None => code,
    }
}
