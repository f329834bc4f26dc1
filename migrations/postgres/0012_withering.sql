-- Tokens whose holders replace them, who switched a token off and why, and how lines of tokens are used.

ALTER TABLE tokens ADD COLUMN self_rotate BOOLEAN NOT NULL DEFAULT false;
ALTER TABLE tokens ADD COLUMN suspended_at BIGINT;
ALTER TABLE tokens ADD COLUMN suspended_by TEXT;
ALTER TABLE tokens ADD COLUMN suspended_reason TEXT;

-- What the tokens of a line did in one minute, as one process counted it. Networks and clients are
-- keyed hashes.
CREATE TABLE line_minutes (
  minute     BIGINT NOT NULL,
  lineage_id TEXT COLLATE "C" NOT NULL,
  replica    TEXT COLLATE "C" NOT NULL,
  requests   BIGINT NOT NULL,
  errors     BIGINT NOT NULL,
  refusals   BIGINT NOT NULL,
  networks   TEXT NOT NULL,
  clients    TEXT NOT NULL,
  PRIMARY KEY (minute, lineage_id, replica)
);

ALTER TABLE line_minutes ENABLE ROW LEVEL SECURITY;
ALTER TABLE line_minutes FORCE ROW LEVEL SECURITY;
CREATE POLICY jobs_all ON line_minutes TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON line_minutes TO tollkeep_jobs;

-- What is usual for a line of tokens.
CREATE TABLE line_habits (
  lineage_id TEXT COLLATE "C" PRIMARY KEY,
  habits     TEXT NOT NULL
);

ALTER TABLE line_habits ENABLE ROW LEVEL SECURITY;
ALTER TABLE line_habits FORCE ROW LEVEL SECURITY;
CREATE POLICY jobs_all ON line_habits TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON line_habits TO tollkeep_jobs;
