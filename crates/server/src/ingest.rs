//! Adapters that hand submissions to intake.

pub mod http;
