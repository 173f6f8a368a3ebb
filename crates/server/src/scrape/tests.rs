use std::net::Ipv4Addr;
use std::time::Duration;

use axum::http::Request;
use bytes::Bytes;
use delivery::{ContentType, Digest, MessageHead, MessageId, TerminalId};
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::alarms::{AlarmConfig, Alarms};
use crate::dialup::{AddressPool, LinkSettings, Rooms, Shared};
use crate::ingest::http::Submissions;
use crate::intake::Intake;
use crate::keys::ServerKeys;
use model::alarm::AlarmKind;
use model::call::{CallRecord, Direction};
use model::directory::{Connection, Terminal, TrustedBy};
use model::money::Micros;
use model::outcome::Outcome;
use model::provider::{Provider, TokenHash};
use store::{Handling, NewMessage};

/// A server without lines, as far as metrics look.
struct Watch {
    metrics: Metrics,
    store: Store,
    router: Router,
    _tasks: JoinSet<()>,
    _folder: tempfile::TempDir,
}

impl Watch {
    async fn start() -> Self {
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
        let (due, _) = mpsc::channel(1);
        let intake = Intake::new(store.clone(), due, alarms.clone(), 1000, None);
        let submissions = Submissions::new(intake.clone(), store.clone(), metrics.clone());
        let keys = ServerKeys::open(folder.path(), store.clone()).unwrap();
        let rooms = Rooms {
            store: store.clone(),
            keys,
            submissions,
            intake,
            alarms,
            metrics: metrics.clone(),
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
        let (reports, _) = mpsc::channel(1);
        let shared = Shared::new(settings, rooms, reports, shutdown);
        let dialup = DialUp::start(shared, Vec::new(), Vec::new(), &mut tasks);
        let router = router(metrics.clone(), store.clone(), dialup);
        Self {
            metrics,
            store,
            router,
            _tasks: tasks,
            _folder: folder,
        }
    }

    async fn ask(&self, path: &str) -> (StatusCode, String) {
        use hyper::service::Service as _;
        let request = Request::builder()
            .uri(path)
            .body(axum::body::Body::empty())
            .unwrap();
        let service = hyper_util::service::TowerToHyperService::new(self.router.clone());
        let response = service.call(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn accept(&self, octets: usize) -> Result<MessageId, store::StoreError> {
        let content = Bytes::from(vec![7; octets]);
        let id = MessageId::now();
        let (content_type, digest) = (ContentType::octets(), Digest::of(&content));
        let head = MessageHead {
            id,
            content_type,
            digest,
            size: octets as u64,
        };
        let (provider, handling) = ("vending-secret".parse().unwrap(), Handling::default());
        let terminals = vec![TerminalId::from_octets([1; 8])];
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
            .map(|accepted| accepted.id)
    }

    async fn add_people(&self) {
        let name = "vending-secret".parse().unwrap();
        self.store
            .add_provider(
                Provider {
                    name,
                    number: None,
                    may_send: vec![],
                    is_disabled: false,
                },
                TokenHash::of("x"),
            )
            .await
            .unwrap();
        let (id, name) = (
            TerminalId::from_octets([1; 8]),
            "owner-secret".parse().unwrap(),
        );
        let number = Some("5550199".parse().unwrap());
        let terminal = Terminal {
            id,
            name,
            number,
            address: None,
            connection: Connection::Down,
            trusted_by: TrustedBy::default(),
        };
        self.store.add_terminal(terminal).await.unwrap();
    }
}

#[tokio::test]
async fn what_happened_is_counted_and_nobody_is_named() {
    let watch = Watch::start().await;
    watch.add_people().await;
    let first = watch.accept(10).await.unwrap();
    watch.accept(10).await.unwrap();
    watch
        .store
        .cancel(first, None, "cancelled", Timestamp::now())
        .await
        .unwrap();
    let record = CallRecord {
        octets_out: 700,
        octets_in: 50,
        ..CallRecord::begin(
            line::CallId::now(),
            Timestamp::now(),
            Direction::Outgoing,
            "line-1".parse::<model::directory::Name>().unwrap(),
            Some("5550199".parse().unwrap()),
            "owner-secret".parse().unwrap(),
        )
    };
    watch
        .metrics
        .call(&record, &Outcome::Busy, Duration::from_millis(2500));
    watch.metrics.call(
        &record,
        &Outcome::OurFault("owner-secret".into()),
        Duration::from_millis(500),
    );
    watch.metrics.reserved(Micros(20_500_000));
    watch.metrics.settled(Micros(9_350_000));
    watch.metrics.refused(StatusCode::TOO_MANY_REQUESTS);
    watch.metrics.ring_refused(line::RefusalReason::Withheld);
    watch.metrics.alarm(AlarmKind::Budget);
    let (status, text) = watch.ask("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    let lines: Vec<_> = text.lines().collect();
    for expected in [
        "ringup_messages_accepted_total 2",
        "ringup_messages_waiting 1",
        "ringup_envelopes_settled_total{verdict=\"cancelled\"} 1",
        "ringup_envelopes_settled_total{verdict=\"delivered\"} 0",
        "ringup_messages_refused_total{reason=\"quota\"} 1",
        "ringup_calls_total{line=\"line-1\",outcome=\"busy\"} 1",
        "ringup_calls_total{line=\"line-1\",outcome=\"our-fault\"} 1",
        "ringup_call_seconds_total{line=\"line-1\"} 3.0",
        "ringup_call_octets_total{line=\"line-1\",way=\"out\"} 1400",
        "ringup_money_reserved_total 20.5",
        "ringup_money_settled_total 9.35",
        "ringup_rings_refused_total{reason=\"withheld\"} 1",
        "ringup_alarms_raised_total{kind=\"budget\"} 1",
        "ringup_lines{state=\"idle\"} 0",
        "ringup_terminals_connected 0",
        "ringup_store_ready 1",
    ] {
        assert!(lines.contains(&expected), "{expected} is not in\n{text}");
    }
    assert!(
        !text.contains("secret") && !text.contains("5550199"),
        "{text}"
    );
    let (_, again) = watch.ask("/metrics").await;
    assert!(
        again
            .lines()
            .any(|line| line == "ringup_messages_accepted_total 2"),
        "asked twice, counted once"
    );
}

#[tokio::test]
async fn a_server_whose_store_fails_is_alive_and_not_ready() {
    let watch = Watch::start().await;
    watch.add_people().await;
    assert_eq!(watch.ask("/readyz").await.0, StatusCode::OK);
    watch.store.break_writes(true).await;
    let (status, why) = watch.ask("/readyz").await;
    assert_eq!(
        (status, why.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "the store fails\n")
    );
    assert_eq!(watch.ask("/healthz").await.0, StatusCode::OK);
    watch.store.break_writes(false).await;
    watch.store.break_writes(true).await;
    assert!(
        watch
            .ask("/metrics")
            .await
            .1
            .contains("ringup_store_ready 0")
    );
    watch.store.break_writes(false).await;
    assert_eq!(watch.ask("/readyz").await.0, StatusCode::OK);
    assert_eq!(watch.ask("/other").await.0, StatusCode::NOT_FOUND);
}
