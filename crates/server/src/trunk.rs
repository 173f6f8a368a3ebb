//! The trunk: the one connection between an information server and a dial-up server.
//!
//! ```text
//!   dial-up server                                      information server
//!   connects, "ringup-trunk/1 NAME\n" ────────────────► which of its dial-up servers says so
//!   TLS server, key pinned by NAME    ◄──────────────── TLS client, key pinned in the dial-up server's config
//!   HTTP/2 server                     ◄──────────────── GET /events           lines and calls: as they are, then as they change
//!                                     ◄──────────────── PUT /calls/ID         place a call; asked again: nothing
//!                                     ◄──────────────── DELETE /calls/ID      hang up; do not answer this ring
//!                                     ◄──────────────── POST /calls/ID/settled its record is here: forget it
//!                                     ◄──────────────── POST /calls/ID/answer answer this ring
//!                                     ◄──────────────── POST /calls/ID/proved the far end is who it should be
//!                                     ◄──────────────── POST /calls/ID/open/N a connection to the far end's port N
//!                                     ◄──────────────── POST /accept          (some are always waiting) the far end's
//!                                                       next connection, behind a PROXY header that says of which call
//! ```
//!
//! Shape and keys are those of a delivery session (RFC 8071, `delivery::proof`). A call id is good for the dial-up server that it
//! was given to, while the call lives. What is written here is used by both ends; `information` and `away` are
//! the information server's end, `crate::dialup_server` is the other.

pub(crate) mod away;
mod figures;
pub(crate) mod information;
mod link_away;
pub(crate) mod proxy;
#[cfg(test)]
mod proxy_corpus;
pub(crate) mod tunnel;
pub(crate) mod words;

use std::time::Duration;

use delivery::TerminalId;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use model::directory::Name;

pub use information::{DialupServer, LineAway};

/// What a dial-up server says first.
const GREETING: &str = "ringup-trunk/1 ";

/// Octets of it, with the longest name and the line feed.
const GREETING_OCTETS_MAX: usize = 64;

/// TLS records of a whole frame: this is no modem line.
pub(crate) const RATE_BPS: u32 = 10_000_000;

/// HTTP/2 streams at once: two a call and the rest, for a thousand calls.
pub(crate) const STREAMS_MAX: u32 = 4096;

/// Octets that may be under way on a stream and wait for a slow reader; the connection has room for all of them.
pub(crate) const STREAM_WINDOW_OCTETS: u32 = 16 * 1024;
pub(crate) const CONNECTION_WINDOW_OCTETS: u32 = STREAM_WINDOW_OCTETS * STREAMS_MAX;

/// Interval at which a silent trunk is asked, and longest wait for the answer.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(10);
pub(crate) const KEEP_ALIVE_WAIT: Duration = Duration::from_secs(10);

/// Longest time from the connection to the proof of both ends.
pub(crate) const PROOF_WAIT: Duration = Duration::from_secs(15);

/// The first line on a trunk.
pub(crate) fn greeting(name: &Name) -> String {
    format!("{GREETING}{name}\n")
}

/// Reads it, and not one octet more. `None`: it is none.
pub(crate) async fn read_greeting(stream: &mut (impl AsyncRead + Unpin)) -> Option<Name> {
    let mut line = Vec::with_capacity(GREETING_OCTETS_MAX);
    loop {
        match stream.read_u8().await.ok()? {
            b'\n' => break,
            octet if line.len() < GREETING_OCTETS_MAX => line.push(octet),
            _ => return None,
        }
    }
    std::str::from_utf8(&line)
        .ok()?
        .strip_prefix(GREETING)?
        .parse()
        .ok()
}

/// Under what a dial-up server's key is pinned: made of its name, in a room of its own.
pub(crate) fn pin_id(name: &Name) -> TerminalId {
    let digest = Sha256::digest(format!("dial-up server {name}"));
    TerminalId::from_octets(digest[..8].try_into().expect("a digest has 32 octets"))
}

#[cfg(test)]
mod tests;
