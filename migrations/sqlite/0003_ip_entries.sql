-- Addresses that operators deny or allow while the gateway runs, beside the lists of its settings.
CREATE TABLE ip_entries (
  id         TEXT PRIMARY KEY NOT NULL,
  list       TEXT NOT NULL CHECK (list IN ('deny', 'allow')),
  cidr       TEXT NOT NULL,
  reason     TEXT,
  created_by TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  UNIQUE (list, cidr)
) STRICT;

CREATE INDEX ip_entries_expiring ON ip_entries (expires_at) WHERE expires_at IS NOT NULL;
