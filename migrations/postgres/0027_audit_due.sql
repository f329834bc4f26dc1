-- Changes whose record in the audit log is due: written in the transaction of the change itself, and gone
-- once the record is durable. What is left after a crash is recorded then.
CREATE TABLE audit_due (
  act     TEXT COLLATE "C" PRIMARY KEY,
  replica TEXT NOT NULL,
  at      BIGINT NOT NULL,
  -- What is known of the act before it is done.
  told    TEXT NOT NULL
);

-- A change of one tenant adds its own and sees none.
ALTER TABLE audit_due ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_due FORCE ROW LEVEL SECURITY;
CREATE POLICY app_adds ON audit_due FOR INSERT TO tollkeep_app WITH CHECK (true);
CREATE POLICY jobs_all ON audit_due TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT INSERT ON audit_due TO tollkeep_app;
GRANT SELECT, INSERT, DELETE ON audit_due TO tollkeep_jobs;
