//! An answer that reaches a client which is still sending.
//!
//! Closing a connection on which octets are still coming resets it, and the answer with it: the client would see a broken
//! pipe instead of the reason. So the answer goes out at once, and what still comes is taken and thrown away for a while.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use tokio::time::{Sleep, sleep};

/// How long a client that was refused may go on sending. On a line it pays for every second of it.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// The text of an answer, then the end of the request's content, or the end of patience.
pub(super) struct EarlyAnswer {
    text: Option<Bytes>,
    rest: Body,
    patience: Pin<Box<Sleep>>,
}

impl EarlyAnswer {
    pub(super) fn body(text: String, rest: Body) -> Body {
        Body::new(Self {
            text: Some(text.into()),
            rest,
            patience: Box::pin(sleep(DRAIN_MAX)),
        })
    }
}

impl HttpBody for EarlyAnswer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(text) = self.text.take() {
            return Poll::Ready(Some(Ok(Frame::data(text))));
        }
        while self.patience.as_mut().poll(cx).is_pending() {
            let mut frame = self.rest.frame();
            let Some(Ok(_)) = ready!(Pin::new(&mut frame).poll(cx)) else {
                break;
            };
        }
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_text_comes_first_and_the_end_when_the_client_has_sent_all() {
        let (mut sender, rest) = http_body_util::channel::Channel::<Bytes>::new(1);
        let mut answer = EarlyAnswer::body("too large".into(), Body::new(rest));
        assert_eq!(
            answer.frame().await.unwrap().unwrap().into_data().unwrap(),
            "too large"
        );
        let send = async {
            sender.send_data(Bytes::from_static(b"more")).await.unwrap();
            sender
                .send_data(Bytes::from_static(b"and more"))
                .await
                .unwrap();
            drop(sender);
        };
        let (end, ()) = tokio::join!(answer.frame(), send);
        assert!(end.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_stops_is_left() {
        let (_sender, rest) = http_body_util::channel::Channel::<Bytes>::new(1);
        let mut answer = EarlyAnswer::body("no".into(), Body::new(rest));
        answer.frame().await.unwrap().unwrap();
        let began = tokio::time::Instant::now();
        assert!(answer.frame().await.is_none());
        assert_eq!(began.elapsed(), DRAIN_MAX);
    }
}
