-- Prices that operators wrote while the gateway ran, and signed tables that they took in.

CREATE TABLE price_overrides (
  id         TEXT COLLATE "C" PRIMARY KEY,
  -- A model as price tables have them.
  document   TEXT NOT NULL,
  updated_at BIGINT NOT NULL
);

-- Kept for ever: records name them by their hash. The last one that was taken in is in use.
CREATE TABLE price_tables (
  sha256      TEXT COLLATE "C" PRIMARY KEY CHECK (length(sha256) = 64),
  version     TEXT NOT NULL,
  document    TEXT NOT NULL,
  imported_at BIGINT NOT NULL,
  in_use      BIGINT NOT NULL CHECK (in_use IN (0, 1))
);
CREATE UNIQUE INDEX price_tables_in_use ON price_tables (in_use) WHERE in_use = 1;

ALTER TABLE price_overrides ENABLE ROW LEVEL SECURITY;
ALTER TABLE price_overrides FORCE ROW LEVEL SECURITY;
CREATE POLICY jobs_all ON price_overrides TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON price_overrides TO tollkeep_jobs;

ALTER TABLE price_tables ENABLE ROW LEVEL SECURITY;
ALTER TABLE price_tables FORCE ROW LEVEL SECURITY;
CREATE POLICY jobs_all ON price_tables TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON price_tables TO tollkeep_jobs;

ALTER TABLE changes DROP CONSTRAINT changes_what_check;
ALTER TABLE changes ADD CONSTRAINT changes_what_check CHECK
  (what IN ('tenant', 'project', 'token', 'service_token', 'ip_entries', 'maintenance',
    'cut_token', 'cut_project', 'cut_tenant', 'cut_credential', 'credential', 'budget', 'accounts',
    'quarantines', 'prices'));
