//! A caller whose IP packets are made by hand.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ppp::{Config, Event, Input, LineProfile, Output, Session};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::timeout_at;

pub(crate) struct Caller {
    session: Session,
    pipe: DuplexStream,
    is_up: bool,
    packets: VecDeque<Bytes>,
}

impl Caller {
    /// Calls, and takes the address it is given.
    pub(crate) async fn call(pipe: DuplexStream) -> Self {
        let line = LineProfile {
            rate_bps: Some(10_000_000),
            delay: Duration::from_millis(1),
        };
        let config = Config {
            header_compression: None,
            ..Config::terminal(line, None)
        };
        let session = Session::new(config, 1, Instant::now());
        let mut caller = Self {
            session,
            pipe,
            is_up: false,
            packets: VecDeque::new(),
        };
        caller.until(|caller| caller.is_up.then_some(())).await;
        caller
    }

    pub(crate) async fn send(&mut self, packet: &[u8]) {
        self.session.handle(Input::Packet(packet), Instant::now());
        self.drain().await;
    }

    /// The next packet that comes.
    pub(crate) async fn packet(&mut self) -> Bytes {
        self.until(|caller| caller.packets.pop_front()).await
    }

    /// Goes on until there is something to give.
    async fn until<T>(&mut self, mut take: impl FnMut(&mut Self) -> Option<T>) -> T {
        loop {
            let wake = self.drain().await;
            if let Some(taken) = take(self) {
                return taken;
            }
            let mut buffer = [0; 4096];
            let read = self.pipe.read(&mut buffer);
            let read = match wake {
                Some(at) => timeout_at(at.into(), read).await.ok(),
                None => Some(read.await),
            };
            let input = match read {
                Some(count) => Input::Bytes(&buffer[..count.unwrap()]),
                None => Input::Deadline,
            };
            self.session.handle(input, Instant::now());
        }
    }

    async fn drain(&mut self) -> Option<Instant> {
        loop {
            match self.session.poll_output() {
                Output::Transmit(octets) => self.pipe.write_all(&octets).await.unwrap(),
                Output::Packet(packet) => self.packets.push_back(packet),
                Output::Event(Event::NetworkUp { .. }) => self.is_up = true,
                Output::Event(Event::Closed(reason)) => panic!("{reason}"),
                Output::Event(_) => {}
                Output::Timeout { at, .. } => return at,
            }
        }
    }
}
