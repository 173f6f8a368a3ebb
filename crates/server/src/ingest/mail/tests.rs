//! Mail as clients send it, well and badly.

use std::ops::Add as _;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::*;
use crate::alarms::{AlarmConfig, Alarms};
use model::directory::{Connection, Terminal, TrustedBy};
use model::provider::{Provider, TokenHash};
use store::{Last, MessageEntry, Quota, Quotas};

const SIZE_MAX: u64 = 20_000;

/// A mail port of its own; the terminals are `owner` (301) and `other` (302), the provider is `mail`.
struct Port {
    address: SocketAddr,
    door: Door,
    store: Store,
    alarms: Alarms,
    _due: mpsc::Receiver<Vec<delivery::TerminalId>>,
    _serving: JoinSet<()>,
    folder: TempDir,
}

impl Port {
    async fn open() -> Self {
        Self::open_with(&["*"], Quotas::default()).await
    }

    async fn open_with(rights: &[&str], quotas: Quotas) -> Self {
        Self::found(rights, quotas, None).await
    }

    async fn open_secure(tls: Arc<rustls::ServerConfig>) -> Self {
        Self::found(&["*"], Quotas::default(), Some(tls)).await
    }

    async fn open_sized(size_max: u64) -> Self {
        Self::found_sized(&["*"], Quotas::default(), None, size_max).await
    }

    async fn found(
        rights: &[&str],
        quotas: Quotas,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Self {
        Self::found_sized(rights, quotas, tls, SIZE_MAX).await
    }

    async fn found_sized(
        rights: &[&str],
        quotas: Quotas,
        tls: Option<Arc<rustls::ServerConfig>>,
        size_max: u64,
    ) -> Self {
        let folder = TempDir::new().unwrap();
        let store = Store::open(folder.path(), jiff::Timestamp::now())
            .unwrap()
            .with_quotas(quotas);
        for (number, name) in [(1, "owner"), (2, "other")] {
            let terminal = Terminal {
                id: delivery::TerminalId::from_octets([number; 8]),
                name: name.parse().unwrap(),
                number: Some(format!("30{number}").parse().unwrap()),
                address: None,
                trusted_by: TrustedBy::default(),
                connection: Connection::Down,
            };
            store.add_terminal(terminal).await.unwrap();
        }
        let may_send = rights.iter().map(|right| right.parse().unwrap()).collect();
        let provider = Provider {
            name: "mail".parse().unwrap(),
            number: None,
            may_send,
            is_disabled: false,
        };
        store
            .add_provider(provider, TokenHash::of("token"))
            .await
            .unwrap();
        let (due_sender, due) = mpsc::channel(1000);
        let (mut serving, shutdown, metrics) =
            (JoinSet::new(), CancellationToken::new(), Metrics::default());
        let alarms = AlarmConfig::default();
        let alarms = Alarms::start(
            store.clone(),
            alarms,
            metrics.clone(),
            shutdown.clone(),
            &mut serving,
        )
        .await
        .unwrap();
        let intake = Intake::new(store.clone(), due_sender, alarms.clone(), size_max, None);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = MailConfig {
            listen: address,
            hostname: "mx.mail.example".to_owned(),
            domains: vec!["mail.example".to_owned()],
            provider: "mail".parse().unwrap(),
            give_up_after: SignedDuration::from_hours(1),
            relay: None,
            postmaster: Some("other".parse().unwrap()),
            tls,
        };
        let door = Door {
            config: Arc::new(config.clone()),
            intake: intake.clone(),
            store: store.clone(),
            metrics: metrics.clone(),
            entrance: Entrance::new(9, 9),
        };
        serving.spawn(serve(
            listener,
            1000,
            config,
            intake,
            store.clone(),
            metrics,
            shutdown,
        ));
        Self {
            address,
            door,
            store,
            alarms,
            _due: due,
            _serving: serving,
            folder,
        }
    }

    /// Says all of it at once, and gives what was answered, a code a line.
    async fn say(&self, text: &[u8]) -> Vec<String> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).await.unwrap();
        answers.lines().map(str::to_owned).collect()
    }

    /// The enhanced codes of the answers to these lines behind EHLO.
    async fn codes(&self, lines: &str) -> Vec<String> {
        let text = format!("EHLO client.example\r\n{}", lines.replace('\n', "\r\n"));
        let answers = self.say(text.as_bytes()).await;
        let behind_greeting = answers
            .iter()
            .skip_while(|line| !line.starts_with("250 "))
            .skip(1);
        behind_greeting
            .map(|line| line.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" "))
            .collect()
    }

    /// Files of contents, those that are coming in with them.
    fn files(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("contents"))
            .unwrap()
            .count()
    }

    async fn messages(&self) -> Vec<MessageEntry> {
        self.store.messages(Last(100)).await.unwrap()
    }
}

#[tokio::test]
async fn a_mail_is_on_the_disk_for_each_recipient_when_its_250_comes() {
    let port = Port::open().await;
    let mail = "MAIL FROM:<gauge@far.example> SIZE=30 BODY=8BITMIME\nRCPT TO:<owner@mail.example>\nRCPT TO:<302@mail.example>\n\
                DATA\nSubject: level\n\n..high\n.\nQUIT\n";
    let codes = port.codes(mail).await;
    assert_eq!(
        codes,
        [
            "250 2.1.0",
            "250 2.1.5",
            "250 2.1.5",
            "354 end",
            "250 2.0.0",
            "221 2.0.0"
        ]
    );
    let messages = port.messages().await;
    let [message] = messages.as_slice() else {
        panic!("{messages:?}")
    };
    assert_eq!(
        (message.envelopes_count, message.head.content_type.as_str()),
        (2, "message/rfc822")
    );
    assert!(message.handling.expires_at.is_some());
    let (_, content) = port.store.content(message.head.id).await.unwrap();
    let content = String::from_utf8(content.to_vec()).unwrap();
    assert!(content.starts_with(
        "Return-Path: <gauge@far.example>\r\nReceived: from client.example ([127.0.0.1])\r\n"
    ));
    assert!(
        content.contains("by mx.mail.example (Ringup) with ESMTP;")
            && content.ends_with("Subject: level\r\n\r\n.high\r\n")
    );
}

#[tokio::test]
async fn a_provider_that_is_missing_is_an_alarm_until_it_is_there() {
    let port = Port::open().await;
    assert!(
        port.store
            .remove_provider("mail".parse().unwrap())
            .await
            .is_ok()
    );
    let stands = async |wanted: usize| {
        loop {
            let standing = port.alarms.standing().await;
            if standing
                .iter()
                .filter(|alarm| alarm.kind == AlarmKind::MailProvider)
                .count()
                == wanted
            {
                return;
            }
            tokio::time::advance(PROVIDER_LOOK).await;
        }
    };
    tokio::time::pause();
    stands(1).await;
    let provider = Provider {
        name: "mail".parse().unwrap(),
        number: None,
        may_send: Vec::new(),
        is_disabled: false,
    };
    port.store
        .add_provider(provider, TokenHash::of("token"))
        .await
        .unwrap();
    stands(0).await;
}

#[tokio::test]
async fn several_mails_on_one_connection_and_an_empty_one_are_mails_of_their_own() {
    let port = Port::open().await;
    let mail = "MAIL FROM:<>\nRCPT TO:<owner@mail.example>\nDATA\n";
    let codes = port
        .codes(&format!("{mail}a\n.\n{mail}.\n{mail}..\n.\n"))
        .await;
    assert_eq!(codes.iter().filter(|code| *code == "250 2.0.0").count(), 3);
    let mut ends = Vec::new();
    for message in port.messages().await {
        let (_, content) = port.store.content(message.head.id).await.unwrap();
        let content = String::from_utf8(content.to_vec()).unwrap();
        ends.push(content.lines().skip(4).collect::<Vec<_>>().join("|"));
    }
    assert_eq!(ends, [".", "", "a"]);
}

#[tokio::test]
async fn nobody_is_relayed_for_and_nobody_learns_who_is_here() {
    let port = Port::open_with(&["tel:302"], Quotas::default()).await;
    let mail = "RCPT TO:<other@mail.example>\nMAIL FROM:<a@far.example>\nRCPT TO:<x@elsewhere.example>\nRCPT TO:<nobody@mail.example>\n\
                RCPT TO:<owner@mail.example>\nDATA\nVRFY owner\nEXPN all\nRCPT TO:<other@mail.example>\n";
    let codes = port.codes(mail).await;
    let expected = [
        "503 5.5.1",
        "250 2.1.0",
        "550 5.7.1",
        "550 5.1.1",
        "550 5.1.1",
        "503 5.5.1",
        "252 2.5.2",
        "502 5.5.1",
        "250 2.1.5",
    ];
    assert_eq!(codes, expected);
}

/// A second mail in the content of the first, for servers that take other line ends than CRLF.
#[tokio::test]
async fn a_mail_cannot_be_smuggled_in_another() {
    let port = Port::open().await;
    for end in [
        "\n.\n",
        "\n.\r\n",
        "\r.\r",
        "\r\n.\n",
        "\r\n.\r",
        "\r.\r\n",
        "\n\n.\r\r\n",
    ] {
        let smuggled = format!(
            "EHLO x\r\nMAIL FROM:<a@far.example>\r\nRCPT TO:<owner@mail.example>\r\nDATA\r\nrain{end}\
             MAIL FROM:<forged@far.example>\r\nRCPT TO:<other@mail.example>\r\nDATA\r\nforged\r\n.\r\nQUIT\r\n"
        );
        let answers = port.say(smuggled.as_bytes()).await;
        assert!(
            answers.iter().any(|line| line.starts_with("554 5.6.0")),
            "{end:?}: {answers:?}"
        );
        assert_eq!(
            answers
                .iter()
                .filter(|line| line.starts_with("354"))
                .count(),
            1,
            "{end:?}"
        );
    }
    assert_eq!(port.messages().await.len(), 0);
}

#[tokio::test]
async fn what_is_too_large_or_too_many_is_refused_and_the_conversation_goes_on() {
    let port = Port::open().await;
    assert_eq!(
        port.codes("MAIL FROM:<a@b.example> SIZE=20001\n").await,
        ["552 5.3.4"]
    );
    let large = "0123456789\n".repeat(4000);
    let mail =
        format!("MAIL FROM:<a@b.example>\nRCPT TO:<owner@mail.example>\nDATA\n{large}.\nNOOP\n");
    assert_eq!(
        port.codes(&mail).await.last_chunk(),
        Some(&["552 5.3.4".to_owned(), "250 2.0.0".to_owned()])
    );
    let many = format!(
        "MAIL FROM:<a@b.example>\n{}DATA\nx\n.\n",
        "RCPT TO:<owner@mail.example>\n".repeat(101)
    );
    let codes = port.codes(&many).await;
    assert_eq!(
        codes[100..],
        ["250 2.1.5", "452 4.5.3", "354 end", "250 2.0.0"]
    );
    assert_eq!(port.messages().await[0].envelopes_count, 1);
    let long = format!("NOOP {}\nNOOP\n", "x".repeat(100_000));
    assert!(port.codes(&long).await.contains(&"500 5.5.6".to_owned()));
}

#[tokio::test]
async fn a_bomb_of_recipients_takes_no_more_than_a_hundred_and_is_sent_away() {
    let port = Port::open().await;
    let bomb = format!(
        "EHLO x\r\nMAIL FROM:<a@b.example>\r\n{}",
        "RCPT TO:<302@mail.example>\r\n".repeat(400)
    );
    let answers = port.say(bomb.as_bytes()).await;
    let count = |code: &str| answers.iter().filter(|line| line.starts_with(code)).count();
    assert_eq!(
        (count("250 2.1.5"), count("452 4.5.3")),
        (100, 21),
        "{answers:?}"
    );
    assert!(
        answers.last().unwrap().starts_with("421 4.7.0"),
        "{answers:?}"
    );
    assert_eq!(port.messages().await.len(), 0);
}

#[tokio::test]
async fn whoever_says_nothing_but_nonsense_is_sent_away() {
    let port = Port::open().await;
    let answers = port.say("\x01\u{fe}\r\n".repeat(1000).as_bytes()).await;
    assert!(
        answers.last().unwrap().starts_with("421 4.7.0") && answers.len() < 30,
        "{answers:?}"
    );
    let answers = port
        .say(b"EHLO <script>\r\nMAIL FROM:<a@b.example>\r\n")
        .await;
    assert!(
        answers[1].starts_with("501") && answers[2].starts_with("503"),
        "{answers:?}"
    );
    assert_eq!(
        port.codes("MAIL FROM:<a\tb@c.example>\nSTARTTLS\nAUTH PLAIN AHgAdG9rZW4=\n")
            .await[1..],
        ["503 5.5.1", "538 5.7.11"]
    );
}

#[tokio::test]
async fn what_may_be_taken_later_is_told_so() {
    let one = Quota {
        messages: 1,
        octets: 1_000_000,
    };
    let port = Port::open_with(
        &["*"],
        Quotas {
            terminal: one,
            ..Quotas::default()
        },
    )
    .await;
    let mail = "MAIL FROM:<a@b.example>\nRCPT TO:<owner@mail.example>\nDATA\nx\n.\n";
    assert_eq!(port.codes(mail).await.last().unwrap(), "250 2.0.0");
    assert_eq!(port.codes(mail).await.last().unwrap(), "452 4.2.2");
    port.store.limit_pages(Some(0)).await;
    let full = mail
        .replace("owner", "other")
        .replace("DATA\nx", &format!("DATA\n{}", "y".repeat(9000)));
    assert_eq!(port.codes(&full).await.last().unwrap(), "452 4.3.1");
    assert_eq!(port.messages().await.len(), 1);
}

#[tokio::test]
async fn a_connection_that_ends_before_the_dot_leaves_nothing() {
    let port = Port::open().await;
    let codes = port
        .codes("MAIL FROM:<a@b.example>\nRCPT TO:<owner@mail.example>\nDATA\nhalf a mail\n")
        .await;
    assert_eq!(codes.last().unwrap(), "354 end");
    assert_eq!(port.messages().await.len(), 0);
}

#[tokio::test]
async fn the_postmaster_is_a_terminal_and_what_ehlo_does_not_offer_is_refused() {
    let port = Port::open().await;
    let mail = "MAIL FROM:<a@b.example>\nRCPT TO:<postmaster>\nRCPT TO:<Postmaster@mail.example>\nRCPT TO:<postmaster@far.example>\n\
                DATA\nx\n.\n";
    let codes = port.codes(mail).await;
    assert_eq!(
        codes,
        [
            "250 2.1.0",
            "250 2.1.5",
            "250 2.1.5",
            "550 5.7.1",
            "354 end",
            "250 2.0.0"
        ]
    );
    let messages = port.messages().await;
    assert_eq!(messages[0].envelopes_count, 1, "the same terminal");
    let with = "MAIL FROM:<a@b.example> BODY=BINARYMIME\nMAIL FROM:<a@b.example> SMTPUTF8\nMAIL FROM:<a@b.example> BODY=7BIT\n";
    assert_eq!(
        port.codes(with).await,
        ["555 5.5.4", "555 5.5.4", "250 2.1.0"]
    );
}

/// Mails larger than what is kept in memory, whatever the pieces in which they come, and some that are not to be kept.
#[tokio::test]
async fn a_content_goes_to_the_disk_while_it_comes_and_what_is_refused_or_broken_off_leaves_no_file()
 {
    let port = Port::open_sized(400_000).await;
    let lines = "0123456789abcdef\r\n".repeat(10_000);
    let begin = "EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<owner@mail.example>\r\nDATA\r\nSubject: x\r\n\r\n";
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    stream.write_all(begin.as_bytes()).await.unwrap();
    stream.write_all(lines.as_bytes()).await.unwrap();
    // More than the sockets hold has been read: it is in a file by now.
    while port.files() == 0 {
        tokio::task::yield_now().await;
    }
    drop(stream);
    while port.files() > 0 {
        tokio::task::yield_now().await;
    }
    for (content, code) in [
        (format!("{lines}bare\nend\r\n"), "554 5.6.0"),
        (lines.repeat(3), "552 5.3.4"),
        (format!("{lines}.."), "250 2.0.0"),
    ] {
        let answers = port
            .say(format!("{begin}{content}\r\n.\r\nQUIT\r\n").as_bytes())
            .await;
        assert!(answers[answers.len() - 2].starts_with(code), "{answers:?}");
        assert_eq!(port.files(), usize::from(code.starts_with('2')));
    }
    let [message] = port.messages().await.try_into().unwrap();
    let (_, content) = port.store.content(message.head.id).await.unwrap();
    let whole = String::from_utf8(content.to_vec()).unwrap();
    assert!(
        whole.starts_with("Return-Path: ")
            && whole.ends_with(&format!("Subject: x\r\n\r\n{lines}.\r\n"))
    );
}

#[tokio::test]
async fn whoever_goes_on_with_commands_that_lead_to_no_mail_is_sent_away() {
    let port = Port::open().await;
    let answers = port
        .say(
            "EHLO x\r\n"
                .to_owned()
                .add(&"NOOP\r\n".repeat(1000))
                .as_bytes(),
        )
        .await;
    assert_eq!(
        answers
            .iter()
            .filter(|line| line.starts_with("250 2.0.0"))
            .count(),
        101
    );
    assert!(answers.last().unwrap().starts_with("421 4.7.0"));
}

#[tokio::test]
async fn one_address_takes_twenty_places() {
    let port = Port::open().await;
    let mut guests = Vec::new();
    for _ in 0..CONNECTIONS_OF_ONE_MAX {
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        let mut banner = [0; 3];
        stream.read_exact(&mut banner).await.unwrap();
        assert_eq!(&banner, b"220");
        guests.push(stream);
    }
    assert!(port.say(b"").await[0].starts_with("421 4.3.2"));
    drop(guests);
}

/// Believes every certificate: these tests are about what is said inside.
#[derive(Debug)]
struct Trusting;

impl rustls::client::danger::ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ED25519]
    }
}

/// A conversation that begins in clear, with `first` in one piece, and goes on in TLS with `then`.
async fn starttls(port: &Port, first: &[u8], then: &str) -> Vec<String> {
    let mut stream = secured(port, first).await;
    stream.write_all(then.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    answers.lines().map(str::to_owned).collect()
}

/// A connection that is in TLS, after `first` in clear.
async fn secured(port: &Port, first: &[u8]) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    stream.write_all(first).await.unwrap();
    let mut clear = String::new();
    while !clear.contains("begin TLS\r\n") {
        let mut octets = [0; 1000];
        let count = stream.read(&mut octets).await.unwrap();
        assert!(count > 0, "{clear}");
        clear += std::str::from_utf8(&octets[..count]).unwrap();
    }
    assert!(
        clear.ends_with("begin TLS\r\n"),
        "answered in clear: {clear}"
    );
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting))
        .with_no_client_auth();
    let name = "mx.mail.example".try_into().unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap()
}

fn certificate() -> Arc<rustls::ServerConfig> {
    let folder = TempDir::new().unwrap();
    let key = delivery::proof::SecretKey::generate().unwrap();
    let pem = |kind: &str, octets: &[u8]| {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(octets);
        format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
    };
    let [chain, secret] = ["chain.pem", "key.pem"].map(|name| folder.path().join(name));
    std::fs::write(&chain, pem("CERTIFICATE", &key.certificate())).unwrap();
    std::fs::write(&secret, pem("PRIVATE KEY", key.pkcs8())).unwrap();
    assert!(read_tls(&secret, &chain).is_err(), "the other way round");
    read_tls(&chain, &secret).unwrap()
}

#[tokio::test]
async fn inside_tls_a_token_proves_a_provider_and_what_was_said_before_counts_for_nothing() {
    let port = Port::open_secure(certificate()).await;
    let offered = port.say(b"EHLO x\r\nQUIT\r\n").await;
    assert!(
        offered.contains(&"250 STARTTLS".to_owned())
            && !offered.iter().any(|line| line.contains("AUTH")),
        "{offered:?}"
    );
    // Sent behind STARTTLS in the clear, by whoever sits between: nobody's word.
    let injected = b"EHLO x\r\nSTARTTLS\r\nEHLO evil\r\nMAIL FROM:<forged@far.example>\r\n";
    let plain = |token: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(format!("\0anybody\0{token}"))
    };
    let mail =
        "MAIL FROM:<a@b.example>\r\nRCPT TO:<owner@mail.example>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n";
    let then = format!(
        "MAIL FROM:<a@b.example>\r\nEHLO x\r\nAUTH PLAIN {}\r\nAUTH PLAIN\r\n{}\r\n{mail}",
        plain("wrong"),
        plain("token")
    );
    let answers = starttls(&port, injected, &then).await;
    assert!(
        answers[0].starts_with("503 5.5.1"),
        "the greeting in clear is forgotten: {answers:?}"
    );
    for says in ["535 5.7.8", "334", "235 2.7.0", "250 2.0.0"] {
        assert!(
            answers.iter().any(|line| line.starts_with(says)),
            "{says}: {answers:?}"
        );
    }
    let messages = port.messages().await;
    let (_, content) = port.store.content(messages[0].head.id).await.unwrap();
    let content = String::from_utf8(content.to_vec()).unwrap();
    assert!(
        content.contains("with ESMTPSA;") && messages.len() == 1,
        "{content}"
    );
}

#[tokio::test]
async fn a_token_that_is_taken_back_while_a_mail_comes_is_good_for_nothing() {
    use base64::Engine as _;
    for is_removed in [false, true] {
        let port = Port::open_secure(certificate()).await;
        let submitter = Provider {
            name: "office".parse().unwrap(),
            number: None,
            may_send: vec![],
            is_disabled: false,
        };
        port.store
            .add_provider(submitter, TokenHash::of("office"))
            .await
            .unwrap();
        let plain = base64::engine::general_purpose::STANDARD.encode("\0anybody\0office");
        let mut stream = secured(&port, b"EHLO x\r\nSTARTTLS\r\n").await;
        let begun = format!(
            "EHLO x\r\nAUTH PLAIN {plain}\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<owner@mail.example>\r\nDATA\r\n"
        );
        stream.write_all(begun.as_bytes()).await.unwrap();
        let mut said = String::new();
        while !said.contains("354 ") {
            let mut octets = [0; 1000];
            let read = stream.read(&mut octets).await.unwrap();
            said += std::str::from_utf8(&octets[..read]).unwrap();
        }
        stream
            .write_all(b"Subject: x\r\n\r\nbegun\r\n")
            .await
            .unwrap();
        let name: Name = "office".parse().unwrap();
        if is_removed {
            port.store.remove_provider(name).await.unwrap();
        } else {
            port.store
                .renew_token(name, TokenHash::of("another"), None)
                .await
                .unwrap();
        }
        stream.write_all(b".\r\nQUIT\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("535 5.7.8"), "{answer}");
        assert!(port.messages().await.is_empty());
    }
}

#[tokio::test]
async fn a_content_that_drips_keeps_its_place_for_a_minute_and_no_longer() {
    let port = Port::open().await;
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let (session, stop) = (
        Session::new(port.door.clone(), server, port.address, None),
        CancellationToken::new(),
    );
    let dripping = async {
        let begun =
            b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<owner@mail.example>\r\nDATA\r\n";
        client.write_all(begun).await.unwrap();
        let mut said = String::new();
        while !said.contains("354 ") {
            let mut octets = [0; 1000];
            let read = client.read(&mut octets).await.unwrap();
            said += std::str::from_utf8(&octets[..read]).unwrap();
        }
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        while client.write_all(b"x").await.is_ok() {
            tokio::time::advance(Duration::from_secs(10)).await;
        }
        let mut last = String::new();
        client.read_to_string(&mut last).await.unwrap();
        (began.elapsed(), last)
    };
    let (ended, (took, last)) = tokio::join!(session.run(true, &stop), dripping);
    assert!(ended.is_err() && last.starts_with("421 4.4.2"), "{last}");
    assert!(took < Duration::from_secs(120), "{took:?}");
}
