-- What payers call what they buy, for a day: by that name and the very proof a lost answer is sent once more.

CREATE TABLE payment_identifiers (
  payment_id   TEXT PRIMARY KEY NOT NULL REFERENCES payments (id),
  tenant_id    TEXT NOT NULL REFERENCES tenants (id),
  payer        TEXT NOT NULL,
  identifier   TEXT NOT NULL,
  -- Of the proof as it came.
  payload_hash BLOB NOT NULL CHECK (length(payload_hash) = 32),
  -- What was answered, once it was: the status, and sealed its kind and body, if that was short.
  status       INTEGER,
  answer       TEXT,
  sealed_at    INTEGER,
  created_at   INTEGER NOT NULL,
  CHECK (answer IS NULL OR status IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX payment_identifiers_name ON payment_identifiers (tenant_id, payer, identifier);
CREATE INDEX payment_identifiers_payload ON payment_identifiers (tenant_id, payload_hash);
CREATE INDEX payment_identifiers_age ON payment_identifiers (created_at);
CREATE INDEX payment_identifiers_answered ON payment_identifiers (tenant_id, created_at)
  WHERE answer IS NOT NULL;
