-- What is to be told to others: written in the transaction of what happened, and gone once it was taken or
-- nobody took it for a day.
CREATE TABLE outbox (
  -- Of what happened; the same for each receiver and each try.
  event_id   TEXT NOT NULL,
  -- Whose it is: a digest of the address, which the settings hold.
  receiver   TEXT NOT NULL,
  event      TEXT NOT NULL,
  -- JSON, as it is signed and sent.
  body       TEXT NOT NULL,
  tries      INTEGER NOT NULL CHECK (tries >= 0),
  next_at    INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (event_id, receiver)
) STRICT;
CREATE INDEX outbox_due ON outbox (next_at);
