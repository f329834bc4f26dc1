-- People who operate, and their console sessions. A password is kept as its Argon2id hash, a session
-- as the keyed hash of what its cookie holds, the secret of one-time codes sealed.

CREATE TABLE operators (
  id             TEXT PRIMARY KEY NOT NULL,
  tenant_id      TEXT REFERENCES tenants (id),
  name           TEXT NOT NULL,
  -- What they sign in with; none for those of an identity provider, who have issuer and subject.
  login          TEXT UNIQUE,
  issuer         TEXT,
  subject        TEXT,
  email          TEXT,
  role           TEXT NOT NULL
    CHECK (role IN ('owner', 'admin', 'operator', 'viewer', 'tenant-admin')),
  password       TEXT,
  totp           TEXT,
  sealed_at      INTEGER,
  totp_is_on     INTEGER NOT NULL DEFAULT 0 CHECK (totp_is_on IN (0, 1)),
  -- The time step of the last code that was used: none is used twice.
  totp_step      INTEGER,
  recovery_codes TEXT NOT NULL DEFAULT '[]',
  failures       INTEGER NOT NULL DEFAULT 0,
  locked_until   INTEGER,
  disabled_at    INTEGER,
  created_at     INTEGER NOT NULL,
  created_by     TEXT,
  last_login_at  INTEGER,
  UNIQUE (issuer, subject)
) STRICT;

CREATE INDEX operators_by_age ON operators (created_at, id);

CREATE TABLE console_sessions (
  id           TEXT PRIMARY KEY NOT NULL,
  tenant_id    TEXT REFERENCES tenants (id),
  digest       BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
  role         TEXT NOT NULL
    CHECK (role IN ('owner', 'admin', 'operator', 'viewer', 'tenant-admin')),
  -- Whose it is: a key (the digest alone for that of the settings), or an operator.
  key_id       TEXT REFERENCES management_keys (id) ON DELETE CASCADE,
  key_digest   BLOB CHECK (length(key_digest) = 32),
  operator_id  TEXT REFERENCES operators (id) ON DELETE CASCADE,
  created_at   INTEGER NOT NULL,
  last_seen_at INTEGER NOT NULL,
  proved_at    INTEGER NOT NULL,
  expires_at   INTEGER NOT NULL,
  ip           TEXT,
  user_agent   TEXT,
  CHECK ((key_digest IS NULL) <> (operator_id IS NULL))
) STRICT;

CREATE INDEX console_sessions_by_age ON console_sessions (created_at, id);
CREATE INDEX console_sessions_of_key ON console_sessions (key_id) WHERE key_id IS NOT NULL;
CREATE INDEX console_sessions_of_operator ON console_sessions (operator_id)
  WHERE operator_id IS NOT NULL;
CREATE INDEX console_sessions_expiring ON console_sessions (expires_at);

-- Logins at an identity provider that were answered, until they would be over: each has one answer.
CREATE TABLE provider_logins (
  digest     BLOB PRIMARY KEY NOT NULL CHECK (length(digest) = 32),
  expires_at INTEGER NOT NULL
) STRICT;

CREATE INDEX provider_logins_expiring ON provider_logins (expires_at);
