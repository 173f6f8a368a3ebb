-- A topic has no direction marks and no line ends of Unicode's (61c, 200e, 200f, 2028 to 202e, 2066 to 2069). A message that was
-- taken under such a topic goes on without one; who had registered for one has nothing of it; a right to one is a right to nothing.
UPDATE messages SET topic = NULL WHERE topic GLOB '*[' || char(0x61c, 0x200e, 0x200f, 0x2028, 0x2d, 0x202e, 0x2066, 0x2d, 0x2069) || ']*';
DELETE FROM subscriptions WHERE filter GLOB '*[' || char(0x61c, 0x200e, 0x200f, 0x2028, 0x2d, 0x202e, 0x2066, 0x2d, 0x2069) || ']*';
UPDATE OR REPLACE rights SET may_send = 'topic:$unreadable' WHERE may_send GLOB '*[' || char(0x61c, 0x200e, 0x200f, 0x2028, 0x2d, 0x202e, 0x2066, 0x2d, 0x2069) || ']*';
UPDATE OR REPLACE registrable SET filter = '$unreadable' WHERE filter GLOB '*[' || char(0x61c, 0x200e, 0x200f, 0x2028, 0x2d, 0x202e, 0x2066, 0x2d, 0x2069) || ']*';
