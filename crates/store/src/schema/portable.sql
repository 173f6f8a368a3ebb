-- What PostgreSQL has, too. `only` is a reserved word there.
ALTER TABLE probe RENAME COLUMN only TO id;
-- Calls of one moment are in the order of their ids: there is no rowid.
DROP INDEX calls_placed;
DROP INDEX calls_with;
CREATE INDEX calls_placed ON calls (placed_at, id);
CREATE INDEX calls_with ON calls (party, placed_at, id);
