//! Connections to hosts that others named: a provider's webhook, a feed. A name is resolved once, its addresses are
//! checked, and the connection goes to exactly those that passed.

mod address;
pub mod post;
mod signature;
pub(crate) mod smtp;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

use address::is_allowed;
pub(crate) use model::url::HttpUrl;
#[cfg(test)]
pub(crate) use signature::sign;

/// Addresses of a name that are looked at, and that are tried.
const ADDRESSES_MAX: usize = 16;
const ADDRESSES_TRIED: usize = 2;

fn not_allowed(address: Option<&IpAddr>) -> String {
    match address {
        Some(address) => format!("it is at {address}, an address that is not spoken to"),
        None => "the name has no address".to_owned(),
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum OutwardError {
    /// The name does not resolve.
    #[error("the name does not resolve: {0}")]
    Resolve(#[source] io::Error),
    /// It resolves to addresses that are not spoken to for whoever named it, such as this machine's; to none, if it is empty.
    #[error("{}", not_allowed(.0.as_ref()))]
    NotAllowed(Option<IpAddr>),
    /// Nobody listens there.
    #[error("no connection: {0}")]
    Connect(#[source] io::Error),
    /// It does not prove to be the host.
    #[error("no TLS: {0}")]
    Tls(#[source] io::Error),
}

/// A connection, in TLS or not.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Outward {
    /// The system's certificates are read when the first is needed.
    tls: Arc<OnceLock<Arc<ClientConfig>>>,
    /// Of this machine, and taken for one of the Internet: a test has no other.
    #[cfg(test)]
    internet: Option<SocketAddr>,
}

impl fmt::Debug for Outward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outward")
    }
}

impl Outward {
    /// One for which this address is the Internet's.
    #[cfg(test)]
    pub(crate) fn with_internet_at(address: SocketAddr) -> Self {
        Self {
            internet: Some(address),
            ..Self::default()
        }
    }

    /// A connection to where a URL is. Bound its time: this does not.
    pub(crate) async fn connect(
        &self,
        url: &HttpUrl,
        may_be_private: bool,
    ) -> Result<Box<dyn Stream>, OutwardError> {
        let addresses = self.resolve(url.host(), url.port(), may_be_private).await?;
        let stream = TcpStream::connect(&*addresses)
            .await
            .map_err(OutwardError::Connect)?;
        if !url.is_secure() {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(url.host().to_owned());
        let name = name.map_err(|error| OutwardError::Tls(io::Error::other(error)))?;
        let secured = TlsConnector::from(self.tls()).connect(name, stream).await;
        Ok(Box::new(secured.map_err(OutwardError::Tls)?))
    }

    fn tls(&self) -> Arc<ClientConfig> {
        let make = || {
            let mut roots = RootCertStore::empty();
            let found = rustls_native_certs::load_native_certs();
            let (taken, _) = roots.add_parsable_certificates(found.certs);
            tracing::info!(certificates = taken, "read the system's certificates");
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let builder = ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(&[&rustls::version::TLS13]);
            let builder = builder.expect("ring has TLS 1.3");
            Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
        };
        self.tls.get_or_init(make).clone()
    }

    /// The addresses of a host that may be spoken to.
    async fn resolve(
        &self,
        host: &str,
        port: u16,
        may_be_private: bool,
    ) -> Result<Vec<SocketAddr>, OutwardError> {
        let found = lookup_host((host, port))
            .await
            .map_err(OutwardError::Resolve)?;
        let found: Vec<_> = found.take(ADDRESSES_MAX).collect();
        let is_allowed = |address: &SocketAddr| {
            #[cfg(test)]
            let may_be_private = may_be_private || self.internet == Some(*address);
            is_allowed(address.ip(), may_be_private)
        };
        let allowed: Vec<_> = found
            .iter()
            .copied()
            .filter(is_allowed)
            .take(ADDRESSES_TRIED)
            .collect();
        match allowed.is_empty() {
            true => Err(OutwardError::NotAllowed(found.first().map(SocketAddr::ip))),
            false => Ok(allowed),
        }
    }
}
