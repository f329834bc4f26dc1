-- Signed checkpoints of the audit log, kept beside it: a log whose end was cut off is found by them.
CREATE TABLE audit_checkpoints (
  stream  TEXT COLLATE "C" NOT NULL,
  -- Up to where it speaks.
  seq     BIGINT NOT NULL,
  kept_at BIGINT NOT NULL,
  -- The record as it was written.
  line    TEXT NOT NULL,
  PRIMARY KEY (stream, seq)
);
CREATE INDEX audit_checkpoints_by_age ON audit_checkpoints (kept_at);

-- They are the deployment's, no tenant's.
ALTER TABLE audit_checkpoints ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_checkpoints FORCE ROW LEVEL SECURITY;
CREATE POLICY jobs_all ON audit_checkpoints TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, DELETE ON audit_checkpoints TO tollkeep_jobs;
