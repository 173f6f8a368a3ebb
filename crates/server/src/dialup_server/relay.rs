//! One call's link at a dial-up server: PPP ends here; what comes to the two open ports goes on over the trunk.
//!
//! It is hung up when the information server says so, when its allowance is spent, when the far end falls silent, and when
//! there has been no trunk for [`GRACE`]: nobody pays for a call of which nobody knows.

use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use delivery::Preamble;
use http::Response;
use http_body_util::BodyExt as _;
use line::CallId;
use link::{
    CloseReason, Counters, CredentialError, Fault, Link, LinkConfig, LinkError, LocalAddress,
    PeerAddress, Terms,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, copy_bidirectional_with_sizes};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::DialupConfig;
use super::api::Answer;
use super::calls::Calls;
use crate::dialup::line_link::{self, Meter, NoLink, SILENCE_MAX};
use crate::dialup::line_task::{SessionResult, Showing};
use crate::trunk::proxy::ProxyHeader;
use crate::trunk::tunnel::{Tunnel, way_out};
use crate::trunk::words::{FarEnd, LinkUp};
use model::call::{CallRecord, Direction};
use model::directory::Name;
use model::outcome::Outcome;

/// How long an established call may be without a trunk.
const GRACE: Duration = Duration::from_secs(5);

/// How long a connected notice may take, and then the information server to take the connection.
const NOTICE_WAIT: Duration = Duration::from_secs(15);

/// Connections of a far end at once.
const FORWARDED_MAX: usize = 8;

/// What is copied at once, each way.
const COPY_OCTETS: usize = 2048;

pub(super) struct Relay {
    pub(super) calls: Arc<Calls>,
    pub(super) config: Arc<DialupConfig>,
    pub(super) line: Name,
    pub(super) delay: Duration,
    pub(super) record: CallRecord,
    pub(super) far_end: FarEnd,
    pub(super) meter: Meter,
}

/// What a far end's connection says of itself to the information server.
#[derive(Clone)]
struct Passage {
    call: CallId,
    header: ProxyHeader,
}

impl Relay {
    /// From CONNECT to on hook.
    pub(super) async fn run(self, call: line::Call) -> SessionResult {
        let showing = Showing::Unknown; // the information server sees what is shown
        let failed = |outcome| SessionResult {
            outcome,
            counters: Counters::default(),
            showing,
        };
        let own = self.far_end.address;
        let Some((address, _loan)) = line_link::address(own, &self.config.link_pool) else {
            return failed(Outcome::OurFault("no address left in the pool".into()));
        };
        let terms = match self.terms() {
            Ok(terms) => terms,
            Err(why) => return failed(Outcome::OurFault(why.to_string())),
        };
        let config = LinkConfig {
            ports: &[delivery::SUBMISSION_PORT, delivery::PORT],
            terms,
            expected: self.calls.agreements.expected(&self.far_end.party, address),
            capture: self.config.capture.clone(),
            ..LinkConfig::new(
                LocalAddress::Own(self.config.link_address),
                PeerAddress::Assign(address),
                call.rate_bps(),
                self.delay,
            )
        };
        let hang_up = self.calls.hang_up(self.record.id);
        let until = self.meter.hang_up_at();
        let link = match line_link::establish(call, config, until, &hang_up).await {
            Ok(link) => Arc::new(link),
            Err(why) => return failed(self.without_link(&why)),
        };
        let Counters {
            octets_out,
            octets_in,
            flights,
            ..
        } = link.counters();
        let rate_bps = link.rate_bps();
        tracing::info!(call = %self.record.id, %address, octets_out, octets_in, flights, "link up");
        self.calls.up(
            self.record.id,
            &link,
            LinkUp {
                rate_bps,
                address,
                octets_out,
                octets_in,
                flights,
            },
        );
        let outcome = self.forward(&link).await;
        self.calls.agreements.keep(
            self.far_end.party.clone(),
            link.agreement().filter(|_| link.is_proved()),
        );
        SessionResult {
            counters: line_link::end(&link, self.record.id, &outcome).await,
            outcome,
            showing,
        }
    }

    /// How a call counts whose link did not come up.
    fn without_link(&self, why: &NoLink) -> Outcome {
        let error = match why {
            NoLink::HungUp => return self.calls.hung_up(self.record.id),
            NoLink::Late => return Outcome::AllowanceSpent,
            NoLink::Failed(error) => error,
        };
        let party = self.far_end.party.clone();
        self.calls.agreements.keep(party, None);
        match error {
            // The information server knows by this that the far end is not to blame.
            LinkError::NotEstablished(reason @ CloseReason::CarrierLost) => Outcome::SessionLost {
                why: format!("{reason} before the link was up"),
                delivering: None,
            },
            error => line_link::not_established(error),
        }
    }

    fn terms(&self) -> Result<Terms, CredentialError> {
        let Some(secret) = &self.far_end.chap else {
            return Ok(Terms::default());
        };
        line_link::chap_terms(link::Name::new(&self.far_end.party)?, secret)
    }

    async fn forward(&self, link: &Arc<Link>) -> Outcome {
        let (Ok(mut submissions), Ok(mut notices)) = (
            link.listen(delivery::SUBMISSION_PORT),
            link.listen(delivery::PORT),
        ) else {
            return Outcome::LinkFailed("no ports".into());
        };
        let hang_up = self.calls.hang_up(self.record.id);
        let mut forwarded = JoinSet::new();
        let mut silent = std::pin::pin!(link.silent(SILENCE_MAX));
        let mut spent = std::pin::pin!(self.meter.spent(|| link.counters()));
        let mut trunk_lost_for = std::pin::pin!(self.calls.trunk_lost_for(GRACE));
        loop {
            let has_room = forwarded.len() < FORWARDED_MAX;
            tokio::select! {
                reason = link.closed() => return match reason.fault() {
                    Fault::Nobody => Outcome::Completed,
                    Fault::Line => Outcome::SessionLost { why: reason.to_string(), delivering: None },
                    Fault::Peer => Outcome::LinkFailed(reason.to_string()),
                },
                Ok(stream) = submissions.accept(), if has_room => {
                    let passage = self.passage(link, delivery::SUBMISSION_PORT);
                    forwarded.spawn(forward(self.calls.clone(), passage, stream));
                }
                Ok(stream) = notices.accept(), if has_room => {
                    let passage = self.passage(link, delivery::PORT);
                    forwarded.spawn(forward_notice(self.calls.clone(), passage, stream));
                }
                Some(_) = forwarded.join_next() => {}
                () = hang_up.cancelled() => {
                    link.hang_up(); // every receipt is in, or nothing more is wanted
                    return match self.calls.is_ended_here(self.record.id) {
                        true => Outcome::EndedByOperator,
                        false => Outcome::Completed,
                    };
                }
                () = &mut silent => return Outcome::Idle("the far end fell silent"),
                () = &mut spent => return Outcome::AllowanceSpent,
                () = &mut trunk_lost_for => {
                    let why = "no connection to the information server".to_owned();
                    tracing::warn!(call = %self.record.id, why, "hanging up");
                    return Outcome::SessionLost { why, delivering: None };
                }
            }
        }
    }

    fn passage(&self, link: &Link, port: u16) -> Passage {
        let (caller, called) = match self.record.direction {
            Direction::Incoming => (self.record.number.clone(), None),
            Direction::Outgoing => (None, self.record.number.clone()),
        };
        let header = ProxyHeader {
            call: self.record.id,
            line: self.line.clone(),
            caller,
            called,
            from: link.peer().unwrap_or(std::net::Ipv4Addr::UNSPECIFIED),
            to: SocketAddrV4::new(link.local(), port),
            notice: None,
        };
        Passage {
            call: self.record.id,
            header,
        }
    }
}

/// Reads the connected notice, which goes before the far end's own octets.
async fn forward_notice(calls: Arc<Calls>, mut passage: Passage, mut stream: link::Stream) {
    match timeout(NOTICE_WAIT, Preamble::read(&mut stream)).await {
        Ok(Ok(notice)) => {
            tracing::info!(call = %passage.call, terminal = %notice.terminal, "connected notice");
            passage.header.notice = Some(notice.to_string());
            forward(calls, passage, stream).await;
        }
        Ok(Err(error)) => tracing::warn!(call = %passage.call, %error, "no connected notice"),
        Err(_) => tracing::warn!(call = %passage.call, "no connected notice in time"),
    }
}

async fn forward(
    calls: Arc<Calls>,
    passage: Passage,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
) {
    let taken = timeout(NOTICE_WAIT, async {
        loop {
            let waiting = calls.next_acceptor().await;
            let (entrance, body) = way_out();
            // One whose trunk is gone is no answer.
            if waiting.answer.send(Response::new(body.boxed())).is_ok() {
                return (entrance, waiting.way_in);
            }
        }
    });
    let Ok((entrance, way_in)) = taken.await else {
        return tracing::warn!(call = %passage.call, "the information server takes no connection");
    };
    let break_off = entrance.downgrade();
    let mut tunnel = Tunnel::new(entrance, way_in);
    let copied = async {
        tunnel.write_all(&passage.header.encode()).await?;
        copy_bidirectional_with_sizes(&mut stream, &mut tunnel, COPY_OCTETS, COPY_OCTETS).await
    };
    if let Err(error) = copied.await {
        tracing::debug!(call = %passage.call, %error, "a connection broke off");
        // A lost call must not read as an end in order.
        if let Some(break_off) = break_off.upgrade() {
            let _ = break_off
                .send(Err(io::ErrorKind::ConnectionReset.into()))
                .await; // so has the trunk
        }
    }
}

/// Carries a connection that the information server has opened.
pub(super) async fn carry(mut stream: link::Stream, mut tunnel: Tunnel) {
    let _ = copy_bidirectional_with_sizes(&mut stream, &mut tunnel, COPY_OCTETS, COPY_OCTETS).await; // either end has gone
}

/// A request that waits for a far end's connection.
pub(super) struct Acceptor {
    pub(super) way_in: hyper::body::Incoming,
    pub(super) answer: tokio::sync::oneshot::Sender<Response<Answer>>,
}
