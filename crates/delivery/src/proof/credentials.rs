//! What each end proves itself with, made once and used for every call.

use std::sync::Arc;

use rustls::client::{AlwaysResolvesClientRawPublicKeys, ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{self, kx_group};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{
    AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage, ResolvesServerCert,
};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{CipherSuite, ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite};

use super::key::{KeyForm, PublicKey, SecretKey};
use super::pins::{Pin, Pins, ServerPins, TerminalPins};
use super::sessions::{SessionShelf, Sessions, Shelf, UnadoptedSession};
use super::stream::Secured;
use crate::terminal_id::TerminalId;

/// The protocol that is spoken inside (RFC 7301); both ends must name it.
const ALPN: &[u8] = b"ringup/1";

/// Octets that may come before the far end is proved: one message that a slow line carries in seconds. All of it is held in
/// memory until then.
pub(super) const EARLY_OCTETS_MAX: u32 = 16 * 1024;

/// A key that cannot be used. Ours to mend.
#[derive(Debug, thiserror::Error)]
#[error("the key cannot be used for TLS")]
pub struct CredentialsError(#[from] rustls::Error);

/// The server's end: the TLS client. One for the life of the process, since sessions are resumed only under the
/// credentials that made them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CourierCredentials {
    /// For terminals with raw keys, and for those with certificates: one connection cannot offer both, for rustls' verifiers
    /// want either the one or the other.
    raw: Arc<ClientConfig>,
    certificate: Arc<ClientConfig>,
    pins: Arc<Pins>,
    sessions: Arc<Sessions>,
}

impl CourierCredentials {
    /// Credentials around the server's key.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn new(key: &SecretKey) -> Result<Self, CredentialsError> {
        let (pins, sessions, provider) = (
            Arc::new(Pins::default()),
            Arc::new(Sessions::default()),
            provider(),
        );
        let config = |form| {
            let certified = certified(key, form, &provider)?;
            let resolver: Arc<dyn ResolvesClientCert> = match form {
                KeyForm::Raw => Arc::new(AlwaysResolvesClientRawPublicKeys::new(certified)),
                KeyForm::Certificate => Arc::new(SingleCertAndKey::from(certified)),
            };
            let mut config = ClientConfig::builder_with_provider(provider.clone())
                .with_protocol_versions(&[&TLS13])?
                .dangerous() // not the Web's names and chains, but pinned keys
                .with_custom_certificate_verifier(Arc::new(TerminalPins {
                    pins: pins.clone(),
                    form,
                }))
                .with_client_cert_resolver(resolver);
            config.alpn_protocols = vec![ALPN.to_vec()];
            config.enable_sni = false;
            config.enable_early_data = true;
            config.resumption = Resumption::store(sessions.clone());
            Ok::<_, CredentialsError>(Arc::new(config))
        };
        let (raw, certificate) = (config(KeyForm::Raw)?, config(KeyForm::Certificate)?);
        Ok(Self {
            raw,
            certificate,
            pins,
            sessions,
        })
    }

    /// Proves this server to a terminal, and has it prove itself by a key that `pin` admits. What is written before that
    /// is done goes as early data if a session is alive, and waits otherwise.
    ///
    /// `rate_bps` is that of the line: no TLS record takes it more than a second.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn secure<S>(
        &self,
        stream: S,
        terminal: TerminalId,
        pin: Pin,
        rate_bps: u32,
    ) -> Result<Secured<S>, CredentialsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.secure_in(KeyForm::Raw, stream, terminal, pin, rate_bps)
    }

    /// The same, with keys in this form at both ends.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn secure_in<S>(
        &self,
        form: KeyForm,
        stream: S,
        terminal: TerminalId,
        pin: Pin,
        rate_bps: u32,
    ) -> Result<Secured<S>, CredentialsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = match pin {
            Pin::Keys(_) => name_of(terminal),
            Pin::Enrolling => enrolling_name_of(terminal),
        };
        if self.pins.set(name.clone(), pin.clone()) {
            self.sessions.forget(&name);
        }
        // A copy with another record size shares verifier and key, and so the sessions.
        let mut config = match form {
            KeyForm::Raw => (*self.raw).clone(),
            KeyForm::Certificate => (*self.certificate).clone(),
        };
        config.max_fragment_size = Some(record_octets(rate_bps));
        // Whoever that is has shown no secret yet: a session with a stranger must never be taken for the terminal's.
        let unadopted = (pin == Pin::Enrolling)
            .then(|| UnadoptedSession::new(name.clone(), self.sessions.clone(), name_of(terminal)));
        if let Some(unadopted) = &unadopted {
            config.resumption = Resumption::store(unadopted.own());
        }
        let tls = ClientConnection::new(Arc::new(config), name)?;
        Ok(Secured::new(stream, tls.into(), pin, rate_bps, unadopted))
    }

    /// Shuts out whoever holds a session with this terminal.
    pub fn forget(&self, terminal: TerminalId) {
        self.sessions.forget(&name_of(terminal));
    }
}

/// The terminal's end: the TLS server.
#[derive(Debug, Clone)]
pub struct TerminalCredentials {
    config: Arc<ServerConfig>,
    servers: Vec<PublicKey>,
}

impl TerminalCredentials {
    /// Credentials around the terminal's key, which let in servers with one of the keys `servers`. `shelf` keeps
    /// sessions; `None` makes every call begin anew.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn new(
        key: &SecretKey,
        servers: Vec<PublicKey>,
        shelf: Option<Arc<dyn SessionShelf>>,
    ) -> Result<Self, CredentialsError> {
        Self::new_in(KeyForm::Raw, key, servers, shelf)
    }

    /// The same, with keys in this form at both ends.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn new_in(
        form: KeyForm,
        key: &SecretKey,
        servers: Vec<PublicKey>,
        shelf: Option<Arc<dyn SessionShelf>>,
    ) -> Result<Self, CredentialsError> {
        let provider = provider();
        let certified = certified(key, form, &provider)?;
        let resolver: Arc<dyn ResolvesServerCert> = match form {
            KeyForm::Raw => Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified)),
            KeyForm::Certificate => Arc::new(SingleCertAndKey::from(certified)),
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(ServerPins {
                keys: servers.clone(),
                form,
            }))
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.send_tls13_tickets = usize::from(shelf.is_some());
        config.max_early_data_size = if shelf.is_some() { EARLY_OCTETS_MAX } else { 0 };
        config.session_storage = match shelf {
            Some(shelf) => Arc::new(Shelf(shelf)),
            None => Arc::new(NoServerSessionStorage {}),
        };
        Ok(Self {
            config: Arc::new(config),
            servers,
        })
    }

    /// Proves this terminal to the server at the other end of `stream`, and has it prove itself.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn secure<S>(&self, stream: S, rate_bps: u32) -> Result<Secured<S>, CredentialsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut config = (*self.config).clone();
        config.max_fragment_size = Some(record_octets(rate_bps));
        let tls = ServerConnection::new(Arc::new(config))?;
        Ok(Secured::new(
            stream,
            tls.into(),
            Pin::Keys(self.servers.clone()),
            rate_bps,
            None,
        ))
    }
}

/// Octets of a TLS record that a line takes at most a second for (10 bits an octet), within what TLS allows (RFC 8446 §5.1).
fn record_octets(rate_bps: u32) -> usize {
    usize::try_from(rate_bps / 10)
        .unwrap_or(usize::MAX)
        .clamp(128, 16 * 1024)
}

/// X25519 and one cipher that every machine is fast enough at; each further one is octets in the first flight.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    provider.kx_groups = vec![kx_group::X25519];
    provider
        .cipher_suites
        .retain(|suite| suite.suite() == CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
    Arc::new(provider)
}

fn certified(
    key: &SecretKey,
    form: KeyForm,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, rustls::Error> {
    let secret = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.pkcs8().to_vec()));
    let signer = provider.key_provider.load_private_key(secret)?;
    let presented = match form {
        KeyForm::Raw => key.public().to_spki(),
        KeyForm::Certificate => key.certificate(),
    };
    Ok(Arc::new(CertifiedKey::new(
        vec![CertificateDer::from(presented)],
        signer,
    )))
}

/// A name for rustls' tables; it is never sent.
fn name_of(terminal: TerminalId) -> ServerName<'static> {
    name(terminal, "terminal")
}

/// Where what is expected of one that has not proved its secret yet is kept apart.
fn enrolling_name_of(terminal: TerminalId) -> ServerName<'static> {
    name(terminal, "enrolling")
}

fn name(terminal: TerminalId, domain: &str) -> ServerName<'static> {
    let hex: String = terminal
        .octets()
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect();
    ServerName::try_from(format!("{hex}.{domain}")).expect("hexadecimal digits are a name")
}
