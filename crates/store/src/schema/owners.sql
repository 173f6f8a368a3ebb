-- Which server has what under way. A server's epoch counts its starts: what an earlier start has left, the next ends, and no other server.
CREATE TABLE servers (
  id                TEXT PRIMARY KEY,
  epoch             INTEGER NOT NULL
) STRICT;
INSERT INTO servers VALUES ('server', 0);

-- Of a terminal's connection, of an envelope that is under way, of a call, of what it may cost, and of a call at a dial-up server.
ALTER TABLE terminals ADD COLUMN owner TEXT;
ALTER TABLE terminals ADD COLUMN epoch INTEGER;
ALTER TABLE envelopes ADD COLUMN owner TEXT;
ALTER TABLE envelopes ADD COLUMN epoch INTEGER;
ALTER TABLE calls ADD COLUMN owner TEXT;
ALTER TABLE calls ADD COLUMN epoch INTEGER;
ALTER TABLE reservations ADD COLUMN owner TEXT;
ALTER TABLE reservations ADD COLUMN epoch INTEGER;
ALTER TABLE calls_away ADD COLUMN owner TEXT;
ALTER TABLE calls_away ADD COLUMN epoch INTEGER;
UPDATE terminals SET owner = 'server', epoch = 0 WHERE connection <> 'down';
UPDATE envelopes SET owner = 'server', epoch = 0 WHERE under_way IS NOT NULL;
UPDATE calls SET owner = 'server', epoch = 0 WHERE ended_at IS NULL;
UPDATE calls_away SET owner = 'server', epoch = 0;

-- What a day's reservations come to, by account: what was paid, or what was reserved as long as that is not known.
CREATE TABLE spending (
  day               TEXT NOT NULL,
  account           TEXT NOT NULL,
  amount            INTEGER NOT NULL,
  PRIMARY KEY (day, account)
) STRICT;
INSERT INTO spending SELECT day, 'server', sum(coalesce(spent, reserved)) FROM reservations GROUP BY day;
INSERT INTO spending SELECT day, 'terminal ' || terminal, sum(coalesce(spent, reserved)) FROM reservations GROUP BY day, terminal;
INSERT INTO spending SELECT day, 'line ' || line, sum(coalesce(spent, reserved)) FROM reservations GROUP BY day, line;
INSERT INTO spending SELECT day, 'provider ' || provider, sum(coalesce(spent, reserved)) FROM reservations
  WHERE provider IS NOT NULL GROUP BY day, provider;
