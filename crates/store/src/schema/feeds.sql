-- Feeds that are read, and which of their items were seen.
CREATE TABLE feeds (
  url               TEXT PRIMARY KEY,
  etag              TEXT,
  last_modified     TEXT,
  next_at           INTEGER NOT NULL,
  failed            INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE feed_items (
  feed              TEXT NOT NULL REFERENCES feeds (url) ON DELETE CASCADE,
  item              BLOB NOT NULL,
  seen_at           INTEGER NOT NULL,
  PRIMARY KEY (feed, item)
) STRICT, WITHOUT ROWID;
