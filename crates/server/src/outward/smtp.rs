//! Sending a mail over a connection that there is already: to a relay, or to a mail server at the far end of a link.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use lettre::Address;
use lettre::address::Envelope;
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::extension::ClientId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Why a mail was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendMailError {
    /// There is no connection.
    #[error("no connection to the mail server")]
    Connect(#[source] io::Error),
    /// An address that cannot be written to.
    #[error("not an address that mail can be sent to")]
    Address(#[source] lettre::address::AddressError),
    /// Neither sender nor recipients.
    #[error("no recipient")]
    NoRecipient,
    /// The mail server said no, or broke off.
    #[error("the mail server did not take it")]
    Smtp(#[from] lettre::transport::smtp::Error),
}

impl SendMailError {
    /// Trying again would come to the same.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Address(_) | Self::NoRecipient => true,
            Self::Smtp(error) => error.is_permanent(),
            Self::Connect(_) => false,
        }
    }
}

/// A stream as the mail library wants it: to be shared, which a mutex that nobody locks makes of it.
struct Carrier<S>(Mutex<S>);

impl<S: Unpin> Carrier<S> {
    fn stream(&mut self) -> Pin<&mut S> {
        Pin::new(self.0.get_mut().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S> fmt::Debug for Carrier<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Carrier")
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Carrier<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream().poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Carrier<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> AsyncTokioStream for Carrier<S> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok((Ipv4Addr::UNSPECIFIED, 0).into()) // shown in logs only
    }
}

/// Sends one mail; `sender` `None` is nobody, who is told nothing. On return it was taken. Bound its time: this does not.
///
/// # Errors
/// [`SendMailError`].
pub(crate) async fn send_mail<S>(
    stream: S,
    hostname: &str,
    sender: Option<&str>,
    recipients: &[&str],
    mail: &[u8],
) -> Result<(), SendMailError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let address = |text: &str| text.parse::<Address>().map_err(SendMailError::Address);
    let recipients = recipients
        .iter()
        .map(|text| address(text))
        .collect::<Result<Vec<_>, _>>()?;
    let envelope = Envelope::new(sender.map(address).transpose()?, recipients);
    let envelope = envelope.map_err(|_| SendMailError::NoRecipient)?;
    let hello = ClientId::Domain(hostname.to_owned());
    let mut connection =
        AsyncSmtpConnection::connect_with_transport(Box::new(Carrier(Mutex::new(stream))), &hello)
            .await?;
    let mail = with_line_ends(mail);
    // The library ends the last line itself.
    connection
        .send(&envelope, mail.strip_suffix(b"\r\n").unwrap_or(&mail))
        .await?;
    let _ = connection.quit().await; // the mail is theirs by now
    Ok(())
}

/// A mail of which every line ends with CRLF. A CR or LF by itself ends a line for some servers: with a dot behind it, it would
/// end the mail there, and what follows would be commands (RFC 5321 §2.3.8, SMTP smuggling).
fn with_line_ends(mail: &[u8]) -> Cow<'_, [u8]> {
    let is_bare = |(index, octet): (usize, &u8)| match octet {
        b'\n' => index == 0 || mail[index - 1] != b'\r',
        b'\r' => mail.get(index + 1) != Some(&b'\n'),
        _ => false,
    };
    if !mail.iter().enumerate().any(is_bare) {
        return Cow::Borrowed(mail);
    }
    let mut lines = Vec::with_capacity(mail.len() + mail.len() / 16);
    for (index, octet) in mail.iter().enumerate() {
        match octet {
            b'\n' if index > 0 && mail[index - 1] == b'\r' => {}
            b'\r' | b'\n' => lines.extend(b"\r\n"),
            octet => lines.push(*octet),
        }
    }
    Cow::Owned(lines)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[test]
    fn every_line_of_a_mail_ends_with_both() {
        for (mail, sent) in [
            ("a\r\nb\r\n", "a\r\nb\r\n"),
            ("a\nb", "a\r\nb"),
            ("\n", "\r\n"),
            ("a\n.\nb", "a\r\n.\r\nb"),
            ("a\r.\rb", "a\r\n.\r\nb"),
            ("a\r\n.\r\r\nb\r", "a\r\n.\r\n\r\nb\r\n"),
            ("", ""),
        ] {
            assert_eq!(with_line_ends(mail.as_bytes()), sent.as_bytes(), "{mail:?}");
        }
    }

    /// For a server that takes a bare LF for a line's end, too.
    #[tokio::test]
    async fn a_mail_cannot_hold_a_second_one_whatever_ends_its_lines() {
        for end in [
            "\n.\n",
            "\n.\r\n",
            "\r.\r",
            "\r\n.\n",
            "\r\n.\r",
            "\r.\r\n",
            "\r\n.\r\n",
        ] {
            let mail = format!("Subject: x\r\n\r\nrain{end}MAIL FROM:<forged@far.example>\r\n");
            let (client, mut server) = duplex(4096);
            let sending = send_mail(
                client,
                "localhost",
                None,
                &["owner@here.example"],
                mail.as_bytes(),
            );
            let serving = async {
                server.write_all(b"220 x\r\n").await.unwrap();
                let mut said = Vec::new();
                loop {
                    let mut octets = [0; 1000];
                    let count = server.read(&mut octets).await.unwrap();
                    said.extend(&octets[..count]);
                    let answer: &[u8] = match &octets[..count] {
                        [] => break said,
                        [b'E', b'H', ..] => b"250 x\r\n",
                        [b'D', b'A', b'T', b'A', ..] => b"354 go\r\n",
                        _ if said.ends_with(b"\r\n") => b"250 ok\r\n",
                        _ => continue,
                    };
                    if server.write_all(answer).await.is_err() {
                        break said;
                    }
                }
            };
            let (_, said) = tokio::join!(sending, serving);
            let said = String::from_utf8(said).unwrap().replace("\r\n", "\n");
            let (_, content) = said.split_once("DATA\n").unwrap();
            let ends = content
                .split(['\n', '\r'])
                .filter(|line| *line == ".")
                .count();
            assert_eq!(ends, 1, "{end:?}: {content:?}");
        }
    }
}
