//! Opens the rooms of a server, one after the other.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use delivery::TerminalId;
use jiff::Timestamp;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Config, ServeError, operator_socket};
use crate::alarms::Alarms;
use crate::bounces::{self, BounceConfig};
use crate::descriptors::Descriptors;
use crate::dialup::{DialUp, RemoteLine, Shared};
use crate::ingest::feeds::{self, FeedConfig, Feeds};
use crate::ingest::http::Submissions;
use crate::ingest::mail::{self, MailConfig};
use crate::intake::Intake;
use crate::metrics::Metrics;
use crate::operator;
use crate::outward::post::Post;
use crate::scrape;
use crate::trunk::information::{self, Pop};
use crate::upkeep;
use crate::webhooks;
use model::alarm::AlarmKind;
use store::{CallAway, Store, StoreError};

/// What the rooms share.
pub(super) struct Opening {
    pub(super) store: Store,
    pub(super) alarms: Alarms,
    pub(super) metrics: Metrics,
    pub(super) tasks: JoinSet<()>,
    state: PathBuf,
    shutdown: CancellationToken,
    descriptors: Descriptors,
    /// Listeners that share the descriptors for connections.
    listeners: usize,
}

impl Opening {
    /// The store and the alarms, without alarms about what the config does not have any more.
    pub(super) async fn begin(
        config: &Config,
        shutdown: CancellationToken,
    ) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Store {
            path: config.state.clone(),
            source,
        };
        let store = Store::open(&config.state, Timestamp::now()).map_err(failed)?;
        let store = store
            .with_quotas(config.quotas)
            .with_refusals(config.refusals);
        // What the store has open is not free.
        let descriptors = Descriptors::of_process(config.lines.len());
        let listeners = [
            config.submission_listen,
            config.mail.as_ref().map(|mail| mail.listen),
            config.metrics_listen,
        ];
        let others = listeners
            .iter()
            .chain([&config.trunk_listen])
            .flatten()
            .count();
        // Terminals stay, all others come and go.
        let listeners = others + 2 * usize::from(config.delivery_listen.is_some());
        let (metrics, mut tasks) = (Metrics::default(), JoinSet::new());
        let alarms = Alarms::start(
            store.clone(),
            config.alarm.clone(),
            metrics.clone(),
            shutdown.clone(),
            &mut tasks,
        )
        .await;
        let alarms = alarms.map_err(failed)?;
        alarms
            .keep(AlarmKind::LineOutOfOrder, config.line_names())
            .await;
        // What made a line suspect is not known any more: if it still does, it will again.
        alarms.keep(AlarmKind::LineSuspect, BTreeSet::new()).await;
        alarms
            .keep(
                AlarmKind::Feed,
                config
                    .feeds
                    .iter()
                    .map(|feed| feed.url.to_string())
                    .collect(),
            )
            .await;
        let server_names: BTreeSet<_> = config
            .dialup_servers
            .iter()
            .map(|server| server.name.to_string())
            .collect();
        alarms
            .keep(AlarmKind::DialupServerLost, server_names.clone())
            .await;
        alarms.keep(AlarmKind::DialupServerLies, server_names).await;
        if config.mail.is_none() {
            alarms.keep(AlarmKind::MailProvider, BTreeSet::new()).await;
        }
        let state = config.state.clone();
        Ok(Self {
            store,
            alarms,
            metrics,
            tasks,
            state,
            shutdown,
            descriptors,
            listeners,
        })
    }

    fn seats(&self) -> usize {
        self.descriptors.share(self.listeners)
    }

    /// The door of all submissions, and the upkeep behind it.
    pub(super) fn intake(&mut self, config: &Config, due: mpsc::Sender<Vec<TerminalId>>) -> Intake {
        let (store, alarms, shutdown) = (
            self.store.clone(),
            self.alarms.clone(),
            self.shutdown.clone(),
        );
        self.tasks.spawn(upkeep::keep(
            store.clone(),
            config.retention,
            due.clone(),
            shutdown.clone(),
        ));
        self.tasks.spawn(webhooks::tell(
            store.clone(),
            Post::default(),
            alarms.clone(),
            self.metrics.clone(),
            shutdown,
        ));
        Intake::new(store, due, alarms, config.submission_size_max, config.home)
    }

    pub(super) async fn feeds(&mut self, feeds: Vec<FeedConfig>, intake: &Intake) -> Feeds {
        let feeds = Feeds::new(feeds);
        self.tasks.spawn(feeds::read(
            feeds.clone(),
            intake.clone(),
            self.store.clone(),
            self.alarms.clone(),
            self.metrics.clone(),
            self.shutdown.clone(),
        ));
        feeds
    }

    pub(super) async fn mail(
        &mut self,
        mail: Option<MailConfig>,
        intake: &Intake,
    ) -> Result<(), ServeError> {
        let Some(mail) = mail else { return Ok(()) };
        let (store, metrics, shutdown) = (
            self.store.clone(),
            self.metrics.clone(),
            self.shutdown.clone(),
        );
        if let Some(relay) = mail.relay.clone() {
            let domain = mail
                .domains
                .first()
                .cloned()
                .unwrap_or_else(|| mail.hostname.clone());
            let bounces = BounceConfig {
                relay,
                hostname: mail.hostname.clone(),
                domain,
            };
            let alarms = self.alarms.clone();
            self.tasks.spawn(bounces::tell(
                store.clone(),
                bounces,
                alarms,
                metrics.clone(),
                shutdown.clone(),
            ));
        }
        let (listener, address) = bind(mail.listen, "mail.listen").await?;
        tracing::info!(%address, "taking mail");
        let seats = self.seats();
        self.tasks.spawn(mail::serve(
            listener,
            seats,
            mail,
            intake.clone(),
            store,
            metrics,
            shutdown,
        ));
        Ok(())
    }

    pub(super) async fn submissions(
        &mut self,
        config: &Config,
        intake: &Intake,
    ) -> Result<Submissions, ServeError> {
        let submissions =
            Submissions::new(intake.clone(), self.store.clone(), self.metrics.clone());
        if let Some(address) = config.submission_listen {
            let (listener, address) = bind(address, "submission.listen").await?;
            tracing::info!(%address, "taking submissions");
            let (submissions, seats, shutdown) =
                (submissions.clone(), self.seats(), self.shutdown.clone());
            self.tasks
                .spawn(async move { submissions.listen(listener, seats, shutdown).await });
        }
        Ok(submissions)
    }

    /// The lines, of this process and of dial-up servers; and the calls that go on there.
    pub(super) async fn lines(
        &mut self,
        config: &mut Config,
        shared: Arc<Shared>,
    ) -> Result<(DialUp, Vec<CallAway>), ServeError> {
        let servers = std::mem::take(&mut config.dialup_servers).into_iter();
        let (pops, errands): (Vec<_>, Vec<_>) = servers
            .map(|server| Pop::new(server, shared.clone()))
            .unzip();
        let away = pops.iter().flat_map(|pop| {
            pop.server
                .lines
                .iter()
                .map(|line| (line.global.clone(), pop.clone() as Arc<dyn RemoteLine>))
        });
        let away = away.collect();
        let dialup = DialUp::start(
            shared,
            std::mem::take(&mut config.lines),
            away,
            &mut self.tasks,
        );
        let calls_away = self.recall_away(&pops).await;
        let calls_away = calls_away.map_err(|source| ServeError::Store {
            path: self.state.clone(),
            source,
        })?;
        for (pop, errands) in pops.iter().zip(errands) {
            self.tasks
                .spawn(pop.clone().run(errands, self.shutdown.clone()));
        }
        if let Some(address) = config.trunk_listen {
            let (listener, address) = bind(address, "information.listen").await?;
            tracing::info!(%address, "taking dial-up servers");
            let seats = self.seats();
            self.tasks.spawn(information::serve(
                listener,
                seats,
                pops,
                self.shutdown.clone(),
            ));
        }
        Ok((dialup, calls_away))
    }

    /// The calls at dial-up servers whose end the last process did not learn: each is asked for before a trunk can come.
    async fn recall_away(&mut self, pops: &[Arc<Pop>]) -> Result<Vec<CallAway>, StoreError> {
        let mut recalled = Vec::new();
        for call in self.store.calls_away().await? {
            match pops.iter().find_map(|pop| pop.clone().recall(call.clone())) {
                Some(asking) => {
                    let shutdown = self.shutdown.clone();
                    self.tasks.spawn(async move {
                        shutdown
                            .run_until_cancelled(asking)
                            .await
                            .unwrap_or_default();
                    });
                    recalled.push(call);
                }
                // Its dial-up server is not in the config any more: nothing can say.
                None => self.store.forget_away(call.record.id).await?,
            }
        }
        Ok(recalled)
    }

    /// Where terminals come over their own Internet access, and where counts are read.
    pub(super) async fn doors(
        &mut self,
        config: &Config,
        dialup: &DialUp,
    ) -> Result<(), ServeError> {
        if let Some(address) = config.delivery_listen {
            let (listener, address) = bind(address, "delivery.listen").await?;
            tracing::info!(%address, "taking terminals");
            let seats = 2 * self.seats();
            self.tasks
                .spawn(dialup.clone().serve_online(listener, seats));
        }
        if let Some(address) = config.metrics_listen {
            let (listener, address) = bind(address, "metrics.listen").await?;
            tracing::info!(%address, "telling metrics");
            let router = scrape::router(self.metrics.clone(), self.store.clone(), dialup.clone());
            let seats = self.seats();
            self.tasks.spawn(scrape::listen(
                listener,
                router,
                seats,
                self.shutdown.clone(),
            ));
        }
        Ok(())
    }

    /// The operator's socket; gives its path.
    pub(super) fn operator(
        &mut self,
        state: &Path,
        router: axum::Router,
    ) -> Result<PathBuf, ServeError> {
        let socket = operator_socket(state);
        let listener = bind_operator(&socket)?;
        let seats = self.descriptors.operator();
        self.tasks.spawn(operator::listen(
            listener,
            router,
            seats,
            self.shutdown.clone(),
        ));
        Ok(socket)
    }
}

/// A listener of the host, and where it is: port 0 is any.
async fn bind(
    address: SocketAddr,
    key: &'static str,
) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |source| ServeError::Listen {
        at: address.to_string(),
        key,
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

pub(crate) fn bind_operator(socket: &Path) -> Result<UnixListener, ServeError> {
    let failed = |source| ServeError::Listen {
        at: socket.display().to_string(),
        key: "state",
        source,
    };
    // A socket that nobody answers is left from a crash; one that is answered belongs to a running server.
    match std::os::unix::net::UnixStream::connect(socket) {
        Ok(_) => {
            return Err(failed(io::Error::new(
                io::ErrorKind::AddrInUse,
                "a server is running on this state folder",
            )));
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(socket).map_err(failed)?;
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(socket).map_err(failed)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}
