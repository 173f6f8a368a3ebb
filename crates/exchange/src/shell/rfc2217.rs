//! A station's port for a client of RFC 2217: octets, and the signals of a serial port beside them.

use super::port::{FromPort, PortLink, READ_OCTETS_MAX, Stopped, ToPort};
use crate::com_port::{ComPort, Order};
use std::{collections::VecDeque, io};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Octets for the modem that wait for its grant. Until then signals are obeyed as they come; beyond it nothing is read.
const UNGRANTED_MAX: usize = 16 * 1024;

/// One connection and what waits in it.
struct Connection {
    com_port: ComPort,
    /// Octets that the modem takes.
    credit: usize,
    for_modem: VecDeque<u8>,
    for_client: VecDeque<u8>,
    takes_data: bool,
    /// On its way to the client, encoded.
    writing: VecDeque<u8>,
    /// How many octets of data are in `writing`.
    writing_data: usize,
}

impl PortLink {
    /// As [`PortLink::serve`], for a client that speaks RFC 2217.
    pub(super) async fn serve_rfc2217(&mut self, stream: TcpStream) -> Result<(), Stopped> {
        self.tell(FromPort::Opened).await?;
        let end = self.converse(stream).await?;
        if let Err(error) = end {
            tracing::debug!(station = self.station.index(), %error, "port failed");
        }
        Ok(())
    }

    async fn converse(&mut self, mut stream: TcpStream) -> Result<io::Result<()>, Stopped> {
        let (mut reader, mut writer) = stream.split();
        let mut connection = Connection {
            com_port: ComPort::new(crate::station::Signals::default()),
            credit: 0,
            for_modem: VecDeque::new(),
            for_client: VecDeque::new(),
            takes_data: true,
            writing: VecDeque::new(),
            writing_data: 0,
        };
        let mut buffer = vec![0; READ_OCTETS_MAX];
        loop {
            connection.fill();
            if let Some(octets) = connection.granted() {
                self.tell(FromPort::Octets(octets)).await?;
            }
            tokio::select! {
                biased;
                order = self.orders.recv() => match order.ok_or(Stopped)? {
                    ToPort::Octets(octets) => connection.for_client.extend(octets),
                    ToPort::Grant(more) => connection.credit += more,
                    ToPort::Signals(signals) => connection.com_port.show(signals),
                    ToPort::Closed => {}
                },
                written = writer.write(connection.writing.as_slices().0), if !connection.writing.is_empty() => {
                    match written {
                        Ok(0) => return Ok(Ok(())),
                        Ok(count) => drop(connection.writing.drain(..count)),
                        Err(error) => return Ok(Err(error)),
                    }
                    if connection.writing.is_empty() && connection.writing_data > 0 {
                        self.tell(FromPort::Written(std::mem::take(&mut connection.writing_data))).await?;
                    }
                }
                read = reader.read(&mut buffer), if connection.for_modem.len() < UNGRANTED_MAX
                    // Who never reads the answers to its commands is not answered without end.
                    && connection.writing.len() < UNGRANTED_MAX => match read {
                    Ok(0) => return Ok(Ok(())),
                    Ok(count) => {
                        for order in connection.com_port.receive(&buffer[..count]) {
                            self.obey(order, &mut connection).await?;
                        }
                    }
                    Err(error) => return Ok(Err(error)),
                },
            }
        }
    }

    async fn obey(&mut self, order: Order, connection: &mut Connection) -> Result<(), Stopped> {
        match order {
            Order::Data(data) => connection.for_modem.extend(data),
            Order::Dtr(on) => {
                if let Some(octets) = connection.granted() {
                    self.tell(FromPort::Octets(octets)).await?;
                }
                if !on {
                    // It was for the line that now goes, not for the modem's command state.
                    connection.for_modem.clear();
                }
                self.tell(FromPort::Dtr(on)).await?;
            }
            Order::Ready(on) => connection.takes_data = on,
            Order::PurgeReceived => {
                let purged = std::mem::take(&mut connection.for_client).len();
                self.tell(FromPort::Written(purged)).await?;
            }
            Order::PurgeSent => connection.for_modem.clear(),
        }
        Ok(())
    }
}

impl Connection {
    /// Answers go out as they come, data when what is being written is gone.
    fn fill(&mut self) {
        self.writing.extend(self.com_port.take_answers());
        if self.writing_data == 0 && self.takes_data && !self.for_client.is_empty() {
            let count = self.for_client.len().min(READ_OCTETS_MAX);
            let data: Vec<u8> = self.for_client.drain(..count).collect();
            self.writing.extend(ComPort::encode(&data));
            self.writing_data = count;
        }
    }

    /// What the modem takes now of what waits for it.
    fn granted(&mut self) -> Option<Vec<u8>> {
        let count = self.for_modem.len().min(self.credit);
        self.credit -= count;
        (count > 0).then(|| self.for_modem.drain(..count).collect())
    }
}
