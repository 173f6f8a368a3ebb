//! Who is at the other end: Ed25519 keys in TLS 1.3, pinned both ways.
//!
//! The shape is call home (RFC 8071): the terminal has opened the connection, the **server is the TLS client**
//! ([`CourierCredentials`]), the terminal the TLS server ([`TerminalCredentials`]). Keys are raw (RFC 7250) and pinned at
//! enrolment; there are no names, no chains and no dates. (A terminal whose TLS knows no raw keys is spoken to with the same keys
//! in certificates: [`KeyForm`].) Key exchange is X25519 alone: a post-quantum share would be
//! 0.7 s of a modem line.
//!
//! ```text
//!   server                                terminal
//!   ClientHello, early data ────────────►           a live session: the first message is in this flight (0-RTT)
//!                            ◄──────────── ServerHello .. Finished
//!   [keys, if no session] Finished ──────►          proved: only now the terminal writes, answers, counts
//!                            ◄──────────── receipt, ticket for the next call
//! ```
//!
//! A session lives a day at most and opens one connection; the server keeps its end in memory, the terminal on its disk
//! ([`SessionShelf`]).

mod bundle;
mod certificate;
mod credentials;
mod enrolment;
mod key;
mod key_file;
mod patience;
mod pins;
mod server_keys;
mod sessions;
mod stream;

pub use bundle::{BUNDLE_OCTETS_MAX, Bundle, BundleError};
pub use credentials::{CourierCredentials, CredentialsError, TerminalCredentials};
pub use enrolment::{EnrolmentProof, EnrolmentSecret, EnrolmentSecretError};
pub use key::{KeyForm, PublicKey, PublicKeyError, SecretKey, SecretKeyError};
pub use key_file::{KeyFileError, write_secret};
pub use patience::{PROOF_WAIT, hearing, proof_wait};
pub use pins::Pin;
pub(crate) use server_keys::SERVER_KEYS_OCTETS_MAX;
pub use server_keys::{ServerKeyList, ServerKeyListError};
pub use sessions::{SessionShelf, UnadoptedSession};
pub use stream::{Proof, Proved, Secured};

#[cfg(test)]
mod tests;
