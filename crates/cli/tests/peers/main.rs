//! Our programs with strangers' programs, on our exchange or on a line alone: mgetty, pppd and exim4 in User-Mode Linux,
//! ser2net, minimodem, swaks, smtp-source, mosquitto; a terminal in Python; the recording medium on a bare machine; Debian
//! packages in a Debian. `cargo xtask peers` fetches them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../ringup/chronicle.rs"]
#[allow(dead_code, reason = "who kills everybody asks more of a chronicle")]
mod chronicle;
#[path = "../../../modem/tests/caller_id/corpus.rs"]
mod corpus;
#[path = "../ringup/http.rs"]
#[allow(dead_code, reason = "for the village")]
mod http;
#[path = "../ringup/process.rs"]
#[allow(dead_code, reason = "the village's own tests ask more of a process")]
mod process;
#[path = "../ringup/trunks.rs"]
#[allow(dead_code, reason = "for the village")]
mod trunks;
#[path = "../ringup/typist.rs"]
mod typist;
#[path = "../ringup/village.rs"]
#[allow(dead_code, reason = "its own tests ask more of a village")]
mod village;
#[path = "../../../link/tests/pppd/wire.rs"]
#[allow(dead_code, reason = "the tests of links ask more of a wire")]
mod wire;

mod guests;
mod post_office;
mod stub_modem;
mod unpacked;

mod arm64;
mod caller_id;
mod exim;
mod medium;
mod mgetty;
mod minimodem;
mod mosquitto;
mod packages;
mod pppd_dials;
mod python_terminal;
mod ser2net;
mod smtp_source;
mod swaks;
