//! Claims: a message is marked under way, bound to its call, before the first octet of it leaves.
//!
//! ```text
//!           begin                    receipt
//!   free ───────────► under way ───────────────► delivered
//!    ▲ ▲                │    │ lost: the last octet may have left
//!    │ │  lost before   │    ▼
//!    │ └────────────────┘  in doubt ──asked: it is there──► delivered
//!    └───────────────────────┘ asked: it is not
//! ```
//!
//! A cancelled, replaced, expired or failed message that is under way or in doubt has that verdict pending: it is given when the
//! message is free. What a crash of the server leaves under way is in doubt: whether the last octet has left is not known.

use bytes::Bytes;
use delivery::{Digest, Manner, MessageHead, MessageId, Octets, TerminalId};
use jiff::Timestamp;
use line::CallId;
use rusqlite::{Connection as Database, OptionalExtension as _, Row, params};

use super::deliveries::{AttemptEnd, Doubt, end};
use super::keys::IS_TRUSTED;
use super::rows::{parse, read_head, read_urgency};
use super::verdicts::give;
use super::{Owner, Store, StoreError, run_blocking};
use model::verdict::Verdict;

/// What came of [`Store::begin`].
#[derive(Debug)]
pub enum Claim {
    /// It is under way on this call from now on.
    Begun(Box<Begun>),
    /// It is under way on another call, which may be over soon.
    Held,
    /// The terminal has been removed, shut out or has lost its key: nothing goes to it.
    Distrusted,
    /// It has its verdict, or another one than `delivered` is pending; or the call is over.
    Settled,
    /// Its content cannot be read just now; an operator has to look at the disk.
    Unreadable,
}

/// A message that is under way, as it was accepted.
#[derive(Debug)]
pub struct Begun {
    /// What it is.
    pub head: MessageHead,
    /// What its provider said of how it is to be treated.
    pub manner: Manner,
    /// Its content; a large one stays in its file.
    pub content: Octets,
    /// An earlier attempt broke off: the terminal may have some of it, or all.
    pub was_brought: bool,
}

/// What the database says of a claim.
enum Found {
    Marked(Box<Marked>),
    Refused(Claim),
}

struct Marked {
    head: MessageHead,
    manner: Manner,
    inline: Option<Bytes>,
    was_brought: bool,
}

impl Store {
    /// Marks a message under way on a call, in one transaction with everything that speaks against it; the message comes with it.
    /// A call that has the message already gets it again. A damaged message fails here.
    ///
    /// # Errors
    /// [`StoreError`]: the message must not be sent.
    pub async fn begin(
        &self,
        id: MessageId,
        terminal: TerminalId,
        call: CallId,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        let at = now.as_millisecond();
        let owner = self.owner.clone();
        let found = self
            .writer
            .run(move |db| mark(db, &owner, id, &terminal.to_string(), &call.to_string(), at))
            .await;
        let marked = match found {
            Ok(Found::Marked(marked)) => *marked,
            Ok(Found::Refused(why)) => return Ok(why),
            // The transaction is undone: nothing is marked.
            Err(StoreError::Damaged { .. }) => {
                self.quarantine(id, "the content is damaged", now).await?;
                return Ok(Claim::Settled);
            }
            Err(error) => return Err(error),
        };
        let Marked {
            head,
            manner,
            inline,
            was_brought,
        } = marked;
        let digest = head.digest;
        let content = match inline {
            Some(content) => {
                Ok(Some(Octets::from(content.clone())).filter(|_| Digest::of(&content) == digest))
            }
            None => {
                let contents = self.contents.clone();
                run_blocking("read", move || contents.get(digest)).await
            }
        };
        match content {
            Ok(Some(content)) => Ok(Claim::Begun(Box::new(Begun {
                head,
                manner,
                content,
                was_brought,
            }))),
            // A damaged content is never delivered, and never keeps the others waiting.
            Ok(None) | Err(StoreError::Damaged { .. }) => {
                let how = AttemptEnd::broken("its content is damaged", Doubt::Unchanged);
                self.end_delivery(id, terminal, call, how, now).await?;
                self.quarantine(id, "the content is damaged", now).await?;
                Ok(Claim::Settled)
            }
            Err(error) => {
                tracing::error!(message_id = %id, %error, "content cannot be read");
                let how = AttemptEnd::broken("its content could not be read", Doubt::Unchanged);
                self.end_delivery(id, terminal, call, how, now).await?;
                Ok(Claim::Unreadable)
            }
        }
    }
}

fn mark(
    db: &Database,
    owner: &Owner,
    id: MessageId,
    terminal: &str,
    call: &str,
    now: i64,
) -> Result<Found, StoreError> {
    owner.check(db)?;
    let sql = format!(
        "SELECT m.id, m.content_type, m.digest, m.size, m.kept, c.content, m.urgency, m.topic, m.expires_at, m.seq, e.under_way,
           e.verdict IS NOT NULL, e.pending_verdict IS NOT NULL,
           EXISTS (SELECT 1 FROM terminals t WHERE t.id = ?2 AND {IS_TRUSTED}),
           EXISTS (SELECT 1 FROM deliveries WHERE message = m.seq AND terminal = ?2),
           EXISTS (SELECT 1 FROM calls WHERE id = ?3 AND ended_at IS NOT NULL)
         FROM messages m JOIN envelopes e ON e.message = m.seq AND e.terminal = ?2 LEFT JOIN contents c ON c.message = m.seq
         WHERE m.id = ?1"
    );
    let mut select = db.prepare_cached(&sql)?;
    let found = select
        .query_row(params![id.to_string(), terminal, call], |row| {
            let claim = Standing {
                seq: row.get(9)?,
                expires_at: row.get(8)?,
                under_way: row.get(10)?,
                is_settled: row.get(11)?,
                is_pending: row.get(12)?,
                is_trusted: row.get(13)?,
                is_over: row.get(15)?,
            };
            Ok((claim, read_marked(row)))
        })
        .optional()?;
    let Some((standing, marked)) = found else {
        return Ok(Found::Refused(Claim::Settled));
    };
    let Standing {
        seq,
        expires_at,
        under_way,
        is_settled,
        is_pending,
        is_trusted,
        is_over,
    } = standing;
    // A session may outlive the record of its call by a moment: nothing would end what it marked then.
    if is_settled || is_over {
        return Ok(Found::Refused(Claim::Settled));
    }
    let has_it = under_way.as_deref() == Some(call);
    if under_way.is_some() && !has_it {
        return Ok(Found::Refused(Claim::Held));
    }
    if !is_trusted {
        if has_it {
            let how = AttemptEnd::broken("the terminal is not trusted any more", Doubt::Unchanged);
            end(db, seq, terminal, call, &how, now)?;
        }
        return Ok(Found::Refused(Claim::Distrusted));
    }
    if has_it {
        return Ok(Found::Marked(Box::new(marked?)));
    }
    if is_pending {
        return Ok(Found::Refused(Claim::Settled));
    }
    if expires_at.is_some_and(|at| at <= now) {
        give(
            db,
            Verdict::Expired,
            None,
            now,
            "message = ?4 AND terminal = ?5",
            &[&seq, &terminal],
        )?;
        return Ok(Found::Refused(Claim::Settled));
    }
    let marked = marked?;
    let taken = db
        .prepare_cached(
            "UPDATE envelopes SET under_way = ?3, owner = ?4, epoch = ?5
             WHERE message = ?1 AND terminal = ?2 AND verdict IS NULL AND under_way IS NULL",
        )?
        .execute(params![seq, terminal, call, owner.id, owner.epoch])?;
    if taken != 1 {
        return Ok(Found::Refused(Claim::Held));
    }
    db.prepare_cached(
        "INSERT INTO deliveries (message, terminal, call, began_at) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![seq, terminal, call, now])?;
    Ok(Found::Marked(Box::new(marked)))
}

/// What an envelope is about to be marked in spite of, or not.
struct Standing {
    seq: i64,
    expires_at: Option<i64>,
    under_way: Option<String>,
    is_settled: bool,
    is_pending: bool,
    is_trusted: bool,
    is_over: bool,
}

fn read_marked(row: &Row<'_>) -> Result<Marked, StoreError> {
    let head = read_head(row)?;
    let inline = match (
        row.get::<_, String>(4)?.as_str(),
        row.get::<_, Option<Vec<u8>>>(5)?,
    ) {
        ("row", Some(content)) => Some(content.into()),
        ("file", None) => None,
        _ => return Err(StoreError::damaged("the content")),
    };
    let topic = row
        .get::<_, Option<String>>(7)?
        .map(|topic| parse(&topic, "a topic"))
        .transpose()?;
    let expires_at = row
        .get::<_, Option<i64>>(8)?
        .and_then(|at| Timestamp::from_millisecond(at).ok());
    let manner = Manner {
        urgency: read_urgency(row.get(6)?)?,
        topic,
        expires_at,
    };
    Ok(Marked {
        head,
        manner,
        inline,
        was_brought: row.get(14)?,
    })
}
