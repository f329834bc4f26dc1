-- Changes whose record in the audit log is due: written in the transaction of the change itself, and gone
-- once the record is durable. What is left after a crash is recorded then.
CREATE TABLE audit_due (
  act     TEXT PRIMARY KEY NOT NULL,
  replica TEXT NOT NULL,
  at      INTEGER NOT NULL,
  -- What is known of the act before it is done.
  told    TEXT NOT NULL
) STRICT;
