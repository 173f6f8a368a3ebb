//! Handing over to an application on this machine, over HTTP.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, Uri};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::HandoverError;
use crate::inbox::Entry;

/// How long an application may take to answer.
const LONGEST: Duration = Duration::from_secs(60);

/// An `http://` URL of this machine: what came for it does not leave it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalUrl {
    uri: Uri,
    address: String,
}

/// The text is no such URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a handover URL is http://127.0.0.1, http://[::1] or http://localhost, with a port and a path"
)]
pub struct LocalUrlError;

impl FromStr for LocalUrl {
    type Err = LocalUrlError;

    fn from_str(text: &str) -> Result<Self, LocalUrlError> {
        let uri: Uri = text.parse().map_err(|_| LocalUrlError)?;
        let authority = uri.authority().ok_or(LocalUrlError)?;
        let is_here = matches!(authority.host(), "127.0.0.1" | "[::1]" | "localhost");
        // No user, no password: `127.0.0.1@elsewhere` is not here.
        let is_plain = uri.scheme_str() == Some("http") && !authority.as_str().contains('@');
        let address = format!(
            "{}:{}",
            authority.host(),
            authority.port_u16().unwrap_or(80)
        );
        if is_here && is_plain {
            Ok(Self { uri, address })
        } else {
            Err(LocalUrlError)
        }
    }
}

impl fmt::Display for LocalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

pub(super) async fn post(url: &LocalUrl, entry: &Entry) -> Result<(), HandoverError> {
    let content = std::fs::read(entry.content()).map_err(|source| HandoverError::Disk {
        operation: "read the content that is handed over",
        source,
    })?;
    let status = timeout(LONGEST, send(url, entry, content.into()))
        .await
        .map_err(|_| HandoverError::TooLong(LONGEST))?
        .map_err(|reason| HandoverError::Unreachable {
            url: url.to_string(),
            reason,
        })?;
    // A redirect is no answer: it could lead away from this machine.
    if status.is_success() {
        Ok(())
    } else {
        Err(HandoverError::Status {
            url: url.to_string(),
            status,
        })
    }
}

async fn send(url: &LocalUrl, entry: &Entry, content: Bytes) -> Result<http::StatusCode, String> {
    let stream = TcpStream::connect(&url.address)
        .await
        .map_err(|error| error.to_string())?;
    let (mut requests, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let path = url.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::post(path)
        .header(HOST, &url.address)
        .header(CONTENT_TYPE, &entry.note.content_type)
        // The application tells by it what it has been given before.
        .header("idempotency-key", format!("\"{}\"", entry.id));
    if let Some(topic) = &entry.note.topic {
        request = request.header("topic", topic);
    }
    let request = request
        .body(Full::new(content))
        .map_err(|error| error.to_string())?;
    // The sender goes with its answer, and that ends the connection.
    let answer = async move {
        requests
            .send_request(request)
            .await
            .map(|answer| answer.status())
    };
    let (answer, _) = tokio::join!(answer, connection);
    answer.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_handed_to() {
        for text in [
            "http://127.0.0.1:8080/inbox",
            "http://[::1]:80/",
            "http://localhost/x?y=1",
        ] {
            assert_eq!(
                text.parse::<LocalUrl>().map(|url| url.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in [
            "https://127.0.0.1/",
            "http://192.0.2.1/",
            "http://127.0.0.1.example.com/",
            "http://127.0.0.1@example.com/",
            "http://user:pass@127.0.0.1/",
            "http://localhost.example.com/",
            "/inbox",
            "",
        ] {
            assert_eq!(text.parse::<LocalUrl>(), Err(LocalUrlError), "{text}");
        }
    }
}
