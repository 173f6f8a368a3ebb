//! The dial-up server's end of a trunk: the requests of the information server.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use delivery::proof::Secured;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use line::{CallId, Number, check_dialled};
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::calls::{Calls, NotBegun};
use super::policy::{LineHandle, TrunkPolicy, outgoing};
use super::relay::{Acceptor, carry};
use crate::dialup::Allowance;
use crate::dialup::line_task::{Attempt, Order};
use crate::trunk::tunnel::{Entrance, Tunnel, way_out};
use crate::trunk::words::{FarEnd, PlaceCall, WORDS_OCTETS_MAX};
use crate::trunk::{
    CONNECTION_WINDOW_OCTETS, KEEP_ALIVE, KEEP_ALIVE_WAIT, STREAM_WINDOW_OCTETS, STREAMS_MAX,
};
use model::directory::Name;
use model::outcome::Outcome;

/// Octets of request head taken; ours have about 100.
const HEAD_OCTETS_MAX: u32 = 4096;

/// How long a far end may take to accept a connection.
const CONNECT_WAIT: Duration = Duration::from_secs(30);

/// What is answered.
pub(super) type Answer = BoxBody<Bytes, io::Error>;

/// Something that goes on after the answer has begun, until the trunk ends.
type TrunkCommand = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The rooms behind the requests.
pub(super) struct Api {
    pub(super) calls: Arc<Calls>,
    pub(super) policy: Arc<TrunkPolicy>,
    pub(super) lines: BTreeMap<Name, LineHandle>,
}

/// Serves one trunk until it ends.
pub(super) async fn serve(api: Arc<Api>, stream: Secured<TcpStream>) {
    let trunk = Trunk {
        number: api.calls.trunk_up(),
        api,
        errands: mpsc::channel(1).0,
    };
    let (errands, mut wanted) = mpsc::channel::<TrunkCommand>(64);
    let trunk = Trunk { errands, ..trunk };
    let service = service_fn(|request| {
        let trunk = trunk.clone();
        async move { Ok::<_, Infallible>(trunk.answer(request).await) }
    });
    let mut connection = std::pin::pin!(
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_WAIT)
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEAD_OCTETS_MAX)
            .initial_stream_window_size(STREAM_WINDOW_OCTETS)
            .initial_connection_window_size(CONNECTION_WINDOW_OCTETS)
            .serve_connection(TokioIo::new(stream), service)
    );
    let mut under_way = JoinSet::new();
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(error = %model::causes::with_causes(&error), "trunk");
                }
                return;
            }
            Some(errand) = wanted.recv() => drop(under_way.spawn(errand)),
            Some(_) = under_way.join_next() => {}
        }
    }
}

#[derive(Clone)]
struct Trunk {
    number: u64,
    api: Arc<Api>,
    errands: mpsc::Sender<TrunkCommand>,
}

/// Why a request is not done.
struct Refused(StatusCode, String);

impl From<NotBegun> for Refused {
    fn from(error: NotBegun) -> Self {
        let status = match error {
            NotBegun::OldTrunk => StatusCode::CONFLICT,
            NotBegun::TooMany | NotBegun::Disk(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(status, error.to_string())
    }
}

impl Trunk {
    async fn answer(&self, request: Request<Incoming>) -> Response<Answer> {
        match self.act(request).await {
            Ok(answer) => answer,
            Err(Refused(status, why)) => {
                if status != StatusCode::GONE {
                    tracing::warn!(%status, why, "refused a request of the information server");
                }
                let mut response = Response::new(whole(why));
                *response.status_mut() = status;
                response
            }
        }
    }

    async fn act(&self, request: Request<Incoming>) -> Result<Response<Answer>, Refused> {
        let path = request.uri().path().to_owned();
        let words: Vec<_> = path.split('/').skip(1).collect();
        let calls = &self.api.calls;
        match (request.method(), words.as_slice()) {
            (&Method::GET, ["events"]) => {
                let (entrance, body) = way_out();
                self.go(tell(calls.clone(), entrance)).await;
                Ok(Response::new(body.boxed()))
            }
            (&Method::POST, ["accept"]) => {
                let (answer, taken) = oneshot::channel();
                if !calls.accept(Acceptor {
                    way_in: request.into_body(),
                    answer,
                }) {
                    return Err(Refused(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "enough requests wait".into(),
                    ));
                }
                taken
                    .await
                    .map_err(|_| Refused(StatusCode::GONE, "the trunk is over".into()))
            }
            (&Method::PUT, ["calls", call]) => {
                let call = id(call)?;
                self.place(call, read(request).await?)
            }
            (&Method::DELETE, ["calls", call]) => match calls.delete(id(call)?) {
                true => Ok(empty()),
                false => Err(Refused(StatusCode::NOT_FOUND, "no such call".into())),
            },
            (&Method::POST, ["calls", call, "answer"]) => {
                let call = id(call)?;
                let far_end: FarEnd = read(request).await?;
                match calls.answer(call, far_end) {
                    true => Ok(empty()),
                    false => Err(Refused(
                        StatusCode::NOT_FOUND,
                        "it does not ring any more".into(),
                    )),
                }
            }
            (&Method::POST, ["calls", call, "settled"]) => match calls.settled(id(call)?) {
                true => Ok(empty()),
                false => Err(Refused(
                    StatusCode::NOT_FOUND,
                    "no call that is over".into(),
                )),
            },
            (&Method::POST, ["calls", call, "proved"]) => {
                if let Some(link) = calls.link(id(call)?) {
                    link.proved();
                }
                Ok(empty())
            }
            (&Method::POST, ["calls", call, "open", port]) => {
                let (call, port) = (id(call)?, port.parse().map_err(|_| bad("no port"))?);
                self.open(call, port, request.into_body()).await
            }
            _ => Err(Refused(StatusCode::NOT_FOUND, "no such request".into())),
        }
    }

    async fn go(&self, errand: impl Future<Output = ()> + Send + 'static) {
        let _ = self.errands.send(Box::pin(errand)).await; // the trunk has ended
    }

    fn place(&self, call: CallId, wanted: PlaceCall) -> Result<Response<Answer>, Refused> {
        let PlaceCall {
            line,
            number,
            far_end,
            timeout_ms,
            longest_ms,
            octets,
        } = wanted;
        let name: Name = line.parse().map_err(|_| bad("no line's name"))?;
        let line = self
            .api
            .lines
            .get(&name)
            .ok_or_else(|| bad("no such line"))?;
        let number: Number = number.parse().map_err(|_| bad("no number"))?;
        let home = self.api.policy.config.home;
        check_dialled(home, &number).map_err(|error| bad(&error.to_string()))?;
        let dialled = number
            .dial_string(&line.dial_prefix, home)
            .map_err(|error| bad(&error.to_string()))?;
        let party: Name = far_end.party.parse().map_err(|_| bad("no party"))?;
        let longest = Duration::from_millis(longest_ms);
        if !self.api.calls.begin(call, longest, Some(self.number))? {
            return Ok(empty()); // told before, and not dialled again
        }
        let record = outgoing(call, name, number, party);
        self.api.calls.record(&record);
        let order = Order {
            attempt: Attempt {
                terminal: None,
                record,
                began: Instant::now(),
            },
            peer: far_end,
            number: dialled,
            timeout: Duration::from_millis(timeout_ms),
            allowance: Allowance {
                longest,
                octets: octets.unwrap_or(u64::MAX),
                linger: None,
            },
        };
        if let Err(unsent) = line.orders.try_send(order) {
            let mut record = unsent.into_inner().attempt.record;
            record.end(&Outcome::LineTaken, Duration::ZERO);
            crate::dialup::log_end(&record);
            self.api.calls.record(&record);
            let (how, why) = crate::trunk::words::Ended::words(&Outcome::LineTaken);
            let ended_at = jiff::Timestamp::now();
            let ended = crate::trunk::words::Ended {
                how,
                why,
                connected_at: None,
                ended_at,
                lasted_ms: 0,
                octets_out: 0,
                octets_in: 0,
            };
            self.api.calls.ended(call, ended);
        }
        Ok(empty())
    }

    async fn open(
        &self,
        call: CallId,
        port: u16,
        way_in: Incoming,
    ) -> Result<Response<Answer>, Refused> {
        let gone = || Refused(StatusCode::NOT_FOUND, "no link".into());
        let link = self.api.calls.link(call).ok_or_else(gone)?;
        let address = link.peer().ok_or_else(gone)?;
        let stream = timeout(CONNECT_WAIT, link.connect(address, port)).await;
        let stream = stream
            .map_err(|_| Refused(StatusCode::GATEWAY_TIMEOUT, "no answer".into()))?
            .map_err(|error| Refused(StatusCode::BAD_GATEWAY, error.to_string()))?;
        let (entrance, body) = way_out();
        self.go(carry(stream, Tunnel::new(entrance, way_in))).await;
        Ok(Response::new(body.boxed()))
    }
}

/// Tells everything, and then what changes.
async fn tell(calls: Arc<Calls>, entrance: Entrance) {
    loop {
        let (all, mut events) = calls.follow();
        let mut all = all.into_iter();
        loop {
            let event = match all.next() {
                Some(event) => event,
                None => match events.recv().await {
                    Ok(event) => event,
                    Err(RecvError::Lagged(_)) => break, // everything anew
                    Err(RecvError::Closed) => return,
                },
            };
            let mut line = serde_json::to_vec(&event).expect("an event is JSON");
            line.push(b'\n');
            if entrance.send(Ok(line.into())).await.is_err() {
                return; // the trunk has ended
            }
        }
    }
}

async fn read<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Refused> {
    let body = Limited::new(request.into_body(), WORDS_OCTETS_MAX)
        .collect()
        .await;
    let body = body.map_err(|_| bad("the request is too long, or ended early"))?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| bad(&error.to_string()))
}

fn id(text: &str) -> Result<CallId, Refused> {
    text.parse().map_err(|_| bad("no call id"))
}

fn bad(why: &str) -> Refused {
    Refused(StatusCode::BAD_REQUEST, why.to_owned())
}

fn whole(text: String) -> Answer {
    Full::new(Bytes::from(text))
        .map_err(|never| match never {})
        .boxed()
}

fn empty() -> Response<Answer> {
    Response::new(whole(String::new()))
}
