-- What an operator takes back: a provider's token, calls to a terminal.

-- A token that works beside its successor for a time. A provider has one at most.
CREATE TABLE former_tokens (
  token_hash        BLOB PRIMARY KEY,
  provider          TEXT NOT NULL UNIQUE REFERENCES providers (name),
  until             INTEGER NOT NULL
) STRICT;

-- Providers that were removed while messages of theirs waited: one that is added under the same name takes over the counts.
CREATE TABLE former_providers (
  name              TEXT PRIMARY KEY
) STRICT;

-- Terminals that are not called until they are resumed. They keep their keys and what waits for them.
CREATE TABLE paused (
  terminal          TEXT PRIMARY KEY REFERENCES terminals (id) ON DELETE CASCADE,
  at                INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How a call ended, in one word; beside the words in `outcome`. NULL while it lasts, and of calls from before.
ALTER TABLE calls ADD COLUMN kind TEXT;
