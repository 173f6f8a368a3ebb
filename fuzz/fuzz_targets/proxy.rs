//! The server has the reader to itself: its file stands here alone, without the store and all else that would have to be built.

#![no_main]

#[path = "../../crates/server/src/trunk/proxy.rs"]
#[allow(dead_code, reason = "who says why is elsewhere")]
mod proxy;
#[path = "../../crates/server/src/trunk/proxy_corpus.rs"]
mod proxy_corpus;

/// As much of the directory as a header knows.
mod directory {
    use std::convert::Infallible;
    use std::fmt;
    use std::str::FromStr;

    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) struct Name(String);

    impl FromStr for Name {
        type Err = Infallible;

        fn from_str(text: &str) -> Result<Self, Infallible> {
            Ok(Self(text.to_owned()))
        }
    }

    impl fmt::Display for Name {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(&self.0)
        }
    }
}

libfuzzer_sys::fuzz_target!(|octets: &[u8]| proxy_corpus::proxy(octets));
