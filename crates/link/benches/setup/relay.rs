//! A line between two ends, and what crosses it until IP is up.

use std::time::Duration;

use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf,
};
use tokio::time::{Instant, sleep_until};

use crate::line::{Line, Way};

const IPV4: u16 = 0x0021;
const IPCP: u16 = 0x8021;
const CONFIGURE_ACK: u8 = 2;

/// One end of a call: our link, or the wire to a guest.
pub(crate) trait Port: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Port for T {}

/// What it has taken until both ends had their IPCP acknowledged.
pub(crate) struct SetUp {
    pub(crate) time: Duration,
    /// Crossings that each had to wait for the one before; two are a round trip.
    pub(crate) crossings: u32,
    /// Octets from the caller, and to it.
    pub(crate) octets: [u64; 2],
    /// When the caller had the other end's first IPv4 packet, if it had one.
    pub(crate) packet: Option<Duration>,
}

/// One way across the line, and what is seen of PPP where it ends. Noted of an octet: its crossings.
struct Watched {
    way: Way<u32>,
    decoder: ppp::Decoder,
    octets: u64,
    /// The most crossings that anything had which has arrived.
    crossings: u32,
    /// When an IPCP Configure-Ack arrived.
    acknowledged: Option<Instant>,
    /// When the first IPv4 packet arrived.
    packet: Option<Instant>,
}

impl Watched {
    fn new(line: Line, now: Instant) -> Self {
        let mut decoder = ppp::Decoder::new();
        decoder.set_accm(0);
        Self {
            way: Way::new(line, now),
            decoder,
            octets: 0,
            crossings: 0,
            acknowledged: None,
            packet: None,
        }
    }

    /// What has arrived by now.
    fn arrived(&mut self, now: Instant) -> Vec<u8> {
        let mut arrived = Vec::new();
        while let Some((at, octet, crossings)) = self.way.arrived(now) {
            arrived.push(octet);
            self.octets += 1;
            if let Some(frame) = self.decoder.next_frame(&mut &[octet][..]) {
                self.crossings = self.crossings.max(crossings);
                if frame.protocol == IPV4 {
                    self.packet.get_or_insert(at);
                }
                if frame.protocol == IPCP && frame.information.first() == Some(&CONFIGURE_ACK) {
                    self.acknowledged = Some(at);
                }
            }
        }
        arrived
    }
}

/// Carries octets until IP is up at both ends. `first`: what the ends have said before they were connected.
///
/// # Errors
/// If an end hangs up.
pub(crate) async fn carry(
    line: Line,
    ports: [Box<dyn Port>; 2],
    first: [Vec<u8>; 2],
) -> std::io::Result<SetUp> {
    let began = Instant::now();
    let [near, far] = ports.map(tokio::io::split);
    let ((mut near_reader, mut near_writer), (mut far_reader, mut far_writer)) = (near, far);
    let mut ways = [Watched::new(line, began), Watched::new(line, began)];
    for (watched, first) in ways.iter_mut().zip(&first) {
        watched.way.take(first, 1, began);
    }
    let (mut near_octets, mut far_octets) = ([0; 4096], [0; 4096]);
    loop {
        let next_at = ways
            .iter()
            .filter_map(|watched| watched.way.next_at())
            .min();
        let arrival = async {
            match next_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            count = read(&mut near_reader, &mut near_octets) => {
                let crossings = ways[1].crossings + 1;
                ways[0].way.take(&near_octets[..count?], crossings, Instant::now());
            }
            count = read(&mut far_reader, &mut far_octets) => {
                let crossings = ways[0].crossings + 1;
                ways[1].way.take(&far_octets[..count?], crossings, Instant::now());
            }
            () = arrival => {
                let now = Instant::now();
                write(&mut far_writer, &ways[0].arrived(now)).await?;
                write(&mut near_writer, &ways[1].arrived(now)).await?;
            }
        }
        if let [Some(there), Some(back)] = [ways[0].acknowledged, ways[1].acknowledged] {
            return Ok(SetUp {
                time: there.max(back) - began,
                crossings: ways[0].crossings.max(ways[1].crossings),
                octets: [ways[0].octets, ways[1].octets],
                packet: ways[1].packet.map(|at| at - began),
            });
        }
    }
}

async fn read(port: &mut ReadHalf<Box<dyn Port>>, octets: &mut [u8]) -> std::io::Result<usize> {
    match port.read(octets).await? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        count => Ok(count),
    }
}

async fn write(port: &mut WriteHalf<Box<dyn Port>>, octets: &[u8]) -> std::io::Result<()> {
    port.write_all(octets).await?;
    port.flush().await
}
