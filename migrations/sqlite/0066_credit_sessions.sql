-- Credit that is bought ahead is a session of a whole tenant.

CREATE TABLE sessions_next (
  id         TEXT PRIMARY KEY NOT NULL,
  tenant_id  TEXT NOT NULL REFERENCES tenants (id),
  -- The keyed hash of its token.
  token_hash BLOB NOT NULL CHECK (length(token_hash) = 32),
  -- The payment that it was bought with.
  payment_id TEXT NOT NULL,
  -- What it is good for: a route, or `*`, all of the tenant.
  scope      TEXT NOT NULL,
  model      TEXT NOT NULL CHECK (model IN ('time_pass', 'token_bucket', 'metered', 'per_kb', 'credit')),
  payer      TEXT NOT NULL,
  -- The token that was paid in, as CAIP-19 names it, what it is called, and its decimals.
  unit       TEXT NOT NULL,
  symbol     TEXT NOT NULL,
  decimals   INTEGER NOT NULL,
  -- In the token's smallest unit: what came, what nobody has taken, what calls under way have.
  paid       INTEGER NOT NULL CHECK (paid > 0),
  money      INTEGER NOT NULL CHECK (money >= 0),
  held       INTEGER NOT NULL CHECK (held >= 0),
  -- Calls that nobody has taken, where calls were bought.
  calls      INTEGER NOT NULL CHECK (calls >= 0),
  -- What a call or a KiB takes, where that was agreed.
  unit_cost  INTEGER NOT NULL CHECK (unit_cost >= 0),
  state      TEXT NOT NULL CHECK (state IN ('open', 'revoked')),
  expires_at INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  -- When it was written down, and told, that it is over, and why.
  ended_at   INTEGER,
  ended_because TEXT CHECK (ended_because IN ('expired', 'revoked', 'route_removed')),
  CHECK (money + held <= paid)
) STRICT;
INSERT INTO sessions_next (id, tenant_id, token_hash, payment_id, scope, model, payer, unit, symbol,
    decimals, paid, money, held, calls, unit_cost, state, expires_at, created_at, updated_at, ended_at,
    ended_because)
  SELECT id, tenant_id, token_hash, payment_id, scope, model, payer, unit, symbol, decimals, paid,
    money, held, calls, unit_cost, state, expires_at, created_at, updated_at, ended_at, ended_because
  FROM sessions;
-- What calls have taken refers to them, and goes along.
CREATE TABLE session_uses_next (
  id          TEXT PRIMARY KEY NOT NULL,
  session_id  TEXT NOT NULL REFERENCES sessions_next (id),
  tenant_id   TEXT NOT NULL,
  request_id  TEXT NOT NULL,
  -- `delivering`: a byte has gone to the caller, or is about to.
  state       TEXT NOT NULL CHECK (state IN ('held', 'delivering')),
  money       INTEGER NOT NULL CHECK (money >= 0),
  calls       INTEGER NOT NULL CHECK (calls >= 0),
  -- What was delivered of it, when that was last written down.
  due         INTEGER NOT NULL CHECK (due >= 0 AND due <= money),
  -- The process that serves the call, and until when nobody else may end it.
  holder      TEXT NOT NULL,
  lease_until INTEGER NOT NULL
) STRICT;
INSERT INTO session_uses_next (id, session_id, tenant_id, request_id, state, money, calls, due, holder,
    lease_until)
  SELECT id, session_id, tenant_id, request_id, state, money, calls, due, holder, lease_until
  FROM session_uses;
DROP TABLE session_uses;
DROP TABLE sessions;
ALTER TABLE sessions_next RENAME TO sessions;
ALTER TABLE session_uses_next RENAME TO session_uses;
CREATE UNIQUE INDEX sessions_payment_id_key ON sessions (payment_id);
CREATE INDEX sessions_by_age ON sessions (created_at, id);
CREATE INDEX sessions_passes ON sessions (tenant_id, scope, payer) WHERE model = 'time_pass';
CREATE INDEX sessions_not_ended ON sessions (expires_at) WHERE ended_at IS NULL;
CREATE INDEX session_uses_leased ON session_uses (lease_until);
CREATE INDEX session_uses_of_session ON session_uses (session_id);
