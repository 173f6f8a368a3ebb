-- Terminals prove themselves by their keys.

-- The keys that a terminal may have: one, or two while a new one takes over.
CREATE TABLE terminal_keys (
  terminal          TEXT NOT NULL REFERENCES terminals (id) ON DELETE CASCADE,
  key               BLOB NOT NULL,
  enrolled_at       INTEGER NOT NULL,
  PRIMARY KEY (terminal, key)
) STRICT;

-- A one-time secret that is out: it lets a new key in, and goes with that.
CREATE TABLE invitations (
  terminal          TEXT PRIMARY KEY REFERENCES terminals (id) ON DELETE CASCADE,
  secret            BLOB NOT NULL,
  expires_at        INTEGER NOT NULL
) STRICT;

-- Terminals that nothing is said to any more, until they are invited again.
CREATE TABLE shut_out (
  terminal          TEXT PRIMARY KEY REFERENCES terminals (id) ON DELETE CASCADE,
  at                INTEGER NOT NULL
) STRICT;
