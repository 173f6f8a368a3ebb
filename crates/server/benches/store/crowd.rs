//! A million envelopes that wait, and a message for a hundred thousand terminals.

use std::time::Instant;

use delivery::TerminalId;
use jiff::Timestamp;
use store::Store;

use crate::load::{message, terminal};
use crate::table::{extent, target};

fn terminals() -> u32 {
    extent(100_000, 3000)
}

/// For each terminal.
const WAITING: usize = 10;
/// Terminals of one message, while the million is made.
const SHARE: usize = 1000;

pub(crate) async fn measure() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path(), Timestamp::now()).expect("a store");
    let ids: Vec<TerminalId> = (0..terminals()).map(|number| terminal(number).id).collect();
    let numbers: Vec<u32> = (0..terminals()).collect();
    for some in numbers.chunks(1000) {
        let mut adding = tokio::task::JoinSet::new();
        for number in some.iter().copied() {
            let store = store.clone();
            adding.spawn(async move {
                store
                    .add_terminal(terminal(number))
                    .await
                    .expect("it is new");
            });
        }
        adding.join_all().await;
    }
    let began = Instant::now();
    store
        .accept(message(ids.clone()), Timestamp::now())
        .await
        .expect("a disk");
    let seconds = began.elapsed().as_secs_f64();
    let what = format!(
        "one message of 1000 octets for {} terminals, on the disk",
        terminals()
    );
    target(
        what,
        "under 2 s, content stored once",
        format!("{seconds:.2} s"),
        seconds < 2.0,
    );

    for _ in 1..WAITING {
        for some in ids.chunks(SHARE) {
            store
                .accept(message(some.to_vec()), Timestamp::now())
                .await
                .expect("a disk");
        }
    }
    drop(store);
    let began = Instant::now();
    let store = Store::open(folder.path(), Timestamp::now()).expect("a store");
    let due = store.terminals_due().await.expect("a disk").len();
    let seconds = began.elapsed().as_secs_f64();
    assert_eq!(due, ids.len());
    let waiting = WAITING * ids.len();
    let what = format!(
        "start with {waiting} envelopes waiting for {due} terminals, until all that is due is known"
    );
    target(what, "under 3 s", format!("{seconds:.2} s"), seconds < 3.0);
}
