-- Cleaning makes progress by index: a content is dropped first, its rows go later, and each finds what is left to do and nothing else.
DROP INDEX messages_settled;
CREATE INDEX messages_over ON messages (settled_at) WHERE settled_at IS NOT NULL AND kept IN ('row', 'file');
CREATE INDEX messages_dropped ON messages (settled_at) WHERE settled_at IS NOT NULL AND kept IN ('dropped', 'damaged');
CREATE INDEX stated_until ON stated (until);

-- Of bulk: when the message expires. What waits for a terminal is judged without its messages.
ALTER TABLE envelopes ADD COLUMN deadline INTEGER;
UPDATE envelopes SET deadline = (SELECT expires_at FROM messages WHERE seq = envelopes.message)
  WHERE verdict IS NULL AND urgency = 2;
CREATE INDEX envelopes_deadline ON envelopes (terminal, deadline) WHERE deadline IS NOT NULL AND verdict IS NULL;

-- How long the oldest waits to be told.
CREATE INDEX webhook_outbox_since ON webhook_outbox (provider, since);
CREATE INDEX bounces_since ON bounces (since);

-- Messages for many terminals that have begun to arrive, and are not accepted yet.
CREATE INDEX messages_unfinished ON messages (accepted_at) WHERE waiting <= 0 AND settled_at IS NULL;

-- What a start asks of everything that waits is answered by an index alone.
DROP INDEX envelopes_due;
CREATE INDEX envelopes_due ON envelopes (terminal, urgency, message, calls_at, size, verdict) WHERE verdict IS NULL;
