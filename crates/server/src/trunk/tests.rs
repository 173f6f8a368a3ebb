//! A dial-up server that lies: what it says is refused, bounded, counted, and told to an operator.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use delivery::proof::{PublicKey, SecretKey, TerminalCredentials};
use delivery::{ContentType, Digest, MessageHead, MessageId};
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use line::CallId;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::information::{Pop, serve};
use super::proxy::ProxyHeader;
use super::tunnel::{Entrance, way_out};
use super::words::{CallState, Ended, Event, LinkUp};
use super::*;
use crate::alarms::{AlarmConfig, Alarms};
use crate::dialer::{Dialer, moment};
use crate::dialup::{
    AddressPool, DialUp, LineState, LinkSettings, RemoteLine, Report, Rooms, Shared,
};
use crate::ingest::http::Submissions;
use crate::intake::Intake;
use crate::keys::ServerKeys;
use crate::metrics::Metrics;
use calling::dispatch::{LineTerms, RedialRules, RetryRules, Rules};
use calling::ledger::Tariff;
use calling::{Calling, Money, Policy};
use model::account::Account;
use model::alarm::AlarmKind;
use model::call::CallRecord;
use model::directory::{Connection, Terminal, TrustedBy};
use store::{Handling, Last, NewMessage, Store};

#[tokio::test]
async fn a_greeting_is_read_back_and_not_one_octet_more() {
    let name: Name = "pop-1.example".parse().unwrap();
    let sent = greeting(&name) + "\x16";
    let mut octets = sent.as_bytes();
    assert_eq!(read_greeting(&mut octets).await, Some(name));
    assert_eq!(octets, b"\x16");
    for octets in [
        "ringup/1 Q2hhbmdlTWU called\n",
        "ringup-trunk/2 pop\n",
        "ringup-trunk/1 POP\n",
        "",
        &"x".repeat(99),
    ] {
        assert_eq!(
            read_greeting(&mut octets.as_bytes()).await,
            None,
            "{octets}"
        );
    }
}

/// An information server with one dial-up server, which is this test.
struct Scene {
    store: Store,
    metrics: Metrics,
    alarms: Alarms,
    dialup: DialUp,
    reports: mpsc::Receiver<Report>,
    /// What the dial-up server says: events, and connections of far ends.
    events: Entrance,
    streams: mpsc::Sender<Vec<u8>>,
    /// What is asked of it.
    asked: mpsc::Receiver<String>,
    _tasks: JoinSet<()>,
    _folder: tempfile::TempDir,
}

const PATIENCE: Duration = Duration::from_secs(60);

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Timestamp::now()).unwrap();
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
        let keys = ServerKeys::open(folder.path(), store.clone()).unwrap();
        let ours = keys.public();
        let (told, counted) = (alarms.clone(), metrics.clone());
        let rooms = Rooms {
            store: store.clone(),
            keys,
            submissions,
            intake,
            alarms: told,
            metrics: counted,
        };
        let [own, first, last] = [1, 2, 3].map(|host| Ipv4Addr::new(10, 77, 0, host));
        let pool = AddressPool::new(first, last).unwrap();
        let settings = LinkSettings {
            address: own,
            pool,
            home: None,
            capture: None,
            tun: None,
            number_only: false,
        };
        let (sender, reports) = mpsc::channel(100);
        let key = SecretKey::generate().unwrap();
        let line = LineAway {
            name: "line-1".parse().unwrap(),
            global: "pop.line-1".parse().unwrap(),
            is_ring_only: false,
            tariff: None,
        };
        let shared = Shared::new(settings, rooms, sender, shutdown.clone());
        let global = line.global.clone();
        let server = DialupServer {
            name: "pop".parse().unwrap(),
            key: key.public(),
            lines: vec![line],
        };
        let (pop, errands) = Pop::new(server, shared.clone());
        let away: Vec<(_, Arc<dyn RemoteLine>)> = vec![(global, pop.clone())];
        let dialup = DialUp::start(shared, Vec::new(), away, &mut tasks);
        tasks.spawn(pop.clone().run(errands, shutdown.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tasks.spawn(serve(listener, 100, vec![pop], shutdown));

        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(greeting(&"pop".parse().unwrap()).as_bytes())
            .await
            .unwrap();
        let stream = TerminalCredentials::new(&key, ours, None)
            .unwrap()
            .secure(stream, RATE_BPS)
            .unwrap();
        let (events, of_events) = way_out();
        let (streams, of_streams) = mpsc::channel::<Vec<u8>>(1);
        let (asking, asked) = mpsc::channel(100);
        let (of_events, of_streams) = (
            Arc::new(Mutex::new(Some(of_events))),
            Arc::new(Mutex::new(of_streams)),
        );
        tasks.spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let (asking, of_events, of_streams) =
                    (asking.clone(), of_events.clone(), of_streams.clone());
                async move {
                    let body: BoxBody<Bytes, io::Error> = match request.uri().path() {
                        "/events" => of_events.lock().await.take().unwrap().boxed(),
                        "/accept" => {
                            let octets = of_streams.lock().await.recv().await.unwrap_or_default();
                            Full::new(Bytes::from(octets))
                                .map_err(|never| match never {})
                                .boxed()
                        }
                        path => {
                            let _ = asking.send(format!("{} {path}", request.method())).await;
                            Full::new(Bytes::new())
                                .map_err(|never| match never {})
                                .boxed()
                        }
                    };
                    Ok::<_, Infallible>(Response::new(body))
                }
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = builder
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
        Self {
            store,
            metrics,
            alarms,
            dialup,
            reports,
            events,
            streams,
            asked,
            _tasks: tasks,
            _folder: folder,
        }
    }

    async fn say(&self, event: serde_json::Value) {
        self.events
            .send(Ok(format!("{event}\n").into()))
            .await
            .unwrap();
    }

    /// Waits for an alarm about the dial-up server whose detail says this.
    async fn alarmed(&self, says: &str) {
        let seen = timeout(PATIENCE, async {
            loop {
                let standing = self.store.standing_alarms().await.unwrap();
                if standing
                    .iter()
                    .any(|alarm| alarm.subject == "pop" && alarm.detail.contains(says))
                {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
        assert!(
            seen.await.is_ok(),
            "no alarm says {says:?}: {:?}",
            self.store.standing_alarms().await.unwrap()
        );
    }
}

fn header(call: CallId) -> ProxyHeader {
    ProxyHeader {
        call,
        line: "line-1".parse().unwrap(),
        caller: None,
        called: None,
        from: Ipv4Addr::new(10, 77, 0, 2),
        to: SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), delivery::SUBMISSION_PORT),
        notice: None,
    }
}

#[tokio::test]
async fn a_connection_of_a_call_that_was_not_given_to_the_dial_up_server_is_refused_with_an_alarm()
{
    let call = CallId::now();
    let cut = header(call).encode()[..20].to_vec();
    for (sent, alarm) in [
        (
            header(call).encode(),
            format!("a connection of call {call}, which was not given to it"),
        ),
        (
            b"POST /v1/messages HTTP/1.1\r\n\r\n".to_vec(),
            "does not begin with a PROXY header".to_owned(),
        ),
        (cut, "ended within its PROXY header".to_owned()),
    ] {
        let scene = Scene::new().await;
        scene.streams.send(sent).await.unwrap();
        scene.alarmed(&alarm).await;
        assert_eq!(scene.metrics.trunk_refusals(), 1, "counted");
    }
}

#[tokio::test]
async fn a_call_that_nobody_asked_for_is_hung_up_and_settles_nothing() {
    let mut scene = Scene::new().await;
    let call = CallId::now();
    scene
        .say(json!({"call": {"call": call.to_string(), "state": "begun"}}))
        .await;
    scene
        .alarmed(&format!("call {call} is none that was given to it"))
        .await;
    let asked = timeout(PATIENCE, scene.asked.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(asked, format!("DELETE /calls/{call}"));
    while let Ok(report) = scene.reports.try_recv() {
        assert!(matches!(report, Report::LineTaken(_)), "{report:?}");
    }
    assert!(scene.store.call(call).await.unwrap().is_none());
}

#[tokio::test]
async fn an_event_without_end_or_sense_ends_the_trunk_with_an_alarm() {
    for (said, alarm) in [
        ("x".repeat(10_000), "an event of more than"),
        ("{\"call\":7}\n".into(), "an event that is none"),
    ] {
        let scene = Scene::new().await;
        scene.events.send(Ok(said.into())).await.unwrap();
        scene.alarmed(alarm).await;
        timeout(PATIENCE, scene.events.closed()).await.unwrap();
    }
}

/// `calling`, and the hands that carry out what it wants, over a store with one terminal for which something waits.
struct Caller {
    calling: Calling,
    dialer: Dialer,
}

impl Caller {
    async fn new(scene: &Scene, line: &Name, tariff: Option<Tariff>, money: Money) -> Self {
        let tariff = tariff.map(Arc::new);
        let lines = vec![LineTerms {
            name: line.clone(),
            tariff,
            is_ring_only: false,
        }];
        let retry = RetryRules {
            first: PATIENCE,
            longest: PATIENCE,
            redials: RedialRules::default(),
            session_wait: PATIENCE,
        };
        let policy = Policy {
            rules: Rules {
                lines,
                ..Rules::new(retry)
            },
            conditions: Vec::new(),
            money,
            home: None,
            dial_prefixes: BTreeMap::new(),
            believes_numbers: false,
        };
        let (store, dialup) = (scene.store.clone(), scene.dialup.clone());
        let dialer = Dialer::new(store, dialup, scene.alarms.clone(), scene.metrics.clone());
        let mut caller = Self {
            calling: Calling::new(policy, 1, moment()),
            dialer,
        };
        caller
            .handle(calling::Event::Recovered(Box::default()))
            .await;
        caller.handle(calling::Event::LineFree(line.clone())).await;
        caller
    }

    async fn handle(&mut self, event: calling::Event) {
        self.dialer.handle(&mut self.calling, event).await;
    }
}

impl Scene {
    /// A terminal that can prove itself, and for which a message waits.
    async fn owner(&self) -> Terminal {
        let terminal = Terminal {
            id: TerminalId::from_octets([1; 8]),
            name: "owner".parse().unwrap(),
            number: Some("301".parse().unwrap()),
            address: None,
            connection: Connection::Down,
            trusted_by: TrustedBy::default(),
        };
        self.store.add_terminal(terminal.clone()).await.unwrap();
        self.store
            .register(
                terminal.id,
                PublicKey::from_octets([1; 32]),
                Timestamp::now(),
            )
            .await
            .unwrap();
        let content = Bytes::from_static(b"sold out");
        let head = MessageHead {
            id: MessageId::now(),
            content_type: ContentType::octets(),
            digest: Digest::of(&content),
            size: content.len() as u64,
        };
        let message = NewMessage {
            head,
            provider: "vending".parse().unwrap(),
            content: content.into(),
            terminals: vec![terminal.id],
            subscribers: None,
            handling: Handling::default(),
        };
        self.store.accept(message, Timestamp::now()).await.unwrap();
        terminal
    }
}

#[tokio::test]
async fn a_call_that_no_line_took_has_its_end_and_its_terminal_is_not_being_called() {
    let scene = Scene::new().await;
    let terminal = scene.owner().await;
    let store = &scene.store;
    // As one is whose trunk is lost between the decision and the order.
    Caller::new(
        &scene,
        &"pop.line-9".parse().unwrap(),
        None,
        Money::default(),
    )
    .await;
    let calls = store.calls(Last(10)).await.unwrap();
    let [call] = calls.as_slice() else {
        panic!("{calls:?}")
    };
    assert_eq!(call.outcome.as_deref(), Some("line taken"));
    assert!(call.ended_at.is_some());
    assert_eq!(
        store
            .terminal(terminal.id)
            .await
            .unwrap()
            .unwrap()
            .connection,
        Connection::Down
    );
}

#[tokio::test]
async fn a_ring_on_a_line_of_others_is_an_alarm() {
    let scene = Scene::new().await;
    let ring = json!({"caller": {"number": "301"}, "is_no_data": false});
    scene
        .say(json!({"ring": {"call": CallId::now().to_string(), "line": "line-9", "ring": ring}}))
        .await;
    scene.alarmed("on a line that it does not have").await;
}

impl Scene {
    /// Waits until everything that was said before is taken note of.
    async fn caught_up(&mut self) {
        for (state, is_free) in [(LineState::Idle, true), (LineState::Calling, false)] {
            self.say(json!(Event::Line {
                line: "line-1".into(),
                state,
                fault: None
            }))
            .await;
            let reported = timeout(PATIENCE, async {
                while let Some(report) = self.reports.recv().await {
                    match report {
                        Report::LineFree(_) if is_free => return,
                        Report::LineTaken(_) if !is_free => return,
                        _ => {}
                    }
                }
            });
            reported.await.unwrap();
        }
    }

    async fn is_called_a_liar(&self) -> bool {
        let standing = self.store.standing_alarms().await.unwrap();
        standing
            .iter()
            .any(|alarm| alarm.kind == AlarmKind::DialupServerLies)
    }
}

#[tokio::test]
async fn a_lie_about_a_call_costs_what_was_reserved_for_it_and_the_liar_does_not_clear_the_alarm() {
    let ended = Ended {
        how: "busy".into(),
        why: String::new(),
        connected_at: None,
        ended_at: Timestamp::now(),
        lasted_ms: 0,
        octets_out: 0,
        octets_in: 0,
    };
    let up = LinkUp {
        rate_bps: 33_600,
        address: Ipv4Addr::new(10, 77, 0, 2),
        octets_out: 1,
        octets_in: 1,
        flights: 1,
    };
    let far: Timestamp = "9999-12-30T00:00:00Z".parse().unwrap();
    for (up, ended) in [
        (
            None,
            Ended {
                octets_out: u64::MAX,
                ..ended.clone()
            },
        ),
        (
            None,
            Ended {
                octets_in: u64::MAX,
                ..ended.clone()
            },
        ),
        (
            None,
            Ended {
                lasted_ms: u64::MAX,
                ..ended.clone()
            },
        ),
        (
            None,
            Ended {
                connected_at: Some(far),
                ..ended.clone()
            },
        ),
        (
            None,
            Ended {
                connected_at: Some(Timestamp::UNIX_EPOCH),
                ended_at: far,
                ..ended.clone()
            },
        ),
        (
            Some(LinkUp {
                octets_out: u64::MAX,
                ..up
            }),
            ended.clone(),
        ),
        (
            Some(LinkUp {
                rate_bps: u32::MAX,
                ..up
            }),
            ended,
        ),
    ] {
        let said = format!("{up:?} {ended:?}");
        let mut scene = Scene::new().await;
        scene.caught_up().await;
        let line: Name = "pop.line-1".parse().unwrap();
        scene.owner().await;
        let tariff: Tariff =
            toml::from_str("name = \"t\"\n[octets]\nquantum = 1000\nprice = \"1\"").unwrap();
        let money = Money {
            octets_max: 10_000,
            ..Money::default()
        };
        let mut caller = Caller::new(&scene, &line, Some(tariff), money).await;
        let calls = scene.store.calls(Last(1)).await.unwrap();
        let [CallRecord { id: call, .. }] = calls.as_slice() else {
            panic!("{calls:?}")
        };
        let reserved = caller.calling.spent(&Account::Server).0;
        assert_eq!(reserved, "10".parse().unwrap());
        let asked = timeout(PATIENCE, scene.asked.recv())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(asked, format!("PUT /calls/{call}"));
        for state in up
            .map(CallState::Up)
            .into_iter()
            .chain([CallState::Ended(ended)])
        {
            scene
                .say(json!(Event::Call {
                    call: call.to_string(),
                    state
                }))
                .await;
        }
        let report = timeout(PATIENCE, async {
            loop {
                if let Some(Report::Ended {
                    terminal: Some(terminal),
                    outcome,
                    record,
                    lasted,
                }) = scene.reports.recv().await
                {
                    return (terminal, outcome, record, lasted);
                }
            }
        });
        let (terminal, outcome, record, lasted) = report.await.unwrap();
        caller
            .handle(calling::Event::Ended {
                terminal,
                outcome,
                record: record.clone(),
                lasted,
            })
            .await;
        assert_eq!(caller.calling.spent(&Account::Server).0, reserved, "{said}");
        assert!(record.octets_out + record.octets_in <= 10_000, "{said}");
        assert!(
            record
                .connected_at
                .is_none_or(|at| record.placed_at <= at && Some(at) <= record.ended_at),
            "{said}"
        );
        assert!(scene.is_called_a_liar().await, "{said}");
        for _ in 0..2 {
            scene.say(json!(Event::AllTold)).await;
        }
        scene.caught_up().await;
        assert!(
            scene.is_called_a_liar().await,
            "cleared by what it says: {said}"
        );
    }
}

#[tokio::test]
async fn a_dial_up_server_that_comes_after_a_start_is_no_alarm() {
    let mut scene = Scene::new().await;
    scene.say(json!(Event::AllTold)).await;
    scene.caught_up().await;
    assert_eq!(
        scene.store.alarms_after(Last(10), None).await.unwrap(),
        [],
        "neither raised nor cleared"
    );
}
