-- Which calls are evidence of what is kept, and which attempts were made on a call: each written once, while one of the open alone was
-- written twice.
DROP INDEX deliveries_open;
CREATE INDEX deliveries_on ON deliveries (call);
