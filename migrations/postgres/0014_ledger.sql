-- What calls cost and hold: windows of budgets, slices and holds, what was used, and the entries of
-- accounts. Written by the runner of the ledger alone.

-- The largest time the store's clock has shown, and the end of the chain of entries. One row, which
-- each transaction of the ledger changes first: so they come one after the other.
CREATE TABLE ledger_state (
  one     BIGINT PRIMARY KEY CHECK (one = 1),
  seen    BIGINT NOT NULL,
  entries BIGINT NOT NULL,
  chain   BYTEA NOT NULL CHECK (length(chain) = 32)
);
INSERT INTO ledger_state (one, seen, entries, chain) VALUES (1, 0, 0, decode(repeat('00', 32), 'hex'));

ALTER TABLE ledger_state ENABLE ROW LEVEL SECURITY;
ALTER TABLE ledger_state FORCE ROW LEVEL SECURITY;
CREATE POLICY jobs_all ON ledger_state TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON ledger_state TO tollkeep_jobs;

-- Running places of the gateway: in which life each is, and the process that began it.
CREATE TABLE replicas (
  id    TEXT COLLATE "C" PRIMARY KEY,
  epoch BIGINT NOT NULL CHECK (epoch > 0),
  boot  BIGINT NOT NULL
);

ALTER TABLE replicas ENABLE ROW LEVEL SECURITY;
ALTER TABLE replicas FORCE ROW LEVEL SECURITY;
CREATE POLICY jobs_all ON replicas TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON replicas TO tollkeep_jobs;

CREATE TABLE budget_windows (
  budget_id    TEXT COLLATE "C" NOT NULL,
  window_start BIGINT NOT NULL,
  tenant_id    TEXT COLLATE "C" NOT NULL,
  enforcement  TEXT NOT NULL CHECK (enforcement IN ('hard', 'soft')),
  limit_units  BIGINT NOT NULL CHECK (limit_units >= 0),
  -- The limit, or what was taken when it was last lowered.
  ceiling      BIGINT NOT NULL CHECK (ceiling >= limit_units),
  spent        BIGINT NOT NULL CHECK (spent >= 0),
  reserved     BIGINT NOT NULL CHECK (reserved >= 0),
  leased       BIGINT NOT NULL CHECK (leased >= 0),
  recall       BIGINT NOT NULL,
  -- Of a rolling window: buckets before this one have left.
  floor        BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  PRIMARY KEY (budget_id, window_start),
  CHECK (enforcement <> 'hard' OR spent + reserved + leased <= ceiling)
);

ALTER TABLE budget_windows ENABLE ROW LEVEL SECURITY;
ALTER TABLE budget_windows FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON budget_windows TO tollkeep_app
  USING      (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''));
CREATE POLICY jobs_all ON budget_windows TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT ON budget_windows TO tollkeep_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON budget_windows TO tollkeep_jobs;

-- What of a rolling window was spent when.
CREATE TABLE budget_buckets (
  budget_id    TEXT COLLATE "C" NOT NULL,
  window_start BIGINT NOT NULL,
  bucket_start BIGINT NOT NULL,
  tenant_id    TEXT COLLATE "C" NOT NULL,
  spent        BIGINT NOT NULL CHECK (spent >= 0),
  PRIMARY KEY (budget_id, window_start, bucket_start)
);

ALTER TABLE budget_buckets ENABLE ROW LEVEL SECURITY;
ALTER TABLE budget_buckets FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON budget_buckets TO tollkeep_app
  USING      (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''));
CREATE POLICY jobs_all ON budget_buckets TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT ON budget_buckets TO tollkeep_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON budget_buckets TO tollkeep_jobs;

-- Steps of warning that were told of.
CREATE TABLE budget_warnings (
  budget_id    TEXT COLLATE "C" NOT NULL,
  window_start BIGINT NOT NULL,
  percent      BIGINT NOT NULL,
  tenant_id    TEXT COLLATE "C" NOT NULL,
  warned_at    BIGINT NOT NULL,
  PRIMARY KEY (budget_id, window_start, percent)
);

ALTER TABLE budget_warnings ENABLE ROW LEVEL SECURITY;
ALTER TABLE budget_warnings FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON budget_warnings TO tollkeep_app
  USING      (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''));
CREATE POLICY jobs_all ON budget_warnings TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT ON budget_warnings TO tollkeep_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON budget_warnings TO tollkeep_jobs;

-- Slices of budgets, from which a replica grants.
CREATE TABLE budget_leases (
  id           TEXT COLLATE "C" PRIMARY KEY,
  tenant_id    TEXT COLLATE "C" NOT NULL,
  budget_id    TEXT COLLATE "C" NOT NULL,
  window_start BIGINT NOT NULL,
  replica_id   TEXT COLLATE "C" NOT NULL,
  epoch        BIGINT NOT NULL,
  amount       BIGINT NOT NULL CHECK (amount >= 0),
  used         BIGINT NOT NULL CHECK (used >= 0),
  returned     BIGINT NOT NULL CHECK (returned >= 0),
  state        TEXT NOT NULL CHECK (state IN ('active', 'returned', 'lost')),
  expires_at   BIGINT NOT NULL,
  -- Counts what its replica did with it, and every change.
  serial       BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  CHECK (used + returned <= amount),
  CHECK (state <> 'returned' OR used + returned = amount)
);
CREATE INDEX budget_leases_active ON budget_leases (expires_at) WHERE state = 'active';
CREATE INDEX budget_leases_ended ON budget_leases (expires_at) WHERE state <> 'active';
CREATE INDEX budget_leases_of_window ON budget_leases (budget_id, window_start);

ALTER TABLE budget_leases ENABLE ROW LEVEL SECURITY;
ALTER TABLE budget_leases FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON budget_leases TO tollkeep_app
  USING      (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''));
CREATE POLICY jobs_all ON budget_leases TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT ON budget_leases TO tollkeep_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON budget_leases TO tollkeep_jobs;

CREATE TABLE holds (
  id         TEXT COLLATE "C" PRIMARY KEY,
  tenant_id  TEXT COLLATE "C" NOT NULL,
  replica_id TEXT COLLATE "C" NOT NULL,
  state      TEXT NOT NULL CHECK (state IN ('held', 'committed', 'released', 'expired',
    'settled_reported', 'settled_estimated', 'settled_unknown', 'adjusted')),
  -- Cost, tokens, output tokens, billable tokens, requests.
  bound      TEXT NOT NULL,
  -- What it takes from which pot.
  covers     TEXT NOT NULL,
  granted_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  request_id TEXT COLLATE "C",
  attempt    BIGINT,
  version    BIGINT NOT NULL
);
CREATE INDEX holds_open ON holds (expires_at) WHERE state IN ('held', 'committed');
CREATE INDEX holds_by_age ON holds (granted_at, id);

ALTER TABLE holds ENABLE ROW LEVEL SECURITY;
ALTER TABLE holds FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON holds TO tollkeep_app
  USING      (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''));
CREATE POLICY jobs_all ON holds TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT ON holds TO tollkeep_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON holds TO tollkeep_jobs;

-- One row for each call that ended: by its hold, or where no budget counted it by request and attempt.
CREATE TABLE usage_records (
  id              TEXT COLLATE "C" PRIMARY KEY,
  tenant_id       TEXT COLLATE "C" NOT NULL,
  at              BIGINT NOT NULL,
  request_id      TEXT COLLATE "C",
  attempt         BIGINT,
  project_id      TEXT COLLATE "C",
  lineage_id      TEXT COLLATE "C",
  token_id        TEXT COLLATE "C",
  route           TEXT,
  provider        TEXT,
  model_requested TEXT,
  model_served    TEXT,
  lines           TEXT,
  quality         TEXT NOT NULL CHECK (quality IN ('reported', 'estimated', 'unknown')),
  flags           TEXT,
  bound           TEXT NOT NULL,
  bound_method    TEXT,
  cost            BIGINT NOT NULL CHECK (cost >= 0),
  tokens          BIGINT NOT NULL CHECK (tokens >= 0),
  output_tokens   BIGINT NOT NULL CHECK (output_tokens >= 0),
  billable_tokens BIGINT NOT NULL CHECK (billable_tokens >= 0),
  requests        BIGINT NOT NULL CHECK (requests >= 0),
  upstream_cost   BIGINT,
  price_version   TEXT,
  price_sha256    TEXT,
  -- What was charged to which pot.
  charged         TEXT NOT NULL,
  -- The version of the hold's row after its end.
  hold_version    BIGINT,
  -- Its time was over before its holder told the end.
  is_swept        BOOLEAN NOT NULL,
  is_corrected    BOOLEAN NOT NULL,
  started_at      BIGINT,
  duration_ms     BIGINT,
  from_cache      BOOLEAN NOT NULL,
  status          BIGINT
);
CREATE INDEX usage_records_by_time ON usage_records (tenant_id, at, id);
CREATE INDEX usage_records_of_request ON usage_records (request_id) WHERE request_id IS NOT NULL;

ALTER TABLE usage_records ENABLE ROW LEVEL SECURITY;
ALTER TABLE usage_records FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON usage_records TO tollkeep_app
  USING      (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''));
CREATE POLICY jobs_all ON usage_records TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT ON usage_records TO tollkeep_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON usage_records TO tollkeep_jobs;

CREATE TABLE accounts (
  name      TEXT COLLATE "C" PRIMARY KEY,
  tenant_id TEXT COLLATE "C" NOT NULL,
  kind      TEXT NOT NULL CHECK (kind IN ('outside', 'credit', 'held', 'revenue', 'upstream_cost',
    'payable', 'overrun', 'unresolved', 'in_doubt')),
  unit      TEXT NOT NULL,
  balance   BIGINT NOT NULL,
  version   BIGINT NOT NULL,
  CHECK (kind NOT IN ('credit', 'held') OR balance >= 0)
);

ALTER TABLE accounts ENABLE ROW LEVEL SECURITY;
ALTER TABLE accounts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON accounts TO tollkeep_app
  USING      (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''));
CREATE POLICY jobs_all ON accounts TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT ON accounts TO tollkeep_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON accounts TO tollkeep_jobs;

-- Movements of money, each with its place in a chain: its hash is over the hash before it and all of it.
CREATE TABLE entries (
  number     BIGINT PRIMARY KEY,
  id         TEXT COLLATE "C" NOT NULL,
  tenant_id  TEXT COLLATE "C" NOT NULL,
  kind       TEXT NOT NULL CHECK (kind IN ('hold', 'settle', 'correct', 'lease', 'transfer')),
  corrects   TEXT COLLATE "C",
  request_id TEXT COLLATE "C",
  at         BIGINT NOT NULL,
  hash       BYTEA NOT NULL CHECK (length(hash) = 32)
);
CREATE UNIQUE INDEX entries_id_key ON entries (id);

ALTER TABLE entries ENABLE ROW LEVEL SECURITY;
ALTER TABLE entries FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON entries TO tollkeep_app
  USING      (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''));
CREATE POLICY jobs_all ON entries TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT ON entries TO tollkeep_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON entries TO tollkeep_jobs;

CREATE TABLE postings (
  entry     BIGINT NOT NULL,
  line      BIGINT NOT NULL,
  tenant_id TEXT COLLATE "C" NOT NULL,
  account   TEXT COLLATE "C" NOT NULL,
  amount    BIGINT NOT NULL,
  PRIMARY KEY (entry, line)
);

ALTER TABLE postings ENABLE ROW LEVEL SECURITY;
ALTER TABLE postings FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON postings TO tollkeep_app
  USING      (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''));
CREATE POLICY jobs_all ON postings TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT ON postings TO tollkeep_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON postings TO tollkeep_jobs;
