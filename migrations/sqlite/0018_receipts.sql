-- Signed receipts of calls that ended, each with its place in a chain.
CREATE TABLE receipts (
  -- The usage record it is of.
  id         TEXT PRIMARY KEY NOT NULL,
  tenant_id  TEXT NOT NULL,
  request_id TEXT NOT NULL,
  attempt    INTEGER NOT NULL,
  chain      TEXT NOT NULL,
  seq        INTEGER NOT NULL,
  -- The whole text, as its caller gets it.
  text       TEXT NOT NULL,
  issued_at  INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX receipts_seq_key ON receipts (tenant_id, chain, seq);
CREATE INDEX receipts_of_request ON receipts (request_id);
CREATE INDEX receipts_by_age ON receipts (issued_at);
