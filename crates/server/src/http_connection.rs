//! One HTTP/1.1 connection, within bounds: of a listener of the host, or of a link.
//!
//! **Bounded:** 16 KiB of a request's head and of what is read at once, 30 s to the end of a head (the wait for the next request
//! of a kept connection with it; 5 s where a listener is crowded), 30 s in which the client reads nothing of an answer. How long a body may take says who reads it.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;

use crate::door::Door;
use crate::listener::{self, Guest, Limits, Source};

/// Octets of a request's head, and of a connection's buffer.
const HEAD_OCTETS_MAX: usize = 16 * 1024;

/// How long a head may take, and a kept connection may be idle.
pub(crate) const HEAD_WAIT: Duration = Duration::from_secs(30);

/// The same where most places are taken: silence makes room for requests.
const HEAD_WAIT_CROWDED: Duration = Duration::from_secs(5);

/// How long an answer may stand unread.
const READER_WAIT: Duration = Duration::from_secs(30);

/// How long requests that are under way may take when the server stops.
const GRACE: Duration = Duration::from_secs(10);

/// Sent to a client for whom there is no room.
const FULL: &str = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Serves a router on a listener until `shutdown`; requests that are under way get their answer, if it comes soon.
pub(crate) async fn listen<L>(
    listener: L,
    name: &'static str,
    router: Router,
    seats: usize,
    door: Door,
    shutdown: CancellationToken,
) where
    L: Source,
    L::Stream: AsyncRead + AsyncWrite + Unpin,
{
    let limits = Limits {
        name,
        seats,
        door: door.clone(),
        refusal: Some(FULL.to_owned()),
        grace: GRACE,
    };
    let stop = shutdown.clone();
    let handle = move |guest: Guest<L::Stream>| {
        let (router, stop, head_wait) = (router.clone(), stop.clone(), head_wait(&door));
        async move {
            let Guest { stream, place, .. } = guest;
            serve(stream, router, head_wait, &stop).await;
            drop(place);
        }
    };
    listener::serve(listener, limits, shutdown, handle).await;
}

fn head_wait(door: &Door) -> Duration {
    if door.is_crowded() {
        HEAD_WAIT_CROWDED
    } else {
        HEAD_WAIT
    }
}

/// Serves a connection to its end; on `shutdown` it ends with the request that is under way.
pub(crate) async fn serve<S>(
    stream: S,
    router: Router,
    head_wait: Duration,
    shutdown: &CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let stream = Impatient {
        stream,
        patience: Box::pin(sleep(READER_WAIT)),
        is_waiting: false,
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_wait)
        .max_buf_size(HEAD_OCTETS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "HTTP connection ended");
    }
}

/// A stream on which writing fails once the far end has not read for [`READER_WAIT`].
struct Impatient<S> {
    stream: S,
    patience: Pin<Box<Sleep>>,
    is_waiting: bool,
}

impl<S> Impatient<S> {
    /// Minds the time while nothing can be written.
    fn mind<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.is_waiting = false;
            return written;
        }
        if !self.is_waiting {
            self.patience.as_mut().reset(Instant::now() + READER_WAIT);
            self.is_waiting = true;
        }
        ready!(self.patience.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, octets)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, octets);
        self.mind(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, octets);
        self.mind(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.mind(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.mind(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::advance;

    use super::*;

    fn router() -> Router {
        Router::new().route("/", get(|| async { "x".repeat(100_000) }))
    }

    #[test]
    fn where_most_places_are_taken_silence_is_short() {
        let door = Door::new(4, 4);
        let enter = || door.enter([192, 0, 2, 1].into()).unwrap();
        let _two = [enter(), enter()];
        assert_eq!(head_wait(&door), HEAD_WAIT);
        let third = enter();
        assert_eq!(head_wait(&door), HEAD_WAIT_CROWDED);
        drop(third);
        assert_eq!(head_wait(&door), HEAD_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_end_and_a_silent_connection_are_closed_in_30_s() {
        for begun in ["", "GET / HTTP/1.1\r\nx: "] {
            let (mut client, server) = duplex(1 << 20);
            let began = Instant::now();
            let dripping = async {
                client.write_all(begun.as_bytes()).await.unwrap();
                while client.write_all(b"y").await.is_ok() && !begun.is_empty() {
                    advance(Duration::from_secs(1)).await;
                }
                let mut rest = Vec::new();
                let _ = client.read_to_end(&mut rest).await;
            };
            let stop = CancellationToken::new();
            tokio::join!(serve(server, router(), HEAD_WAIT, &stop), dripping);
            let took = began.elapsed();
            assert!(
                (HEAD_WAIT..HEAD_WAIT + Duration::from_secs(2)).contains(&took),
                "{begun:?}: {took:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_head_of_more_than_16_kib_is_refused_and_no_more_of_it_is_read() {
        let (mut client, server) = duplex(1024);
        let stop = CancellationToken::new();
        let sending = async {
            client.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
            let mut sent = 0;
            while sent < 1 << 20 && client.write_all(&[b'y'; 512]).await.is_ok() {
                sent += 512;
            }
            let mut answer = Vec::new();
            let _ = client.read_to_end(&mut answer).await;
            (sent, String::from_utf8(answer).unwrap())
        };
        let ((), (sent, answer)) = tokio::join!(serve(server, router(), HEAD_WAIT, &stop), sending);
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        assert!(sent <= HEAD_OCTETS_MAX + 2048, "{sent}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_of_its_answer_is_left() {
        let (mut client, server) = duplex(1024);
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let began = Instant::now();
        serve(server, router(), HEAD_WAIT, &CancellationToken::new()).await;
        assert_eq!(began.elapsed(), READER_WAIT);
    }
}
