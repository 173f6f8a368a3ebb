-- What keeps a verdict from an envelope: a terminal that may have the message already. And refusals, which are the message's.

-- Since when the last octet has left without a receipt: the terminal has to be asked before any verdict but `delivered`.
ALTER TABLE envelopes ADD COLUMN in_doubt_since INTEGER;
-- The verdict that waits for the end of the call and of the doubt, and its reason. A message that has one is not sent again.
ALTER TABLE envelopes ADD COLUMN pending_verdict TEXT
  CHECK (pending_verdict IN ('expired', 'replaced', 'cancelled', 'failed'));
ALTER TABLE envelopes ADD COLUMN pending_reason TEXT;
-- How often the terminal has refused the message, and until when the message rests for it.
ALTER TABLE envelopes ADD COLUMN refusals INTEGER NOT NULL DEFAULT 0;
ALTER TABLE envelopes ADD COLUMN rests_until INTEGER;

CREATE INDEX envelopes_in_doubt ON envelopes (terminal, in_doubt_since) WHERE in_doubt_since IS NOT NULL AND verdict IS NULL;
CREATE INDEX envelopes_resting ON envelopes (rests_until) WHERE rests_until IS NOT NULL AND verdict IS NULL;
CREATE INDEX envelopes_resting_of ON envelopes (terminal, rests_until) WHERE rests_until IS NOT NULL AND verdict IS NULL;

-- What a start asks of everything that waits is answered by an index alone, with what keeps it from causing a call.
DROP INDEX envelopes_due;
CREATE INDEX envelopes_due ON envelopes
  (terminal, urgency, message, calls_at, size, verdict, pending_verdict, rests_until) WHERE verdict IS NULL;

-- A true verdict, whoever writes: none but `delivered` while the terminal may have the message; or that this is not known.
CREATE TRIGGER verdicts_true BEFORE UPDATE OF verdict ON envelopes
  WHEN OLD.verdict IS NULL AND NEW.verdict <> 'delivered' AND (OLD.under_way IS NOT NULL OR
    (OLD.in_doubt_since IS NOT NULL AND NOT (NEW.verdict = 'failed' AND NEW.verdict_reason LIKE 'unknown:%')))
BEGIN
  SELECT raise(ABORT, 'the terminal may have the message');
END;
