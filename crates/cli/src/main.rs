//! ringup
fn main() {}
