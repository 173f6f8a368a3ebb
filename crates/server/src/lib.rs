//! The server: keeps what is addressed to terminals, looks whether their line is up, and calls them if it is not.
//!
//! One message's way, room by room:
//!
//! [`ingest`] (adapters) → [`intake`] (the only door) → [`routing`] (pure) → [`store`] (commit, then 202) →
//! [`calling`] (pure: which terminal, which line, when, at what price) → `dialer` (carries that out) →
//! [`dialup`] (the lines, links and deliveries) → `store` (the verdict) → one call record.
//!
//! [`service`] opens the rooms and runs the loop between them; `operator` answers the command line.

pub mod alarms;
pub mod bounces;
mod descriptors;
mod dialer;
pub mod dialup;
mod dialup_server;
mod door;
mod http_connection;
pub mod ingest;
pub mod intake;
pub mod jobs;
pub mod keys;
mod listener;
pub mod metrics;
mod operator;
pub mod outward;
mod plan;
#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;
pub mod routing;
mod scrape;
pub mod service;
mod trunk;
mod upkeep;
pub mod waiting;
pub mod webhooks;

pub use delivery::topic;
pub use dialup_server::{DialupConfig, dialup_key, serve_dialup};
pub use service::{Config, ServeError, operator_socket, serve};
pub use trunk::{DialupServer, LineAway};
