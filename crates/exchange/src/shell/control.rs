//! The control socket: one JSON object a line, each answered with one, in order.
//!
//! ```text
//! > {"do":"set","station":"202","settings":{"busy":true}}
//! < {"ok":true}
//! > {"do":"cut","station":"202"}        > {"do":"stations"}        > {"do":"calls"}
//! > {"do":"records"}                    from here on also each record: < {"record":{...}}
//! ```
//!
//! A process that can open the socket has full control: it is made for its owner alone.

use super::ExchangeError;
use crate::{record::CallRecord, settings::Settings, station::StationId, switchboard::Exchange};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    sync::{Semaphore, broadcast, mpsc, oneshot},
    task::JoinSet,
};

/// Longest request; what is longer ends the connection.
const REQUEST_OCTETS_MAX: u64 = 4096;
/// Connections at once; who comes later waits.
const CONNECTIONS_MAX: usize = 16;

/// What is asked of the exchange.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Request {
    Stations {},
    Calls {},
    Bills {},
    Set {
        station: String,
        settings: toml::Table,
    },
    Cut {
        station: String,
    },
    Records {},
}

/// A request on its way to the desk.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) reply: oneshot::Sender<Value>,
}

/// What the desk has to do for a request; the answer is there already.
#[derive(Debug)]
pub(super) enum Action {
    Nothing,
    Set(StationId, Box<Settings>),
    Cut(StationId),
}

impl Request {
    /// What it comes to, and the answer.
    pub(super) fn decide(self, exchange: &Exchange) -> (Action, Value) {
        match self {
            Self::Stations {} => {
                let stations: Vec<_> = exchange
                    .stations()
                    .map(|station| {
                        json!({
                            "number": station.number.as_str(), "state": station.state, "open": station.is_open,
                            "dtr": station.is_dtr_on, "carrier": station.signals.carrier, "ring": station.signals.ring,
                        })
                    })
                    .collect();
                (Action::Nothing, json!({ "ok": true, "stations": stations }))
            }
            Self::Calls {} => {
                let calls: Vec<_> = exchange
                    .calls()
                    .map(|call| {
                        json!({
                            "id": call.id, "caller": call.caller.as_str(), "called": call.called,
                            "state": call.state, "rings": call.rings, "flights": call.flights,
                            "octets_from_caller": call.octets_from_caller, "octets_from_called": call.octets_from_called,
                        })
                    })
                    .collect();
                (Action::Nothing, json!({ "ok": true, "calls": calls }))
            }
            Self::Bills {} => (
                Action::Nothing,
                json!({ "ok": true, "bills": exchange.bills() }),
            ),
            Self::Records {} => (Action::Nothing, json!({ "ok": true })),
            Self::Set {
                station: number,
                settings,
            } => match exchange.station(&number) {
                None => (Action::Nothing, no_station(&number)),
                Some(station) => match exchange.settings(station).changed(settings) {
                    Ok(Settings {
                        tariff: Some(name), ..
                    }) if !exchange.has_tariff(&name) => (
                        Action::Nothing,
                        refusal(&format!("tariff: there is no {name:?}")),
                    ),
                    Ok(settings) => (
                        Action::Set(station, Box::new(settings)),
                        json!({ "ok": true }),
                    ),
                    Err(error) => (Action::Nothing, refusal(&error.to_string())),
                },
            },
            Self::Cut { station: number } => match exchange.station(&number) {
                None => (Action::Nothing, no_station(&number)),
                Some(station) => (Action::Cut(station), json!({ "ok": true })),
            },
        }
    }
}

fn no_station(number: &str) -> Value {
    refusal(&format!("no station has the number {number:?}"))
}

fn refusal(error: &str) -> Value {
    json!({ "ok": false, "error": error })
}

/// The socket; its file is removed when it is dropped.
#[derive(Debug)]
pub(super) struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Opens the socket at `path`, for its owner alone. A stale socket is replaced.
    pub(super) fn open(path: &Path) -> Result<Self, ExchangeError> {
        let open = || {
            match fs::symlink_metadata(path) {
                Ok(found) if !found.file_type().is_socket() => {
                    return Err(io::Error::new(
                        ErrorKind::AlreadyExists,
                        "something else than a socket is there",
                    ));
                }
                Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
                    return Err(ErrorKind::AddrInUse.into());
                }
                Ok(_) => fs::remove_file(path)?,
                Err(_) => {}
            }
            // In a folder of its owner's until it has its mode: a socket may be connected to as soon as it is there.
            let folder = path
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty())
                .unwrap_or(Path::new("."));
            let private = folder.join(format!(".control-{}", std::process::id()));
            fs::DirBuilder::new().create(&private)?;
            let bound =
                fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).and_then(|()| {
                    let beside = private.join("socket");
                    let listener = UnixListener::bind(&beside)?;
                    fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))?;
                    fs::rename(&beside, path)?;
                    Ok(listener)
                });
            fs::remove_dir_all(&private)?;
            bound
        };
        let listener = open().map_err(|source| ExchangeError::Control {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Serves everyone who comes, until it is dropped.
    pub(super) async fn serve(
        self,
        desk: mpsc::Sender<Asked>,
        records: broadcast::Sender<CallRecord>,
    ) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let accepted = self.listener.accept().await;
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok((stream, _)) => {
                    let (desk, records) = (desk.clone(), records.clone());
                    connections.spawn(async move {
                        // How a client ends is its own affair.
                        let _ = converse(stream, desk, records).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "control connection not accepted");
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // One that stays behind is replaced by the next exchange.
        let _ = fs::remove_file(&self.path);
    }
}

async fn converse(
    stream: UnixStream,
    desk: mpsc::Sender<Asked>,
    records: broadcast::Sender<CallRecord>,
) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let (lines, mut incoming) = mpsc::channel(1);
    let mut reading = JoinSet::new();
    reading.spawn(read_lines(BufReader::new(reader), lines));
    let mut subscription: Option<broadcast::Receiver<CallRecord>> = None;
    loop {
        let ended = async {
            match &mut subscription {
                Some(records) => records.recv().await,
                None => std::future::pending().await,
            }
        };
        let answer = tokio::select! {
            biased;
            line = incoming.recv() => match line {
                None => return Ok(()),
                Some(Err(error)) => refusal(error),
                Some(Ok(line)) => match serde_json::from_str::<Request>(&line) {
                    Err(error) => refusal(&error.to_string()),
                    Ok(request) => {
                        if matches!(request, Request::Records {}) {
                            subscription = Some(records.subscribe());
                        }
                        let (reply, answer) = oneshot::channel();
                        let asked = desk.send(Asked { request, reply }).await;
                        let (Ok(()), Ok(answer)) = (asked, answer.await) else { return Ok(()) };
                        answer
                    }
                },
            },
            record = ended => match record {
                Ok(record) => json!({ "record": record }),
                Err(broadcast::error::RecvError::Lagged(lost)) => json!({ "lost": lost }),
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            },
        };
        write_line(&mut writer, &answer).await?;
    }
}

async fn write_line(writer: &mut OwnedWriteHalf, value: &Value) -> io::Result<()> {
    writer.write_all(format!("{value}\n").as_bytes()).await
}

/// Reads in a task of its own, so that a record that ends meanwhile costs no half-read line.
async fn read_lines(
    mut reader: BufReader<tokio::net::unix::OwnedReadHalf>,
    lines: mpsc::Sender<Result<String, &'static str>>,
) {
    loop {
        let mut line = Vec::new();
        match (&mut reader)
            .take(REQUEST_OCTETS_MAX)
            .read_until(b'\n', &mut line)
            .await
        {
            Ok(count) if count > 0 => {}
            _ => return,
        }
        let is_too_long = !line.ends_with(b"\n") && line.len() as u64 == REQUEST_OCTETS_MAX;
        let read = match String::from_utf8(line) {
            _ if is_too_long => Err("the request is longer than 4096 octets"),
            Ok(line) => Ok(line),
            Err(_) => Err("the request is not UTF-8"),
        };
        if lines.send(read).await.is_err() || is_too_long {
            return;
        }
    }
}
