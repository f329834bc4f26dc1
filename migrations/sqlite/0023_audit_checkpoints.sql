-- Signed checkpoints of the audit log, kept beside it: a log whose end was cut off is found by them.
CREATE TABLE audit_checkpoints (
  stream  TEXT NOT NULL,
  -- Up to where it speaks.
  seq     INTEGER NOT NULL,
  kept_at INTEGER NOT NULL,
  -- The record as it was written.
  line    TEXT NOT NULL,
  PRIMARY KEY (stream, seq)
) STRICT;
CREATE INDEX audit_checkpoints_by_age ON audit_checkpoints (kept_at);
