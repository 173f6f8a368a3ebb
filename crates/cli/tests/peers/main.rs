//! Our programs with strangers' programs, on our exchange or on a line alone: mgetty and pppd in User-Mode Linux,
//! ser2net, minimodem. `cargo xtask peers` fetches them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../../../modem/tests/caller_id/corpus.rs"]
mod corpus;
#[path = "../../../link/tests/pppd/initramfs.rs"]
mod initramfs;
#[path = "../../../link/tests/pppd/wire.rs"]
#[allow(dead_code, reason = "the tests of links ask more of a wire")]
mod wire;

mod guest;
mod stub_modem;

mod caller_id;
