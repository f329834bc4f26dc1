-- What an address did is asked with the newest first: without the time in the index all records of the action
-- were looked at instead.

DROP INDEX idx_audit_ip_action;
CREATE INDEX idx_audit_ip_action ON audit_events (client_ip, action, timestamp);
