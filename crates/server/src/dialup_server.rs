//! A dial-up server by itself: it has the lines and nothing else. What is to be called, who is let in and what is said on a link
//! decides its information server, over the trunk ([`crate::trunk`]).
//!
//! ```text
//!   line task ──► policy ──► calls (ids, on the disk) ──events──► trunk ──► information server
//!                  └─► relay: PPP here, ports 7411 and 7480 forwarded
//! ```
//!
//! It holds no key of a terminal and sees no content: what it forwards is TLS between terminal and information server.

mod api;
mod calls;
mod operator;
mod policy;
mod relay;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use delivery::StateLock;
use delivery::proof::{PublicKey, SecretKey, TerminalCredentials};
use line::Home;
use link::Capture;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::calls::Calls;
use self::policy::{LineHandle, TrunkPolicy};
use crate::dialup::{AddressPool, LineConfig, line_task};
use crate::keys::{ServerKeysError, key_at};
use crate::service::{ServeError, bind_operator, operator_socket};
use crate::trunk::{PROOF_WAIT, RATE_BPS, greeting};
use model::directory::Name;

/// The file of its key in its state folder.
const KEY_FILE: &str = "dialup.key";
/// The lock of that folder.
const LOCK: &str = "dialup-server";

/// Connections to the operator's socket at once.
const OPERATOR_SEATS: usize = 16;

/// Between two tries to reach the information server: the first, doubled to the longest.
const RECONNECT_FIRST: Duration = Duration::from_millis(500);
const RECONNECT_LONGEST: Duration = Duration::from_secs(30);

/// How long a connection may take to come up.
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// What a dial-up server needs to know.
#[derive(Debug, Clone)]
pub struct DialupConfig {
    /// Folder of its key and of its calls' ids.
    pub state: PathBuf,
    /// Its name at the information server.
    pub name: Name,
    /// Where that is: `HOST:PORT`.
    pub information: String,
    /// The keys that prove it: one, or two while it replaces its own.
    pub information_keys: Vec<PublicKey>,
    /// The country in which the lines are.
    pub home: Option<Home>,
    /// Our address on every link.
    pub link_address: Ipv4Addr,
    /// Addresses for callers that have none in the directory.
    pub link_pool: AddressPool,
    /// Where everything that crosses a link is recorded, if anywhere.
    pub capture: Option<Capture>,
    /// The lines.
    pub lines: Vec<LineConfig>,
}

/// The public half of a dial-up server's key; the key is made if there is none.
///
/// # Errors
/// [`ServerKeysError`].
pub fn dialup_key(state: &Path) -> Result<PublicKey, ServerKeysError> {
    Ok(key_at(state, LOCK, KEY_FILE)?.public())
}

/// Runs a dial-up server until `shutdown`. Calls in progress are hung up then.
///
/// # Errors
/// [`ServeError`] if it cannot start.
pub async fn serve_dialup(
    config: DialupConfig,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    // Before anything is read: the calls of one that runs are not over.
    let _lock = StateLock::alone(&config.state, LOCK)?;
    let key =
        SecretKey::read_or_make(&config.state.join(KEY_FILE)).map_err(ServeError::DialupKey)?;
    let credentials = TerminalCredentials::new(&key, config.information_keys.clone(), None)
        .map_err(|error| ServeError::Keys(error.into()))?;
    let calls = Calls::open(&config.state.join("calls"));
    let calls = Arc::new(calls.map_err(|source| ServeError::Calls {
        path: config.state.join("calls"),
        source,
    })?);
    let (link, mut tasks) = (Arc::new(config.clone()), JoinSet::new());
    let policy = Arc::new(TrunkPolicy {
        calls: calls.clone(),
        config: link,
    });
    let mut lines = std::collections::BTreeMap::new();
    for line in config.lines {
        let (orders, queue) = mpsc::channel(1);
        let handle = LineHandle {
            orders,
            dial_prefix: line.dial_prefix.clone(),
        };
        calls.line(&line.name, crate::dialup::LineState::Initialising, None);
        lines.insert(line.name.clone(), handle);
        tasks.spawn(line_task::run(
            line,
            queue,
            policy.clone(),
            shutdown.clone(),
        ));
    }
    let socket = operator_socket(&config.state);
    let listener = bind_operator(&socket)?;
    let router = operator::router(calls.clone(), policy.config.clone());
    let stopped = shutdown.clone();
    tasks.spawn(crate::operator::listen(
        listener,
        router,
        OPERATOR_SEATS,
        stopped,
    ));
    let api = Arc::new(api::Api {
        calls,
        policy,
        lines,
    });
    let line_names: Vec<_> = api.lines.keys().map(ToString::to_string).collect();
    tracing::info!(name = %config.name, key = %key.public(), lines = line_names.join(" "), "dial-up server ready");
    let mut pause = RECONNECT_FIRST;
    let work = async {
        loop {
            match trunk(&config.information, &config.name, &credentials, &api).await {
                Ok(()) => pause = RECONNECT_FIRST,
                Err(error) => {
                    tracing::warn!(%error, retry_in = ?pause, "no trunk to the information server");
                }
            }
            sleep(pause).await;
            pause = (2 * pause).min(RECONNECT_LONGEST);
        }
    };
    shutdown.run_until_cancelled(work).await;
    while tasks.join_next().await.is_some() {}
    let _ = std::fs::remove_file(&socket); // gone already is as good
    tracing::info!("dial-up server stopped");
    Ok(())
}

/// Why there is no trunk. The information server's fault, or the network's.
#[derive(Debug, thiserror::Error)]
enum NoTrunk {
    #[error("no connection to {0}: {1}")]
    Connect(String, std::io::Error),
    #[error("{0} does not answer")]
    TooLong(String),
    #[error("{0} did not prove to be the information server")]
    NotProved(String),
    #[error("the key cannot be used")]
    Credentials(#[from] delivery::proof::CredentialsError),
}

/// One trunk, from the connection to its end. `Ok`: both ends were proved.
async fn trunk(
    to: &str,
    name: &Name,
    credentials: &TerminalCredentials,
    api: &Arc<api::Api>,
) -> Result<(), NoTrunk> {
    let connecting = timeout(CONNECT_WAIT, TcpStream::connect(to)).await;
    let mut stream = connecting
        .map_err(|_| NoTrunk::TooLong(to.to_owned()))?
        .map_err(|error| NoTrunk::Connect(to.to_owned(), error))?;
    let _ = stream.set_nodelay(true); // slower without, not wrong
    let greeted = stream.write_all(greeting(name).as_bytes()).await;
    greeted.map_err(|error| NoTrunk::Connect(to.to_owned(), error))?;
    let stream = credentials.secure(stream, RATE_BPS)?;
    let mut proof = stream.proof();
    let mut serving = std::pin::pin!(api::serve(api.clone(), stream));
    // No request is answered before the proof: TLS hands nothing up.
    let is_proved = tokio::select! {
        () = &mut serving => false,
        proved = timeout(PROOF_WAIT, proof.wait()) => matches!(proved, Ok(Some(_))),
    };
    if !is_proved {
        return Err(NoTrunk::NotProved(to.to_owned()));
    }
    tracing::info!(information = to, "trunk up");
    serving.await;
    api.calls.trunk_lost();
    tracing::warn!(information = to, "trunk lost");
    Ok(())
}
