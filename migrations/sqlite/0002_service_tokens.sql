-- Service tokens: the second factor that clients show at the front door. A secret is kept as its
-- keyed hash only; after a rotation the one before holds until its end.

CREATE TABLE service_tokens (
  id               TEXT PRIMARY KEY NOT NULL,
  name             TEXT NOT NULL,
  door             TEXT NOT NULL CHECK (door IN ('data', 'management')),
  digest           BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
  pepper_id        TEXT NOT NULL,
  hint             TEXT NOT NULL,
  previous_digest  BLOB CHECK (length(previous_digest) = 32),
  previous_ends_at INTEGER,
  created_at       INTEGER NOT NULL,
  rotated_at       INTEGER,
  expires_at       INTEGER,
  revoked_at       INTEGER
) STRICT;

CREATE INDEX service_tokens_by_age ON service_tokens (created_at, id);
