//! A server and a terminal that deliver to each other in memory.

use super::*;

/// What a terminal does with what comes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Habit {
    Stores,
    /// It says that it unpacks, and does not.
    CannotUnpack,
    /// The first so many; with the others it never comes to an end.
    StoresOnly(usize),
    /// It stores, and its receipts never come.
    GivesNoReceipts,
    /// It does not take messages of more than so many octets.
    RefusesAbove(usize, StatusCode),
}

pub(super) struct Shelf {
    pub(super) habit: Habit,
    /// From now on its receipts come.
    pub(super) is_mended: AtomicBool,
    pub(super) began: Mutex<Vec<MessageId>>,
    /// What it was asked about.
    pub(super) asked: Mutex<Vec<MessageId>>,
    pub(super) stored: Mutex<Vec<(MessageId, Bytes)>>,
    pub(super) is_complete: AtomicBool,
    /// Something has begun to come.
    pub(super) news: Notify,
    /// What it says when it is asked, each time; and what it is answered.
    pub(super) says: Mutex<VecDeque<Vec<u8>>>,
    pub(super) answered: Mutex<Vec<(MessageId, ItemAnswer)>>,
}

impl delivery::Outbox for Shelf {
    fn waits(&self) -> bool {
        !self.says.lock().unwrap().is_empty()
    }

    fn read(&self) -> mpsc::Receiver<std::io::Result<Bytes>> {
        let (sender, octets) = mpsc::channel(1);
        let said = self.says.lock().unwrap().pop_front();
        said.into_iter()
            .for_each(|said| sender.try_send(Ok(said.into())).unwrap());
        octets
    }

    fn settle(&self, id: MessageId, answer: ItemAnswer) -> Result<(), InboxError> {
        self.answered.lock().unwrap().push((id, answer));
        Ok(())
    }
}

impl Inbox for Shelf {
    async fn store(&self, arrival: Arrival, content: Incoming) -> Result<Stored, InboxError> {
        let content = content
            .collect()
            .await
            .map_err(|_| InboxError::Cut)?
            .to_bytes();
        let nth = {
            let mut began = self.began.lock().unwrap();
            began.push(arrival.id);
            began.len()
        };
        self.news.notify_one();
        match self.habit {
            Habit::CannotUnpack if arrival.is_packed => {
                return Err(EncodingError::Undeclared.into());
            }
            Habit::StoresOnly(count) if nth > count => std::future::pending().await,
            Habit::RefusesAbove(max, StatusCode::PAYLOAD_TOO_LARGE) if content.len() > max => {
                return Err(InboxError::TooLarge { quota: max as u64 });
            }
            Habit::RefusesAbove(max, _) if content.len() > max => {
                let source = std::io::ErrorKind::QuotaExceeded.into();
                return Err(InboxError::Disk {
                    operation: "keep more",
                    source,
                });
            }
            _ => {}
        }
        {
            let mut stored = self.stored.lock().unwrap();
            if stored.iter().any(|(id, _)| *id == arrival.id) {
                return Ok(Stored::Before);
            }
            stored.push((arrival.id, content));
        }
        if matches!(self.habit, Habit::GivesNoReceipts) && !self.is_mended.load(Ordering::Relaxed) {
            self.news.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(Stored::Now)
    }

    async fn progress(&self, id: MessageId) -> Progress {
        self.asked.lock().unwrap().push(id);
        let is_here = self
            .stored
            .lock()
            .unwrap()
            .iter()
            .any(|(stored, _)| *stored == id);
        if is_here {
            Progress::Whole
        } else {
            Progress::Nothing
        }
    }

    fn outbox(&self) -> Option<&dyn delivery::Outbox> {
        Some(self)
    }

    fn complete(&self) {
        self.is_complete.store(true, Ordering::Relaxed);
    }
}

/// A store with a terminal that is enrolled and has this habit, and a session with it.
pub(super) struct Scene {
    pub(super) _folder: TempDir,
    pub(super) store: Store,
    pub(super) keys: ServerKeys,
    pub(super) open: OpenSession,
    pub(super) intake: Intake,
    pub(super) alarms: Alarms,
    pub(super) _tasks: JoinSet<()>,
    pub(super) terminal: Terminal,
    pub(super) secret: SecretKey,
    pub(super) shelf: Arc<Shelf>,
    pub(super) takes_zstd: Arc<AtomicBool>,
}

impl Scene {
    pub(super) async fn new(habit: Habit) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Timestamp::now()).unwrap();
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
        let (secret, invitation) = (
            SecretKey::generate().unwrap(),
            EnrolmentSecret::from_octets([7; 32]),
        );
        store
            .invite(id, invitation.clone(), Timestamp::now() + 1.hour())
            .await
            .unwrap();
        assert!(
            store
                .enrol(id, invitation, secret.public(), Timestamp::now())
                .await
                .unwrap()
        );
        let shelf = Arc::new(Shelf {
            habit,
            is_mended: AtomicBool::new(false),
            began: Mutex::default(),
            asked: Mutex::default(),
            stored: Mutex::default(),
            is_complete: AtomicBool::new(false),
            news: Notify::new(),
            says: Mutex::default(),
            answered: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        let (config, shutdown) = (AlarmConfig::default(), CancellationToken::new());
        let alarms = Alarms::start(
            store.clone(),
            config,
            Metrics::default(),
            shutdown,
            &mut tasks,
        )
        .await
        .unwrap();
        let intake = Intake::new(
            store.clone(),
            mpsc::channel(1).0,
            alarms.clone(),
            1000,
            None,
        );
        Self {
            _folder: folder,
            store,
            open: keys.sessions().open(Whose::Terminal(id)),
            keys,
            intake,
            alarms,
            _tasks: tasks,
            terminal,
            secret,
            shelf,
            takes_zstd: Arc::default(),
        }
    }

    pub(super) async fn accept(&self, urgency: Urgency, content: impl Into<Bytes>) -> MessageId {
        let content = content.into();
        let head = MessageHead {
            id: MessageId::now(),
            content_type: "application/json".parse().unwrap(),
            digest: Digest::of(&content),
            size: content.len() as u64,
        };
        let (id, provider) = (head.id, "vending".parse().unwrap());
        let handling = Handling {
            urgency,
            ..Handling::default()
        };
        let terminals = vec![self.terminal.id];
        self.store
            .accept(
                NewMessage {
                    head,
                    provider,
                    content: content.into(),
                    terminals,
                    subscribers: None,
                    handling,
                },
                Timestamp::now(),
            )
            .await
            .unwrap();
        id
    }

    /// A session, and the terminal's end of it, which goes with its task.
    pub(super) async fn session(
        &self,
        suspects: Vec<MessageId>,
    ) -> (
        impl Future<Output = Result<Tally, Broken>> + use<>,
        JoinSet<Result<(), ReceiveError>>,
    ) {
        let (near, far) = tokio::io::duplex(2000);
        let secured = self.keys.secure(
            near,
            &self.open,
            self.terminal.id,
            KeyForm::default(),
            33_600,
        );
        let (near, candidate) = secured.await.unwrap();
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
            packing: Arc::default(),
            alarms: self.alarms.clone(),
            metrics: Metrics::default(),
            keep_alive: None,
            is_early: true,
            meter: || (0, Counters::default()),
            paid_until: || None,
        };
        (deliver(delivery, near, candidate), terminal)
    }

    pub(super) async fn verdict(&self, id: MessageId) -> Option<Verdict> {
        self.store.message(id).await.unwrap().unwrap().envelopes[0].verdict
    }

    /// A session that goes when the terminal has stored `count` messages and given no receipt; `wish` comes before that.
    pub(super) async fn lose_receipts(&self, count: usize, wish: impl AsyncFn()) {
        let (session, terminal) = self.session(vec![]).await;
        let cut = async {
            while self.shelf.stored.lock().unwrap().len() < count {
                self.shelf.news.notified().await;
            }
            wish().await;
            drop(terminal);
        };
        let (ended, ()) = tokio::join!(session, cut);
        assert!(matches!(ended, Err(Broken::Session { .. })), "{ended:?}");
    }

    pub(super) async fn waiting(&self) -> Vec<MessageId> {
        self.store
            .due(self.terminal.id, Timestamp::now())
            .await
            .unwrap()
            .into_iter()
            .map(|due| due.id)
            .collect()
    }
}
