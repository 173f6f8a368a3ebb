//! Whether a key is the one that was pinned: the verifiers of both ends.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use ring::signature::{ED25519, UnparsedPublicKey};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerIncompatible, PeerMisbehaved, SignatureScheme,
};

use super::key::{KeyForm, PublicKey};

/// Which keys a terminal may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// One of these: one, or two while a new one takes over.
    Keys(Vec<PublicKey>),
    /// Any: it is about to be enrolled and proves itself by its one-time secret.
    Enrolling,
}

impl Pin {
    /// Whether this key is let in.
    pub fn admits(&self, key: &PublicKey) -> bool {
        match self {
            Self::Keys(keys) => keys.contains(key),
            Self::Enrolling => true,
        }
    }
}

/// What is expected of each terminal.
#[derive(Debug, Default)]
pub(super) struct Pins(RwLock<HashMap<ServerName<'static>, Pin>>);

impl Pins {
    /// Sets what is expected of a terminal. `true`: it was another before.
    pub(super) fn set(&self, name: ServerName<'static>, pin: Pin) -> bool {
        let mut pins = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let changed = pins.get(&name) != Some(&pin);
        pins.insert(name, pin).is_some() && changed
    }
}

/// The server's verifier: one for all terminals whose keys have this form, since a session can be resumed only under the
/// verifier that made it.
#[derive(Debug)]
pub(super) struct TerminalPins {
    pub(super) pins: Arc<Pins>,
    pub(super) form: KeyForm,
}

impl ServerCertVerifier for TerminalPins {
    fn verify_server_cert(
        &self,
        presented: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pins = self.pins.0.read().unwrap_or_else(PoisonError::into_inner);
        match (
            pins.get(&name.to_owned()),
            PublicKey::from_presented(presented),
        ) {
            (Some(pin), Some(key)) if pin.admits(&key) => Ok(ServerCertVerified::assertion()),
            (_, key) => Err(not_pinned(key)),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _presented: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        presented: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify(message, presented, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.form == KeyForm::Raw
    }
}

/// The terminal's verifier: the servers it was enrolled at, more than one only while a key is replaced.
#[derive(Debug)]
pub(super) struct ServerPins {
    pub(super) keys: Vec<PublicKey>,
    pub(super) form: KeyForm,
}

impl ClientCertVerifier for ServerPins {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        presented: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match PublicKey::from_presented(presented) {
            Some(key) if self.keys.contains(&key) => Ok(ClientCertVerified::assertion()),
            key => Err(not_pinned(key)),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _presented: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        presented: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify(message, presented, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.form == KeyForm::Raw
    }
}

/// A key that nobody pinned. Its text is in the log of whoever refused it; the far end hears an alert only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotPinned {
    #[error("the key {0} is not the one that was enrolled")]
    Other(PublicKey),
    #[error("what was presented is no Ed25519 key")]
    NoKey,
}

impl NotPinned {
    /// The reason inside the error that [`not_pinned`] made.
    pub(super) fn of(error: &Error) -> Option<Self> {
        match error {
            Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
                inner.downcast_ref().copied()
            }
            _ => None,
        }
    }
}

pub(super) fn not_pinned(key: Option<PublicKey>) -> Error {
    let why = key.map_or(NotPinned::NoKey, NotPinned::Other);
    CertificateError::Other(OtherError(Arc::new(why))).into()
}

fn no_tls12() -> Error {
    PeerIncompatible::ServerDoesNotSupportTls12Or13.into()
}

fn verify(
    message: &[u8],
    presented: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    if signature.scheme != SignatureScheme::ED25519 {
        return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    }
    let key = PublicKey::from_presented(presented).ok_or_else(|| not_pinned(None))?;
    UnparsedPublicKey::new(&ED25519, key.octets())
        .verify(message, signature.signature())
        .map_err(|_| CertificateError::BadSignature)?;
    Ok(HandshakeSignatureValid::assertion())
}
