-- Prices that operators wrote while the gateway ran, and signed tables that they took in.

CREATE TABLE price_overrides (
  id         TEXT PRIMARY KEY NOT NULL,
  -- A model as price tables have them.
  document   TEXT NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;

-- Kept for ever: records name them by their hash. The last one that was taken in is in use.
CREATE TABLE price_tables (
  sha256      TEXT PRIMARY KEY NOT NULL CHECK (length(sha256) = 64),
  version     TEXT NOT NULL,
  document    TEXT NOT NULL,
  imported_at INTEGER NOT NULL,
  in_use      INTEGER NOT NULL CHECK (in_use IN (0, 1))
) STRICT;
CREATE UNIQUE INDEX price_tables_in_use ON price_tables (in_use) WHERE in_use = 1;
