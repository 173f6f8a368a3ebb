//! Bringing a stock terminal its mail, by its own mail server at the far end of the link.

use tokio::io::{AsyncRead, AsyncWrite};

use super::{Answer, Brought, StockError};
use crate::outward::smtp::{SendMailError, send_mail};
use store::Refusal;

/// What we call ourselves: a terminal knows no names of ours.
const HELLO: &str = "ringup.localdomain";

/// Sends a mail for this mailbox. From whom it is, its sender said; without one nobody is told if it comes to nothing there.
pub(super) async fn send<S>(
    stream: S,
    mailbox: &str,
    message: &Brought,
) -> Result<Answer, StockError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let content_type = message.head.content_type.as_str();
    let is_mail = content_type
        .split(';')
        .next()
        .is_some_and(|plain| plain.trim().eq_ignore_ascii_case("message/rfc822"));
    if !is_mail {
        let why = format!("here: its inbox takes mail, and this is {content_type}");
        return Ok(Answer::Refused {
            why,
            refusal: Refusal::ForGood,
        });
    }
    let content = message.content.held().expect("a mail is read whole");
    match send_mail(
        stream,
        HELLO,
        message.sender.as_deref(),
        &[mailbox],
        content,
    )
    .await
    {
        Ok(()) => Ok(Answer::Taken),
        Err(SendMailError::Smtp(error)) if error.is_transient() => Ok(Answer::PutOff {
            why: format!("by its mail server: {}", words(&error)),
            all: None,
            refusal: Refusal::Again,
        }),
        Err(SendMailError::Smtp(error)) if error.is_permanent() => Ok(Answer::Refused {
            why: format!("by its mail server: {}", words(&error)),
            refusal: Refusal::Again,
        }),
        // A sender that cannot be written to is none.
        Err(error @ (SendMailError::Address(_) | SendMailError::NoRecipient)) => {
            Ok(Answer::Refused {
                why: format!("here: {error}"),
                refusal: Refusal::ForGood,
            })
        }
        Err(error) => Err(StockError::Mail(error)),
    }
}

/// What a mail server said, at most 1000 characters of it.
fn words(error: &lettre::transport::smtp::Error) -> String {
    error.to_string().chars().take(1000).collect()
}
