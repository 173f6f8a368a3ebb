//! One POST: resolved once, checked, and sent to exactly the address that was checked. The connection is kept for the next.

use std::fmt;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::time::timeout;

use super::signature::sign;
use super::{HttpUrl, Outward, OutwardError, Stream};
use model::webhook::Webhook;

/// From the name to the answer's status.
const TIME_MAX: Duration = Duration::from_secs(10);

/// Octets of an answer's head; hyper takes no smaller limit.
const HEAD_OCTETS_MAX: usize = 8192;

/// What is read of an answer's body, and for how long, so that its connection can be kept. Nobody looks at it.
const BODY_OCTETS_MAX: usize = 8192;
const BODY_TIME_MAX: Duration = Duration::from_secs(1);

/// A connection is kept for this long, then the name is resolved and its address checked anew.
const KEPT_MAX: Duration = Duration::from_secs(60);

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

impl PostError {
    /// Whether the webhook is not well, or not there. If not, it has said no to what it was told.
    pub(crate) fn is_of_the_webhook(&self) -> bool {
        match self {
            Self::Answered(status) => {
                status.is_server_error()
                    || matches!(
                        *status,
                        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
                    )
            }
            _ => true,
        }
    }
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
    pub async fn send(
        &self,
        webhook: &Webhook,
        id: &str,
        at: Timestamp,
        body: String,
    ) -> Result<(), PostError> {
        self.send_on(&mut None, webhook, id, at, body).await
    }

    /// The same over a connection that is kept, if there is one; it, or a new one, is kept if it can be used again.
    ///
    /// # Errors
    /// [`PostError`].
    pub(crate) async fn send_on(
        &self,
        kept: &mut Option<Conversation>,
        webhook: &Webhook,
        id: &str,
        at: Timestamp,
        body: String,
    ) -> Result<(), PostError> {
        let sent = timeout(TIME_MAX, self.attempt(kept.take(), webhook, id, at, body)).await;
        let (status, conversation) = sent.map_err(|_| PostError::TooLong)??;
        *kept = conversation;
        if status.is_success() {
            Ok(())
        } else {
            Err(PostError::Answered(status))
        }
    }

    async fn attempt(
        &self,
        kept: Option<Conversation>,
        webhook: &Webhook,
        id: &str,
        at: Timestamp,
        body: String,
    ) -> Result<(StatusCode, Option<Conversation>), PostError> {
        let Webhook {
            url,
            secret,
            may_be_private,
        } = webhook;
        let signature = sign(secret.octets(), id, at, &body);
        let body = Bytes::from(body);
        let request = || {
            Request::post(url.path())
                .header("host", url.authority())
                .header("user-agent", "ringup")
                .header("content-type", "application/json")
                .header("webhook-id", id)
                .header("webhook-timestamp", at.as_second().to_string())
                .header("webhook-signature", &signature)
                .body(Full::new(body.clone()))
                .expect("checked by HttpUrl, and ids of ours")
        };
        // One that was kept may have been closed in the meantime; should it have been told all the same, it is told again.
        if let Some(kept) = kept.filter(|kept| kept.is_with(webhook))
            && let Ok(told) = kept.ask(request()).await
        {
            return Ok(told);
        }
        let stream = self.outward.connect(url, *may_be_private).await?;
        Ok(Conversation::begin(stream, webhook)
            .await?
            .ask(request())
            .await?)
    }
}

/// What moves the octets of a conversation.
type Connection = http1::Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

/// A connection to a webhook, between two requests.
pub(crate) struct Conversation {
    url: HttpUrl,
    may_be_private: bool,
    began: Instant,
    requests: http1::SendRequest<Full<Bytes>>,
    connection: Pin<Box<Connection>>,
}

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conversation")
            .field("url", &self.url)
            .field("began", &self.began)
            .finish_non_exhaustive()
    }
}

impl Conversation {
    async fn begin(stream: Box<dyn Stream>, webhook: &Webhook) -> hyper::Result<Self> {
        let stream = TokioIo::new(stream);
        let (requests, connection) = http1::Builder::new()
            .max_buf_size(HEAD_OCTETS_MAX)
            .handshake::<_, Full<Bytes>>(stream)
            .await?;
        let Webhook {
            url,
            may_be_private,
            ..
        } = webhook;
        let (url, may_be_private, began) = (url.clone(), *may_be_private, Instant::now());
        Ok(Self {
            url,
            may_be_private,
            began,
            requests,
            connection: Box::pin(connection),
        })
    }

    /// Whether it may be used for this webhook.
    fn is_with(&self, webhook: &Webhook) -> bool {
        let Self {
            url,
            may_be_private,
            began,
            ..
        } = self;
        *url == webhook.url
            && *may_be_private == webhook.may_be_private
            && began.elapsed() < KEPT_MAX
    }

    /// Asks, and gives the status; and itself, if it can be asked again.
    async fn ask(
        mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<(StatusCode, Option<Self>)> {
        let (status, is_kept) = self.exchange(request).await?;
        Ok((status, is_kept.then_some(self)))
    }

    /// The status, and whether another request can follow.
    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<(StatusCode, bool)> {
        let Self {
            requests,
            connection,
            ..
        } = self;
        let mut answer = pin!(async move {
            let response = requests.send_request(request).await?;
            let status = response.status();
            let rest = async {
                let body = Limited::new(response.into_body(), BODY_OCTETS_MAX)
                    .collect()
                    .await;
                body.is_ok() && requests.ready().await.is_ok()
            };
            hyper::Result::Ok((status, timeout(BODY_TIME_MAX, rest).await.unwrap_or(false)))
        });
        tokio::select! {
            answered = &mut answer => answered,
            ended = connection => {
                ended?;
                let (status, _) = answer.await?;
                Ok((status, false))
            }
        }
    }
}
