//! Ringup end to end: the programs as a user runs them, on a telephone exchange in software.
//!
//! Every test has a [`village`] of its own. Nothing sleeps: tests wait for what the programs log, and fail with the whole
//! log after a minute.

#![expect(
    clippy::unwrap_used,
    reason = "clippy takes the helpers of a test for no test"
)]

mod chronicle;
mod feeds;
mod http;
mod liar;
mod mail;
mod process;
mod topics;
mod trunks;
mod typist;
mod village;
mod web_page;

mod bad_input;
mod broken_calls;
mod capture;
mod configs;
mod crashes;
mod deciding;
mod delivery;
mod demo;
mod inbox;
mod kills;
mod money;
mod one_call;
mod online;
mod operator;
mod outbox;
mod power_cut;
mod proof;
mod refusals;
mod rotation;
mod scripts;
mod session;
mod smtp;
mod state_folders;
mod stock;
mod strangers;
mod submissions;
mod truth;
mod two_servers;
