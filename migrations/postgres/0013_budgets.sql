-- Limits of what calls may cost or use over a time. One that was ended stays as a record: what it
-- counted is still there.
CREATE TABLE budgets (
  id            TEXT COLLATE "C" PRIMARY KEY,
  tenant_id     TEXT COLLATE "C" NOT NULL REFERENCES tenants (id),
  name          TEXT NOT NULL,
  -- Which calls it counts: by the id of what they belong to, or by a text, or by a JSON value.
  scope_kind    TEXT NOT NULL CHECK (scope_kind IN ('tenant', 'project', 'token', 'route', 'provider',
    'credential', 'model', 'tokens', 'metadata')),
  scope_id      TEXT COLLATE "C",
  scope_value   TEXT,
  measure       TEXT NOT NULL CHECK (measure IN ('usd', 'tokens', 'output_tokens', 'billable_tokens',
    'requests')),
  -- Nano-dollars, tokens or requests.
  limit_units   BIGINT NOT NULL CHECK (limit_units >= 0),
  window_kind   TEXT NOT NULL CHECK (window_kind IN ('calendar', 'rolling', 'lifetime')),
  window_period TEXT CHECK (window_period IN ('day', 'week', 'month', 'year')),
  window_ms     BIGINT CHECK (window_ms > 0),
  timezone      TEXT,
  enforcement   TEXT NOT NULL CHECK (enforcement IN ('hard', 'soft')),
  durability    TEXT NOT NULL CHECK (durability IN ('lease', 'strict')),
  warn          TEXT NOT NULL,
  -- Who wrote it: the settings, the quota of a provider there, or an operator.
  origin        TEXT NOT NULL CHECK (origin IN ('config', 'quota', 'api')),
  created_at    BIGINT NOT NULL,
  updated_at    BIGINT NOT NULL,
  deleted_at    BIGINT,
  version       BIGINT NOT NULL,
  CHECK ((scope_id IS NULL) <> (scope_value IS NULL)),
  CHECK ((window_kind = 'calendar') = (window_period IS NOT NULL)),
  CHECK ((window_kind = 'calendar') = (timezone IS NOT NULL)),
  CHECK ((window_kind = 'rolling') = (window_ms IS NOT NULL))
);

CREATE UNIQUE INDEX budgets_name_key ON budgets (tenant_id, name) WHERE deleted_at IS NULL;
CREATE INDEX budgets_by_age ON budgets (created_at, id);

ALTER TABLE budgets ENABLE ROW LEVEL SECURITY;
ALTER TABLE budgets FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON budgets TO tollkeep_app
  USING      (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''));
CREATE POLICY jobs_all ON budgets TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON budgets TO tollkeep_app, tollkeep_jobs;

ALTER TABLE changes DROP CONSTRAINT changes_what_check;
ALTER TABLE changes ADD CONSTRAINT changes_what_check CHECK
  (what IN ('tenant', 'project', 'token', 'service_token', 'ip_entries', 'maintenance',
    'cut_token', 'cut_project', 'cut_tenant', 'credential', 'budget'));
