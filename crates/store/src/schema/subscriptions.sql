-- What terminals have registered for: topics by a filter, and what of them a call is worth.
CREATE TABLE subscriptions (
  filter            TEXT NOT NULL,
  terminal          TEXT NOT NULL REFERENCES terminals (id) ON DELETE CASCADE,
  -- The least urgent that the terminal is called for, as in messages.
  urgency           INTEGER NOT NULL,
  size_max          INTEGER,
  hours             TEXT NOT NULL,
  registered_by     TEXT NOT NULL CHECK (registered_by IN ('operator', 'terminal')),
  registered_at     INTEGER NOT NULL,
  PRIMARY KEY (filter, terminal)
) STRICT, WITHOUT ROWID;
CREATE INDEX subscriptions_of ON subscriptions (terminal);

-- What a terminal may register for by itself; nothing here: everything.
CREATE TABLE registrable (
  terminal          TEXT NOT NULL REFERENCES terminals (id) ON DELETE CASCADE,
  filter            TEXT NOT NULL,
  PRIMARY KEY (terminal, filter)
) STRICT, WITHOUT ROWID;

-- From when on an envelope may cause a call: NULL at once, the largest number never.
ALTER TABLE envelopes ADD COLUMN calls_at INTEGER;
CREATE INDEX envelopes_held ON envelopes (calls_at) WHERE calls_at IS NOT NULL AND verdict IS NULL;
