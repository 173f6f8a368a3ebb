//! One HTTP request written out by hand: what a client that is not ours may send.

use std::io::{self, Read, Write};

use serde_json::Value;

use crate::chronicle::PATIENCE;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// `null` if the body is no JSON.
    pub(crate) body: Value,
}

/// Writes `request`, whose lines are divided by LF, and `body`; reads the answer to the end of the connection.
pub(crate) fn exchange(stream: impl Read + Write, request: &str, body: &[u8]) -> Answer {
    try_exchange(stream, request, body)
        .unwrap_or_else(|error| panic!("no answer in {PATIENCE:?}: {error}"))
}

/// The same with a server that may be killed at any moment.
pub(crate) fn try_exchange(
    mut stream: impl Read + Write,
    request: &str,
    body: &[u8],
) -> io::Result<Answer> {
    let head =
        format!("{}\nHost: village\nConnection: close\n\n", request.trim()).replace('\n', "\r\n");
    stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body))?;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    if answer.is_empty() {
        return Err(read
            .err()
            .unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()));
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    // Our answers are objects on one line; where the body is chunked, the lines around them are sizes.
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let body = body
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .find(Value::is_object);
    let status = status.ok_or_else(|| io::Error::other(format!("not HTTP: {answer:?}")))?;
    Ok(Answer {
        status,
        body: body.unwrap_or_default(),
    })
}
