-- Calls at dial-up servers whose end is not known yet. They outlive this process.
CREATE TABLE calls_away (
    call TEXT NOT NULL PRIMARY KEY,
    -- The terminal it is with, if with a terminal.
    terminal TEXT,
    -- Milliseconds since 1970: it is over by then, whatever is heard of it.
    over_at INTEGER NOT NULL
) STRICT;
