use std::sync::Mutex;

use tokio::io::DuplexStream;

use super::*;
use crate::TerminalId;
use crate::courier::{Courier, DeliveryError, Receipt};
use crate::message::{ContentType, Manner, MessageHead, Parcel};
use crate::proof::{CourierCredentials, Pin, SecretKey, TerminalCredentials};

/// Two ends that know each other's keys.
fn ends() -> (Secured<DuplexStream>, Secured<DuplexStream>) {
    ends_with(&SecretKey::generate().unwrap())
}

fn ends_with(terminal: &SecretKey) -> (Secured<DuplexStream>, Secured<DuplexStream>) {
    let server = SecretKey::generate().unwrap();
    let (near, far) = tokio::io::duplex(1000);
    let courier = CourierCredentials::new(&server).unwrap();
    let pin = Pin::Keys(vec![terminal.public()]);
    let near = courier
        .secure(near, TerminalId::from_octets([1; 8]), pin, 33_600)
        .unwrap();
    let far = TerminalCredentials::new(terminal, vec![server.public()], None)
        .unwrap()
        .secure(far, 33_600)
        .unwrap();
    (near, far)
}

#[derive(Default)]
struct Shelf(Mutex<Vec<(MessageId, Bytes)>>);

/// Keeps the server's keys, or cannot.
struct KeyShelf(Mutex<Result<Vec<PublicKey>, ()>>);

impl Inbox for KeyShelf {
    async fn store(&self, _head: Arrival, _content: Incoming) -> Result<Stored, StoreError> {
        unreachable!("nothing is brought")
    }

    async fn progress(&self, _id: MessageId) -> Progress {
        Progress::Nothing
    }

    fn keep_server_keys(&self, keys: &ServerKeyList) -> Result<bool, StoreError> {
        let mut kept = self.0.lock().unwrap();
        let full = || StoreError::Disk {
            operation: "keep",
            source: std::io::ErrorKind::StorageFull.into(),
        };
        *kept.as_mut().map_err(|()| full())? = keys.keys().to_vec();
        Ok(true)
    }
}

#[tokio::test]
async fn a_terminal_keeps_the_servers_new_keys_if_the_one_it_was_proved_by_is_among_them() {
    let key = SecretKey::generate().unwrap();
    let (near, far) = ends_with(&key);
    let server = far.expected_servers()[0];
    let new = SecretKey::generate().unwrap().public();
    let kept = Arc::new(KeyShelf(Mutex::new(Ok(vec![]))));
    tokio::spawn(receive(far, kept.clone(), None, Duration::ZERO));
    let mut courier = Courier::start(near, None).await.unwrap();
    let list = |keys: &[PublicKey]| ServerKeyList::new(keys.to_vec()).unwrap();
    assert!(
        !courier.tell_keys(&list(&[new])).await.unwrap(),
        "who would lock itself out is refused"
    );
    assert_eq!(kept.0.lock().unwrap().as_ref().unwrap().len(), 0);
    assert!(courier.tell_keys(&list(&[server, new])).await.unwrap());
    assert_eq!(kept.0.lock().unwrap().as_deref().unwrap(), &[server, new]);
    *kept.0.lock().unwrap() = Err(());
    assert!(
        !courier.tell_keys(&list(&[server])).await.unwrap(),
        "the disk is full"
    );
}

#[tokio::test]
async fn a_terminal_that_keeps_no_keys_says_so() {
    let (near, far) = ends();
    let server = far.expected_servers()[0];
    tokio::spawn(receive(
        far,
        Arc::new(Shelf::default()),
        None,
        Duration::ZERO,
    ));
    let mut courier = Courier::start(near, None).await.unwrap();
    assert!(
        !courier
            .tell_keys(&ServerKeyList::new(vec![server]).unwrap())
            .await
            .unwrap()
    );
}

impl Inbox for Shelf {
    async fn store(&self, head: Arrival, content: Incoming) -> Result<Stored, StoreError> {
        let content = content
            .collect()
            .await
            .map_err(|_| StoreError::Cut)?
            .to_bytes();
        if head
            .digest
            .is_some_and(|digest| Digest::of(&content) != digest)
        {
            return Err(StoreError::Damaged);
        }
        let mut shelf = self.0.lock().unwrap();
        if shelf.iter().any(|(id, _)| *id == head.id) {
            return Ok(Stored::Before);
        }
        shelf.push((head.id, content));
        Ok(Stored::Now)
    }

    async fn progress(&self, id: MessageId) -> Progress {
        if self.0.lock().unwrap().iter().any(|(known, _)| *known == id) {
            Progress::Whole
        } else {
            Progress::Part {
                offset: 7,
                digest: Some(Digest::of(b"whole")),
            }
        }
    }
}

fn message(content: &'static [u8]) -> Parcel {
    let head = MessageHead {
        id: MessageId::now(),
        content_type: ContentType::octets(),
        digest: Digest::of(content),
        size: content.len() as u64,
    };
    Parcel::new(head, Manner::default(), Bytes::from_static(content))
}

#[tokio::test]
async fn a_message_is_stored_before_its_receipt_and_a_repeat_is_said_to_be_one() {
    let (near, far) = ends();
    let shelf = Arc::new(Shelf::default());
    let terminal = tokio::spawn(receive(far, shelf.clone(), None, Duration::ZERO));
    let mut courier = Courier::start(near, None).await.unwrap();
    let parcel = message(b"coin box full");
    assert_eq!(
        courier.deliver(&parcel, 0, false).await.unwrap(),
        Receipt::Stored
    );
    assert_eq!(
        shelf.0.lock().unwrap().as_slice(),
        &[(parcel.head().id, parcel.octets().held().unwrap().clone())]
    );
    assert_eq!(
        courier.deliver(&parcel, 0, false).await.unwrap(),
        Receipt::StoredBefore
    );
    assert!(
        courier.nothing_more().await.is_err(),
        "the terminal hangs up instead of answering"
    );
    assert!(terminal.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_refusal_leaves_the_session_usable_and_carries_its_reason() {
    let (near, far) = ends();
    let terminal = tokio::spawn(receive(
        far,
        Arc::new(Shelf::default()),
        None,
        Duration::ZERO,
    ));
    let mut courier = Courier::start(near, None).await.unwrap();
    let mut head = message(&[7; 20_000]).head().clone(); // with less TLS vouches for it
    head.digest = Digest::of(b"something else");
    let parcel = Parcel::new(head, Manner::default(), Bytes::from_static(&[7; 20_000]));
    let Err(DeliveryError::Refused { status, reason }) = courier.deliver(&parcel, 0, false).await
    else {
        panic!()
    };
    assert_eq!(
        (status, reason.as_str()),
        (
            StatusCode::BAD_REQUEST,
            "the content does not match its digest and size"
        )
    );
    let parcel = message(b"second");
    assert_eq!(
        courier.deliver(&parcel, 0, false).await.unwrap(),
        Receipt::Stored
    );
    drop(courier);
    assert!(matches!(
        terminal.await.unwrap(),
        Err(ReceiveError::Closed | ReceiveError::Lost(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_terminal_that_lingers_takes_what_comes_after_nothing_more() {
    let (near, far) = ends();
    let terminal = tokio::spawn(receive(
        far,
        Arc::new(Shelf::default()),
        None,
        Duration::from_secs(30),
    ));
    let mut courier = Courier::start(near, None).await.unwrap();
    courier.nothing_more().await.unwrap();
    let parcel = message(b"late");
    assert_eq!(
        courier.deliver(&parcel, 0, false).await.unwrap(),
        Receipt::Stored
    );
    courier.nothing_more().await.unwrap();
    courier.closed().await;
    assert!(terminal.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_lost_connection_is_not_a_receipt() {
    let (near, far) = ends();
    let mut courier = Courier::start(near, None).await.unwrap();
    drop(far);
    let parcel = message(b"x");
    assert!(matches!(
        courier.deliver(&parcel, 0, false).await,
        Err(DeliveryError::Lost(_))
    ));
}

#[tokio::test]
async fn a_terminal_proves_its_secret_to_be_enrolled_and_one_without_cannot() {
    let secret = EnrolmentSecret::from_octets([7; 32]);
    for (is_told, offered, is_admitted) in [
        (true, [7; 32], true),
        (true, [8; 32], false),
        (false, [7; 32], false),
    ] {
        let key = SecretKey::generate().unwrap();
        let (near, far) = ends_with(&key);
        let key = key.public();
        let enrolment = is_told.then(|| Enrolment {
            secret: EnrolmentSecret::from_octets(offered),
            key,
        });
        let terminal = tokio::spawn(receive(
            far,
            Arc::new(Shelf::default()),
            enrolment,
            Duration::ZERO,
        ));
        let mut courier = Courier::start(near, None).await.unwrap();
        assert_eq!(courier.enrol(&secret).await.is_ok(), is_admitted);
        drop(courier);
        assert!(terminal.await.unwrap().is_err());
    }
}

#[tokio::test]
async fn a_last_message_ends_the_session_in_order_whoever_goes_first() {
    for is_last in [true, false] {
        let (near, far) = ends();
        let terminal = tokio::spawn(receive(
            far,
            Arc::new(Shelf::default()),
            None,
            Duration::ZERO,
        ));
        let mut courier = Courier::start(near, None).await.unwrap();
        let parcel = message(b"the only one");
        courier.deliver(&parcel, 0, is_last).await.unwrap();
        assert!(!courier.lingers());
        drop(courier); // the server hangs up on the receipt
        assert_eq!(terminal.await.unwrap().is_ok(), is_last);
    }
}

#[tokio::test(start_paused = true)]
async fn a_terminal_hangs_up_by_itself_on_a_server_that_forgets_to() {
    let (near, far) = ends();
    let terminal = tokio::spawn(receive(
        far,
        Arc::new(Shelf::default()),
        None,
        Duration::ZERO,
    ));
    let mut courier = Courier::start(near, None).await.unwrap();
    let parcel = message(b"the only one");
    courier.deliver(&parcel, 0, true).await.unwrap();
    let parcel = message(b"but here is another");
    courier.deliver(&parcel, 0, true).await.unwrap();
    assert!(terminal.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_terminal_that_stays_says_so_on_its_receipts() {
    let (near, far) = ends();
    tokio::spawn(receive(
        far,
        Arc::new(Shelf::default()),
        None,
        Duration::from_secs(30),
    ));
    let mut courier = Courier::start(near, None).await.unwrap();
    let parcel = message(b"first");
    courier.deliver(&parcel, 0, true).await.unwrap();
    assert!(courier.lingers());
}

#[tokio::test]
async fn a_terminal_tells_how_much_it_has_and_takes_the_rest() {
    let (near, far) = ends();
    tokio::spawn(receive(
        far,
        Arc::new(Shelf::default()),
        None,
        Duration::ZERO,
    ));
    let mut courier = Courier::start(near, None).await.unwrap();
    let parcel = message(b"a long content");
    let part = Progress::Part {
        offset: 7,
        digest: Some(Digest::of(b"whole")),
    };
    assert_eq!(courier.progress(parcel.head().id).await.unwrap(), part);
    let error = courier.deliver(&parcel, 7, false).await;
    // The shelf keeps no parts, so what it checks is the rest alone; that it came is enough here.
    assert!(error.is_ok(), "{error:?}");
    assert_eq!(
        courier.progress(parcel.head().id).await.unwrap(),
        Progress::Whole
    );
}
