//! Looking at everything that is kept: whether it can be read, is what was accepted, and agrees with itself.

use std::time::Duration;

use delivery::Digest;
use rusqlite::{Connection as Database, ErrorCode, InterruptHandle, Row};
use serde::Serialize;

use super::content::Contents;
use super::rows::read_count;
use super::sqlite::open_to_read;
use super::{Store, StoreError};
use model::causes::with_causes;

/// Faults that are told of one kind; there may be as many as rows.
const FAULTS_MAX: usize = 100;

/// How long the look at the start may take: it reads the whole database while the server works.
const GLANCE_MAX: Duration = Duration::from_secs(60);

/// What a check has found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Messages looked at.
    pub messages: u64,
    /// Envelopes looked at.
    pub envelopes: u64,
    /// Envelopes that wait.
    pub waiting: u64,
    /// Contents read and compared with their digests.
    pub contents: u64,
    /// Content files that no message names: they are removed within a day.
    pub files_unnamed: u64,
    /// Messages quarantined before.
    pub quarantined: u64,
    /// What is wrong, each in a sentence; at most a hundred.
    pub faults: Vec<String>,
}

/// Why there was no check.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The database cannot even be asked.
    #[error("the database cannot be read")]
    Store(#[from] StoreError),
    /// The server is ending.
    #[error("the check was stopped")]
    Stopped,
}

impl Store {
    /// Looks at everything; changes nothing. It takes as long as reading all of it does, and keeps nobody waiting.
    ///
    /// # Errors
    /// [`CheckError`]; faults that were found are no error.
    pub async fn check(&self) -> Result<Findings, CheckError> {
        let (database, contents) = (self.database.clone(), self.contents.clone());
        let work = move || {
            let db = open_to_read(&database)?;
            look(&db, &contents)
        };
        Ok(tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| CheckError::Stopped)??)
    }
}

/// Interrupts what a connection is at when it is dropped.
struct Interrupting(InterruptHandle);

impl Drop for Interrupting {
    fn drop(&mut self) {
        self.0.interrupt();
    }
}

impl Store {
    /// Looks whether the database's pages agree with each other, for a minute at most. Gives what is wrong. Dropping it ends it.
    ///
    /// # Errors
    /// [`CheckError`]; faults that were found are no error.
    pub async fn glance(&self) -> Result<Vec<String>, CheckError> {
        let db = open_to_read(&self.database)?;
        let interrupting = Interrupting(db.get_interrupt_handle());
        let looking =
            tokio::task::spawn_blocking(move || read_faults(&db, "PRAGMA quick_check(10)"));
        let found = tokio::time::timeout(GLANCE_MAX, looking).await;
        drop(interrupting);
        match found {
            Ok(found) => Ok(found.map_err(|_| CheckError::Stopped)?),
            Err(_) => {
                tracing::info!(
                    "the database is large: not all of it was looked at; ringup store check reads it all"
                );
                Ok(Vec::new())
            }
        }
    }
}

/// What SQLite says of its own pages; that it cannot say is a fault, too.
fn read_faults(db: &Database, pragma: &str) -> Vec<String> {
    let read = || -> rusqlite::Result<Vec<String>> {
        let mut select = db.prepare(pragma)?;
        let found = select
            .query_map([], |row| row.get::<_, String>(0))?
            .take(FAULTS_MAX);
        found.collect()
    };
    match read() {
        // SQLite puts several into one text.
        Ok(texts) => {
            let lines = texts.iter().flat_map(|text| text.lines()).map(str::trim);
            lines
                .filter(|line| *line != "ok" && !line.is_empty())
                .map(|line| format!("database: {line}"))
                .collect()
        }
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            Vec::new()
        }
        Err(error) => vec![format!("database: {error}")],
    }
}

fn look(db: &Database, contents: &Contents) -> Result<Findings, StoreError> {
    // One look for all questions, or what is accepted meanwhile would seem to disagree.
    let db = db.unchecked_transaction()?;
    let mut findings = Findings {
        faults: read_faults(&db, "PRAGMA integrity_check(100)"),
        ..Findings::default()
    };
    let texts = |sql: &str| -> rusqlite::Result<Vec<String>> {
        let mut select = db.prepare(sql)?;
        let found = select
            .query_map([], |row| row.get::<_, String>(0))?
            .take(FAULTS_MAX);
        found.collect()
    };
    for (what, sql) in [
        (
            "what waits for a terminal is counted wrong",
            "SELECT terminal FROM (SELECT terminal, count(*) AS messages, sum(size) AS octets FROM envelopes
               WHERE verdict IS NULL GROUP BY terminal
             EXCEPT SELECT terminal, messages, octets FROM queues)",
        ),
        (
            "what waits of a message is counted wrong",
            "SELECT id FROM messages m WHERE NOT (waiting <= 0 AND settled_at IS NULL) AND waiting <> (SELECT count(*) FROM envelopes WHERE message = m.seq AND verdict IS NULL)",
        ),
        (
            "what waits of a provider is counted wrong",
            "SELECT name FROM providers p WHERE waiting_messages <>
               (SELECT count(*) FROM messages WHERE provider = p.name AND waiting > 0)",
        ),
        (
            "an envelope without a message, for",
            "SELECT terminal FROM envelopes WHERE message NOT IN (SELECT seq FROM messages)",
        ),
    ] {
        // Damaged pages end a question, and not the others.
        match texts(sql) {
            Ok(found) => findings.faults.extend(found.into_iter().map(|which| format!("{what}: {which}"))),
            Err(error) => findings.faults.push(format!("database: cannot say whether {what}: {error}")),
        }
    }
    for (count, sql) in [
        (&mut findings.messages, "SELECT count(*) FROM messages"),
        (&mut findings.envelopes, "SELECT count(*) FROM envelopes"),
        (
            &mut findings.waiting,
            "SELECT count(*) FROM envelopes WHERE verdict IS NULL",
        ),
        (
            &mut findings.quarantined,
            "SELECT count(*) FROM messages WHERE kept = 'damaged'",
        ),
    ] {
        match db.query_row(sql, [], |row| read_count(row, 0)) {
            Ok(counted) => *count = counted,
            Err(error) => findings
                .faults
                .push(format!("database: cannot count: {error}: {sql}")),
        }
    }
    if let Err(error) = look_at_contents(&db, contents, &mut findings) {
        findings.faults.push(format!(
            "not all contents were looked at: {}",
            with_causes(&error)
        ));
    }
    findings.faults.truncate(FAULTS_MAX);
    Ok(findings)
}

fn look_at_contents(
    db: &Database,
    contents: &Contents,
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let mut select = db.prepare(
        "SELECT m.id, m.digest, c.content, m.kept FROM messages m LEFT JOIN contents c ON c.message = m.seq
         WHERE m.kept IN ('row', 'file')",
    )?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        findings.contents += 1;
        if findings.faults.len() < FAULTS_MAX
            && let Some(fault) = content_fault(row, contents)?
        {
            findings.faults.push(fault);
        }
    }
    let named = |digest: &Digest| -> Result<bool, StoreError> {
        let mut select = db
            .prepare_cached("SELECT 1 FROM messages WHERE digest = ?1 AND kept = 'file' LIMIT 1")?;
        Ok(select.exists([digest.to_string()])?)
    };
    for digest in contents.list()? {
        findings.files_unnamed += u64::from(!named(&digest)?);
    }
    Ok(())
}

fn content_fault(row: &Row<'_>, contents: &Contents) -> Result<Option<String>, StoreError> {
    let (id, digest): (String, String) = (row.get(0)?, row.get(1)?);
    let Ok(digest) = digest.parse::<Digest>() else {
        return Ok(Some(format!("message {id}: its digest cannot be read")));
    };
    let is_sound = match row.get::<_, String>(3)?.as_str() {
        "file" => contents.get(digest).ok().map(|content| content.is_some()),
        _ => row
            .get::<_, Option<Vec<u8>>>(2)?
            .map(|content| Digest::of(&content) == digest),
    };
    Ok(match is_sound {
        None => Some(format!("message {id}: its content is missing")),
        Some(false) => Some(format!("message {id}: its content is damaged")),
        Some(true) => None,
    })
}
