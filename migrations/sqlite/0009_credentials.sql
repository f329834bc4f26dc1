-- Credentials of providers: their secrets, sealed for this row, and how they are used. The digest is
-- a keyed hash, by which the same secret is known again.
CREATE TABLE credentials (
  id              TEXT PRIMARY KEY NOT NULL,
  tenant_id       TEXT NOT NULL REFERENCES tenants (id),
  -- None: all projects of the tenant share it.
  project_id      TEXT REFERENCES projects (id),
  provider        TEXT NOT NULL,
  type            TEXT NOT NULL CHECK (type IN ('api_key')),
  label           TEXT NOT NULL,
  secret          TEXT NOT NULL,
  digest          BLOB NOT NULL CHECK (length(digest) = 32),
  pepper_id       TEXT NOT NULL,
  hint            TEXT NOT NULL,
  -- Scheme, host and port that the secret was given for; it goes nowhere else.
  origin          TEXT NOT NULL,
  -- The file it is read from, if it is kept in one.
  file            TEXT,
  models          TEXT NOT NULL,
  excluded_models TEXT NOT NULL,
  priority        INTEGER NOT NULL,
  weight          INTEGER NOT NULL CHECK (weight BETWEEN 0 AND 1000000),
  is_disabled     INTEGER NOT NULL CHECK (is_disabled IN (0, 1)),
  -- An operator lets it rest.
  rests_since     INTEGER,
  rests_until     INTEGER,
  rests_reason    TEXT,
  -- Whatever had kept it from use before then is forgotten.
  recovered_at    INTEGER,
  created_at      INTEGER NOT NULL,
  updated_at      INTEGER NOT NULL,
  sealed_at       INTEGER NOT NULL,
  last_used_at    INTEGER,
  last_error_code TEXT,
  last_error_at   INTEGER
) STRICT;

CREATE UNIQUE INDEX credentials_digest_key
  ON credentials (tenant_id, coalesce(project_id, ''), provider, digest);
CREATE INDEX credentials_by_age ON credentials (created_at, id);
CREATE INDEX credentials_of_project ON credentials (project_id) WHERE project_id IS NOT NULL;
