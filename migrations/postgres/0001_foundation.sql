-- Tenants, projects, access tokens, management keys, the blocklist, and facts of the deployment.
-- Times are milliseconds since 1970-01-01T00:00:00Z. Ids are texts with a prefix. A token or key is
-- kept as its keyed hash only.
--
-- Row level security is forced on every table. tollkeep_app sees the rows of the tenant that its
-- transaction names, and none without one; tollkeep_jobs, for the gateway's own work, sees all. A
-- table without a policy for tollkeep_app is no business of a tenant.

CREATE TABLE tenants (
  id         TEXT COLLATE "C" PRIMARY KEY,
  slug       TEXT NOT NULL UNIQUE,
  name       TEXT NOT NULL,
  created_at BIGINT NOT NULL
);

ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenants FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON tenants TO tollkeep_app
  USING      (id = nullif(current_setting('tollkeep.tenant', true), ''))
  WITH CHECK (id = nullif(current_setting('tollkeep.tenant', true), ''));
CREATE POLICY jobs_all ON tenants TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT ON tenants TO tollkeep_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON tenants TO tollkeep_jobs;

CREATE TABLE projects (
  id             TEXT COLLATE "C" PRIMARY KEY,
  tenant_id      TEXT COLLATE "C" NOT NULL REFERENCES tenants (id),
  slug           TEXT NOT NULL,
  name           TEXT NOT NULL,
  is_active      BOOLEAN NOT NULL,
  limits         TEXT NOT NULL,
  created_at     BIGINT NOT NULL,
  updated_at     BIGINT NOT NULL,
  deactivated_at BIGINT,
  UNIQUE (tenant_id, slug),
  UNIQUE (tenant_id, name)
);

CREATE INDEX projects_by_age ON projects (created_at, id);

ALTER TABLE projects ENABLE ROW LEVEL SECURITY;
ALTER TABLE projects FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON projects TO tollkeep_app
  USING      (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''));
CREATE POLICY jobs_all ON projects TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON projects TO tollkeep_app, tollkeep_jobs;

-- The line of tokens made from each other by rotation; rotating never refills a count.
CREATE TABLE lineages (
  id            TEXT COLLATE "C" PRIMARY KEY,
  request_count BIGINT NOT NULL CHECK (request_count >= 0)
);

CREATE TABLE tokens (
  id             TEXT COLLATE "C" PRIMARY KEY,
  tenant_id      TEXT COLLATE "C" NOT NULL REFERENCES tenants (id),
  project_id     TEXT COLLATE "C" NOT NULL REFERENCES projects (id),
  lineage_id     TEXT COLLATE "C" NOT NULL REFERENCES lineages (id),
  name           TEXT NOT NULL,
  digest         BYTEA NOT NULL UNIQUE CHECK (length(digest) = 32),
  pepper_id      TEXT NOT NULL,
  hint           TEXT NOT NULL,
  fingerprint    TEXT NOT NULL,
  state          TEXT NOT NULL CHECK (state IN ('active', 'rotating', 'suspended', 'revoked')),
  created_at     BIGINT NOT NULL,
  expires_at     BIGINT,
  idle_ttl_ms    BIGINT,
  last_used_at   BIGINT,
  max_requests   BIGINT CHECK (max_requests > 0),
  limits         TEXT NOT NULL,
  bindings       TEXT NOT NULL,
  metadata       TEXT NOT NULL,
  owner          TEXT NOT NULL,
  replaced_by    TEXT COLLATE "C",
  grace_ends_at  BIGINT,
  revoked_at     BIGINT,
  revoked_reason TEXT,
  -- When the token stopped working for good, for whatever reason; its record is kept 90 days more.
  ended_at       BIGINT
);

CREATE INDEX tokens_by_age ON tokens (created_at, id);
CREATE INDEX tokens_of_project ON tokens (project_id, created_at, id);
CREATE INDEX tokens_of_lineage ON tokens (lineage_id);
CREATE INDEX tokens_expiring ON tokens (expires_at) WHERE ended_at IS NULL;
CREATE INDEX tokens_idling ON tokens (last_used_at)
  WHERE ended_at IS NULL AND idle_ttl_ms IS NOT NULL;
CREATE INDEX tokens_rotating ON tokens (grace_ends_at) WHERE state = 'rotating';
CREATE INDEX tokens_ended ON tokens (ended_at) WHERE ended_at IS NOT NULL;

ALTER TABLE tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE tokens FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON tokens TO tollkeep_app
  USING      (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''));
CREATE POLICY jobs_all ON tokens TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON tokens TO tollkeep_app, tollkeep_jobs;

-- A lineage is its tokens'. It is made before the first of them.
ALTER TABLE lineages ENABLE ROW LEVEL SECURITY;
ALTER TABLE lineages FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON lineages TO tollkeep_app
  USING      (EXISTS (SELECT 1 FROM tokens WHERE tokens.lineage_id = lineages.id))
  WITH CHECK (nullif(current_setting('tollkeep.tenant', true), '') IS NOT NULL);
CREATE POLICY jobs_all ON lineages TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON lineages TO tollkeep_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON lineages TO tollkeep_jobs;

CREATE TABLE management_keys (
  id           TEXT COLLATE "C" PRIMARY KEY,
  tenant_id    TEXT COLLATE "C" REFERENCES tenants (id),
  name         TEXT NOT NULL,
  role         TEXT NOT NULL
    CHECK (role IN ('owner', 'admin', 'operator', 'viewer', 'tenant-admin')),
  digest       BYTEA NOT NULL UNIQUE CHECK (length(digest) = 32),
  pepper_id    TEXT NOT NULL,
  hint         TEXT NOT NULL,
  state        TEXT NOT NULL CHECK (state IN ('active', 'revoked')),
  created_at   BIGINT NOT NULL,
  expires_at   BIGINT NOT NULL,
  last_used_at BIGINT
);

ALTER TABLE management_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE management_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON management_keys TO tollkeep_app
  USING      (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''));
CREATE POLICY jobs_all ON management_keys TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON management_keys TO tollkeep_app, tollkeep_jobs;

-- Digests of tokens that ended, so that no import brings one back. No end: for ever. A tenant must
-- see whether a text was another's; that is all a keyed hash tells.
CREATE TABLE blocklist (
  digest BYTEA PRIMARY KEY CHECK (length(digest) = 32),
  until  BIGINT
);

CREATE INDEX blocklist_until ON blocklist (until) WHERE until IS NOT NULL;

ALTER TABLE blocklist ENABLE ROW LEVEL SECURITY;
ALTER TABLE blocklist FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_any ON blocklist TO tollkeep_app
  USING      (nullif(current_setting('tollkeep.tenant', true), '') IS NOT NULL)
  WITH CHECK (nullif(current_setting('tollkeep.tenant', true), '') IS NOT NULL);
CREATE POLICY jobs_all ON blocklist TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON blocklist TO tollkeep_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON blocklist TO tollkeep_jobs;

-- Facts of the deployment: its instance id, sealed pepper, greatest wall time seen.
CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
);

ALTER TABLE meta ENABLE ROW LEVEL SECURITY;
ALTER TABLE meta FORCE ROW LEVEL SECURITY;
CREATE POLICY jobs_all ON meta TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON meta TO tollkeep_jobs;

-- What was changed, for the other processes: which row, not what is in it. Numbers come in the order
-- of the changes, since whoever changes something holds a lock to its end.
CREATE TABLE changes (
  id        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  what      TEXT NOT NULL
    CHECK (what IN ('project', 'token', 'service_token', 'ip_entries', 'maintenance')),
  row_id    TEXT NOT NULL,
  tenant_id TEXT COLLATE "C",
  at        BIGINT NOT NULL
);

CREATE INDEX changes_by_age ON changes (at);

ALTER TABLE changes ENABLE ROW LEVEL SECURITY;
ALTER TABLE changes FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON changes TO tollkeep_app
  USING      (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''));
CREATE POLICY jobs_all ON changes TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT INSERT ON changes TO tollkeep_app;
GRANT SELECT, INSERT, DELETE ON changes TO tollkeep_jobs;
