//! An answered call as a byte stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use modem::CarrierWatch;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep_until};

use crate::port::AsyncPort;

/// bit/s assumed where the modem's CONNECT names no rate.
pub const UNKNOWN_RATE_BPS: u32 = 33_600;

/// A call that is up: octets both ways until one side hangs up, which reads as end of file. Dropping it hangs up.
#[derive(Debug)]
pub struct Call {
    port: AsyncPort,
    /// What came in the same read as the CONNECT line, still unread.
    early: Vec<u8>,
    rate_bps: u32,
    carrier: CarrierWatch,
    silence: Option<Pin<Box<Sleep>>>,
}

impl Call {
    pub(crate) fn new(port: AsyncPort, rate_bps: Option<u32>, early: Vec<u8>) -> Self {
        let mut carrier = CarrierWatch::default();
        carrier.handle(&early, now());
        Self { port, early, rate_bps: rate_bps.unwrap_or(UNKNOWN_RATE_BPS), carrier, silence: None }
    }

    /// The line's rate in bit/s, as far as the modem said.
    pub fn rate_bps(&self) -> u32 {
        self.rate_bps
    }
}

impl AsyncRead for Call {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let count = self.early.len().min(buffer.remaining());
            buffer.put_slice(&self.early[..count]);
            self.early.drain(..count);
            return Poll::Ready(Ok(()));
        }
        loop {
            if self.carrier.is_lost(now()) {
                return Poll::Ready(Ok(()));
            }
            let filled = buffer.filled().len();
            if let Poll::Ready(result) = Pin::new(&mut self.port).poll_read(cx, buffer) {
                self.silence = None;
                self.carrier.handle(&buffer.filled()[filled..], now());
                return Poll::Ready(result);
            }
            let Some(deadline) = self.carrier.deadline() else { return Poll::Pending };
            let silence = self.silence.get_or_insert_with(|| Box::pin(sleep_until(deadline.into())));
            if silence.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl AsyncWrite for Call {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.port).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.port).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.port).poll_shutdown(cx)
    }
}

/// The runtime's time: what its timers go by, and what a test can pause.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
