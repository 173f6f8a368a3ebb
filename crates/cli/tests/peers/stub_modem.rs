//! A modem that says yes to everything, and besides what it is told to say.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::wire::Wire;

/// Answers every command line with OK and tells it to `hears`; says what comes from `conversations`. Ends with either.
pub(crate) async fn play(
    mut wire: Wire,
    mut conversations: UnboundedReceiver<Vec<u8>>,
    mut hears: impl FnMut(&str),
) {
    let mut typed = Vec::new();
    let mut buffer = [0; 256];
    loop {
        tokio::select! {
            octets = conversations.recv() => match octets {
                Some(octets) => wire.write_all(&octets).await.unwrap(),
                None => return,
            },
            read = wire.read(&mut buffer) => match read.unwrap() {
                0 => return,
                count => typed.extend_from_slice(&buffer[..count]),
            },
        }
        while let Some(end) = typed.iter().position(|octet| *octet == b'\r') {
            let command: Vec<u8> = typed.drain(..=end).collect();
            hears(String::from_utf8_lossy(&command).trim());
            wire.write_all(b"\r\nOK\r\n").await.unwrap();
        }
    }
}
