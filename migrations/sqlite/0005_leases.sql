-- What one process of several does at a time, until it is done or its time is over.
CREATE TABLE leases (
  name   TEXT PRIMARY KEY NOT NULL,
  holder TEXT NOT NULL,
  until  INTEGER NOT NULL
) STRICT;
