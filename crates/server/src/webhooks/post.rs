//! One POST: resolved once, checked, and sent to exactly the address that was checked.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::Webhook;
use crate::outward::{Outward, OutwardError};

/// From the name to the answer's status.
const TIME_MAX: Duration = Duration::from_secs(10);

/// Octets of an answer's head; hyper takes no smaller limit.
const HEAD_OCTETS_MAX: usize = 8192;

/// Why something was not told.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// There is no connection to the webhook.
    #[error("no connection to the webhook: {0}")]
    Outward(#[from] OutwardError),
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
#[derive(Debug, Clone, Default)]
pub struct Post {
    outward: Outward,
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
            .expect("checked by HttpUrl, and ids of ours");
        let stream = self.outward.connect(url, *may_be_private).await?;
        let status = exchange(stream, request).await?;
        if status.is_success() { Ok(()) } else { Err(PostError::Answered(status)) }
    }
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
