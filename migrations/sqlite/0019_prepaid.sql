-- Prepaid accounts, budgets that keep a limit roughly or make calls smaller, and models that billed
-- more than their bound.

-- What a budget with `soft` was, only counted.
CREATE TABLE budgets_next (
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
  enforcement   TEXT NOT NULL CHECK (enforcement IN ('hard', 'soft', 'observe')),
  durability    TEXT NOT NULL CHECK (durability IN ('lease', 'strict')),
  warn          TEXT NOT NULL,
  -- Who wrote it: the settings, the quota of a provider there, or an operator.
  origin        TEXT NOT NULL CHECK (origin IN ('config', 'quota', 'api')),
  created_at    INTEGER NOT NULL,
  updated_at    INTEGER NOT NULL,
  deleted_at    INTEGER,
  version       INTEGER NOT NULL,
  -- What becomes of a call that does not fit.
  on_short      TEXT NOT NULL DEFAULT 'refuse' CHECK (on_short IN ('refuse', 'shrink')),
  CHECK ((scope_id IS NULL) <> (scope_value IS NULL)),
  CHECK ((window_kind = 'calendar') = (window_period IS NOT NULL)),
  CHECK ((window_kind = 'calendar') = (timezone IS NOT NULL)),
  CHECK ((window_kind = 'rolling') = (window_ms IS NOT NULL))
) STRICT;
INSERT INTO budgets_next (id, tenant_id, name, scope_kind, scope_id, scope_value, measure, limit_units,
    window_kind, window_period, window_ms, timezone, enforcement, durability, warn, origin,
    created_at, updated_at, deleted_at, version)
  SELECT id, tenant_id, name, scope_kind, scope_id, scope_value, measure, limit_units,
    window_kind, window_period, window_ms, timezone, replace(enforcement, 'soft', 'observe'),
    durability, warn, origin, created_at, updated_at, deleted_at, version
  FROM budgets;
DROP TABLE budgets;
ALTER TABLE budgets_next RENAME TO budgets;
CREATE UNIQUE INDEX budgets_name_key ON budgets (tenant_id, name) WHERE deleted_at IS NULL;
CREATE INDEX budgets_by_age ON budgets (created_at, id);

CREATE TABLE budget_windows_next (
  budget_id    TEXT NOT NULL,
  window_start INTEGER NOT NULL,
  tenant_id    TEXT NOT NULL,
  enforcement  TEXT NOT NULL CHECK (enforcement IN ('hard', 'soft', 'observe')),
  limit_units  INTEGER NOT NULL CHECK (limit_units >= 0),
  -- The limit, or what was taken when it was last lowered.
  ceiling      INTEGER NOT NULL CHECK (ceiling >= limit_units),
  spent        INTEGER NOT NULL CHECK (spent >= 0),
  reserved     INTEGER NOT NULL CHECK (reserved >= 0),
  leased       INTEGER NOT NULL CHECK (leased >= 0),
  recall       INTEGER NOT NULL,
  -- Of a rolling window: buckets before this one have left.
  floor        INTEGER NOT NULL,
  version      INTEGER NOT NULL,
  PRIMARY KEY (budget_id, window_start),
  CHECK (enforcement <> 'hard' OR spent + reserved + leased <= ceiling)
) STRICT;
INSERT INTO budget_windows_next
  SELECT budget_id, window_start, tenant_id, replace(enforcement, 'soft', 'observe'), limit_units,
    ceiling, spent, reserved, leased, recall, floor, version
  FROM budget_windows;
DROP TABLE budget_windows;
ALTER TABLE budget_windows_next RENAME TO budget_windows;

-- An account of a payer says whose it is and since when; one that is closed takes nothing more.
CREATE TABLE accounts_next (
  name        TEXT PRIMARY KEY NOT NULL,
  tenant_id   TEXT NOT NULL,
  kind        TEXT NOT NULL CHECK (kind IN ('outside', 'credit', 'held', 'revenue', 'promo', 'refunds',
    'operator_loss', 'upstream_cost', 'payable', 'overrun', 'unresolved', 'in_doubt')),
  unit        TEXT NOT NULL,
  balance     INTEGER NOT NULL,
  version     INTEGER NOT NULL,
  account_id  TEXT,
  holder_kind TEXT CHECK (holder_kind IN ('tenant', 'project', 'token')),
  holder_id   TEXT,
  title       TEXT,
  opened_at   INTEGER,
  closed_at   INTEGER,
  CHECK (kind NOT IN ('credit', 'held') OR balance >= 0),
  CHECK ((account_id IS NULL) = (holder_kind IS NULL)),
  CHECK ((account_id IS NULL) = (holder_id IS NULL)),
  CHECK ((account_id IS NULL) = (opened_at IS NULL))
) STRICT;
INSERT INTO accounts_next (name, tenant_id, kind, unit, balance, version)
  SELECT name, tenant_id, kind, unit, balance, version FROM accounts;
DROP TABLE accounts;
ALTER TABLE accounts_next RENAME TO accounts;
CREATE UNIQUE INDEX accounts_id_key ON accounts (account_id) WHERE account_id IS NOT NULL;
CREATE UNIQUE INDEX accounts_holder_unit_key ON accounts (tenant_id, holder_kind, holder_id, unit)
  WHERE account_id IS NOT NULL AND closed_at IS NULL;
CREATE INDEX postings_of_account ON postings (account, entry);

-- Models whose provider billed more than it was asked for at most, until somebody says they are
-- looked after.
CREATE TABLE quarantines (
  provider TEXT NOT NULL,
  model    TEXT NOT NULL,
  hold_id  TEXT NOT NULL,
  since    INTEGER NOT NULL,
  PRIMARY KEY (provider, model)
) STRICT;
