-- Payments: what was shown as a proof, what became of it, and how far its money has come.

CREATE TABLE payments (
  id             TEXT PRIMARY KEY NOT NULL,
  tenant_id      TEXT NOT NULL REFERENCES tenants (id),
  -- The identity by which a proof is spent once, kept for ever.
  key_digest     BLOB NOT NULL CHECK (length(key_digest) = 32),
  rail           TEXT NOT NULL CHECK (rail IN ('x402')),
  route          TEXT NOT NULL,
  mode           TEXT NOT NULL CHECK (mode IN ('before', 'after')),
  state          TEXT NOT NULL CHECK (state IN ('pending', 'settling', 'unknown', 'settled',
    'delivering', 'credit', 'redeeming', 'spent', 'voided', 'released')),
  version        INTEGER NOT NULL CHECK (version >= 0),
  calls          INTEGER NOT NULL CHECK (calls >= 0),
  was_made_good  INTEGER NOT NULL CHECK (was_made_good IN (0, 1)),
  -- The token, as CAIP-19 names it, what it is called, and its decimals.
  unit           TEXT NOT NULL,
  symbol         TEXT NOT NULL,
  decimals       INTEGER NOT NULL,
  network        TEXT NOT NULL,
  -- In the token's smallest unit.
  quoted         INTEGER NOT NULL CHECK (quoted > 0),
  received       INTEGER CHECK (received > 0),
  -- What the price was made from.
  request_digest BLOB NOT NULL CHECK (length(request_digest) = 32),
  request_id     TEXT NOT NULL,
  payer          TEXT NOT NULL,
  pay_to         TEXT NOT NULL,
  -- Who is asked to settle it, each time the same.
  facilitator    TEXT NOT NULL,
  -- What that one is told, sealed; gone as soon as it will not be told again.
  proof          TEXT,
  sealed_at      INTEGER,
  transaction_id TEXT,
  -- Why it was refused, or what an operator said of it.
  reason         TEXT,
  -- The proof is worth nothing after this.
  ends_at        INTEGER NOT NULL,
  -- The process that works on it, and until when nobody else may.
  holder         TEXT,
  lease_until    INTEGER,
  -- When it is asked again what became of it, and how often it was.
  look_at        INTEGER,
  looks          INTEGER NOT NULL CHECK (looks >= 0),
  created_at     INTEGER NOT NULL,
  updated_at     INTEGER NOT NULL,
  settled_at     INTEGER,
  CHECK ((state IN ('settled', 'delivering', 'credit', 'redeeming', 'spent'))
    = (received IS NOT NULL)),
  CHECK ((received IS NULL) = (settled_at IS NULL)),
  CHECK ((lease_until IS NULL) = (holder IS NULL)),
  CHECK ((state = 'unknown') = (look_at IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX payments_key_digest_key ON payments (key_digest);
CREATE INDEX payments_by_age ON payments (created_at, id);
CREATE INDEX payments_leased ON payments (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX payments_to_look_at ON payments (look_at) WHERE look_at IS NOT NULL;
CREATE INDEX payments_owed ON payments (settled_at) WHERE state = 'credit';
