-- Version 2: messages with conditions, a verdict with its evidence, what waits counted.
-- `seq` is the order of acceptance. The text of an id does not sort by time; it is a name and nothing else.

DROP INDEX envelopes_due;
ALTER TABLE messages RENAME TO messages_1;
ALTER TABLE envelopes RENAME TO envelopes_1;

CREATE TABLE messages (
  seq               INTEGER PRIMARY KEY,
  id                TEXT NOT NULL UNIQUE,
  provider          TEXT NOT NULL,
  content_type      TEXT NOT NULL,
  digest            TEXT NOT NULL,
  size              INTEGER NOT NULL,
  -- Where the content is: in `contents`, in a file named by its digest, nowhere any more, or moved aside.
  kept              TEXT NOT NULL CHECK (kept IN ('row', 'file', 'dropped', 'damaged')),
  accepted_at       INTEGER NOT NULL,
  urgency           INTEGER NOT NULL DEFAULT 1 CHECK (urgency IN (0, 1, 2)), -- urgent, normal, bulk
  topic             TEXT,
  expires_at        INTEGER,
  replace_key       TEXT,
  idempotency_key   TEXT,
  fingerprint       BLOB,             -- of the submission, to tell a repetition from another one under the same key
  waiting           INTEGER NOT NULL, -- envelopes without a verdict
  settled_at        INTEGER           -- when the last of them got one
) STRICT;

-- Apart from their messages, so that a count written there moves no content.
CREATE TABLE contents (
  message           INTEGER PRIMARY KEY REFERENCES messages (seq),
  content           BLOB NOT NULL
) STRICT;

-- One message for one terminal. `under_way` is the call on which it is being delivered just now.
CREATE TABLE envelopes (
  message           INTEGER NOT NULL REFERENCES messages (seq),
  terminal          TEXT NOT NULL,
  urgency           INTEGER NOT NULL,
  size              INTEGER NOT NULL,
  under_way         TEXT,
  verdict           TEXT CHECK (verdict IN ('delivered', 'expired', 'replaced', 'cancelled', 'failed')),
  verdict_reason    TEXT,
  verdict_call      TEXT,
  verdict_at        INTEGER,
  PRIMARY KEY (message, terminal)
) STRICT, WITHOUT ROWID;

-- What came of each time that an envelope's message was brought.
CREATE TABLE deliveries (
  message           INTEGER NOT NULL,
  terminal          TEXT NOT NULL,
  call              TEXT NOT NULL,
  began_at          INTEGER NOT NULL,
  ended_at          INTEGER,
  outcome           TEXT,
  octets            INTEGER NOT NULL DEFAULT 0
) STRICT;

-- What waits for each terminal.
CREATE TABLE queues (
  terminal          TEXT PRIMARY KEY,
  messages          INTEGER NOT NULL,
  octets            INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- To whom, and under which topics, a provider may send; one without an entry may send everything to everybody.
CREATE TABLE rights (
  provider          TEXT NOT NULL REFERENCES providers (name),
  may_send          TEXT NOT NULL,
  PRIMARY KEY (provider, may_send)
) STRICT, WITHOUT ROWID;

-- A place to write to, to see whether the disk takes it.
CREATE TABLE probe (
  only              INTEGER PRIMARY KEY CHECK (only = 1),
  at                INTEGER NOT NULL
) STRICT;
INSERT INTO probe VALUES (1, 0);

-- What waits of each provider: messages of which an envelope waits.
ALTER TABLE providers ADD COLUMN waiting_messages INTEGER NOT NULL DEFAULT 0;
ALTER TABLE providers ADD COLUMN waiting_octets INTEGER NOT NULL DEFAULT 0;

INSERT INTO messages (seq, id, provider, content_type, digest, size, kept, accepted_at, waiting, settled_at)
  SELECT rowid, id, provider, content_type, digest, size, iif(content IS NULL, 'file', 'row'), accepted_at,
    (SELECT count(*) FROM envelopes_1 e WHERE e.message = m.id AND e.verdict IS NULL),
    (SELECT iif(count(*) = count(verdict), coalesce(max(verdict_at), m.accepted_at), NULL) FROM envelopes_1 e WHERE e.message = m.id)
  FROM messages_1 m;
INSERT INTO contents SELECT rowid, content FROM messages_1 WHERE content IS NOT NULL;
INSERT INTO envelopes (message, terminal, urgency, size, verdict, verdict_call, verdict_at)
  SELECT m.rowid, e.terminal, 1, m.size, e.verdict, e.verdict_call, e.verdict_at
  FROM envelopes_1 e JOIN messages_1 m ON m.id = e.message;
INSERT INTO queues SELECT terminal, count(*), sum(size) FROM envelopes WHERE verdict IS NULL GROUP BY terminal;
UPDATE providers SET
  waiting_messages = (SELECT count(*) FROM messages m WHERE m.provider = providers.name AND m.waiting > 0),
  waiting_octets = (SELECT coalesce(sum(size), 0) FROM messages m WHERE m.provider = providers.name AND m.waiting > 0);
DROP TABLE envelopes_1;
DROP TABLE messages_1;

CREATE INDEX envelopes_due ON envelopes (terminal, urgency, message) WHERE verdict IS NULL;
CREATE INDEX envelopes_under_way ON envelopes (under_way) WHERE under_way IS NOT NULL;
CREATE INDEX messages_expiring ON messages (expires_at) WHERE expires_at IS NOT NULL AND waiting > 0;
CREATE INDEX messages_replaceable ON messages (provider, replace_key) WHERE replace_key IS NOT NULL AND waiting > 0;
CREATE UNIQUE INDEX messages_keys ON messages (provider, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX messages_settled ON messages (settled_at) WHERE settled_at IS NOT NULL;
CREATE INDEX messages_in_files ON messages (digest) WHERE kept = 'file';
CREATE INDEX deliveries_of ON deliveries (message, terminal);
CREATE INDEX deliveries_open ON deliveries (call) WHERE ended_at IS NULL;
CREATE INDEX calls_open ON calls (id) WHERE ended_at IS NULL;
CREATE INDEX calls_with ON calls (party, placed_at);

-- Exactly one verdict, whoever writes.
CREATE TRIGGER verdicts_stand BEFORE UPDATE OF verdict ON envelopes WHEN OLD.verdict IS NOT NULL
BEGIN
  SELECT raise(ABORT, 'an envelope has one verdict');
END;

CREATE TRIGGER envelopes_settled AFTER UPDATE OF verdict ON envelopes WHEN OLD.verdict IS NULL AND NEW.verdict IS NOT NULL
BEGIN
  UPDATE queues SET messages = messages - 1, octets = octets - NEW.size WHERE terminal = NEW.terminal;
  UPDATE messages SET waiting = waiting - 1, settled_at = iif(waiting = 1, NEW.verdict_at, NULL) WHERE seq = NEW.message;
END;

CREATE TRIGGER messages_settled_all AFTER UPDATE OF waiting ON messages WHEN OLD.waiting > 0 AND NEW.waiting = 0
BEGIN
  UPDATE providers SET waiting_messages = waiting_messages - 1, waiting_octets = waiting_octets - NEW.size
    WHERE name = NEW.provider;
END;
