-- When it was written down, and told, that a session is over, and why.

ALTER TABLE sessions ADD COLUMN ended_at INTEGER;
ALTER TABLE sessions ADD COLUMN ended_because TEXT
  CHECK (ended_because IN ('expired', 'revoked', 'route_removed'));
CREATE INDEX sessions_not_ended ON sessions (expires_at) WHERE ended_at IS NULL;
