//! Adapters that hand submissions to intake.

mod early_answer;
pub mod http;
pub mod mail;
