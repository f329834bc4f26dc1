-- What payers call what they buy, for a day: by that name and the very proof a lost answer is sent once more.

CREATE TABLE payment_identifiers (
  payment_id   TEXT COLLATE "C" PRIMARY KEY REFERENCES payments (id),
  tenant_id    TEXT COLLATE "C" NOT NULL REFERENCES tenants (id),
  payer        TEXT NOT NULL,
  identifier   TEXT COLLATE "C" NOT NULL,
  -- Of the proof as it came.
  payload_hash BYTEA NOT NULL CHECK (length(payload_hash) = 32),
  -- What was answered, once it was: the status, and sealed its kind and body, if that was short.
  status       BIGINT,
  answer       TEXT,
  sealed_at    BIGINT,
  created_at   BIGINT NOT NULL,
  CHECK (answer IS NULL OR status IS NOT NULL)
);
CREATE UNIQUE INDEX payment_identifiers_name ON payment_identifiers (tenant_id, payer, identifier);
CREATE INDEX payment_identifiers_payload ON payment_identifiers (tenant_id, payload_hash);
CREATE INDEX payment_identifiers_age ON payment_identifiers (created_at);
CREATE INDEX payment_identifiers_answered ON payment_identifiers (tenant_id, created_at)
  WHERE answer IS NOT NULL;

ALTER TABLE payment_identifiers ENABLE ROW LEVEL SECURITY;
ALTER TABLE payment_identifiers FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON payment_identifiers TO tollkeep_app
  USING      (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('tollkeep.tenant', true), ''));
CREATE POLICY jobs_all ON payment_identifiers TO tollkeep_jobs USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON payment_identifiers TO tollkeep_jobs;
