-- People who operate, and their console sessions. A password is kept as its Argon2id hash, a session
-- as the keyed hash of what its cookie holds, the secret of one-time codes sealed.

CREATE TABLE operators (
  id             TEXT COLLATE "C" PRIMARY KEY,
  tenant_id      TEXT COLLATE "C" REFERENCES tenants (id),
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
  sealed_at      BIGINT,
  totp_is_on     BOOLEAN NOT NULL DEFAULT FALSE,
  -- The time step of the last code that was used: none is used twice.
  totp_step      BIGINT,
  recovery_codes TEXT NOT NULL DEFAULT '[]',
  failures       BIGINT NOT NULL DEFAULT 0,
  locked_until   BIGINT,
  disabled_at    BIGINT,
  created_at     BIGINT NOT NULL,
  created_by     TEXT,
  last_login_at  BIGINT,
  UNIQUE (issuer, subject)
);

CREATE INDEX operators_by_age ON operators (created_at, id);

ALTER TABLE operators ENABLE ROW LEVEL SECURITY;
ALTER TABLE operators FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON operators TO tollkeep_app
  USING      (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''));
CREATE POLICY jobs_all ON operators TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON operators TO tollkeep_app, tollkeep_jobs;

CREATE TABLE console_sessions (
  id           TEXT COLLATE "C" PRIMARY KEY,
  tenant_id    TEXT COLLATE "C" REFERENCES tenants (id),
  digest       BYTEA NOT NULL UNIQUE CHECK (length(digest) = 32),
  role         TEXT NOT NULL
    CHECK (role IN ('owner', 'admin', 'operator', 'viewer', 'tenant-admin')),
  -- Whose it is: a key (the digest alone for that of the settings), or an operator.
  key_id       TEXT COLLATE "C" REFERENCES management_keys (id) ON DELETE CASCADE,
  key_digest   BYTEA CHECK (length(key_digest) = 32),
  operator_id  TEXT COLLATE "C" REFERENCES operators (id) ON DELETE CASCADE,
  created_at   BIGINT NOT NULL,
  last_seen_at BIGINT NOT NULL,
  proved_at    BIGINT NOT NULL,
  expires_at   BIGINT NOT NULL,
  ip           TEXT,
  user_agent   TEXT,
  CHECK ((key_digest IS NULL) <> (operator_id IS NULL))
);

CREATE INDEX console_sessions_by_age ON console_sessions (created_at, id);
CREATE INDEX console_sessions_of_key ON console_sessions (key_id) WHERE key_id IS NOT NULL;
CREATE INDEX console_sessions_of_operator ON console_sessions (operator_id)
  WHERE operator_id IS NOT NULL;
CREATE INDEX console_sessions_expiring ON console_sessions (expires_at);

ALTER TABLE console_sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE console_sessions FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON console_sessions TO tollkeep_app
  USING      (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''));
CREATE POLICY jobs_all ON console_sessions TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON console_sessions TO tollkeep_app, tollkeep_jobs;

-- Logins at an identity provider that were answered, until they would be over: each has one answer.
CREATE TABLE provider_logins (
  digest     BYTEA PRIMARY KEY CHECK (length(digest) = 32),
  expires_at BIGINT NOT NULL
);

CREATE INDEX provider_logins_expiring ON provider_logins (expires_at);

ALTER TABLE provider_logins ENABLE ROW LEVEL SECURITY;
ALTER TABLE provider_logins FORCE ROW LEVEL SECURITY;
CREATE POLICY jobs_all ON provider_logins TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON provider_logins TO tollkeep_jobs;
