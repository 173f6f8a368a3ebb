-- Version 1. Times are milliseconds since 1970-01-01 UTC.

CREATE TABLE terminals (
  id                TEXT PRIMARY KEY,
  name              TEXT NOT NULL UNIQUE,
  number            TEXT UNIQUE,
  address           TEXT UNIQUE,
  connection        TEXT NOT NULL DEFAULT 'down' CHECK (connection IN ('down', 'calling', 'connected')),
  connection_call   TEXT
) STRICT;

CREATE TABLE providers (
  name              TEXT PRIMARY KEY,
  number            TEXT UNIQUE,
  token_hash        BLOB NOT NULL UNIQUE
) STRICT;

-- A content is stored once: here, or, when large, in a file named by its digest.
CREATE TABLE messages (
  id                TEXT PRIMARY KEY,
  provider          TEXT NOT NULL,
  content_type      TEXT NOT NULL,
  digest            TEXT NOT NULL,
  size              INTEGER NOT NULL,
  content           BLOB,
  accepted_at       INTEGER NOT NULL
) STRICT;

-- One message for one terminal. The verdict is written once.
CREATE TABLE envelopes (
  message           TEXT NOT NULL REFERENCES messages (id),
  terminal          TEXT NOT NULL,
  verdict           TEXT CHECK (verdict IN ('delivered', 'cancelled')),
  verdict_call      TEXT,
  verdict_at        INTEGER,
  PRIMARY KEY (message, terminal)
) STRICT;
CREATE INDEX envelopes_due ON envelopes (terminal, message) WHERE verdict IS NULL;

CREATE TABLE calls (
  id                TEXT PRIMARY KEY,
  direction         TEXT NOT NULL CHECK (direction IN ('outgoing', 'incoming')),
  line              TEXT NOT NULL,
  number            TEXT NOT NULL,
  party             TEXT NOT NULL,
  placed_at         INTEGER NOT NULL,
  connected_at      INTEGER,
  ended_at          INTEGER,
  outcome           TEXT,
  octets_out        INTEGER NOT NULL DEFAULT 0,
  octets_in         INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX calls_placed ON calls (placed_at);
