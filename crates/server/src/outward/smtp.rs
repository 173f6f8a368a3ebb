//! Sending a mail over a connection that there is already: to a relay, or to a mail server at the far end of a link.

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
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Carrier<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
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
    let recipients = recipients.iter().map(|text| address(text)).collect::<Result<Vec<_>, _>>()?;
    let envelope = Envelope::new(sender.map(address).transpose()?, recipients);
    let envelope = envelope.map_err(|_| SendMailError::NoRecipient)?;
    let hello = ClientId::Domain(hostname.to_owned());
    let mut connection =
        AsyncSmtpConnection::connect_with_transport(Box::new(Carrier(Mutex::new(stream))), &hello).await?;
    // The library ends the last line itself.
    connection.send(&envelope, mail.strip_suffix(b"\r\n").unwrap_or(mail)).await?;
    let _ = connection.quit().await; // the mail is theirs by now
    Ok(())
}
