//! One conversation with a client (RFC 5321), on a plain or a TLS connection.
//!
//! ```text
//!   banner ──EHLO──► greeted ──MAIL──► sender ──RCPT──► recipients ──DATA──► content ──250: on the disk──► greeted
//!                      │ STARTTLS: a new session on the same connection, nothing of this one counts in it (RFC 3207 §4.2)
//! ```

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use delivery::{ContentType, TerminalId};
use jiff::{Timestamp, Zoned};
use smtp_proto::request::receiver::{DataReceiver, RequestReceiver};
use smtp_proto::{
    AUTH_PLAIN, Error as Syntax, MAIL_BODY_BINARYMIME, MAIL_REQUIRETLS, MAIL_SMTPUTF8, Request,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::recipient::{NoRecipient, destination, is_postmaster};
use super::{Door, content};
use crate::intake::{Refusal, Submission};
use model::directory::{Destination, Recipient};
use model::provider::{Provider, TokenHash};
use model::rights::allow_terminal;
use store::{Draft, Handling, ReturnPath, StoreError};

/// How long a client may take for a command or a piece of its content (RFC 5321 §4.5.3.2.7), and where most places are taken.
const COMMAND_WAIT: Duration = Duration::from_secs(300);
const COMMAND_WAIT_CROWDED: Duration = Duration::from_secs(30);

/// How long a conversation may last without a mail that was accepted, whatever is said in it.
const FRUITLESS_MAX: Duration = Duration::from_secs(30 * 60);
const FRUITLESS_MAX_CROWDED: Duration = Duration::from_secs(5 * 60);

/// How long one content may take.
const CONTENT_TIME_MAX: Duration = Duration::from_secs(60 * 60);
const CONTENT_TIME_MAX_CROWDED: Duration = Duration::from_secs(15 * 60);

/// Time after which the average rate of a content counts, and the least rate, octets a second, as over HTTP: it keeps a place, and one of the
/// files that its provider may have begun, from others.
const PACE_GRACE: Duration = Duration::from_secs(60);
const PACE_OCTETS: u64 = 512;

/// How long TLS may take to come up.
pub(super) const HANDSHAKE_WAIT: Duration = Duration::from_secs(60);

/// Commands that lead to no mail (NOOP, RSET, VRFY, HELP), before the client is sent away.
const IDLE_COMMANDS_MAX: u32 = 100;

/// Octets read at once.
const READ_OCTETS: usize = 16 * 1024;

/// A client that is sent away may still be sending: this much, and this long, is read and thrown away, so that it sees why.
const DRAIN_OCTETS_MAX: usize = 256 * 1024;
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);

/// Recipients of one mail (§4.5.3.1.8 wants 100 at least).
const RECIPIENTS_MAX: usize = 100;

/// Commands that were wrong, before the client is sent away.
const FAULTS_MAX: u32 = 20;

/// Octets of an AUTH answer.
const AUTH_OCTETS_MAX: usize = 1000;

/// How a conversation ended.
pub(super) enum Ended<S> {
    Over,
    /// The client wants TLS, and has been told to begin.
    StartTls(S),
}

/// What is known of the mail that is being sent.
struct Transaction {
    sender: String,
    recipients: Vec<(String, Destination, TerminalId)>,
}

/// A mail of which the content is coming in.
struct Incoming {
    transaction: Transaction,
    provider: Provider,
    at: Zoned,
    check: content::Check,
    octets: u64,
    draft: Draft,
}

pub(super) struct Session<S> {
    door: Door,
    stream: S,
    peer: SocketAddr,
    /// The version of TLS, inside it.
    tls: Option<String>,
    greeted_as: Option<String>,
    is_extended: bool,
    provider: Option<Provider>,
    /// What proved it.
    token: Option<String>,
    transaction: Option<Transaction>,
    faults: u32,
    idle_commands: u32,
    /// The start, or the last mail that was accepted.
    fruitful_at: Instant,
    /// Octets that came and were not looked at yet; answers that were not sent yet.
    input: Vec<u8>,
    output: String,
}

/// What follows a command.
enum Next {
    Go,
    Content,
    /// An AUTH answer on a line of its own.
    Token,
    StartTls,
    Quit,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    pub(super) fn new(door: Door, stream: S, peer: SocketAddr, tls: Option<String>) -> Self {
        Self {
            door,
            stream,
            peer,
            tls,
            greeted_as: None,
            is_extended: false,
            provider: None,
            token: None,
            transaction: None,
            faults: 0,
            idle_commands: 0,
            fruitful_at: Instant::now(),
            input: Vec::new(),
            output: String::new(),
        }
    }

    /// Converses to the end. `greet`: the connection is new.
    pub(super) async fn run(
        mut self,
        greet: bool,
        shutdown: &CancellationToken,
    ) -> io::Result<Ended<S>> {
        if greet {
            let hostname = self.door.config.hostname.clone();
            self.say(&format!("220 {hostname} ESMTP Ringup"));
        }
        let mut receiver = RequestReceiver::default();
        loop {
            let input = std::mem::take(&mut self.input);
            let mut octets = input.iter();
            let parsed = receiver.ingest(&mut octets).map(Request::into_owned);
            self.input = octets.as_slice().to_vec();
            let next = match parsed {
                Ok(request) => self.answer(request).await,
                Err(Syntax::NeedsMoreData { .. }) => {
                    self.input.clear(); // the receiver has it
                    let more = tokio::select! {
                        more = self.read(self.fruitless_until()) => more?,
                        () = shutdown.cancelled() => None,
                    };
                    let Some(more) = more else {
                        self.say("421 4.4.2 closing: silence, too long without a mail, or this server ends");
                        return self.send_away().await;
                    };
                    if more.is_empty() {
                        return Ok(Ended::Over);
                    }
                    self.input = more;
                    continue;
                }
                Err(error) => {
                    self.refuse_syntax(&error);
                    Next::Go
                }
            };
            match next {
                Next::Go => {}
                Next::Content => self.take_content().await?,
                Next::Token => self.take_token().await?,
                Next::StartTls => {
                    self.flush().await?;
                    // What was sent behind STARTTLS in the clear is thrown away: it is nobody's word (RFC 3207 §6).
                    return Ok(Ended::StartTls(self.stream));
                }
                Next::Quit => {
                    return self.send_away().await;
                }
            }
            if self.faults > FAULTS_MAX || self.idle_commands > IDLE_COMMANDS_MAX {
                self.say("421 4.7.0 too many commands for nothing");
                return self.send_away().await;
            }
        }
    }

    /// Ends the conversation with what was said last.
    async fn send_away(mut self) -> io::Result<Ended<S>> {
        self.flush().await?;
        let leave = async {
            // In order, for TLS: whoever reads the last answer knows that it was the last.
            self.stream.shutdown().await?;
            let (mut rest, mut octets) = (vec![0; READ_OCTETS], 0);
            while octets < DRAIN_OCTETS_MAX {
                match self.stream.read(&mut rest).await? {
                    0 => break,
                    count => octets += count,
                }
            }
            io::Result::Ok(())
        };
        let _ = timeout(DRAIN_TIME_MAX, leave).await; // it has been told; the rest is courtesy
        Ok(Ended::Over)
    }

    fn say(&mut self, line: &str) {
        self.output.push_str(line);
        self.output.push_str("\r\n");
    }

    fn refuse(&mut self, line: &str) -> Next {
        self.faults += 1;
        self.say(line);
        Next::Go
    }

    fn refuse_syntax(&mut self, error: &Syntax) {
        let line = match error {
            Syntax::UnknownCommand => "500 5.5.1 no such command".to_owned(),
            Syntax::InvalidSenderAddress => "501 5.1.7 that is no sender's address".to_owned(),
            Syntax::InvalidRecipientAddress => {
                "501 5.1.3 that is no recipient's address".to_owned()
            }
            Syntax::SyntaxError { syntax } => format!("501 5.5.2 write it so: {syntax}"),
            Syntax::InvalidParameter { param } => format!("501 5.5.4 {param} is wrong"),
            // What a client sends is not sent back to it: it may hold anything.
            Syntax::UnsupportedParameter { .. } => {
                "555 5.5.4 a parameter is not known here".to_owned()
            }
            Syntax::ResponseTooLong => "500 5.5.6 the line is too long".to_owned(),
            Syntax::InvalidResponse { .. } | Syntax::NeedsMoreData { .. } => {
                "500 5.5.2 not understood".to_owned()
            }
        };
        self.refuse(&line);
    }

    async fn flush(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            let written =
                timeout(COMMAND_WAIT, self.stream.write_all(self.output.as_bytes())).await;
            written.unwrap_or(Err(io::ErrorKind::TimedOut.into()))?;
            self.output.clear();
        }
        self.stream.flush().await
    }

    /// `crowded` if most places are taken, else `usual`.
    fn patience(&self, usual: Duration, crowded: Duration) -> Duration {
        if self.door.entrance.is_crowded() {
            crowded
        } else {
            usual
        }
    }

    fn fruitless_until(&self) -> Instant {
        self.fruitful_at + self.patience(FRUITLESS_MAX, FRUITLESS_MAX_CROWDED)
    }

    /// What comes next, once everything has been said: with PIPELINING (RFC 2920) that is the answers to many commands. `None`:
    /// nothing in time; empty: the end.
    async fn read(&mut self, until: Instant) -> io::Result<Option<Vec<u8>>> {
        self.flush().await?;
        let until = until.min(Instant::now() + self.patience(COMMAND_WAIT, COMMAND_WAIT_CROWDED));
        let mut buffer = vec![0; READ_OCTETS];
        let Ok(count) = timeout_at(until, self.stream.read(&mut buffer)).await else {
            return Ok(None);
        };
        buffer.truncate(count?);
        Ok(Some(buffer))
    }

    async fn answer(&mut self, request: Request<String>) -> Next {
        let is_idle = matches!(
            request,
            Request::Noop { .. } | Request::Rset | Request::Vrfy { .. } | Request::Help { .. }
        );
        self.idle_commands += u32::from(is_idle);
        match request {
            Request::Ehlo { host } => self.greet(host, true),
            Request::Helo { host } => self.greet(host, false),
            Request::Quit => {
                self.say("221 2.0.0 bye");
                Next::Quit
            }
            Request::Rset => {
                self.transaction = None;
                self.say("250 2.0.0 forgotten");
                Next::Go
            }
            Request::Noop { .. } => {
                self.say("250 2.0.0 ok");
                Next::Go
            }
            // Who is here is nobody's business (RFC 5321 §7.3).
            Request::Vrfy { .. } => {
                self.say("252 2.5.2 send it, and see");
                Next::Go
            }
            Request::Help { .. } => {
                self.say("214 2.0.0 RFC 5321");
                Next::Go
            }
            Request::StartTls if self.tls.is_some() || self.door.config.tls.is_none() => {
                self.refuse("503 5.5.1 no STARTTLS here")
            }
            Request::StartTls => {
                self.say("220 2.0.0 begin TLS");
                Next::StartTls
            }
            Request::Auth {
                mechanism,
                initial_response,
            } => self.auth(mechanism, &initial_response).await,
            _ if self.greeted_as.is_none() => self.refuse("503 5.5.1 say EHLO first"),
            Request::Mail { .. } if self.transaction.is_some() => {
                self.refuse("503 5.5.1 a mail is begun already")
            }
            Request::Mail { from } => {
                let max = self.door.intake.size_max();
                if from.flags & (MAIL_BODY_BINARYMIME | MAIL_SMTPUTF8 | MAIL_REQUIRETLS) != 0 {
                    return self
                        .refuse("555 5.5.4 a parameter of an extension that EHLO does not offer");
                }
                if from.size as u64 > max {
                    return self.refuse(&format!("552 5.3.4 at most {max} octets are taken"));
                }
                if from.address.len() > 254
                    || from
                        .address
                        .chars()
                        .any(|char| char.is_control() || "<>".contains(char))
                {
                    return self.refuse("501 5.1.7 that is no sender's address");
                }
                self.transaction = Some(Transaction {
                    sender: from.address,
                    recipients: Vec::new(),
                });
                self.say("250 2.1.0 ok");
                Next::Go
            }
            Request::Rcpt { to } => self.recipient(to.address).await,
            Request::Data => match &self.transaction {
                Some(transaction) if !transaction.recipients.is_empty() => {
                    self.say("354 end with a dot on a line of its own");
                    Next::Content
                }
                _ => self.refuse("503 5.5.1 no recipient yet"),
            },
            _ => self.refuse("502 5.5.1 not done here"),
        }
    }

    fn greet(&mut self, host: String, is_extended: bool) -> Next {
        // It goes into the mail's trace: nothing but a name or an address literal.
        let is_name = !host.is_empty()
            && host.len() <= 255
            && host
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || b".-_:[]".contains(&octet));
        if !is_name {
            return self.refuse("501 5.5.4 that is no host's name");
        }
        let hostname = self.door.config.hostname.clone();
        if is_extended {
            let mut lines = vec![
                hostname,
                "PIPELINING".to_owned(),
                "ENHANCEDSTATUSCODES".to_owned(),
                "8BITMIME".to_owned(),
            ];
            lines.push(format!("SIZE {}", self.door.intake.size_max()));
            if self.tls.is_some() {
                lines.push("AUTH PLAIN".to_owned());
            } else if self.door.config.tls.is_some() {
                lines.push("STARTTLS".to_owned());
            }
            let last = lines.len() - 1;
            for (index, line) in lines.iter().enumerate() {
                let _ = write!(
                    self.output,
                    "250{}{line}\r\n",
                    if index == last { ' ' } else { '-' }
                );
            }
        } else {
            self.say(&format!("250 {hostname}"));
        }
        (self.greeted_as, self.is_extended, self.transaction) = (Some(host), is_extended, None);
        Next::Go
    }

    async fn auth(&mut self, mechanism: u64, initial: &str) -> Next {
        if self.tls.is_none() {
            return self.refuse("538 5.7.11 not without TLS"); // a token in the clear is everybody's
        }
        if self.provider.is_some() || self.transaction.is_some() || self.greeted_as.is_none() {
            return self.refuse("503 5.5.1 not now");
        }
        if mechanism != AUTH_PLAIN {
            return self.refuse("504 5.5.4 only PLAIN");
        }
        if initial.is_empty() {
            self.say("334 ");
            return Next::Token;
        }
        self.prove(initial).await;
        Next::Go
    }

    /// Reads an AUTH answer on a line of its own.
    async fn take_token(&mut self) -> io::Result<()> {
        loop {
            if let Some(end) = self.input.iter().position(|octet| *octet == b'\n') {
                let rest = self.input.split_off(end + 1);
                let line = String::from_utf8_lossy(&std::mem::replace(&mut self.input, rest))
                    .trim_end()
                    .to_owned();
                self.prove(&line).await;
                return Ok(());
            }
            if self.input.len() > AUTH_OCTETS_MAX {
                self.refuse("500 5.5.6 the line is too long");
                self.input.clear();
                return Ok(());
            }
            match self.read(self.fruitless_until()).await? {
                Some(more) if !more.is_empty() => self.input.extend(more),
                _ => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// RFC 4616: authorisation identity, NUL, name, NUL, password, which is the provider's token.
    async fn prove(&mut self, answer: &str) {
        let plain = STANDARD
            .decode(answer)
            .ok()
            .and_then(|octets| String::from_utf8(octets).ok());
        let token = plain.as_deref().and_then(|plain| plain.split('\0').nth(2));
        match self.door.intake.recognise(token).await {
            Ok(provider) => {
                tracing::debug!(provider = %provider.name, "mail client proved");
                self.provider = Some(provider);
                self.token = token.map(str::to_owned);
                self.say("235 2.7.0 welcome");
            }
            Err(Refusal::Token) => {
                self.refuse("535 5.7.8 no provider has this token");
            }
            Err(error) => {
                tracing::error!(%error, "mail client not looked up");
                self.say("454 4.7.0 not now; try again later");
            }
        }
    }

    /// The provider that submits. A token that was taken back since its proof is void.
    async fn submitter(&self) -> Result<Option<Provider>, StoreError> {
        match &self.token {
            Some(token) => {
                self.door
                    .store
                    .provider_with_token(TokenHash::of(token), Timestamp::now())
                    .await
            }
            None => {
                self.door
                    .store
                    .provider_named(self.door.config.provider.clone())
                    .await
            }
        }
    }

    async fn recipient(&mut self, address: String) -> Next {
        let Some(transaction) = &self.transaction else {
            return self.refuse("503 5.5.1 no sender yet");
        };
        if transaction.recipients.len() >= RECIPIENTS_MAX {
            return self.refuse("452 4.5.3 enough recipients; send the others with another mail");
        }
        let found = if is_postmaster(&address, &self.door.config.domains) {
            let Some(terminal) = self.door.config.postmaster.clone() else {
                return self
                    .refuse("550 5.1.1 this server has no postmaster yet: its config names none");
            };
            Ok(Destination::Name(terminal))
        } else {
            destination(&address, &self.door.config.domains)
        };
        let destination = match found {
            Ok(destination) => destination,
            Err(NoRecipient::OtherDomain) => {
                return self.refuse("550 5.7.1 nothing is relayed here");
            }
            Err(NoRecipient::Malformed) => {
                return self.refuse("501 5.1.3 that is no recipient's address");
            }
            Err(NoRecipient::Nobody) => return self.refuse("550 5.1.1 no such address here"),
        };
        let destination = destination.at(self.door.intake.home());
        let found = async {
            let provider = self.submitter().await?;
            Ok::<_, StoreError>((
                provider,
                self.door.store.find_terminal(destination.clone()).await?,
            ))
        };
        match found.await {
            // Who may not be sent to is told apart from nobody by nobody.
            Ok((Some(provider), Some(terminal)))
                if allow_terminal(&provider.may_send, &terminal) =>
            {
                if let Some(transaction) = &mut self.transaction {
                    transaction
                        .recipients
                        .push((address, destination, terminal.id));
                }
                self.say("250 2.1.5 ok");
                Next::Go
            }
            Ok((Some(_), _)) => self.refuse("550 5.1.1 no such address here"),
            Ok((None, _)) => {
                tracing::error!(provider = %self.door.config.provider, "[mail] provider is not in the directory");
                self.say("451 4.3.5 this server is not set up to take mail yet");
                Next::Go
            }
            Err(error) => {
                tracing::error!(%error, "recipient not looked up");
                self.say("451 4.3.0 not now; try again later");
                Next::Go
            }
        }
    }

    /// Reads a content to its dot, however large, keeps what may be kept, and answers once it is on the disk.
    async fn take_content(&mut self) -> io::Result<()> {
        let Some(transaction) = self.transaction.take() else {
            return Ok(());
        };
        let (began, mut come) = (Instant::now(), 0);
        let until = began + self.patience(CONTENT_TIME_MAX, CONTENT_TIME_MAX_CROWDED);
        let mut kept = self.begin(transaction).await;
        let (mut receiver, mut content) = (DataReceiver::new(), Vec::new());
        // The dot may be the first line: then the receiver has to know that a line has just ended.
        receiver.ingest(&mut b"\r\n".iter(), &mut content);
        content.clear();
        loop {
            let input = std::mem::take(&mut self.input);
            let mut octets = input.iter();
            let is_whole = receiver.ingest(&mut octets, &mut content);
            if is_whole {
                self.input = octets.as_slice().to_vec();
            }
            // At the dot the receiver takes back the CR that it gave last.
            let ready = if is_whole {
                content.len()
            } else {
                content.len().saturating_sub(1)
            };
            if let Ok(incoming) = kept {
                kept = self.keep(incoming, &content[..ready]).await;
            } // else what comes still is read, and thrown away
            content.drain(..ready);
            if is_whole {
                break;
            }
            let at_pace = began + PACE_GRACE + Duration::from_secs(come / PACE_OCTETS);
            match self.read(until.min(at_pace)).await? {
                Some(more) if !more.is_empty() => {
                    come += more.len() as u64;
                    self.input = more;
                }
                Some(_) => return Err(io::ErrorKind::UnexpectedEof.into()), // no dot, no mail
                None => {
                    self.say("421 4.4.2 closing: the content stood still, or came too slowly");
                    self.flush().await?;
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
        }
        let answer = match kept {
            Ok(incoming) => self.submit(incoming).await,
            Err(answer) => answer,
        };
        if answer.starts_with('2') {
            (self.fruitful_at, self.idle_commands) = (Instant::now(), 0);
        }
        self.door.metrics.mail(&answer);
        self.say(&answer);
        Ok(())
    }

    /// Begins to take a content in, with its trace before it.
    ///
    /// # Errors
    /// The answer.
    async fn begin(&self, transaction: Transaction) -> Result<Incoming, String> {
        let provider = match self.submitter().await {
            Ok(Some(provider)) => provider,
            Ok(None) => return Err("451 4.3.5 this server is not set up to take mail".to_owned()),
            Err(error) => {
                tracing::error!(%error, "mail not taken");
                return Err("451 4.3.0 not now; try again later".to_owned());
            }
        };
        let at = Zoned::now();
        let from = format!(
            "{} ([{}])",
            self.greeted_as.as_deref().unwrap_or_default(),
            self.peer.ip()
        );
        let protocol = match (&self.tls, &self.provider) {
            (Some(_), Some(_)) => "ESMTPSA", // RFC 3848
            (Some(_), None) => "ESMTPS",
            (None, _) if self.is_extended => "ESMTP",
            (None, _) => "SMTP",
        };
        let date = at.strftime("%a, %d %b %Y %H:%M:%S %z").to_string();
        let trace = content::trace(
            &transaction.sender,
            &from,
            &self.door.config.hostname,
            protocol,
            &date,
        );
        let draft = self
            .door
            .intake
            .draft_of(&provider.name)
            .write(trace.as_bytes())
            .await;
        let draft = draft.map_err(|error| answer_refusal(&error.into()))?;
        Ok(Incoming {
            transaction,
            provider,
            at,
            check: content::Check::default(),
            octets: 0,
            draft,
        })
    }

    /// Keeps one piece more.
    ///
    /// # Errors
    /// The answer: nothing of it is kept.
    async fn keep(&self, mut incoming: Incoming, octets: &[u8]) -> Result<Incoming, String> {
        let max = self.door.intake.size_max();
        incoming.octets += octets.len() as u64;
        if incoming.octets > max {
            return Err(format!("552 5.3.4 at most {max} octets are taken"));
        }
        incoming
            .check
            .feed(octets)
            .map_err(|fault| fault.to_string())?;
        let draft = incoming
            .draft
            .write(octets)
            .await
            .map_err(|error| answer_refusal(&error.into()))?;
        Ok(Incoming { draft, ..incoming })
    }

    async fn submit(&self, incoming: Incoming) -> String {
        let Incoming {
            transaction: Transaction { sender, recipients },
            provider,
            at,
            check,
            draft,
            ..
        } = incoming;
        if let Err(fault) = check.finish() {
            return fault.to_string();
        }
        let content = match draft.finish().await {
            Ok(content) => content,
            Err(error) => return answer_refusal(&error.into()),
        };
        // A token that was taken back while the content came is void, too.
        match self.submitter().await {
            Ok(Some(still)) if still.name == provider.name => {}
            Ok(_) => return "535 5.7.8 the token belongs to no provider any more".to_owned(),
            Err(error) => return answer_refusal(&error.into()),
        }
        let return_path = (!sender.is_empty()).then(|| ReturnPath {
            sender,
            recipients: recipients
                .iter()
                .map(|(address, _, terminal)| (*terminal, address.clone()))
                .collect(),
        });
        let expires_at = at
            .timestamp()
            .checked_add(self.door.config.give_up_after)
            .ok();
        let submission = Submission {
            provider,
            recipients: recipients
                .into_iter()
                .map(|(_, destination, _)| Recipient::Terminal(destination))
                .collect(),
            content_type: "message/rfc822"
                .parse::<ContentType>()
                .expect("a media type"),
            content,
            handling: Handling {
                expires_at,
                return_path,
                ..Handling::default()
            },
        };
        match self.door.intake.submit(submission).await {
            Ok(accepted) => {
                tracing::info!(message_id = %accepted.id, peer = %self.peer, "mail accepted");
                format!("250 2.0.0 {} is on the disk", accepted.id)
            }
            Err(refusal) => answer_refusal(&refusal),
        }
    }
}

/// What a refusal is in SMTP: 4xx where the same mail may be taken later (RFC 5321 §4.2.1).
fn answer_refusal(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Quota(_) => "452 4.2.2 as much waits as may; try again later".to_owned(),
        Refusal::Full => "452 4.3.1 the disk is full; try again later".to_owned(),
        Refusal::TooLarge { max } => format!("552 5.3.4 at most {max} octets are taken"),
        Refusal::ForbiddenDestination(_) | Refusal::UnknownDestination(_) => {
            "550 5.1.1 no such address here".to_owned()
        }
        Refusal::Store(error) => {
            tracing::error!(%error, "mail not stored");
            "451 4.3.0 not now; try again later".to_owned()
        }
        other => format!("554 5.6.0 {other}"),
    }
}
