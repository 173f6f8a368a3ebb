//! Starts an exchange and holds it.

use super::{
    control::{Asked, Control},
    desk::{Counter, Desk},
    port::{PortLink, Stopped},
    pty::Pty,
};
use crate::{
    config::{Config, Port},
    number::Number,
    record::CallRecord,
    station::StationId,
    switchboard::Exchange,
};
use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};
use tokio::{
    io::DuplexStream,
    net::{TcpListener, TcpStream},
    sync::{broadcast, mpsc},
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Events of all ports that wait for the switchboard.
const EVENTS_MAX: usize = 256;
/// Records kept for a subscriber that is slow to read them.
const RECORDS_MAX: usize = 1024;
/// Octets a stream in memory holds each way.
const STREAM_OCTETS: usize = 512;

/// An exchange could not start, or has failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// The pseudo-terminal of a station, or the link to it, could not be made.
    #[error("could not make the pseudo-terminal of {number} at {path}")]
    Pty {
        /// Whose.
        number: Number,
        /// Where its link should be.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The TCP port of a station could not be opened.
    #[error("could not listen on {address} for {number}")]
    Listen {
        /// Whose.
        number: Number,
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The file for the call records could not be opened.
    #[error("could not open the call records {path}")]
    Records {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The control socket could not be opened.
    #[error("could not open the control socket {path}")]
    Control {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The port of a station has failed while the exchange was running.
    #[error("the port of {number} failed")]
    PortFailed {
        /// Whose.
        number: Number,
        /// Why.
        source: io::Error,
    },
    /// A task of the exchange has panicked, which is a defect of this program.
    #[error("a task of the exchange panicked")]
    Panicked(#[source] tokio::task::JoinError),
}

/// An exchange at work. Dropping it stops it, without waiting.
#[derive(Debug)]
pub struct Running {
    ids: BTreeMap<Number, StationId>,
    addresses: BTreeMap<Number, SocketAddr>,
    paths: BTreeMap<Number, PathBuf>,
    streams: BTreeMap<Number, mpsc::UnboundedSender<DuplexStream>>,
    /// Without a control socket nobody asks; the desk must not take that for the end.
    _asking: mpsc::Sender<Asked>,
    cuts: mpsc::UnboundedSender<StationId>,
    records: broadcast::Sender<CallRecord>,
    supervisor: JoinHandle<Result<(), ExchangeError>>,
    stop: DropGuard,
}

/// Runs an exchange until `shutdown`.
///
/// # Errors
/// If a port or the file for records cannot be opened, or a port fails later.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), ExchangeError> {
    let mut running = Running::start(config).await?;
    tokio::select! {
        () = shutdown.cancelled() => running.stop().await,
        ended = &mut running.supervisor => ended.map_err(ExchangeError::Panicked)?,
    }
}

impl Running {
    /// Opens every port and starts the exchange.
    ///
    /// # Errors
    /// If a port or the file for records cannot be opened; then none stays open.
    pub async fn start(config: Config) -> Result<Self, ExchangeError> {
        let records_file = config.records.as_deref().map(open_records).transpose()?;
        let (records, _) = broadcast::channel(RECORDS_MAX);
        let (events, incoming) = mpsc::channel(EVENTS_MAX);
        let (cuts, incoming_cuts) = mpsc::unbounded_channel();
        let (asking, asked) = mpsc::channel(EVENTS_MAX);
        let control = config.control.as_deref().map(Control::open).transpose()?;
        let shutdown = CancellationToken::new();
        let exchange: Exchange = Desk::exchange(&config);
        let mut port_tasks = JoinSet::new();
        let mut opened = Opened::default();
        let (mut counters, mut ids, mut ports) = (Vec::new(), BTreeMap::new(), Vec::new());
        for station in &config.stations {
            let Some(id) = exchange.station(station.number.as_str()) else {
                continue;
            };
            let (orders, incoming_orders) = mpsc::unbounded_channel();
            counters.push(Counter::new(station.number.clone(), orders));
            ids.insert(station.number.clone(), id);
            let link = PortLink {
                station: id,
                events: events.clone(),
                orders: incoming_orders,
            };
            ports.push((
                station.number.clone(),
                opened.open(&station.number, &station.port).await?,
                link,
            ));
        }
        for (number, port, link) in ports {
            port_tasks.spawn(async move {
                port.serve(link)
                    .await
                    .map_err(|source| ExchangeError::PortFailed { number, source })
            });
        }
        if let Some(control) = control {
            let (asking, records) = (asking.clone(), records.clone());
            port_tasks.spawn(async move {
                control.serve(asking, records).await;
                Ok(())
            });
        }
        tracing::info!(stations = ids.len(), delay = ?config.delay, "exchange ready");
        let desk = Desk {
            exchange,
            counters,
            events: incoming,
            cuts: incoming_cuts,
            asked,
            records: records.clone(),
            records_file,
            congested: Vec::new(),
        };
        let supervisor = tokio::spawn(supervise(desk, port_tasks, shutdown.clone()));
        let Opened {
            addresses,
            paths,
            streams,
        } = opened;
        Ok(Self {
            ids,
            addresses,
            paths,
            streams,
            _asking: asking,
            cuts,
            records,
            supervisor,
            stop: shutdown.drop_guard(),
        })
    }

    /// A new DTE at a station with a `memory` port. Dropping it drops DTR. It is served when the one before it has
    /// been dropped. `None` if there is no such station or it has another port.
    pub fn station_stream(&self, number: &str) -> Option<DuplexStream> {
        let (dte, port) = tokio::io::duplex(STREAM_OCTETS);
        self.streams.get(number)?.send(port).ok()?;
        Some(dte)
    }

    /// The address where a station with a `tcp` or `rfc2217` port listens.
    pub fn tcp_address(&self, number: &str) -> Option<SocketAddr> {
        self.addresses.get(number).copied()
    }

    /// The link to the pseudo-terminal of a station with a `pty` port.
    pub fn pty_path(&self, number: &str) -> Option<&Path> {
        self.paths.get(number).map(PathBuf::as_path)
    }

    /// The records of calls that end from now on.
    pub fn records(&self) -> broadcast::Receiver<CallRecord> {
        self.records.subscribe()
    }

    /// Cuts the line of a station under its call, if it has one: both modems lose the carrier.
    pub fn cut(&self, number: &str) {
        if let Some(station) = self.ids.get(number) {
            // If the exchange has stopped there is no call to cut.
            let _ = self.cuts.send(*station);
        }
    }

    /// Ends all calls, closes all ports, removes the links to pseudo-terminals.
    ///
    /// # Errors
    /// If the exchange had failed before.
    pub async fn stop(self) -> Result<(), ExchangeError> {
        drop(self.stop);
        self.supervisor.await.map_err(ExchangeError::Panicked)?
    }
}

fn open_records(path: &Path) -> Result<File, ExchangeError> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|source| ExchangeError::Records {
        path: path.to_owned(),
        source,
    })
}

/// Waits for shutdown or the first failure, and leaves no task behind.
async fn supervise(
    desk: Desk,
    mut ports: JoinSet<Result<(), ExchangeError>>,
    shutdown: CancellationToken,
) -> Result<(), ExchangeError> {
    let desk = desk.work(shutdown.clone());
    let mut desk = std::pin::pin!(desk);
    let failure = tokio::select! {
        () = &mut desk => None,
        Some(ended) = ports.join_next() => match ended {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(error) => Some(ExchangeError::Panicked(error)),
        },
    };
    if failure.is_some() {
        shutdown.cancel();
        desk.await;
    }
    ports.shutdown().await;
    tracing::info!("exchange stopped");
    failure.map_or(Ok(()), Err)
}

/// What the ports turned out to be.
#[derive(Debug, Default)]
struct Opened {
    addresses: BTreeMap<Number, SocketAddr>,
    paths: BTreeMap<Number, PathBuf>,
    streams: BTreeMap<Number, mpsc::UnboundedSender<DuplexStream>>,
}

/// A port that is open and waits for a DTE.
#[derive(Debug)]
enum OpenPort {
    Pty(Pty),
    Tcp(TcpListener),
    Rfc2217(TcpListener),
    Memory(mpsc::UnboundedReceiver<DuplexStream>),
}

impl Opened {
    async fn open(&mut self, number: &Number, port: &Port) -> Result<OpenPort, ExchangeError> {
        match port {
            Port::Pty(path) => {
                let pty = Pty::create(path).map_err(|source| ExchangeError::Pty {
                    number: number.clone(),
                    path: path.clone(),
                    source,
                })?;
                self.paths.insert(number.clone(), path.clone());
                Ok(OpenPort::Pty(pty))
            }
            Port::Tcp(address) | Port::Rfc2217(address) => {
                let failed = |source| ExchangeError::Listen {
                    number: number.clone(),
                    address: *address,
                    source,
                };
                let listener = TcpListener::bind(address).await.map_err(failed)?;
                self.addresses
                    .insert(number.clone(), listener.local_addr().map_err(failed)?);
                Ok(if matches!(port, Port::Tcp(_)) {
                    OpenPort::Tcp(listener)
                } else {
                    OpenPort::Rfc2217(listener)
                })
            }
            Port::Memory => {
                let (streams, incoming) = mpsc::unbounded_channel();
                self.streams.insert(number.clone(), streams);
                Ok(OpenPort::Memory(incoming))
            }
        }
    }
}

impl OpenPort {
    /// Serves one DTE after the other until the switchboard stops.
    async fn serve(mut self, mut link: PortLink) -> io::Result<()> {
        loop {
            let served = match &mut self {
                Self::Pty(pty) => {
                    let dte = pty.opened().await?;
                    let served = link.serve(dte.clone(), dte.hung_up()).await;
                    // Before anyone hears of the hang-up, so that who opens it then finds it clean.
                    pty.renew()?;
                    served
                }
                Self::Tcp(listener) => {
                    link.serve(accept(listener).await?, std::future::pending())
                        .await
                }
                Self::Rfc2217(listener) => link.serve_rfc2217(accept(listener).await?).await,
                Self::Memory(streams) => match streams.recv().await {
                    Some(stream) => link.serve(stream, std::future::pending()).await,
                    // No one can ask for a stream any more, but the exchange goes on.
                    None => std::future::pending().await,
                },
            };
            let closed = match served {
                Ok(()) => link.close().await,
                Err(Stopped) => Err(Stopped),
            };
            if let Err(Stopped) = closed {
                return Ok(());
            }
        }
    }
}

/// A client that is gone before it was accepted is no failure of the port.
async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    loop {
        match listener.accept().await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            accepted => {
                let (stream, _) = accepted?;
                // Fails only for a connection that is over already; serving it will show that.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
        }
    }
}
