//! A modem on a port under tokio: waits for rings, dials, answers.

use std::future::pending;
use std::io;
use std::pin::pin;
use std::time::{Duration, Instant};

use modem::{DialString, Dialogue, Event, Failure, Fault, Input, Output, Profile, RingKind, Setup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep_until, timeout};

use crate::async_port::AsyncPort;
use crate::call::{Call, now};
use crate::port::{Port, PortAddress, PortError};
use crate::ring::{QUIET_AFTER, Ring, RingInput, RingWatch};

/// How long a modem may take no octet of a command: it is then as dead as one that does not answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// A modem of which nothing was heard for so long is asked whether it is there before a number is dialled: of one that is dead
/// nothing else would tell before the end of the call's own time.
const ASKED_AFTER: Duration = Duration::from_secs(5);

/// A modem that is initialised and on hook. Dialling and answering consume it: after the call it is opened anew, which
/// is what brings every modem back to a known state.
#[derive(Debug)]
pub struct ModemLine {
    port: AsyncPort,
    dialogue: Dialogue,
    ring_watch: RingWatch,
    /// How long the line may be quiet before the modem is asked whether it is still there.
    probe_every: Option<Duration>,
    heard_at: Instant,
}

/// The line itself does not work. Our side's fault.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The port cannot be opened.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The port failed while open.
    #[error("the port failed")]
    Io(#[source] io::Error),
    /// The port ended: unplugged, or the exchange stopped.
    #[error("the port was closed from the other side")]
    Closed,
    /// The modem does not do as told.
    #[error(transparent)]
    Modem(Fault),
}

/// Why there is no call.
#[derive(Debug, thiserror::Error)]
pub enum DialFailure {
    /// How the attempt ended.
    #[error("{0}")]
    NoCall(Failure),
    /// The line does not work.
    #[error("the line failed")]
    Line(#[from] LineError),
    /// The line does not work, which was seen before anything was dialled.
    #[error("the line failed before anything was dialled")]
    NotDialled(#[source] LineError),
}

impl ModemLine {
    /// Opens a port and initialises the modem on it as `setup` says.
    ///
    /// # Errors
    /// [`LineError`]: the port or the modem does not work.
    pub async fn open(address: &PortAddress, setup: Setup) -> Result<Self, LineError> {
        let port = AsyncPort::open(address).await?;
        let dialogue = Dialogue::new(setup, port.signals(), now());
        let mut line = Self::on(port, dialogue);
        loop {
            if line.event().await? == Event::Ready {
                return Ok(line);
            }
        }
    }

    /// Takes over a modem that another program has initialised, with what that one has `heard` of the present ring, and
    /// whether the modem has taken `ATS12=5` from it.
    ///
    /// # Errors
    /// [`LineError::Io`] if the port cannot be watched.
    pub fn attached(
        port: Port,
        profile: Profile,
        has_short_guard: bool,
        heard: &[u8],
    ) -> Result<Self, LineError> {
        let port = port.into_async().map_err(LineError::Io)?;
        let mut line = Self::on(port, Dialogue::attached(profile, has_short_guard));
        line.dialogue.handle(Input::Octets(heard), now());
        Ok(line)
    }

    fn on(port: AsyncPort, dialogue: Dialogue) -> Self {
        Self {
            port,
            dialogue,
            ring_watch: RingWatch::default(),
            probe_every: None,
            heard_at: now(),
        }
    }

    /// The same line, on which the modem is asked whether it is still there whenever nothing was heard for `interval`, and before it
    /// dials. One that does not answer twice fails the next [`ModemLine::ring`], or the call.
    #[must_use]
    pub fn probed(self, interval: Duration) -> Self {
        Self {
            probe_every: Some(interval),
            ..self
        }
    }

    /// Waits for an incoming call; gives it out once it is known who is calling. May be dropped and called again.
    ///
    /// # Errors
    /// [`LineError`]: the port or the modem failed.
    pub async fn ring(&mut self) -> Result<Ring, LineError> {
        loop {
            let deadline = self.ring_watch.deadline();
            let probe_at = self
                .probe_every
                .map(|interval| now() + interval)
                .filter(|_| deadline.is_none());
            let wake = async {
                match deadline.or(probe_at) {
                    Some(at) => sleep_until(at.into()).await,
                    None => pending().await,
                }
            };
            let event = tokio::select! {
                event = self.event() => Some(event?),
                () = wake => None,
            };
            let input = match &event {
                None if probe_at.is_some() => {
                    self.dialogue.handle(Input::Probe, now());
                    continue;
                }
                None => RingInput::Deadline,
                // Nobody can be answered: what waits is fetched by a session.
                Some(Event::Ring(RingKind::SbdAlert)) => continue,
                Some(Event::Ring(kind)) => RingInput::Ring(*kind),
                Some(Event::CallerId(id)) => RingInput::CallerId(id),
                Some(_) => continue,
            };
            if let Some(ring) = self.ring_watch.handle(&input, now()) {
                return Ok(ring);
            }
        }
    }

    /// Dials and waits for CONNECT, at most for `timeout`.
    ///
    /// # Errors
    /// [`DialFailure`]: what the exchange or the modem said.
    pub async fn dial(
        mut self,
        number: &DialString,
        timeout: Duration,
    ) -> Result<Call, DialFailure> {
        self.asked().await?;
        self.call(Input::Dial { number, timeout }).await
    }

    /// Answers the call that is ringing and waits for CONNECT. From here on the caller pays.
    ///
    /// # Errors
    /// [`DialFailure`]: the caller has given up, or the modems do not understand each other.
    pub async fn answer(self) -> Result<Call, DialFailure> {
        self.call(Input::Answer).await
    }

    /// Lets a number ring for `duration`, or until `has_come` is ready, and hangs up before anybody pays.
    ///
    /// # Errors
    /// [`DialFailure`]: it did not ring, or somebody answered ([`Failure::NotData`]); the call is then hung up.
    pub async fn ring_only(
        mut self,
        number: &DialString,
        duration: Duration,
        has_come: impl Future<Output = ()>,
    ) -> Result<(), DialFailure> {
        self.asked().await?;
        self.dialogue
            .handle(Input::RingOnly { number, duration }, now());
        let mut has_come = pin!(has_come);
        let mut rings_on = true;
        loop {
            let event = tokio::select! {
                biased;
                event = self.event() => event?,
                () = &mut has_come, if rings_on => {
                    rings_on = false;
                    self.dialogue.handle(Input::StopRinging, now());
                    continue;
                }
            };
            match event {
                Event::Rung => return Ok(()),
                Event::Connected { .. } => return Err(DialFailure::NoCall(Failure::NotData)),
                Event::NoCall(failure) => return Err(DialFailure::NoCall(failure)),
                _ => {}
            }
        }
    }

    /// Waits until nothing has rung for [`QUIET_AFTER`]: the caller has given up, or was refused.
    ///
    /// # Errors
    /// [`LineError`]: the port failed.
    pub async fn quiet(&mut self) -> Result<(), LineError> {
        loop {
            match timeout(QUIET_AFTER, self.event()).await {
                Err(_) => return Ok(()),
                Ok(event) => drop(event?),
            }
        }
    }

    /// Refuses the call that is ringing, where the line has a way to say so; elsewhere silence says it.
    ///
    /// # Errors
    /// [`LineError`]: the port failed.
    pub async fn refuse(&mut self) -> Result<(), LineError> {
        self.dialogue.handle(Input::Refuse, now());
        while let Output::Transmit(octets) = self.dialogue.poll_output() {
            self.write(&octets).await?;
        }
        Ok(())
    }

    /// Asks whether the modem is there, if it has said nothing for long.
    async fn asked(&mut self) -> Result<(), DialFailure> {
        let after = self.probe_every.map(|every| every.min(ASKED_AFTER));
        if after.is_some_and(|after| self.heard_at + after <= now()) {
            self.dialogue.handle(Input::Probe, now());
        }
        self.answered_probe().await.map_err(DialFailure::NotDialled)
    }

    /// Waits for the answer to a probe, if one is under way: an order may come at any moment.
    async fn answered_probe(&mut self) -> Result<(), LineError> {
        while self.dialogue.is_probing() {
            self.event().await?;
        }
        Ok(())
    }

    async fn call(mut self, input: Input<'_>) -> Result<Call, DialFailure> {
        self.answered_probe().await?;
        self.dialogue.handle(input, now());
        loop {
            match self.event().await? {
                Event::Connected { rate, octets } => {
                    return Ok(Call::new(
                        self.port,
                        rate,
                        octets,
                        self.dialogue.has_short_guard(),
                    ));
                }
                Event::NoCall(failure) => return Err(DialFailure::NoCall(failure)),
                Event::Fault(fault) => return Err(LineError::Modem(fault).into()),
                _ => {}
            }
        }
    }

    async fn write(&mut self, octets: &[u8]) -> Result<(), LineError> {
        let written = timeout(WRITE_TIMEOUT, self.port.write_all(octets)).await;
        written
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(LineError::Io)
    }

    /// Drives the dialogue to its next event.
    async fn event(&mut self) -> Result<Event, LineError> {
        let mut buffer = [0; 512];
        loop {
            let deadline = match self.dialogue.poll_output() {
                Output::Transmit(octets) => {
                    self.write(&octets).await?;
                    continue;
                }
                Output::Event(Event::Fault(fault)) => return Err(LineError::Modem(fault)),
                Output::Event(event) => return Ok(event),
                Output::Timeout { at, .. } => at,
            };
            let wake = async {
                match deadline {
                    Some(at) => sleep_until(at.into()).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                read = self.port.read(&mut buffer) => {
                    let count = read.map_err(LineError::Io)?;
                    if count == 0 {
                        return Err(LineError::Closed);
                    }
                    self.heard_at = now();
                    self.dialogue.handle(Input::Octets(&buffer[..count]), self.heard_at);
                }
                () = wake => self.dialogue.handle(Input::Deadline, now()),
            }
        }
    }
}
