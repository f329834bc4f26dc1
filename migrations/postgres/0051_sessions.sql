-- What payments bought that lasts longer than one call, and what calls under way have taken of it.

CREATE TABLE sessions (
  id         TEXT COLLATE "C" PRIMARY KEY,
  tenant_id  TEXT COLLATE "C" NOT NULL REFERENCES tenants (id),
  -- The keyed hash of its token.
  token_hash BYTEA NOT NULL CHECK (length(token_hash) = 32),
  -- The payment that it was bought with.
  payment_id TEXT COLLATE "C" NOT NULL,
  -- What it is good for: a route.
  scope      TEXT NOT NULL,
  model      TEXT NOT NULL CHECK (model IN ('time_pass', 'token_bucket', 'metered', 'per_kb')),
  payer      TEXT NOT NULL,
  -- The token that was paid in, as CAIP-19 names it, what it is called, and its decimals.
  unit       TEXT NOT NULL,
  symbol     TEXT NOT NULL,
  decimals   BIGINT NOT NULL,
  -- In the token's smallest unit: what came, what nobody has taken, what calls under way have.
  paid       BIGINT NOT NULL CHECK (paid > 0),
  money      BIGINT NOT NULL CHECK (money >= 0),
  held       BIGINT NOT NULL CHECK (held >= 0),
  -- Calls that nobody has taken, where calls were bought.
  calls      BIGINT NOT NULL CHECK (calls >= 0),
  -- What a call or a KiB takes, where that was agreed.
  unit_cost  BIGINT NOT NULL CHECK (unit_cost >= 0),
  state      TEXT NOT NULL CHECK (state IN ('open', 'revoked')),
  expires_at BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  CHECK (money + held <= paid)
);
CREATE UNIQUE INDEX sessions_payment_id_key ON sessions (payment_id);
CREATE INDEX sessions_by_age ON sessions (created_at, id);
CREATE INDEX sessions_passes ON sessions (tenant_id, scope, payer) WHERE model = 'time_pass';

CREATE TABLE session_uses (
  id          TEXT COLLATE "C" PRIMARY KEY,
  session_id  TEXT COLLATE "C" NOT NULL REFERENCES sessions (id),
  tenant_id   TEXT COLLATE "C" NOT NULL,
  request_id  TEXT COLLATE "C" NOT NULL,
  -- `delivering`: a byte has gone to the caller, or is about to.
  state       TEXT NOT NULL CHECK (state IN ('held', 'delivering')),
  money       BIGINT NOT NULL CHECK (money >= 0),
  calls       BIGINT NOT NULL CHECK (calls >= 0),
  -- What was delivered of it, when that was last written down.
  due         BIGINT NOT NULL CHECK (due >= 0 AND due <= money),
  -- The process that serves the call, and until when nobody else may end it.
  holder      TEXT COLLATE "C" NOT NULL,
  lease_until BIGINT NOT NULL
);
CREATE INDEX session_uses_leased ON session_uses (lease_until);
CREATE INDEX session_uses_of_session ON session_uses (session_id);

ALTER TABLE sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE sessions FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON sessions TO tollkeep_app
  USING      (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''));
CREATE POLICY jobs_all ON sessions TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT ON sessions TO tollkeep_app;
GRANT SELECT, INSERT, UPDATE ON sessions TO tollkeep_jobs;

ALTER TABLE session_uses ENABLE ROW LEVEL SECURITY;
ALTER TABLE session_uses FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON session_uses TO tollkeep_app
  USING      (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''));
CREATE POLICY jobs_all ON session_uses TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT ON session_uses TO tollkeep_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON session_uses TO tollkeep_jobs;
