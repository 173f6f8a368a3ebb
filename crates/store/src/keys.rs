//! Keys, invitations, and who is shut out.

use std::collections::BTreeSet;

use delivery::TerminalId;
use delivery::proof::{EnrolmentSecret, Pin, PublicKey, ServerKeyList};
use jiff::Timestamp;
use rusqlite::{Connection as Database, OptionalExtension as _, params};

use super::rows::parse;
use super::{Store, StoreError};
use model::directory::Name;

/// Of a terminal `t`, at `?1`: a machine can prove to be it, so that it is worth a call.
const CAN_BE_PROVED: &str = "
    NOT EXISTS (SELECT 1 FROM shut_out WHERE terminal = t.id)
    AND (t.trust IN ('chap', 'number-only')
      OR EXISTS (SELECT 1 FROM terminal_keys WHERE terminal = t.id)
      OR EXISTS (SELECT 1 FROM invitations WHERE terminal = t.id AND expires_at > ?1))";

/// Of a terminal `t`: it is one that messages may go to, enrolled or a stock terminal, and not shut out. An invitation alone does
/// not do: what goes goes to a proved terminal.
pub(super) const IS_TRUSTED: &str = "
    NOT EXISTS (SELECT 1 FROM shut_out WHERE terminal = t.id)
    AND (t.trust IN ('chap', 'number-only') OR EXISTS (SELECT 1 FROM terminal_keys WHERE terminal = t.id))";

/// What a terminal may prove itself with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// The keys it has proved. Empty: it has never been enrolled, or is shut out.
    pub keys: Vec<PublicKey>,
    /// The secret that lets another key in, if one is out and its time is not over.
    pub invitation: Option<EnrolmentSecret>,
    /// Since when nothing is said to it.
    pub shut_out_at: Option<Timestamp>,
    /// The server's keys that it has on its disk, by its own word. `None`: it was never told, and knows those of its bundle.
    pub told: Option<ServerKeyList>,
}

impl Trust {
    /// Whom TLS lets in. `None`: nobody.
    pub fn pin(&self) -> Option<Pin> {
        match (&self.invitation, self.keys.as_slice()) {
            _ if self.shut_out_at.is_some() => None,
            // Any key: one that is not known proves itself by the secret before anything else is said.
            (Some(_), _) => Some(Pin::Enrolling),
            (None, []) => None,
            (None, keys) => Some(Pin::Keys(keys.to_vec())),
        }
    }
}

impl Store {
    /// What a terminal may prove itself with.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn trust(&self, terminal: TerminalId, now: Timestamp) -> Result<Trust, StoreError> {
        let now = now.as_millisecond();
        self.reader
            .run(move |db| {
                let id = terminal.to_string();
                let mut select = db.prepare_cached(
                    "SELECT key FROM terminal_keys WHERE terminal = ?1 ORDER BY enrolled_at",
                )?;
                let keys = select.query_map([&id], |row| row.get::<_, [u8; 32]>(0))?;
                let keys = keys
                    .map(|key| Ok(PublicKey::from_octets(key?)))
                    .collect::<Result<_, StoreError>>()?;
                let invitation = db
                    .prepare_cached(
                        "SELECT secret FROM invitations WHERE terminal = ?1 AND expires_at > ?2",
                    )?
                    .query_row(params![id, now], |row| row.get::<_, [u8; 32]>(0))
                    .optional()?;
                let shut_out_at = db
                    .prepare_cached("SELECT at FROM shut_out WHERE terminal = ?1")?
                    .query_row([&id], |row| row.get::<_, i64>(0))
                    .optional()?
                    .map(Timestamp::from_millisecond)
                    .transpose()
                    .map_err(|_| StoreError::damaged("a terminal"))?;
                let told = db
                    .prepare_cached("SELECT keys FROM server_keys_told WHERE terminal = ?1")?
                    .query_row([&id], |row| row.get::<_, String>(0))
                    .optional()?
                    .map(|keys| parse(&keys, "what a terminal was told"))
                    .transpose()?;
                Ok(Trust {
                    keys,
                    invitation: invitation.map(EnrolmentSecret::from_octets),
                    shut_out_at,
                    told,
                })
            })
            .await
    }

    /// Whether anybody may be this terminal: it is enrolled, invited or a stock terminal, and not shut out. A call to any other
    /// would be paid for nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn can_be_proved(
        &self,
        terminal: TerminalId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let now = now.as_millisecond();
        self.reader
            .run(move |db| can_be_proved(db, terminal, now))
            .await
    }

    /// The terminals for which something waits, and that nobody can be.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn cannot_prove_themselves(
        &self,
        now: Timestamp,
    ) -> Result<BTreeSet<TerminalId>, StoreError> {
        let now = now.as_millisecond();
        self.reader
            .survey(move |db| {
                let sql = format!(
                    "SELECT t.id FROM terminals t JOIN queues q ON q.terminal = t.id
                     WHERE q.messages > 0 AND NOT ({CAN_BE_PROVED})"
                );
                let mut select = db.prepare_cached(&sql)?;
                let ids = select.query_map([now], |row| row.get::<_, String>(0))?;
                ids.map(|id| parse(&id?, "a terminal")).collect()
            })
            .await
    }

    /// Puts a secret out for a terminal, in place of one that is out already. A terminal that was shut out may come back by it;
    /// the keys it had then are gone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn invite(
        &self,
        terminal: TerminalId,
        secret: EnrolmentSecret,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                let id = terminal.to_string();
                db.execute("DELETE FROM shut_out WHERE terminal = ?1", [&id])?;
                db.execute(
                    "INSERT INTO invitations (terminal, secret, expires_at) VALUES (?1, ?2, ?3)
                     ON CONFLICT (terminal) DO UPDATE SET secret = excluded.secret, expires_at = excluded.expires_at",
                    params![id, secret.octets(), expires_at.as_millisecond()],
                )?;
                Ok(())
            })
            .await
    }

    /// A terminal has proved a new key by this secret: it is the terminal's only key from now on, and the secret is burnt.
    /// `false`: the secret is not out (any more), and nothing was changed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn enrol(
        &self,
        terminal: TerminalId,
        secret: EnrolmentSecret,
        key: PublicKey,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let now = now.as_millisecond();
        self.writer
            .run(move |db| {
                let id = terminal.to_string();
                let burnt = db.execute(
                    "DELETE FROM invitations WHERE terminal = ?1 AND secret = ?2 AND expires_at > ?3",
                    params![id, secret.octets(), now],
                )?;
                if burnt == 0 {
                    return Ok(false);
                }
                forget_keys(db, &id)?;
                db.execute(
                    "INSERT INTO terminal_keys (terminal, key, enrolled_at) VALUES (?1, ?2, ?3)",
                    params![id, key.octets(), now],
                )?;
                Ok(true)
            })
            .await
    }

    /// The operator says which key a terminal has: its only one from now on. Any secret is forgotten, and that it was shut out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn register(
        &self,
        terminal: TerminalId,
        key: PublicKey,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let now = now.as_millisecond();
        self.writer
            .run(move |db| {
                let id = terminal.to_string();
                forget_keys(db, &id)?;
                db.execute("DELETE FROM invitations WHERE terminal = ?1", [&id])?;
                db.execute("DELETE FROM shut_out WHERE terminal = ?1", [&id])?;
                db.execute(
                    "INSERT INTO terminal_keys (terminal, key, enrolled_at) VALUES (?1, ?2, ?3)",
                    params![id, key.octets(), now],
                )?;
                Ok(())
            })
            .await
    }

    /// A terminal has these keys of the server on its disk.
    ///
    /// # Errors
    /// [`StoreError`]: it will be told again.
    pub async fn told_server_keys(
        &self,
        terminal: TerminalId,
        keys: ServerKeyList,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let now = now.as_millisecond();
        self.writer
            .run(move |db| {
                // A terminal that was removed meanwhile has nothing to be noted of.
                db.prepare_cached(
                    "INSERT INTO server_keys_told (terminal, keys, told_at) SELECT id, ?2, ?3 FROM terminals WHERE id = ?1
                     ON CONFLICT (terminal) DO UPDATE SET keys = excluded.keys, told_at = excluded.told_at",
                )?
                .execute(params![terminal.to_string(), keys.to_string(), now])?;
                Ok(())
            })
            .await
    }

    /// The terminals that are enrolled, and which of the server's keys each has been told.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn server_keys_known(
        &self,
    ) -> Result<Vec<(Name, Option<ServerKeyList>)>, StoreError> {
        self.reader
            .run(|db| {
                let mut select = db.prepare_cached(
                    "SELECT t.name, told.keys FROM terminals t LEFT JOIN server_keys_told told ON told.terminal = t.id
                     WHERE EXISTS (SELECT 1 FROM terminal_keys WHERE terminal = t.id) ORDER BY t.name",
                )?;
                let mut rows = select.query([])?;
                let mut known = Vec::new();
                while let Some(row) = rows.next()? {
                    let keys: Option<String> = row.get(1)?;
                    let keys = keys.map(|keys| parse(&keys, "what a terminal was told")).transpose()?;
                    known.push((parse(&row.get::<_, String>(0)?, "a terminal")?, keys));
                }
                Ok(known)
            })
            .await
    }

    /// Says nothing more to a terminal: its keys and any secret are forgotten. What waits for it goes on waiting.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn shut_out(&self, terminal: TerminalId, now: Timestamp) -> Result<(), StoreError> {
        let now = now.as_millisecond();
        self.writer
            .run(move |db| {
                let id = terminal.to_string();
                forget_keys(db, &id)?;
                db.execute("DELETE FROM invitations WHERE terminal = ?1", [&id])?;
                db.execute(
                    "INSERT INTO shut_out (terminal, at) VALUES (?1, ?2) ON CONFLICT (terminal) DO UPDATE SET at = excluded.at",
                    params![id, now],
                )?;
                Ok(())
            })
            .await
    }
}

/// With its keys goes what the machine that had them was told: the next may be another.
fn forget_keys(db: &Database, id: &str) -> Result<(), StoreError> {
    db.execute("DELETE FROM server_keys_told WHERE terminal = ?1", [id])?;
    db.execute("DELETE FROM terminal_keys WHERE terminal = ?1", [id])?;
    Ok(())
}

pub(super) fn can_be_proved(
    db: &Database,
    terminal: TerminalId,
    now: i64,
) -> Result<bool, StoreError> {
    let sql =
        format!("SELECT EXISTS (SELECT 1 FROM terminals t WHERE t.id = ?2 AND {CAN_BE_PROVED})");
    Ok(db
        .prepare_cached(&sql)?
        .query_row(params![now, terminal.to_string()], |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use tempfile::TempDir;

    use super::*;
    use model::directory::{Connection, Terminal, TrustedBy};

    fn terminal() -> TerminalId {
        TerminalId::from_octets([1; 8])
    }

    async fn store() -> (TempDir, Store) {
        let folder = TempDir::new().unwrap();
        let store = Store::open(folder.path(), Timestamp::now()).unwrap();
        let (id, name) = (terminal(), "owner".parse().unwrap());
        store
            .add_terminal(Terminal {
                id,
                name,
                number: None,
                address: None,
                connection: Connection::Down,
                trusted_by: TrustedBy::default(),
            })
            .await
            .unwrap();
        (folder, store)
    }

    fn secret(octet: u8) -> EnrolmentSecret {
        EnrolmentSecret::from_octets([octet; 32])
    }

    fn key(octet: u8) -> PublicKey {
        PublicKey::from_octets([octet; 32])
    }

    fn tomorrow() -> Timestamp {
        Timestamp::now() + SignedDuration::from_hours(24)
    }

    #[tokio::test]
    async fn somebody_can_be_a_terminal_from_its_invitation_on_until_it_is_shut_out() {
        let (_folder, store) = store().await;
        let is_told = async |expected: bool| {
            assert_eq!(
                store
                    .can_be_proved(terminal(), Timestamp::now())
                    .await
                    .unwrap(),
                expected
            );
            assert_eq!(
                store
                    .cannot_prove_themselves(Timestamp::now())
                    .await
                    .unwrap()
                    .is_empty(),
                expected
            );
        };
        let head = delivery::MessageHead {
            id: delivery::MessageId::now(),
            content_type: delivery::ContentType::octets(),
            digest: delivery::Digest::of(b"x"),
            size: 1,
        };
        let (provider, token) = ("p".parse().unwrap(), model::provider::TokenHash::of("x"));
        let added = model::provider::Provider {
            name: "p".parse().unwrap(),
            number: None,
            may_send: vec![],
            is_disabled: false,
        };
        store.add_provider(added, token).await.unwrap();
        let (content, terminals) = (bytes::Bytes::from_static(b"x"), vec![terminal()]);
        let handling = crate::Handling::default();
        store
            .accept(
                crate::NewMessage {
                    head,
                    provider,
                    content: content.into(),
                    terminals,
                    subscribers: None,
                    handling,
                },
                Timestamp::now(),
            )
            .await
            .unwrap();
        is_told(false).await;
        store
            .invite(
                terminal(),
                secret(1),
                Timestamp::now() - SignedDuration::from_secs(1),
            )
            .await
            .unwrap();
        is_told(false).await;
        store
            .invite(terminal(), secret(1), tomorrow())
            .await
            .unwrap();
        is_told(true).await;
        store
            .enrol(terminal(), secret(1), key(1), Timestamp::now())
            .await
            .unwrap();
        is_told(true).await;
        store.shut_out(terminal(), Timestamp::now()).await.unwrap();
        is_told(false).await;
    }

    #[tokio::test]
    async fn a_secret_lets_one_key_in_once() {
        let (_folder, store) = store().await;
        assert_eq!(
            store
                .trust(terminal(), Timestamp::now())
                .await
                .unwrap()
                .pin(),
            None,
            "nobody is let in who was not invited"
        );
        store
            .invite(terminal(), secret(1), tomorrow())
            .await
            .unwrap();
        assert_eq!(
            store
                .trust(terminal(), Timestamp::now())
                .await
                .unwrap()
                .pin(),
            Some(Pin::Enrolling)
        );
        assert!(
            !store
                .enrol(terminal(), secret(2), key(9), Timestamp::now())
                .await
                .unwrap()
        );
        assert!(
            store
                .enrol(terminal(), secret(1), key(1), Timestamp::now())
                .await
                .unwrap()
        );
        assert!(
            !store
                .enrol(terminal(), secret(1), key(9), Timestamp::now())
                .await
                .unwrap()
        );
        assert_eq!(
            store
                .trust(terminal(), Timestamp::now())
                .await
                .unwrap()
                .pin(),
            Some(Pin::Keys(vec![key(1)]))
        );
    }

    #[tokio::test]
    async fn a_secret_whose_time_is_over_lets_nobody_in() {
        let (_folder, store) = store().await;
        store
            .invite(
                terminal(),
                secret(1),
                Timestamp::now() - SignedDuration::from_secs(1),
            )
            .await
            .unwrap();
        assert_eq!(
            store.trust(terminal(), Timestamp::now()).await.unwrap(),
            Trust::default()
        );
        assert!(
            !store
                .enrol(terminal(), secret(1), key(1), Timestamp::now())
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn the_old_key_is_good_until_the_new_one_has_proved_itself() {
        let (_folder, store) = store().await;
        store
            .invite(terminal(), secret(1), tomorrow())
            .await
            .unwrap();
        store
            .enrol(terminal(), secret(1), key(1), Timestamp::now())
            .await
            .unwrap();
        store
            .invite(terminal(), secret(2), tomorrow())
            .await
            .unwrap();
        assert_eq!(
            store
                .trust(terminal(), Timestamp::now())
                .await
                .unwrap()
                .keys,
            [key(1)]
        );
        store
            .enrol(terminal(), secret(2), key(2), Timestamp::now())
            .await
            .unwrap();
        assert_eq!(
            store
                .trust(terminal(), Timestamp::now())
                .await
                .unwrap()
                .keys,
            [key(2)]
        );
    }

    #[tokio::test]
    async fn one_that_is_shut_out_comes_back_by_a_new_invitation_only() {
        let (_folder, store) = store().await;
        store
            .invite(terminal(), secret(1), tomorrow())
            .await
            .unwrap();
        store
            .enrol(terminal(), secret(1), key(1), Timestamp::now())
            .await
            .unwrap();
        store
            .invite(terminal(), secret(2), tomorrow())
            .await
            .unwrap();
        store.shut_out(terminal(), Timestamp::now()).await.unwrap();
        let trust = store.trust(terminal(), Timestamp::now()).await.unwrap();
        assert!(trust.pin().is_none() && trust.shut_out_at.is_some());
        assert!(
            !store
                .enrol(terminal(), secret(2), key(1), Timestamp::now())
                .await
                .unwrap(),
            "the secret that was out is burnt, too"
        );
        store
            .invite(terminal(), secret(3), tomorrow())
            .await
            .unwrap();
        assert!(
            store
                .enrol(terminal(), secret(3), key(3), Timestamp::now())
                .await
                .unwrap()
        );
        assert_eq!(
            store
                .trust(terminal(), Timestamp::now())
                .await
                .unwrap()
                .pin(),
            Some(Pin::Keys(vec![key(3)]))
        );
    }
}
