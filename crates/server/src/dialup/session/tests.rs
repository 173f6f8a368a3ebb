use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use delivery::Reason;
use delivery::proof::SecretKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::{Mutex, mpsc, watch};

use tokio::task::JoinSet;

use super::super::Report;
use super::super::open_link::Gone;
use super::super::scene::Scene;
use super::*;
use crate::keys::Whose;
use model::call::CallRecord;
use model::directory::{Name, Stock, StockTrust, TrustedBy};
use model::provider::Provider;
use model::provider::TokenHash;

/// Longer than any wait of a session's.
const LINGER: Duration = Duration::from_secs(600);

/// A link whose far end is this test.
struct FakeLink {
    submissions: Mutex<mpsc::Receiver<DuplexStream>>,
    notices: Mutex<mpsc::Receiver<DuplexStream>>,
    gone: watch::Receiver<Option<Gone>>,
    is_proved: AtomicBool,
    is_hung_up: AtomicBool,
}

/// Its far end.
struct FarEnd {
    submissions: mpsc::Sender<DuplexStream>,
    notices: mpsc::Sender<DuplexStream>,
    gone: watch::Sender<Option<Gone>>,
}

fn link() -> (Arc<FakeLink>, FarEnd) {
    let ((submissions, of_submissions), (notices, of_notices)) =
        (mpsc::channel(8), mpsc::channel(8));
    let (gone, is_gone) = watch::channel(None);
    let link = FakeLink {
        submissions: Mutex::new(of_submissions),
        notices: Mutex::new(of_notices),
        gone: is_gone,
        is_proved: AtomicBool::new(false),
        is_hung_up: AtomicBool::new(false),
    };
    (
        Arc::new(link),
        FarEnd {
            submissions,
            notices,
            gone,
        },
    )
}

impl OpenLink for FakeLink {
    type Stream = DuplexStream;

    async fn submission(&self) -> io::Result<DuplexStream> {
        self.submissions
            .lock()
            .await
            .recv()
            .await
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    async fn notice(&self) -> io::Result<DuplexStream> {
        self.notices
            .lock()
            .await
            .recv()
            .await
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    async fn connect(&self, _port: u16) -> io::Result<DuplexStream> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }

    async fn gone(&self) -> Gone {
        let mut gone = self.gone.clone();
        let gone = gone
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|gone| gone.clone());
        match gone {
            Some(gone) => gone,
            None => std::future::pending().await,
        }
    }

    async fn lost(&self) -> Option<Gone> {
        self.gone.borrow().clone()
    }

    async fn silent(&self, _limit: Duration) {
        std::future::pending::<()>().await;
    }

    fn address(&self) -> Option<Ipv4Addr> {
        None
    }

    fn rate_bps(&self) -> u32 {
        33_600
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }

    fn proved(&self, _admitted: &Admitted) {
        self.is_proved.store(true, Ordering::Relaxed);
    }

    fn hang_up(&self) {
        self.is_hung_up.store(true, Ordering::Relaxed);
    }
}

impl FarEnd {
    /// A connection that has given its notice.
    async fn notice(&self, terminal: &Terminal) -> DuplexStream {
        let (near, mut far) = duplex(4096);
        let notice = Preamble {
            terminal: terminal.id,
            reason: Reason::DialledIn,
        };
        far.write_all(format!("{notice}\n").as_bytes())
            .await
            .unwrap();
        self.notices.send(near).await.unwrap();
        far
    }

    fn lose_carrier(&self) {
        let why = "link ended: carrier lost".to_owned();
        self.gone.send_replace(Some(Gone {
            why,
            is_orderly: false,
            is_lost: true,
        }));
    }

    fn hang_up(&self) {
        let why = "link ended: LCP terminated by the peer".to_owned();
        self.gone.send_replace(Some(Gone {
            why,
            is_orderly: true,
            is_lost: false,
        }));
    }
}

/// A call from this one's number.
fn incoming(scene: &Scene, peer: Peer) -> Session {
    Session {
        call: CallId::now(),
        peer,
        line: "line-1".parse().unwrap(),
        direction: Direction::Incoming,
        delay: Duration::from_millis(1),
        caller: Some("301".parse().unwrap()),
        shared: scene.shared().clone(),
        meter: Meter {
            began: tokio::time::Instant::now(),
            allowance: None,
        },
    }
}

fn serve(
    scene: &Scene,
    peer: Peer,
    hearing: Option<Duration>,
) -> (Arc<FakeLink>, FarEnd, JoinSet<Served>) {
    let (session, (near, far), mut task) = (incoming(scene, peer), link(), JoinSet::new());
    let link = near.clone();
    task.spawn(async move { session.serve(&link, Instant::now(), hearing).await });
    (near, far, task)
}

async fn ended(task: &mut JoinSet<Served>) -> (String, Showing) {
    tokio::time::pause(); // what is left is to wait
    let Served { outcome, showing } = task.join_next().await.unwrap().unwrap();
    tokio::time::resume();
    (outcome.to_string(), showing)
}

async fn provider(scene: &Scene) -> Peer {
    let provider = Provider {
        name: "vending".parse().unwrap(),
        number: Some("301".parse().unwrap()),
        may_send: vec![],
        is_disabled: false,
    };
    scene
        .store
        .add_provider(provider.clone(), TokenHash::of("token"))
        .await
        .unwrap();
    Peer::Provider(provider, None)
}

#[tokio::test]
async fn a_caller_that_proves_a_key_of_its_own_and_never_shows_the_secret_opens_nothing() {
    let mut scene = Scene::new().await;
    let (enrolled, _key) = scene.enrolled(1).await;
    scene.invite(enrolled.id, 1).await;
    let new = scene.terminal(2).await;
    scene.invite(new.id, 2).await;
    for terminal in [enrolled, new] {
        let (link, far, mut task) = serve(&scene, Peer::Terminal(terminal.clone()), None);
        let mut stranger =
            scene.secure(far.notice(&terminal).await, &SecretKey::generate().unwrap());
        let mut proof = stranger.proof();
        let mut octets = [0; 1024];
        while proof.proved().is_none() {
            tokio::select! {
                _ = proof.wait() => {}
                read = stranger.read(&mut octets) => assert!(read.unwrap() > 0),
            }
        }
        let listening =
            async { while matches!(stranger.read(&mut octets).await, Ok(read) if read > 0) {} };
        let (_, end) = tokio::join!(listening, ended(&mut task));
        assert_eq!(
            end,
            ("not proved: no proof in time".to_owned(), Showing::Nothing)
        );
        assert!(!link.is_proved.load(Ordering::Relaxed), "TUN stays shut");
        assert!(scene.reports.try_recv().is_err(), "nothing was reported");
        assert_eq!(
            scene
                .shared()
                .is_about(Direction::Incoming, Some(terminal.id), end.1),
            None
        );
    }
}

#[tokio::test]
async fn a_terminal_that_has_proved_itself_is_connected_and_a_shut_out_hangs_up() {
    let mut scene = Scene::new().await;
    let (terminal, key) = scene.enrolled(1).await;
    let (link, far, mut task) = serve(&scene, Peer::Terminal(terminal.clone()), None);
    let (_, _receiving) = scene.receive(far.notice(&terminal).await, &key, None, LINGER);
    let Report::Connected { admitted, .. } = scene.report().await else {
        panic!()
    };
    assert_eq!(admitted.terminal(), terminal.id);
    assert!(link.is_proved.load(Ordering::Relaxed));
    scene
        .store
        .shut_out(terminal.id, Timestamp::now())
        .await
        .unwrap();
    scene.keys.revoke(terminal.id, "shut out");
    let Served { outcome, showing } = task.join_next().await.unwrap().unwrap();
    assert_eq!(
        (outcome, showing),
        (Outcome::Revoked("shut out"), Showing::Terminal)
    );
    assert!(link.is_hung_up.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_shut_out_hangs_up_before_the_proof_too() {
    let scene = Scene::new().await;
    let (terminal, _) = scene.enrolled(1).await;
    let (_, far, mut task) = serve(&scene, Peer::Terminal(terminal.clone()), None);
    let mut stream = far.notice(&terminal).await;
    stream.read_exact(&mut [0; 1]).await.unwrap(); // the server has begun to prove itself
    scene
        .store
        .shut_out(terminal.id, Timestamp::now())
        .await
        .unwrap();
    scene.keys.revoke(terminal.id, "shut out");
    let Served { outcome, showing } = task.join_next().await.unwrap().unwrap();
    assert_eq!(
        (outcome, showing),
        (Outcome::Revoked("shut out"), Showing::Unknown)
    );
}

#[tokio::test]
async fn who_answers_the_number_that_a_terminal_had_is_not_that_terminal() {
    let scene = Scene::believing(true).await;
    let mut terminal = scene.terminal(1).await;
    scene
        .store
        .remove_terminal(terminal.name.clone(), Timestamp::now())
        .await
        .unwrap();
    terminal.trusted_by = TrustedBy::Stock(Stock {
        trust: StockTrust::NumberOnly,
        inbox: "http://:8080/inbox".parse().unwrap(),
    });
    scene.store.add_terminal(terminal.clone()).await.unwrap();
    let mut session = incoming(&scene, Peer::Terminal(terminal.clone()));
    session.direction = Direction::Outgoing;
    let open = scene.keys.sessions().open(Whose::Terminal(terminal.id));
    let is_stock = async || session.stock(Some(&open)).await.unwrap().is_some();
    assert!(is_stock().await);
    let update = store::TerminalUpdate {
        number: Some("302".parse().unwrap()),
        address: None,
        registrable: None,
    };
    scene
        .store
        .update_terminal(terminal.id, update)
        .await
        .unwrap();
    assert!(!is_stock().await);
}

#[tokio::test]
async fn a_carrier_that_is_lost_during_the_proof_is_the_lines_fault_whatever_is_seen_first() {
    let scene = Scene::new().await;
    let (terminal, _) = scene.enrolled(1).await;
    for is_notified_late in [false, true].into_iter().cycle().take(40) {
        let (_, far, mut task) = serve(&scene, Peer::Terminal(terminal.clone()), None);
        let mut stream = far.notice(&terminal).await;
        stream.read_exact(&mut [0; 1]).await.unwrap();
        // As a link does it: first it is gone, then its streams are.
        far.lose_carrier();
        if is_notified_late {
            tokio::task::yield_now().await;
        }
        drop(stream);
        let (outcome, showing) = ended(&mut task).await;
        assert_eq!(
            (outcome.as_str(), showing),
            ("link ended: carrier lost", Showing::LineLost)
        );
    }
}

#[tokio::test]
async fn every_way_of_proving_nothing_on_a_line_that_stands_counts() {
    let scene = Scene::new().await;
    let (terminal, _) = scene.enrolled(1).await;
    // It hangs up.
    let (_, far, mut task) = serve(&scene, Peer::Terminal(terminal.clone()), None);
    far.hang_up();
    let hung_up = ended(&mut task).await;
    assert_eq!(hung_up.1, Showing::Nothing, "{hung_up:?}");
    // It says nothing.
    let (_, _far, mut task) = serve(&scene, Peer::Terminal(terminal.clone()), None);
    let silent = ended(&mut task).await;
    assert_eq!(silent.1, Showing::Nothing, "{silent:?}");
    // It gives half a notice, gives another's, closes during the proof.
    let (_, far, mut task) = serve(&scene, Peer::Terminal(terminal.clone()), None);
    let (near, mut half) = duplex(100);
    half.write_all(b"ringup/1 ").await.unwrap();
    far.notices.send(near).await.unwrap();
    let half_said = ended(&mut task).await;
    assert_eq!(half_said.1, Showing::Nothing, "{half_said:?}");
    let (_, far, mut task) = serve(&scene, Peer::Terminal(terminal.clone()), None);
    let _other = far.notice(&scene.terminal(2).await).await;
    assert_eq!(ended(&mut task).await.1, Showing::Nothing);
    let (_, far, mut task) = serve(&scene, Peer::Terminal(terminal.clone()), None);
    drop(far.notice(&terminal).await);
    let closed = ended(&mut task).await;
    assert!(
        closed.0.starts_with("not proved") && closed.1 == Showing::Nothing,
        "{closed:?}"
    );
}

#[tokio::test]
async fn a_provider_keeps_a_line_for_a_first_request_that_is_recognised_and_no_longer() {
    let scene = Scene::new().await;
    let peer = provider(&scene).await;
    let Peer::Provider(known, _) = &peer else {
        panic!()
    };
    for (said, is_recognised) in [
        ("GET /v1/messages/x HTTP/1.1\r\nhost: x\r\nauthor", false),
        (
            "GET /v1/messages/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer guess\r\n\r\n",
            false,
        ),
        (
            "GET /v1/messages/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer token\r\n\r\n",
            true,
        ),
    ] {
        let (_, far, mut task) = serve(&scene, Peer::Provider(known.clone(), None), None);
        let (near, mut stream) = duplex(4096);
        far.submissions.send(near).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        if is_recognised {
            stream.read_exact(&mut [0; 1]).await.unwrap(); // it was answered
            far.hang_up();
        }
        let end = ended(&mut task).await;
        assert_eq!(end.1 == Showing::Provider, is_recognised, "{said}: {end:?}");
        assert_eq!(end.0 == "completed", is_recognised, "{said}: {end:?}");
    }
}

#[tokio::test]
async fn a_provider_whose_token_is_taken_back_is_hung_up_while_it_submits() {
    let scene = Scene::new().await;
    let peer = provider(&scene).await;
    let (link, far, mut task) = serve(&scene, peer, None);
    let (near, mut stream) = duplex(4096);
    far.submissions.send(near).await.unwrap();
    let head = "POST /v1/messages?to=tel:301 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer token\r\ncontent-length: 9\r\n\r\n";
    stream
        .write_all(format!("{head}half").as_bytes())
        .await
        .unwrap();
    let name = Whose::Provider("vending".parse().unwrap());
    // Its session is registered before the first octet of it is read.
    while scene
        .keys
        .sessions()
        .end(&name, None, "its token was replaced")
        == 0
    {
        tokio::task::yield_now().await;
    }
    let Served { outcome, .. } = task.join_next().await.unwrap().unwrap();
    assert_eq!(outcome, Outcome::Revoked("its token was replaced"));
    assert!(link.is_hung_up.load(Ordering::Relaxed));
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said).await; // cut off
    assert!(
        said.is_empty(),
        "no answer to what was half there: {said:?}"
    );
}

#[tokio::test]
async fn a_number_that_proved_nothing_three_times_is_answered_for_a_moment_and_its_owner_gets_through()
 {
    let mut scene = Scene::new().await;
    let (terminal, key) = scene.enrolled(1).await;
    let shared = scene.shared().clone();
    let ring = line::Ring::new(line::Caller::Number("301".parse().unwrap()), false);
    let line = "line-1".parse().unwrap();
    let record = CallRecord::begin(
        CallId::now(),
        Timestamp::now(),
        Direction::Incoming,
        "line-1".parse::<Name>().unwrap(),
        Some("301".parse().unwrap()),
        terminal.name.clone(),
    );
    let forged = Outcome::NotProved("no proof".into());
    for _ in 0..3 {
        assert!(
            incoming(&scene, Peer::Terminal(terminal.clone()))
                .hearing(33_600)
                .is_none()
        );
        shared
            .note_caller(&record, Some(terminal.id), &forged, Showing::Nothing)
            .await;
        assert!(matches!(scene.report().await, Report::Unproved { .. }));
    }
    assert!(
        shared.screen(&line, &ring).await.is_some(),
        "answered all the same"
    );
    let hearing = incoming(&scene, Peer::Terminal(terminal.clone()))
        .hearing(33_600)
        .unwrap();
    assert!((2..10).contains(&hearing.as_secs()), "{hearing:?}");
    // A forger who stalls has this long and no longer.
    let (_, far, mut task) = serve(&scene, Peer::Terminal(terminal.clone()), Some(hearing));
    let _stalled = far.notice(&terminal).await;
    assert_eq!(ended(&mut task).await.1, Showing::Nothing);
    // The owner proves itself in it, and is no longer spaced.
    let (_, far, mut task) = serve(&scene, Peer::Terminal(terminal.clone()), Some(hearing));
    let (_, _receiving) = scene.receive(far.notice(&terminal).await, &key, None, Duration::ZERO);
    assert!(matches!(scene.report().await, Report::Connected { .. }));
    let Served { outcome, showing } = task.join_next().await.unwrap().unwrap();
    shared
        .note_caller(&record, Some(terminal.id), &outcome, showing)
        .await;
    assert!(
        incoming(&scene, Peer::Terminal(terminal.clone()))
            .hearing(33_600)
            .is_none()
    );
}

#[tokio::test]
async fn lost_carriers_do_not_space_a_number() {
    let mut scene = Scene::new().await;
    let (terminal, _) = scene.enrolled(1).await;
    let record = CallRecord::begin(
        CallId::now(),
        Timestamp::now(),
        Direction::Incoming,
        "line-1".parse::<Name>().unwrap(),
        Some("301".parse().unwrap()),
        terminal.name.clone(),
    );
    let lost = Outcome::SessionLost {
        why: "carrier lost".into(),
        delivering: None,
    };
    for _ in 0..20 {
        scene
            .shared()
            .note_caller(&record, Some(terminal.id), &lost, Showing::LineLost)
            .await;
    }
    assert!(
        incoming(&scene, Peer::Terminal(terminal))
            .hearing(33_600)
            .is_none()
    );
    assert!(scene.reports.try_recv().is_err());
}

#[tokio::test]
async fn a_caller_has_eight_connections_to_the_submission_port_at_once_and_no_more() {
    let scene = Scene::new().await;
    let (_, far, _task) = serve(&scene, provider(&scene).await, None);
    let mut held = Vec::new();
    let mut connect = || {
        let (near, stream) = duplex(64);
        held.push(stream);
        near
    };
    // As many more wait with TCP, which is a queue of eight here.
    for _ in 0..16 {
        far.submissions.send(connect()).await.unwrap();
    }
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(far.submissions.try_send(connect()).is_err());
}
