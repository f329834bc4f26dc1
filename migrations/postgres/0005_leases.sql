-- What one process of several does at a time, until it is done or its time is over.
CREATE TABLE leases (
  name   TEXT COLLATE "C" PRIMARY KEY,
  holder TEXT NOT NULL,
  until  BIGINT NOT NULL
);

ALTER TABLE leases ENABLE ROW LEVEL SECURITY;
ALTER TABLE leases FORCE ROW LEVEL SECURITY;
CREATE POLICY jobs_all ON leases TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON leases TO tollkeep_jobs;
