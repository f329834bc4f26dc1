-- Payments of which less than was signed may be taken, when the delivery has ended.

CREATE TABLE payments_next (
  id             TEXT PRIMARY KEY NOT NULL,
  tenant_id      TEXT NOT NULL REFERENCES tenants (id),
  -- The identity by which a proof is spent once, kept for ever.
  key_digest     BLOB NOT NULL CHECK (length(key_digest) = 32),
  rail           TEXT NOT NULL CHECK (rail IN ('x402')),
  route          TEXT NOT NULL,
  mode           TEXT NOT NULL CHECK (mode IN ('before', 'after', 'upto')),
  state          TEXT NOT NULL CHECK (state IN ('pending', 'serving', 'settling', 'unknown', 'settled',
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
  -- How much of it is to be settled, where that may be less than was signed.
  due            INTEGER CHECK (due > 0 AND due <= quoted),
  CHECK ((state IN ('settled', 'delivering', 'credit', 'redeeming', 'spent'))
    = (received IS NOT NULL)),
  CHECK ((received IS NULL) = (settled_at IS NULL)),
  CHECK ((lease_until IS NULL) = (holder IS NULL)),
  CHECK ((state = 'unknown') = (look_at IS NOT NULL)),
  -- Nothing is delivered on trust without a note of what it comes to.
  CHECK (state <> 'serving' OR due IS NOT NULL)
) STRICT;
INSERT INTO payments_next (id, tenant_id, key_digest, rail, route, mode, state, version, calls, was_made_good, unit,
    symbol, decimals, network, quoted, received, request_digest, request_id, payer, pay_to,
    facilitator, proof, sealed_at, transaction_id, reason, ends_at, holder, lease_until, look_at,
    looks, created_at, updated_at, settled_at)
  SELECT id, tenant_id, key_digest, rail, route, mode, state, version, calls, was_made_good, unit,
    symbol, decimals, network, quoted, received, request_digest, request_id, payer, pay_to,
    facilitator, proof, sealed_at, transaction_id, reason, ends_at, holder, lease_until, look_at,
    looks, created_at, updated_at, settled_at
  FROM payments;
DROP TABLE payments;
ALTER TABLE payments_next RENAME TO payments;
CREATE UNIQUE INDEX payments_key_digest_key ON payments (key_digest);
CREATE INDEX payments_by_age ON payments (created_at, id);
CREATE INDEX payments_leased ON payments (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX payments_to_look_at ON payments (look_at) WHERE look_at IS NOT NULL;
CREATE INDEX payments_owed ON payments (settled_at) WHERE state = 'credit';
-- Whoever was served and has not paid.
CREATE INDEX payments_uncollected ON payments (tenant_id, payer)
  WHERE mode = 'upto' AND state IN ('unknown', 'voided');
