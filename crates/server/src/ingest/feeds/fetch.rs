//! One polite GET: asks whether there is anything new, takes so much and no more, and goes nowhere it may not.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HOST, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED, LOCATION, RETRY_AFTER, USER_AGENT,
};
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use tokio::time::timeout;

use super::{FeedConfig, date};
use crate::outward::{HttpUrl, Outward, OutwardError};
use store::FeedState;

/// From the name to the last octet.
const TIME_MAX: Duration = Duration::from_secs(30);

/// Octets of a feed.
const OCTETS_MAX: usize = 8 * 1024 * 1024;

/// Octets of an answer's head.
const HEAD_OCTETS_MAX: usize = 32 * 1024;

/// Characters of a content coding's name that are shown.
const CODING_SHOWN: usize = 20;

/// Where a feed may send us on, one after the other.
const REDIRECTS_MAX: usize = 3;

/// What came.
pub(super) enum Fetched {
    /// Nothing new.
    Unchanged { fresh_for: SignedDuration },
    /// The whole feed.
    Changed {
        content: Bytes,
        content_type: Option<String>,
        etag: Option<String>,
        last_modified: Option<String>,
        fresh_for: SignedDuration,
    },
}

/// Why nothing came.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no connection")]
    Outward(#[from] OutwardError),
    #[error("it does not speak HTTP")]
    Http(#[from] hyper::Error),
    #[error("it answered {status}")]
    Status {
        status: StatusCode,
        patience: Option<SignedDuration>,
    },
    #[error("it sends us to {0:?}, where we do not go")]
    Redirect(String),
    #[error("it came compressed ({0}), which was not asked for")]
    Compressed(String),
    #[error("it is larger than 8 MiB")]
    TooLarge,
    #[error("it did not come within 30 s")]
    TooLong,
}

impl FetchError {
    pub(super) fn patience(&self) -> Option<SignedDuration> {
        match self {
            Self::Status { patience, .. } => *patience,
            _ => None,
        }
    }
}

pub(super) async fn fetch(
    outward: &Outward,
    feed: &FeedConfig,
    before: &FeedState,
) -> Result<Fetched, FetchError> {
    timeout(TIME_MAX, follow(outward, feed, before))
        .await
        .map_err(|_| FetchError::TooLong)?
}

async fn follow(
    outward: &Outward,
    feed: &FeedConfig,
    before: &FeedState,
) -> Result<Fetched, FetchError> {
    let mut url = feed.url.clone();
    for _ in 0..=REDIRECTS_MAX {
        // Each hop is resolved and checked anew: a feed cannot send us where its operator may not.
        let answer = get(outward, &url, feed.allow_private, before).await?;
        let (head, content) = answer.into_parts();
        let fresh_for = fresh_for(&head.headers);
        match head.status {
            StatusCode::OK => {
                let coding = text(&head.headers, &CONTENT_ENCODING).unwrap_or_default();
                if !coding.is_empty() && !coding.eq_ignore_ascii_case("identity") {
                    return Err(FetchError::Compressed(
                        coding.chars().take(CODING_SHOWN).collect(),
                    ));
                }
                let [content_type, etag, last_modified] =
                    [CONTENT_TYPE, ETAG, LAST_MODIFIED].map(|name| text(&head.headers, &name));
                return Ok(Fetched::Changed {
                    content,
                    content_type,
                    etag,
                    last_modified,
                    fresh_for,
                });
            }
            StatusCode::NOT_MODIFIED => return Ok(Fetched::Unchanged { fresh_for }),
            status if status.is_redirection() => {
                let to = text(&head.headers, &LOCATION).unwrap_or_default();
                url = url
                    .join(&to)
                    .filter(|to| to.is_secure() || !url.is_secure())
                    .ok_or(FetchError::Redirect(to))?;
            }
            status => {
                let patience = patience(&head.headers, Timestamp::now());
                return Err(FetchError::Status { status, patience });
            }
        }
    }
    Err(FetchError::Redirect(url.to_string()))
}

async fn get(
    outward: &Outward,
    url: &HttpUrl,
    may_be_private: bool,
    before: &FeedState,
) -> Result<Response<Bytes>, FetchError> {
    let mut request = Request::get(url.path())
        .header(HOST, url.authority())
        .header(USER_AGENT, concat!("ringup/", env!("CARGO_PKG_VERSION")))
        .header(
            ACCEPT,
            "application/rss+xml, application/atom+xml, application/feed+json, application/xml;q=0.9, */*;q=0.1",
        );
    if let Some(etag) = &before.etag {
        request = request.header(IF_NONE_MATCH, etag);
    }
    if let Some(at) = &before.last_modified {
        request = request.header(IF_MODIFIED_SINCE, at);
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .expect("checked by HttpUrl, and fields that came as fields");
    let stream = outward.connect(url, may_be_private).await?;
    let (mut requests, connection) = http1::Builder::new()
        .max_buf_size(HEAD_OCTETS_MAX)
        .handshake(TokioIo::new(stream))
        .await?;
    let answer = async move {
        let (head, content) = requests.send_request(request).await?.into_parts();
        let content = match Limited::new(content, OCTETS_MAX).collect().await {
            Ok(content) => content.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return Err(FetchError::TooLarge),
            Err(error) => {
                return Err(error
                    .downcast::<hyper::Error>()
                    .map_or(FetchError::TooLarge, |error| (*error).into()));
            }
        };
        Ok(Response::from_parts(head, content))
    };
    let (mut answer, mut connection) = (pin!(answer), pin!(connection));
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => {
            ended?;
            answer.await
        }
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// How long we are asked to wait: in seconds, or until a date (RFC 9110 §10.2.3).
fn patience(headers: &HeaderMap, now: Timestamp) -> Option<SignedDuration> {
    let asked = text(headers, &RETRY_AFTER)?;
    let seconds = asked.trim().parse().ok().map(SignedDuration::from_secs);
    seconds.or_else(|| Some(date::parse(&asked)?.duration_since(now)))
}

/// How long the answer says that it stays as it is (RFC 9111 §5.2.2.1).
fn fresh_for(headers: &HeaderMap) -> SignedDuration {
    let control = text(headers, &CACHE_CONTROL)
        .unwrap_or_default()
        .to_ascii_lowercase();
    let seconds = control
        .split(',')
        .find_map(|directive| directive.trim().strip_prefix("max-age=")?.parse().ok());
    SignedDuration::from_secs(seconds.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_a_time_or_a_date() {
        let now = "2026-11-30T12:00:00Z".parse().unwrap();
        for (asked, expected) in [
            ("120", Some(120)),
            ("Mon, 30 Nov 2026 13:00:00 GMT", Some(3600)),
            ("Mon, 30 Nov 2026 11:00:00 GMT", Some(-3600)),
            ("soon", None),
            ("99999999999999999999", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, asked.parse().unwrap())]);
            assert_eq!(
                patience(&headers, now).map(|wait| wait.as_secs()),
                expected,
                "{asked}"
            );
        }
    }
}
