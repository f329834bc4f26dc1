-- Signed receipts of calls that ended, each with its place in a chain.
CREATE TABLE receipts (
  -- The usage record it is of.
  id         TEXT COLLATE "C" PRIMARY KEY,
  tenant_id  TEXT COLLATE "C" NOT NULL,
  request_id TEXT NOT NULL,
  attempt    BIGINT NOT NULL,
  chain      TEXT COLLATE "C" NOT NULL,
  seq        BIGINT NOT NULL,
  -- The whole text, as its caller gets it.
  text       TEXT NOT NULL,
  issued_at  BIGINT NOT NULL
);
CREATE UNIQUE INDEX receipts_seq_key ON receipts (tenant_id, chain, seq);
CREATE INDEX receipts_of_request ON receipts (request_id);
CREATE INDEX receipts_by_age ON receipts (issued_at);

ALTER TABLE receipts ENABLE ROW LEVEL SECURITY;
ALTER TABLE receipts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON receipts TO tollkeep_app
  USING      (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''));
CREATE POLICY jobs_all ON receipts TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT ON receipts TO tollkeep_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON receipts TO tollkeep_jobs;
