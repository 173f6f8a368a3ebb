-- What the operator is to know of. An alarm stands from `raised_at` to `cleared_at`.
CREATE TABLE alarms (
  id                INTEGER PRIMARY KEY,
  kind              TEXT NOT NULL,
  subject           TEXT NOT NULL,
  detail            TEXT NOT NULL,
  raised_at         INTEGER NOT NULL,
  cleared_at        INTEGER
) STRICT;
CREATE UNIQUE INDEX alarms_standing ON alarms (kind, subject) WHERE cleared_at IS NULL;
CREATE INDEX alarms_over ON alarms (cleared_at) WHERE cleared_at IS NOT NULL;

-- What is still to be told of them, by each channel in turn.
CREATE TABLE alarm_notices (
  id                INTEGER PRIMARY KEY,
  alarm             INTEGER NOT NULL REFERENCES alarms (id) ON DELETE CASCADE,
  event             TEXT NOT NULL CHECK (event IN ('raised', 'cleared')),
  channel           TEXT NOT NULL,
  failed            INTEGER NOT NULL DEFAULT 0,
  next_at           INTEGER NOT NULL
) STRICT;
CREATE INDEX alarm_notices_next ON alarm_notices (channel, next_at);
CREATE INDEX alarm_notices_of ON alarm_notices (alarm);
