-- Prepaid accounts, budgets that keep a limit roughly or make calls smaller, and models that billed
-- more than their bound.

-- What a budget with `soft` was, only counted.
ALTER TABLE budgets DROP CONSTRAINT budgets_enforcement_check;
UPDATE budgets SET enforcement = 'observe' WHERE enforcement = 'soft';
ALTER TABLE budgets ADD CONSTRAINT budgets_enforcement_check
  CHECK (enforcement IN ('hard', 'soft', 'observe'));
-- What becomes of a call that does not fit.
ALTER TABLE budgets ADD COLUMN on_short TEXT NOT NULL DEFAULT 'refuse'
  CHECK (on_short IN ('refuse', 'shrink'));

ALTER TABLE budget_windows DROP CONSTRAINT budget_windows_enforcement_check;
UPDATE budget_windows SET enforcement = 'observe' WHERE enforcement = 'soft';
ALTER TABLE budget_windows ADD CONSTRAINT budget_windows_enforcement_check
  CHECK (enforcement IN ('hard', 'soft', 'observe'));

-- An account of a payer says whose it is and since when; one that is closed takes nothing more.
ALTER TABLE accounts DROP CONSTRAINT accounts_kind_check;
ALTER TABLE accounts ADD CONSTRAINT accounts_kind_check CHECK (kind IN ('outside', 'credit', 'held',
  'revenue', 'promo', 'refunds', 'operator_loss', 'upstream_cost', 'payable', 'overrun',
  'unresolved', 'in_doubt'));
ALTER TABLE accounts
  ADD COLUMN account_id  TEXT COLLATE "C",
  ADD COLUMN holder_kind TEXT CHECK (holder_kind IN ('tenant', 'project', 'token')),
  ADD COLUMN holder_id   TEXT COLLATE "C",
  ADD COLUMN title       TEXT,
  ADD COLUMN opened_at   BIGINT,
  ADD COLUMN closed_at   BIGINT,
  ADD CHECK ((account_id IS NULL) = (holder_kind IS NULL)),
  ADD CHECK ((account_id IS NULL) = (holder_id IS NULL)),
  ADD CHECK ((account_id IS NULL) = (opened_at IS NULL));
CREATE UNIQUE INDEX accounts_id_key ON accounts (account_id) WHERE account_id IS NOT NULL;
CREATE UNIQUE INDEX accounts_holder_unit_key ON accounts (tenant_id, holder_kind, holder_id, unit)
  WHERE account_id IS NOT NULL AND closed_at IS NULL;
CREATE INDEX postings_of_account ON postings (account, entry);

-- Models whose provider billed more than it was asked for at most, until somebody says they are
-- looked after.
CREATE TABLE quarantines (
  provider TEXT COLLATE "C" NOT NULL,
  model    TEXT COLLATE "C" NOT NULL,
  hold_id  TEXT COLLATE "C" NOT NULL,
  since    BIGINT NOT NULL,
  PRIMARY KEY (provider, model)
);

ALTER TABLE quarantines ENABLE ROW LEVEL SECURITY;
ALTER TABLE quarantines FORCE ROW LEVEL SECURITY;
CREATE POLICY jobs_all ON quarantines TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON quarantines TO tollkeep_jobs;

ALTER TABLE changes DROP CONSTRAINT changes_what_check;
ALTER TABLE changes ADD CONSTRAINT changes_what_check CHECK
  (what IN ('tenant', 'project', 'token', 'service_token', 'ip_entries', 'maintenance',
    'cut_token', 'cut_project', 'cut_tenant', 'cut_credential', 'credential', 'budget', 'accounts',
    'quarantines'));
