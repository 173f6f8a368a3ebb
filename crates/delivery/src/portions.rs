//! Content on its way into HTTP/2: in portions, each when it is its message's turn.
//!
//! ```text
//!   content ──take──► HTTP/2 ──passed──► TLS ──flushed──► TCP's own small buffer ──► line
//!            one portion at a time is anywhere between the first arrow and the last
//! ```

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::octets::{Departure, Octets, Unread};
use crate::plan::{Due, Turns};

/// Octets of a portion below which its frame and record would be a large part of it.
const PORTION_OCTETS_MIN: u32 = 240;
/// One DATA frame (RFC 9113 §4.2).
const PORTION_OCTETS_MAX: u32 = 16 * 1024;
/// The way out of a session, which all its contents share. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct WayOut {
    waiting: Arc<Mutex<Waiting>>,
    /// Octets that are read before a turn is taken: the first portion of a session is twice as long as the others.
    at_hand: usize,
}

#[derive(Debug)]
struct Waiting {
    turns: Turns,
    wakers: BTreeMap<Due, Waker>,
}

impl WayOut {
    /// Of a line of this rate: a portion takes it half a second, which with TCP's 0.45 s stays below one.
    pub(crate) fn new(rate_bps: u32) -> Self {
        let portion = (rate_bps / 20).clamp(PORTION_OCTETS_MIN, PORTION_OCTETS_MAX);
        let portion = usize::try_from(portion).expect("16 KiB at most");
        let waiting = Waiting {
            turns: Turns::new(portion),
            wakers: BTreeMap::new(),
        };
        Self {
            waiting: Arc::new(Mutex::new(waiting)),
            at_hand: 2 * portion,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known, and wakes whose turn it is.
    fn note(&self, change: impl FnOnce(&mut Turns)) {
        let mut waiting = self.lock();
        change(&mut waiting.turns);
        let next = waiting
            .turns
            .first()
            .and_then(|first| waiting.wakers.remove(&first));
        drop(waiting);
        if let Some(waker) = next {
            waker.wake();
        }
    }
}

/// A content, or what is left of it, as the body of a request.
#[derive(Debug, Default)]
pub(crate) struct Content {
    left: Unread,
    /// Whose it is, and where it goes; `None`: a request without content.
    way: Option<(Due, WayOut)>,
    /// It has been asked for: its stream is open, so that others may have to wait for it.
    has_entered: bool,
}

impl Content {
    pub(crate) fn new(due: Due, octets: &Octets, offset: u64, way: WayOut) -> Self {
        Self {
            left: octets.unread(offset),
            way: Some((due, way)),
            has_entered: false,
        }
    }

    /// Tells how much of it HTTP/2 has taken.
    pub(crate) fn departure(&self) -> Departure {
        self.left.departure()
    }
}

impl Body for Content {
    type Data = Portion;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Portion>>>> {
        let this = &mut *self;
        let Some((due, way)) = this.way.clone().filter(|_| this.left.left() > 0) else {
            return Poll::Ready(None);
        };
        if !std::mem::replace(&mut this.has_entered, true) {
            way.lock().turns.enter(due);
        }
        // Before the turn is taken: nobody waits for our disk with a portion that is not there yet.
        let at_hand = ready!(this.left.poll_at_hand(way.at_hand, cx))?;
        let mut waiting = way.lock();
        let Some(taken) = waiting.turns.take(due, at_hand) else {
            waiting.wakers.insert(due, cx.waker().clone());
            return Poll::Pending;
        };
        drop(waiting);
        let octets = this.left.take(taken);
        if this.left.left() == 0 {
            way.note(|turns| turns.leave(due));
        }
        let cost = Turns::cost(taken);
        Poll::Ready(Some(Ok(Frame::data(Portion { octets, cost, way }))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.left())
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        if let Some((due, way)) = self.way.take().filter(|_| self.has_entered) {
            way.lock().wakers.remove(&due);
            way.note(|turns| turns.leave(due));
        }
    }
}

/// Octets handed to HTTP/2, which drops them when it has written them.
#[derive(Debug)]
pub(crate) struct Portion {
    octets: Bytes,
    cost: usize,
    way: WayOut,
}

impl Buf for Portion {
    fn remaining(&self) -> usize {
        self.octets.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.octets.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.octets.advance(count);
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        let cost = self.cost;
        self.way.note(|turns| turns.passed(cost));
    }
}

/// A stream that tells the way out when all that was written has gone down.
#[derive(Debug)]
pub(crate) struct Flushed<S> {
    stream: S,
    way: WayOut,
}

impl<S> Flushed<S> {
    pub(crate) fn new(stream: S, way: WayOut) -> Self {
        Self { stream, way }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Flushed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Flushed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.way.note(Turns::flushed);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
