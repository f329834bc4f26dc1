-- Tenants, projects, access tokens, management keys, the blocklist, and facts of the deployment.
-- Times are milliseconds since 1970-01-01T00:00:00Z. Ids are texts with a prefix. A token or key is
-- kept as its keyed hash only.

CREATE TABLE tenants (
  id         TEXT PRIMARY KEY NOT NULL,
  slug       TEXT NOT NULL UNIQUE,
  name       TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE projects (
  id             TEXT PRIMARY KEY NOT NULL,
  tenant_id      TEXT NOT NULL REFERENCES tenants (id),
  slug           TEXT NOT NULL,
  name           TEXT NOT NULL,
  is_active      INTEGER NOT NULL CHECK (is_active IN (0, 1)),
  limits         TEXT NOT NULL,
  created_at     INTEGER NOT NULL,
  updated_at     INTEGER NOT NULL,
  deactivated_at INTEGER,
  UNIQUE (tenant_id, slug),
  UNIQUE (tenant_id, name)
) STRICT;

CREATE INDEX projects_by_age ON projects (created_at, id);

-- The line of tokens made from each other by rotation; rotating never refills a count.
CREATE TABLE lineages (
  id            TEXT PRIMARY KEY NOT NULL,
  request_count INTEGER NOT NULL CHECK (request_count >= 0)
) STRICT;

CREATE TABLE tokens (
  id             TEXT PRIMARY KEY NOT NULL,
  tenant_id      TEXT NOT NULL REFERENCES tenants (id),
  project_id     TEXT NOT NULL REFERENCES projects (id),
  lineage_id     TEXT NOT NULL REFERENCES lineages (id),
  name           TEXT NOT NULL,
  digest         BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
  pepper_id      TEXT NOT NULL,
  hint           TEXT NOT NULL,
  fingerprint    TEXT NOT NULL,
  state          TEXT NOT NULL CHECK (state IN ('active', 'rotating', 'suspended', 'revoked')),
  created_at     INTEGER NOT NULL,
  expires_at     INTEGER,
  idle_ttl_ms    INTEGER,
  last_used_at   INTEGER,
  max_requests   INTEGER CHECK (max_requests > 0),
  limits         TEXT NOT NULL,
  bindings       TEXT NOT NULL,
  metadata       TEXT NOT NULL,
  owner          TEXT NOT NULL,
  replaced_by    TEXT,
  grace_ends_at  INTEGER,
  revoked_at     INTEGER,
  revoked_reason TEXT,
  -- When the token stopped working for good, for whatever reason; its record is kept 90 days more.
  ended_at       INTEGER
) STRICT;

CREATE INDEX tokens_by_age ON tokens (created_at, id);
CREATE INDEX tokens_of_project ON tokens (project_id, created_at, id);
CREATE INDEX tokens_of_lineage ON tokens (lineage_id);
CREATE INDEX tokens_expiring ON tokens (expires_at) WHERE ended_at IS NULL;
CREATE INDEX tokens_idling ON tokens (last_used_at)
  WHERE ended_at IS NULL AND idle_ttl_ms IS NOT NULL;
CREATE INDEX tokens_rotating ON tokens (grace_ends_at) WHERE state = 'rotating';
CREATE INDEX tokens_ended ON tokens (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE management_keys (
  id           TEXT PRIMARY KEY NOT NULL,
  tenant_id    TEXT REFERENCES tenants (id),
  name         TEXT NOT NULL,
  role         TEXT NOT NULL
    CHECK (role IN ('owner', 'admin', 'operator', 'viewer', 'tenant-admin')),
  digest       BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
  pepper_id    TEXT NOT NULL,
  hint         TEXT NOT NULL,
  state        TEXT NOT NULL CHECK (state IN ('active', 'revoked')),
  created_at   INTEGER NOT NULL,
  expires_at   INTEGER NOT NULL,
  last_used_at INTEGER
) STRICT;

-- Digests of tokens that ended, so that no import brings one back. No end: for ever.
CREATE TABLE blocklist (
  digest BLOB PRIMARY KEY NOT NULL CHECK (length(digest) = 32),
  until  INTEGER
) STRICT;

CREATE INDEX blocklist_until ON blocklist (until) WHERE until IS NOT NULL;

-- Facts of the deployment: its instance id, sealed pepper, greatest wall time seen.
CREATE TABLE meta (
  key   TEXT PRIMARY KEY NOT NULL,
  value TEXT NOT NULL
) STRICT;
