//! Whole sessions over a line of 33600 bit/s under virtual time: what passes what, and what it costs in octets.

#![allow(
    clippy::unwrap_used,
    reason = "clippy takes the helpers of a test for no test"
)]

mod line;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use ringup_delivery::proof::Secured;
use ringup_delivery::{
    Arrival, ContentType, Courier, Digest, Due, Inbox, ItemAnswer, Manner, MessageHead, MessageId,
    Outbox, Outgoing, Parcel, Plan, Progress, Receipt, Said, Step, StoreError, Stored, Urgency,
    receive, write_item_head,
};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use line::{Crossed, SECOND_OCTETS, line};

/// Keeps what comes, and tells what crossed the line until then.
struct Shelf {
    crossed: Arc<Crossed>,
    /// In the order of their ends.
    stored: Mutex<Vec<(MessageId, u64)>>,
    began: mpsc::UnboundedSender<MessageId>,
}

impl Inbox for Shelf {
    async fn store(&self, arrival: Arrival, mut content: Incoming) -> Result<Stored, StoreError> {
        let mut size = 0;
        while let Some(frame) = content.frame().await {
            if size == 0 {
                let _ = self.began.send(arrival.id);
            }
            size += frame
                .map_err(|_| StoreError::Cut)?
                .data_ref()
                .map_or(0, Bytes::len) as u64;
        }
        assert_eq!(size, arrival.size);
        self.stored
            .lock()
            .unwrap()
            .push((arrival.id, self.crossed.to_terminal()));
        Ok(Stored::Now)
    }

    async fn progress(&self, _id: MessageId) -> Progress {
        Progress::Nothing
    }
}

/// A gauge with a hundred readings, and those of which the server has said that it has them.
struct Gauge {
    items: Vec<Bytes>,
    settled: Mutex<Vec<MessageId>>,
}

impl Gauge {
    fn new() -> Self {
        let said = Said::Message(Outgoing {
            to: vec!["terminal:owner".into()],
            content_type: ContentType::octets(),
            urgency: Urgency::Normal,
            expires_at: None,
            topic: None,
            replace_key: None,
        });
        let item = |reading: u8| {
            let head = write_item_head(MessageId::now(), 100, &said).unwrap();
            Bytes::from([head, vec![reading; 100]].concat())
        };
        Self {
            items: (0..100).map(item).collect(),
            settled: Mutex::default(),
        }
    }
}

impl Inbox for Gauge {
    async fn store(&self, _: Arrival, _: Incoming) -> Result<Stored, StoreError> {
        Err(StoreError::Reused)
    }

    async fn progress(&self, _: MessageId) -> Progress {
        Progress::Nothing
    }

    fn outbox(&self) -> Option<&dyn Outbox> {
        Some(self)
    }
}

impl Outbox for Gauge {
    fn waits(&self) -> bool {
        true
    }

    fn read(&self) -> mpsc::Receiver<io::Result<Bytes>> {
        let (sender, receiver) = mpsc::channel(self.items.len());
        self.items
            .iter()
            .for_each(|item| sender.try_send(Ok(item.clone())).unwrap());
        receiver
    }

    fn settle(&self, id: MessageId, answer: ItemAnswer) -> Result<(), StoreError> {
        assert_eq!(answer, ItemAnswer::Accepted);
        self.settled.lock().unwrap().push(id);
        Ok(())
    }
}

struct Session {
    courier: Courier,
    shelf: Arc<Shelf>,
    crossed: Arc<Crossed>,
    /// Messages of which the first octets have come.
    began: mpsc::UnboundedReceiver<MessageId>,
}

/// Begins a session; on return the server is proved.
async fn begin(
    near: Secured<DuplexStream>,
    far: Secured<DuplexStream>,
    terminal: Arc<impl Inbox>,
) -> Courier {
    tokio::spawn(receive(far, terminal, None, Duration::from_secs(30)));
    let mut proof = near.proof();
    let courier = Courier::start(near, None).await.unwrap();
    proof.wait().await.unwrap();
    courier
}

async fn session() -> Session {
    let (near, far, crossed) = line();
    let (tell, began) = mpsc::unbounded_channel();
    let shelf = Arc::new(Shelf {
        crossed: crossed.clone(),
        stored: Mutex::default(),
        began: tell,
    });
    let courier = begin(near, far, shelf.clone()).await;
    Session {
        courier,
        shelf,
        crossed,
        began,
    }
}

/// Random octets, for which nothing can be saved.
fn message(urgency: Urgency, size: usize) -> Parcel {
    let id = MessageId::now();
    let mut seed = Digest::of(id.to_string().as_bytes());
    let mut content = Vec::new();
    while content.len() < size {
        seed = Digest::of(&seed.octets());
        content.extend_from_slice(&seed.octets());
    }
    content.truncate(size);
    let head = MessageHead {
        id,
        content_type: "text/plain".parse::<ContentType>().unwrap(),
        digest: Digest::of(&content),
        size: size as u64,
    };
    Parcel::new(
        head,
        Manner {
            urgency,
            ..Manner::default()
        },
        Bytes::from(content),
    )
}

#[tokio::test(start_paused = true)]
async fn an_urgent_message_passes_a_large_one_within_a_second_of_line() {
    let Session {
        mut courier,
        shelf,
        crossed,
        mut began,
    } = session().await;
    let mut most = 0;
    // Handed in at moments all over the course of portions and records.
    for moment in 0..20 {
        for size in [1, 1_000, 5_000] {
            let bulk = message(Urgency::Bulk, 20_000);
            let receipt = tokio::spawn(courier.deliver(&bulk, 0, false));
            while began.recv().await != Some(bulk.head().id) {}
            crossed.wait_for(crossed.to_terminal() + moment * 173).await;
            let urgent = message(Urgency::Urgent, size);
            let before = crossed.to_terminal();
            assert_eq!(
                courier.deliver(&urgent, 0, false).await.unwrap(),
                Receipt::Stored
            );
            let (id, after) = shelf.stored.lock().unwrap().last().copied().unwrap();
            assert_eq!(
                id,
                urgent.head().id,
                "it came before the end of the large one"
            );
            most = most.max(after - before - size as u64);
            assert_eq!(receipt.await.unwrap().unwrap(), Receipt::Stored);
        }
    }
    println!(
        "at most {most} octets crossed before the last of an urgent message that were not its content"
    );
    // Its own frames and records are among them: 150, and 31 for each portion.
    assert!(most <= SECOND_OCTETS + 150 + 3 * 31, "{most} octets");
}

#[tokio::test(start_paused = true)]
async fn the_order_of_what_is_under_way_is_that_of_its_urgency_and_age() {
    let Session {
        mut courier, shelf, ..
    } = session().await;
    let messages = [
        Urgency::Bulk,
        Urgency::Normal,
        Urgency::Normal,
        Urgency::Urgent,
    ]
    .map(|urgency| message(urgency, 20_000));
    let mut receipts = JoinSet::new();
    messages
        .iter()
        .for_each(|parcel| drop(receipts.spawn(courier.deliver(parcel, 0, false))));
    while let Some(receipt) = receipts.join_next().await {
        receipt.unwrap().unwrap();
    }
    let stored: Vec<_> = shelf
        .stored
        .lock()
        .unwrap()
        .iter()
        .map(|(id, _)| *id)
        .collect();
    assert_eq!(
        stored,
        [3, 1, 2, 0].map(|index: usize| messages[index].head().id)
    );
}

#[tokio::test(start_paused = true)]
async fn a_thousand_small_messages_cost_60_octets_each_and_no_round_trips() {
    let Session {
        mut courier,
        shelf,
        crossed,
        ..
    } = session().await;
    let messages: BTreeMap<_, _> = (0..1_000)
        .map(|_| message(Urgency::Normal, 100))
        .map(|parcel| (parcel.head().id, parcel))
        .collect();
    let mut plan = Plan::default();
    plan.proved();
    plan.add(messages.keys().map(|id| Due {
        urgency: Urgency::Normal,
        id: *id,
        size: 100,
    }));
    let before = (
        crossed.to_terminal(),
        crossed.to_server(),
        crossed.idle_ticks(),
    );
    let mut receipts = JoinSet::new();
    loop {
        while let Step::Deliver(Due { id, .. }) = plan.step() {
            let receipt = courier.deliver(&messages[&id], 0, false);
            receipts.spawn(async move { (id, receipt.await.unwrap()) });
        }
        let Some(received) = receipts.join_next().await else {
            break;
        };
        plan.settled(received.unwrap().0);
    }
    assert_eq!(shelf.stored.lock().unwrap().len(), 1_000);
    let there = (crossed.to_terminal() - before.0 - 100_000) as f64 / 1_000.0;
    let back = (crossed.to_server() - before.1) as f64 / 1_000.0;
    let idle = crossed.idle_ticks() - before.2;
    println!(
        "a message of 100 octets: {there:.1} octets besides, and {back:.1} back; the line was idle for {idle} ticks"
    );
    assert!(there <= 60.0 && back <= 60.0, "{there} there, {back} back");
    assert!(idle <= 50, "{idle} ticks");
}

#[tokio::test(start_paused = true)]
async fn what_a_terminal_has_to_say_costs_no_round_trip_an_item() {
    let gauge = Arc::new(Gauge::new());
    let (near, far, crossed) = line();
    let mut courier = begin(near, far, gauge.clone()).await;
    let before = (crossed.to_terminal(), crossed.to_server());
    let began = Instant::now();
    let mut reader = courier.outbox().await.unwrap().unwrap();
    let mut answers = JoinSet::new();
    while let Some(head) = reader.next().await.unwrap() {
        let mut left = head.size;
        while left > 0 {
            left -= reader.chunk(left).await.unwrap().len() as u64;
        }
        answers.spawn(reader.settle(head.id, &ItemAnswer::Accepted));
    }
    while let Some(answer) = answers.join_next().await {
        assert!(answer.unwrap().unwrap(), "it has noted it");
    }
    let line_time =
        Duration::from_secs(crossed.to_server() - before.1) / u32::try_from(SECOND_OCTETS).unwrap();
    assert_eq!(gauge.settled.lock().unwrap().len(), 100);
    let there = (crossed.to_server() - before.1 - 100 * 100) as f64 / 100.0;
    let back = (crossed.to_terminal() - before.0) as f64 / 100.0;
    println!(
        "an item of 100 octets: {there:.1} octets besides, and {back:.1} back, in {:?}",
        began.elapsed()
    );
    assert!(there <= 110.0 && back <= 45.0, "{there} there, {back} back");
    assert!(
        began.elapsed() < line_time + Duration::from_secs(1),
        "{:?} for {line_time:?} of line",
        began.elapsed()
    );
}
