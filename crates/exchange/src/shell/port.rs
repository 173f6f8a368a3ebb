//! One station's port: moves octets between a DTE and the switchboard, one DTE after the other.

use crate::station::{Signals, StationId};
use std::{collections::VecDeque, future::Future, io};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};

/// Octets read from a DTE at once.
pub(super) const READ_OCTETS_MAX: usize = 1024;

/// What has been written is told in pieces of this: less is not worth waking the switchboard, which takes a DTE for
/// ready while no more than this is unwritten.
pub(super) const WRITTEN_OCTETS_MIN: usize = 512;

/// What a port tells the switchboard.
#[derive(Debug)]
pub(super) enum FromPort {
    /// A DTE has opened the port.
    Opened,
    /// It writes.
    Octets(Vec<u8>),
    /// It raises or drops DTR, and stays.
    Dtr(bool),
    /// It has taken this many octets.
    Written(usize),
    /// It has gone; answered with [`ToPort::Closed`].
    Closed,
}

/// What the switchboard tells a port.
#[derive(Debug)]
pub(super) enum ToPort {
    /// For the DTE. The channel needs no bound of its own: the switchboard stops when too much is unwritten.
    Octets(Vec<u8>),
    /// Octets that may still be read from the DTE.
    Grant(usize),
    /// The circuits of the modem show this now.
    Signals(Signals),
    /// The end of the DTE is known; nothing for it comes after this.
    Closed,
}

/// A port's connection to the switchboard.
#[derive(Debug)]
pub(super) struct PortLink {
    pub(super) station: StationId,
    pub(super) events: mpsc::Sender<(StationId, FromPort)>,
    pub(super) orders: mpsc::UnboundedReceiver<ToPort>,
}

/// The switchboard is no longer there.
#[derive(Debug)]
pub(super) struct Stopped;

impl PortLink {
    /// Serves one DTE from its opening to its end; [`PortLink::close`] comes next. `hung_up` completes when the DTE
    /// goes away without its end being read; octets that were still on their way are lost, as when DTR drops.
    pub(super) async fn serve(
        &mut self,
        dte: impl AsyncRead + AsyncWrite + Unpin,
        hung_up: impl Future<Output = ()>,
    ) -> Result<(), Stopped> {
        self.tell(FromPort::Opened).await?;
        let end = self.exchange_octets(dte, hung_up).await?;
        if let Err(error) = end {
            tracing::debug!(station = self.station.index(), %error, "port failed");
        }
        Ok(())
    }

    /// Drops DTR, and with it what was on its way to the DTE: it is not for the next one.
    pub(super) async fn close(&mut self) -> Result<(), Stopped> {
        self.tell(FromPort::Closed).await?;
        while !matches!(self.orders.recv().await.ok_or(Stopped)?, ToPort::Closed) {}
        Ok(())
    }

    pub(super) async fn tell(&self, event: FromPort) -> Result<(), Stopped> {
        self.events
            .send((self.station, event))
            .await
            .map_err(|_| Stopped)
    }

    async fn exchange_octets(
        &mut self,
        dte: impl AsyncRead + AsyncWrite + Unpin,
        hung_up: impl Future<Output = ()>,
    ) -> Result<io::Result<()>, Stopped> {
        let (mut reader, mut writer) = tokio::io::split(dte);
        let mut hung_up = std::pin::pin!(hung_up);
        let mut credit = 0;
        let mut unwritten = VecDeque::new();
        let mut untold = 0;
        let mut buffer = vec![0; READ_OCTETS_MAX];
        loop {
            let readable = credit.min(buffer.len());
            tokio::select! {
                biased;
                () = &mut hung_up => return Ok(Ok(())),
                order = self.orders.recv() => match order.ok_or(Stopped)? {
                    ToPort::Octets(octets) => unwritten.extend(octets),
                    ToPort::Grant(more) => credit += more,
                    // This port has no circuits to show them on.
                    ToPort::Signals(_) | ToPort::Closed => {}
                },
                written = writer.write(unwritten.as_slices().0), if !unwritten.is_empty() => match written {
                    Ok(0) => return Ok(Ok(())),
                    Ok(count) => {
                        unwritten.drain(..count);
                        untold += count;
                        if untold >= WRITTEN_OCTETS_MIN {
                            self.tell(FromPort::Written(std::mem::take(&mut untold))).await?;
                        }
                    }
                    Err(error) => return Ok(Err(error)),
                },
                read = reader.read(&mut buffer[..readable]), if readable > 0 => match read {
                    Ok(0) => return Ok(Ok(())),
                    Ok(count) => {
                        credit -= count;
                        self.tell(FromPort::Octets(buffer[..count].to_vec())).await?;
                    }
                    Err(error) => return Ok(Err(error)),
                },
            }
        }
    }
}
