-- Tenants that can be suspended or deleted; management keys with scopes, addresses and rotation.
-- After a rotation the key's text before holds until its end.

ALTER TABLE tenants ADD COLUMN status TEXT NOT NULL DEFAULT 'active'
  CHECK (status IN ('active', 'suspended', 'deleted'));

CREATE INDEX tenants_by_age ON tenants (created_at, id);

ALTER TABLE management_keys ADD COLUMN scopes TEXT;
ALTER TABLE management_keys ADD COLUMN allowed_ips TEXT NOT NULL DEFAULT '[]';
ALTER TABLE management_keys ADD COLUMN created_by TEXT;
ALTER TABLE management_keys ADD COLUMN rotated_at BIGINT;
ALTER TABLE management_keys ADD COLUMN previous_digest BYTEA CHECK (length(previous_digest) = 32);
ALTER TABLE management_keys ADD COLUMN previous_ends_at BIGINT;
ALTER TABLE management_keys ADD COLUMN revoked_at BIGINT;
ALTER TABLE management_keys ADD COLUMN last_used_ip TEXT;

CREATE INDEX management_keys_by_age ON management_keys (created_at, id);
CREATE INDEX management_keys_before ON management_keys (previous_digest)
  WHERE previous_digest IS NOT NULL;

ALTER TABLE changes DROP CONSTRAINT changes_what_check;
ALTER TABLE changes ADD CONSTRAINT changes_what_check CHECK
  (what IN ('tenant', 'project', 'token', 'service_token', 'ip_entries', 'maintenance'));
