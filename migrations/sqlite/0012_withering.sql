-- Tokens whose holders replace them, who switched a token off and why, and how lines of tokens are used.

ALTER TABLE tokens ADD COLUMN self_rotate INTEGER NOT NULL DEFAULT 0 CHECK (self_rotate IN (0, 1));
ALTER TABLE tokens ADD COLUMN suspended_at INTEGER;
ALTER TABLE tokens ADD COLUMN suspended_by TEXT;
ALTER TABLE tokens ADD COLUMN suspended_reason TEXT;

-- What the tokens of a line did in one minute, as one process counted it. Networks and clients are
-- keyed hashes.
CREATE TABLE line_minutes (
  minute     INTEGER NOT NULL,
  lineage_id TEXT NOT NULL,
  replica    TEXT NOT NULL,
  requests   INTEGER NOT NULL,
  errors     INTEGER NOT NULL,
  refusals   INTEGER NOT NULL,
  networks   TEXT NOT NULL,
  clients    TEXT NOT NULL,
  PRIMARY KEY (minute, lineage_id, replica)
) STRICT, WITHOUT ROWID;

-- What is usual for a line of tokens.
CREATE TABLE line_habits (
  lineage_id TEXT PRIMARY KEY NOT NULL,
  habits     TEXT NOT NULL
) STRICT;
