-- A provider whose submissions are refused, since then; its token, its rights and what waits of it stay.
ALTER TABLE providers ADD COLUMN disabled_at INTEGER;
