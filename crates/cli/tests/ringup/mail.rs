//! Mail made from a seed: what a provider sends while everything around it fails, and what it was told.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::chronicle::{Chronicle, PATIENCE};
use crate::http;

/// Numbers from a seed.
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// From 0 to below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_shr(16) % limit
    }

    /// Once in so many times.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// One submission, before it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    /// The idempotency key: under it the provider sends again until it is told.
    key: String,
    query: String,
    pub(crate) content: Vec<u8>,
    /// It must arrive: nothing may take its place, and it does not expire in time.
    pub(crate) is_lasting: bool,
}

impl Letter {
    /// One in sixteen has 100 KB, one in eight can be replaced, one in eight expires within seconds.
    pub(crate) fn new(seed: u64, index: usize, chance: &mut Chance) -> Self {
        let octets = if index % 16 == 5 {
            100_000
        } else {
            1 + chance.below(2000)
        };
        let mut content = format!("letter {index} of {seed}: ").into_bytes();
        content.extend((0..octets).map(|_| chance.below(256).to_le_bytes()[0]));
        let urgency =
            ["urgent", "normal", "bulk"][usize::try_from(chance.below(3)).expect("it is small")];
        let mut query = format!("to=tel:301&urgency={urgency}");
        let (is_replaceable, is_short_lived) = (chance.once_in(8), chance.once_in(8));
        if is_replaceable {
            query += &format!("&replace=level-{}", chance.below(2));
        }
        if is_short_lived {
            query += &format!("&expires={}", 1 + chance.below(4));
        }
        let key = format!("{seed}-{index}");
        Self {
            key,
            query,
            content,
            is_lasting: !is_replaceable && !is_short_lived,
        }
    }

    /// One that takes seconds of line, and must arrive.
    pub(crate) fn long(seed: u64, index: usize, chance: &mut Chance) -> Self {
        let content = (0..300_000)
            .map(|_| chance.below(256).to_le_bytes()[0])
            .collect();
        Self {
            key: format!("{seed}-{index}"),
            query: "to=tel:301".to_owned(),
            content,
            is_lasting: true,
        }
    }

    pub(crate) fn sha256(&self) -> String {
        Sha256::digest(&self.content)
            .iter()
            .map(|octet| format!("{octet:02x}"))
            .collect()
    }

    fn submit(&self, address: &str, token: &str) -> io::Result<String> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let request = format!(
            "POST /v1/messages?{} HTTP/1.1\nContent-Length: {}\nAuthorization: Bearer {token}\nIdempotency-Key: {}",
            self.query,
            self.content.len(),
            self.key,
        );
        let answer = http::try_exchange(stream, &request, &self.content)?;
        let id = answer.body["id"].as_str().filter(|_| answer.status == 202);
        // Cut short by a kill, the answer has no whole body; anything else is a fault.
        let is_cut = answer.body.is_null() && answer.status == 202;
        assert!(
            id.is_some() || is_cut,
            "{} {}: {answer:?}",
            self.key,
            self.query
        );
        id.map(str::to_owned)
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// A provider that sends its letters one after the other, each again and again until it is told that it is accepted.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) token: String,
    /// Where the server that runs now listens.
    pub(crate) address: Mutex<String>,
    /// What was accepted, by the message's id.
    pub(crate) accepted: Mutex<BTreeMap<String, Letter>>,
    /// Submissions that came to nothing because the server was killed.
    pub(crate) repeated: Mutex<usize>,
}

impl Sender {
    pub(crate) fn new(token: String, address: String) -> Self {
        let address = Mutex::new(address);
        Self {
            token,
            address,
            accepted: Mutex::default(),
            repeated: Mutex::default(),
        }
    }

    /// Sends one letter; comes back when it is accepted.
    pub(crate) fn send(&self, letter: &Letter, chronicle: &Chronicle) {
        loop {
            let address = self.address.lock().unwrap().clone();
            match letter.submit(&address, &self.token) {
                Ok(id) => {
                    let before = self
                        .accepted
                        .lock()
                        .unwrap()
                        .insert(id.clone(), letter.clone());
                    assert!(before.is_none(), "two letters have the id {id}");
                    return;
                }
                Err(_) => {
                    *self.repeated.lock().unwrap() += 1;
                    chronicle.wait_lines(1, Duration::from_millis(50)); // the next server says so when it is there
                }
            }
        }
    }
}
