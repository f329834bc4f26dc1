-- What calls cost and hold: windows of budgets, slices and holds, what was used, and the entries of
-- accounts. Written by the runner of the ledger alone.

-- The largest time the store's clock has shown, and the end of the chain of entries. One row, which
-- each transaction of the ledger changes first: so they come one after the other.
CREATE TABLE ledger_state (
  one     INTEGER PRIMARY KEY NOT NULL CHECK (one = 1),
  seen    INTEGER NOT NULL,
  entries INTEGER NOT NULL,
  chain   BLOB NOT NULL CHECK (length(chain) = 32)
) STRICT;
INSERT INTO ledger_state (one, seen, entries, chain) VALUES (1, 0, 0, zeroblob(32));

-- Running places of the gateway: in which life each is, and the process that began it.
CREATE TABLE replicas (
  id    TEXT PRIMARY KEY NOT NULL,
  epoch INTEGER NOT NULL CHECK (epoch > 0),
  boot  INTEGER NOT NULL
) STRICT;

CREATE TABLE budget_windows (
  budget_id    TEXT NOT NULL,
  window_start INTEGER NOT NULL,
  tenant_id    TEXT NOT NULL,
  enforcement  TEXT NOT NULL CHECK (enforcement IN ('hard', 'soft')),
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

-- What of a rolling window was spent when.
CREATE TABLE budget_buckets (
  budget_id    TEXT NOT NULL,
  window_start INTEGER NOT NULL,
  bucket_start INTEGER NOT NULL,
  tenant_id    TEXT NOT NULL,
  spent        INTEGER NOT NULL CHECK (spent >= 0),
  PRIMARY KEY (budget_id, window_start, bucket_start)
) STRICT;

-- Steps of warning that were told of.
CREATE TABLE budget_warnings (
  budget_id    TEXT NOT NULL,
  window_start INTEGER NOT NULL,
  percent      INTEGER NOT NULL,
  tenant_id    TEXT NOT NULL,
  warned_at    INTEGER NOT NULL,
  PRIMARY KEY (budget_id, window_start, percent)
) STRICT;

-- Slices of budgets, from which a replica grants.
CREATE TABLE budget_leases (
  id           TEXT PRIMARY KEY NOT NULL,
  tenant_id    TEXT NOT NULL,
  budget_id    TEXT NOT NULL,
  window_start INTEGER NOT NULL,
  replica_id   TEXT NOT NULL,
  epoch        INTEGER NOT NULL,
  amount       INTEGER NOT NULL CHECK (amount >= 0),
  used         INTEGER NOT NULL CHECK (used >= 0),
  returned     INTEGER NOT NULL CHECK (returned >= 0),
  state        TEXT NOT NULL CHECK (state IN ('active', 'returned', 'lost')),
  expires_at   INTEGER NOT NULL,
  -- Counts what its replica did with it, and every change.
  serial       INTEGER NOT NULL,
  version      INTEGER NOT NULL,
  CHECK (used + returned <= amount),
  CHECK (state <> 'returned' OR used + returned = amount)
) STRICT;
CREATE INDEX budget_leases_active ON budget_leases (expires_at) WHERE state = 'active';
CREATE INDEX budget_leases_ended ON budget_leases (expires_at) WHERE state <> 'active';
CREATE INDEX budget_leases_of_window ON budget_leases (budget_id, window_start);

CREATE TABLE holds (
  id         TEXT PRIMARY KEY NOT NULL,
  tenant_id  TEXT NOT NULL,
  replica_id TEXT NOT NULL,
  state      TEXT NOT NULL CHECK (state IN ('held', 'committed', 'released', 'expired',
    'settled_reported', 'settled_estimated', 'settled_unknown', 'adjusted')),
  -- Cost, tokens, output tokens, billable tokens, requests.
  bound      TEXT NOT NULL,
  -- What it takes from which pot.
  covers     TEXT NOT NULL,
  granted_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  request_id TEXT,
  attempt    INTEGER,
  version    INTEGER NOT NULL
) STRICT;
CREATE INDEX holds_open ON holds (expires_at) WHERE state IN ('held', 'committed');
CREATE INDEX holds_by_age ON holds (granted_at, id);

-- One row for each call that ended: by its hold, or where no budget counted it by request and attempt.
CREATE TABLE usage_records (
  id              TEXT PRIMARY KEY NOT NULL,
  tenant_id       TEXT NOT NULL,
  at              INTEGER NOT NULL,
  request_id      TEXT,
  attempt         INTEGER,
  project_id      TEXT,
  lineage_id      TEXT,
  token_id        TEXT,
  route           TEXT,
  provider        TEXT,
  model_requested TEXT,
  model_served    TEXT,
  lines           TEXT,
  quality         TEXT NOT NULL CHECK (quality IN ('reported', 'estimated', 'unknown')),
  flags           TEXT,
  bound           TEXT NOT NULL,
  bound_method    TEXT,
  cost            INTEGER NOT NULL CHECK (cost >= 0),
  tokens          INTEGER NOT NULL CHECK (tokens >= 0),
  output_tokens   INTEGER NOT NULL CHECK (output_tokens >= 0),
  billable_tokens INTEGER NOT NULL CHECK (billable_tokens >= 0),
  requests        INTEGER NOT NULL CHECK (requests >= 0),
  upstream_cost   INTEGER,
  price_version   TEXT,
  price_sha256    TEXT,
  -- What was charged to which pot.
  charged         TEXT NOT NULL,
  -- The version of the hold's row after its end.
  hold_version    INTEGER,
  -- Its time was over before its holder told the end.
  is_swept        INTEGER NOT NULL CHECK (is_swept IN (0, 1)),
  is_corrected    INTEGER NOT NULL CHECK (is_corrected IN (0, 1)),
  started_at      INTEGER,
  duration_ms     INTEGER,
  from_cache      INTEGER NOT NULL CHECK (from_cache IN (0, 1)),
  status          INTEGER
) STRICT;
CREATE INDEX usage_records_by_time ON usage_records (tenant_id, at, id);
CREATE INDEX usage_records_of_request ON usage_records (request_id) WHERE request_id IS NOT NULL;

CREATE TABLE accounts (
  name      TEXT PRIMARY KEY NOT NULL,
  tenant_id TEXT NOT NULL,
  kind      TEXT NOT NULL CHECK (kind IN ('outside', 'credit', 'held', 'revenue', 'upstream_cost',
    'payable', 'overrun', 'unresolved', 'in_doubt')),
  unit      TEXT NOT NULL,
  balance   INTEGER NOT NULL,
  version   INTEGER NOT NULL,
  CHECK (kind NOT IN ('credit', 'held') OR balance >= 0)
) STRICT;

-- Movements of money, each with its place in a chain: its hash is over the hash before it and all of it.
CREATE TABLE entries (
  number     INTEGER PRIMARY KEY NOT NULL,
  id         TEXT NOT NULL,
  tenant_id  TEXT NOT NULL,
  kind       TEXT NOT NULL CHECK (kind IN ('hold', 'settle', 'correct', 'lease', 'transfer')),
  corrects   TEXT,
  request_id TEXT,
  at         INTEGER NOT NULL,
  hash       BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE UNIQUE INDEX entries_id_key ON entries (id);

CREATE TABLE postings (
  entry     INTEGER NOT NULL,
  line      INTEGER NOT NULL,
  tenant_id TEXT NOT NULL,
  account   TEXT NOT NULL,
  amount    INTEGER NOT NULL,
  PRIMARY KEY (entry, line)
) STRICT, WITHOUT ROWID;
