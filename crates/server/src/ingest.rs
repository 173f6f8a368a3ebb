//! Adapters that hand submissions to intake.

mod early_answer;
pub mod feeds;
pub mod http;
pub mod mail;
