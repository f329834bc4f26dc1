-- Credentials of providers: their secrets, sealed for this row, and how they are used. The digest is
-- a keyed hash, by which the same secret is known again.
CREATE TABLE credentials (
  id              TEXT COLLATE "C" PRIMARY KEY,
  tenant_id       TEXT COLLATE "C" NOT NULL REFERENCES tenants (id),
  -- None: all projects of the tenant share it.
  project_id      TEXT COLLATE "C" REFERENCES projects (id),
  provider        TEXT COLLATE "C" NOT NULL,
  type            TEXT NOT NULL CHECK (type IN ('api_key')),
  label           TEXT NOT NULL,
  secret          TEXT NOT NULL,
  digest          BYTEA NOT NULL CHECK (length(digest) = 32),
  pepper_id       TEXT NOT NULL,
  hint            TEXT NOT NULL,
  -- Scheme, host and port that the secret was given for; it goes nowhere else.
  origin          TEXT NOT NULL,
  -- The file it is read from, if it is kept in one.
  file            TEXT,
  models          TEXT NOT NULL,
  excluded_models TEXT NOT NULL,
  priority        BIGINT NOT NULL,
  weight          BIGINT NOT NULL CHECK (weight BETWEEN 0 AND 1000000),
  is_disabled     BOOLEAN NOT NULL,
  -- An operator lets it rest.
  rests_since     BIGINT,
  rests_until     BIGINT,
  rests_reason    TEXT,
  -- Whatever had kept it from use before then is forgotten.
  recovered_at    BIGINT,
  created_at      BIGINT NOT NULL,
  updated_at      BIGINT NOT NULL,
  sealed_at       BIGINT NOT NULL,
  last_used_at    BIGINT,
  last_error_code TEXT,
  last_error_at   BIGINT
);

CREATE UNIQUE INDEX credentials_digest_key
  ON credentials (tenant_id, coalesce(project_id, ''), provider, digest);
CREATE INDEX credentials_by_age ON credentials (created_at, id);
CREATE INDEX credentials_of_project ON credentials (project_id) WHERE project_id IS NOT NULL;

ALTER TABLE credentials ENABLE ROW LEVEL SECURITY;
ALTER TABLE credentials FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON credentials TO tollkeep_app
  USING      (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''));
CREATE POLICY jobs_all ON credentials TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON credentials TO tollkeep_app, tollkeep_jobs;

ALTER TABLE changes DROP CONSTRAINT changes_what_check;
ALTER TABLE changes ADD CONSTRAINT changes_what_check CHECK
  (what IN ('tenant', 'project', 'token', 'service_token', 'ip_entries', 'maintenance',
    'cut_token', 'cut_project', 'cut_tenant', 'credential'));
