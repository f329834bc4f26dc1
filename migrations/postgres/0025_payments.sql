-- Payments: what was shown as a proof, what became of it, and how far its money has come.

CREATE TABLE payments (
  id             TEXT COLLATE "C" PRIMARY KEY,
  tenant_id      TEXT COLLATE "C" NOT NULL REFERENCES tenants (id),
  -- The identity by which a proof is spent once, kept for ever.
  key_digest     BYTEA NOT NULL CHECK (length(key_digest) = 32),
  rail           TEXT NOT NULL CHECK (rail IN ('x402')),
  route          TEXT NOT NULL,
  mode           TEXT NOT NULL CHECK (mode IN ('before', 'after')),
  state          TEXT NOT NULL CHECK (state IN ('pending', 'settling', 'unknown', 'settled',
    'delivering', 'credit', 'redeeming', 'spent', 'voided', 'released')),
  version        BIGINT NOT NULL CHECK (version >= 0),
  calls          BIGINT NOT NULL CHECK (calls >= 0),
  was_made_good  BOOLEAN NOT NULL,
  -- The token, as CAIP-19 names it, what it is called, and its decimals.
  unit           TEXT NOT NULL,
  symbol         TEXT NOT NULL,
  decimals       BIGINT NOT NULL,
  network        TEXT NOT NULL,
  -- In the token's smallest unit.
  quoted         BIGINT NOT NULL CHECK (quoted > 0),
  received       BIGINT CHECK (received > 0),
  -- What the price was made from.
  request_digest BYTEA NOT NULL CHECK (length(request_digest) = 32),
  request_id     TEXT COLLATE "C" NOT NULL,
  payer          TEXT NOT NULL,
  pay_to         TEXT NOT NULL,
  -- Who is asked to settle it, each time the same.
  facilitator    TEXT NOT NULL,
  -- What that one is told, sealed; gone as soon as it will not be told again.
  proof          TEXT,
  sealed_at      BIGINT,
  transaction_id TEXT,
  -- Why it was refused, or what an operator said of it.
  reason         TEXT,
  -- The proof is worth nothing after this.
  ends_at        BIGINT NOT NULL,
  -- The process that works on it, and until when nobody else may.
  holder         TEXT COLLATE "C",
  lease_until    BIGINT,
  -- When it is asked again what became of it, and how often it was.
  look_at        BIGINT,
  looks          BIGINT NOT NULL CHECK (looks >= 0),
  created_at     BIGINT NOT NULL,
  updated_at     BIGINT NOT NULL,
  settled_at     BIGINT,
  CHECK ((state IN ('settled', 'delivering', 'credit', 'redeeming', 'spent'))
    = (received IS NOT NULL)),
  CHECK ((received IS NULL) = (settled_at IS NULL)),
  CHECK ((lease_until IS NULL) = (holder IS NULL)),
  CHECK ((state = 'unknown') = (look_at IS NOT NULL))
);
CREATE UNIQUE INDEX payments_key_digest_key ON payments (key_digest);
CREATE INDEX payments_by_age ON payments (created_at, id);
CREATE INDEX payments_leased ON payments (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX payments_to_look_at ON payments (look_at) WHERE look_at IS NOT NULL;
CREATE INDEX payments_owed ON payments (settled_at) WHERE state = 'credit';

ALTER TABLE payments ENABLE ROW LEVEL SECURITY;
ALTER TABLE payments FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON payments TO tollkeep_app
  USING      (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''));
CREATE POLICY jobs_all ON payments TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT ON payments TO tollkeep_app;
GRANT SELECT, INSERT, UPDATE ON payments TO tollkeep_jobs;
