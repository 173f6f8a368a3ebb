-- Money. Amounts are millionths of the currency's unit.

-- Written before the call is placed. What was never settled counts as spent.
CREATE TABLE reservations (
  call              TEXT PRIMARY KEY,
  day               TEXT NOT NULL,
  terminal          TEXT NOT NULL,
  provider          TEXT,
  line              TEXT NOT NULL,
  reserved          INTEGER NOT NULL,
  spent             INTEGER
) STRICT;
CREATE INDEX reservations_day ON reservations (day);

-- Numbers whose calls failed, one after the other.
CREATE TABLE dial_loops (
  number            TEXT PRIMARY KEY,
  since             INTEGER NOT NULL,
  failed            INTEGER NOT NULL,
  is_broken         INTEGER NOT NULL
) STRICT;
