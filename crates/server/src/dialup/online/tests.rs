use std::net::SocketAddr;

use delivery::proof::SecretKey;
use tokio::io::copy_bidirectional;
use tokio::sync::Barrier;

use super::super::scene::{Scene, Shelf};
use super::*;
use store::Last;

/// Longer than any wait of the port's.
const LINGER: Duration = Duration::from_secs(600);

async fn open(scene: &mut Scene) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    scene
        .tasks
        .spawn(scene.dialup.clone().serve_online(listener, 1000));
    address
}

/// A connection that has given its notice.
async fn notice(address: SocketAddr, terminal: &Terminal) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let notice = Preamble {
        terminal: terminal.id,
        reason: Reason::Online,
    };
    stream
        .write_all(format!("{notice}\n").as_bytes())
        .await
        .unwrap();
    stream
}

/// A stranger with a key of his own, who proves that and then says nothing more.
async fn stranger(
    scene: &Scene,
    address: SocketAddr,
    terminal: &Terminal,
) -> impl Future<Output = ()> + use<> {
    let mut stream = scene.secure(
        notice(address, terminal).await,
        &SecretKey::generate().unwrap(),
    );
    let mut proof = stream.proof();
    let (mut octets, mut is_proved) = ([0; 1024], false);
    while !is_proved {
        tokio::select! {
            proved = proof.wait() => is_proved = proved.is_some(),
            read = stream.read(&mut octets) => assert!(read.unwrap() > 0),
        }
    }
    async move { while matches!(stream.read(&mut octets).await, Ok(read) if read > 0) {} }
}

fn connected(report: Report) -> delivery::TerminalId {
    match report {
        Report::Connected { admitted, .. } => admitted.terminal(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_far_end_that_proves_a_key_of_its_own_and_never_shows_the_secret_is_no_terminal() {
    let mut scene = Scene::new().await;
    let address = open(&mut scene).await;
    let new = scene.terminal(1).await;
    scene.invite(new.id, 1).await;
    let (enrolled, key) = scene.enrolled(2).await;
    let (shelf, _receiving) = scene.receive(notice(address, &enrolled).await, &key, None, LINGER);
    assert_eq!(connected(scene.report().await), enrolled.id);
    scene.invite(enrolled.id, 2).await;
    let connections = scene.dialup.connected_count();
    for terminal in [&new, &enrolled] {
        let leaves = stranger(&scene, address, terminal).await;
        // Both ends of TLS are proved; what is left to do is wait.
        assert_eq!(
            scene.dialup.connected_count(),
            connections,
            "the stranger is not connected"
        );
        assert!(scene.reports.try_recv().is_err());
        tokio::time::pause();
        leaves.await;
        tokio::time::resume();
        let Report::Unproved {
            terminal: named,
            why,
        } = scene.report().await
        else {
            panic!()
        };
        assert_eq!(
            (named, why.as_str()),
            (terminal.id, "not proved: not in time")
        );
    }
    // The terminal itself was not replaced.
    let message = scene.accept(enrolled.id).await;
    scene.dialup.deliver(enrolled.id);
    while shelf.0.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(*shelf.0.lock().unwrap(), [message]);
}

#[tokio::test]
async fn a_shown_secret_is_a_terminal_and_ends_the_session_of_the_key_that_it_replaces() {
    let mut scene = Scene::new().await;
    let address = open(&mut scene).await;
    let (terminal, old) = scene.enrolled(1).await;
    let (_, mut receiving) = scene.receive(notice(address, &terminal).await, &old, None, LINGER);
    assert_eq!(connected(scene.report().await), terminal.id);
    let (secret, new) = (
        scene.invite(terminal.id, 1).await,
        SecretKey::generate().unwrap(),
    );
    let (_, _new) = scene.receive(notice(address, &terminal).await, &new, Some(secret), LINGER);
    let _ = receiving.join_next().await.unwrap().unwrap(); // the old one is cut off
    let mut reports = [scene.report().await, scene.report().await];
    reports.sort_by_key(|report| matches!(report, Report::Connected { .. }));
    let [Report::Ended { outcome, .. }, Report::Connected { .. }] = reports else {
        panic!("{reports:?}")
    };
    assert_eq!(outcome, Outcome::Revoked("its key was replaced"));
    assert_eq!(
        scene
            .store
            .trust(terminal.id, Timestamp::now())
            .await
            .unwrap()
            .keys,
        [new.public()]
    );
}

#[tokio::test]
async fn a_loss_of_trust_ends_the_session_of_a_terminal_that_never_leaves() {
    let mut scene = Scene::new().await;
    let address = open(&mut scene).await;
    for (number, why) in [(1, "shut out"), (2, "its key was replaced"), (3, "removed")] {
        let (terminal, key) = scene.enrolled(number).await;
        let (shelf, mut receiving) =
            scene.receive(notice(address, &terminal).await, &key, None, LINGER);
        assert_eq!(connected(scene.report().await), terminal.id);
        match number {
            1 => scene
                .store
                .shut_out(terminal.id, Timestamp::now())
                .await
                .unwrap(),
            2 => scene
                .store
                .register(
                    terminal.id,
                    SecretKey::generate().unwrap().public(),
                    Timestamp::now(),
                )
                .await
                .unwrap(),
            _ => assert!(
                scene
                    .store
                    .remove_terminal(terminal.name.clone(), Timestamp::now())
                    .await
                    .unwrap()
            ),
        }
        scene.keys.revoke(terminal.id, why);
        let _ = receiving.join_next().await.unwrap().unwrap(); // cut off, after all that waited had come
        let Report::Ended { outcome, .. } = scene.report().await else {
            panic!()
        };
        assert_eq!(outcome, Outcome::Revoked(why));
        if number < 3 {
            scene.accept(terminal.id).await;
            scene.dialup.deliver(terminal.id);
        }
        assert!(shelf.0.lock().unwrap().is_empty());
        assert_eq!(scene.dialup.connected_count(), 0);
        let (_, mut again) = scene.receive(notice(address, &terminal).await, &key, None, LINGER);
        assert!(
            again.join_next().await.unwrap().unwrap().is_err(),
            "{why}: it does not come back"
        );
        if number < 3 {
            assert!(matches!(scene.report().await, Report::Unproved { .. }));
        }
    }
}

#[tokio::test]
async fn a_session_whose_record_is_refused_has_one_later_which_ends_all_that_was_marked_on_it() {
    let mut scene = Scene::new().await;
    let address = open(&mut scene).await;
    let (terminal, key) = scene.enrolled(1).await;
    let message = scene.accept(terminal.id).await;
    scene.store.refuse_writes("calls", true).await;
    let (_, mut receiving) = scene.receive(notice(address, &terminal).await, &key, None, LINGER);
    let _ = receiving.join_next().await.unwrap().unwrap(); // cut off
    scene.store.refuse_writes("calls", false).await;
    // The session's last word may still be on its way to the store.
    while scene.store.record_again(Timestamp::now()).await.is_err()
        || scene.store.calls(Last(1)).await.unwrap().is_empty()
    {
        tokio::task::yield_now().await;
    }
    let record = scene.store.calls(Last(1)).await.unwrap().remove(0);
    assert!(
        record.ended_at.is_some() && record.via == Via::Internet,
        "{record:?}"
    );
    let found = scene.store.message(message).await.unwrap().unwrap();
    assert_eq!(found.envelopes[0].under_way, None, "whatever was marked");
}

#[tokio::test]
async fn a_loss_of_trust_ends_a_handshake_that_had_begun_before_it() {
    let mut scene = Scene::new().await;
    let address = open(&mut scene).await;
    let (terminal, key) = scene.enrolled(1).await;
    let stream = notice(address, &terminal).await;
    let mut first = [0; 1];
    assert_eq!(
        stream.peek(&mut first).await.unwrap(),
        1,
        "the server has begun to prove itself"
    );
    scene
        .store
        .shut_out(terminal.id, Timestamp::now())
        .await
        .unwrap();
    scene.keys.revoke(terminal.id, "shut out");
    let (_, mut receiving) = scene.receive(stream, &key, None, LINGER);
    assert!(receiving.join_next().await.unwrap().unwrap().is_err());
    assert!(
        scene.reports.try_recv().is_err(),
        "neither connected nor anybody's failure"
    );
}

/// A way to the port that is one address, as all terminals of a carrier have it, and so slow that what so many say is on it at
/// the same time.
async fn far_away(scene: &mut Scene, port: SocketAddr, count: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let all_there = Arc::new(Barrier::new(count));
    scene.tasks.spawn(async move {
        let mut ways = JoinSet::new();
        while let Ok((mut near, _)) = listener.accept().await {
            let all_there = all_there.clone();
            ways.spawn(async move {
                let mut far = TcpStream::connect(port).await?;
                all_there.wait().await;
                copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    address
}

#[tokio::test]
async fn forty_terminals_behind_one_address_all_get_through_and_strangers_there_do_not_stop_them() {
    let mut scene = Scene::new().await;
    let port = open(&mut scene).await;
    let far = far_away(&mut scene, port, 40).await;
    let mut terminals = Vec::new();
    for number in 0..40 {
        let (terminal, key) = scene.enrolled(number).await;
        scene.accept(terminal.id).await;
        terminals.push((terminal, key));
    }
    // Idle ones of the same address, and some that name a terminal and stall.
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(TcpStream::connect(port).await.unwrap());
    }
    for _ in 0..3 {
        idle.push(notice(port, &terminals[0].0).await);
    }
    let mut shelves: Vec<(Arc<Shelf>, _)> = Vec::new();
    for (terminal, key) in &terminals {
        shelves.push(scene.receive(notice(far, terminal).await, key, None, Duration::ZERO));
    }
    for (nth, (shelf, mut receiving)) in shelves.into_iter().enumerate() {
        let ended = receiving.join_next().await.unwrap().unwrap();
        assert_eq!(
            (ended.is_ok(), shelf.0.lock().unwrap().len()),
            (true, 1),
            "terminal {nth}: {ended:?}"
        );
    }
    drop(idle);
}

#[tokio::test]
async fn whoever_is_silent_longest_is_told_to_come_later_when_others_come() {
    let mut scene = Scene::new().await;
    let port = open(&mut scene).await;
    let mut oldest = TcpStream::connect(port).await.unwrap();
    let mut others = Vec::new();
    for _ in 0..256 {
        others.push(TcpStream::connect(port).await.unwrap());
    }
    let later = Later::read(&mut oldest).await.unwrap();
    assert_eq!(later.retry_in, Duration::from_secs(1));
}

#[tokio::test]
async fn whoever_named_a_terminal_three_times_in_vain_does_not_keep_it_out_at_its_own_address() {
    let mut scene = Scene::new().await;
    let port = open(&mut scene).await;
    let (terminal, key) = scene.enrolled(1).await;
    for _ in 0..5 {
        let mut forger = notice(port, &terminal).await;
        forger
            .write_all(b"\x16\x03\x01not a handshake")
            .await
            .unwrap();
        assert!(matches!(scene.report().await, Report::Unproved { .. }));
    }
    let stranger = Stranger::Network([127, 0, 0, 1].into(), terminal.id);
    assert!(
        scene
            .shared()
            .strangers()
            .is_backed_off(&stranger, std::time::Instant::now())
    );
    let (_, _receiving) = scene.receive(notice(port, &terminal).await, &key, None, LINGER);
    assert_eq!(connected(scene.report().await), terminal.id);
    assert!(
        !scene
            .shared()
            .strangers()
            .is_backed_off(&stranger, std::time::Instant::now())
    );
}

#[tokio::test]
async fn whoever_rings_a_terminal_is_told_when_it_is_connected_and_not_when_another_is() {
    let mut scene = Scene::new().await;
    let address = open(&mut scene).await;
    let ((rung, key), (other, others_key)) = (scene.enrolled(1).await, scene.enrolled(2).await);
    let (shared, id) = (scene.shared().clone(), rung.id);
    let ringing = tokio::spawn(async move { shared.presence.has_come(id).await });
    let (_shelf, _others) = scene.receive(notice(address, &other).await, &others_key, None, LINGER);
    assert_eq!(connected(scene.report().await), other.id);
    tokio::task::yield_now().await;
    assert!(!ringing.is_finished());
    let (_shelf, _receiving) = scene.receive(notice(address, &rung).await, &key, None, LINGER);
    assert_eq!(connected(scene.report().await), rung.id);
    ringing.await.unwrap();
    // A ring that begins now is over before it begins.
    scene.shared().presence.has_come(rung.id).await;
}
