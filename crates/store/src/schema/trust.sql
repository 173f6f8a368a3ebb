-- What proves each terminal, and where one that runs no Ringup takes messages; and which of the server's keys it knows.

ALTER TABLE terminals ADD COLUMN trust TEXT NOT NULL DEFAULT 'key'
  CHECK (trust IN ('key', 'certificate', 'chap', 'number-only'));
ALTER TABLE terminals ADD COLUMN inbox TEXT;
ALTER TABLE terminals ADD COLUMN chap_secret TEXT;

-- The server's keys that a terminal has on its disk, by its own word; without a row: those of its bundle.
CREATE TABLE server_keys_told (
  terminal          TEXT PRIMARY KEY REFERENCES terminals (id) ON DELETE CASCADE,
  keys              TEXT NOT NULL,
  told_at           INTEGER NOT NULL
) STRICT;
