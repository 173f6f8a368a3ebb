//! Reads `corpus.txt`, which says how it is written.

/// One conversation of a modem.
#[derive(Debug, Default)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// What the modem says, a line each.
    pub(crate) lines: Vec<String>,
    /// Digits, an absence in words, or `-`.
    pub(crate) caller: String,
    /// What mgetty makes of it, where that differs.
    #[allow(dead_code, reason = "for the test with mgetty")]
    pub(crate) mgettys: Option<String>,
}

impl Case {
    /// All there are, in the order of the file.
    pub(crate) fn all() -> Vec<Self> {
        let mut cases: Vec<Self> = Vec::new();
        for line in include_str!("corpus.txt")
            .lines()
            .filter(|line| !line.starts_with('#'))
        {
            if let Some(name) = line.strip_prefix("= ") {
                cases.push(Self {
                    name: name.to_owned(),
                    ..Self::default()
                });
                continue;
            }
            let Some(case) = cases.last_mut() else {
                continue;
            };
            if let Some(caller) = line.strip_prefix("> ") {
                case.caller = caller.to_owned();
            } else if let Some(mgettys) = line.strip_prefix("! mgetty: ") {
                let (mgettys, reason) =
                    mgettys.split_once("; ").expect("a difference has a reason");
                assert!(!reason.is_empty(), "{line}");
                case.mgettys = Some(mgettys.to_owned());
            } else if case.caller.is_empty() {
                case.lines.push(line.to_owned());
            }
        }
        assert!(
            cases
                .iter()
                .all(|case| !case.caller.is_empty() && !case.lines.is_empty()),
            "a case without its end"
        );
        cases
    }

    /// The conversation as a modem sends it.
    pub(crate) fn octets(&self) -> Vec<u8> {
        self.lines
            .iter()
            .flat_map(|line| format!("\r\n{line}\r\n").into_bytes())
            .collect()
    }
}
