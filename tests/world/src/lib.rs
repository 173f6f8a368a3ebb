//! A world in virtual time, for tests of the server's decisions: real routing, dispatch and ledger, a store that is a
//! few maps, and calls that are an outcome and a duration.
//!
//! One thread, one seed: the same seed gives the same events, and the same digest of them. The checkers of the promises
//! look at every event ([`Checks`]).

mod bill;
mod chance;
mod checks;
mod cost;
mod mail;
mod octets;
mod people;
mod plan_server;
mod pool;
mod world;

pub use checks::Checks;
pub use cost::{CostRow, cost_table};
pub use mail::Tally;
pub use octets::{OctetPlan, OctetReport, OctetWorld};
pub use pool::{Pool, PoolFigures, erlang_b, erlang_c};
pub use world::{Plan, Report, World};
