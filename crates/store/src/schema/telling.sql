-- What became of envelopes, counted and told.

-- Envelopes that have each verdict, since the first start.
CREATE TABLE verdict_counts (
  verdict           TEXT PRIMARY KEY,
  envelopes         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO verdict_counts VALUES ('delivered', 0), ('expired', 0), ('replaced', 0), ('cancelled', 0), ('failed', 0);
UPDATE verdict_counts SET envelopes = (SELECT count(*) FROM envelopes e WHERE e.verdict = verdict_counts.verdict);

-- Where a provider's verdicts are told.
CREATE TABLE webhooks (
  provider          TEXT PRIMARY KEY REFERENCES providers (name),
  url               TEXT NOT NULL,
  secret            BLOB NOT NULL,
  may_be_private    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Verdicts that are still to be told; written with the verdict, whoever writes it.
CREATE TABLE webhook_outbox (
  id                INTEGER PRIMARY KEY,
  provider          TEXT NOT NULL,
  message           INTEGER NOT NULL,
  terminal          TEXT NOT NULL,
  failed            INTEGER NOT NULL DEFAULT 0,
  since             INTEGER NOT NULL,
  next_at           INTEGER NOT NULL
) STRICT;
CREATE INDEX webhook_outbox_next ON webhook_outbox (provider, next_at);

CREATE TRIGGER verdicts_told AFTER UPDATE OF verdict ON envelopes WHEN OLD.verdict IS NULL AND NEW.verdict IS NOT NULL
BEGIN
  UPDATE verdict_counts SET envelopes = envelopes + 1 WHERE verdict = NEW.verdict;
  INSERT INTO webhook_outbox (provider, message, terminal, since, next_at)
    SELECT w.provider, NEW.message, NEW.terminal, NEW.verdict_at, NEW.verdict_at
    FROM messages m JOIN webhooks w ON w.provider = m.provider WHERE m.seq = NEW.message;
END;
