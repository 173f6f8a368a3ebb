//! Pure. Text from outside, made harmless for terminals and logs.
//!
//! The ways out use it (tables, logs, alarms), not the ways in: what is stored stays as it came.
//!
//! Harmful are control characters (escape sequences, forged lines), direction marks (text that reads differently from what it
//! is, CVE-2021-42574) and Unicode's own line ends. Each becomes an escape that JSON knows, too: `\n`, `\u001b`, `\u202e`; so
//! JSON that is escaped as a whole stays the same JSON.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// Whether a character must not reach a terminal or a log as it is.
#[must_use]
pub fn is_harmful(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text of one line: line ends are escaped, too.
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_harmful)
}

/// A text of several lines, or JSON: line feeds are left.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |char| char != '\n' && is_harmful(char))
}

fn escaped(text: &str, is_harmful: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if is_harmful(char) {
            write_escaped(&mut out, char).expect("a string takes everything");
        } else {
            out.push(char);
        }
    }
    Cow::Owned(out)
}

fn write_escaped(out: &mut impl Write, char: char) -> fmt::Result {
    match char {
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        char => write!(out, "\\u{:04x}", u32::from(char)), // all of them are below U+10000
    }
}

/// A writer through which text passes as [`line()`].
#[derive(Debug)]
pub struct Line<W>(pub W);

impl<W: Write> Write for Line<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(&line(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_harmful_is_left_and_nothing_else_is_changed() {
        let harmless = "plain, Grüße, 電報, \u{1f4e0}, \\n \"quoted\"";
        assert_eq!(
            (line(harmless), lines(harmless)),
            (harmless.into(), harmless.into())
        );
        assert_eq!(line("a\nb\r\tc"), "a\\nb\\r\\tc");
        assert_eq!(lines("a\nb\r"), "a\nb\\r");
        assert_eq!(line("\x1b[0m\u{9b}2J\x7f"), "\\u001b[0m\\u009b2J\\u007f");
        assert_eq!(line("x\u{202e}gpj.exe\u{2069}"), "x\\u202egpj.exe\\u2069");
        for char in (0..=0x10_ffff).filter_map(char::from_u32) {
            let text = line(char.encode_utf8(&mut [0; 4])).into_owned();
            assert!(!text.contains(is_harmful), "{char:?}");
            assert_eq!(text.chars().eq([char]), !is_harmful(char), "{char:?}");
        }
    }

    #[test]
    fn all_direction_marks_and_line_ends_are_harmful() {
        for range in [
            0x0..=0x1f,
            0x7f..=0x9f,
            0x202a..=0x202e,
            0x2066..=0x2069,
            0x200e..=0x200f,
            0x61c..=0x61c,
            0x2028..=0x2029,
        ] {
            assert!(range.filter_map(char::from_u32).all(is_harmful));
        }
    }

    #[test]
    fn a_writer_escapes_what_passes() {
        let mut out = Line(String::new());
        let text = "a\nb";
        write!(out, "{text} {}", 7).unwrap();
        assert_eq!(out.0, "a\\nb 7");
    }
}
