use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;
use crate::terminal_id::TerminalId;

const RATE: u32 = 33_600;

/// Far more than a handshake takes.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

#[derive(Debug, Default)]
struct Memory(Mutex<HashMap<Vec<u8>, Vec<u8>>>);

impl SessionShelf for Memory {
    fn put(&self, name: &[u8], session: &[u8]) {
        self.0
            .lock()
            .unwrap()
            .insert(name.to_owned(), session.to_owned());
    }

    fn take(&self, name: &[u8]) -> Option<Vec<u8>> {
        self.0.lock().unwrap().remove(name)
    }
}

struct Ends {
    courier: CourierCredentials,
    terminal: TerminalCredentials,
    pin: Pin,
    key: PublicKey,
    shelf: Arc<Memory>,
    form: KeyForm,
}

fn terminal_id() -> TerminalId {
    TerminalId::from_octets([0xfe; 8])
}

fn enrolled() -> Ends {
    enrolled_in(KeyForm::Raw)
}

fn enrolled_in(form: KeyForm) -> Ends {
    let (server, terminal) = (
        SecretKey::generate().unwrap(),
        SecretKey::generate().unwrap(),
    );
    let shelf = Arc::new(Memory::default());
    Ends {
        courier: CourierCredentials::new(&server).unwrap(),
        pin: Pin::Keys(vec![terminal.public()]),
        key: terminal.public(),
        terminal: TerminalCredentials::new_in(
            form,
            &terminal,
            vec![server.public()],
            Some(shelf.clone()),
        )
        .unwrap(),
        shelf,
        form,
    }
}

impl Ends {
    fn secure(&self, capacity: usize) -> (Secured<DuplexStream>, Secured<DuplexStream>) {
        let (near, far) = duplex(capacity);
        let courier = self
            .courier
            .secure_in(self.form, near, terminal_id(), self.pin.clone(), RATE)
            .unwrap();
        (courier, self.terminal.secure(far, RATE).unwrap())
    }

    /// One call: the server says `ask`, the terminal answers; gives what each learned of the other.
    async fn call(&self, ask: &[u8]) -> std::io::Result<(Proved, Proved)> {
        let (mut courier, mut terminal) = self.secure(4096);
        Self::talk(&mut courier, &mut terminal, ask).await
    }

    /// The same; gives the server's end.
    async fn call_and_keep(&self, ask: &[u8]) -> std::io::Result<Secured<DuplexStream>> {
        let (mut courier, mut terminal) = self.secure(4096);
        Self::talk(&mut courier, &mut terminal, ask)
            .await
            .map(|_| courier)
    }

    async fn talk(
        courier: &mut Secured<DuplexStream>,
        terminal: &mut Secured<DuplexStream>,
        ask: &[u8],
    ) -> std::io::Result<(Proved, Proved)> {
        let (mut at_server, mut at_terminal) = (courier.proof(), terminal.proof());
        let server = async {
            courier.write_all(ask).await?;
            courier.flush().await?;
            let mut answer = [0; 6];
            courier.read_exact(&mut answer).await?;
            assert_eq!(&answer, b"answer");
            courier.shutdown().await
        };
        let far = async {
            let mut asked = vec![0; ask.len()];
            terminal.read_exact(&mut asked).await?;
            assert_eq!(asked, ask);
            terminal.write_all(b"answer").await?;
            terminal.flush().await?;
            assert_eq!(terminal.read(&mut [0; 1]).await?, 0, "closed in order");
            Ok(())
        };
        let both = async { tokio::try_join!(server, far) };
        tokio::time::timeout(PATIENCE, both)
            .await
            .expect("neither end waits for ever")?;
        Ok((
            at_server.wait().await.unwrap(),
            at_terminal.wait().await.unwrap(),
        ))
    }
}

#[tokio::test]
async fn each_end_learns_the_key_of_the_other_and_both_share_a_secret() {
    let ends = enrolled();
    let (server, terminal) = ends.call(b"hello").await.unwrap();
    assert!(ends.pin.admits(&server.peer));
    assert!(!ends.pin.admits(&terminal.peer));
    assert!(server.exporter == terminal.exporter && !server.resumed && !terminal.resumed);
    let again = ends.call(b"hello").await.unwrap().0;
    assert!(
        again.exporter != server.exporter,
        "no two connections share it"
    );
}

#[tokio::test]
async fn keys_in_certificates_are_proved_pinned_and_resumed_as_raw_ones_are() {
    let mut ends = enrolled_in(KeyForm::Certificate);
    let (server, terminal) = ends.call(b"hello").await.unwrap();
    assert!(
        server.peer == ends.key
            && terminal.peer != ends.key
            && server.exporter == terminal.exporter
    );
    assert!(ends.call(b"hello").await.unwrap().0.resumed);
    let stranger = SecretKey::generate().unwrap();
    let known = ends.terminal.clone();
    ends.terminal =
        TerminalCredentials::new_in(KeyForm::Certificate, &stranger, vec![terminal.peer], None)
            .unwrap();
    let error = ends.call(b"hello").await.unwrap_err().to_string();
    assert!(error.contains(&stranger.public().to_string()), "{error}");
    ends.terminal = known;
    ends.courier = CourierCredentials::new(&stranger).unwrap();
    let error = ends.call(b"hello").await.unwrap_err().to_string();
    assert!(
        error.contains("is not the one that was enrolled"),
        "{error}"
    );
}

#[tokio::test]
async fn whoever_presents_the_other_form_than_is_expected_gets_no_connection() {
    for (expected, form) in [
        (KeyForm::Raw, KeyForm::Certificate),
        (KeyForm::Certificate, KeyForm::Raw),
    ] {
        let mut ends = enrolled_in(form);
        ends.form = expected;
        assert!(ends.call(b"hello").await.is_err(), "{form:?}");
    }
}

#[tokio::test]
async fn the_second_call_resumes_and_a_session_is_used_once() {
    let ends = enrolled();
    ends.call(b"hello").await.unwrap();
    let first = ends.shelf.0.lock().unwrap().clone();
    assert_eq!(first.len(), 1);
    let (server, terminal) = ends.call(b"hello").await.unwrap();
    assert!(server.resumed && terminal.resumed);
    assert!(
        ends.pin.admits(&server.peer),
        "a resumed session knows its keys"
    );
    assert!(
        ends.shelf
            .0
            .lock()
            .unwrap()
            .keys()
            .all(|name| !first.contains_key(name))
    );
}

#[tokio::test]
async fn early_data_is_there_before_the_proof_and_no_answer_goes_out_before_it() {
    let ends = enrolled();
    ends.call(b"hello").await.unwrap();
    let (mut courier, mut terminal) = ends.secure(4096);
    courier.write_all(b"first message").await.unwrap();
    courier.flush().await.unwrap();
    let mut read = [0; 13];
    terminal.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"first message");
    assert!(terminal.proved().is_none());
    terminal.write_all(b"receipt").await.unwrap();
    // The server's end is not polled, so its Finished is never sent: the receipt must not be either.
    assert!(futures_ready(terminal.flush()).await.is_none());
    let mut receipt = [0; 7];
    let (_, answered) = tokio::join!(courier.read_exact(&mut receipt), terminal.flush());
    answered.unwrap();
    assert_eq!(&receipt, b"receipt");
    assert!(terminal.proved().is_some());
}

#[tokio::test]
async fn early_data_that_the_terminal_refuses_arrives_once_and_in_order() {
    let ends = enrolled();
    ends.call(b"hello").await.unwrap();
    ends.shelf.0.lock().unwrap().clear(); // the terminal has lost its session
    let (server, _) = ends
        .call(&[b"early ".repeat(100), b"end".to_vec()].concat())
        .await
        .unwrap();
    assert!(!server.resumed);
}

#[tokio::test]
async fn more_than_early_data_holds_arrives_in_order_too() {
    let ends = enrolled();
    for _ in 0..2 {
        let long: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        ends.call(&long).await.unwrap();
    }
}

#[tokio::test]
async fn a_terminal_with_another_key_is_refused_before_it_is_told_anything() {
    let mut ends = enrolled();
    ends.pin = Pin::Keys(vec![SecretKey::generate().unwrap().public()]);
    let error = ends.call(b"secret").await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("is not the one that was enrolled"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_with_another_key_is_refused() {
    let mut ends = enrolled();
    let stranger = SecretKey::generate().unwrap();
    ends.courier = CourierCredentials::new(&stranger).unwrap();
    let (mut courier, mut terminal) = ends.secure(4096);
    let mut proof = terminal.proof();
    let mut octet = [0; 1];
    let (told, refused) = tokio::join!(
        async {
            courier.write_all(b"deliver").await?;
            courier.flush().await?;
            courier.read_exact(&mut octet).await
        },
        async {
            let refused = terminal.read_u8().await.unwrap_err();
            drop(terminal);
            refused
        }
    );
    assert!(
        refused.to_string().contains(&stranger.public().to_string()),
        "{refused}"
    );
    assert!(told.is_err());
    assert!(proof.wait().await.is_none());
}

#[tokio::test]
async fn a_key_that_was_shut_out_is_not_let_in_by_its_old_session() {
    let mut ends = enrolled();
    ends.call(b"hello").await.unwrap();
    ends.pin = Pin::Keys(vec![SecretKey::generate().unwrap().public()]);
    assert!(ends.call(b"secret").await.is_err());
    // The other way round: the terminal has another server now, and still the session of the old one.
    let mut ends = enrolled();
    ends.call(b"hello").await.unwrap();
    let (other, key) = (
        SecretKey::generate().unwrap(),
        SecretKey::generate().unwrap(),
    );
    ends.terminal =
        TerminalCredentials::new(&key, vec![other.public()], Some(ends.shelf.clone())).unwrap();
    assert!(ends.call(b"replayed").await.is_err());
}

#[tokio::test]
async fn one_that_is_being_enrolled_may_have_any_key() {
    let mut ends = enrolled();
    ends.pin = Pin::Enrolling;
    assert_eq!(ends.call(b"who are you?").await.unwrap().0.peer, ends.key);
    // Whoever that was: its session is of no use until it has proved its secret.
    ends.pin = Pin::Keys(vec![ends.key]);
    assert!(!ends.call(b"hello").await.unwrap().0.resumed);
    ends.pin = Pin::Enrolling;
    let ended = ends.call_and_keep(b"who are you?").await.unwrap();
    ends.courier.forget(terminal_id());
    ended.unadopted().unwrap().adopt();
    ends.pin = Pin::Keys(vec![ends.key]);
    assert!(ends.call(b"hello").await.unwrap().0.resumed);
}

#[tokio::test]
async fn a_stranger_who_came_while_a_terminal_was_enrolled_reads_nothing_on_its_next_call() {
    let mut ends = enrolled();
    ends.pin = Pin::Enrolling;
    let session = ends.call_and_keep(b"who are you?").await.unwrap();
    let enrolled = session.proved().unwrap().peer;
    // Beside it, or right after it, and before its secret is in: a key of his own, and a session with it.
    let (stranger, server) = (SecretKey::generate().unwrap(), ends.terminal.clone());
    let shelf = Arc::new(Memory::default());
    let servers = server.secure(duplex(1).0, RATE).unwrap().expected_servers();
    ends.terminal = TerminalCredentials::new(&stranger, servers, Some(shelf)).unwrap();
    ends.call(b"who are you?").await.unwrap();
    // What becoming enrolled does.
    ends.courier.forget(terminal_id());
    session.unadopted().unwrap().adopt();
    // He answers the next call.
    ends.pin = Pin::Keys(vec![enrolled]);
    let (mut courier, mut terminal) = ends.secure(4096);
    courier.write_all(b"secret").await.unwrap();
    let _ = courier.flush().await;
    let mut read = [0; 6];
    let stranger = async {
        let read = tokio::time::timeout(PATIENCE, terminal.read_exact(&mut read)).await;
        drop(terminal);
        matches!(read, Ok(Ok(_)))
    };
    let (has_read, _) = tokio::join!(stranger, async { courier.read(&mut [0; 1]).await });
    assert!(!has_read, "{read:?}");
}

#[tokio::test]
async fn what_is_no_tls_ends_in_an_error_and_not_in_waiting() {
    for octets in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0; 70_000],
        vec![0x16, 3, 1, 0xff, 0xff],
        vec![],
    ] {
        let ends = enrolled();
        let (mut near, far) = duplex(100_000);
        near.write_all(&octets).await.unwrap();
        near.shutdown().await.unwrap();
        let mut terminal = ends.terminal.secure(far, RATE).unwrap();
        assert!(
            terminal.read_u8().await.is_err(),
            "{:?}",
            &octets[..octets.len().min(8)]
        );
        let (mut near, far) = duplex(100_000);
        near.write_all(&octets).await.unwrap();
        near.shutdown().await.unwrap();
        let mut courier = ends
            .courier
            .secure(far, terminal_id(), ends.pin, RATE)
            .unwrap();
        assert!(courier.read_u8().await.is_err());
    }
}

#[tokio::test]
async fn the_handshakes_take_as_many_octets_as_the_figures_say() {
    let ends = enrolled();
    let mut sizes = Vec::new();
    for _ in 0..2 {
        let (near, far) = duplex(4096);
        let (counted, count) = Counted::new(near);
        let mut courier = ends
            .courier
            .secure(counted, terminal_id(), ends.pin.clone(), RATE)
            .unwrap();
        let mut terminal = ends.terminal.secure(far, RATE).unwrap();
        let far = async {
            terminal.write_all(b"x").await.unwrap();
            terminal.flush().await.unwrap();
            terminal
        };
        let (read, _terminal) = tokio::join!(courier.read_u8(), far);
        read.unwrap();
        sizes.push(*count.lock().unwrap());
    }
    // docs/performance.md; the one octet of content is 23 of the server's record.
    assert!(
        sizes[0] <= 1030 && sizes[1] <= 800 && sizes[1] < sizes[0],
        "{sizes:?}"
    );
}

/// Polls once: `None` if it has to wait.
async fn futures_ready<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match future.as_mut().poll(cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

/// A stream that counts what crosses it.
struct Counted(DuplexStream, Arc<Mutex<usize>>);

impl Counted {
    fn new(stream: DuplexStream) -> (Self, Arc<Mutex<usize>>) {
        let count = Arc::new(Mutex::new(0));
        (Self(stream, count.clone()), count)
    }
}

impl tokio::io::AsyncRead for Counted {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = std::pin::Pin::new(&mut self.0).poll_read(cx, buffer);
        *self.1.lock().unwrap() += buffer.filled().len() - before;
        polled
    }
}

impl tokio::io::AsyncWrite for Counted {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        octets: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        let polled = std::pin::Pin::new(&mut self.0).poll_write(cx, octets);
        if let std::task::Poll::Ready(Ok(written)) = &polled {
            *self.1.lock().unwrap() += written;
        }
        polled
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// On a fast line records are as large as TLS has them: a full one and a small one that end within what was read fill it.
#[tokio::test]
async fn a_fast_line_that_brings_full_records_at_any_step_loses_nothing() {
    let ends = enrolled();
    let (near, far) = duplex(1 << 20);
    let mut courier = ends
        .courier
        .secure(near, terminal_id(), ends.pin.clone(), 10_000_000)
        .unwrap();
    let mut terminal = ends.terminal.secure(far, 10_000_000).unwrap();
    let content: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
    let sending = async {
        let (mut left, mut sizes) = (
            &content[..],
            [16_384, 40, 9, 16_300, 100].into_iter().cycle(),
        );
        while !left.is_empty() {
            let (part, rest) = left.split_at(sizes.next().unwrap().min(left.len()));
            courier.write_all(part).await.unwrap();
            courier.flush().await.unwrap();
            left = rest;
        }
        // Until the far end has all of it.
        assert_eq!(courier.read_u8().await.unwrap(), 7);
    };
    let receiving = async {
        let mut found = vec![0; content.len()];
        terminal.read_exact(&mut found).await.unwrap();
        terminal.write_u8(7).await.unwrap();
        terminal.flush().await.unwrap();
        found
    };
    let both = async { tokio::join!(sending, receiving) };
    let ((), found) = tokio::time::timeout(PATIENCE, both)
        .await
        .expect("neither end waits for ever");
    assert!(found == content);
}
