-- As which provider a terminal submits what it says on its own sessions; one without an entry may send nothing.
CREATE TABLE senders (
  terminal          TEXT PRIMARY KEY REFERENCES terminals (id) ON DELETE CASCADE,
  provider          TEXT NOT NULL REFERENCES providers (name)
) STRICT, WITHOUT ROWID;

-- What a terminal has said that it takes for now; without an entry, and from then on: everything.
CREATE TABLE stated (
  terminal          TEXT PRIMARY KEY REFERENCES terminals (id) ON DELETE CASCADE,
  -- The least urgent, as in messages.
  urgency           INTEGER NOT NULL,
  size_max          INTEGER NOT NULL,
  until             INTEGER NOT NULL,
  reason            TEXT NOT NULL
) STRICT, WITHOUT ROWID;
