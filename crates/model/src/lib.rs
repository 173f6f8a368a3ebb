//! The domain types of a Ringup server: directory, messages' verdicts, calls' outcomes, money, alarms. No clock, no file, no socket.
//!
//! Every other room of the server builds on these; none of them knows the store, the network or a task.

pub mod account;
pub mod alarm;
pub mod attempt;
pub mod call;
pub mod causes;
pub mod dial_loop;
pub mod directory;
pub mod money;
pub mod outcome;
pub mod provider;
pub mod rights;
pub mod subscription;
pub mod url;
pub mod verdict;
pub mod webhook;
