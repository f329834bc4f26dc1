-- Service tokens: the second factor that clients show at the front door. A secret is kept as its
-- keyed hash only; after a rotation the one before holds until its end.

CREATE TABLE service_tokens (
  id               TEXT COLLATE "C" PRIMARY KEY,
  name             TEXT NOT NULL,
  door             TEXT NOT NULL CHECK (door IN ('data', 'management')),
  digest           BYTEA NOT NULL UNIQUE CHECK (length(digest) = 32),
  pepper_id        TEXT NOT NULL,
  hint             TEXT NOT NULL,
  previous_digest  BYTEA CHECK (length(previous_digest) = 32),
  previous_ends_at BIGINT,
  created_at       BIGINT NOT NULL,
  rotated_at       BIGINT,
  expires_at       BIGINT,
  revoked_at       BIGINT
);

CREATE INDEX service_tokens_by_age ON service_tokens (created_at, id);

ALTER TABLE service_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE service_tokens FORCE ROW LEVEL SECURITY;
CREATE POLICY jobs_all ON service_tokens TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON service_tokens TO tollkeep_jobs;
