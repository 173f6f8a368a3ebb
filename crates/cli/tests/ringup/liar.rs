//! A dial-up server with the right key, and without a line: it says what a test wants it to say.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use delivery::proof::{SecretKey, TerminalCredentials};
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::chronicle::PATIENCE;
use crate::village::Village;

/// Records are as long as on any fast line.
const RATE_BPS: u32 = 10_000_000;

/// Gone, with its connection, when it is dropped.
pub(crate) struct Liar {
    runtime: Runtime,
    events: mpsc::UnboundedSender<Bytes>,
    /// What the information server asks: method and path.
    asked: mpsc::UnboundedReceiver<String>,
}

/// What is said, as it is said; a body that ends at once if nobody can say anything.
struct Said(mpsc::UnboundedReceiver<Bytes>);

impl Body for Said {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.get_mut()
            .0
            .poll_recv(cx)
            .map(|said| said.map(|octets| Ok(Frame::data(octets))))
    }
}

impl Liar {
    /// In place of the village's dial-up server of this name, which does not run.
    pub(crate) fn replace(village: &Village, name: &str) -> Self {
        let key = SecretKey::read(&village.path(name).join("dialup.key"))
            .unwrap()
            .expect("it has run");
        let printed = village.run(&["server-key", "public", "--config", "server.toml"]);
        let servers = printed
            .stdout
            .lines()
            .map(|line| line.trim().parse().unwrap())
            .collect();
        let runtime = Runtime::new().unwrap();
        let ((events, said), (asking, asked)) =
            (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let said = Arc::new(Mutex::new(Some(said)));
        let address = village
            .trunks
            .as_ref()
            .expect("the servers are two")
            .address();
        let greeting = format!("ringup-trunk/1 {name}\n");
        runtime.block_on(async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(greeting.as_bytes()).await.unwrap();
            let stream = TerminalCredentials::new(&key, servers, None)
                .unwrap()
                .secure(stream, RATE_BPS)
                .unwrap();
            let service = service_fn(move |request| answer(request, said.clone(), asking.clone()));
            tokio::spawn(
                http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service),
            );
        });
        let liar = Self {
            runtime,
            events,
            asked,
        };
        liar.say(&[
            json!({"line": {"line": "line-1", "state": "idle", "fault": null}}),
            json!("all-told"),
        ]);
        liar
    }

    /// In one breath.
    pub(crate) fn say(&self, events: &[Value]) {
        let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
        self.events.send(lines.into()).unwrap();
    }

    /// About a call.
    pub(crate) fn of_call(call: &str, state: Value) -> Value {
        json!({"call": {"call": call, "state": state}})
    }

    /// Waits for a request of this method whose path ends so; gives what stands between `/calls/` and that end.
    pub(crate) fn asked(&mut self, method: &str, end: &str) -> String {
        let beginning = format!("{method} /calls/");
        let wanted = async {
            loop {
                let request = self.asked.recv().await.expect("the trunk is up");
                if let Some(call) = request
                    .strip_prefix(&beginning)
                    .and_then(|rest| rest.strip_suffix(end))
                {
                    return call.to_owned();
                }
            }
        };
        let asked = self
            .runtime
            .block_on(async { timeout(PATIENCE, wanted).await });
        asked.unwrap_or_else(|_| panic!("nobody asked {method} ..{end}"))
    }
}

async fn answer(
    request: Request<Incoming>,
    said: Arc<Mutex<Option<mpsc::UnboundedReceiver<Bytes>>>>,
    asking: mpsc::UnboundedSender<String>,
) -> Result<Response<Said>, Infallible> {
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/events" => {
            return Ok(Response::new(Said(
                said.lock().unwrap().take().expect("it is asked once"),
            )));
        }
        "/accept" => return std::future::pending().await, // no far end ever connects
        _ => {}
    }
    let _ = asking.send(format!("{} {path}", request.method())); // the test is over
    Ok(Response::new(Said(mpsc::unbounded_channel().1)))
}
