use std::sync::Mutex;

use bytes::Bytes;
use delivery::proof::{EnrolmentSecret, KeyForm, SecretKey, TerminalCredentials};
use delivery::{
    Arrival, Digest, EncodingError, Inbox, MessageHead, ReceiveError, StoreError as InboxError, Stored, TerminalId,
    Urgency, receive,
};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use jiff::{Timestamp, ToSpan as _};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::alarms::{AlarmConfig, Alarms};
use crate::directory::{Connection, TrustedBy};
use crate::store::{Handling, NewMessage};

/// What a terminal does with what comes.
#[derive(Debug, Clone, Copy)]
enum Habit {
    Stores,
    /// It says that it unpacks, and does not.
    CannotUnpack,
    /// The first so many; with the others it never comes to an end.
    StoresOnly(usize),
}

struct Shelf {
    habit: Habit,
    began: Mutex<Vec<MessageId>>,
    stored: Mutex<Vec<(MessageId, Bytes)>>,
    is_complete: AtomicBool,
    /// Something has begun to come.
    news: Notify,
}

impl Inbox for Shelf {
    async fn store(&self, arrival: Arrival, content: Incoming) -> Result<Stored, InboxError> {
        let content = content.collect().await.map_err(|_| InboxError::Cut)?.to_bytes();
        let nth = {
            let mut began = self.began.lock().unwrap();
            began.push(arrival.id);
            began.len()
        };
        self.news.notify_one();
        match self.habit {
            Habit::CannotUnpack if arrival.is_packed => return Err(EncodingError::Undeclared.into()),
            Habit::StoresOnly(count) if nth > count => std::future::pending().await,
            _ => {}
        }
        self.stored.lock().unwrap().push((arrival.id, content));
        Ok(Stored::Now)
    }

    async fn progress(&self, _id: MessageId) -> Progress {
        Progress::Nothing
    }

    fn complete(&self) {
        self.is_complete.store(true, Ordering::Relaxed);
    }
}

/// A store with a terminal that is enrolled and has this habit, and a session with it.
struct Scene {
    _folder: TempDir,
    store: Store,
    keys: ServerKeys,
    intake: Intake,
    _tasks: JoinSet<()>,
    terminal: Terminal,
    secret: SecretKey,
    shelf: Arc<Shelf>,
    takes_zstd: Arc<AtomicBool>,
}

impl Scene {
    async fn new(habit: Habit) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let keys = ServerKeys::open(folder.path(), store.clone()).unwrap();
        let id = TerminalId::from_octets([1; 8]);
        let connection = Connection::Down;
        let terminal = Terminal {
            id,
            name: "owner".parse().unwrap(),
            number: None,
            address: None,
            trusted_by: TrustedBy::default(),
            connection,
        };
        store.add_terminal(terminal.clone()).await.unwrap();
        let (secret, invitation) = (SecretKey::generate().unwrap(), EnrolmentSecret::from_octets([7; 32]));
        store.invite(id, invitation.clone(), Timestamp::now() + 1.hour()).await.unwrap();
        assert!(store.enrol(id, invitation, secret.public()).await.unwrap());
        let shelf = Arc::new(Shelf {
            habit,
            began: Mutex::default(),
            stored: Mutex::default(),
            is_complete: AtomicBool::new(false),
            news: Notify::new(),
        });
        let mut tasks = JoinSet::new();
        let (config, shutdown) = (AlarmConfig::default(), CancellationToken::new());
        let alarms = Alarms::start(store.clone(), config, Metrics::default(), shutdown, &mut tasks).await.unwrap();
        let intake = Intake::new(store.clone(), mpsc::channel(1).0, alarms, 1000, None);
        Self {
            _folder: folder,
            store,
            keys,
            intake,
            _tasks: tasks,
            terminal,
            secret,
            shelf,
            takes_zstd: Arc::default(),
        }
    }

    async fn accept(&self, urgency: Urgency, content: impl Into<Bytes>) -> MessageId {
        let content = content.into();
        let head = MessageHead {
            id: MessageId::now(),
            content_type: "application/json".parse().unwrap(),
            digest: Digest::of(&content),
            size: content.len() as u64,
        };
        let (id, provider) = (head.id, "vending".parse().unwrap());
        let handling = Handling { urgency, ..Handling::default() };
        let terminals = vec![self.terminal.id];
        self.store
            .accept(NewMessage { head, provider, content, terminals, subscribers: None, handling })
            .await
            .unwrap();
        id
    }

    /// A session, and the terminal's end of it, which goes with its task.
    async fn session(
        &self,
        suspects: Vec<MessageId>,
    ) -> (impl Future<Output = Result<Tally, Broken>> + use<>, JoinSet<Result<(), ReceiveError>>) {
        let (near, far) = tokio::io::duplex(2000);
        let (near, trust) = self.keys.secure(near, self.terminal.id, KeyForm::default(), 33_600).await.unwrap();
        let credentials = TerminalCredentials::new(&self.secret, self.keys.public(), None).unwrap();
        let far = credentials.secure(far, 33_600).unwrap();
        let mut terminal = JoinSet::new();
        terminal.spawn(receive(far, self.shelf.clone(), None, Duration::ZERO));
        let delivery = Delivery {
            terminal: self.terminal.clone(),
            call: CallId::now(),
            store: self.store.clone(),
            intake: self.intake.clone(),
            keys: self.keys.clone(),
            due: Arc::default(),
            suspects,
            takes_zstd: self.takes_zstd.clone(),
            metrics: Metrics::default(),
            keep_alive: None,
            meter: || (0, Counters::default()),
            paid_until: || None,
        };
        (deliver(delivery, near, trust), terminal)
    }

    async fn waiting(&self) -> Vec<MessageId> {
        self.store.due(self.terminal.id).await.unwrap().into_iter().map(|due| due.id).collect()
    }
}

#[tokio::test]
async fn many_messages_end_the_call_with_the_last_receipt_and_both_ends_know() {
    let scene = Scene::new(Habit::Stores).await;
    for n in 0..200 {
        scene.accept(Urgency::ALL[n % 3], format!("message {n}")).await;
    }
    let (session, mut terminal) = scene.session(vec![]).await;
    assert_eq!(session.await.unwrap(), Tally { delivered: 200, refused: 0, hang_up: true });
    assert_eq!(scene.waiting().await, []);
    assert!(terminal.join_next().await.unwrap().unwrap().is_ok(), "the terminal knows that it was the last");
    assert!(scene.shelf.is_complete.load(Ordering::Relaxed));
    assert_eq!(scene.shelf.stored.lock().unwrap().len(), 200);
}

#[tokio::test]
async fn what_a_terminal_does_not_unpack_goes_as_it_is_in_the_same_session() {
    let scene = Scene::new(Habit::CannotUnpack).await;
    scene.takes_zstd.store(true, Ordering::Relaxed);
    let content = Bytes::from("{\"meter\":17,\"kwh\":4711}\n".repeat(100));
    let id = scene.accept(Urgency::Normal, content.clone()).await;
    let (session, _terminal) = scene.session(vec![]).await;
    let Tally { delivered, refused, .. } = session.await.unwrap();
    assert_eq!((delivered, refused), (1, 0));
    assert_eq!(*scene.shelf.began.lock().unwrap(), [id, id], "packed, then not");
    assert_eq!(*scene.shelf.stored.lock().unwrap(), [(id, content)]);
}

#[tokio::test]
async fn a_terminal_that_says_that_it_unpacks_is_packed_for_from_its_second_message_on() {
    let scene = Scene::new(Habit::Stores).await;
    let content = "{\"meter\":17,\"kwh\":4711}\n".repeat(100);
    for is_known in [false, true] {
        assert_eq!(scene.takes_zstd.load(Ordering::Relaxed), is_known);
        let id = scene.accept(Urgency::Normal, content.clone()).await;
        let (session, _terminal) = scene.session(vec![]).await;
        session.await.unwrap();
        let stored = scene.shelf.stored.lock().unwrap().last().cloned().unwrap();
        assert_eq!((stored.0, stored.1.len() < content.len()), (id, is_known));
    }
}

#[tokio::test]
async fn a_session_that_breaks_names_what_was_under_way_and_not_what_was_received() {
    let scene = Scene::new(Habit::StoresOnly(1)).await;
    let mut accepted = Vec::new();
    for n in 0..4 {
        accepted.push(scene.accept(Urgency::Normal, format!("message {n}")).await);
    }
    let (session, terminal) = scene.session(vec![]).await;
    let cut = async {
        while scene.shelf.began.lock().unwrap().len() < 4 || scene.waiting().await.len() == 4 {
            tokio::task::yield_now().await;
        }
        drop(terminal);
    };
    let (ended, ()) = tokio::join!(session, cut);
    let Err(Broken::Session { under_way: Some(UnderWay { mut messages, received_before }), .. }) = ended else {
        panic!("{ended:?}");
    };
    messages.sort_unstable();
    assert_eq!((messages, received_before), (scene.waiting().await, 1));
    assert_eq!(scene.waiting().await.len(), 3);
}

#[tokio::test]
async fn suspects_come_one_at_a_time_behind_all_others() {
    let scene = Scene::new(Habit::StoresOnly(4)).await;
    let mut accepted = Vec::new();
    for n in 0..6 {
        accepted.push(scene.accept(Urgency::Normal, format!("message {n}")).await);
    }
    let suspects = vec![accepted[1], accepted[0], accepted[2]];
    let (session, terminal) = scene.session(suspects.clone()).await;
    let cut = async {
        while scene.shelf.began.lock().unwrap().len() < 5 {
            scene.shelf.news.notified().await;
        }
        drop(terminal);
    };
    let (ended, ()) = tokio::join!(session, cut);
    let Err(Broken::Session { under_way: Some(UnderWay { messages, received_before }), .. }) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!((messages, received_before), (vec![accepted[0]], 4), "it was alone");
    let mut first: Vec<_> = scene.shelf.stored.lock().unwrap().iter().map(|(id, _)| *id).collect();
    first[..3].sort_unstable();
    assert_eq!(first, [&accepted[3..], &suspects[..1]].concat());
}
