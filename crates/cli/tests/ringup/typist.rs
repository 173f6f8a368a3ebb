//! A scripted user at a modem: AT commands and other input.

use std::path::Path;
use std::time::Instant;

use line::{Port, PortAddress};

use crate::chronicle::PATIENCE;

/// Dropping it hangs up.
#[derive(Debug)]
pub(crate) struct Typist {
    port: Port,
    heard: Vec<u8>,
}

impl Typist {
    /// Sits down at the modem at `path`.
    pub(crate) fn at(path: &Path) -> Self {
        let port = Port::open(&PortAddress::Device(path.to_owned()))
            .expect("the exchange has made the port");
        let mut typist = Self {
            port,
            heard: Vec::new(),
        };
        typist.say(b"ATE0V1X4\r");
        typist.hear("OK\r\n");
        typist
    }

    /// Dials, and gives the modem's word on what became of it.
    pub(crate) fn dial(&mut self, number: &str) -> String {
        self.heard.clear();
        self.say(format!("ATDT{number}\r").as_bytes());
        self.hear("\r\n");
        self.heard.clear();
        self.hear("\r\n")
    }

    pub(crate) fn say(&mut self, octets: &[u8]) {
        self.port.write_all(octets).expect("the modem takes octets");
    }

    /// Reads until what was heard ends with `wanted`; gives it without the ends of lines.
    fn hear(&mut self, wanted: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        while !self.heard.ends_with(wanted.as_bytes()) {
            let mut octet = [0];
            let read = self
                .port
                .read_until(&mut octet, Some(deadline))
                .expect("the port works");
            assert_eq!(
                read,
                Some(1),
                "waited for {wanted:?}, heard {:?}",
                String::from_utf8_lossy(&self.heard)
            );
            self.heard.push(octet[0]);
        }
        String::from_utf8_lossy(&self.heard).trim().to_owned()
    }
}
