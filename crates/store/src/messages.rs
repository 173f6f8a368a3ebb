//! Messages: how they come in, and their contents.

use std::fs::File;
use std::io;

use bytes::Bytes;
use delivery::{Digest, MessageHead, MessageId, Octets, TerminalId, Topic, Urgency};
use jiff::Timestamp;
use rusqlite::{CachedStatement, Connection as Database, OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};

use super::bounces::{self, ReturnPath};
use super::draft::NewContent;
use super::quotas::{Holder, NearQuota, OverQuota, Quotas, Waits};
use super::rows::{parse, read_count, read_head, urgency_rank};
use super::{Store, StoreError, run_blocking};
use model::directory::Name;
use model::subscription::Subscriber;

/// A message about to be stored.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Name, type, digest, size.
    pub head: MessageHead,
    /// Who submitted it.
    pub provider: Name,
    /// The content.
    pub content: NewContent,
    /// The terminals that its provider named, each once: it is taken for all of them, or not at all.
    pub terminals: Vec<TerminalId>,
    /// Those that have registered for its topic, each once, if it was sent to them; maybe nobody.
    pub subscribers: Option<Vec<Subscriber>>,
    /// How it is to be treated.
    pub handling: Handling,
}

/// What a provider says of how its message is to be treated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Handling {
    /// How soon it must be there.
    pub urgency: Urgency,
    /// The data type it belongs to.
    pub topic: Option<Topic>,
    /// When nobody needs it any more.
    pub expires_at: Option<Timestamp>,
    /// A newer message of the provider under the same key takes its place, for the terminals of both, unless it has been
    /// delivered or is being delivered.
    pub replace_key: Option<String>,
    /// A repeated submission under the same key is the same message.
    pub idempotency_key: Option<String>,
    /// Of a mail: who is told if it does not arrive.
    pub return_path: Option<ReturnPath>,
}

/// A message is on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its name: of a repetition, that of the first.
    pub id: MessageId,
    /// It was here already, under this idempotency key.
    pub is_repeated: bool,
    /// Terminals that it is for: one envelope each.
    pub envelopes: u64,
    /// Envelopes whose place it took.
    pub replaced: usize,
    /// Quotas that have come to four fifths by it.
    pub near: Vec<NearQuota>,
}

impl NewMessage {
    /// What makes a submission the same submission, without what may differ when it is sent again: its id, the time.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let Handling {
            urgency,
            topic,
            replace_key,
            expires_at: _,
            idempotency_key: _,
            return_path: _,
        } = &self.handling;
        let mut terminals: Vec<_> = self.terminals.iter().map(ToString::to_string).collect();
        terminals.sort_unstable();
        let mut hash = Sha256::new();
        let parts = [
            self.head.digest.to_string(),
            self.head.content_type.as_str().to_owned(),
            urgency.to_string(),
        ];
        let topic = topic.as_ref().map(ToString::to_string);
        for part in parts.into_iter().chain([
            topic.unwrap_or_default(),
            replace_key.clone().unwrap_or_default(),
        ]) {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        terminals.iter().for_each(|terminal| hash.update(terminal));
        if self.subscribers.is_some() {
            hash.update("subscribers"); // whoever they are by then
        }
        hash.finalize().into()
    }
}

impl Store {
    /// A message with its content, which is the one that was accepted; a large one stays in its file.
    ///
    /// # Errors
    /// [`StoreError`]; if it is [damage](StoreError::Damaged) the content is not the one that was accepted: it is never
    /// delivered, and [`Store::quarantine`] is for it.
    pub async fn octets(&self, id: MessageId) -> Result<(MessageHead, Octets), StoreError> {
        let (head, inline) = self
            .reader
            .run(move |db| {
                let row = db
                    .prepare_cached(
                        "SELECT id, content_type, digest, size, kept, c.content
                         FROM messages m LEFT JOIN contents c ON c.message = m.seq WHERE id = ?1",
                    )?
                    .query_row([id.to_string()], |row| {
                        Ok((
                            read_head(row),
                            row.get::<_, String>(4)?,
                            row.get::<_, Option<Vec<u8>>>(5)?,
                        ))
                    })?;
                let (head, kept, inline) = row;
                match (kept.as_str(), inline) {
                    ("row", Some(content)) => Ok((head?, Some(content))),
                    ("file", None) => Ok((head?, None)),
                    _ => Err(StoreError::damaged("the content")),
                }
            })
            .await?;
        let digest = head.digest;
        let content = match inline {
            Some(content) => Some(content)
                .filter(|content| Digest::of(content) == digest)
                .map(|content| Bytes::from(content).into()),
            None => {
                let contents = self.contents.clone();
                run_blocking("read", move || contents.get(digest)).await?
            }
        };
        Ok((head, content.ok_or(StoreError::damaged("the content"))?))
    }

    /// A message with its content, all of it in memory.
    ///
    /// # Errors
    /// Those of [`Store::octets`].
    pub async fn content(&self, id: MessageId) -> Result<(MessageHead, Bytes), StoreError> {
        let (head, octets) = self.octets(id).await?;
        Ok((head, run_blocking("read", move || octets.read()).await?))
    }

    /// A file for what is made of a content while it is brought. It has no name, and is gone with the last that has it open.
    pub fn scratch(&self) -> io::Result<File> {
        self.contents.scratch()
    }
}

/// What a submission is answered that was accepted before under the same key.
pub(super) fn answer_repeated(
    db: &Database,
    message: &NewMessage,
) -> Result<Option<Accepted>, StoreError> {
    let Some(key) = &message.handling.idempotency_key else {
        return Ok(None);
    };
    let found = find_repeated(
        db,
        &message.provider.to_string(),
        key,
        &message.fingerprint(),
    )?;
    let Some(id) = found else { return Ok(None) };
    let count =
        "SELECT count(*) FROM envelopes WHERE message = (SELECT seq FROM messages WHERE id = ?1)";
    let envelopes = db
        .prepare_cached(count)?
        .query_row([id.to_string()], |row| read_count(row, 0))?;
    Ok(Some(Accepted {
        id,
        is_repeated: true,
        envelopes,
        replaced: 0,
        near: Vec::new(),
    }))
}

/// Not before it is known to be no repetition: that is answered as the first was, however late it comes.
pub(super) fn refuse_expired(message: &NewMessage, now: i64) -> Result<(), StoreError> {
    let Handling {
        expires_at,
        idempotency_key,
        ..
    } = &message.handling;
    match expires_at.filter(|at| idempotency_key.is_some() && at.as_millisecond() <= now) {
        Some(at) => Err(StoreError::Expired(at)),
        None => Ok(()),
    }
}

/// Whose quota a terminal's is.
pub(super) fn holder_of(name: &str, message: &NewMessage) -> Holder {
    name.parse().map_or_else(
        |_| Holder::Provider(message.provider.clone()),
        Holder::Terminal,
    )
}

/// What of a message's row depends on how it is accepted.
pub(super) struct Row {
    pub(super) waiting: i64,
    pub(super) settled_at: Option<i64>,
    /// A repetition finds it by its key from now on.
    pub(super) has_key: bool,
}

/// Writes a message without its envelopes.
pub(super) fn insert_row(
    db: &Database,
    message: &NewMessage,
    inline: Option<&Bytes>,
    now: i64,
    row: &Row,
) -> Result<i64, StoreError> {
    let NewMessage {
        head,
        provider,
        handling,
        ..
    } = message;
    let key = handling.idempotency_key.as_ref().filter(|_| row.has_key);
    db.prepare_cached(
        "INSERT INTO messages (id, provider, content_type, digest, size, kept, accepted_at, urgency, topic, expires_at,
           replace_key, idempotency_key, fingerprint, waiting, settled_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?
    .execute(params![
        head.id.to_string(),
        provider.to_string(),
        head.content_type.as_str(),
        head.digest.to_string(),
        size_of(message)?,
        if inline.is_some() { "row" } else { "file" },
        now,
        urgency_rank(handling.urgency),
        handling.topic.as_ref().map(ToString::to_string),
        handling.expires_at.map(Timestamp::as_millisecond),
        handling.replace_key,
        key,
        key.map(|_| message.fingerprint()),
        row.waiting,
        row.settled_at,
    ])?;
    let seq = db.last_insert_rowid();
    if let Some(content) = inline {
        db.prepare_cached("INSERT INTO contents VALUES (?1, ?2)")?
            .execute(params![seq, &content[..]])?;
    }
    if let Some(path) = &handling.return_path {
        bounces::insert(db, seq, path)?;
    }
    Ok(seq)
}

fn size_of(message: &NewMessage) -> Result<i64, StoreError> {
    i64::try_from(message.head.size).map_err(|_| StoreError::damaged("the size"))
}

/// An envelope about to be written.
pub(super) struct Envelope {
    pub(super) terminal: String,
    pub(super) calls_at: Option<i64>,
    /// Too much waits for the terminal already.
    pub(super) over: Option<OverQuota>,
}

/// Subscribers for whom too much waits have their verdict at once, and it says why.
pub(super) fn fail_over_quota(
    db: &Database,
    seq: i64,
    envelopes: &[Envelope],
    now: i64,
) -> Result<(), StoreError> {
    let mut update = db.prepare_cached(
        "UPDATE envelopes SET verdict = 'failed', verdict_reason = ?3, verdict_at = ?4 WHERE message = ?1 AND terminal = ?2",
    )?;
    for Envelope { terminal, over, .. } in envelopes {
        if let Some(OverQuota { unit, max, .. }) = over {
            let reason =
                format!("{max} {unit} waited for the terminal already, which is as many as may");
            update.execute(params![seq, terminal, reason, now])?;
        }
    }
    Ok(())
}

/// The message that was accepted under this key before.
fn find_repeated(
    db: &Database,
    provider: &str,
    key: &str,
    fingerprint: &[u8; 32],
) -> Result<Option<MessageId>, StoreError> {
    let found = db
        .prepare_cached(
            "SELECT id, fingerprint FROM messages WHERE provider = ?1 AND idempotency_key = ?2",
        )?
        .query_row([provider, key], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Option<Vec<u8>>>(1)?))
        })
        .optional()?;
    match found {
        None => Ok(None),
        Some((id, Some(before))) if before == fingerprint => {
            Ok(Some(parse(&id, "the id of a message")?))
        }
        Some(_) => Err(StoreError::KeyReused),
    }
}

/// The statements about what waits: for a hundred thousand terminals each is looked up once.
pub(super) struct Queues<'a> {
    db: &'a Database,
    find: CachedStatement<'a>,
}

impl<'a> Queues<'a> {
    pub(super) fn prepare(db: &'a Database) -> Result<Self, StoreError> {
        let find = db.prepare_cached(
            "SELECT t.name, coalesce(q.messages, 0), coalesce(q.octets, 0)
             FROM terminals t LEFT JOIN queues q ON q.terminal = t.id WHERE t.id = ?1",
        )?;
        Ok(Self { db, find })
    }

    /// Refuses a message of a provider of which too much waits.
    pub(super) fn check_provider(
        &self,
        message: &NewMessage,
        quotas: Quotas,
        near: &mut Vec<NearQuota>,
    ) -> Result<(), StoreError> {
        let waits = self
            .db
            .prepare_cached(
                "SELECT waiting_messages, waiting_octets FROM providers WHERE name = ?1",
            )?
            .query_row([message.provider.to_string()], |row| {
                Ok(Waits {
                    messages: read_count(row, 0)?,
                    octets: read_count(row, 1)?,
                })
            })
            .optional()?;
        let Some(waits) = waits else { return Ok(()) };
        let holder = || Holder::Provider(message.provider.clone());
        Ok(quotas
            .provider
            .check(waits, message.head.size, holder, near)?)
    }

    /// Refuses a message for a terminal for which too much waits, or that is not there; its id as it is kept.
    pub(super) fn check_named(
        &mut self,
        terminal: TerminalId,
        message: &NewMessage,
        quotas: Quotas,
        near: &mut Vec<NearQuota>,
    ) -> Result<String, StoreError> {
        let id = terminal.to_string();
        let (name, waits) = self
            .of_terminal(&id)?
            .ok_or(StoreError::NoTerminal(terminal))?;
        quotas
            .terminal
            .check(waits, message.head.size, || holder_of(&name, message), near)?;
        Ok(id)
    }

    /// A terminal's name, and what waits for it.
    pub(super) fn of_terminal(&mut self, id: &str) -> Result<Option<(String, Waits)>, StoreError> {
        let found = self.find.query_row([id], |row| {
            Ok((
                row.get(0)?,
                Waits {
                    messages: read_count(row, 1)?,
                    octets: read_count(row, 2)?,
                },
            ))
        });
        Ok(found.optional()?)
    }

    /// Counts a message that waits for its provider.
    pub(super) fn count_message(&self, message: &NewMessage) -> Result<(), StoreError> {
        self.db
            .prepare_cached(
                "UPDATE providers SET waiting_messages = waiting_messages + 1, waiting_octets = waiting_octets + ?2
                 WHERE name = ?1",
            )?
            .execute(params![message.provider.to_string(), size_of(message)?])?;
        Ok(())
    }

    /// Writes envelopes of a message, and counts them.
    pub(super) fn add(
        &self,
        seq: i64,
        message: &NewMessage,
        envelopes: &[Envelope],
    ) -> Result<(), StoreError> {
        let (handling, size) = (&message.handling, size_of(message)?);
        // Kept with the envelope where it matters for when the terminal is called.
        let deadline = handling
            .expires_at
            .filter(|_| handling.urgency == Urgency::Bulk);
        let (urgency, deadline) = (
            urgency_rank(handling.urgency),
            deadline.map(Timestamp::as_millisecond),
        );
        let mut insert = self.db.prepare_cached(
            "INSERT INTO envelopes (message, terminal, urgency, size, calls_at, deadline) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let mut count = self.db.prepare_cached(
            "INSERT INTO queues VALUES (?1, 1, ?2)
             ON CONFLICT (terminal) DO UPDATE SET messages = queues.messages + 1, octets = queues.octets + excluded.octets",
        )?;
        for Envelope {
            terminal, calls_at, ..
        } in envelopes
        {
            insert.execute(params![seq, terminal, urgency, size, calls_at, deadline])?;
            count.execute(params![terminal, size])?;
        }
        Ok(())
    }
}
