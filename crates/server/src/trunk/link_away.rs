//! A link that a dial-up server has up, as a session of ours uses it.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use line::CallId;
use link::Counters;
use tokio::sync::{Mutex, Notify, mpsc, watch};
use tokio::time::timeout;

use super::away::Told;
use super::information::Pop;
use super::tunnel::Tunnel;
use super::words::LinkUp;
use crate::dialup::open_link::{Gone, OpenLink};
use crate::keys::Admitted;

/// How long the word about a call may come behind the end of a stream on it.
const WORD_WAIT: Duration = Duration::from_secs(2);

/// The link of a call at a dial-up server.
pub(super) struct LinkAway {
    pub(super) pop: Arc<Pop>,
    pub(super) call: CallId,
    pub(super) up: LinkUp,
    pub(super) told: watch::Receiver<Told>,
    pub(super) submissions: Mutex<mpsc::Receiver<Tunnel>>,
    pub(super) notices: Mutex<mpsc::Receiver<Tunnel>>,
    pub(super) proved: Notify,
}

impl OpenLink for LinkAway {
    type Stream = Tunnel;

    async fn submission(&self) -> io::Result<Tunnel> {
        self.submissions
            .lock()
            .await
            .recv()
            .await
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    async fn notice(&self) -> io::Result<Tunnel> {
        self.notices
            .lock()
            .await
            .recv()
            .await
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    async fn connect(&self, port: u16) -> io::Result<Tunnel> {
        self.pop
            .open(&format!("/calls/{}/open/{port}", self.call))
            .await
            .map_err(io::Error::other)
    }

    async fn gone(&self) -> Gone {
        let mut told = self.told.clone();
        let is_gone = |told: &Told| !matches!(told, Told::Up(_));
        let Ok(told) = told.wait_for(is_gone).await else {
            return gone("the server is stopping");
        };
        match &*told {
            Told::Ended(ended) => {
                let why = format!("link ended: {}", ended.outcome());
                Gone {
                    why,
                    is_orderly: ended.is_orderly(),
                    is_lost: ended.is_lost(),
                }
            }
            Told::Missing => gone("the dial-up server does not know the call any more"),
            Told::Begun | Told::Up(_) | Told::Lost => {
                gone("the connection to the dial-up server was lost")
            }
        }
    }

    /// A stream is lost before the dial-up server's word about the call is here: they are different streams.
    async fn lost(&self) -> Option<Gone> {
        timeout(WORD_WAIT, self.gone()).await.ok()
    }

    /// The dial-up server hangs up on a silent far end by itself.
    async fn silent(&self, _limit: Duration) {
        std::future::pending::<()>().await;
    }

    fn address(&self) -> Option<Ipv4Addr> {
        Some(self.up.address)
    }

    fn rate_bps(&self) -> u32 {
        self.up.rate_bps
    }

    /// Those of the link's coming up: the call's are told at its end.
    fn counters(&self) -> Counters {
        let LinkUp {
            octets_out,
            octets_in,
            flights,
            ..
        } = self.up;
        Counters {
            octets_out,
            octets_in,
            flights,
            ..Counters::default()
        }
    }

    fn proved(&self, _admitted: &Admitted) {
        self.proved.notify_one();
    }

    /// It is hung up when the session is over, which it is then.
    fn hang_up(&self) {}
}

fn gone(why: &str) -> Gone {
    Gone {
        why: why.to_owned(),
        is_orderly: false,
        is_lost: true,
    }
}
