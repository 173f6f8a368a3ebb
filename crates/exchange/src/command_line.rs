//! Gathers a command line out of the characters that a DTE types, in whatever pieces they come.

/// Longest line that is kept; a longer one is answered with ERROR.
const LINE_OCTETS_MAX: usize = 255;

/// State of the line reader (V.250 §5.2.1).
#[derive(Debug, Default)]
pub(crate) struct CommandLine {
    progress: Progress,
}

#[derive(Debug, Default)]
enum Progress {
    /// Nothing but noise so far.
    #[default]
    Noise,
    /// The `A` of `AT` or `A/`.
    Attention,
    /// After `AT`.
    Body { line: Vec<u8>, is_too_long: bool },
}

/// What a character completed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// The line goes on.
    Unfinished,
    /// A line, without its `AT` and terminator.
    Line(Vec<u8>),
    /// `A/`: the last line again.
    Again,
    /// A line that was longer than the modem keeps.
    TooLong,
}

impl CommandLine {
    pub(crate) fn clear(&mut self) {
        self.progress = Progress::Noise;
    }

    /// Takes one character; `end` and `erase` are S3 and S5.
    pub(crate) fn type_octet(&mut self, octet: u8, end: u8, erase: u8) -> Typed {
        match &mut self.progress {
            Progress::Body { line, is_too_long } => {
                if octet == end {
                    let typed = if *is_too_long {
                        Typed::TooLong
                    } else {
                        Typed::Line(std::mem::take(line))
                    };
                    self.progress = Progress::Noise;
                    return typed;
                }
                if octet == erase {
                    line.pop();
                } else if line.len() == LINE_OCTETS_MAX {
                    *is_too_long = true;
                } else if octet >= b' ' {
                    // V.250 §5.2.2: control characters in a line are ignored.
                    line.push(octet);
                }
            }
            Progress::Attention if octet.eq_ignore_ascii_case(&b't') => {
                self.progress = Progress::Body {
                    line: Vec::new(),
                    is_too_long: false,
                };
            }
            Progress::Attention if octet == b'/' => {
                self.progress = Progress::Noise;
                return Typed::Again;
            }
            Progress::Noise | Progress::Attention if octet.eq_ignore_ascii_case(&b'a') => {
                self.progress = Progress::Attention;
            }
            Progress::Noise | Progress::Attention => self.progress = Progress::Noise,
        }
        Typed::Unfinished
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last_typed(text: &str) -> Typed {
        let mut line = CommandLine::default();
        text.bytes()
            .map(|octet| line.type_octet(octet, b'\r', 8))
            .last()
            .unwrap()
    }

    #[test]
    fn a_line_is_what_stands_between_at_and_the_terminator() {
        assert_eq!(last_typed("AT\r"), Typed::Line(vec![]));
        assert_eq!(last_typed("~~\nAaTe0 v1\r"), Typed::Line(b"e0 v1".to_vec()));
        assert_eq!(last_typed("AXT\r"), Typed::Unfinished);
        assert_eq!(last_typed("ATX\x08E1\r"), Typed::Line(b"E1".to_vec()));
        assert_eq!(last_typed("a/"), Typed::Again);
        assert_eq!(
            last_typed(&format!("AT{}\r", "E".repeat(256))),
            Typed::TooLong
        );
    }
}
