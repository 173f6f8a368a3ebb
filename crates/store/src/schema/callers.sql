-- What proves a provider's PPP, when it dials in with software that is not ours.
ALTER TABLE providers ADD COLUMN chap_secret TEXT;
