-- Whom to tell, if a mail does not arrive: its sender, and the address that each terminal was written to under.
CREATE TABLE mails (
  message           INTEGER PRIMARY KEY REFERENCES messages (seq) ON DELETE CASCADE,
  sender            TEXT NOT NULL
) STRICT;
CREATE TABLE mail_recipients (
  message           INTEGER NOT NULL REFERENCES mails (message) ON DELETE CASCADE,
  terminal          TEXT NOT NULL,
  address           TEXT NOT NULL,
  PRIMARY KEY (message, terminal)
) STRICT, WITHOUT ROWID;

-- Notifications that are still to be sent; written with the verdict, whoever writes it.
CREATE TABLE bounces (
  id                INTEGER PRIMARY KEY,
  message           INTEGER NOT NULL REFERENCES mails (message) ON DELETE CASCADE,
  terminal          TEXT NOT NULL,
  failed            INTEGER NOT NULL DEFAULT 0,
  since             INTEGER NOT NULL,
  next_at           INTEGER NOT NULL
) STRICT;
CREATE INDEX bounces_next ON bounces (next_at);
CREATE INDEX bounces_of ON bounces (message);

CREATE TRIGGER verdicts_bounced AFTER UPDATE OF verdict ON envelopes
  WHEN OLD.verdict IS NULL AND NEW.verdict IN ('expired', 'failed', 'cancelled')
BEGIN
  INSERT INTO bounces (message, terminal, since, next_at)
    SELECT message, NEW.terminal, NEW.verdict_at, NEW.verdict_at FROM mails WHERE message = NEW.message;
END;
