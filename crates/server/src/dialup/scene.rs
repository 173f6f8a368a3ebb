//! For tests: the lines' shared rooms around a store of their own, and far ends of every kind.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use delivery::proof::{EnrolmentSecret, SecretKey, Secured, TerminalCredentials};
use delivery::{
    Arrival, Digest, Enrolment, Inbox, MessageHead, MessageId, Progress, ReceiveError,
    StoreError as InboxError, Stored, TerminalId, receive,
};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use jiff::{Timestamp, ToSpan as _};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{AddressPool, DialUp, LinkSettings, Report, Rooms, Shared};
use crate::alarms::{AlarmConfig, Alarms};
use crate::ingest::http::Submissions;
use crate::intake::Intake;
use crate::keys::ServerKeys;
use crate::metrics::Metrics;
use model::directory::{Connection, Terminal, TrustedBy};
use store::{Handling, NewMessage, Store};

pub(crate) struct Scene {
    _folder: TempDir,
    pub(crate) store: Store,
    pub(crate) keys: ServerKeys,
    pub(crate) dialup: DialUp,
    pub(crate) reports: mpsc::Receiver<Report>,
    pub(crate) tasks: JoinSet<()>,
}

/// What came to a terminal.
#[derive(Debug, Default)]
pub(crate) struct Shelf(pub(crate) Mutex<Vec<MessageId>>);

impl Inbox for Shelf {
    async fn store(&self, arrival: Arrival, content: Incoming) -> Result<Stored, InboxError> {
        content.collect().await.map_err(|_| InboxError::Cut)?;
        self.0.lock().unwrap().push(arrival.id);
        Ok(Stored::Now)
    }

    async fn progress(&self, _id: MessageId) -> Progress {
        Progress::Nothing
    }
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::believing(false).await
    }

    /// Whether a terminal is believed that nothing but its number proves.
    pub(crate) async fn believing(number_only: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Timestamp::now()).unwrap();
        let keys = ServerKeys::open(folder.path(), store.clone()).unwrap();
        let (metrics, shutdown, mut tasks) =
            (Metrics::default(), CancellationToken::new(), JoinSet::new());
        let config = AlarmConfig::default();
        let alarms = Alarms::start(
            store.clone(),
            config,
            metrics.clone(),
            shutdown.clone(),
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
        let submissions = Submissions::new(intake.clone(), store.clone(), metrics.clone());
        let rooms = Rooms {
            store: store.clone(),
            keys: keys.clone(),
            submissions,
            intake,
            alarms,
            metrics,
        };
        let address = Ipv4Addr::new(10, 77, 0, 1);
        let link_pool = AddressPool::new(address, address).unwrap();
        let settings = LinkSettings {
            address,
            pool: link_pool,
            home: None,
            capture: None,
            tun: None,
            number_only,
        };
        let (sender, reports) = mpsc::channel(1000);
        let shared = Shared::new(settings, rooms, sender, shutdown);
        let dialup = DialUp::start(shared, Vec::new(), Vec::new(), &mut tasks);
        Self {
            _folder: folder,
            store,
            keys,
            dialup,
            reports,
            tasks,
        }
    }

    /// From here on the store writes nothing.
    pub(crate) fn lose_folder(&self) {
        std::fs::remove_dir_all(self._folder.path()).unwrap();
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.dialup.shared
    }

    pub(crate) async fn terminal(&self, number: u8) -> Terminal {
        let terminal = Terminal {
            id: TerminalId::from_octets([number; 8]),
            name: format!("terminal-{number}").parse().unwrap(),
            number: Some(format!("3{number:02}").parse().unwrap()),
            address: None,
            trusted_by: TrustedBy::default(),
            connection: Connection::Down,
        };
        self.store.add_terminal(terminal.clone()).await.unwrap();
        terminal
    }

    pub(crate) async fn invite(&self, terminal: TerminalId, secret: u8) -> EnrolmentSecret {
        let secret = EnrolmentSecret::from_octets([secret; 32]);
        self.store
            .invite(terminal, secret.clone(), Timestamp::now() + 1.hour())
            .await
            .unwrap();
        secret
    }

    /// A terminal that is enrolled, with its key.
    pub(crate) async fn enrolled(&self, number: u8) -> (Terminal, SecretKey) {
        let (terminal, key) = (self.terminal(number).await, SecretKey::generate().unwrap());
        self.store
            .register(terminal.id, key.public(), Timestamp::now())
            .await
            .unwrap();
        (terminal, key)
    }

    pub(crate) async fn accept(&self, terminal: TerminalId) -> MessageId {
        let content = Bytes::from_static(b"coin box full");
        let head = MessageHead {
            id: MessageId::now(),
            content_type: "text/plain".parse().unwrap(),
            digest: Digest::of(&content),
            size: content.len() as u64,
        };
        let (id, provider, handling) = (head.id, "vending".parse().unwrap(), Handling::default());
        let (content, terminals) = (content.into(), vec![terminal]);
        let message = NewMessage {
            head,
            provider,
            content,
            terminals,
            subscribers: None,
            handling,
        };
        self.store.accept(message, Timestamp::now()).await.unwrap();
        id
    }

    /// A far end's stream, with this key: it is not yet proved.
    pub(crate) fn secure<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        key: &SecretKey,
    ) -> Secured<S> {
        let credentials = TerminalCredentials::new(key, self.keys.public(), None).unwrap();
        credentials.secure(stream, 1_000_000).unwrap()
    }

    /// A terminal that receives, and stays for this time when nothing more waits.
    pub(crate) fn receive<S>(
        &self,
        stream: S,
        key: &SecretKey,
        secret: Option<EnrolmentSecret>,
        linger: Duration,
    ) -> (Arc<Shelf>, JoinSet<Result<(), ReceiveError>>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (shelf, mut tasks) = (Arc::new(Shelf::default()), JoinSet::new());
        let enrolment = secret.map(|secret| Enrolment {
            secret,
            key: key.public(),
        });
        tasks.spawn(receive(
            self.secure(stream, key),
            shelf.clone(),
            enrolment,
            linger,
        ));
        (shelf, tasks)
    }

    /// The next report that is about a terminal.
    pub(crate) async fn report(&mut self) -> Report {
        self.reports.recv().await.unwrap()
    }
}
