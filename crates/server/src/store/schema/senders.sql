-- As which provider a terminal submits what it says on its own sessions; one without an entry may send nothing.
CREATE TABLE senders (
  terminal          TEXT PRIMARY KEY REFERENCES terminals (id) ON DELETE CASCADE,
  provider          TEXT NOT NULL REFERENCES providers (name)
) STRICT, WITHOUT ROWID;
