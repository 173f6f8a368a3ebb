//! One POST: resolved once, checked, and sent to exactly the address that was checked.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::Webhook;
use super::address::is_allowed;

/// From the name to the answer's status.
const TIME_MAX: Duration = Duration::from_secs(10);

/// Addresses of a name that are looked at, and that are tried.
const ADDRESSES_MAX: usize = 16;
const ADDRESSES_TRIED: usize = 2;

/// Octets of an answer's head; hyper takes no smaller limit.
const HEAD_OCTETS_MAX: usize = 8192;

/// Why something was not told.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// The name does not resolve.
    #[error("the name of the webhook does not resolve: {0}")]
    Resolve(#[source] io::Error),
    /// It resolves to addresses that are not spoken to for this provider, such as this one; to none at all, if it is empty.
    #[error("the webhook is at an address that is not spoken to: {0:?}")]
    NotAllowed(Option<IpAddr>),
    /// Nobody listens there.
    #[error("no connection to the webhook: {0}")]
    Connect(#[source] io::Error),
    /// It does not prove to be the host.
    #[error("no TLS with the webhook: {0}")]
    Tls(#[source] io::Error),
    /// It does not speak HTTP.
    #[error("the webhook did not answer: {0}")]
    Http(#[from] hyper::Error),
    /// It said no, or sent us elsewhere, where we do not go.
    #[error("the webhook answered {0}")]
    Answered(StatusCode),
    /// It took too long.
    #[error("the webhook did not answer within 10 s")]
    TooLong,
}

/// Sends. Cheap to clone.
#[derive(Clone, Default)]
pub struct Post {
    /// The system's certificates are read when the first is needed.
    tls: Arc<OnceLock<Arc<ClientConfig>>>,
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Post")
    }
}

impl Post {
    /// Sends this once. It was taken if there is no error.
    ///
    /// # Errors
    /// [`PostError`].
    pub async fn send(&self, webhook: &Webhook, id: &str, at: Timestamp, body: String) -> Result<(), PostError> {
        timeout(TIME_MAX, self.attempt(webhook, id, at, body)).await.map_err(|_| PostError::TooLong)?
    }

    async fn attempt(&self, webhook: &Webhook, id: &str, at: Timestamp, body: String) -> Result<(), PostError> {
        let Webhook { url, secret, may_be_private } = webhook;
        let signature = secret.sign(id, at, &body);
        let request = Request::post(url.path())
            .header("host", url.authority())
            .header("user-agent", "ringup")
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", at.as_second().to_string())
            .header("webhook-signature", signature)
            .body(Full::new(Bytes::from(body)))
            .expect("checked by WebhookUrl, and ids of ours");
        let stream = connect(&resolve(url.host(), url.port(), *may_be_private).await?).await?;
        let status = if url.is_secure() {
            let name = ServerName::try_from(url.host().to_owned());
            let name = name.map_err(|error| PostError::Tls(io::Error::other(error)))?;
            let stream = TlsConnector::from(self.tls()).connect(name, stream).await.map_err(PostError::Tls)?;
            exchange(stream, request).await?
        } else {
            exchange(stream, request).await?
        };
        if status.is_success() { Ok(()) } else { Err(PostError::Answered(status)) }
    }

    fn tls(&self) -> Arc<ClientConfig> {
        let make = || {
            let mut roots = RootCertStore::empty();
            let found = rustls_native_certs::load_native_certs();
            let (taken, _) = roots.add_parsable_certificates(found.certs);
            tracing::info!(certificates = taken, "read the system's certificates for webhooks");
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let builder =
                ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
            let builder = builder.expect("ring has TLS 1.3");
            Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
        };
        self.tls.get_or_init(make).clone()
    }
}

/// The addresses of a host that may be spoken to.
async fn resolve(host: &str, port: u16, may_be_private: bool) -> Result<Vec<SocketAddr>, PostError> {
    let found: Vec<_> = lookup_host((host, port)).await.map_err(PostError::Resolve)?.take(ADDRESSES_MAX).collect();
    let allowed: Vec<_> = found
        .iter()
        .copied()
        .filter(|address| is_allowed(address.ip(), may_be_private))
        .take(ADDRESSES_TRIED)
        .collect();
    match allowed.is_empty() {
        true => Err(PostError::NotAllowed(found.first().map(SocketAddr::ip))),
        false => Ok(allowed),
    }
}

async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, PostError> {
    TcpStream::connect(addresses).await.map_err(PostError::Connect)
}

/// Asks, and gives the status; what else is answered nobody reads.
async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<StatusCode, PostError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut requests, connection) =
        http1::Builder::new().max_buf_size(HEAD_OCTETS_MAX).handshake(TokioIo::new(stream)).await?;
    let mut answer = pin!(async move { requests.send_request(request).await.map(|response| response.status()) });
    let mut connection = pin!(connection);
    tokio::select! {
        status = &mut answer => Ok(status?),
        ended = &mut connection => {
            ended?;
            Ok(answer.await?)
        }
    }
}
