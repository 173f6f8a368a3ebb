//! What lines and terminals are called, and which numbers they have.

use model::directory::Name;

use crate::people::name;

pub(super) fn line_number(line: usize) -> String {
    format!("20{line}")
}

pub(super) fn terminal_number(terminal: u32) -> String {
    format!("3{terminal:03}")
}

pub(super) fn line_name(line: usize) -> Name {
    name(&format!("line-{line}"))
}
