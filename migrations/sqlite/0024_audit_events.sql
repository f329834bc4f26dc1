-- What happened: the records of the audit log, each with its place in its chain. A row tells all that
-- the line of the file does, so that each can be made from the other.
CREATE TABLE audit_events (
  id             TEXT PRIMARY KEY NOT NULL,
  stream         TEXT NOT NULL,
  seq            INTEGER NOT NULL,
  timestamp      TEXT NOT NULL,
  action         TEXT NOT NULL,
  class          TEXT NOT NULL,
  actor          TEXT NOT NULL,
  actor_id       TEXT,
  tenant_id      TEXT,
  project_id     TEXT,
  request_id     TEXT,
  correlation_id TEXT,
  client_ip      TEXT,
  method         TEXT,
  path           TEXT,
  user_agent     TEXT,
  outcome        TEXT NOT NULL,
  reason         TEXT,
  token_id       TEXT,
  metadata       TEXT NOT NULL,
  prev           BLOB NOT NULL CHECK (length(prev) = 32),
  hash           BLOB NOT NULL CHECK (length(hash) = 32),
  -- The line itself, where it is of another format than llm-proxy's.
  line           TEXT,
  UNIQUE (stream, seq)
) STRICT;
CREATE INDEX idx_audit_timestamp ON audit_events (timestamp);
CREATE INDEX idx_audit_action    ON audit_events (action, timestamp);
CREATE INDEX idx_audit_project   ON audit_events (project_id, timestamp);
CREATE INDEX idx_audit_ip_action ON audit_events (client_ip, action);
CREATE INDEX idx_audit_request   ON audit_events (request_id);
CREATE INDEX idx_audit_outcome   ON audit_events (outcome, timestamp);

-- Where each chain stands: all its records up to this one are here, but for those that were pruned.
CREATE TABLE audit_streams (
  stream     TEXT PRIMARY KEY NOT NULL,
  replica    TEXT NOT NULL,
  through    INTEGER NOT NULL CHECK (through >= 0),
  pruned     INTEGER NOT NULL CHECK (pruned >= 0),
  updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX audit_streams_of_replica ON audit_streams (replica, updated_at);

-- What is being pruned, within the transaction that does it: nothing else may be deleted.
CREATE TABLE audit_pruning (
  stream  TEXT PRIMARY KEY NOT NULL,
  through INTEGER NOT NULL
) STRICT;

CREATE TRIGGER audit_events_stand BEFORE UPDATE ON audit_events
BEGIN
  SELECT RAISE(ABORT, 'audit events are never changed');
END;

CREATE TRIGGER audit_events_stay BEFORE DELETE ON audit_events
WHEN NOT EXISTS (SELECT 1 FROM audit_pruning WHERE stream = OLD.stream AND through >= OLD.seq)
BEGIN
  SELECT RAISE(ABORT, 'audit events are deleted by `tollkeep audit prune` alone');
END;
