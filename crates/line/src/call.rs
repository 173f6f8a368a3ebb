//! An answered call as a byte stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use modem::{CarrierWatch, HangUp, HangUpStep, Signals};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep_until};

use crate::async_port::AsyncPort;
use crate::port::DTR_LOW;

/// How often DCD is looked at while DTR is low.
const DTR_LOOKS: u8 = 10;

/// bit/s assumed where the modem's CONNECT names no rate.
pub const UNKNOWN_RATE_BPS: u32 = 33_600;

/// A call that is up: octets both ways until one side hangs up, which reads as end of file. Dropping it hangs up.
#[derive(Debug)]
pub struct Call {
    port: AsyncPort,
    /// What came in the same read as the CONNECT line, still unread.
    early: Vec<u8>,
    rate_bps: u32,
    /// Where no wire tells of the carrier.
    carrier: Option<CarrierWatch>,
    has_short_guard: bool,
    silence: Option<Pin<Box<Sleep>>>,
    ending: Ending,
}

/// How far hanging up has come.
#[derive(Debug)]
enum Ending {
    /// Nobody wants to.
    NotYet,
    /// DTR is low. DCD has no event of its own: it is looked at every so often.
    DtrLow {
        looks_left: u8,
        timer: Pin<Box<Sleep>>,
    },
    /// In octets.
    Escape {
        hang_up: HangUp,
        to_write: &'static [u8],
        timer: Pin<Box<Sleep>>,
    },
    Over,
}

impl Call {
    pub(crate) fn new(
        mut port: AsyncPort,
        rate_bps: Option<u32>,
        early: Vec<u8>,
        has_short_guard: bool,
    ) -> Self {
        // A carrier that is shown now will be missed when it goes; one that never was (&C0, three wires) would be
        // missed at once.
        let is_shown = port.carrier() == Some(true) && port.follow_carrier().is_ok();
        let rate_bps = rate_bps.unwrap_or(UNKNOWN_RATE_BPS);
        let mut carrier = (!is_shown).then(|| CarrierWatch::new(rate_bps));
        if let Some(carrier) = &mut carrier {
            carrier.handle(&early, now());
        }
        Self {
            port,
            early,
            rate_bps,
            carrier,
            has_short_guard,
            silence: None,
            ending: Ending::NotYet,
        }
    }

    /// The line's rate in bit/s, as far as the modem said.
    pub fn rate_bps(&self) -> u32 {
        self.rate_bps
    }
}

impl AsyncRead for Call {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let count = self.early.len().min(buffer.remaining());
            buffer.put_slice(&self.early[..count]);
            self.early.drain(..count);
            return Poll::Ready(Ok(()));
        }
        loop {
            if self
                .carrier
                .as_ref()
                .is_some_and(|carrier| carrier.is_lost(now()))
            {
                return Poll::Ready(Ok(()));
            }
            let filled = buffer.filled().len();
            if let Poll::Ready(result) = Pin::new(&mut self.port).poll_read(cx, buffer) {
                self.silence = None;
                if let Some(carrier) = &mut self.carrier {
                    carrier.handle(&buffer.filled()[filled..], now());
                }
                return Poll::Ready(result);
            }
            let deadline = self.carrier.as_ref().and_then(CarrierWatch::deadline);
            let Some(deadline) = deadline else {
                return Poll::Pending;
            };
            let silence = self
                .silence
                .get_or_insert_with(|| Box::pin(sleep_until(deadline.into())));
            if silence.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl AsyncWrite for Call {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.port).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.port).poll_flush(cx)
    }

    /// Hangs up and makes sure of it as far as the port allows: by DTR; where that is not there, or nothing tells that it
    /// has helped, by silence, `+++` and `ATH`. What is left is to drop the call, which closes the port; of a
    /// pseudo-terminal that is enough.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let call = self.get_mut();
        loop {
            call.ending = match &mut call.ending {
                Ending::NotYet => call.begin_ending(),
                Ending::Over => return Poll::Ready(Ok(())),
                Ending::DtrLow { looks_left, timer } => {
                    call.port.poll_signals(cx);
                    // DCD tells only where it has told of a carrier before.
                    let is_told = call.carrier.is_none() && call.port.carrier() == Some(false);
                    if is_told {
                        Ending::Over
                    } else if *looks_left == 0 {
                        call.begin_escape()
                    } else {
                        ready!(timer.as_mut().poll(cx));
                        *looks_left -= 1;
                        timer
                            .as_mut()
                            .reset((now() + DTR_LOW / u32::from(DTR_LOOKS)).into());
                        continue;
                    }
                }
                Ending::Escape {
                    hang_up,
                    to_write,
                    timer,
                } => {
                    ready!(poll_escape(&mut call.port, hang_up, to_write, timer, cx));
                    Ending::Over
                }
            };
        }
    }
}

impl Call {
    fn begin_ending(&mut self) -> Ending {
        let timer = Box::pin(sleep_until(now().into()));
        match self.port.signals() {
            Signals::Wires if self.port.drop_dtr().is_ok() => Ending::DtrLow {
                looks_left: DTR_LOOKS,
                timer,
            },
            Signals::Closing => Ending::Over,
            Signals::Wires | Signals::OctetsOnly => self.begin_escape(),
        }
    }

    fn begin_escape(&self) -> Ending {
        let timer = Box::pin(sleep_until(now().into()));
        Ending::Escape {
            hang_up: HangUp::new(self.has_short_guard, now()),
            to_write: &[],
            timer,
        }
    }
}

/// Ready when the modem has hung up, the port is gone, or nothing more can be done.
fn poll_escape(
    port: &mut AsyncPort,
    hang_up: &mut HangUp,
    to_write: &mut &'static [u8],
    timer: &mut Pin<Box<Sleep>>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    let mut space = [0; 512];
    loop {
        while !to_write.is_empty() {
            // Closed from the other side: that is how such a port hangs up.
            let Ok(count @ 1..) = ready!(Pin::new(&mut *port).poll_write(cx, to_write)) else {
                return Poll::Ready(());
            };
            *to_write = &to_write[count..];
        }
        match hang_up.step(now()) {
            HangUpStep::Done { .. } => return Poll::Ready(()),
            HangUpStep::Transmit(octets) => *to_write = octets,
            HangUpStep::Wait(until) => {
                let mut buffer = ReadBuf::new(&mut space);
                match Pin::new(&mut *port).poll_read(cx, &mut buffer) {
                    Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                        hang_up.hear(buffer.filled(), now());
                    }
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => {
                        timer.as_mut().reset(until.into());
                        ready!(timer.as_mut().poll(cx));
                    }
                }
            }
        }
    }
}

/// The runtime's time: what its timers go by, and what a test can pause.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
