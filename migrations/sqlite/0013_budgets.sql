-- Limits of what calls may cost or use over a time. One that was ended stays as a record: what it
-- counted is still there.
CREATE TABLE budgets (
  id            TEXT PRIMARY KEY NOT NULL,
  tenant_id     TEXT NOT NULL REFERENCES tenants (id),
  name          TEXT NOT NULL,
  -- Which calls it counts: by the id of what they belong to, or by a text, or by a JSON value.
  scope_kind    TEXT NOT NULL CHECK (scope_kind IN ('tenant', 'project', 'token', 'route', 'provider',
    'credential', 'model', 'tokens', 'metadata')),
  scope_id      TEXT,
  scope_value   TEXT,
  measure       TEXT NOT NULL CHECK (measure IN ('usd', 'tokens', 'output_tokens', 'billable_tokens',
    'requests')),
  -- Nano-dollars, tokens or requests.
  limit_units   INTEGER NOT NULL CHECK (limit_units >= 0),
  window_kind   TEXT NOT NULL CHECK (window_kind IN ('calendar', 'rolling', 'lifetime')),
  window_period TEXT CHECK (window_period IN ('day', 'week', 'month', 'year')),
  window_ms     INTEGER CHECK (window_ms > 0),
  timezone      TEXT,
  enforcement   TEXT NOT NULL CHECK (enforcement IN ('hard', 'soft')),
  durability    TEXT NOT NULL CHECK (durability IN ('lease', 'strict')),
  warn          TEXT NOT NULL,
  -- Who wrote it: the settings, the quota of a provider there, or an operator.
  origin        TEXT NOT NULL CHECK (origin IN ('config', 'quota', 'api')),
  created_at    INTEGER NOT NULL,
  updated_at    INTEGER NOT NULL,
  deleted_at    INTEGER,
  version       INTEGER NOT NULL,
  CHECK ((scope_id IS NULL) <> (scope_value IS NULL)),
  CHECK ((window_kind = 'calendar') = (window_period IS NOT NULL)),
  CHECK ((window_kind = 'calendar') = (timezone IS NOT NULL)),
  CHECK ((window_kind = 'rolling') = (window_ms IS NOT NULL))
) STRICT;

CREATE UNIQUE INDEX budgets_name_key ON budgets (tenant_id, name) WHERE deleted_at IS NULL;
CREATE INDEX budgets_by_age ON budgets (created_at, id);
