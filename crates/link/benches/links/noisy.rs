//! A line in memory that takes its time and gets some bits wrong.

use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, duplex,
};
use tokio::time::{Instant, sleep_until};

use crate::line::{Line, Way};

/// The two ends of a line. A task carries what crosses it until an end is gone.
pub(crate) fn line(line: Line, bit_errors: f64, seed: u64) -> (DuplexStream, DuplexStream) {
    let ((near, near_port), (far, far_port)) = (duplex(65_536), duplex(65_536));
    let (near_reader, near_writer) = tokio::io::split(near_port);
    let (far_reader, far_writer) = tokio::io::split(far_port);
    tokio::spawn(carry(
        near_reader,
        far_writer,
        line,
        Noise {
            bit_errors,
            state: seed,
        },
    ));
    tokio::spawn(carry(
        far_reader,
        near_writer,
        line,
        Noise {
            bit_errors,
            state: !seed,
        },
    ));
    (near, far)
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    line: Line,
    mut noise: Noise,
) -> std::io::Result<()> {
    let mut way = Way::new(line, Instant::now());
    let mut octets = [0; 4096];
    loop {
        let next_at = way.next_at();
        let arrival = async {
            match next_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            count = from.read(&mut octets) => match count? {
                0 => return Ok(()),
                count => way.take(&octets[..count], (), Instant::now()),
            },
            () = arrival => {
                let now = Instant::now();
                let mut arrived = Vec::new();
                while let Some((_, octet, ())) = way.arrived(now) {
                    arrived.push(noise.disturb(octet));
                }
                to.write_all(&arrived).await?;
            }
        }
    }
}

struct Noise {
    bit_errors: f64,
    state: u64,
}

impl Noise {
    fn disturb(&mut self, octet: u8) -> u8 {
        if self.bit_errors == 0.0 {
            return octet;
        }
        (0..8).fold(octet, |octet, bit| {
            let random = next(&mut self.state) as f64 / u64::MAX as f64;
            octet ^ (u8::from(random < self.bit_errors) << bit)
        })
    }
}

/// xorshift64 (Marsaglia 2003).
pub(crate) fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
