-- Requests that are to be carried out once (`Idempotency-Key`), and what was answered. A slot is the
-- digest of who asked, where, and the key's text; answers are sealed under keys that are not kept.
CREATE TABLE idempotency (
  slot       BYTEA PRIMARY KEY CHECK (length(slot) = 32),
  owner      TEXT COLLATE "C" NOT NULL,
  request    BYTEA NOT NULL CHECK (length(request) = 32),
  run        TEXT NOT NULL,
  started_at BIGINT NOT NULL,
  acted_at   BIGINT,
  ends_at    BIGINT NOT NULL,
  status     BIGINT,
  answer     TEXT
);

CREATE INDEX idempotency_by_owner ON idempotency (owner);
CREATE INDEX idempotency_by_end ON idempotency (ends_at);

ALTER TABLE idempotency ENABLE ROW LEVEL SECURITY;
ALTER TABLE idempotency FORCE ROW LEVEL SECURITY;
CREATE POLICY jobs_all ON idempotency TO tollkeep_jobs USING (true) WITH CHECK (true);
CREATE POLICY owner_marks ON idempotency TO tollkeep_owner USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency TO tollkeep_jobs;

-- A change of one tenant marks the request it belongs to, in its own transaction, and sees no other.
CREATE FUNCTION tollkeep_mark_acted(the_slot BYTEA, the_run TEXT, now BIGINT) RETURNS BIGINT
  LANGUAGE sql SECURITY DEFINER AS $$
    WITH marked AS (UPDATE idempotency SET acted_at = now
      WHERE slot = the_slot AND run = the_run RETURNING 1)
    SELECT count(*) FROM marked
  $$;
DO $$ BEGIN
  EXECUTE format('ALTER FUNCTION tollkeep_mark_acted(bytea, text, bigint)
    SET search_path = %I, pg_temp', current_schema());
END $$;
REVOKE ALL ON FUNCTION tollkeep_mark_acted(bytea, text, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tollkeep_mark_acted(bytea, text, bigint) TO tollkeep_app, tollkeep_jobs;
