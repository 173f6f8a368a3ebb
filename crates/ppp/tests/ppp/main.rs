//! Sessions against each other, against recorded conversations, and against nonsense. One clock, no sleeping.

mod call;
mod closing;
mod headers;
mod hostile;
mod ipv6;
mod limits;
mod lossy;
mod name_servers;
mod opening;
mod prediction;
mod proving;
mod transcript;
