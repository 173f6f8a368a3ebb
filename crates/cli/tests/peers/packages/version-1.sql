-- What the first version of the store would have left: a message that waits for a terminal. Its content is "waits".
INSERT INTO terminals (id, name, number) VALUES ('AAAAAAAAAS0', 'owner', '301');
INSERT INTO messages VALUES (
  'AZjA3gAAcACAAAAAAACrzQ', 'vending-1', 'text/plain', '7c4a345722b40acbdc121843d43b674e9f7c50201f26b4b915931b4f2a73d3d0',
  5, X'7761697473', 1000
);
INSERT INTO envelopes (message, terminal) VALUES ('AZjA3gAAcACAAAAAAACrzQ', 'AAAAAAAAAS0');
PRAGMA user_version = 1;
