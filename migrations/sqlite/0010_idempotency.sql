-- Requests that are to be carried out once (`Idempotency-Key`), and what was answered. A slot is the
-- digest of who asked, where, and the key's text; answers are sealed under keys that are not kept.
CREATE TABLE idempotency (
  slot       BLOB PRIMARY KEY NOT NULL CHECK (length(slot) = 32),
  owner      TEXT NOT NULL,
  request    BLOB NOT NULL CHECK (length(request) = 32),
  run        TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  acted_at   INTEGER,
  ends_at    INTEGER NOT NULL,
  status     INTEGER,
  answer     TEXT
) STRICT;

CREATE INDEX idempotency_by_owner ON idempotency (owner);
CREATE INDEX idempotency_by_end ON idempotency (ends_at);
