//! Submissions beside a backup, a cleaning and a message for a hundred thousand terminals, in a store that holds much.

use std::time::{Duration, Instant};

use delivery::{MessageId, TerminalId};
use jiff::Timestamp;
use line::CallId;
use model::provider::{Provider, TokenHash};
use store::{Retention, Store};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::load::{message, terminal};
use crate::table::{extent, figure, target};

/// Messages that are over, contents and rows still there.
fn over() -> usize {
    extent(600_000, 3000)
}

/// One in as many messages is for a crowd.
const CROWD_EVERY: usize = 3000;
const CROWD: u32 = 300;

/// Terminals of one message.
fn terminals() -> u32 {
    extent(100_000, 3000)
}

/// Those that the other messages are for.
const BUSY_TERMINALS: u32 = 2000;

/// Submissions at once, one after another each.
const SUBMITTERS: usize = 4;

/// Nothing is measured for longer: a cleaning may not come to its end.
const LONGEST: Duration = Duration::from_secs(180);

pub(crate) async fn measure() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = fill(&folder.path().join("state")).await;
    let quiet = beside(&store, async {
        tokio::time::sleep(Duration::from_secs(5)).await;
    })
    .await;
    row("nothing else", &quiet, "");
    let copy = folder.path().join("copy");
    let backup = beside(&store, async {
        store.backup(copy.clone()).done().await.expect("a disk");
    })
    .await;
    row(
        &format!(
            "a backup of {} MB",
            size_of(&copy.join("ringup.db")) / 1_000_000
        ),
        &backup,
        "p99 under 20 ms",
    );
    let now = Timestamp::now;
    let day = Duration::from_secs(24 * 3600);
    let contents = Retention {
        contents: Duration::ZERO,
        rows: day,
        ..Retention::default()
    };
    let dropping = beside(&store, async {
        store
            .clean(now(), contents)
            .await
            .map(|_| ())
            .expect("a disk");
    })
    .await;
    row(
        &format!("{} contents are dropped", over()),
        &dropping,
        "p99 under 20 ms",
    );
    let nothing = beside(&store, async {
        store
            .clean(now(), contents)
            .await
            .map(|_| ())
            .expect("a disk");
    })
    .await;
    row("a cleaning with nothing left to drop", &nothing, "");
    let rows = Retention {
        contents: Duration::ZERO,
        rows: Duration::ZERO,
        ..Retention::default()
    };
    let removing = beside(&store, async {
        store.clean(now(), rows).await.map(|_| ()).expect("a disk");
    })
    .await;
    row(
        &format!("the rows of {} messages are removed", over()),
        &removing,
        "p99 under 20 ms",
    );
    let all: Vec<TerminalId> = (0..terminals()).map(|number| terminal(number).id).collect();
    let large = beside(&store, async {
        drop(
            store
                .accept(message(all), Timestamp::now())
                .await
                .expect("a disk"),
        );
    })
    .await;
    row(
        &format!("one message for {} terminals is accepted", terminals()),
        &large,
        "",
    );
}

/// A store with the terminals, and with messages that are over.
async fn fill(folder: &std::path::Path) -> Store {
    let store = Store::open(folder, Timestamp::now()).expect("a store");
    let provider = Provider {
        name: "vending".parse().expect("a name"),
        number: None,
        may_send: Vec::new(),
        is_disabled: false,
    };
    store
        .add_provider(provider, TokenHash::of("x"))
        .await
        .expect("it is new");
    let numbers: Vec<u32> = (0..terminals()).collect();
    in_crowds(&store, numbers, |store, number| async move {
        store
            .add_terminal(terminal(number))
            .await
            .expect("it is new");
    })
    .await;
    let began = Instant::now();
    in_crowds(&store, (0..over()).collect(), |store, number| async move {
        let first = u32::try_from(number).expect("not many") % BUSY_TERMINALS;
        let count = if number % CROWD_EVERY == 0 { CROWD } else { 1 };
        let terminals: Vec<_> = (first..first + count)
            .map(|number| terminal(number).id)
            .collect();
        let new = message(terminals);
        let id = new.head.id;
        store.accept(new, Timestamp::now()).await.expect("a disk");
        settle(&store, id, first, count).await;
    })
    .await;
    eprintln!(
        "{} messages made and settled in {:.0} s",
        over(),
        began.elapsed().as_secs_f64()
    );
    store
}

async fn settle(store: &Store, id: MessageId, first: u32, count: u32) {
    match count {
        1 => {
            store
                .delivered(id, terminal(first).id, CallId::now(), Timestamp::now())
                .await
                .expect("a disk");
        }
        _ => drop(
            store
                .cancel(id, None, "over", Timestamp::now())
                .await
                .expect("a disk"),
        ),
    }
}

/// Does something with each, many at once.
async fn in_crowds<T, F, R>(store: &Store, all: Vec<T>, work: F)
where
    T: Send + Clone + 'static,
    F: Fn(Store, T) -> R + Copy,
    R: Future<Output = ()> + Send + 'static,
{
    for some in all.chunks(2000) {
        let mut working = JoinSet::new();
        for one in some {
            working.spawn(work(store.clone(), one.clone()));
        }
        working.join_all().await;
    }
}

struct Beside {
    /// Seconds of each submission, sorted.
    times: Vec<f64>,
    took: f64,
    is_cut_short: bool,
}

/// Submits until the work is done.
async fn beside(store: &Store, work: impl Future<Output = ()>) -> Beside {
    let (over, began) = (CancellationToken::new(), Instant::now());
    let mut submitting = JoinSet::new();
    for submitter in 0..SUBMITTERS {
        let (store, over) = (store.clone(), over.clone());
        submitting.spawn(async move {
            let mut times = Vec::new();
            let mut number = u32::try_from(submitter).expect("a few");
            // The work has done something by then.
            while !over.is_cancelled() || times.is_empty() {
                let at = Instant::now();
                store
                    .accept(
                        message(vec![terminal(number % BUSY_TERMINALS).id]),
                        Timestamp::now(),
                    )
                    .await
                    .expect("a disk");
                times.push(at.elapsed().as_secs_f64());
                number += 4;
                // As a network would.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            times
        });
    }
    let is_cut_short = tokio::time::timeout(LONGEST, work).await.is_err();
    let took = began.elapsed().as_secs_f64();
    over.cancel();
    let mut times: Vec<f64> = submitting.join_all().await.into_iter().flatten().collect();
    times.sort_by(f64::total_cmp);
    Beside {
        times,
        took,
        is_cut_short,
    }
}

fn row(
    what: &str,
    Beside {
        times,
        took,
        is_cut_short,
    }: &Beside,
    wanted: &str,
) {
    let at = |percent: usize| 1000.0 * times[(times.len() * percent / 100).min(times.len() - 1)];
    let (p50, p99, worst) = (at(50), at(99), at(100));
    let rate = times.len() as f64 / took;
    let cut = if *is_cut_short { " (cut short)" } else { "" };
    let what = format!("submissions while {what}: {took:.1} s{cut}");
    let measured = format!("{rate:.0}/s, p50 {p50:.1} ms, p99 {p99:.1} ms, worst {worst:.0} ms");
    match wanted {
        "" => figure(what, measured),
        _ => target(what, wanted, measured, p99 < 20.0 && !is_cut_short),
    }
}

fn size_of(path: &std::path::Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}
