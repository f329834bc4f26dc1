-- What happened: the records of the audit log, each with its place in its chain. A row tells all that
-- the line of the file does, so that each can be made from the other.
CREATE TABLE audit_events (
  id             TEXT COLLATE "C" PRIMARY KEY,
  stream         TEXT COLLATE "C" NOT NULL,
  seq            BIGINT NOT NULL,
  timestamp      TEXT COLLATE "C" NOT NULL,
  action         TEXT COLLATE "C" NOT NULL,
  class          TEXT NOT NULL,
  actor          TEXT NOT NULL,
  actor_id       TEXT,
  tenant_id      TEXT COLLATE "C",
  project_id     TEXT COLLATE "C",
  request_id     TEXT COLLATE "C",
  correlation_id TEXT,
  client_ip      TEXT,
  method         TEXT,
  path           TEXT,
  user_agent     TEXT,
  outcome        TEXT NOT NULL,
  reason         TEXT,
  token_id       TEXT,
  metadata       TEXT NOT NULL,
  prev           BYTEA NOT NULL CHECK (length(prev) = 32),
  hash           BYTEA NOT NULL CHECK (length(hash) = 32),
  -- The line itself, where it is of another format than llm-proxy's.
  line           TEXT,
  UNIQUE (stream, seq)
);
CREATE INDEX idx_audit_timestamp ON audit_events (timestamp);
CREATE INDEX idx_audit_action    ON audit_events (action, timestamp);
CREATE INDEX idx_audit_project   ON audit_events (project_id, timestamp);
CREATE INDEX idx_audit_ip_action ON audit_events (client_ip, action);
CREATE INDEX idx_audit_request   ON audit_events (request_id);
CREATE INDEX idx_audit_outcome   ON audit_events (outcome, timestamp);

-- Where each chain stands: all its records up to this one are here, but for those that were pruned.
CREATE TABLE audit_streams (
  stream     TEXT COLLATE "C" PRIMARY KEY,
  replica    TEXT COLLATE "C" NOT NULL,
  through    BIGINT NOT NULL CHECK (through >= 0),
  pruned     BIGINT NOT NULL CHECK (pruned >= 0),
  updated_at BIGINT NOT NULL
);
CREATE INDEX audit_streams_of_replica ON audit_streams (replica, updated_at);

-- What is being pruned, within the transaction that does it: nothing else may be deleted.
CREATE TABLE audit_pruning (
  stream  TEXT COLLATE "C" PRIMARY KEY,
  through BIGINT NOT NULL
);

CREATE FUNCTION audit_events_stand() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'audit events are never changed';
END $$;

CREATE TRIGGER audit_events_stand BEFORE UPDATE OR TRUNCATE ON audit_events
  FOR EACH STATEMENT EXECUTE FUNCTION audit_events_stand();

CREATE FUNCTION audit_events_stay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT 1 FROM audit_pruning WHERE stream = OLD.stream AND through >= OLD.seq) THEN
    RAISE EXCEPTION 'audit events are deleted by `tollkeep audit prune` alone';
  END IF;
  RETURN OLD;
END $$;

CREATE TRIGGER audit_events_stay BEFORE DELETE ON audit_events
  FOR EACH ROW EXECUTE FUNCTION audit_events_stay();

ALTER TABLE audit_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_events FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON audit_events TO tollkeep_app
  USING      (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''));
CREATE POLICY jobs_all ON audit_events TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT ON audit_events TO tollkeep_app;
GRANT SELECT, INSERT, DELETE ON audit_events TO tollkeep_jobs;

ALTER TABLE audit_streams ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_streams FORCE ROW LEVEL SECURITY;
CREATE POLICY jobs_all ON audit_streams TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON audit_streams TO tollkeep_jobs;

ALTER TABLE audit_pruning ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_pruning FORCE ROW LEVEL SECURITY;
CREATE POLICY jobs_all ON audit_pruning TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, DELETE ON audit_pruning TO tollkeep_jobs;
