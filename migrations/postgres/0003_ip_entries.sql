-- Addresses that operators deny or allow while the gateway runs, beside the lists of its settings.
CREATE TABLE ip_entries (
  id         TEXT COLLATE "C" PRIMARY KEY,
  list       TEXT NOT NULL CHECK (list IN ('deny', 'allow')),
  cidr       TEXT NOT NULL,
  reason     TEXT,
  created_by TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT,
  UNIQUE (list, cidr)
);

CREATE INDEX ip_entries_expiring ON ip_entries (expires_at) WHERE expires_at IS NOT NULL;

ALTER TABLE ip_entries ENABLE ROW LEVEL SECURITY;
ALTER TABLE ip_entries FORCE ROW LEVEL SECURITY;
CREATE POLICY jobs_all ON ip_entries TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON ip_entries TO tollkeep_jobs;
