-- What is to be told to others: written in the transaction of what happened, and gone once it was taken or
-- nobody took it for a day.
CREATE TABLE outbox (
  -- Of what happened; the same for each receiver and each try.
  event_id   TEXT COLLATE "C" NOT NULL,
  -- Whose it is: a digest of the address, which the settings hold.
  receiver   TEXT COLLATE "C" NOT NULL,
  event      TEXT NOT NULL,
  -- JSON, as it is signed and sent.
  body       TEXT NOT NULL,
  tries      BIGINT NOT NULL CHECK (tries >= 0),
  next_at    BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (event_id, receiver)
);
CREATE INDEX outbox_due ON outbox (next_at);

-- Only the gateway itself writes and sends it.
ALTER TABLE outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE outbox FORCE ROW LEVEL SECURITY;
CREATE POLICY jobs_all ON outbox TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON outbox TO tollkeep_jobs;
