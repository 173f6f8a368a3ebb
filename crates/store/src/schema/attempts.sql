-- How an attempt ended, for programs; outcome is words for people, which nothing reads.
ALTER TABLE deliveries ADD COLUMN kind TEXT;
UPDATE deliveries SET kind = CASE
    WHEN outcome LIKE 'delivered%' THEN 'delivered'
    WHEN outcome LIKE 'refused%' THEN 'refused'
    WHEN outcome LIKE 'put off%' THEN 'put-off'
    ELSE 'broken' END
  WHERE ended_at IS NOT NULL;
